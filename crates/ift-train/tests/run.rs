//! Whole runs on a tiny model: what they write, and what stops them.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod tiny;

use ift_backend::{Backend, Reference, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_methods::Method;
use ift_model::{Model, Trained};
use ift_train::{
    Data, Observer, Phase, ReferenceSource, Start, StepContext, StepMetrics, Sums, accumulate,
};
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tiny::{Tiny, metrics, run, watch};

const NOTHING: Trained = Trained::Nothing { storage: Storage::Exact };

const TWO_STEPS: &str = "train = { steps = 2, rows_per_step = 4, precision = 'f64' }\n\
    optimizer = { name = 'rmsprop', lr = 1e-3 }\n\
    schedule = { name = 'constant', warmup_steps = 0 }\n";

#[test]
fn a_run_leaves_its_folder() {
    #[derive(Default)]
    struct Told(Vec<String>);
    impl Observer for Told {
        fn phase(&mut self, phase: Phase) {
            self.0.push(format!("{phase:?}"));
        }
        fn started(&mut self, start: &Start) {
            assert_eq!(
                (start.rows, start.steps, start.steps_per_epoch, start.steps_done),
                (10, 2, 3, 0)
            );
            assert_eq!((start.weights, start.trainable, start.warmup_steps), (8048, 8048, 0));
            self.0.push("started".to_owned());
        }
        fn stepped(&mut self, metrics: &StepMetrics, progress: &ift_train::Progress) {
            assert_eq!(progress.steps_left, 2 - metrics.step);
            self.0.push(format!("step {}", metrics.step));
        }
        fn checkpointed(&mut self, step: u64, _: &std::path::Path) {
            self.0.push(format!("checkpoint {step}"));
        }
    }
    let tiny = Tiny::new();
    let recipe = tiny.recipe(
        "out",
        &format!("{TWO_STEPS}generate = {{ prompts = ['is 3 odd?'], max_tokens = 4 }}"),
    );
    let mut told = Told::default();
    watch(&recipe, false, &mut told).unwrap();
    let expected = "ReadingData ReadingModel started Evaluating Sampling step 1 step 2 Saving \
        checkpoint 2 Evaluating Sampling Evaluating Saving";
    assert_eq!(told.0.join(" "), expected);

    let output = &recipe.output.dir;
    let written =
        ift_train::Recipe::from_toml(&fs::read_to_string(output.join("recipe.toml")).unwrap())
            .unwrap();
    assert_eq!(format!("{written:?}"), format!("{recipe:?}"));
    assert!(Model::load(&output.join("model"), Arc::new(Reference), NOTHING).is_ok());
    assert!(output.join("model/tokenizer.json").exists());
    assert_eq!(fs::read_dir(output.join("tensorboard")).unwrap().count(), 1);

    let lines = metrics(output);
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["eval", "sample", "step", "step", "eval", "sample", "rounding"]);
    let (before, after) = (lines[0]["loss"].as_f64().unwrap(), lines[4]["loss"].as_f64().unwrap());
    assert!(after < before - 0.01, "{before} {after}");
    let first = &lines[2];
    assert_eq!(
        (&first["rows"], &first["lambda"], &first["lr"]),
        (&4.into(), &0.2.into(), &1e-3.into())
    );
    assert!(first["grad_norm"].as_f64().unwrap() > 0.0 && first["pushed_down"].is_number());
    assert!((first["epoch"].as_f64().unwrap() - 0.4).abs() < 1e-15);
}

#[test]
fn one_pass_methods_have_no_second_pass_in_their_metrics() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", &format!("method.name = 'sft'\n{TWO_STEPS}"));
    run(&recipe, false).unwrap();
    let line = &metrics(&recipe.output.dir)[1];
    assert!(
        ["lambda", "first_pass_loss", "unweighted_loss", "pushed_down"]
            .iter()
            .all(|f| line.get(f).is_none())
    );
}

#[test]
fn evaluation_before_training_is_the_first_pass_of_training() {
    let tiny = Tiny::new();
    fs::copy(tiny.path("eval.jsonl"), tiny.path("train.jsonl")).unwrap();
    let recipe = tiny.recipe("out", TWO_STEPS);
    run(&recipe, false).unwrap();
    let lines = metrics(&recipe.output.dir);
    let (eval, first) =
        (lines[0]["loss"].as_f64().unwrap(), lines[1]["first_pass_loss"].as_f64().unwrap());
    assert!((eval / first - 1.0).abs() < 1e-12, "{eval} {first}");
}

