//! Qwen2 and Qwen2.5: Llama's form with biases on queries, keys and values, and perhaps a sliding
//! window in the upper layers.

use super::decoder::{self, DecoderForm};
use super::windows;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) fn read(fields: &Fields) -> Result<Config, ModelError> {
    let shape = DecoderForm {
        kv_heads: fields.width("num_key_value_heads")?,
        head_dim: decoder::head_dim(fields)?,
        windows: windows::read_qwen(fields)?,
        qkv_bias: fields.flag("attention_bias")?.unwrap_or(true),
        ..DecoderForm::plain(fields)?
    };
    decoder::read(fields, &shape)
}
