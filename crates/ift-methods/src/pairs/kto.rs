//! Kahneman–Tversky Optimization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives};
use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
    stable::sigmoid,
};

/// Kahneman–Tversky Optimization (arXiv 2402.01306), on single answers with a binary label.
///
/// `w_D·(1 - σ(β·(S - R) - β·z₀))` for a desirable answer, `w_U·(1 - σ(β·z₀ - β·(S - R)))` for an
/// undesirable one. `S` and `R` are the log-probabilities of the answer under policy and reference;
/// `z₀` is the reference point (KL point), a constant in the gradient
/// ([`crate::Method::kl_point`]). The reward of an answer is `β·(S - R)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kto {
    /// Strength of the KL regularisation towards the reference, above 0: the larger, the closer
    /// the policy stays to it.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// Weight `w_D` of desirable answers, 0 or more.
    #[schemars(range(min = 0.0))]
    pub desirable_weight: f64,
    /// Weight `w_U` of undesirable answers, 0 or more.
    #[schemars(range(min = 0.0))]
    pub undesirable_weight: f64,
}

impl Default for Kto {
    fn default() -> Self {
        Self { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

impl Objective for Kto {
    fn needs(&self) -> Needs {
        Needs::with_reference(RowKind::Judged)
    }

    fn losses(&self, rows: &[RowScores], kl_point: f64) -> Vec<RowLoss> {
        rows.iter().map(|row| self.loss(row, kl_point)).collect()
    }

    /// `max(0, mean of S - R)` over the mismatched sequences that have targets.
    fn kl_point(&self, mismatched: &[RowScores]) -> f64 {
        let ratios: Vec<f64> =
            mismatched.iter().filter_map(Answer::new).map(|answer| answer.log_ratio()).collect();
        (ratios.iter().sum::<f64>() / ratios.len().max(1) as f64).max(0.0)
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)?;
        checks::not_negative("desirable_weight", self.desirable_weight)?;
        checks::not_negative("undesirable_weight", self.undesirable_weight)
    }
}

impl Kto {
    fn loss(&self, row: &RowScores, kl_point: f64) -> RowLoss {
        let targets = row.logps.len();
        let Some(answer) = Answer::new(row) else { return RowLoss::zero(row) };
        let (weight, sign) =
            if row.chosen { (self.desirable_weight, 1.0) } else { (self.undesirable_weight, -1.0) };
        let scaled_margin = sign * self.beta * (answer.log_ratio() - kl_point);
        // 1 - σ(x) = σ(-x), whose derivative is -σ(x)·σ(-x).
        let loss_term = sigmoid(-scaled_margin);
        let derivatives = Derivatives {
            logps: -weight * sign * self.beta * loss_term * sigmoid(scaled_margin),
            divergence: None,
            reward: self.beta * answer.log_ratio(),
        };
        derivatives.to_row_loss(weight * loss_term, 1.0, targets)
    }
}
