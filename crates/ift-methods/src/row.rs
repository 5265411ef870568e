//! Input and output of a method: scores and losses, and the weighted sum that leads from one to the
//! other.

use std::iter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scores of one answer: the log-probabilities of its targets, and the other values that the
/// method needs ([`crate::Method::needs`]). Values that are needed but not given count as 0.
///
/// A target at position 0 is not scored, because nothing predicts it, and is not part of the lists.
/// The length of the sequence is not needed: the contribution of masked positions to a normaliser
/// cancels when weights are scaled to sum to the number of targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowScores<'a> {
    /// `log p(x[t] | x[<t])` of each target, in order; natural logarithm. `[targets]`
    pub logps: &'a [f64],
    /// Position of each target in the sequence, strictly increasing. `[targets]`
    ///
    /// Only differences matter: a distance of `d` decays a relation by `γ^d`, so masked tokens
    /// between two assistant turns count.
    pub positions: &'a [usize],
    /// Log-probability of each target under the reference; empty if the method needs none.
    /// `[targets]`
    pub reference: &'a [f64],
    /// Weight `v[t]` of each target, finite and 0 or more; empty if all are 1. `[targets]`
    ///
    /// The loss of a target is multiplied by its weight. The divisor remains the number of targets,
    /// so a weight of 0.5 halves the part of a target and changes no other target's. What a method
    /// computes from losses, such as the weights of IFT, it computes without these weights. Methods
    /// that compare whole answers ([`crate::RowKind::compares`]) ignore them.
    pub target_weights: &'a [f64],
    /// Kullback–Leibler divergence between reference and policy over the full vocabulary at each
    /// target, in nats, in the direction that the method needs; empty if it needs none.
    /// `[targets]`
    pub divergence: &'a [f64],
    /// Entropy at each target, in nats, of the distribution over the most probable tokens, scaled
    /// to sum to 1; the method sets their number. Empty if it needs none. `[targets]`
    pub entropy: &'a [f64],
    /// Whether the answer is chosen or desirable. Only KTO reads it; pairs are known by their
    /// order.
    pub chosen: bool,
}

impl RowScores<'_> {
    /// Token losses `l = -ℓ`; 0 if a probability is above 1 by rounding. `[targets]`
    pub(crate) fn token_losses(&self) -> Vec<f64> {
        self.logps.iter().map(|&logp| if logp > 0.0 { 0.0 } else { -logp }).collect()
    }

    /// `log(p/r)` of each target, `p` its probability under the policy and `r` under the reference.
    /// `[targets]`
    pub(crate) fn log_ratios(&self) -> Vec<f64> {
        let references = self.reference.iter().chain(iter::repeat(&0.0));
        self.logps.iter().zip(references).map(|(logp, reference)| logp - reference).collect()
    }

    /// `v[t]·values[t]`, with `v` the weights of the targets. `[targets]`
    pub(crate) fn weigh(&self, mut values: Vec<f64>) -> Vec<f64> {
        for (value, weight) in values.iter_mut().zip(self.target_weights) {
            *value *= weight;
        }
        values
    }

    /// The entropy at each target. `[targets]`
    pub(crate) fn entropies(&self) -> impl Iterator<Item = f64> {
        self.entropy.iter().copied().chain(iter::repeat(0.0)).take(self.logps.len())
    }
}

/// The loss of one answer, and its gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLoss {
    /// The term in the total sum. The term of a pair is with its chosen answer; the rejected one
    /// has 0.
    pub sum: f64,
    /// The term in the divisor of the optimizer step: 1, or the number of targets, depending on
    /// the reduction. 0 for an answer without targets, and for the rejected answer of a pair.
    pub count: f64,
    /// `d(total sum over all answers of the call) / d logps[t]`. `[targets]`
    pub gradient: Vec<f64>,
    /// Weight of the loss of each target: that of the method, such as `W` of IFT, or 1, times
    /// [`RowScores::target_weights`]. `[targets]`
    pub weights: Vec<f64>,
    /// `d(total sum over all answers of the call) / d divergence[t]`; empty if the loss does not
    /// depend on the divergence. `[targets]`
    pub divergence_gradient: Vec<f64>,
    /// Implicit reward of the answer, for methods on pairs and KTO.
    pub reward: Option<f64>,
}

impl RowLoss {
    /// `sum = Σ v[t]·W[t]·l[t]`, divided by the number of targets under [`Reduction::Sequence`],
    /// with the weights held constant: `gradient[t] = -v[t]·W[t]`, divided likewise. `weights` are
    /// `W`, `v` those of the row's targets.
    pub(crate) fn weighted(row: &RowScores, weights: Vec<f64>, reduction: Reduction) -> Self {
        let (losses, weights) = (row.token_losses(), row.weigh(weights));
        let total =
            weights.iter().zip(&losses).fold(0.0, |total, (weight, loss)| total + weight * loss);
        let divisor = reduction.divisor(losses.len());
        Self {
            sum: total / divisor,
            count: reduction.count(losses.len()),
            gradient: weights.iter().map(|weight| -weight / divisor).collect(),
            weights,
            ..Self::default()
        }
    }

    /// The negative log-likelihood, each target with its weight in the data alone.
    pub(crate) fn likelihood(row: &RowScores, reduction: Reduction) -> Self {
        Self::weighted(row, vec![1.0; row.logps.len()], reduction)
    }

    /// An answer with a loss of 0 and a count of 0.
    pub(crate) fn zero(row: &RowScores) -> Self {
        Self {
            gradient: vec![0.0; row.logps.len()],
            weights: vec![1.0; row.logps.len()],
            divergence_gradient: vec![0.0; row.divergence.len()],
            ..Self::default()
        }
    }

    /// Number of targets whose likelihood a descent step on this loss decreases, without the effect
    /// of a divergence.
    ///
    /// It is 0 for likelihoods. IFT with differentiated weights has such targets, and so do
    /// rejected and undesirable answers.
    pub fn targets_pushed_down(&self) -> usize {
        self.gradient.iter().filter(|&&derivative| derivative > 0.0).count()
    }
}

/// How token losses are averaged over an optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over rows of the mean over the targets of each row: every row has the same weight.
    Sequence,
    /// Mean over all targets of the optimizer step: every target has the same weight.
    Token,
}

impl Reduction {
    /// Divisor of the sum of an answer with `targets` targets. Never 0.
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
