//! What goes into a method and what comes out: scores, losses, and the weighted sum between them.

use std::iter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a method is given of one row: the log-probabilities of its targets, and what else it says
/// it needs ([`crate::Method::needs`]). What is needed but not given counts as 0.
///
/// A target at position 0 of a row has nothing before it; it is not scored and does not appear
/// here. The width of the row is not needed: in every variant what masked positions contribute to a
/// normaliser cancels when the weights are scaled to sum to the number of targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowScores<'a> {
    /// `log p(x[t] | x[<t])` of each target, in row order. `[targets]`, natural logarithm.
    pub logps: &'a [f64],
    /// Position of each target in the row, strictly increasing. `[targets]`
    ///
    /// Only differences matter: a gap of `d` decays a relation by `γ^d`, so masked tokens between
    /// two assistant turns decay it too.
    pub positions: &'a [usize],
    /// The reference model's log-probability of each target; empty where the method needs none.
    /// `[targets]`
    pub reference: &'a [f64],
    /// Kullback–Leibler divergence between reference and policy over the full vocabulary at each
    /// target, nats, in the direction the method asks for; empty where the method needs none.
    /// `[targets]`
    pub divergence: &'a [f64],
    /// Entropy at each target, nats, of the softmax over the most probable tokens, as many as the
    /// method asks for, scaled to sum to 1; empty where the method needs none. `[targets]`
    pub entropy: &'a [f64],
    /// Whether the answer is the chosen or the desirable one. Read by KTO alone: pairs go by their
    /// order.
    pub chosen: bool,
}

impl RowScores<'_> {
    /// Token losses `l = -ℓ`, 0 where rounding has put a probability above 1. `[targets]`
    pub(crate) fn token_losses(&self) -> Vec<f64> {
        self.logps.iter().map(|&logp| if logp > 0.0 { 0.0 } else { -logp }).collect()
    }

    /// `log(p/r)` of each target: how much likelier the policy finds it than the reference does.
    /// `[targets]`
    pub(crate) fn log_ratios(&self) -> Vec<f64> {
        let references = self.reference.iter().chain(iter::repeat(&0.0));
        self.logps.iter().zip(references).map(|(logp, reference)| logp - reference).collect()
    }

    /// The entropy at each target. `[targets]`
    pub(crate) fn entropies(&self) -> impl Iterator<Item = f64> {
        self.entropy.iter().copied().chain(iter::repeat(0.0)).take(self.logps.len())
    }
}

/// One row's share of a loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLoss {
    /// The row's term of the total sum. A pair's stands at its chosen row, its rejected row has 0.
    pub sum: f64,
    /// What the row adds to the divisor of the optimizer step: 1 or its number of targets, as the
    /// reduction says. 0 for a row without targets, and for the rejected row of a pair.
    pub count: f64,
    /// `d(total sum over the rows given together) / d logps[t]`. `[targets]`
    pub gradient: Vec<f64>,
    /// Weight of each target's loss: IFT's `W` and its like, 1 for methods without weights.
    /// `[targets]`
    pub weights: Vec<f64>,
    /// `d(total sum over the rows given together) / d divergence[t]`; empty where the method has
    /// no divergence in its loss. `[targets]`
    pub divergence_gradient: Vec<f64>,
    /// Implicit reward of the answer, for methods that have one (pairs and KTO).
    pub reward: Option<f64>,
}

impl RowLoss {
    /// `sum = Σ W[t]·l[t]`, divided by the number of targets under [`Reduction::Sequence`], with
    /// the weights held constant: `gradient[t] = -W[t]`, divided likewise.
    pub(crate) fn weighted(losses: &[f64], weights: Vec<f64>, reduction: Reduction) -> Self {
        let total =
            weights.iter().zip(losses).fold(0.0, |total, (weight, loss)| total + weight * loss);
        let divisor = reduction.divisor(losses.len());
        Self {
            sum: total / divisor,
            count: reduction.count(losses.len()),
            gradient: weights.iter().map(|weight| -weight / divisor).collect(),
            weights,
            ..Self::default()
        }
    }

    /// The plain negative log-likelihood, every weight 1.
    pub(crate) fn unweighted(row: &RowScores, reduction: Reduction) -> Self {
        Self::weighted(&row.token_losses(), vec![1.0; row.logps.len()], reduction)
    }

    /// A row that says nothing and counts nothing.
    pub(crate) fn silent(row: &RowScores) -> Self {
        Self {
            gradient: vec![0.0; row.logps.len()],
            weights: vec![1.0; row.logps.len()],
            divergence_gradient: vec![0.0; row.divergence.len()],
            ..Self::default()
        }
    }

    /// Number of targets whose likelihood a descent step on this loss pushes *down*, apart from
    /// what a divergence does.
    ///
    /// It is 0 for methods whose gradient is a likelihood's; IFT with differentiated weights has
    /// such targets, and so do answers that a method rejects.
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
