//! Dynamic Fine-Tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Dynamic Fine-Tuning (arXiv 2508.05629, eq. 9).
///
/// `-Σ sg(p[t])·log p[t]`, with `sg` stop-gradient: the weight of each target is its probability
/// under the policy. The gradient is that of `-Σ p[t]`, so improbable targets have little effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dft {
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
    pub reduction: Reduction,
}

impl Default for Dft {
    fn default() -> Self {
        Self { reduction: Reduction::Token }
    }
}

impl Objective for Dft {
    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        rows.iter().map(|row| loss(row, self.reduction)).collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

/// Token losses weighted by the targets' probabilities.
pub(super) fn loss(row: &RowScores, reduction: Reduction) -> RowLoss {
    let probabilities = row.token_losses().iter().map(|loss| (-loss).exp()).collect();
    RowLoss::weighted(row, probabilities, reduction)
}
