//! Anchored Supervised Fine-Tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dft;
use crate::{
    checks,
    error::MethodError,
    needs::{KlDirection, Needs, RowKind},
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Anchored Supervised Fine-Tuning (arXiv 2509.23753v3, eq. 6): DFT with a divergence from the
/// initial model.
///
/// `Σ (-sg(p[t])·log p[t] + λ·KL(reference ‖ policy)[t])`, with the divergence over the full
/// vocabulary at each target; `sg` is stop-gradient. The first version of the paper has the reverse
/// divergence, the published version and the program of the authors have the forward one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Asft {
    /// Weight of the divergence, 0 or more; 0 is DFT.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// Direction of the divergence: `forward` is `KL(reference ‖ policy)`, `reverse` is
    /// `KL(policy ‖ reference)`.
    pub direction: KlDirection,
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
    pub reduction: Reduction,
}

impl Default for Asft {
    fn default() -> Self {
        Self { lambda: 0.05, direction: KlDirection::Forward, reduction: Reduction::Token }
    }
}

impl Objective for Asft {
    fn needs(&self) -> Needs {
        Needs::with_divergence(RowKind::Demonstration, self.direction)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        rows.iter()
            .map(|row| {
                let targets = row.logps.len();
                let scale = self.lambda / self.reduction.divisor(targets);
                let mut loss = dft::loss(row, self.reduction);
                let divergences = row.divergence.iter().copied().take(targets).collect();
                loss.sum += scale * row.weigh(divergences).iter().sum::<f64>();
                loss.divergence_gradient = row.weigh(vec![scale; targets]);
                loss
            })
            .collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("lambda", self.lambda)
    }
}
