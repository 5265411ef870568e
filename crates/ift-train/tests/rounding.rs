//! The number type of the final model: what rounding to it loses, and what it cannot hold.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod tiny;

use ift_backend::NumberType;
use ift_model::random;
use ift_train::{Observer, Rounding, TrainError};
use serde_json::json;
use std::fs;
use tiny::{TWO_STEPS, Tiny, Told, json, metrics, run, watch};

/// With a tiny learning rate bf16 keeps nothing of what was learned: the measure says so, and the
/// model is saved in f32. With a large one it stays in the type it was loaded from.
#[test]
fn the_saved_type_follows_from_what_rounding_loses() {
    let tiny = Tiny::new();
    let lines = |lr: &str, number: &str| {
        format!(
            "method.name = 'sft'\n\
             train = {{ steps = 2, rows_per_step = 4, precision = 'f64' }}\n\
             optimizer = {{ name = 'rmsprop', lr = {lr} }}\n\
             schedule = {{ name = 'constant', warmup_steps = 0 }}\n\
             checkpoint.number = '{number}'\n"
        )
    };
    for (name, lr, number, saved, loses) in [
        ("small", "1e-6", "auto", "float32", true),
        ("large", "1e-2", "auto", "bfloat16", false),
        ("asked", "1e-6", "as_loaded", "bfloat16", true),
    ] {
        let recipe = tiny.recipe(name, &lines(lr, number));
        let mut told = Told::default();
        watch(&recipe, false, &mut told).unwrap();
        let rounding = told.rounding.unwrap();
        assert_eq!(rounding.share_of_loss.unwrap() > 0.5, loses, "{name}: {rounding}");
        let model = recipe.output.dir.join("model");
        assert_eq!(json(&model.join("config.json"))["torch_dtype"], saved, "{name}: {rounding}");
        let last = metrics(&recipe.output.dir).pop().unwrap();
        assert_eq!((&last["kind"], &last["number"]), (&json!("rounding"), &json!("bf16")));
        // The saved folder measures what the run said.
        let mut again = tiny.recipe(&format!("{name}-again"), &lines("0.0", "f32"));
        again.model.path = model;
        again.train.check_gradients = false;
        run(&again, false).unwrap();
        let found = metrics(&again.output.dir)[0]["loss"].as_f64().unwrap();
        let said = if saved == "float32" { rounding.in_memory } else { rounding.as_saved.unwrap() };
        // f64 weights are written as f32.
        assert!((found / said - 1.0).abs() < 1e-6, "{name}: {found} {said}");
    }
    // Nothing changed, so that nothing is lost.
    let recipe = tiny.recipe("still", &lines("0.0", "auto"));
    run(&recipe, false).unwrap();
    let last = metrics(&recipe.output.dir).pop().unwrap();
    assert_eq!((last.get("share_of_loss"), &last["share_of_change"]), (None, &json!(0.0)));
    assert_eq!(last["saved_as"], "bf16");
}

/// What decides where the losses cannot: products in bf16 see rounded weights anyway, and a loss
/// that rose is no gain.
#[test]
fn the_change_of_the_weights_decides_where_losses_cannot() {
    let tiny = Tiny::new();
    let measured = |name: &str, model: &str, precision: &str, optimizer: &str| {
        let mut recipe = tiny.recipe(
            name,
            &format!(
                "method.name = 'sft'\n\
                 train = {{ steps = 1, rows_per_step = 4, precision = '{precision}' }}\n\
                 optimizer = {optimizer}\n\
                 schedule = {{ name = 'constant', warmup_steps = 0 }}\n"
            ),
        );
        recipe.model.path = tiny.path(model);
        let mut told = Told::default();
        watch(&recipe, false, &mut told).unwrap();
        let rounding = told.rounding.unwrap();
        assert_eq!(rounding.share_of_loss, None, "{rounding}");
        rounding
    };
    let small = measured("small", "m", "bf16", "{ name = 'rmsprop', lr = 1e-6 }");
    assert!(small.share_of_change.unwrap() > 0.5 && small.saved_as == "f32", "{small}");
    assert!(small.to_string().contains("of the change of the weights"), "{small}");
    let large = measured("large", "m", "bf16", "{ name = 'rmsprop', lr = 1e-2 }");
    assert!(large.share_of_change.unwrap() < 0.05 && large.saved_as == "bf16", "{large}");
    let worse = measured("worse", "m", "f64", "{ name = 'rmsprop', lr = 0.3 }");
    assert!(worse.in_memory > worse.before.unwrap(), "{worse}");
    assert!(worse.share_of_change.is_some() && worse.saved_as == "bf16", "{worse}");

    // Weights with an adapter merged are in no file.
    let lines = format!("adapter.rank = 2\nmethod.name = 'sft'\n{TWO_STEPS}");
    run(&tiny.recipe("adapter", &lines), false).unwrap();
    let merged = measured("merged", "adapter/model", "bf16", "{ name = 'rmsprop', lr = 1e-6 }");
    assert_eq!((merged.share_of_change, merged.saved_as.as_str()), (None, "f32"));
}

