//! A run of several stages: each is a run of its own in a folder below, from the model of the one
//! before.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::check_recipe;
use crate::output::RunFolder;
use crate::run::train_one;
use crate::{Observer, Outcome, Recipe, RunOptions, TrainError, durable};

/// Trains stage after stage. A stage whose model is there is done; `--resume` goes on in the first
/// that is not.
///
/// # Errors
/// As those of each stage.
pub(crate) fn train_stages(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let stages = recipe.stages()?;
    let folder = RunFolder::open(&recipe.output.dir, options)?;
    if options.overwrite {
        crate::run::refuse_to_overwrite_the_model(recipe)?;
        folder.clear()?;
    }
    durable::write_file(&folder.recipe(), recipe.to_toml()?.as_bytes())?;
    let mut outcome = None;
    for (i, stage) in stages.iter().enumerate() {
        let dir = &stage.recipe.output.dir;
        let model = dir.join("model");
        if options.resume && model.exists() {
            check_finished(dir, &stage.recipe)?;
            outcome = Some(Outcome::Finished { model });
            continue;
        }
        observer.stage(i + 1, stages.len(), &stage.folder);
        let options =
            RunOptions { resume: options.resume && dir.exists(), overwrite: false, ..*options };
        let ended = train_one(&stage.recipe, &options, stop, observer)?;
        if matches!(ended, Outcome::Stopped { .. }) {
            return Ok(ended);
        }
        outcome = Some(ended);
    }
    outcome
        .ok_or_else(|| TrainError::recipe("stage", "is an empty list, expected at least one stage"))
}

/// A stage that is done must have been this one.
fn check_finished(dir: &Path, recipe: &Recipe) -> Result<(), TrainError> {
    let path = dir.join("recipe.toml");
    let text = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
    let then = Recipe::from_toml(&text).map_err(|e| TrainError::file(&path, e.to_string()))?;
    check_recipe(&then, recipe, dir)
}
