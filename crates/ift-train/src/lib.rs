//! The training run: from a [`Recipe`] to a trained model folder.
//!
//! [`train`] reads top to bottom: data, model, plan, then step after step *forward and backward
//! over the step's rows* ([`accumulate`]) → *norm and clipping* → *optimizer update* → *metrics*,
//! with evaluations and checkpoints in between.
//!
//! | module | contents |
//! |---|---|
//! | `recipe`, `optimizer`, `schedule` | the recipe's tables and stages |
//! | `data`, `rows`, `plan` | the rows, and which of them form which step |
//! | `context`, `pack`, `draws` | what a step needs: settings, packed rows, random streams |
//! | `step`, `passes`, `couple`, `sums` | forward and backward over rows, and their sums |
//! | `reference`, `kept_reference`, `score_cache` | the reference of a step, of a run, on disk |
//! | `learner`, `gradient`, `states`, `not_finite` | norm, clipping, update, and their checks |
//! | `evaluate`, `samples`, `stops` | held-out loss, answers to prompts, where they end |
//! | `estimate`, `doubts` | memory needed, settings with which little is learned |
//! | `metrics`, `tensorboard`, `log` | the records of a run |
//! | `durable`, `hash`, `output`, `checkpoint` | files, the run's folder, its checkpoints |
//! | `saved` | what a model folder says besides its weights |
//! | `identity`, `change`, `resume` | what results depend on, and whether a run may resume |
//! | `backend` | the choice of the backend |
//! | `options`, `observer`, `run`, `stages` | the run, its reports, and several runs in a row |
//!
//! *Invariants.* A run is a pure function of recipe and data: the rows of a step, λ, the learning
//! rate and every draw follow from the step's number, so no random state is saved and a resumed run
//! has the bits of one that was never interrupted. Losses and gradients are sums with a count,
//! divided once per step: the split into micro-batches, or over processes, does not change them.
//! Nothing here prints.

mod backend;
mod change;
mod checkpoint;
mod context;
mod couple;
mod data;
mod doubts;
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
mod saved;
mod schedule;
mod score_cache;
mod stages;
mod states;
mod step;
mod step_error;
mod stops;
mod sums;
mod tensorboard;

pub use backend::{Work, run_on};
pub use change::Change;
pub use context::{StepContext, StepSettings};
pub use data::Data;
pub use durable::write_folder;
pub use error::TrainError;
pub use ift_methods::Curve;
pub use learner::Learner;
pub use metrics::{
    EvalMetrics, Metrics, PreferenceMetrics, Rounding, Sample, StepMetrics, page_faults,
    peak_memory,
};
pub use not_finite::NotFinite;
pub use observer::{Observer, Phase, Progress, Start};
pub use optimizer::{AdamW, Optimizer, RmsProp, RmsPropBf16, Sgd};
pub use options::{Outcome, RunOptions};
pub use pack::RowError;
pub use recipe::{
    CheckpointTable, EvalTable, GenerateTable, ModelTable, OutputTable, Precision, Recipe,
    ReferenceStorage, ReferenceTable, SaveAs, Stage, StageTable, TrainTable,
};
pub use reference::{KnownScores, ReferenceSource};
pub use saved::merged_card;
pub use schedule::Schedule;
pub use stages::train;
pub use step::{accumulate, accumulate_with, examine};
pub use step_error::StepError;
pub use stops::{Stops, Watch};
pub use sums::{AnswerDetail, AnswerSums, PreferenceSums, Sums};
