//! What goes into a method and what comes out: scores, losses, and the weighted sum between them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a method is given of one row: the log-probabilities of its targets.
///
/// A target at position 0 of a row has nothing before it; it is not scored and does not appear here.
/// The width of the row is not needed: in every variant what masked positions contribute to a normaliser
/// cancels when the weights are scaled to sum to the number of targets.
#[derive(Clone, Copy, Debug)]
pub struct RowScores<'a> {
    /// `log p(x[t] | x[<t])` of each target, in row order. `[targets]`, natural logarithm.
    pub logps: &'a [f64],
    /// Position of each target in the row, strictly increasing. `[targets]`
    ///
    /// Only differences matter: a gap of `d` decays a relation by `γ^d`, so masked tokens between two
    /// assistant turns decay it too.
    pub positions: &'a [usize],
}

impl RowScores<'_> {
    /// Token losses `l = -ℓ`, 0 where rounding has put a probability above 1. `[targets]`
    pub(crate) fn token_losses(&self) -> Vec<f64> {
        self.logps.iter().map(|&logp| if logp > 0.0 { 0.0 } else { -logp }).collect()
    }
}

/// One row's share of a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLoss {
    /// The row's term of the total sum.
    pub sum: f64,
    /// What the row adds to the divisor of the optimizer step: 1 or its number of targets, as the reduction
    /// says. 0 for a row without targets.
    pub count: f64,
    /// `d(total sum over the rows given together) / d logps[t]`. `[targets]`
    pub gradient: Vec<f64>,
    /// Weight of each target's loss: IFT's `W`, 1 for methods without weights. `[targets]`
    pub weights: Vec<f64>,
}

impl RowLoss {
    /// `sum = Σ W[t]·l[t]`, divided by the number of targets under [`Reduction::Sequence`], with the weights
    /// held constant: `gradient[t] = -W[t]`, divided likewise.
    pub(crate) fn weighted(losses: &[f64], weights: Vec<f64>, reduction: Reduction) -> Self {
        let total = weights.iter().zip(losses).fold(0.0, |total, (weight, loss)| total + weight * loss);
        let divisor = reduction.divisor(losses.len());
        Self {
            sum: total / divisor,
            count: reduction.count(losses.len()),
            gradient: weights.iter().map(|weight| -weight / divisor).collect(),
            weights,
        }
    }

    /// Number of targets whose likelihood a descent step on this loss pushes *down*.
    ///
    /// It is 0 for methods whose gradient is a likelihood's; IFT with differentiated weights has such targets.
    pub fn targets_pushed_down(&self) -> usize {
        self.gradient.iter().filter(|&&slope| slope > 0.0).count()
    }
}

/// How token losses become the mean of an optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over rows of each row's mean over targets; every row has the same say.
    Sequence,
    /// Mean over all targets of the optimizer step; every target has the same say.
    Token,
}

impl Reduction {
    /// What a row of `targets` targets divides its sum by. Never 0.
    pub(crate) fn divisor(self, targets: usize) -> f64 {
        match self {
            Self::Sequence => targets.max(1) as f64,
            Self::Token => 1.0,
        }
    }

    fn count(self, targets: usize) -> f64 {
        match self {
            Self::Sequence => f64::from(u8::from(targets > 0)),
            Self::Token => targets as f64,
        }
    }
}
