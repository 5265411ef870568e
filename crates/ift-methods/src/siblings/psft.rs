//! Proximal Supervised Fine-Tuning.

use std::iter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    ppo::clipped_surrogate,
    row::{Reduction, RowLoss, RowScores},
};

/// Proximal Supervised Fine-Tuning (arXiv 2508.17784, eq. 6).
///
/// PPO's clipped objective with an advantage of 1 everywhere: `-Σ min(ρ[t], 1+ε)` with `ρ = p/r`. A
/// target that has become more than `1+ε` times as probable as under the old policy `r` is left
/// alone. The lower clip of PPO never binds for a positive advantage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Psft {
    /// How far a target's probability may rise over the old policy's, as a share of it, 0 or more.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Steps after which the old policy is renewed: that of the window's beginning (the authors'
    /// 8: 256 rows in steps of 32). 0: it is the reference model, and the trust region lies
    /// around the weights that training started from.
    pub window: u64,
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of each row's mean.
    pub reduction: Reduction,
}

impl Default for Psft {
    fn default() -> Self {
        Self { epsilon: 0.28, window: 8, reduction: Reduction::Token }
    }
}

impl Objective for Psft {
    fn needs(&self) -> Needs {
        let old_policy = (self.window > 0).then_some(self.window);
        Needs { old_policy, ..Needs::with_reference(RowKind::Demonstration) }
    }

    /// The weights are those in the gradient: `ρ` of the targets that are not clipped.
    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        rows.iter()
            .map(|row| clipped_surrogate(row, iter::repeat(1.0), self.epsilon, self.reduction))
            .collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("epsilon", self.epsilon)
    }
}
