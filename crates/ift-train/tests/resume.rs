//! A resumed run has the bits of one that was never interrupted.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod tiny;

use ift_train::{Observer, Outcome, Progress, RunOptions, StepMetrics, train};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tiny::{Tiny, metrics, run, watch};

/// Six steps over 10 rows (so that an epoch ends within), noisy λ, a checkpoint after every third
/// step.
const SIX_STEPS: &str = "method = { name = 'ift', lambda_schedule = 'noisy' }\n\
    train = { steps = 6, rows_per_step = 4, seed = 5, micro_batch_tokens = 100, \
    precision = 'f64' }\neval.every = 2\ncheckpoint = { every = 3, keep = 9 }\n\
    schedule = { name = 'cosine', warmup_steps = 2 }\n";

const OPTIMIZERS: [&str; 4] = [
    "optimizer = { name = 'rmsprop', lr = 1e-3 }",
    "optimizer = { name = 'adamw', lr = 1e-3, clip = 0.5 }",
    "optimizer = { name = 'sgd', lr = 1e-2, momentum = 0.9 }",
    "optimizer = { name = 'rmsprop_bf16', lr = 1e-3 }",
];

/// Dies after a step, as a killed process does: what was not saved is lost.
struct DiesAfter(u64);

impl Observer for DiesAfter {
    fn stepped(&mut self, metrics: &StepMetrics, _: &Progress) {
        assert!(metrics.step < self.0, "killed");
    }
}

struct StopsAfter<'a>(u64, &'a AtomicBool);

impl Observer for StopsAfter<'_> {
    fn stepped(&mut self, metrics: &StepMetrics, _: &Progress) {
        self.1.store(metrics.step == self.0, Ordering::Relaxed);
    }
}

fn assert_same_file(a: &Path, b: &Path, name: &str) {
    assert!(fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(), "{name} differs");
}

fn assert_same_run(a: &Path, b: &Path) {
    assert_same_file(a, b, "model/model.safetensors");
    for name in ["weights", "optimizer"] {
        assert_same_file(a, b, &format!("checkpoints/step-6/trainer_state/{name}.safetensors"));
    }
    assert_eq!(metrics(a), metrics(b));
}

