//! Llama 1 to 3, and the many models of that form.

use super::decoder::{self, DecoderForm};
use super::windows;
use crate::fields::Fields;
use crate::{Config, ModelError};

pub(super) fn read(fields: &Fields) -> Result<Config, ModelError> {
    let heads = fields.width("num_attention_heads")?;
    let bias = fields.flag("attention_bias")?.unwrap_or(false);
    let shape = DecoderForm {
        kv_heads: fields.optional_width("num_key_value_heads")?.unwrap_or(heads),
        head_dim: decoder::head_dim(fields)?,
        windows: windows::read(fields, None, 0)?,
        qkv_bias: bias,
        output_bias: bias,
        ..DecoderForm::plain(fields)?
    };
    decoder::read(fields, &shape)
}
