//! Entropy-Adaptive Fine-Tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Entropy-Adaptive Fine-Tuning (arXiv 2601.02151).
///
/// `-Σ sg(H[t]/ln k)^α·log p[t]`, with `H` the entropy of the distribution over the `k` most
/// probable tokens, scaled to sum to 1, and `sg` stop-gradient: targets at which the policy is
/// certain have little effect. The program of the authors divides by 3.0, a rounded `ln 20`, for
/// every `k`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eaft {
    /// Exponent of the normalised entropy, 0 or more; 0 is SFT.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Number of most probable tokens that the entropy is taken over, from 2 to 1024.
    #[schemars(range(min = 2))]
    pub k: usize,
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
    pub reduction: Reduction,
}

impl Default for Eaft {
    fn default() -> Self {
        Self { alpha: 1.0, k: 20, reduction: Reduction::Token }
    }
}

impl Objective for Eaft {
    fn needs(&self) -> Needs {
        Needs { entropy: Some(self.k), ..Needs::only(RowKind::Demonstration) }
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        let most = (self.k as f64).ln();
        rows.iter()
            .map(|row| {
                // By rounding, an entropy may be slightly below 0 or above its largest value.
                let gate = |entropy: f64| (entropy / most).clamp(0.0, 1.0).powf(self.alpha);
                let gates = row.entropies().map(gate).collect();
                RowLoss::weighted(row, gates, self.reduction)
            })
            .collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("alpha", self.alpha)?;
        checks::range("k", self.k as f64, self.k >= 2, "a whole number, 2 or more")
    }
}
