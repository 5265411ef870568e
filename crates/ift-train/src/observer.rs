//! Reports of a run in progress. The run itself never prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ift_data::Report;

use crate::metrics::{EvalMetrics, Rounding, Sample, StepMetrics};

/// What a run does between optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading and tokenising the data.
    ReadingData,
    /// Reading the model, and the checkpoint of a resumed run.
    ReadingModel,
    /// Measuring the loss on held-out rows.
    Evaluating,
    /// Answering the recipe's prompts.
    Sampling,
    /// Writing a checkpoint or the final model.
    Saving,
}

/// What a run is about to do: the start-up report.
#[derive(Clone, Debug)]
pub struct Start {
    /// Elements of all weights.
    pub weights: usize,
    /// Trainable elements.
    pub trainable: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of memory that the run needs at most, about.
    pub memory: usize,
    /// What was read, kept and lost of the training files.
    pub train: Report,
    /// The same of the held-out files.
    pub held_out: Option<Report>,
    /// Training rows.
    pub rows: usize,
    /// All optimizer steps.
    pub steps: u64,
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps in which the learning rate rises.
    pub warmup_steps: u64,
    /// The checkpoint that the run resumes from.
    pub resumed_from: Option<PathBuf>,
    /// Steps that were already done.
    pub steps_done: u64,
    /// Notes for the user.
    pub notices: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// All optimizer steps.
    pub steps: u64,
    /// Steps still to do.
    pub steps_left: u64,
    /// Time they will take at the pace so far, evaluations and checkpoints included.
    pub time_left: Duration,
}

/// Receives the reports of a run. Every method has a default that does nothing.
pub trait Observer {
    /// Something begins that may take a while.
    fn phase(&mut self, _phase: Phase) {}
    /// A stage begins, counted from 1, of a run of several.
    fn stage(&mut self, _number: usize, _stages: usize, _name: &str) {}
    /// So many of all rows have been scored with a reference model that is precomputed.
    fn reference_scored(&mut self, _done: usize, _rows: usize) {}
    /// Everything is read; training begins.
    fn started(&mut self, _start: &Start) {}
    /// A step is done.
    fn stepped(&mut self, _metrics: &StepMetrics, _progress: &Progress) {}
    /// The held-out rows were measured.
    fn evaluated(&mut self, _metrics: &EvalMetrics) {}
    /// A prompt was answered.
    fn sampled(&mut self, _sample: &Sample) {}
    /// What rounding the final weights does was measured.
    fn rounded(&mut self, _rounding: &Rounding) {}
    /// A checkpoint is complete.
    fn checkpointed(&mut self, _step: u64, _path: &Path) {}
}

/// Ignores all reports.
impl Observer for () {}
