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
    /// Query heads; a multiple of `kv_heads`. Query head `h` reads key-value head `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Factor of the scores, `1/√head_dim`.
    pub scale: f64,
    /// Sliding window: a query at position `i` sees keys at `j` with `i - window < j ≤ i`. `None`: all `j ≤ i`.
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

/// One sequence inside a packed batch, perhaps continuing a past. Absolute positions are `0..past_len` for the past and
/// `past_len..past_len + len` for the sequence's own tokens.
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

/// The keys and values computed before: `[past tokens, 2·kv_heads·head_dim]`, keys then values, rotated.
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

/// The temporal residual connection (IFT eq. 17): `e[t] = (1-λ)·E[x[t]] + λ·E[own[t]]` where `own[t]` is `Some`.
#[derive(Clone, Copy, Debug)]
pub struct Mix<'a> {
    /// λ in `[0, 1]`.
    pub lambda: f64,
    /// One per token: the model's own choice for that position, or `None` to leave the token as it is.
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
    /// A draw from `softmax(logits / temperature)` by the Gumbel-max trick: `argmax(logits/T + G)` where `G` comes from
    /// [`gumbel`] of the row's stream and the token id, so that the draw does not depend on the order of evaluation.
    Sample {
        /// T > 0.
        temperature: f64,
        /// One stream number per scored row.
        streams: &'a [u64],
    },
}

/// Standard Gumbel noise for `(stream, token)`: a pure function (`SplitMix64` finaliser over both numbers).
pub fn gumbel(stream: u64, token: u32) -> f64 {
    let mut z = stream.wrapping_add((u64::from(token) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    // In (0, 1): never 0, so both logarithms are finite.
    let uniform = ((z >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
    -(-uniform.ln()).ln()
}

/// What the output head says of `n` hidden states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadScores {
    /// `[n]` log-probability of each target.
    pub log_probs: Vec<f64>,
    /// `[n]` log-sum-exp of the logits, kept for the backward pass.
    pub log_normalizers: Vec<f64>,
    /// `[n]` chosen tokens, empty for [`Choice::Nothing`].
    pub choices: Vec<u32>,
}

/// Where the time of a backend went since the last call.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// One entry for each kind of operation, in a fixed order.
    pub entries: Vec<ProfileEntry>,
    /// Time that threads spent at work, all together: of the wall time times `threads`, the rest is idle.
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
