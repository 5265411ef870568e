//! Where a run begins: at its first step, or at a checkpoint that it may resume from.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::change::Change;
use crate::checkpoint::{Accepted, Checkpoint};
use crate::error::TrainError;
use crate::identity::Identity;
use crate::options::RunOptions;
use crate::output::RunFolder;
use crate::plan::{PlanStart, Position};
use crate::resume::accepted_changes;

/// The checkpoint that a run is to resume from, before it is checked whether it may.
pub(super) struct Origin {
    /// The newest complete checkpoint, if the run is to be resumed and there is one.
    checkpoint: Option<Checkpoint>,
    /// Why newer checkpoints were skipped.
    notices: Vec<String>,
}

/// Where this process starts in a run.
pub(super) struct Beginning {
    /// The checkpoint to resume from.
    pub checkpoint: Option<Checkpoint>,
    /// What the results of the run depend on.
    pub identity: Identity,
    /// Changes that were accepted when resuming.
    pub accepted: Vec<Accepted>,
    /// The first step of the current data order.
    pub plan: PlanStart,
    /// The time that the run's chat template writes.
    pub clock: i64,
    /// Notes for the user.
    pub notices: Vec<String>,
}

impl Origin {
    /// Looks for a checkpoint.
    ///
    /// # Errors
    /// If the run is finished and kept none, or there is none and changes were accepted.
    pub fn find(folder: &RunFolder, options: &RunOptions) -> Result<Self, TrainError> {
        if !options.resume {
            return Ok(Self { checkpoint: None, notices: Vec::new() });
        }
        let (checkpoint, mut notices) = folder.checkpoints().newest()?;
        if checkpoint.is_none() {
            if folder.model().exists() {
                return Err(TrainError::Finished { path: folder.path().to_owned() });
            }
            if let Some(field) = options.accept.first() {
                return Err(TrainError::nothing_to_accept(field));
            }
            notices.push(
                "there is no complete checkpoint: the run starts from its beginning".to_owned(),
            );
        }
        Ok(Self { checkpoint, notices })
    }

    /// The time that the run's chat template writes.
    pub fn clock(&self) -> i64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        self.checkpoint.as_ref().map_or_else(now, |checkpoint| checkpoint.state.clock)
    }

    /// Checks that the run may resume from the checkpoint.
    ///
    /// # Errors
    /// Names what has changed and was not accepted.
    pub fn begin(self, identity: Identity, options: &RunOptions) -> Result<Beginning, TrainError> {
        let clock = self.clock();
        let Self { checkpoint, mut notices } = self;
        let (mut accepted, mut plan) = (Vec::new(), PlanStart::default());
        if let Some(Checkpoint { path, state }) = &checkpoint {
            let changes = accepted_changes(&state.identity, &identity, &options.accept, path)?;
            accepted.clone_from(&state.accepted);
            accepted.extend(
                changes.iter().map(|change| Accepted { step: state.step, change: change.clone() }),
            );
            plan = plan_after(&changes, state.plan, state.step, state.position);
            if plan.position != state.position && plan != state.plan {
                notices.push("the current epoch begins again, in the new order of rows".to_owned());
            }
            notices.extend(accepted.iter().map(|Accepted { step, change }| {
                let rounding = if ROUNDING.contains(&change.field.as_str()) {
                    "; the results are the same up to rounding"
                } else {
                    ""
                };
                format!("accepted after step {step}: {change}{rounding}")
            }));
        }
        Ok(Beginning { checkpoint, identity, accepted, plan, clock, notices })
    }
}

impl Beginning {
    /// The loss before training, if the checkpoint has it and what was accepted since leaves it as
    /// it is.
    pub fn start_loss(&self) -> Option<f64> {
        let state = &self.checkpoint.as_ref()?.state;
        let is_kept = |accepted: &Accepted| {
            let field = accepted.change.field.as_str();
            !["data", "held_out", "template", "method", "reference", "model"]
                .iter()
                .any(|changed| field == *changed || field.starts_with(&format!("{changed}.")))
        };
        let kept = self.accepted[state.accepted.len()..].iter().all(is_kept);
        state.start_loss.as_ref().filter(|_| kept)?.parse().ok()
    }
}

/// Fields that change nothing but the order of additions.
const ROUNDING: [&str; 2] = ["train.micro_batch_tokens", "train.recompute"];
/// What decides which rows there are, and their order in an epoch.
const ORDER: [&str; 3] = ["data", "train.seed", "train.shuffle"];

/// The plan of a run that is resumed with accepted changes. With another number of rows per step,
/// the epoch continues where it was. With other rows, or another order of them, it is not known
/// which of them were used in this epoch, so the epoch begins again.
fn plan_after(changes: &[Change], plan: PlanStart, step: u64, position: Position) -> PlanStart {
    let changed = |field: &str| changes.iter().any(|change| change.field == field);
    if ORDER.into_iter().any(changed) {
        PlanStart { step, position: Position { row: 0, ..position } }
    } else if changed("train.rows_per_step") {
        PlanStart { step, position }
    } else {
        plan
    }
}