#[test]
fn killed_and_resumed_equals_uninterrupted() {
    let tiny = Tiny::new();
    for (i, optimizer) in OPTIMIZERS.into_iter().enumerate() {
        let lines = format!("{SIX_STEPS}{optimizer}");
        let (whole, cut) =
            (tiny.recipe(&format!("whole{i}"), &lines), tiny.recipe(&format!("cut{i}"), &lines));
        run(&whole, false).unwrap();

        let killed = catch_unwind(AssertUnwindSafe(|| watch(&cut, false, &mut DiesAfter(5))));
        assert!(killed.is_err());
        let output = &cut.output.dir;
        assert_eq!(
            metrics(output).len(),
            1 + 5 + 2,
            "five steps, evaluated before and after 2 and 4"
        );
        // What a kill while writing can leave: a folder under its temporary name, a cut line; and a
        // checkpoint that looks whole but lost its end with the disk's cache.
        let checkpoints = output.join("checkpoints");
        fs::create_dir(checkpoints.join(".step-6.unfinished")).unwrap();
        copy(&checkpoints.join("step-3"), &checkpoints.join("step-5"));
        let file = checkpoints.join("step-5/trainer_state/optimizer.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
        fs::write(output.join("metrics.jsonl"), text + "{\"kind\":\"step\",\"st").unwrap();

        let mut notices = Notices::default();
        let outcome = watch(&cut, true, &mut notices).unwrap();
        assert_eq!(outcome, Outcome::Finished { model: output.join("model") });
        assert!(
            notices.0.iter().any(|n| n.contains("step-5") && n.contains("optimizer")),
            "{:?}",
            notices.0
        );
        assert!(!checkpoints.join(".step-6.unfinished").exists());
        assert_same_run(&whole.output.dir, output);
    }
}

#[test]
fn stopped_and_resumed_equals_uninterrupted() {
    for precision in ["f64", "f32", "bf16"] {
        let tiny = Tiny::new();
        let lines =
            format!("{SIX_STEPS}{}", OPTIMIZERS[0]).replace("'f64'", &format!("'{precision}'"));
        let (whole, cut) = (tiny.recipe("whole", &lines), tiny.recipe("cut", &lines));
        run(&whole, false).unwrap();
        let stop = AtomicBool::new(false);
        let stopped =
            train(&cut, &RunOptions::default(), &stop, &mut StopsAfter(4, &stop)).unwrap();
        let checkpoint = cut.output.dir.join("checkpoints/step-4");
        assert_eq!(
            stopped,
            Outcome::Stopped { step: 4, steps: 6, checkpoint: Some(checkpoint.clone()) }
        );
        assert!(
            checkpoint.join("tokenizer.json").exists() && checkpoint.join("config.json").exists()
        );
        run(&cut, true).unwrap();
        assert_same_run(&whole.output.dir, &cut.output.dir);
        // Resuming a finished run changes nothing.
        run(&cut, true).unwrap();
        assert_same_run(&whole.output.dir, &cut.output.dir);
    }
}

/// Everything besides the weights resumes to the bit: references, adapters with dropout, noise,
/// moving averages.
#[test]
fn every_kind_of_run_resumes_to_the_bit() {
    let steps = "train = { steps = 4, rows_per_step = 4, micro_batch_tokens = 100, \
        precision = 'f32', SETTINGS }\neval.every = 2\ncheckpoint = { every = 2, keep = 9 }\n\
        optimizer = { name = 'adamw', lr = 1e-2 }\n";
    for (i, (settings, lines)) in [
        ("", "method.name = 'dpo'"),
        ("", "method.name = 'dpo'\nreference = 'precomputed'"),
        ("", "method.name = 'kto'\nreference = { precomputed = true, storage = 'exact' }"),
        ("", "method.name = 'tdpo2'"),
        ("", "method = { name = 'psft', window = 2 }"),
        ("", "method = { name = 'psft', window = 4 }\nadapter = { dropout = 0.1 }"),
        ("ema_decay = 0.5, neftune_alpha = 5.0", "method.name = 'simpo'"),
        ("", "method.name = 'dpo'\nadapter = { rank = 2, dropout = 0.3 }"),
        (
            "ema_decay = 0.9",
            "method.name = 'orpo'\n\
             adapter = { rank = 3, base = 'nf4', dora = true, dropout = 0.1 }",
        ),
        (
            "neftune_alpha = 5.0",
            "method.name = 'ift'\nadapter = { targets = ['q_proj', 'down_proj'], base = 'int8' }",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let tiny = Tiny::new();
        let lines = format!("{}{lines}", steps.replace("SETTINGS", settings));
        let recipe = |output: &str| tiny.pair_recipe(&format!("{output}{i}"), &lines);
        let (whole, cut) = (recipe("whole"), recipe("cut"));
        run(&whole, false).unwrap();
        let stop = AtomicBool::new(false);
        train(&cut, &RunOptions::default(), &stop, &mut StopsAfter(3, &stop)).unwrap();
        run(&cut, true).unwrap();
        let model = if whole.adapter.is_some() { "adapter_model" } else { "model" };
        let (a, b) = (&whole.output.dir, &cut.output.dir);
        assert_same_file(a, b, &format!("model/{model}.safetensors"));
        assert_same_file(a, b, "checkpoints/step-4/trainer_state/optimizer.safetensors");
        assert_eq!(metrics(a), metrics(b), "{lines}");
        // Nothing happens twice when a finished run is resumed.
        run(&cut, true).unwrap();
        assert_eq!(metrics(a), metrics(b), "{lines}");
    }
}

/// SFT and then DPO in one folder, stopped in the second stage and between the two.
#[test]
fn stages_resume_where_they_stopped() {
    let tiny = Tiny::new();
    let pairs = tiny.path("pairs.jsonl");
    let lines = format!(
        "train = {{ steps = 2, rows_per_step = 4, precision = 'f32' }}\n\
         optimizer = {{ name = 'adamw', lr = 1e-2 }}\n\
         [[stage]]\nmethod.name = 'sft'\n[[stage]]\nmethod.name = 'dpo'\n\
         data.train = '{}'\ndata.eval_fraction = 0.2\ntrain.steps = 3\n",
        pairs.display()
    );
    let (whole, cut) = (tiny.recipe("whole", &lines), tiny.recipe("cut", &lines));
    let model = whole.output.dir.join("stages/2-dpo/model");
    assert_eq!(run(&whole, false).unwrap(), Outcome::Finished { model });
    for after in [2, 1] {
        // First in the last step of the first stage, then after the first of the second.
        let stop = AtomicBool::new(false);
        let options = RunOptions { resume: after == 1, ..RunOptions::default() };
        train(&cut, &options, &stop, &mut StopsAfter(after, &stop)).unwrap();
    }
    assert!(cut.output.dir.join("stages/2-dpo/checkpoints/step-1").exists());
    run(&cut, true).unwrap();
    for stage in ["1-sft", "2-dpo"] {
        let folder = |recipe: &ift_train::Recipe| recipe.output.dir.join("stages").join(stage);
        assert_same_file(&folder(&whole), &folder(&cut), "model/model.safetensors");
        assert_eq!(metrics(&folder(&whole)), metrics(&folder(&cut)));
    }
    // A stage that is done cannot become another.
    let other = tiny.recipe("cut", &lines.replace("lr = 1e-2", "lr = 1e-3"));
    let message = run(&other, true).unwrap_err().to_string();
    assert!(
        message.contains("1-sft") && message.contains("`optimizer.lr` was 0.01, is 0.001"),
        "{message}"
    );
    assert!(run(&cut, false).unwrap_err().to_string().contains("already holds a run"));
}

/// More epochs for the last stage, stopped in them: the run is not finished.
#[test]
fn an_extended_last_stage_goes_on_after_a_stop() {
    let tiny = Tiny::new();
    let lines = |steps: u64| {
        format!(
            "train = {{ steps = 2, rows_per_step = 4, precision = 'f64' }}\n\
             [[stage]]\nmethod.name = 'sft'\n\
             [[stage]]\nname = 'last'\nmethod.name = 'sft'\ntrain.steps = {steps}\n"
        )
    };
    run(&tiny.recipe("out", &lines(2)), false).unwrap();
    let more = tiny.recipe("out", &lines(4));
    let stop = AtomicBool::new(false);
    let accept = vec!["train.steps".to_owned()];
    let options = RunOptions { resume: true, accept, ..RunOptions::default() };
    let stopped = train(&more, &options, &stop, &mut StopsAfter(3, &stop)).unwrap();
    assert!(matches!(stopped, Outcome::Stopped { step: 3, .. }), "{stopped:?}");
    let folder = more.output.dir.join("stages/2-last");
    let model = folder.join("model/model.safetensors");
    let old = fs::read(&model).unwrap();
    run(&more, true).unwrap();
    assert!(fs::read(&model).unwrap() != old && folder.join("checkpoints/step-4").exists());
    // The first stage's model is what the last one started from.
    let wide = tiny.recipe("out", &format!("checkpoint.number = 'f32'\n{}", lines(4)));
    let message = run(&wide, true).unwrap_err().to_string();
    assert!(message.contains("1-sft") && message.contains("`checkpoint.number` was"), "{message}");
    // Nothing can be accepted for a stage that has not begun.
    fs::remove_dir_all(&folder).unwrap();
    let message = train(&more, &options, &AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(message.to_string().contains("no complete checkpoint"), "{message}");
}

#[test]
fn a_model_saved_exactly_needs_no_second_copy() {
    let tiny = Tiny::new();
    let lines =
        format!("{SIX_STEPS}{}", OPTIMIZERS[2]).replace("keep = 9", "keep = 9, number = 'f64'");
    let (whole, cut) = (tiny.recipe("whole", &lines), tiny.recipe("cut", &lines));
    run(&whole, false).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| watch(&cut, false, &mut DiesAfter(4)))).is_err());
    let trainer = cut.output.dir.join("checkpoints/step-3/trainer_state");
    assert!(
        trainer.join("optimizer.safetensors").exists()
            && !trainer.join("weights.safetensors").exists()
    );
    run(&cut, true).unwrap();
    assert_same_file(&whole.output.dir, &cut.output.dir, "model/model.safetensors");
    assert_eq!(metrics(&whole.output.dir), metrics(&cut.output.dir));
}

