//! What can stop a run.

use std::io;
use std::path::{Path, PathBuf};

use ift_backend::BackendError;
use ift_data::DataError;
use ift_engine::EngineError;
use ift_model::ModelError;
use ift_parallel::CollectiveError;

use crate::change::Change;
use crate::not_finite::NotFinite;
use crate::pack::RowError;

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
    /// There is not enough memory.
    #[error(
        "{purpose}: {source}; lower `train.micro_batch_tokens`, set `train.recompute = true` or \
         `train.precision = \"bf16\"`, or train an `[adapter]`"
    )]
    Memory {
        /// What was being done.
        purpose: String,
        /// What could not be allocated, and how much.
        source: BackendError,
    },
    /// The data or the tokenizer cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A prompt cannot be answered.
    #[error("recipe: `generate.prompts`: {0}")]
    Prompt(EngineError),
    /// The exchange with the other processes of the run failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A row cannot be trained on.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A loss or a gradient that is NaN or infinite; the step was not applied.
    #[error("step {step} was not applied: {found}; {}", found.advice(*step))]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The first thing that is not finite, in the order of computation.
        found: NotFinite,
    },
    /// Tensors without a gradient after the first step.
    #[error(
        "after the first step {count} trainable tensor(s) have a gradient of exactly zero and \
         would never train: {}; if that is intended, set `train.check_gradients = false`",
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
        "the checkpoint of step {step} could not be written: {source}; {}; when the cause is \
         gone, continue with `--resume`",
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
        "`{}` is in use by another run ({holder}); wait for it, stop it, or choose another \
         `output.dir`",
        path.display()
    )]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// Who, as far as known.
        holder: String,
    },
    /// The output folder contains what a run would overwrite, but was not written by one.
    #[error(
        "`{}` holds `{found}`, but no `recipe.toml` or `run.json` of a run, so `--overwrite` does \
         not delete it; choose another `output.dir`, or move it away",
        path.display()
    )]
    NotARun {
        /// The output folder.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// The output folder contains an earlier run, which is to be neither resumed nor overwritten.
    #[error(
        "`{}` already holds a run (`{found}`); continue it with `--resume`, replace it with \
         `--overwrite`, or choose another `output.dir`",
        path.display()
    )]
    OutputInUse {
        /// The output folder.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// A run to be resumed has ended and left no checkpoint to resume from.
    #[error(
        "the run in `{}` is finished and keeps no checkpoint; its model is in `{}`. To train \
         further, start a run in another `output.dir` with that as `model.path`",
        path.display(),
        path.join("model").display()
    )]
    Finished {
        /// The output folder.
        path: PathBuf,
    },
    /// A run to be resumed has changed since its checkpoint.
    #[error("{}", changed_text(path, changes))]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// What differs and was not accepted, or cannot be.
        changes: Vec<Change>,
    },
    /// A finished stage is another one than the recipe describes.
    #[error(
        "stage `{stage}` is finished and was another one: {}; revert the change, or start a run in \
         another `output.dir`",
        list(changes)
    )]
    FinishedStage {
        /// The stage's folder.
        stage: String,
        /// What differs.
        changes: Vec<Change>,
    },
    /// A change was accepted that has not been made.
    #[error("`--accept {field}`: `{field}` {problem}; {}", acceptable_text(changed))]
    Accept {
        /// What was to be accepted.
        field: String,
        /// Why it cannot be.
        problem: String,
        /// What has changed and may be accepted.
        changed: Vec<String>,
    },
}

impl TrainError {
    /// For `map_err` on the standard library's file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on operations of a model: names what memory was needed for.
    pub(crate) fn memory(purpose: &str) -> impl Fn(ModelError) -> Self {
        move |error| match error {
            ModelError::Backend(source) => Self::Memory { purpose: purpose.to_owned(), source },
            other => Self::Model(other),
        }
    }

    /// A file that is not what it should be.
    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    /// A change was accepted where there is no checkpoint to compare with.
    pub(crate) fn nothing_to_accept(field: &str) -> Self {
        let problem =
            "has nothing to be compared with, because there is no complete checkpoint".to_owned();
        Self::Accept { field: field.to_owned(), problem, changed: Vec::new() }
    }

    /// A recipe field that cannot be used.
    pub(crate) fn recipe(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Recipe { field: field.into(), problem: problem.into() }
    }
}

fn intact(previous: Option<&Path>) -> String {
    match previous {
        Some(path) => format!("`{}` is complete and intact", path.display()),
        None => "there is none before it".to_owned(),
    }
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What has changed, and how to continue.
fn changed_text(path: &Path, changes: &[Change]) -> String {
    let what = match changes.iter().filter(|change| change.is_contents()).count() {
        0 => "the recipe has",
        count if count == changes.len() => "what the recipe reads has",
        _ => "the recipe and what it reads have",
    };
    let fixed: Vec<String> = changes
        .iter()
        .filter(|change| change.is_structure())
        .map(|change| format!("`{}`", change.field))
        .collect();
    let how = if fixed.is_empty() {
        let flags: Vec<String> =
            changes.iter().map(|change| format!("--accept {}", change.field)).collect();
        format!("revert the change, or resume with `{}`", flags.join(" "))
    } else {
        format!(
            "a checkpoint cannot be resumed with another {}, which decides what it holds: revert \
             the change, or start a run in another `output.dir`",
            fixed.join(" or ")
        )
    };
    let (list, path) = (list(changes), path.display());
    format!("{what} changed since the checkpoint `{path}`: {list}; {how}")
}

fn acceptable_text(changed: &[String]) -> String {
    if changed.is_empty() {
        return "nothing has changed that could be accepted, so leave `--accept` out".to_owned();
    }
    let names: Vec<String> = changed.iter().map(|field| format!("`{field}`")).collect();
    format!("expected one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_memory_is_named_with_its_purpose() {
        let source = BackendError::OutOfMemory { what: "an activation", bytes: 123 };
        let message = TrainError::memory("the passes of a step")(source.into()).to_string();
        for part in ["the passes of a step: ", "123 bytes for an activation", "train.recompute"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
