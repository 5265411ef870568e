//! Packed sequences, and what a pass over them keeps.

use crate::Cache;
use ift_backend::{AttentionRow, Backend};

/// Sequences end to end: `tokens` is their concatenation, `rows` says where each lies and what past
/// it continues.
#[derive(Clone, Debug, Default)]
pub struct Sequences {
    /// `[n]` token ids.
    pub tokens: Vec<u32>,
    /// One entry for each sequence, in the order of their tokens.
    pub rows: Vec<AttentionRow>,
    /// Leaves the adapters out: the base alone, which is the reference model of what is adapted.
    pub adapters_off: bool,
    /// One number per token that its random draws come from (dropout of adapters, noise); empty
    /// for none of them. The draws are a pure function of these, so the backward pass meets
    /// the same.
    pub streams: Vec<u64>,
    /// One number per token: how far noise moves each number of its embedding at most (`NEFTune`,
    /// arXiv 2310.05914). Empty for none; needs `streams`.
    pub noise: Vec<f64>,
}

impl Sequences {
    /// Appends a sequence that starts afresh.
    pub fn push(&mut self, tokens: &[u32]) {
        self.push_after(tokens, 0, 0);
    }

    /// Appends a sequence that continues the tokens `past_start..past_start + past_len` of another
    /// pass.
    pub fn push_after(&mut self, tokens: &[u32], past_start: usize, past_len: usize) {
        self.rows.push(AttentionRow {
            start: self.tokens.len(),
            len: tokens.len(),
            past_start,
            past_len,
        });
        self.tokens.extend_from_slice(tokens);
    }

    /// The streams of one part of the model: independent of those of other parts.
    pub(crate) fn streams_of(&self, part: u64) -> Vec<u64> {
        self.streams.iter().map(|&stream| mix(stream ^ mix(part))).collect()
    }

    /// `[n]` absolute positions.
    pub(crate) fn positions(&self) -> Vec<u32> {
        self.rows.iter().flat_map(|r| (r.past_len..r.past_len + r.len).map(|p| p as u32)).collect()
    }
}

/// A number that looks random, one for each number (the finaliser of `SplitMix64`).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What a pass keeps of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only the last hidden states.
    Nothing,
    /// Keys and values: enough to be continued.
    KeysAndValues,
    /// Also each block's input, from which the backward pass computes the rest again.
    BlockInputs,
    /// All that the backward pass reads.
    Everything,
}

/// What one layer keeps; see [`Keep`].
pub(crate) struct LayerSaved<B: Backend> {
    /// `[n, hidden]` block input.
    pub x: Option<B::Activation>,
    /// `[n, 2·kv_heads·head_dim]` rotated keys, then values.
    pub kv: Option<B::Activation>,
    pub inner: Option<Inner<B>>,
}

/// The activations inside a block that its backward pass reads.
pub(crate) struct Inner<B: Backend> {
    /// `[n, qkv width]`, only where heads are normalised.
    pub qkv: Option<B::Activation>,
    /// `[n, heads·head_dim]` rotated queries.
    pub q: B::Activation,
    /// `[n, heads·head_dim]` attention output.
    pub attention: B::Activation,
    /// `[n, heads]` log-sum-exp of the scores.
    pub lse: B::Accumulator,
    /// `[n, hidden]` after the attention's residual.
    pub middle: B::Activation,
    /// `[n, 2·intermediate]`.
    pub gate_up: B::Activation,
}

/// A forward pass: its sequences, last hidden states and what was kept for continuing it or going
/// back.
pub struct Pass<B: Backend> {
    pub(crate) sequences: Sequences,
    pub(crate) rotary: B::Accumulator,
    pub(crate) layers: Vec<LayerSaved<B>>,
    /// `[n, hidden]`: the last block's output, before the final norm.
    pub(crate) hidden: B::Activation,
}

impl<B: Backend> Pass<B> {
    /// The sequences it ran.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Keys and values of a layer, `[n, 2·kv_heads·head_dim]`, unless nothing was kept.
    pub fn keys_and_values(&self, layer: usize) -> Option<&B::Activation> {
        self.layers[layer].kv.as_ref()
    }
}

/// What the sequences of a pass continue.
pub enum PastOf<'a, B: Backend> {
    /// Nothing: they start afresh.
    Nothing,
    /// The sequences of another pass.
    Pass(&'a Pass<B>),
    /// The sequences of a cache.
    Cache(&'a Cache<B>),
}

impl<B: Backend> PastOf<'_, B> {
    /// Keys and values of a layer.
    pub(crate) fn keys_and_values(&self, layer: usize) -> Option<&B::Activation> {
        match self {
            Self::Nothing => None,
            Self::Pass(pass) => pass.keys_and_values(layer),
            Self::Cache(cache) => Some(&cache.layers[layer]),
        }
    }
}

/// The gradient that continuations collect for the keys and values of the pass they continue.
pub struct PastGradient<B: Backend> {
    /// For each layer `[n of the past, 2·kv_heads·head_dim]`.
    pub(crate) layers: Vec<B::Accumulator>,
}

/// The pass that a backward pass's sequences continue, and the gradient it collects.
pub struct Continues<'a, B: Backend> {
    /// The past.
    pub pass: &'a Pass<B>,
    /// Is added to.
    pub gradient: &'a mut PastGradient<B>,
}
