//! The model families: what each reads in `config.json`, and what its blocks and tensors are.
//!
//! A family is one file with a function from [`Fields`] to [`Config`], listed in [`FAMILIES`].
//! To add one, write its file and its line in that list. Families of Llama's form fill in a
//! [`decoder::DecoderForm`]; another form makes its own list of blocks.

mod decoder;
mod gemma;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rotary;
mod windows;

use crate::fields::{self, Fields};
use crate::{Config, LinearLayer, ModelError};
use serde_json::{Map, Value};
use std::path::Path;

/// What reads a family's configuration.
type Read = fn(&Fields) -> Result<Config, ModelError>;

/// The families by their `model_type`.
const FAMILIES: [(&str, Read); 5] = [
    ("llama", llama::read),
    ("mistral", mistral::read),
    ("qwen2", qwen2::read),
    ("qwen3", qwen3::read),
    ("gemma", gemma::read),
];

/// Elements of all weights, at most: beyond any model, and small enough that no count of bytes
/// overflows.
const MOST_ELEMENTS: u128 = 1 << 44;

impl Config {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// If the file is missing or not JSON, the family is not supported, or a field is missing, of
    /// the wrong type or asks for what is not supported.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let source = fields::read_object(&path)?;
        Self::from_json(source, &path)
    }

    /// Interprets a configuration; `path` is for messages.
    ///
    /// # Errors
    /// As [`Config::from_folder`].
    pub fn from_json(source: Map<String, Value>, path: &Path) -> Result<Self, ModelError> {
        let fields = Fields { map: &source, prefix: "", path };
        let config = family(&fields)?(&fields)?;
        check_size(&config, &fields)?;
        Ok(Self { source, ..config })
    }
}

fn family(fields: &Fields) -> Result<Read, ModelError> {
    let supported = FAMILIES.map(|(name, _)| name).join(", ");
    let Some(found) = fields.text("model_type")? else {
        let reason = format!("is missing, expected one of {supported}");
        return Err(fields.error("model_type", &reason));
    };
    let known = FAMILIES.iter().find(|(name, _)| *name == found);
    known.map(|(_, read)| *read).ok_or_else(|| {
        let reason =
            format!("`{found}` is not a supported architecture, expected one of {supported}");
        fields.error("model_type", &reason)
    })
}

