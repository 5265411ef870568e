//! A run is resumed as the run that it was, or with changes that were accepted one by one: every
//! kind of thing that a run is made of, changed in turn.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod tiny;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ift_backend::NumberType;
use ift_train::{
    Observer, Outcome, Progress, Recipe, RunOptions, Start, StepMetrics, TrainError, train,
};
use serde_json::Value;
use tiny::{Tiny, config, metrics, run};

/// Four steps over 10 rows, a checkpoint after every second.
const STEPS: &str = "train = { steps = 4, rows_per_step = 4, precision = 'f64' }\n\
    checkpoint = { every = 2, keep = 9 }\noptimizer = { name = 'rmsprop', lr = 0.001 }\n";

#[derive(Default)]
struct Notices(Vec<String>);

impl Observer for Notices {
    fn started(&mut self, start: &Start) {
        self.0.clone_from(&start.notices);
    }
}

struct StopsAfter<'a>(u64, &'a AtomicBool);

impl Observer for StopsAfter<'_> {
    fn stepped(&mut self, metrics: &StepMetrics, _: &Progress) {
        self.1.store(metrics.step == self.0, Ordering::Relaxed);
    }
}

/// Does the first steps of a run.
fn stop_after(recipe: &Recipe, steps: u64) {
    let stop = AtomicBool::new(false);
    let options = RunOptions::default();
    let ended = train(recipe, &options, &stop, &mut StopsAfter(steps, &stop)).unwrap();
    assert!(matches!(ended, Outcome::Stopped { step, .. } if step == steps));
}

/// Resumes a run with accepted changes; returns its notices.
fn resume(recipe: &Recipe, accept: &[&str]) -> Result<Vec<String>, TrainError> {
    let accept = accept.iter().map(|&field| field.to_owned()).collect();
    let options = RunOptions { resume: true, accept, ..RunOptions::default() };
    let mut notices = Notices::default();
    train(recipe, &options, &AtomicBool::new(false), &mut notices)?;
    Ok(notices.0)
}

/// The refusal names what has changed, and nothing else; with `--accept` the run resumes.
fn refused_and_accepted(recipe: &Recipe, changed: &[&str]) {
    let message = resume(recipe, &[]).unwrap_err().to_string();
    let flags: Vec<String> = changed.iter().map(|field| format!("--accept {field}")).collect();
    assert!(message.ends_with(&format!("resume with `{}`", flags.join(" "))), "{message}");
    for field in changed {
        assert!(message.contains(&format!("`{field}` (")), "{message}");
    }
    let notices = resume(recipe, changed).unwrap();
    for field in changed {
        let accepted = format!("accepted after step 2: `{field}` (");
        assert!(notices.iter().any(|n| n.starts_with(&accepted)), "{notices:?}");
    }
    // What was accepted is part of the run from the next checkpoint on.
    resume(recipe, &[]).unwrap();
    let state = recipe.output.dir.join("checkpoints/step-4/trainer_state/state.json");
    let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let recorded: Vec<&str> = state["accepted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["field"].as_str().unwrap())
        .collect();
    assert_eq!(recorded, changed);
}

/// Other random weights in a model folder.
fn other_weights(model: &Path) {
    ift_model::random::create(config(), 77, NumberType::Bf16, model).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn another_model_in_the_same_place_is_refused() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    stop_after(&recipe, 2);
    other_weights(&tiny.path("m"));
    refused_and_accepted(&recipe, &["model"]);
}

#[test]
fn the_same_files_in_other_places_are_the_same_run() {
    let tiny = Tiny::new();
    let lines = format!("method.name = 'dpo'\n{STEPS}");
    let whole = tiny.pair_recipe("whole", &lines);
    run(&whole, false).unwrap();
    let cut = tiny.pair_recipe("cut", &lines);
    stop_after(&cut, 2);
    let place = tiny.path("elsewhere");
    copy(&tiny.path("m"), &place);
    fs::remove_dir_all(tiny.path("m")).unwrap();
    fs::rename(tiny.path("pairs.jsonl"), tiny.path("moved.jsonl")).unwrap();
    fs::rename(tiny.path("eval_pairs.jsonl"), tiny.path("held.jsonl")).unwrap();
    fs::rename(tiny.path("cut"), tiny.path("moved")).unwrap();
    let mut moved = tiny.pair_recipe("moved", &lines);
    moved.model.path.clone_from(&place);
    moved.data.train[0].path = tiny.path("moved.jsonl");
    moved.data.eval[0].path = tiny.path("held.jsonl");
    // The reference is the start model, whether it is named or not.
    moved.reference.path = Some(place);
    resume(&moved, &[]).unwrap();
    let model = |recipe: &Recipe| fs::read(recipe.output.dir.join("model/model.safetensors"));
    assert!(model(&whole).unwrap() == model(&moved).unwrap());
    assert_eq!(metrics(&whole.output.dir), metrics(&moved.output.dir));
}

#[test]
fn another_base_of_an_adapter_is_refused() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", &format!("adapter.rank = 2\n{STEPS}"));
    stop_after(&recipe, 2);
    other_weights(&tiny.path("m"));
    refused_and_accepted(&recipe, &["model"]);
}

