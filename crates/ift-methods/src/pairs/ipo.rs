//! Identity Preference Optimization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives, PairLoss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
};

/// Identity Preference Optimization (arXiv 2310.12036, eq. 17).
///
/// `(h - 1/(2β))²`, with `h` as in [`crate::Dpo`]: the margin approaches a fixed value instead of
/// growing without bound. The reward of an answer is `β·(S - R)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ipo {
    /// `τ` in the paper, above 0: the target margin is `1/(2β)`.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// Divide each sum by the number of targets of the answer, so that long answers do not weigh
    /// more.
    pub ipo_average: bool,
}

impl Default for Ipo {
    fn default() -> Self {
        Self { beta: 0.1, ipo_average: false }
    }
}

impl Objective for Ipo {
    fn needs(&self) -> Needs {
        Needs::with_reference(RowKind::Pair)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        pair_losses(rows, |chosen, rejected| {
            let divisor = |answer: &Answer| if self.ipo_average { answer.targets } else { 1.0 };
            let margin =
                chosen.log_ratio() / divisor(chosen) - rejected.log_ratio() / divisor(rejected);
            let excess = margin - 0.5 / self.beta;
            let derivatives = |answer: &Answer, derivative| Derivatives {
                logps: derivative / divisor(answer),
                divergence: None,
                reward: self.beta * answer.log_ratio(),
            };
            PairLoss {
                loss: excess * excess,
                chosen: derivatives(chosen, 2.0 * excess),
                rejected: derivatives(rejected, -2.0 * excess),
            }
        })
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)
    }
}
