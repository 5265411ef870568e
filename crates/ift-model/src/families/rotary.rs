//! The rotary embedding: `rope_theta` and `rope_scaling` at the top level (transformers 4), or both
//! in `rope_parameters` (transformers 5).

use crate::fields::Fields;
use crate::{ModelError, Rope, RopeScaling};
use serde_json::Value;

/// Positions, at most ([`Fields::optional_size`]): no angle may overflow.
const MOST_POSITIONS: f64 = (1u64 << 31) as f64;

pub(super) fn read(fields: &Fields, head_dim: usize) -> Result<Rope, ModelError> {
    let nested = |name: &'static str, prefix: &'static str| {
        let map = fields.typed(name, "an object", Value::as_object)?;
        Ok::<_, ModelError>(map.map(|map| Fields { map, prefix, path: fields.path }))
    };
    let parameters = nested("rope_parameters", "rope_parameters.")?;
    let scaling = match &parameters {
        Some(_) => None,
        None => nested("rope_scaling", "rope_scaling.")?,
    };
    for fields in parameters.iter().chain(&scaling) {
        refuse_unsupported(fields)?;
    }
    let own_theta = match &parameters {
        Some(p) => p.optional_positive("rope_theta")?,
        None => None,
    };
    let theta = match own_theta {
        Some(theta) => theta,
        None => fields.optional_positive("rope_theta")?.unwrap_or(10_000.0),
    };
    let plain = Rope { head_dim, theta, scaling: RopeScaling::None };
    if !usable(&plain) {
        let place = parameters.as_ref().filter(|_| own_theta.is_some()).unwrap_or(fields);
        return Err(place.error("rope_theta", &format!("is {theta}, which gives no finite angles")));
    }
    let Some(fields) = parameters.or(scaling) else { return Ok(plain) };
    let rope = Rope { scaling: read_scaling(&fields)?, ..plain };
    if !usable(&rope) {
        let reason = "gives no finite angles, expected a factor of at least 1";
        return Err(fields.error("factor", reason));
    }
    Ok(rope)
}

/// Settings of transformers 5 that would change the angles and are not implemented.
fn refuse_unsupported(fields: &Fields) -> Result<(), ModelError> {
    if fields.optional_number("partial_rotary_factor")?.unwrap_or(1.0) != 1.0 {
        return Err(fields.error("partial_rotary_factor", "is not supported, expected 1"));
    }
    match fields.map.iter().find(|(_, value)| value.is_object()) {
        None => Ok(()),
        Some((name, _)) => {
            let reason = "has a table of its own, which is not supported; expected the same \
                          parameters for all layers, such as `rope_theta`";
            Err(fields.error(name, reason))
        }
    }
}

fn usable(rope: &Rope) -> bool {
    rope.inverse_frequencies().iter().all(|frequency| (frequency * MOST_POSITIONS).is_finite())
}

fn read_scaling(fields: &Fields) -> Result<RopeScaling, ModelError> {
    let kind = match fields.text("rope_type")? {
        Some(kind) => kind,
        None => fields.text("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: fields.positive("factor")? }),
        "llama3" => {
            let low_freq_factor = fields.positive("low_freq_factor")?;
            let high_freq_factor = fields.positive("high_freq_factor")?;
            if high_freq_factor <= low_freq_factor {
                let reason = format!(
                    "is {high_freq_factor}, expected more than `low_freq_factor` {low_freq_factor}"
                );
                return Err(fields.error("high_freq_factor", &reason));
            }
            Ok(RopeScaling::Llama3 {
                factor: fields.positive("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_max_position: fields.positive("original_max_position_embeddings")?,
            })
        }
        other => {
            let reason = format!("`{other}` is not supported, expected default, linear or llama3");
            Err(fields.error("rope_type", &reason))
        }
    }
}