/// In f32 on all cores; the number of threads does not matter.
#[test]
fn the_fast_backend_resumes_on_other_threads() {
    let tiny = Tiny::new();
    let lines = format!("{SIX_STEPS}{}", OPTIMIZERS[0]);
    let with = |output, threads| {
        tiny.recipe(output, &lines.replace("'f64'", &format!("'f32', threads = {threads}")))
    };
    let (whole, cut) = (with("whole", 1), with("cut", 3));
    run(&whole, false).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| watch(&cut, false, &mut DiesAfter(5)))).is_err());
    run(&cut, true).unwrap();
    assert_same_run(&whole.output.dir, &cut.output.dir);
}

#[test]
fn killed_before_the_first_checkpoint_starts_over() {
    let tiny = Tiny::new();
    let lines = format!("{SIX_STEPS}{}", OPTIMIZERS[0]);
    let (whole, cut) = (tiny.recipe("whole", &lines), tiny.recipe("cut", &lines));
    run(&whole, false).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| watch(&cut, false, &mut DiesAfter(2)))).is_err());
    let mut notices = Notices::default();
    watch(&cut, true, &mut notices).unwrap();
    assert!(notices.0.iter().any(|n| n.contains("no complete checkpoint")), "{:?}", notices.0);
    assert_same_run(&whole.output.dir, &cut.output.dir);
}

