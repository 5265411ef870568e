//! The output head: what is asked of it and what it returns.

use crate::{Buffers, Weight};

/// The targets of a call of [`crate::Backend::head`], one per hidden state.
#[derive(Clone, Copy, Debug)]
pub struct HeadTargets<'a> {
    /// `[targets]` token ids.
    pub ids: &'a [u32],
    /// What to report at each position in addition to the log-probability.
    pub select: Select<'a>,
    /// Whether a backward pass will follow, for which logits are kept if they are small enough.
    pub keep_logits: bool,
}

/// What the head reports at each position in addition to the target's log-probability.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// Nothing.
    Nothing,
    /// The most probable token; the lowest id among equals.
    Argmax,
    /// The `k`-th most probable token (`k = 1` is the argmax; lower ids first among equals).
    TopK(usize),
    /// A draw from `softmax(logits / temperature)` by the Gumbel-max trick: `argmax(logits/T + G)`
    /// where `G` comes from [`ift_random::gumbel`] of the position's stream and the token id, so
    /// that the draw does not depend on the order of evaluation.
    Sample {
        /// T > 0.
        temperature: f64,
        /// `[targets]` streams.
        streams: &'a [u64],
    },
    /// No token, but the entropy of the softmax over the `top` most probable tokens alone, which
    /// tells how sure the model is without a sum over the whole vocabulary (EAFT, arXiv
    /// 2601.02151).
    Entropy {
        /// How many tokens, at least 1.
        top: usize,
    },
}

/// Scores on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadScores {
    /// `[targets]` log-probability of each target.
    pub log_probs: Vec<f64>,
    /// `[targets]` selected token ids; empty for [`Select::Nothing`] and [`Select::Entropy`].
    pub selected: Vec<u32>,
    /// `[targets]` entropies in nats; empty but for [`Select::Entropy`].
    pub entropies: Vec<f64>,
    /// `[targets]` divergences from [`crate::Backend::divergence`]; empty if it was not called.
    pub divergences: Vec<f64>,
}

/// The distributions `softmax(x·Wᵀ)` of a head over hidden states that were scored.
pub struct Distributions<'a, B: Buffers + ?Sized> {
    /// Elements of a hidden state; two models that share a vocabulary may differ in it.
    pub width: usize,
    /// `[targets, width]` hidden states after the final norm.
    pub x: &'a B::Activation,
    /// `[vocabulary, width]`.
    pub weight: Weight<'a, B>,
    /// Their scores.
    pub scores: &'a B::Scores,
}

impl<B: Buffers + ?Sized> Clone for Distributions<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Buffers + ?Sized> Copy for Distributions<'_, B> {}

/// Direction of a Kullback-Leibler divergence between a policy `p` and a reference `r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// `KL(r ‖ p) = Σ_v r·(log r - log p)`: the policy must cover the reference (TDPO).
    Forward,
    /// `KL(p ‖ r) = Σ_v p·(log p - log r)`: the policy must stay inside the reference.
    Reverse,
}

/// The gradient of a loss at the scores of a head.
pub struct HeadGradient<'a, B: Buffers + ?Sized> {
    /// `[targets]` derivative with respect to each log-probability.
    pub d_log_probs: &'a [f64],
    /// The gradient with respect to divergences, where the loss has some.
    pub divergence: Option<DivergenceGradient<'a, B>>,
}

/// The gradient of a loss with respect to divergences.
pub struct DivergenceGradient<'a, B: Buffers + ?Sized> {
    /// Which divergence.
    pub kind: Divergence,
    /// The reference's distributions at the same positions.
    pub reference: Distributions<'a, B>,
    /// `[targets]` derivative with respect to each divergence.
    pub d_divergences: &'a [f64],
}