/// Refuses a model that no machine holds, by the field that asks for most of it.
fn check_size(config: &Config, fields: &Fields) -> Result<(), ModelError> {
    let matrix = |layer: &LinearLayer| layer.inputs as u128 * layer.outputs() as u128;
    let table = config.vocabulary as u128 * config.hidden as u128;
    let attention: u128 =
        config.blocks.iter().map(|b| matrix(&b.attention.qkv) + matrix(&b.attention.output)).sum();
    let mlp: u128 =
        config.blocks.iter().map(|b| matrix(&b.mlp.gate_up) + matrix(&b.mlp.down)).sum();
    let parts =
        [("vocab_size", 2 * table), ("num_attention_heads", attention), ("intermediate_size", mlp)];
    let total: u128 = parts.iter().map(|(_, elements)| elements).sum();
    if total < MOST_ELEMENTS {
        return Ok(());
    }
    let most = parts.into_iter().max_by_key(|(_, elements)| *elements);
    let (field, elements) = most.unwrap_or(("hidden_size", total));
    let reason = format!(
        "asks with `hidden_size` {} and {} layers for {elements} elements; a model may have up to \
         {MOST_ELEMENTS}",
        config.hidden,
        config.layers(),
    );
    Err(fields.error(field, &reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RopeScaling;

    fn llama() -> Map<String, Value> {
        let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2}"#;
        serde_json::from_str(text).unwrap()
    }

    fn read(changes: &[(&str, Value)]) -> Result<Config, String> {
        let mut map = llama();
        for (key, value) in changes {
            map.insert((*key).to_owned(), value.clone());
        }
        Config::from_json(map, Path::new("m/config.json")).map_err(|e| e.to_string())
    }

    fn windows(changes: &[(&str, Value)]) -> Vec<Option<usize>> {
        let config = read(changes).unwrap();
        config.blocks.iter().map(|block| block.attention.shape.window).collect()
    }

    #[test]
    fn rope_is_read_from_both_places() {
        let scaling = serde_json::json!({"rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16});
        let old = read(&[("rope_theta", 5e5.into()), ("rope_scaling", scaling.clone())]).unwrap();
        let mut parameters = scaling;
        parameters["rope_theta"] = 5e5.into();
        let new = read(&[("rope_parameters", parameters)]).unwrap();
        assert_eq!(old.rotary, new.rotary);
        assert_eq!(old.rotary[0].theta, 5e5);
        assert!(matches!(old.rotary[0].scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
        assert_eq!(old.blocks[1].attention.rotary, Some(0));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (change, expected) in [
            (("model_type", "mamba".into()), "`mamba` is not a supported architecture"),
            (
                ("rope_scaling", serde_json::json!({"type": "yarn"})),
                "rope_scaling.rope_type`: `yarn` is not supported",
            ),
            (("num_key_value_heads", 3.into()), "3 does not divide the 4 query heads"),
            (
                ("hidden_size", "16".into()),
                "field `hidden_size`: is `\"16\"`, expected a positive whole number",
            ),
            (("hidden_size", Value::Null), "field `hidden_size`: is missing"),
            (("attention_dropout", 0.1.into()), "dropout is not supported"),
            (("hidden_act", "relu".into()), "`relu` is not supported"),
            (("quantization_config", serde_json::json!({})), "quantised weights"),
        ] {
            let error = read(&[change]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn sizes_that_would_overflow_are_refused_by_field() {
        for field in [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
        ] {
            for value in [1u64 << 31, (1 << 32) + 2, 1 << 60, 1 << 63, u64::MAX] {
                let error = read(&[(field, value.into())]).unwrap_err();
                assert!(error.contains(&format!("field `{field}`")), "{error}");
            }
            for value in [serde_json::json!(0), serde_json::json!(-1), serde_json::json!(1.5)] {
                let error = read(&[(field, value)]).unwrap_err();
                assert!(error.contains(&format!("field `{field}`")), "{error}");
            }
        }
        // Each size is possible, their product is not.
        let wide = 8_388_608;
        for (field, changes) in [
            (
                "vocab_size",
                vec![
                    ("vocab_size", wide.into()),
                    ("hidden_size", wide.into()),
                    ("head_dim", 2.into()),
                ],
            ),
            (
                "intermediate_size",
                vec![("intermediate_size", wide.into()), ("hidden_size", 4_194_304.into())],
            ),
            (
                "num_attention_heads",
                vec![
                    ("num_attention_heads", 4_194_304.into()),
                    ("head_dim", 2.into()),
                    ("hidden_size", wide.into()),
                ],
            ),
            ("head_dim", vec![("num_attention_heads", wide.into()), ("head_dim", wide.into())]),
        ] {
            let error = read(&changes).unwrap_err();
            assert!(error.contains(&format!("field `{field}`")), "{error}");
        }
    }

    #[test]
    fn rotary_constants_that_give_no_angles_are_refused_by_field() {
        let linear = |factor: Value| serde_json::json!({"rope_type": "linear", "factor": factor});
        for factor in [serde_json::json!(0), serde_json::json!(-2.0), serde_json::json!("NaN")] {
            let error = read(&[("rope_scaling", linear(factor))]).unwrap_err();
            assert!(error.contains("field `rope_scaling.factor`"), "{error}");
        }
        for theta in [serde_json::json!(0), serde_json::json!(-1e4), serde_json::json!("1")] {
            let error = read(&[("rope_theta", theta)]).unwrap_err();
            assert!(error.contains("field `rope_theta`"), "{error}");
        }
        let error = read(&[("rope_scaling", linear(1e-308.into()))]).unwrap_err();
        assert!(error.contains("field `rope_scaling.factor`"), "{error}");
        let llama3 = serde_json::json!({"rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16});
        for field in
            ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
        {
            for value in [serde_json::json!(0), serde_json::json!(-1.0), Value::Null] {
                let mut scaling = llama3.clone();
                scaling[field] = value;
                let error = read(&[("rope_scaling", scaling)]).unwrap_err();
                assert!(error.contains(&format!("field `rope_scaling.{field}`")), "{error}");
            }
        }
        let mut scaling = llama3;
        scaling["high_freq_factor"] = 1.0.into();
        let error = read(&[("rope_scaling", scaling)]).unwrap_err();
        assert!(error.contains("field `rope_scaling.high_freq_factor`"), "{error}");
    }

    #[test]
    fn rotary_parameters_that_are_not_supported_are_refused_by_field() {
        let of = |parameters| read(&[("rope_parameters", parameters)]);
        of(serde_json::json!({"rope_theta": 1e4, "partial_rotary_factor": 1.0})).unwrap();
        let part = serde_json::json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5});
        let error = of(part.clone()).unwrap_err();
        assert!(error.contains("field `rope_parameters.partial_rotary_factor`"), "{error}");
        let error = read(&[("rope_scaling", part)]).unwrap_err();
        assert!(error.contains("field `rope_scaling.partial_rotary_factor`"), "{error}");
        let error = of(serde_json::json!({
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }));
        let error = error.unwrap_err();
        assert!(error.contains("field `rope_parameters.full_attention`"), "{error}");
    }

    #[test]
    fn a_norm_that_could_divide_by_zero_is_refused_by_field() {
        for eps in [0.0, -1e-6, 1e-46, 1e39] {
            let error = read(&[("rms_norm_eps", eps.into())]).unwrap_err();
            assert!(error.contains("field `rms_norm_eps`"), "{eps}: {error}");
        }
        read(&[("rms_norm_eps", 1e-12.into())]).unwrap();
    }

    #[test]
    fn windows_follow_the_family() {
        assert_eq!(windows(&[("sliding_window", 8.into())]), [None, None]);
        let mistral = [("model_type", "mistral".into()), ("sliding_window", 8.into())];
        assert_eq!(windows(&mistral), [Some(8), Some(8)]);
        let qwen = |used: bool| {
            windows(&[
                ("model_type", "qwen2".into()),
                ("sliding_window", 8.into()),
                ("use_sliding_window", used.into()),
                ("max_window_layers", 1.into()),
            ])
        };
        assert_eq!(qwen(true), [None, Some(8)]);
        assert_eq!(qwen(false), [None, None]);
    }
}
