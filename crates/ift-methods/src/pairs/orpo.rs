//! Odds Ratio Preference Optimization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives, PairLoss, logistic_loss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
    stable::log1mexp,
};

/// Odds Ratio Preference Optimization (arXiv 2403.07691, eq. 6 and 7).
///
/// `-M_w - β·log σ(o(M_w) - o(M_l))` with `M` the mean log-probability over an answer and
/// `o(M) = M - log(1 - eᴹ)` the logarithm of its odds; no reference. The reward of an answer is
/// `β·M`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Orpo {
    /// Weight of the odds ratio relative to the likelihood of the chosen answer (`λ` in the
    /// paper), 0 or more.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
}

impl Default for Orpo {
    fn default() -> Self {
        Self { beta: 0.25 }
    }
}

impl Objective for Orpo {
    fn needs(&self) -> Needs {
        Needs::only(RowKind::Pair)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        pair_losses(rows, |chosen, rejected| {
            let (chosen_odds, rejected_odds) =
                (LogOdds::of(chosen.mean()), LogOdds::of(rejected.mean()));
            let (loss, derivative) = logistic_loss(chosen_odds.value - rejected_odds.value, 0.0);
            let derivative = self.beta * derivative;
            let derivatives = |answer: &Answer, derivative| Derivatives {
                logps: derivative / answer.targets,
                divergence: None,
                reward: self.beta * answer.mean(),
            };
            PairLoss {
                loss: self.beta * loss - chosen.mean(),
                chosen: derivatives(chosen, derivative * chosen_odds.derivative - 1.0),
                rejected: derivatives(rejected, -derivative * rejected_odds.derivative),
            }
        })
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("beta", self.beta)
    }
}

/// Mean log-probabilities above this value are treated as 0: one unit in the last place of an `f32`
/// near 1.
const NEAREST: f64 = -(f32::EPSILON as f64);

/// `log(p/(1-p))` of `p = eᴹ`, and its derivative by `M`.
struct LogOdds {
    value: f64,
    derivative: f64,
}

impl LogOdds {
    /// The log-odds have no bound at `M = 0`. Above [`NEAREST`] their tangent is used instead:
    /// value and derivative stay finite and consistent, and a rejected answer of probability 1
    /// still has a gradient.
    fn of(mean: f64) -> Self {
        let at = mean.min(NEAREST);
        let derivative = -1.0 / at.exp_m1();
        Self { value: at - log1mexp(at) + (mean - at) * derivative, derivative }
    }
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;

    #[test]
    fn log_odds_are_smooth_across_the_tangent_and_finite_everywhere() {
        let [below, at, above] = [2.0 * NEAREST, NEAREST, 0.0].map(LogOdds::of);
        assert!(below.value < at.value && at.value < above.value);
        assert_eq!(at.derivative, above.derivative);
        let mut comparison = Comparison::new("log-odds", Tolerance::absolute(1e-6));
        comparison.value("at the tangent", at.value, -f64::from(f32::EPSILON).ln());
        comparison.value("above it", above.value - at.value, 1.0);
        // p = 1/2 has even odds.
        let even = LogOdds::of(-std::f64::consts::LN_2).value;
        comparison.values_within("p = 1/2", &[even], &[0.0], Tolerance::absolute(1e-15));
        comparison.finish();
        let deep = LogOdds::of(-1e300);
        assert_eq!((deep.value, deep.derivative), (-1e300, 1.0));
    }
}
