//! Packed sequences, and what a pass over them keeps.

use ift_backend::{Backend, Segment};

/// Concatenated sequences: `tokens` holds their tokens, `segments` says where each lies and what
/// past it continues.
#[derive(Clone, Debug, Default)]
pub struct Sequences {
    /// `[n]` token ids.
    pub tokens: Vec<u32>,
    /// One entry for each sequence, in the order of their tokens.
    pub segments: Vec<Segment>,
    /// Leaves the adapters out: the base alone, which is the reference model of an adapted one.
    pub adapters_off: bool,
    /// `[n]` streams of the random draws of each token (dropout of adapters, noise); empty for
    /// none. The draws are a pure function of these, so that the backward pass repeats them.
    pub streams: Vec<u64>,
    /// `[n]` largest change that noise makes to an element of each token's embedding (`NEFTune`,
    /// arXiv 2310.05914). Empty for none; needs `streams`.
    pub noise: Vec<f64>,
    /// Where the past lies if it is a cache of blocks ([`PastOf::Cache`]).
    pub past_blocks: Option<BlockTable>,
}

/// The blocks of a cache that hold the past of each sequence; see [`ift_backend::PastBlocks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTable {
    /// Tokens in a block, a power of two.
    pub size: usize,
    /// Numbers of blocks, those of a sequence one after the other.
    pub table: Vec<u32>,
}

impl Sequences {
    /// Appends a sequence that starts afresh.
    pub fn push(&mut self, tokens: &[u32]) {
        self.push_after(tokens, 0, 0);
    }

    /// Appends a sequence that continues the tokens `past_start..past_start + past_len` of another
    /// pass. (With blocks, `past_start` is the first entry of the sequence in their table.)
    pub fn push_after(&mut self, tokens: &[u32], past_start: usize, past_len: usize) {
        let start = self.tokens.len();
        self.segments.push(Segment { start, len: tokens.len(), past_start, past_len });
        self.tokens.extend_from_slice(tokens);
    }
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
    /// `[n, hidden]` after the attention's residual connection.
    pub middle: B::Activation,
    /// `[n, 2·width]` gate, then up.
    pub gate_up: B::Activation,
}

/// A forward pass: its sequences, the last hidden states, and what was kept for continuations and
/// for the backward pass.
pub struct Pass<B: Backend> {
    pub(crate) sequences: Sequences,
    pub(crate) inputs: B::Inputs,
    /// The angles of each of the model's rotary embeddings.
    pub(crate) rotary: Vec<B::Accumulator>,
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
    /// The sequences of a cache of blocks: for each layer its rows of keys then values, of which
    /// [`Sequences::past_blocks`] says which are whose.
    Cache(&'a [B::Activation]),
}

impl<B: Backend> PastOf<'_, B> {
    /// Keys and values of a layer.
    pub(crate) fn keys_and_values(&self, layer: usize) -> Option<&B::Activation> {
        match self {
            Self::Nothing => None,
            Self::Pass(pass) => pass.keys_and_values(layer),
            Self::Cache(layers) => layers.get(layer),
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
