//! `ift train`: a recipe, run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ift_train::{Outcome, Recipe, RunOptions, TrainError, train};
use serde_json::json;

use super::train_report::TrainReport;
use crate::arguments::TrainArguments;
use crate::output::Output;
use crate::recipe_file::RecipeFile;

/// Runs the command.
pub(crate) fn run(arguments: &TrainArguments, output: Output) -> Result<()> {
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let recipe: Recipe = file.resolve()?;
    // A value that only its meaning shows to be wrong is shown where it stands, as any other fault of the recipe.
    recipe.validate().map_err(|error| match error {
        TrainError::Recipe { field, problem } => file.invalid(&field, format!("`{field}` {problem}")).into(),
        other => anyhow::Error::new(other),
    })?;
    let options = RunOptions {
        resume: arguments.resume,
        overwrite: arguments.overwrite,
        accept_other_data: arguments.accept_other_data,
    };
    let stop = stop_flag()?;
    let mut report = TrainReport::new(output);
    let outcome = train(&recipe, &options, &stop, &mut report)?;
    report.finish();
    match outcome {
        Outcome::Finished { model } => {
            report.comparison();
            if output.json() {
                output.result(&json!({"outcome": "finished", "model": model}).to_string())?;
            } else {
                output.result(&format!("the trained model is in {}", model.display()))?;
            }
        }
        Outcome::Stopped { step, steps, checkpoint } => {
            let how = format!("ift train {} --resume", arguments.recipe.display());
            if output.json() {
                let answer =
                    json!({"outcome": "stopped", "step": step, "steps": steps, "checkpoint": checkpoint});
                output.result(&answer.to_string())?;
            } else {
                output.result(&format!("stopped after step {step} of {steps}; go on with `{how}`"))?;
            }
        }
    }
    Ok(())
}

/// Signals that come this soon after the first are the same request: some senders signal both a process and its group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// A flag that the first Ctrl-C (or SIGTERM) sets; a later one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    let handler = move || match first {
        None => {
            first = Some(Instant::now());
            flag.store(true, Ordering::Relaxed);
            crate::output::interrupt("finishing this step, then saving; press Ctrl-C again to quit at once");
        }
        Some(at) if at.elapsed() < ONE_REQUEST => {}
        Some(_) => std::process::exit(130),
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
