//! A run that is interrupted or killed and then resumed gives the same bits.

#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Folder, RECIPE};

/// Steps of the run: many more than pass while a test waits to stop it.
const STEPS: usize = 300;

/// A folder with the recipe of a long run, and the same run without interruption in `whole`.
fn with_long_run(checkpoint_every: u64) -> Folder {
    let folder = Folder::ready_to_train();
    let recipe = RECIPE
        .replace("steps = 8", &format!("steps = {STEPS}"))
        .replace("[eval]\nevery = 3", "[eval]\nevery = 70")
        .replace("[checkpoint]\nevery = 3", &format!("[checkpoint]\nevery = {checkpoint_every}"))
        .replace("name = 'ift'", "name = 'ift'\nlambda_schedule = 'noisy'");
    folder.write("recipe.toml", &recipe);
    folder.ift(&["train", "recipe.toml", "--quiet", "--set", "output.dir=whole"]).done();
    folder
}

fn start(folder: &Folder, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ift"));
    command.current_dir(folder.path("")).args(["train", "recipe.toml"]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the run has reached a condition.
#[track_caller]
fn wait_until(child: &mut Child, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && start.elapsed() < Duration::from_secs(60), "ended as {ended:?}");
        sleep(Duration::from_millis(1));
    }
}

fn steps_done(folder: &Folder) -> usize {
    let metrics = std::fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap_or_default();
    metrics.matches("\"kind\":\"step\"").count()
}

/// The step of the newest complete checkpoint.
fn checkpoint(folder: &Folder) -> Option<usize> {
    let entries = std::fs::read_dir(folder.path("run/checkpoints")).ok()?;
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok()).max()
}

#[track_caller]
fn same_as_uninterrupted(folder: &Folder) {
    assert_eq!(folder.metrics("run"), folder.metrics("whole"));
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let [run, whole] = ["run", "whole"].map(|run| folder.bytes(&format!("{run}/model/{file}")));
        assert!(run == whole, "{file}");
    }
}

#[test]
fn a_signal_saves_and_resuming_changes_nothing() {
    let folder = with_long_run(0);
    for (resume, signal, code) in [(&[][..], "-INT", 130), (&["--resume"], "-TERM", 143)] {
        let before = checkpoint(&folder).unwrap_or(0);
        let mut child = start(&folder, resume);
        wait_until(&mut child, || steps_done(&folder) >= before + 5);
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        let [said, noted] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(code), "{noted}");
        let step = checkpoint(&folder).unwrap();
        assert!(step >= before + 5 && step < STEPS, "{step}");
        assert_eq!(
            said,
            format!(
                "stopped after step {step} of {STEPS}; \
                 resume with `ift train recipe.toml --resume`\n"
            )
        );
        assert!(noted.contains("finishing this step, then saving"), "{noted}");
        assert!(!folder.exists("run/model"));
        assert_eq!(steps_done(&folder), step);
    }
    let answer = folder.ift(&["train", "recipe.toml", "--resume"]);
    assert!(answer.stderr.contains("resuming from run/checkpoints/step-"), "{}", answer.stderr);
    answer.done();
    same_as_uninterrupted(&folder);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let folder = with_long_run(0);
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_ift")).current_dir(folder.path(""));
    command.args(["train", "recipe.toml"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(&mut child, || steps_done(&folder) >= 5);
    let hung_up = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(steps_done(&folder), STEPS);
    same_as_uninterrupted(&folder);
}

#[test]
fn kill_9_loses_no_more_than_the_steps_since_the_last_checkpoint() {
    let folder = with_long_run(10);
    // Between two checkpoints, or while one is written.
    for delay in [0, 3, 11, 19] {
        let before = checkpoint(&folder);
        let mut child = start(&folder, if before.is_some() { &["--resume"] } else { &[] });
        wait_until(&mut child, || checkpoint(&folder) > before);
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        assert!(checkpoint(&folder) > before && !folder.exists("run/model"));
    }
    folder.ift(&["train", "recipe.toml", "--resume", "--quiet"]).done();
    same_as_uninterrupted(&folder);
    let last = format!("checkpoints/step-{STEPS}/trainer_state/optimizer.safetensors");
    assert!(folder.bytes(&format!("run/{last}")) == folder.bytes(&format!("whole/{last}")));
    // No incomplete files are left.
    for name in ["run", "run/checkpoints"] {
        assert!(!folder.names(name).iter().any(|name| name.ends_with(".unfinished")));
    }
}

#[test]
fn a_damaged_checkpoint_is_skipped() {
    let folder = Folder::ready_to_train();
    folder.ift(&["train", "recipe.toml", "--quiet"]).done();
    let (metrics, model) = (folder.metrics("run"), folder.bytes("run/model/model.safetensors"));
    folder.write("run/checkpoints/step-8/model.safetensors", "torn");
    let answer = folder.ift(&["train", "recipe.toml", "--resume"]);
    let named = "skipped the incomplete checkpoint `run/checkpoints/step-8`: \
                 `model.safetensors` has 4 bytes";
    assert!(answer.stderr.contains(named), "{}", answer.stderr);
    assert!(answer.stderr.contains("resuming from run/checkpoints/step-6"), "{}", answer.stderr);
    answer.done();
    assert_eq!(folder.metrics("run"), metrics);
    assert!(folder.bytes("run/model/model.safetensors") == model);
}
