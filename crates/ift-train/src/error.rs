//! What can stop a run.

use std::io;
use std::path::{Path, PathBuf};

use ift_data::DataError;
use ift_eval::EvalError;
use ift_model::ModelError;

use crate::RowError;

/// Why a run did not start, or stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe is not TOML, has an unknown or missing field, or a value of the wrong type.
    #[error("recipe: {0}")]
    Syntax(String),
    /// A field of the recipe has a value that cannot be used.
    #[error("recipe: `{field}` {problem}")]
    Recipe {
        /// The field, dotted.
        field: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// The model folder cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data or the tokenizer cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A prompt cannot be answered.
    #[error("recipe: `generate.prompts`: {0}")]
    Prompt(#[from] EvalError),
    /// A row cannot be trained on.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A gradient that is not a number, or infinite; the step was not applied.
    #[error(
        "step {step}: the gradient of `{tensor}` is not finite, so the step was not applied; lower `optimizer.lr`, \
         or look at the rows of this step"
    )]
    GradientNotFinite {
        /// The step, from 1.
        step: u64,
        /// First such tensor, in the model's order.
        tensor: String,
    },
    /// A loss that is not a number, or infinite, though every gradient is; the step was not
    /// applied.
    #[error(
        "step {step}: the loss is {loss}, so the step was not applied; look at the rows of this step"
    )]
    LossNotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// Tensors without a gradient after the first step.
    #[error(
        "after the first step {count} trainable tensor(s) have a gradient of exactly zero and would never train: {}; \
         if that is intended, set `train.check_gradients = false`",
        names.join(", ")
    )]
    Untrained {
        /// How many.
        count: usize,
        /// The first few, by name.
        names: Vec<String>,
    },
    /// A file or folder of the run cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the run that is not what it should be.
    #[error("`{}`: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected.
        problem: String,
    },
    /// A checkpoint could not be written. Earlier ones are as they were.
    #[error(
        "the checkpoint of step {step} could not be written: {source}; {}; when the cause is gone, continue with \
         `--resume`",
        intact(previous.as_deref())
    )]
    Checkpoint {
        /// The step.
        step: u64,
        /// The newest complete checkpoint.
        previous: Option<PathBuf>,
        /// Why.
        source: Box<TrainError>,
    },
    /// Another process trains in the same folder.
    #[error(
        "`{}` is in use by another run ({holder}); wait for it, stop it, or choose another `output.dir`",
        path.display()
    )]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// Who, as far as known.
        holder: String,
    },
    /// The output folder holds an earlier run, and nobody asked to resume it.
    #[error(
        "`{}` already holds a run (`{found}`); continue it with `--resume`, replace it with `--overwrite`, or choose another \
         `output.dir`",
        path.display()
    )]
    OutputInUse {
        /// The output folder.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// A run to be resumed has ended and left no checkpoint to go on from.
    #[error(
        "the run in `{}` is finished and keeps no checkpoint; its model is in `{}`. To train further, start a run in \
         another `output.dir` with that as `model.path`",
        path.display(),
        path.join("model").display()
    )]
    Finished {
        /// The output folder.
        path: PathBuf,
    },
    /// The recipe differs from the one that a checkpoint was made with, in fields that change what
    /// is learned.
    #[error(
        "`{}` was made with another recipe, so this would be neither run: {}. Restore these, or start anew in another \
         `output.dir`",
        path.display(),
        differences.join("; ")
    )]
    OtherRecipe {
        /// The checkpoint.
        path: PathBuf,
        /// One entry a field: its name, the value then, the value now.
        differences: Vec<String>,
    },
    /// The training rows differ from those a checkpoint was made with.
    #[error(
        "`{}` was made with other training rows (identity {found} there, {expected} now): the files, the `[data]` \
         table, the tokenizer or its chat template changed. Restore them, or accept with `--accept-other-data`",
        path.display()
    )]
    OtherData {
        /// The checkpoint.
        path: PathBuf,
        /// The identity in the checkpoint.
        found: String,
        /// The identity of the rows at hand.
        expected: String,
    },
}

impl TrainError {
    /// For `map_err` on the standard library's file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A file that is not what it should be.
    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    /// A recipe field that cannot be used.
    pub(crate) fn recipe(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Recipe { field: field.into(), problem: problem.into() }
    }
}

fn intact(previous: Option<&Path>) -> String {
    match previous {
        Some(path) => format!("`{}` is complete and untouched", path.display()),
        None => "there is none before it".to_owned(),
    }
}
