//! Shapes of the operations.

use crate::{Buffers, Weight};
use std::ops::Range;

/// An embedding table at the inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Rows of the table.
    pub vocabulary: usize,
    /// Elements of a row.
    pub width: usize,
    /// Factor of every embedding: `√hidden` for Gemma, else 1.
    pub scale: f64,
}

impl Embedding {
    /// Checks that the table has a row for each token; every backend calls it in
    /// [`crate::Backend::embed`] and [`crate::Backend::embed_backward`]. Behind a table of
    /// trainable elements lie those of other tensors.
    ///
    /// # Panics
    /// If a token id is not below the vocabulary's size.
    pub fn check(&self, tokens: impl IntoIterator<Item = u32>) {
        let largest = tokens.into_iter().max();
        assert!(
            largest.is_none_or(|token| (token as usize) < self.vocabulary),
            "token id {}, expected one below the vocabulary's {}",
            largest.unwrap_or_default(),
            self.vocabulary
        );
    }
}

/// A linear layer over packed tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Rows of the input and of the output.
    pub tokens: usize,
    /// Elements of an input row.
    pub inputs: usize,
    /// Elements of an output row.
    pub outputs: usize,
}

/// RMS normalisation: `x / √(mean(x²) + eps) · (w + offset)` over rows of `width` elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Elements of a row.
    pub width: usize,
    /// Added to the mean square.
    pub eps: f64,
    /// Added to every weight: 1 for Gemma, else 0.
    pub offset: f64,
}

/// Some columns of a matrix of packed tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Rows.
    pub tokens: usize,
    /// Elements of a row.
    pub width: usize,
    /// The columns meant.
    pub columns: Range<usize>,
}

/// Dropout over packed tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Elements of a row.
    pub width: usize,
    /// Share of the elements that become 0, from 0 to below 1.
    pub rate: f64,
    /// The part of the model that draws: the stream of a token is
    /// [`ift_random::part_stream`] of the token's stream and this.
    pub part: u64,
}

/// A low-rank sum on some rows of a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Elements of a row of the weight.
    pub inputs: usize,
    /// Rank of the sum.
    pub rank: usize,
    /// The rows of the weight that it is added to.
    pub rows: Range<usize>,
    /// Its factor.
    pub scale: f64,
}

/// The attention of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads; a multiple of `kv_heads`. Query head `h` reads key-value head
    /// `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1/√head_dim`.
    pub scale: f64,
    /// Sliding window: a query at position `i` sees keys at `j` with `i - window < j ≤ i`. `None`:
    /// all `j ≤ i`.
    pub window: Option<usize>,
}

impl Attention {
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

    /// The absolute positions of the keys that the query at `position` sees, its own position
    /// included.
    pub fn visible(&self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        first..position + 1
    }
}

/// How the fused projection becomes queries, keys and values.
pub struct Heads<'a, B: Buffers + ?Sized> {
    /// Rows of the projection.
    pub tokens: usize,
    /// The heads.
    pub attention: &'a Attention,
    /// The angles, from [`crate::Backend::rotary`]; `None` in a layer without rotary embedding.
    pub rotary: Option<&'a B::Accumulator>,
    /// Norms of query and key heads, before the rotation (Qwen3).
    pub norms: Option<HeadNorms<'a, B>>,
}

/// Query and key normalisation per head.
pub struct HeadNorms<'a, B: Buffers + ?Sized> {
    /// `[head_dim]`, for every query head.
    pub q: Weight<'a, B>,
    /// `[head_dim]`, for every key head.
    pub k: Weight<'a, B>,
    /// `width` is `head_dim`.
    pub norm: Norm,
}

impl<B: Buffers + ?Sized> Clone for HeadNorms<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Buffers + ?Sized> Copy for HeadNorms<'_, B> {}

/// What [`crate::Backend::attention`] read and wrote, for its backward pass.
pub struct AttentionSaved<'a, B: Buffers + ?Sized> {
    /// Rotated queries, `[tokens, heads·head_dim]`.
    pub q: &'a B::Activation,
    /// Rotated keys, then values, `[tokens, 2·kv_heads·head_dim]`.
    pub kv: &'a B::Activation,
    /// Those of the past.
    pub past: Option<&'a B::Activation>,
    /// The output, `[tokens, heads·head_dim]`.
    pub out: &'a B::Activation,
    /// Log-sum-exp of the scores, `[tokens, heads]`.
    pub lse: &'a B::Accumulator,
}

impl<B: Buffers + ?Sized> Clone for AttentionSaved<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Buffers + ?Sized> Copy for AttentionSaved<'_, B> {}

/// The gated product of an MLP over packed tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Rows.
    pub tokens: usize,
    /// Elements of the gate, and of the product.
    pub width: usize,
    /// The gate's function.
    pub function: GateFunction,
}

/// The function of the gate in a gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateFunction {
    /// `x·σ(x)`, Llama, Mistral, Qwen.
    Silu,
    /// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, Gemma.
    GeluTanh,
}

/// The output head: hidden states after the final norm to logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Elements of a hidden state.
    pub width: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
}