#[test]
fn another_base_of_a_model_that_is_an_adapter_is_refused() {
    let tiny = Tiny::new();
    let first = tiny.recipe("first", &format!("adapter.rank = 2\n{STEPS}"));
    run(&first, false).unwrap();
    let mut recipe = tiny.recipe("out", STEPS);
    recipe.model.path = first.output.dir.join("model");
    stop_after(&recipe, 2);
    other_weights(&tiny.path("m"));
    refused_and_accepted(&recipe, &["model"]);
}

#[test]
fn another_adapter_to_go_on_from_is_refused() {
    let tiny = Tiny::new();
    let start = |seed: u64| {
        let lines = format!("adapter.rank = 2\n{STEPS}")
            .replace("steps = 4", &format!("steps = 4, seed = {seed}"));
        let recipe = tiny.recipe(&format!("first{seed}"), &lines);
        run(&recipe, false).unwrap();
        recipe.output.dir.join("model")
    };
    let (one, two) = (start(1), start(2));
    let mut recipe = tiny.recipe("out", &format!("adapter.path = '{}'\n{STEPS}", one.display()));
    stop_after(&recipe, 2);
    recipe.adapter.as_mut().unwrap().path = Some(two);
    refused_and_accepted(&recipe, &["adapter"]);
}

#[test]
fn another_reference_is_refused() {
    for precomputed in [false, true] {
        let tiny = Tiny::new();
        let reference = tiny.path("r");
        copy(&tiny.path("m"), &reference);
        let lines = format!(
            "method.name = 'dpo'\n\
                reference = {{ path = '{}', precomputed = {precomputed} }}\n{STEPS}",
            reference.display()
        );
        let recipe = tiny.pair_recipe("out", &lines);
        stop_after(&recipe, 2);
        other_weights(&reference);
        refused_and_accepted(&recipe, &["reference"]);
    }
    // A model that is its own reference is both.
    let tiny = Tiny::new();
    let recipe = tiny.pair_recipe("out", &format!("method.name = 'dpo'\n{STEPS}"));
    stop_after(&recipe, 2);
    other_weights(&tiny.path("m"));
    refused_and_accepted(&recipe, &["model", "reference"]);
}

#[test]
fn another_tokenizer_or_template_is_refused() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    stop_after(&recipe, 2);
    let path = tiny.path("m/tokenizer_config.json");
    let before = fs::read_to_string(&path).unwrap();
    // No token changes, but what may be read of them does.
    fs::write(&path, before.replacen('{', "{\"model_max_length\": 99, ", 1)).unwrap();
    refused_and_accepted(&recipe, &["tokenizer"]);

    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    stop_after(&recipe, 2);
    let template = "{%- for m in messages -%}{{- m.role + ':' + m.content + eos_token -}}{%- \
        endfor -%}\
                    {%- if add_generation_prompt -%}{{- 'assistant:' -}}{%- endif -%}";
    fs::write(tiny.path("m/chat_template.jinja"), template).unwrap();
    refused_and_accepted(&recipe, &["data", "held_out", "template"]);
}

#[test]
fn other_rows_are_refused() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    stop_after(&recipe, 2);
    // More rows, the first of which are the same.
    tiny.write_rows("train.jsonl", 0..14);
    refused_and_accepted(&recipe, &["data"]);

    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    stop_after(&recipe, 2);
    tiny.write_rows("eval.jsonl", 80..83);
    refused_and_accepted(&recipe, &["held_out"]);
}

