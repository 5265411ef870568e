//! What a decoder is made of: a list of blocks and what surrounds them.
//!
//! Every difference between families and between layers is a value in here. The families
//! (`families/`) make a [`Config`] of `config.json`; everything else reads it and never asks which
//! family it came from. What other families need has its place here:
//!
//! - a norm after attention or MLP, or instead of the one before: [`Block`];
//! - a factor of a residual connection: [`Block`];
//! - logit soft-capping of the attention scores: [`ift_backend::Attention`];
//! - a layer without rotary embedding, or with another one: [`AttentionLayer::rotary`];
//! - one fused tensor for queries, keys and values: [`LinearLayer::parts`] of one part;
//! - experts in place of one MLP: [`Block::mlp`];
//! - a factor or a soft-cap of the logits: [`Config`], next to `head`.

use crate::Rope;
use ift_backend::{Attention, GateFunction, Norm};
use serde_json::{Map, Value};

/// A decoder: its blocks, its embeddings and its head.
///
/// ```
/// use ift_model::Config;
/// use std::path::Path;
///
/// let json = r#"{"model_type": "mistral", "vocab_size": 32, "hidden_size": 16,
///     "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
///     "num_key_value_heads": 2, "sliding_window": 8}"#;
/// let config = Config::from_json(serde_json::from_str(json)?, Path::new("config.json"))?;
/// assert_eq!(config.layers(), 2);
/// assert_eq!(config.attention(1).window, Some(8));
/// assert_eq!(config.attention(1).kv_width(), 2 * 2 * 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Entries of the vocabulary: rows of the embedding table and of the head.
    pub vocabulary: usize,
    /// Elements of a hidden state.
    pub hidden: usize,
    /// The embedding table at the inputs.
    pub embedding: EmbeddingLayer,
    /// Rotary embeddings; the angles of each are computed once per pass.
    pub rotary: Vec<Rope>,
    /// The blocks, first to last.
    pub blocks: Vec<Block>,
    /// The norm after the last block.
    pub final_norm: NormLayer,
    /// Name of the output head's matrix; `None` where it is the embedding table.
    pub head: Option<String>,
    /// Longest sequence that the model was made for, in tokens.
    pub max_positions: usize,
    /// Standard deviation of the matrices of a fresh model.
    pub initializer_range: f64,
    /// `config.json` as it was read, so that saving loses nothing.
    pub source: Map<String, Value>,
}

impl Config {
    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// The attention of a layer.
    pub fn attention(&self, layer: usize) -> &Attention {
        &self.blocks[layer].attention.shape
    }
}

/// The embedding table at the inputs, `[vocabulary, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingLayer {
    /// The tensor's name.
    pub name: String,
    /// Factor of every embedding.
    pub scale: f64,
}

/// An RMS norm.
#[derive(Clone, Debug, PartialEq)]
pub struct NormLayer {
    /// The weight's name, `[width]`.
    pub name: String,
    /// Its width and constants.
    pub norm: Norm,
}

/// A linear layer as it is computed: one matrix, or several concatenated that read the same input.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearLayer {
    /// Elements of an input.
    pub inputs: usize,
    /// Its matrices, in the order of their outputs.
    pub parts: Vec<LinearPart>,
    /// Whether every part has a bias.
    pub bias: bool,
}

impl LinearLayer {
    /// Elements of an output.
    pub fn outputs(&self) -> usize {
        self.parts.iter().map(|part| part.outputs).sum()
    }
}

/// One matrix of a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearPart {
    /// The name without its end: the matrix is `NAME.weight`, `[outputs, inputs]`, the bias
    /// `NAME.bias`, `[outputs]`.
    pub name: String,
    /// Its outputs.
    pub outputs: usize,
}

/// One block: attention and gated MLP, each after a norm and inside a residual connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Before the attention.
    pub attention_norm: NormLayer,
    /// The attention.
    pub attention: AttentionLayer,
    /// Before the MLP.
    pub mlp_norm: NormLayer,
    /// The MLP.
    pub mlp: MlpLayer,
}

/// The attention of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionLayer {
    /// Its heads, window and scale.
    pub shape: Attention,
    /// Which of [`Config::rotary`] rotates queries and keys; `None` for no rotation.
    pub rotary: Option<usize>,
    /// The projection to queries, keys and values, in this order.
    pub qkv: LinearLayer,
    /// Norms of query heads and of key heads, before the rotation.
    pub head_norms: Option<[NormLayer; 2]>,
    /// The projection of the heads' outputs.
    pub output: LinearLayer,
}

/// The gated MLP of a block: `down(function(gate) ⊙ up)`.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpLayer {
    /// Elements of the gate, and of what it is multiplied with.
    pub width: usize,
    /// The gate's function.
    pub function: GateFunction,
    /// The projection to gate and up, in this order.
    pub gate_up: LinearLayer,
    /// The projection back.
    pub down: LinearLayer,
}