/// Starting over would remove what is there.
#[test]
fn checkpoints_that_cannot_be_used_are_an_error() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", &format!("{SIX_STEPS}{}", OPTIMIZERS[0]));
    let stop = AtomicBool::new(false);
    train(&recipe, &RunOptions::default(), &stop, &mut StopsAfter(2, &stop)).unwrap();
    let before = metrics(&recipe.output.dir);
    let checkpoint = recipe.output.dir.join("checkpoints/step-2");
    let state = checkpoint.join("trainer_state/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"format\": 2", "\"format\": 1")).unwrap();
    tiny::seal(&checkpoint, "trainer_state/state.json");
    let message = run(&recipe, true).unwrap_err().to_string();
    assert!(message.contains("has format 1, expected 2"), "{message}");
    fs::write(&state, "torn").unwrap();
    let message = run(&recipe, true).unwrap_err().to_string();
    assert!(message.contains("none is complete") && message.contains("--overwrite"), "{message}");
    assert!(metrics(&recipe.output.dir) == before && checkpoint.exists());
}

#[test]
fn another_run_is_neither_mixed_in_nor_gone_on_with() {
    let tiny = Tiny::new();
    let lines = format!("{SIX_STEPS}{}", OPTIMIZERS[0]);
    let recipe = tiny.recipe("out", &lines);
    let stop = AtomicBool::new(false);
    train(&recipe, &RunOptions::default(), &stop, &mut StopsAfter(1, &stop)).unwrap();

    let message = run(&recipe, false).unwrap_err().to_string();
    assert!(message.contains("--resume") && message.contains("already holds a run"), "{message}");
    let other = tiny.recipe("out", &format!("{SIX_STEPS}{}", OPTIMIZERS[1]));
    let message = run(&other, true).unwrap_err().to_string();
    assert!(message.contains("`optimizer.name` was \"rmsprop\", is \"adamw\""), "{message}");
}

#[test]
fn a_finished_run_without_checkpoints_is_not_trained_again() {
    let tiny = Tiny::new();
    let lines =
        "train = { steps = 1, precision = 'f64' }\ncheckpoint.every = 0\neval.before = false";
    let recipe = tiny.recipe("out", lines);
    run(&recipe, false).unwrap();
    assert!(!recipe.output.dir.join("checkpoints").exists());
    let message = run(&recipe, true).unwrap_err().to_string();
    assert!(message.contains("is finished"), "{message}");
}

#[test]
fn only_the_newest_checkpoints_are_kept() {
    let tiny = Tiny::new();
    let lines = "train = { steps = 5, rows_per_step = 2, precision = 'f64' }\n\
        checkpoint = { every = 1, keep = 2 }";
    let recipe = tiny.recipe("out", lines);
    run(&recipe, false).unwrap();
    let mut names: Vec<_> = fs::read_dir(recipe.output.dir.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["step-4", "step-5"]);
}

#[derive(Default)]
struct Notices(Vec<String>);

impl Observer for Notices {
    fn started(&mut self, start: &ift_train::Start) {
        self.0.clone_from(&start.notices);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
