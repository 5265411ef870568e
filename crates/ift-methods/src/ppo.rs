//! PPO's clipped surrogate, and the method that takes its advantages from rewards.

use std::iter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks,
    error::MethodError,
    row::{Reduction, RowLoss, RowScores},
};

/// Proximal Policy Optimization's clipped objective (arXiv 1707.06347, eq. 7).
///
/// `-Σ min(ρ[t]·A[t], clip(ρ[t], 1-ε, 1+ε)·A[t])` with `ρ = p/r`, `r` the policy that drew the rows
/// and `A` the advantage of what was drawn. A target that the advantage has already moved out of
/// the range by is left alone; one that left it on the other side is pulled back.
///
/// It is no [`crate::Method`]: advantages come from rewards on what the policy itself draws while
/// it trains, and no file of answers holds them. Value function and entropy bonus, where one wants
/// them, are the caller's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ppo {
    /// How far the advantage may move a target's probability from the old policy's, as a share of
    /// it, 0 or more.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
}

impl Default for Ppo {
    fn default() -> Self {
        Self { epsilon: 0.2 }
    }
}

impl Ppo {
    /// Losses and gradients of rows, in the order given, each counting its targets
    /// ([`Reduction::Token`]).
    ///
    /// [`RowScores::reference`] holds the log-probabilities under the policy that drew the rows,
    /// `advantages` one number per row and target; what is missing counts as 0. The weights are
    /// those in the gradient: `ρ·A` of the targets that are not clipped. Finite
    /// log-probabilities give finite results.
    pub fn losses(&self, rows: &[RowScores], advantages: &[Vec<f64>]) -> Vec<RowLoss> {
        let advantages = advantages.iter().map(Vec::as_slice).chain(iter::repeat(&[][..]));
        rows.iter()
            .zip(advantages)
            .map(|(row, advantages)| {
                let advantages = advantages.iter().copied().chain(iter::repeat(0.0));
                clipped_surrogate(row, advantages, self.epsilon, Reduction::Token)
            })
            .collect()
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected.
    pub fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("epsilon", self.epsilon)
    }
}

/// `ρ` stops growing at `e^600`: no clip bounds what a negative advantage pushes down, and sums of
/// it must stay finite.
const LARGEST_LOG_RATIO: f64 = 600.0;

/// `-Σ min(ρ[t]·A[t], clip(ρ[t], 1-ε, 1+ε)·A[t])` of one row, with as many advantages as targets at
/// least.
pub(crate) fn clipped_surrogate(
    row: &RowScores,
    advantages: impl Iterator<Item = f64>,
    epsilon: f64,
    reduction: Reduction,
) -> RowLoss {
    let mut gain = 0.0;
    let weights = row.log_ratios().into_iter().zip(advantages).map(|(log_ratio, advantage)| {
        let ratio = log_ratio.min(LARGEST_LOG_RATIO).exp();
        // The smaller of the two products: one end of the range binds for each sign of the
        // advantage.
        let clipped =
            if advantage < 0.0 { ratio.max(1.0 - epsilon) } else { ratio.min(1.0 + epsilon) };
        gain += clipped * advantage;
        if clipped == ratio { ratio * advantage } else { 0.0 }
    });
    let weights: Vec<f64> = weights.collect();
    let gradient = RowLoss::weighted(&row.token_losses(), weights, reduction);
    RowLoss { sum: -gain / reduction.divisor(row.logps.len()), ..gradient }
}
