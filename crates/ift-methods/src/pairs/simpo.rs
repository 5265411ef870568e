//! Simple Preference Optimization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives, PairLoss, logistic_loss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
};

/// Simple Preference Optimization (arXiv 2405.14734, eq. 6).
///
/// `-log σ(β·(M_w - M_l) - γ)` with `M` the mean log-probability over an answer and `γ =
/// β·gamma_beta_ratio`; no reference. The reward of an answer is `β·M`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Simpo {
    /// Factor of the difference of the means, above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// The target margin between the two means, 0 or more: `γ/β`.
    #[schemars(range(min = 0.0))]
    pub gamma_beta_ratio: f64,
}

impl Default for Simpo {
    fn default() -> Self {
        Self { beta: 2.0, gamma_beta_ratio: 0.8 }
    }
}

impl Objective for Simpo {
    fn needs(&self) -> Needs {
        Needs::only(RowKind::Pair)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        pair_losses(rows, |chosen, rejected| {
            let margin = chosen.mean() - rejected.mean() - self.gamma_beta_ratio;
            let (loss, derivative) = logistic_loss(self.beta * margin, 0.0);
            let derivatives = |answer: &Answer, derivative| Derivatives {
                logps: derivative / answer.targets,
                divergence: None,
                reward: self.beta * answer.mean(),
            };
            PairLoss {
                loss,
                chosen: derivatives(chosen, self.beta * derivative),
                rejected: derivatives(rejected, -self.beta * derivative),
            }
        })
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)?;
        checks::not_negative("gamma_beta_ratio", self.gamma_beta_ratio)
    }
}
