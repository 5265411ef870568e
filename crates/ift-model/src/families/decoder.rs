//! Llama's form, which all families here share: a norm, attention, a norm, a gated MLP, with the
//! tensors named as in Llama's files.

use super::rotary;
use crate::fields::Fields;
use crate::{
    AttentionLayer, Block, Config, EmbeddingLayer, LinearLayer, LinearPart, MlpLayer, ModelError,
    NormLayer,
};
use ift_backend::{Attention, GateFunction, Norm};
use serde_json::Map;

/// What families of this form differ in. What they share is read by [`read`].
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of a family")]
pub(super) struct DecoderForm {
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// The sliding window of each layer, if it has one.
    pub windows: Vec<Option<usize>>,
    /// The gate's function.
    pub function: GateFunction,
    /// Added to every norm weight.
    pub norm_offset: f64,
    /// Factor of the input embeddings.
    pub embedding_scale: f64,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// A bias on the attention's output projection.
    pub output_bias: bool,
    /// Norms on query and key heads.
    pub head_norms: bool,
    /// Whether the output head is the embedding table.
    pub tied: bool,
}

impl DecoderForm {
    /// What most families have: no biases, no head norms, a head of its own, the gate that
    /// `hidden_act` names. Heads and windows are for the family to say.
    pub fn plain(fields: &Fields) -> Result<Self, ModelError> {
        let function = match fields.text("hidden_act")? {
            None => GateFunction::Silu,
            Some(name) => gate_function(fields, "hidden_act", name)?,
        };
        Self::of_gate(fields, function)
    }

    /// The same with a given gate.
    pub fn of_gate(fields: &Fields, function: GateFunction) -> Result<Self, ModelError> {
        Ok(Self {
            kv_heads: 0,
            head_dim: 0,
            windows: Vec::new(),
            function,
            norm_offset: 0.0,
            embedding_scale: 1.0,
            qkv_bias: false,
            output_bias: false,
            head_norms: false,
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        })
    }
}

/// The gate's function by its name in `field`.
pub(super) fn gate_function(
    fields: &Fields,
    field: &str,
    name: &str,
) -> Result<GateFunction, ModelError> {
    match name {
        "silu" | "swish" => Ok(GateFunction::Silu),
        "gelu_pytorch_tanh" => Ok(GateFunction::GeluTanh),
        other => Err(fields.error(
            field,
            &format!("`{other}` is not supported, expected silu or gelu_pytorch_tanh"),
        )),
    }
}

/// `head_dim`, or the hidden state's width divided among the query heads.
pub(super) fn head_dim(fields: &Fields) -> Result<usize, ModelError> {
    match fields.optional_width("head_dim")? {
        Some(elements) => Ok(elements),
        None => Ok(fields.width("hidden_size")? / fields.width("num_attention_heads")?),
    }
}

/// The decoder of a shape.
pub(super) fn read(fields: &Fields, shape: &DecoderForm) -> Result<Config, ModelError> {
    refuse_unsupported(fields)?;
    let hidden = fields.width("hidden_size")?;
    let attention = attention(fields, shape)?;
    let parts = Parts {
        hidden,
        intermediate: fields.width("intermediate_size")?,
        eps: fields.optional_positive_f32("rms_norm_eps")?.unwrap_or(1e-6),
        mlp_bias: fields.flag("mlp_bias")?.unwrap_or(false),
        attention,
        shape,
    };
    Ok(Config {
        vocabulary: fields.width("vocab_size")?,
        hidden,
        embedding: EmbeddingLayer {
            name: "model.embed_tokens.weight".to_owned(),
            scale: shape.embedding_scale,
        },
        rotary: vec![rotary::read(fields, shape.head_dim)?],
        blocks: (0..shape.windows.len()).map(|layer| parts.block(layer)).collect(),
        final_norm: parts.norm("model.norm", hidden),
        head: (!shape.tied).then(|| "lm_head.weight".to_owned()),
        max_positions: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
        initializer_range: fields.optional_non_negative("initializer_range")?.unwrap_or(0.02),
        source: Map::new(),
    })
}

