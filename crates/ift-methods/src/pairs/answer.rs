//! The sums over the targets of an answer, and the gradient of each target from the derivatives of
//! a loss by these sums.

use crate::{
    row::{RowLoss, RowScores},
    stable::{sigmoid, softplus},
};

/// Sums over the targets of one answer, of which there is at least one.
pub(super) struct Answer {
    /// `S = Σ ℓ` of the policy.
    pub(super) logps: f64,
    /// `S` of the reference; 0 if none was given.
    pub(super) reference: f64,
    /// `K = Σ KL`; 0 if none was given.
    pub(super) divergence: f64,
    /// Number of targets.
    pub(super) targets: f64,
}

impl Answer {
    /// `None` without targets.
    pub(super) fn new(row: &RowScores) -> Option<Self> {
        let targets = row.logps.len();
        (targets > 0).then(|| Self {
            logps: row.logps.iter().sum(),
            reference: row.reference.iter().take(targets).sum(),
            divergence: row.divergence.iter().take(targets).sum(),
            targets: targets as f64,
        })
    }

    /// `S - S_ref`.
    pub(super) fn log_ratio(&self) -> f64 {
        self.logps - self.reference
    }

    /// `M = S/n`.
    pub(super) fn mean(&self) -> f64 {
        self.logps / self.targets
    }
}

/// Derivatives of a loss by the sums of one answer, and its reward.
#[derive(Clone, Copy, Default)]
pub(super) struct Derivatives {
    /// `d loss / dS`, which is the same for each target.
    pub(super) logps: f64,
    /// `d loss / dK`; `None` if the loss does not depend on the divergence.
    pub(super) divergence: Option<f64>,
    /// The implicit reward of the answer.
    pub(super) reward: f64,
}

impl Derivatives {
    /// The loss of the answer, with a gradient for each target.
    pub(super) fn to_row_loss(self, loss: f64, count: f64, targets: usize) -> RowLoss {
        RowLoss {
            sum: loss,
            count,
            gradient: vec![self.logps; targets],
            weights: vec![1.0; targets],
            divergence_gradient: self
                .divergence
                .map_or_else(Vec::new, |derivative| vec![derivative; targets]),
            reward: Some(self.reward),
        }
    }
}

/// The loss of one pair.
pub(super) struct PairLoss {
    pub(super) loss: f64,
    pub(super) chosen: Derivatives,
    pub(super) rejected: Derivatives,
}

/// Losses of answers that are alternately chosen and rejected. Sum and count (1 per pair) are with
/// the chosen one.
///
/// A pair counts 0 if one of its answers is missing or has no targets.
pub(super) fn pair_losses(
    rows: &[RowScores],
    loss: impl Fn(&Answer, &Answer) -> PairLoss,
) -> Vec<RowLoss> {
    rows.chunks(2)
        .flat_map(|pair| {
            let compared = match pair {
                [chosen, rejected] => Answer::new(chosen).zip(Answer::new(rejected)),
                _ => None,
            };
            match (compared, pair) {
                (Some(answers), [chosen, rejected]) => {
                    let pair = loss(&answers.0, &answers.1);
                    vec![
                        pair.chosen.to_row_loss(pair.loss, 1.0, chosen.logps.len()),
                        pair.rejected.to_row_loss(0.0, 0.0, rejected.logps.len()),
                    ]
                }
                (_, pair) => pair.iter().map(RowLoss::zero).collect(),
            }
        })
        .collect()
}

/// `-(1-ε)·log σ(x) - ε·log σ(-x)` and its derivative.
pub(super) fn logistic_loss(x: f64, label_smoothing: f64) -> (f64, f64) {
    let (right, wrong) = (1.0 - label_smoothing, label_smoothing);
    (right * softplus(-x) + wrong * softplus(x), wrong * sigmoid(x) - right * sigmoid(-x))
}
