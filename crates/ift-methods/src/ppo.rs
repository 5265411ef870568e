//! The clipped surrogate objective of PPO.

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
/// `-Σ min(ρ[t]·A[t], clip(ρ[t], 1-ε, 1+ε)·A[t])` with `ρ = p/r`, where `r` is the policy that
/// generated the rows and `A` the advantage. A target has no gradient if its ratio is out of the
/// range in the direction of its advantage; out of the range in the other direction it has one.
///
/// It is no [`crate::Method`]: advantages come from rewards for samples of the policy during
/// training, which no data set contains. A value function and an entropy bonus are up to the
/// caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ppo {
    /// Largest relative change of the probability of a target from the old policy, 0 or more.
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
    /// [`RowScores::reference`] holds the log-probabilities under the policy that generated the
    /// rows, `advantages` one value for each row and target; missing values count as 0.
    /// [`RowLoss::weights`] are those of the gradient: `ρ·A`, and 0 for clipped targets. Finite
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
    /// Names the field, the value found and the values expected.
    pub fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("epsilon", self.epsilon)
    }
}

/// `ρ` is limited to `e^600`: a negative advantage has no upper clip, and sums must stay finite.
const LARGEST_LOG_RATIO: f64 = 600.0;

/// `-Σ min(ρ[t]·A[t], clip(ρ[t], 1-ε, 1+ε)·A[t])` of one row; `advantages` has at least one value
/// for each target.
pub(crate) fn clipped_surrogate(
    row: &RowScores,
    advantages: impl Iterator<Item = f64>,
    epsilon: f64,
    reduction: Reduction,
) -> RowLoss {
    let mut gains = Vec::with_capacity(row.logps.len());
    let weights = row.log_ratios().into_iter().zip(advantages).map(|(log_ratio, advantage)| {
        let ratio = log_ratio.min(LARGEST_LOG_RATIO).exp();
        // The smaller of the two products. Only one end of the range matters for each sign of the
        // advantage.
        let clipped =
            if advantage < 0.0 { ratio.max(1.0 - epsilon) } else { ratio.min(1.0 + epsilon) };
        gains.push(clipped * advantage);
        if clipped == ratio { ratio * advantage } else { 0.0 }
    });
    let weights: Vec<f64> = weights.collect();
    let gradient = RowLoss::weighted(row, weights, reduction);
    let gain = row.weigh(gains).iter().fold(0.0, |sum, gain| sum + gain);
    RowLoss { sum: -gain / reduction.divisor(row.logps.len()), ..gradient }
}
