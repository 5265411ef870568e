//! Gemma 1: Llama's form with scaled embeddings, norm weights stored minus one, a gate of tanh GELU
//! and a tied head.

use super::decoder::{self, DecoderForm};
use super::windows;
use crate::fields::Fields;
use crate::{Config, ModelError};
use ift_backend::GateFunction;

pub(super) fn read(fields: &Fields) -> Result<Config, ModelError> {
    let bias = fields.flag("attention_bias")?.unwrap_or(false);
    let shape = DecoderForm {
        kv_heads: fields.width("num_key_value_heads")?,
        head_dim: fields.optional_width("head_dim")?.unwrap_or(256),
        windows: windows::read(fields, None, 0)?,
        function: function(fields)?,
        norm_offset: 1.0,
        embedding_scale: (fields.width("hidden_size")? as f64).sqrt(),
        qkv_bias: bias,
        output_bias: bias,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(true),
        ..DecoderForm::of_gate(fields, GateFunction::GeluTanh)?
    };
    decoder::read(fields, &shape)
}

fn function(fields: &Fields) -> Result<GateFunction, ModelError> {
    let field = match fields.get("hidden_activation") {
        Some(_) => "hidden_activation",
        None => "hidden_act",
    };
    match fields.text(field)? {
        // Early files say `gelu` and mean the tanh form, which is what they were trained with.
        None | Some("gelu") => Ok(GateFunction::GeluTanh),
        Some(name) => decoder::gate_function(fields, field, name),
    }
}
