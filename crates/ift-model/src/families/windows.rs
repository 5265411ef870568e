//! The sliding window of each layer.

use crate::ModelError;
use crate::fields::Fields;

/// Layers, at most.
const MOST_LAYERS: usize = 4096;

/// One entry for each layer: by `layer_types` where it is given, else `window` from layer `first`
/// on.
pub(super) fn read(
    fields: &Fields,
    window: Option<usize>,
    first: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let field = "num_hidden_layers";
    let layers = fields.size(field)?;
    if layers > MOST_LAYERS {
        return Err(fields.error(field, &format!("is {layers}, expected at most {MOST_LAYERS}")));
    }
    let field = "layer_types";
    let Some(types) = fields.get(field) else {
        return Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect());
    };
    let Some(types) = types.as_array().filter(|types| types.len() == layers) else {
        let reason = format!("expected a list of {layers} names, one for each layer");
        return Err(fields.error(field, &reason));
    };
    let of_layer = |name: &serde_json::Value| match name.as_str() {
        Some("full_attention") => Ok(None),
        Some("sliding_attention") => window.map(Some).ok_or_else(|| {
            fields.error(field, "has `sliding_attention`, but no `sliding_window` is in use")
        }),
        _ => {
            let expected = "expected full_attention or sliding_attention";
            Err(fields.error(field, &format!("`{name}` is not supported, {expected}")))
        }
    };
    types.iter().map(of_layer).collect()
}

/// As Qwen's files say it: only if `use_sliding_window` is on, and only from `max_window_layers`
/// on.
pub(super) fn read_qwen(fields: &Fields) -> Result<Vec<Option<usize>>, ModelError> {
    let window = match fields.flag("use_sliding_window")? {
        Some(true) => fields.optional_size("sliding_window")?,
        _ => None,
    };
    read(fields, window, fields.optional_size("max_window_layers")?.unwrap_or(28))
}
