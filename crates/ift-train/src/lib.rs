//! The training run: from a [`Recipe`] to a trained model folder.
//!
//! [`train`] reads top to bottom: data, model, plan, then step after step *forward and backward
//! over the step's rows* ([`accumulate`]) → *norm and clipping* → *optimizer update* → *metrics*,
//! with evaluations and checkpoints in between.
//!
//! | module | holds |
//! |---|---|
//! | `recipe`, `optimizer`, `schedule` | the recipe's tables and stages, and what they say about a step |
//! | `data`, `plan`, `estimate` | the rows, which of them form which step, and the memory that takes |
//! | `micro_batch`, `passes`, `step`, `sums` | forward and backward over rows, and what they add up to |
//! | `reference`, `kept_reference`, `score_cache` | what a method compares with: for a step, for a run, and on disk |
//! | `learner`, `gradient`, `states` | a model that learns: norm, clipping, update |
//! | `evaluate`, `samples` | the loss on held-out rows, and answers to the recipe's prompts |
//! | `metrics`, `tensorboard`, `log` | the records of a run |
//! | `durable`, `output`, `checkpoint` | files that are whole or absent, the run's folder, and its checkpoints |
//! | `observer`, `run`, `stages` | what a run tells, the run, and several of them after each other |
//!
//! *Invariants.* A run is a pure function of recipe and data: which rows form a step, λ,
//! the learning rate and every draw follow from the step's number, so nothing random is saved and a
//! resumed run has the bits of one that was never interrupted. Losses and gradients are sums with a
//! count, divided once a step: the split into micro-batches does not change them. Nothing here
//! prints.

mod backend;
mod change;
mod checkpoint;
mod context;
mod couple;
mod data;
mod draws;
mod durable;
mod error;
mod estimate;
mod evaluate;
mod gradient;
mod hash;
mod identity;
mod kept_reference;
mod learner;
mod log;
mod metrics;
mod not_finite;
mod observer;
mod optimizer;
mod options;
mod output;
mod pack;
mod passes;
mod plan;
mod recipe;
mod reference;
mod resume;
mod rows;
mod run;
mod samples;
mod schedule;
mod score_cache;
mod stages;
mod states;
mod step;
mod step_error;
mod sums;
mod tensorboard;

pub use backend::{Work, run_on};
pub use change::Change;
pub use context::{StepContext, StepSettings};
pub use data::Data;
pub use durable::write_folder;
pub use error::TrainError;
pub use evaluate::evaluate;
pub use learner::Learner;
pub use metrics::{
    EvalMetrics, Metrics, PreferenceMetrics, Sample, StepMetrics, page_faults, peak_memory,
};
pub use not_finite::NotFinite;
pub use observer::{Observer, Phase, Progress, Start};
pub use optimizer::{AdamW, Optimizer, RmsProp, Sgd};
pub use options::{Outcome, RunOptions};
pub use pack::RowError;
pub use recipe::{
    CheckpointTable, EvalTable, GenerateTable, ModelTable, OutputTable, Precision, Recipe,
    ReferenceStorage, ReferenceTable, SaveAs, Stage, StageTable, TrainTable,
};
pub use reference::{KnownScores, ReferenceSource};
pub use schedule::{Curve, Schedule};
pub use stages::train;
pub use step::{accumulate, accumulate_with, check_method, examine};
pub use step_error::StepError;
pub use sums::{AnswerDetail, AnswerSums, PreferenceSums, Sums};