#[test]
fn another_version_or_instruction_set_is_refused() {
    for (name, what) in [
        ("version", "`version` (the version of the program's results) was 0"),
        ("instructions", "`instructions` (the processor's instruction set, which decides the last"),
    ] {
        let tiny = Tiny::new();
        let recipe = tiny.recipe("out", &STEPS.replace("every = 2", "every = 0"));
        stop_after(&recipe, 2);
        // What another program or processor would have written.
        let checkpoint = recipe.output.dir.join("checkpoints/step-2");
        let path = checkpoint.join("trainer_state/state.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        state["identity"]["contents"][name] = "0".into();
        fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
        tiny::seal(&checkpoint, "trainer_state/state.json");
        let message = resume(&recipe, &[]).unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
        resume(&recipe, &[name]).unwrap();
    }
}

/// What a person may rightly want to change can be accepted.
#[test]
fn accepted_fields_take_effect() {
    for (then, now, field) in [
        ("lr = 0.001", "lr = 0.002", "optimizer.lr"),
        ("rows_per_step = 4", "rows_per_step = 5", "train.rows_per_step"),
        ("steps = 4", "steps = 6", "train.steps"),
        ("steps = 4", "steps = 4, seed = 3", "train.seed"),
        ("steps = 4", "steps = 4, micro_batch_tokens = 30", "train.micro_batch_tokens"),
        ("steps = 4", "steps = 4, recompute = true", "train.recompute"),
        ("'f64'", "'f32'", "train.precision"),
    ] {
        let tiny = Tiny::new();
        stop_after(&tiny.recipe("out", STEPS), 2);
        let recipe = tiny.recipe("out", &STEPS.replace(then, now));
        let message = resume(&recipe, &[]).unwrap_err().to_string();
        assert!(
            message.contains("the recipe has changed since the checkpoint")
                && message.ends_with(&format!("resume with `--accept {field}`")),
            "{message}"
        );
        let notices = resume(&recipe, &[field]).unwrap();
        assert!(notices.iter().any(|n| n.contains("accepted after step 2")), "{notices:?}");
        let steps: Vec<Value> =
            metrics(&recipe.output.dir).into_iter().filter(|l| l["kind"] == "step").collect();
        assert_eq!(steps.len(), if field == "train.steps" { 6 } else { 4 });
        if field == "train.rows_per_step" {
            // Rows 8 and 9 of the first epoch, then five of the second.
            let rows: Vec<u64> = steps.iter().map(|l| l["rows"].as_u64().unwrap()).collect();
            assert_eq!(rows, [4, 4, 2, 5]);
        }
        if field == "optimizer.lr" {
            assert_eq!(steps[2]["lr"], 0.0015, "half the way down the new curve");
        }
    }
}

/// More epochs after the end: the run is the one that would have had them from the start, where the
/// learning rate does not depend on the length. So is what it logs: its first end is a step like
/// others, evaluated on the weights and not on their moving average.
#[test]
fn a_finished_run_goes_on_with_more_epochs() {
    let lines = |epochs: u64| {
        format!(
            "train = {{ epochs = {epochs}, rows_per_step = 4, precision = 'f64', \
             ema_decay = 0.5 }}\neval.every = 3\n\
             checkpoint.every = 100\noptimizer = {{ name = 'adamw', lr = 1e-3 }}\n\
             schedule = {{ name = 'constant', warmup_steps = 1 }}"
        )
    };
    let tiny = Tiny::new();
    let (whole, short) = (tiny.recipe("whole", &lines(3)), tiny.recipe("short", &lines(1)));
    run(&whole, false).unwrap();
    run(&short, false).unwrap();
    let longer = tiny.recipe("short", &lines(3));
    let message = resume(&longer, &[]).unwrap_err().to_string();
    assert!(message.contains("`train.epochs` was 1, is 3; "), "{message}");
    resume(&longer, &["train.epochs"]).unwrap();
    let model = |recipe: &Recipe| fs::read(recipe.output.dir.join("model/model.safetensors"));
    assert!(model(&whole).unwrap() == model(&longer).unwrap());
    let steps = |recipe: &Recipe| {
        let lines = metrics(&recipe.output.dir).into_iter();
        lines.filter(|line| line["kind"] != "rounding").collect::<Vec<_>>()
    };
    assert_eq!(steps(&whole), steps(&longer));
    // Fewer steps than are done cannot be.
    let message = resume(&tiny.recipe("short", &lines(2)), &["train.epochs"]).unwrap_err();
    assert!(message.to_string().contains("is at step 9 already"), "{message}");
}

/// Another length moves the learning rate, and a run without steps left trains nothing: both are
/// said.
#[test]
fn a_finished_run_says_what_becomes_of_it() {
    let lines = |schedule: &str, epochs: u64| {
        format!(
            "train = {{ epochs = {epochs}, rows_per_step = 4, precision = 'f64' }}\n\
             optimizer = {{ name = 'adamw', lr = 1e-3 }}\nschedule = {{ {schedule} }}"
        )
    };
    for (schedule, moves) in [
        ("name = 'cosine', warmup_steps = 1", true),
        ("name = 'constant', warmup_steps = 1", false),
        // The warm-up of the longer run is over too.
        ("name = 'constant', warmup_ratio = 0.3", false),
        ("name = 'constant', warmup_ratio = 0.9", true),
    ] {
        let tiny = Tiny::new();
        run(&tiny.recipe("out", &lines(schedule, 1)), false).unwrap();
        let said = |notices: Vec<String>, begin: &str| -> Vec<String> {
            notices.into_iter().filter(|notice| notice.starts_with(begin)).collect()
        };
        // Other rows, as many.
        tiny.write_rows("train.jsonl", 20..30);
        let notices = resume(&tiny.recipe("out", &lines(schedule, 1)), &["data"]).unwrap();
        let finished = said(notices, "the run is finished, all 3 steps are done");
        assert!(
            finished[0]
                .ends_with("raise `train.epochs`, which is 1, and add `--accept train.epochs`")
        );
        tiny.write_rows("train.jsonl", 0..10);
        let notices = resume(&tiny.recipe("out", &lines(schedule, 2)), &["train.epochs"]).unwrap();
        assert_eq!(said(notices.clone(), "the run is finished").len(), 0);
        let moved = said(notices, "the learning rate follows a schedule of 6 steps now");
        assert_eq!(moved.len(), usize::from(moves), "{schedule}: {moved:?}");
        if schedule.contains("cosine") {
            assert!(moved[0].ends_with("is 6.545e-4 in step 4, where it was 0.000e0"), "{moved:?}");
        }
    }
}

#[test]
fn what_decides_the_tensors_of_a_checkpoint_cannot_be_accepted() {
    let tiny = Tiny::new();
    stop_after(&tiny.recipe("out", &format!("adapter.rank = 2\n{STEPS}")), 2);
    let recipe = tiny.recipe("out", &format!("adapter.rank = 3\n{STEPS}"));
    let message = resume(&recipe, &["adapter.rank"]).unwrap_err().to_string();
    assert!(
        message.contains("`adapter.rank` was 2, is 3; a checkpoint cannot be resumed"),
        "{message}"
    );
    // A buffer or a running mean that the checkpoint lacks; input embeddings that only one of the
    // methods trains.
    for (then, now, field) in [
        ("lr = 0.001", "lr = 0.001, momentum = 0.9", "optimizer.momentum"),
        ("steps = 4", "steps = 4, ema_decay = 0.5", "train.ema_decay"),
        ("train =", "method.name = 'sft'\ntrain =", "method.name"),
    ] {
        let tiny = Tiny::new();
        stop_after(&tiny.recipe("out", STEPS), 2);
        let other = tiny.recipe("out", &STEPS.replace(then, now));
        for accept in [&[][..], &[field]] {
            let message = resume(&other, accept).unwrap_err().to_string();
            let expected = format!("a checkpoint cannot be resumed with another `{field}`");
            assert!(message.contains(&expected) && !message.contains("--accept"), "{message}");
        }
    }
    // Another value of either is nothing of the kind.
    let tiny = Tiny::new();
    let lines = STEPS.replace("lr = 0.001", "lr = 0.001, momentum = 0.5");
    stop_after(&tiny.recipe("out", &lines), 2);
    let other = tiny.recipe("out", &lines.replace("momentum = 0.5", "momentum = 0.9"));
    resume(&other, &["optimizer.momentum"]).unwrap();
}

/// An adapter of the same name that adapts fewer modules.
#[test]
fn a_checkpoint_with_other_trained_tensors_is_refused() {
    let tiny = Tiny::new();
    let first = |output: &str, targets: &str| {
        let lines = format!("adapter = {{ rank = 2, targets = [{targets}] }}\n{STEPS}");
        let recipe = tiny.recipe(output, &lines);
        run(&recipe, false).unwrap();
        recipe.output.dir.join("model")
    };
    let (two, one) = (first("two", "'q_proj', 'v_proj'"), first("one", "'q_proj'"));
    let mut recipe = tiny.recipe("out", &format!("adapter.path = '{}'\n{STEPS}", two.display()));
    stop_after(&recipe, 2);
    recipe.adapter.as_mut().unwrap().path = Some(one);
    let message = resume(&recipe, &["adapter"]).unwrap_err().to_string();
    assert!(
        message.contains("trained tensors that the run does not train")
            && message.contains("v_proj"),
        "{message}"
    );
}

#[test]
fn nothing_can_be_accepted_where_nothing_is_compared() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", STEPS);
    let message = resume(&recipe, &["optimizer.lr"]).unwrap_err().to_string();
    assert!(message.contains("no complete checkpoint"), "{message}");
}
