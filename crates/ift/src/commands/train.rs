//! `ift train`: a recipe, run.

use std::process::ExitCode;

use anyhow::Result;
use ift_train::{Outcome, Recipe, RunOptions, TrainError, train};
use serde_json::json;

use super::train_report::TrainReport;
use crate::arguments::TrainArguments;
use crate::output::Output;
use crate::recipe_file::RecipeFile;
use crate::signal::StopRequest;

/// The answer to a request to stop.
const STOPPING: &str = "finishing this step, then saving; press Ctrl-C again to quit at once";

/// Runs the command.
pub(crate) fn run(arguments: &TrainArguments, output: Output) -> Result<ExitCode> {
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let recipe: Recipe = file.resolve()?;
    // A value that only its meaning shows to be wrong is shown where it stands, as any other fault
    // of the recipe.
    let at_its_place = |error| match error {
        TrainError::Recipe { field, problem } => {
            file.invalid(&field, format!("`{field}` {problem}")).into()
        }
        other => anyhow::Error::new(other),
    };
    recipe.validate().map_err(at_its_place)?;
    let options = RunOptions {
        resume: arguments.resume,
        overwrite: arguments.overwrite,
        accept: arguments.accept.clone(),
    };
    let stop = StopRequest::listen(STOPPING)?;
    let mut report = TrainReport::new(output);
    let outcome = train(&recipe, &options, stop.asked(), &mut report).map_err(at_its_place)?;
    report.finish();
    match outcome {
        Outcome::Finished { model } => {
            report.comparison();
            if output.json() {
                output.result(&json!({"outcome": "finished", "model": model}).to_string())?;
            } else {
                output.result(&format!("the trained model is in {}", model.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped { step, steps, checkpoint } => {
            // What was accepted is part of the checkpoint, once there is one.
            let accept = if checkpoint.is_none() { arguments.accept.as_slice() } else { &[] };
            let how = resume_command(arguments, accept);
            if output.json() {
                let answer = json!({
                    "outcome": "stopped", "step": step, "steps": steps, "checkpoint": checkpoint
                });
                output.result(&answer.to_string())?;
            } else {
                output.result(&format!(
                    "stopped after step {step} of {steps}; resume with `{how}`"
                ))?;
            }
            Ok(ExitCode::from(stop.exit_code()))
        }
    }
}

/// The command that resumes the run.
fn resume_command(arguments: &TrainArguments, accept: &[String]) -> String {
    let mut words = vec!["ift train".to_owned(), quoted(&arguments.recipe.display().to_string())];
    words.extend(arguments.set.iter().map(|set| format!("--set {}", quoted(set))));
    words.push("--resume".to_owned());
    words.extend(accept.iter().map(|field| format!("--accept {}", quoted(field))));
    words.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("method.lambda=0.3"), "method.lambda=0.3");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