/// A base that is removed during the run takes nothing with it but the comparison of the weights.
#[test]
fn a_base_that_is_gone_at_the_end_loses_no_model() {
    struct Removes(std::path::PathBuf, Option<Rounding>);
    impl Observer for Removes {
        fn stepped(&mut self, step: &ift_train::StepMetrics, _: &ift_train::Progress) {
            // After the first checkpoint.
            if step.step == 2 {
                fs::rename(&self.0, self.0.with_extension("gone")).unwrap();
            }
        }
        fn rounded(&mut self, rounding: &Rounding) {
            self.1 = Some(rounding.clone());
        }
    }
    let tiny = Tiny::new();
    let lines = TWO_STEPS.replace("f64", "bf16") + "checkpoint.every = 1\n";
    let recipe = tiny.recipe("out", &lines);
    let mut observer = Removes(tiny.path("m"), None);
    watch(&recipe, false, &mut observer).unwrap();
    let rounding = observer.1.unwrap();
    assert_eq!(rounding.saved_as, "f32");
    assert!(rounding.to_string().contains("cannot be read again"), "{rounding}");
    let model = recipe.output.dir.join("model");
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"] {
        assert!(model.join(name).exists(), "{name}");
    }
    fs::rename(tiny.path("m.gone"), tiny.path("m")).unwrap();
    let mut next = tiny.recipe("next", TWO_STEPS);
    next.model.path = model;
    run(&next, false).unwrap();
}

/// Without held-out rows some training rows are measured, before and after; a resumed run says the
/// same.
#[test]
fn training_rows_are_measured_where_none_are_held_out() {
    struct Dies;
    impl Observer for Dies {
        fn stepped(&mut self, step: &ift_train::StepMetrics, _: &ift_train::Progress) {
            assert!(step.step < 2, "killed");
        }
    }
    let tiny = Tiny::new();
    let recipe = |name: &str| {
        let lines = format!("checkpoint.every = 1\n{TWO_STEPS}");
        let mut recipe = tiny.recipe(name, &lines);
        recipe.data.eval.clear();
        recipe
    };
    run(&recipe("whole"), false).unwrap();
    let whole = metrics(&tiny.path("whole"));
    let last = whole.last().unwrap();
    assert_eq!((&last["kind"], &last["rows"]), (&json!("rounding"), &json!("sampled training")));
    assert!(last["before"].is_number() && last["share_of_loss"].is_number(), "{last}");
    assert!(whole.iter().all(|line| line["kind"] != "eval"));

    let cut = recipe("cut");
    let killed = std::panic::AssertUnwindSafe(|| watch(&cut, false, &mut Dies));
    assert!(std::panic::catch_unwind(killed).is_err());
    run(&cut, true).unwrap();
    assert_eq!(metrics(&tiny.path("cut")), whole);
}

/// A number that the saved type cannot hold is an error before anything is replaced, or with
/// `auto` a reason for f32.
#[test]
fn a_weight_that_the_saved_type_cannot_hold_is_named() {
    let tiny = Tiny::new();
    let lines = "method.name = 'sft'\n\
        train = { steps = 1, rows_per_step = 4, precision = 'f64' }\n\
        optimizer = { name = 'sgd', lr = 1e9 }\n\
        schedule = { name = 'constant', warmup_steps = 0 }\n\
        eval.after = false\ncheckpoint = { every = 0, number = 'f16' }\n";
    let recipe = tiny.recipe("out", lines);
    let error = run(&recipe, false).unwrap_err();
    assert!(matches!(error, TrainError::Model(_)), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("tensor `model.") && message.contains("type f16 is 6.5504e4"),
        "{message}"
    );
    assert!(!recipe.output.dir.join("model").exists());

    // With `auto`, checkpoints too.
    random::create(tiny::config(), 1, NumberType::F16, &tiny.path("m")).unwrap();
    let lines = lines.replace("every = 0, number = 'f16'", "every = 1");
    let recipe = tiny.recipe("auto", &lines);
    let mut told = Told::default();
    watch(&recipe, false, &mut told).unwrap();
    assert!(told.rounding.unwrap().to_string().contains("too large for f16; saved in f32"));
    for folder in ["model", "checkpoints/step-1"] {
        let config = json(&recipe.output.dir.join(folder).join("config.json"));
        assert_eq!(config["torch_dtype"], "float32");
    }
}
