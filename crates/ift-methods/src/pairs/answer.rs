//! What methods on answers share: the sums over an answer's targets, and the way back from slopes
//! of those sums to gradients of each target.

use crate::{
    row::{RowLoss, RowScores},
    stable::{sigmoid, softplus},
};

/// One answer, summed over its targets. There is at least one.
pub(super) struct Answer {
    /// `S = Σ ℓ` of the policy.
    pub(super) logps: f64,
    /// `S` of the reference; 0 where none was given.
    pub(super) reference: f64,
    /// `K = Σ KL`; 0 where none was given.
    pub(super) divergence: f64,
    /// Number of targets.
    pub(super) targets: f64,
}

impl Answer {
    /// `None` for a row without targets.
    pub(super) fn new(row: &RowScores) -> Option<Self> {
        let targets = row.logps.len();
        (targets > 0).then(|| Self {
            logps: row.logps.iter().sum(),
            reference: row.reference.iter().take(targets).sum(),
            divergence: row.divergence.iter().take(targets).sum(),
            targets: targets as f64,
        })
    }

    /// `S - S_ref`: how much likelier the policy finds the answer than the reference does.
    pub(super) fn log_ratio(&self) -> f64 {
        self.logps - self.reference
    }

    /// `M = S/n`.
    pub(super) fn mean(&self) -> f64 {
        self.logps / self.targets
    }
}

/// What a loss says about one answer.
#[derive(Clone, Copy, Default)]
pub(super) struct Slopes {
    /// `d loss / dS`, the same for each of the answer's targets.
    pub(super) logps: f64,
    /// `d loss / dK`, where the loss knows the divergence.
    pub(super) divergence: Option<f64>,
    /// The answer's implicit reward.
    pub(super) reward: f64,
}

impl Slopes {
    /// The row's loss, with the slopes given to each target.
    pub(super) fn spread(self, loss: f64, count: f64, targets: usize) -> RowLoss {
        RowLoss {
            sum: loss,
            count,
            gradient: vec![self.logps; targets],
            weights: vec![1.0; targets],
            divergence_gradient: self
                .divergence
                .map_or_else(Vec::new, |slope| vec![slope; targets]),
            reward: Some(self.reward),
        }
    }
}

/// The loss of one pair.
pub(super) struct PairLoss {
    pub(super) loss: f64,
    pub(super) chosen: Slopes,
    pub(super) rejected: Slopes,
}

/// Losses of rows that come alternately chosen and rejected: sum and count (1 per pair) stand at
/// the chosen one.
///
/// A pair of which one answer has no targets, or is missing, compares nothing: it counts 0.
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
                        pair.chosen.spread(pair.loss, 1.0, chosen.logps.len()),
                        pair.rejected.spread(0.0, 0.0, rejected.logps.len()),
                    ]
                }
                (_, pair) => pair.iter().map(RowLoss::silent).collect(),
            }
        })
        .collect()
}

/// `-(1-ε)·log σ(x) - ε·log σ(-x)` and its derivative.
pub(super) fn logistic_loss(x: f64, label_smoothing: f64) -> (f64, f64) {
    let (right, wrong) = (1.0 - label_smoothing, label_smoothing);
    (right * softplus(-x) + wrong * softplus(x), wrong * sigmoid(x) - right * sigmoid(-x))
}