/// `w -= lr · (clip / ‖g‖ · g + decay · w)`, with decay for matrices alone, and `g` the mean over
/// all rows.
#[test]
fn a_step_is_the_clipped_mean_gradient() {
    let tiny = Tiny::new();
    let lines = "optimizer = { name = 'sgd', lr = 0.5, clip = 0.25, weight_decay = 0.125 }\n\
        schedule = { name = 'constant', warmup_steps = 0 }\n\
        checkpoint = { every = 0, number = 'f64' }\n\
        train = { steps = 1, precision = 'f64', micro_batch_tokens = 100 }";
    let recipe = tiny.recipe("out", lines);
    run(&recipe, false).unwrap();

    let data = Data::load(&recipe, 0).unwrap();
    let input_embeddings = recipe.method.trains_input_embeddings();
    let load = |path: &Path| {
        Model::load(path, Arc::new(Reference), Trained::All { input_embeddings }).unwrap()
    };
    let (before, after) = (load(&tiny.path("m")), load(&recipe.output.dir.join("model")));
    let (sums, gradient) = gradient(&before, &data, &recipe.method);
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt() / sums.count;
    let logged = metrics(&recipe.output.dir)[1]["grad_norm"].as_f64().unwrap();
    assert!((logged / norm - 1.0).abs() < 1e-12 && norm > 0.25, "{logged} {norm}");

    let mut comparison = Comparison::new("a step", Tolerance::absolute(1e-13));
    for tensor in before.trainable().tensors() {
        let decay = if tensor.shape.len() == 2 { 0.125 } else { 0.0 };
        let (old, new) = (before.read(tensor.range.clone()), after.read(tensor.range.clone()));
        let moved = old
            .iter()
            .zip(&gradient[tensor.range.clone()])
            .map(|(old, g)| old - 0.5 * (g / sums.count * (0.25 / norm) + decay * old));
        comparison.values(&tensor.name, &new, &moved.collect::<Vec<_>>());
    }
    comparison.finish();
}

#[test]
fn the_learning_rate_follows_the_schedule() {
    let tiny = Tiny::new();
    let lines = "optimizer = { name = 'rmsprop', lr = 0.5 }\n\
        checkpoint = { every = 0, number = 'f64' }\n\
        schedule = { name = 'linear', warmup_steps = 2 }\ntrain = { steps = 4, precision = 'f64' }";
    let recipe = tiny.recipe("out", lines);
    run(&recipe, false).unwrap();
    let lines = metrics(&recipe.output.dir);
    let steps = lines.iter().filter(|line| line["kind"] == "step");
    let rates: Vec<f64> = steps.map(|line| line["lr"].as_f64().unwrap()).collect();
    assert_eq!(rates, [0.0, 0.25, 0.5, 0.25]);
}

#[test]
fn a_tensor_that_does_not_learn_is_named() {
    let tiny = Tiny::new();
    edit_model(&tiny, "model.layers.1.self_attn.o_proj.weight", 0.0);
    let recipe = tiny.recipe("out", TWO_STEPS);
    let message = run(&recipe, false).unwrap_err().to_string();
    for part in ["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
        assert!(message.contains(&format!("`model.layers.1.{part}.weight`")), "{message}");
    }
    assert!(
        message.contains("4 trainable tensor(s)") && message.contains("train.check_gradients"),
        "{message}"
    );
    assert!(metrics(&recipe.output.dir).iter().all(|line| line["kind"] == "eval"));
    let mut unchecked = tiny.recipe("unchecked", TWO_STEPS);
    unchecked.train.check_gradients = false;
    run(&unchecked, false).unwrap();
}

#[test]
fn a_weight_that_is_not_finite_stops_the_run() {
    let tiny = Tiny::new();
    edit_model(&tiny, "model.layers.0.mlp.up_proj.weight", f32::INFINITY);
    let recipe = tiny.recipe("out", TWO_STEPS);
    let message = run(&recipe, false).unwrap_err().to_string();
    assert!(
        message.contains("step 1 was not applied: the weight `model.layers.0.mlp.up_proj.weight`")
            && !message.contains("optimizer.lr"),
        "{message}"
    );
    assert!(
        !recipe.output.dir.join("checkpoints").exists()
            && !recipe.output.dir.join("model").exists()
    );
}

