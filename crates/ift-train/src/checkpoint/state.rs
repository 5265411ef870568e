//! `trainer_state/state.json`: the progress of a run, and what its results depend on.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::identity::Identity;
use crate::plan::{PlanStart, Position};

/// Raised when an older program could not read what a newer one writes, or the other way round.
const FORMAT: u64 = 2;

/// Everything of the trainer's state that is not a tensor. The order of rows, noisy λ and sampled
/// look-aheads are pure functions of the seed and the step, so there is no random stream to save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Format of the checkpoint.
    pub format: u64,
    /// Version of the program that wrote it.
    pub version: String,
    /// Steps done.
    pub step: u64,
    /// All steps of the run.
    pub steps: u64,
    /// The names of all trained tensors; checkpoints of earlier versions do not list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<Vec<String>>,
    /// Where the next step's rows begin.
    pub position: Position,
    /// Since when the plan of rows is the one in use.
    pub plan: PlanStart,
    /// The time, in seconds since 1970, that a chat template with a date writes.
    pub clock: i64,
    /// The loss before training that the end of the run is compared with, in decimals that read
    /// back as the same number; checkpoints of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_loss: Option<String>,
    /// What the results of the run depend on.
    pub identity: Identity,
    /// What was changed on the way, oldest first.
    pub accepted: Vec<Accepted>,
}

/// A change that was accepted when a run was resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// Steps that were done before it.
    pub step: u64,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

impl State {
    /// The format that this program reads and writes, and its version.
    pub fn written_by() -> (u64, String) {
        (FORMAT, env!("CARGO_PKG_VERSION").to_owned())
    }

    /// What is wrong with a checkpoint of another format.
    pub(super) fn check_format(format: u64, version: &str) -> Result<(), String> {
        if format == FORMAT {
            return Ok(());
        }
        Err(format!(
            "the checkpoint has format {format}, expected {FORMAT}: continue with version \
             {version} of the program, which wrote it, or start anew with `--overwrite` or in \
             another `output.dir`"
        ))
    }
}
