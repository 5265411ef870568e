//! How a run is started, and how it ends.

use std::path::PathBuf;

/// How to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Goes on from the newest complete checkpoint of the output folder; from the beginning if
    /// there is none.
    pub resume: bool,
    /// Deletes an earlier run in the output folder and starts anew. Not together with `resume`.
    pub overwrite: bool,
    /// What may differ from the checkpoint: dotted fields of the recipe, and names of contents
    /// (`model`, `tokenizer`, `data`, …). Only together with `resume`.
    pub accept: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished {
        /// The final model, a Hugging Face folder.
        model: PathBuf,
    },
    /// It was stopped.
    Stopped {
        /// Steps done.
        step: u64,
        /// All steps.
        steps: u64,
        /// The checkpoint to resume from; `None` if no step was done in this process.
        checkpoint: Option<PathBuf>,
    },
}