#[test]
fn a_token_that_the_model_does_not_know_is_found_before_training() {
    let tiny = Tiny::new();
    let config = fs::read_to_string(tiny.path("m/config.json")).unwrap().replace("258", "257");
    fs::write(tiny.path("m/config.json"), &config).unwrap();
    let config = serde_json::from_str(&config).unwrap();
    ift_model::random::create(config, 1, ift_backend::NumberType::F32, &tiny.path("m")).unwrap();
    let recipe = tiny.recipe("out", TWO_STEPS);
    let message = run(&recipe, false).unwrap_err().to_string();
    assert!(message.contains("token 257") && message.contains("257 entries"), "{message}");
    assert!(!recipe.output.dir.join("metrics.jsonl").exists());
}

/// Sums and the gradient of all training rows, in the layout of the trainable elements.
fn gradient(model: &Model<Reference>, data: &Data, method: &Method) -> (Sums, Vec<f64>) {
    let rows: Vec<_> = data.train.rows.iter().collect();
    let context = StepContext { lambda: 0.2, ..StepContext::plain(method, 4096) };
    let mut gradients = model.gradients().unwrap();
    let sums = accumulate(model, &ReferenceSource::None, &mut gradients, &rows, &context).unwrap();
    let all = 0..model.trainable().len();
    (sums, model.backend().read_accumulator(&gradients.sums, all))
}

/// Sets every element of a tensor of the model.
fn edit_model(tiny: &Tiny, name: &str, value: f32) {
    edit_tensor(&tiny.path("m"), name, value);
}

/// Sets every element of a tensor of a model folder.
fn edit_tensor(folder: &Path, name: &str, value: f32) {
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let range = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + data.len()
    };
    // The upper half of an f32 is the bfloat16 of it.
    let pattern = ((value.to_bits() >> 16) as u16).to_le_bytes();
    bytes[range].chunks_mut(2).for_each(|number| number.copy_from_slice(&pattern));
    fs::write(&path, bytes).unwrap();
}

/// What a method needs more of than the vocabulary has is found before training, and named.
#[test]
fn more_tokens_than_the_vocabulary_has_are_refused() {
    let tiny = Tiny::new();
    for method in ["name = 'ift', look_ahead = 'topk', k = 259", "name = 'eaft', k = 259"] {
        let recipe = tiny.recipe("out", &format!("method = {{ {method} }}\n{TWO_STEPS}"));
        let message = run(&recipe, false).unwrap_err().to_string();
        let expected = "`method.k` is 259, but the model's vocabulary has 258 entries";
        assert!(message.contains(expected), "{message}");
        assert!(!recipe.output.dir.join("metrics.jsonl").exists());
    }
    let lines = format!("method = {{ name = 'eaft', k = 258 }}\n{TWO_STEPS}");
    run(&tiny.recipe("out", &lines), false).unwrap();
}

/// Values that are not finite are traced to where they begin; the learning rate of a run that has
/// not stepped yet is not to blame.
#[test]
fn values_that_are_not_finite_are_traced() {
    let tiny = Tiny::new();
    edit_model(&tiny, "model.layers.0.mlp.up_proj.weight", f32::NAN);
    let lines = format!("adapter.rank = 2\neval.before = false\n{TWO_STEPS}");
    let message = run(&tiny.recipe("frozen", &lines), false).unwrap_err().to_string();
    assert!(message.starts_with("step 1 was not applied: the model's log-prob"), "{message}");
    assert!(message.contains("record") && message.contains("at frozen weights"), "{message}");
    assert!(!message.contains("optimizer.lr"), "{message}");

    // A reference of its own.
    let tiny = Tiny::new();
    let lines = format!(
        "method.name = 'dpo'\nreference = {{ path = '{}', storage = 'exact' }}\n\
         eval.before = false\n{TWO_STEPS}",
        tiny.path("r").display()
    );
    fs::create_dir(tiny.path("r")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(tiny.path("m").join(name), tiny.path("r").join(name)).unwrap();
    }
    edit_tensor(&tiny.path("r"), "model.layers.1.mlp.down_proj.weight", f32::INFINITY);
    let message = run(&tiny.pair_recipe("out", &lines), false).unwrap_err().to_string();
    assert!(message.contains("the reference model's scores of record"), "{message}");
    assert!(!message.contains("optimizer.lr"), "{message}");
}
