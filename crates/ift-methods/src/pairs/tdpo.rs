//! Token-level Direct Preference Optimization, in its two forms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives, PairLoss, logistic_loss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{KlDirection, Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
};

/// Token-level DPO, first form (arXiv 2404.11999).
///
/// `-log σ(β·h - β·(K_l - K_w))`, with `h` as in [`crate::Dpo`], and `K` the sum over the targets
/// of an answer of `KL(reference ‖ policy)` over the full vocabulary. The reward of an answer is
/// `β·(S - R + K)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tdpo1 {
    /// Strength of the tie to the reference, above 0: the larger, the closer the policy stays to
    /// it.
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
/// `-log σ(β·h - α·β·(K_l - sg(K_w)))`: only the divergence of the rejected answer has a gradient
/// (`sg` is stop-gradient).
/// The reward of an answer is `β·(S - R + K)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tdpo2 {
    /// Strength of the tie to the reference, above 0: the larger, the closer the policy stays to
    /// it.
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

/// `-log σ(β·(h - α·(K_l - K_w)))`. The derivative by `K_w` is multiplied by `chosen_factor`: 0 if
/// `K_w` is detached, else 1.
fn losses(rows: &[RowScores], beta: f64, alpha: f64, chosen_factor: f64) -> Vec<RowLoss> {
    pair_losses(rows, |chosen, rejected| {
        let margin = chosen.log_ratio() - rejected.log_ratio();
        let difference = rejected.divergence - chosen.divergence;
        let (loss, derivative) = logistic_loss(beta * (margin - alpha * difference), 0.0);
        let derivative = beta * derivative;
        let derivatives = |answer: &Answer, logps, divergence| Derivatives {
            logps,
            divergence: Some(divergence),
            reward: beta * (answer.log_ratio() + answer.divergence),
        };
        PairLoss {
            loss,
            chosen: derivatives(chosen, derivative, chosen_factor * alpha * derivative),
            rejected: derivatives(rejected, -derivative, -alpha * derivative),
        }
    })
}
