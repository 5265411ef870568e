//! Token-level Direct Preference Optimization, in its two forms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, PairLoss, Slopes, logistic_loss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{KlDirection, Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
};

/// Token-level DPO, first form (arXiv 2404.11999).
///
/// `-log σ(β·h - β·(K_l - K_w))`, with DPO's `h` and `K = Σ KL(reference ‖ policy)` over the full
/// vocabulary at each target of an answer. The reward of an answer is `β·(S - R + K)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tdpo1 {
    /// How strongly the policy is held to the reference, above 0: the larger, the closer.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
}

impl Default for Tdpo1 {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

/// Token-level DPO, second form (arXiv 2404.11999).
///
/// `-log σ(β·h - α·β·(K_l - sg(K_w)))`: the divergence of the rejected answer alone has a gradient.
/// The reward of an answer is `β·(S - R + K)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tdpo2 {
    /// How strongly the policy is held to the reference, above 0: the larger, the closer.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// Weight of the difference in divergence, 0 or more; 0 is DPO.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
}

impl Default for Tdpo2 {
    fn default() -> Self {
        Self { beta: 0.1, alpha: 0.5 }
    }
}

impl Objective for Tdpo1 {
    fn needs(&self) -> Needs {
        Needs::with_divergence(RowKind::Pair, KlDirection::Forward)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        losses(rows, self.beta, 1.0, 1.0)
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)
    }
}

impl Objective for Tdpo2 {
    fn needs(&self) -> Needs {
        Needs::with_divergence(RowKind::Pair, KlDirection::Forward)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        losses(rows, self.beta, self.alpha, 0.0)
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)?;
        checks::not_negative("alpha", self.alpha)
    }
}

/// `-log σ(β·(h - α·(K_l - K_w)))`, of whose slope in `K_w` the share `flows` is kept: 0 where it
/// is detached.
fn losses(rows: &[RowScores], beta: f64, alpha: f64, flows: f64) -> Vec<RowLoss> {
    pair_losses(rows, |chosen, rejected| {
        let margin = chosen.log_ratio() - rejected.log_ratio();
        let difference = rejected.divergence - chosen.divergence;
        let (loss, slope) = logistic_loss(beta * (margin - alpha * difference), 0.0);
        let slope = beta * slope;
        let slopes = |answer: &Answer, logps, divergence| Slopes {
            logps,
            divergence: Some(divergence),
            reward: beta * (answer.log_ratio() + answer.divergence),
        };
        PairLoss {
            loss,
            chosen: slopes(chosen, slope, flows * alpha * slope),
            rejected: slopes(rejected, -slope, -alpha * slope),
        }
    })
}