/// The heads, without a window.
fn attention(fields: &Fields, shape: &DecoderForm) -> Result<Attention, ModelError> {
    let (heads, kv_heads) = (fields.width("num_attention_heads")?, shape.kv_heads);
    let head_dim = shape.head_dim;
    if !heads.is_multiple_of(kv_heads) {
        let reason = format!("{kv_heads} does not divide the {heads} query heads");
        return Err(fields.error("num_key_value_heads", &reason));
    }
    if head_dim == 0 || head_dim % 2 == 1 {
        let reason = format!("is {head_dim}, expected a positive even number");
        return Err(fields.error("head_dim", &reason));
    }
    if heads * head_dim >= 1 << 24 {
        let reason =
            format!("is {head_dim}, with {heads} heads; expected a product below 2^24 elements");
        return Err(fields.error("head_dim", &reason));
    }
    let scale = 1.0 / (head_dim as f64).sqrt();
    Ok(Attention { heads, kv_heads, head_dim, scale, window: None })
}

/// Settings that would change the result and are not implemented.
fn refuse_unsupported(fields: &Fields) -> Result<(), ModelError> {
    if fields.optional_number("attention_dropout")?.unwrap_or(0.0) != 0.0 {
        return Err(fields.error("attention_dropout", "dropout is not supported, expected 0"));
    }
    if fields.optional_number("partial_rotary_factor")?.unwrap_or(1.0) != 1.0 {
        return Err(fields.error("partial_rotary_factor", "is not supported, expected 1"));
    }
    if fields.get("quantization_config").is_some() {
        return Err(fields.error(
            "quantization_config",
            "quantised weights cannot be trained; expected f32, bf16 or f16 weights",
        ));
    }
    if fields.flag("use_bidirectional_attention")? == Some(true) {
        return Err(fields.error("use_bidirectional_attention", "is not supported, expected false"));
    }
    Ok(())
}

/// What the blocks are made of.
struct Parts<'a> {
    hidden: usize,
    intermediate: usize,
    eps: f64,
    mlp_bias: bool,
    attention: Attention,
    shape: &'a DecoderForm,
}

impl Parts<'_> {
    fn norm(&self, name: &str, width: usize) -> NormLayer {
        let norm = Norm { width, eps: self.eps, offset: self.shape.norm_offset };
        NormLayer { name: format!("{name}.weight"), norm }
    }

    fn block(&self, layer: usize) -> Block {
        let prefix = format!("model.layers.{layer}");
        Block {
            attention_norm: self.norm(&format!("{prefix}.input_layernorm"), self.hidden),
            attention: self.attention(&format!("{prefix}.self_attn"), self.shape.windows[layer]),
            mlp_norm: self.norm(&format!("{prefix}.post_attention_layernorm"), self.hidden),
            mlp: self.mlp(&format!("{prefix}.mlp")),
        }
    }

    fn attention(&self, prefix: &str, window: Option<usize>) -> AttentionLayer {
        let shape = Attention { window, ..self.attention };
        let (q, kv) = (shape.q_width(), shape.kv_width() / 2);
        let head_norm =
            |part: &str| self.norm(&format!("{prefix}.{part}_norm"), self.shape.head_dim);
        let parts = [("q", q), ("k", kv), ("v", kv)];
        AttentionLayer {
            shape,
            rotary: Some(0),
            qkv: linear(prefix, self.hidden, &parts, self.shape.qkv_bias),
            head_norms: self.shape.head_norms.then(|| [head_norm("q"), head_norm("k")]),
            output: linear(prefix, q, &[("o", self.hidden)], self.shape.output_bias),
        }
    }

    fn mlp(&self, prefix: &str) -> MlpLayer {
        let width = self.intermediate;
        let parts = [("gate", width), ("up", width)];
        MlpLayer {
            width,
            function: self.shape.function,
            gate_up: linear(prefix, self.hidden, &parts, self.mlp_bias),
            down: linear(prefix, width, &[("down", self.hidden)], self.mlp_bias),
        }
    }
}

/// A linear layer of projections `(name, outputs)` whose names start with `prefix`.
fn linear(prefix: &str, inputs: usize, parts: &[(&str, usize)], bias: bool) -> LinearLayer {
    let part = |(name, outputs): &(&str, usize)| LinearPart {
        name: format!("{prefix}.{name}_proj"),
        outputs: *outputs,
    };
    LinearLayer { inputs, parts: parts.iter().map(part).collect(), bias }
}
