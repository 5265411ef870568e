//! Mistral 7B: Llama's form with a sliding window.

use super::decoder::{self, DecoderForm};
use super::windows;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) fn read(fields: &Fields) -> Result<Config, ModelError> {
    let bias = fields.flag("attention_bias")?.unwrap_or(false);
    let window = fields.optional_size("sliding_window")?;
    let shape = DecoderForm {
        kv_heads: fields.width("num_key_value_heads")?,
        head_dim: decoder::head_dim(fields)?,
        windows: windows::read(fields, window, 0)?,
        qkv_bias: bias,
        output_bias: bias,
        ..DecoderForm::plain(fields)?
    };
    decoder::read(fields, &shape)
}
