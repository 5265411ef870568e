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
/// The clipped objective of PPO with an advantage of 1 for every target: `-Σ min(ρ[t], 1+ε)` with
/// `ρ = p/r`. A target that is more than `1+ε` times as probable as under the old policy `r` has no
/// gradient. The lower bound of PPO has no effect for a positive advantage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Psft {
    /// Largest relative increase of the probability of a target over the old policy, 0 or more.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Number of steps that use the same old policy, which is the policy at the first of them (8
    /// in the program of the authors: 256 rows in steps of 32). 0: the old policy is the
    /// reference model, so the trust region stays around the initial weights.
    pub window: u64,
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
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
