//! Qwen3: Llama's form with norms on query and key heads, and perhaps a sliding window in the
//! upper layers.

use super::decoder::{self, DecoderForm};
use super::windows;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) fn read(fields: &Fields) -> Result<Config, ModelError> {
    let bias = fields.flag("attention_bias")?.unwrap_or(false);
    let shape = DecoderForm {
        kv_heads: fields.width("num_key_value_heads")?,
        head_dim: fields.optional_width("head_dim")?.unwrap_or(128),
        windows: windows::read_qwen(fields)?,
        qkv_bias: bias,
        output_bias: bias,
        head_norms: true,
        ..DecoderForm::plain(fields)?
    };
    decoder::read(fields, &shape)
}
