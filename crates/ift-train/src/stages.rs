//! A run, perhaps of several stages: each is a run of its own in a folder below, from the model of
//! the one before.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::data::Data;
use crate::durable;
use crate::error::TrainError;
use crate::identity::Identity;
use crate::observer::Observer;
use crate::options::{Outcome, RunOptions};
use crate::output::{RunFolder, RunRecord};
use crate::recipe::{Recipe, Stage};
use crate::run::{refuse_to_overwrite_inputs, train_one};

/// Trains as a recipe says.
///
/// When `stop` becomes true, the step at hand is finished and a checkpoint written.
///
/// # Errors
/// As [`TrainError`] lists. Checkpoints that were complete stay so.
pub fn train(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    recipe.validate()?;
    if recipe.stage.is_empty() {
        train_one(recipe, options, stop, observer)
    } else {
        train_stages(recipe, options, stop, observer)
    }
}

/// Trains stage after stage. A stage whose model is there is done; `resume` continues with the
/// first that is not, or with the last one where changes are accepted.
fn train_stages(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let stages = recipe.stages()?;
    let folder = RunFolder::open(&recipe.output.dir, options)?;
    if options.overwrite {
        let output = recipe.output.clone();
        refuse_to_overwrite_inputs(&Recipe { output, ..stages[0].recipe.clone() })?;
        // A typo in a path must not cost the earlier run.
        Data::load(&stages[0].recipe, 0)?;
        folder.clear()?;
    }
    let is_new = !folder.recipe().exists();
    let write_recipe = || durable::write_file(&folder.recipe(), recipe.to_toml()?.as_bytes());
    let mut outcome = None;
    let mut accept = options.accept.clone();
    for (i, stage) in stages.iter().enumerate() {
        let dir = &stage.recipe.output.dir;
        let model = dir.join("model");
        let goes_on = i + 1 == stages.len() && !accept.is_empty();
        let is_last = i + 1 == stages.len();
        if options.resume && RunRecord::is_finished(dir) && !goes_on {
            check_finished(dir, stage, is_last)?;
            outcome = Some(Outcome::Finished { model });
            continue;
        }
        if let Some(field) = accept.first().filter(|_| !dir.exists()) {
            return Err(TrainError::nothing_to_accept(field));
        }
        write_recipe()?;
        observer.stage(i + 1, stages.len(), &stage.folder);
        // What was accepted is accepted for the stage that is resumed; later ones begin.
        let options = RunOptions {
            resume: options.resume && dir.exists(),
            overwrite: false,
            accept: std::mem::take(&mut accept),
        };
        let ended = train_one(&stage.recipe, &options, stop, observer).inspect_err(|_| {
            // The first stage did not come to its start: there is no run yet.
            if is_new && i == 0 && !dir.exists() {
                let _ = fs::remove_file(folder.recipe());
            }
        })?;
        if matches!(ended, Outcome::Stopped { .. }) {
            return Ok(ended);
        }
        outcome = Some(ended);
    }
    write_recipe()?;
    outcome
        .ok_or_else(|| TrainError::recipe("stage", "is an empty list, expected at least one stage"))
}

/// A stage that is done must be the one that the recipe describes; the number type of a model
/// that the next stage starts from counts too.
fn check_finished(dir: &Path, stage: &Stage, is_last: bool) -> Result<(), TrainError> {
    let Stage { folder, recipe } = stage;
    let record = RunRecord::read(&dir.join("run.json"))?;
    let now = Identity::of(recipe, &Data::load(recipe, record.clock)?)?;
    let mut changes = record.identity.changes(&now);
    // A stage that is done stays done on another processor.
    changes.retain(|change| change.field != "instructions");
    if !is_last {
        changes.extend(record.identity.change_of_saved_number(&now));
    }
    if changes.is_empty() {
        return Ok(());
    }
    Err(TrainError::FinishedStage { stage: folder.clone(), changes })
}
