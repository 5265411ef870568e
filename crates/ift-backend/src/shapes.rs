//! What the operations are told besides their buffers.

use std::ops::Range;
use std::time::Duration;

/// The gate's activation in the gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)`, Llama, Mistral, Qwen.
    Silu,
    /// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, Gemma.
    GeluTanh,
}

/// RMS normalisation: `x / √(mean(x²) + eps) · (w + offset)` over rows of `width` numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Numbers in a row.
    pub width: usize,
    /// Added to the mean square.
    pub eps: f64,
    /// Added to every weight: 1 for Gemma, else 0.
    pub offset: f64,
}

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`. Query head `h` reads key-value head `h / (heads /
    /// kv_heads)`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Factor of the scores, `1/√head_dim`.
    pub scale: f64,
    /// Sliding window: a query at position `i` sees keys at `j` with `i - window < j ≤ i`. `None`:
    /// all `j ≤ i`.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Width of the queries and of the attention output, `heads·head_dim`.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of a row of keys then values, `2·kv_heads·head_dim`.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Width of the fused projection: queries, keys, values.
    pub fn qkv_width(&self) -> usize {
        self.q_width() + self.kv_width()
    }

    /// The absolute positions of the keys that the query at `position` sees, its own included.
    pub fn visible(&self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        first..position + 1
    }
}

/// One sequence inside a packed batch, perhaps continuing a past. Absolute positions are
/// `0..past_len` for the past and `past_len..past_len + len` for the sequence's own tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionRow {
    /// First token in the packed batch.
    pub start: usize,
    /// Number of tokens; may be 0.
    pub len: usize,
    /// First token of its past in the past's packed batch.
    pub past_start: usize,
    /// Number of past tokens; 0 for a sequence that starts afresh.
    pub past_len: usize,
}

/// The keys and values computed before: `[past tokens, 2·kv_heads·head_dim]`, keys then values,
/// rotated.
pub struct Past<'a, A> {
    /// The buffer.
    pub kv: &'a A,
}

/// Query and key normalisation per head (Qwen3), applied before the rotation.
pub struct HeadNorms<'a, W> {
    /// `[head_dim]`, for every query head.
    pub q: &'a W,
    /// `[head_dim]`, for every key head.
    pub k: &'a W,
    /// `width` is `head_dim`.
    pub norm: Norm,
}

/// The temporal residual connection (IFT eq. 17): `e[t] = (1-λ)·E[x[t]] + λ·E[own[t]]` where
/// `own[t]` is `Some`.
#[derive(Clone, Copy, Debug)]
pub struct Mix<'a> {
    /// λ in `[0, 1]`.
    pub lambda: f64,
    /// One per token: the model's own choice for that position, or `None` to leave the token as it
    /// is.
    pub own: &'a [Option<u32>],
}

/// Which token the head reports besides the target's log-probability.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// None.
    Nothing,
    /// The most probable token; the lowest id among equals.
    Greedy,
    /// The `k`-th most probable token (`k = 1` is greedy; lower ids first among equals).
    TopK(usize),
    /// A draw from `softmax(logits / temperature)` by the Gumbel-max trick: `argmax(logits/T + G)`
    /// where `G` comes from [`ift_random::gumbel`] of the row's stream and the token id, so that the draw
    /// does not depend on the order of evaluation.
    Sample {
        /// T > 0.
        temperature: f64,
        /// One stream number per scored row.
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

/// What the output head says of `n` hidden states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadScores {
    /// `[n]` log-probability of each target.
    pub log_probs: Vec<f64>,
    /// `[n]` log-sum-exp of the logits, kept for the backward pass.
    pub log_normalizers: Vec<f64>,
    /// `[n]` chosen tokens, empty for [`Choice::Nothing`] and [`Choice::Entropy`].
    pub choices: Vec<u32>,
    /// `[n]` entropies in nats, empty but for [`Choice::Entropy`].
    pub entropies: Vec<f64>,
}

/// A head over hidden states that were scored: its distributions are `softmax(x·Wᵀ)`.
#[derive(Debug)]
pub struct Distributions<'a, A, W> {
    /// Numbers in a hidden state; two models that share a vocabulary may differ in it.
    pub width: usize,
    /// `[n, width]` hidden states after the final norm.
    pub x: &'a A,
    /// `[vocabulary, width]`.
    pub weight: &'a W,
    /// `[n]` log-sum-exp of the logits.
    pub log_normalizers: &'a [f64],
}

impl<A, W> Clone for Distributions<'_, A, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, W> Copy for Distributions<'_, A, W> {}

/// Which way a divergence between a policy `p` and a reference `r` is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// `KL(r ‖ p) = Σ_v r·(log r - log p)`: the policy must cover the reference (TDPO).
    Forward,
    /// `KL(p ‖ r) = Σ_v p·(log p - log r)`: the policy must stay inside the reference.
    Reverse,
}

/// The part of a loss that is a sum of divergences, for the head's backward pass.
#[derive(Debug)]
pub struct DivergenceGradient<'a, A, W> {
    /// The reference's distributions at the same positions.
    pub reference: Distributions<'a, A, W>,
    /// Which divergence.
    pub kind: Divergence,
    /// `[n]` its values.
    pub values: &'a [f64],
    /// `[n]` the loss's slope along each.
    pub slopes: &'a [f64],
}

/// How a weight that never learns is stored. Products widen it as they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As a trainable weight: exact.
    Exact,
    /// bfloat16.
    Bf16,
    /// Eight bits in blocks of [`Storage::BLOCK`]: `round(127·w / largest |w| of the block)`, and
    /// that largest as f32.
    Int8,
    /// Four bits in blocks: the nearest of sixteen levels made for normally distributed weights,
    /// times the block's largest `|w|` (NF4 of `QLoRA`, arXiv 2305.14314).
    Nf4,
}

impl Storage {
    /// Consecutive numbers that share a scale; blocks are counted from the weight's first number,
    /// the last may be shorter.
    pub const BLOCK: usize = 64;

    /// Bytes of a weight of `len` numbers, where an exact number takes `exact`
    /// ([`crate::Backend::WEIGHT_BYTES`]). A last block that is not full takes as much as a
    /// full one.
    pub fn bytes(self, len: usize, exact: usize) -> usize {
        let blocks = |bytes| len.div_ceil(Self::BLOCK) * (size_of::<f32>() + bytes);
        match self {
            Self::Exact => len * exact,
            Self::Bf16 => len * 2,
            Self::Int8 => blocks(Self::BLOCK),
            Self::Nf4 => blocks(Self::BLOCK / 2),
        }
    }
}

/// Where the time of a backend went since the last call.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// One entry for each kind of operation, in a fixed order.
    pub entries: Vec<ProfileEntry>,
    /// Time that threads spent at work, all together: of the wall time times `threads`, the rest
    /// is idle.
    pub busy: Duration,
    /// How many threads there are.
    pub threads: usize,
}

/// Time and work of one kind of operation.
#[derive(Clone, Debug)]
pub struct ProfileEntry {
    /// `products`, `attention`, `head`, …
    pub operation: &'static str,
    /// Wall time inside the operation.
    pub time: Duration,
    /// Useful floating point operations (a multiply-add is two).
    pub flops: u64,
}
