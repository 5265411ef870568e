//! `config.json`: which decoder a folder holds.

use crate::fields::{self, Fields};
use crate::{ModelError, Rope, RopeScaling};
use ift_backend::{Activation, AttentionShape, Norm};
use serde_json::{Map, Value};
use std::path::Path;

/// The model families, by their `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1 to 3 and the many models of that form.
    Llama,
    /// Mistral 7B: sliding window, untied head.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: norms on query and key heads.
    Qwen3,
    /// Gemma 1: scaled embeddings, norm weights stored minus one, tanh GELU.
    Gemma,
}

impl Architecture {
    const ALL: [(&'static str, Self); 5] = [
        ("llama", Self::Llama),
        ("mistral", Self::Mistral),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("gemma", Self::Gemma),
    ];
}

/// A decoder's shape. Every difference between the families is a field here.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the model file")]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Entries of the vocabulary (rows of the embedding table).
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width of the gated MLP.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// For each layer its sliding window, if it has one.
    pub windows: Vec<Option<usize>>,
    /// `rms_norm_eps`.
    pub norm_eps: f64,
    /// Added to every norm weight: 1 for Gemma.
    pub norm_offset: f64,
    /// Factor of the input embeddings: `√hidden` for Gemma.
    pub embedding_scale: f64,
    /// The gate's activation.
    pub activation: Activation,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// A bias on the attention's output projection.
    pub output_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// Norms on query and key heads.
    pub head_norms: bool,
    /// Rotary embedding.
    pub rope: Rope,
    /// Whether the output head is the embedding table.
    pub tied: bool,
    /// Longest sequence the model was made for, in tokens.
    pub max_positions: usize,
    /// Standard deviation of a fresh model's weights.
    pub initializer_range: f64,
    /// The file as read, so that saving loses nothing.
    pub source: Map<String, Value>,
}

impl Config {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// If the file is missing or not JSON, the architecture is not supported, or a field is
    /// missing, of the wrong type or asks for what is not supported.
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
        let architecture = architecture(&fields)?;
        refuse_unsupported(&fields)?;
        let gemma = architecture == Architecture::Gemma;
        let hidden = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let kv_heads = match architecture {
            Architecture::Llama => fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
            _ => fields.size("num_key_value_heads")?,
        };
        let head_dim = match fields.optional_size("head_dim")? {
            Some(d) => d,
            None if gemma => 256,
            None if architecture == Architecture::Qwen3 => 128,
            None => hidden / heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(fields.error(
                "num_key_value_heads",
                &format!("{kv_heads} does not divide the {heads} query heads"),
            ));
        }
        if head_dim == 0 || head_dim % 2 == 1 {
            return Err(fields
                .error("head_dim", &format!("is {head_dim}, expected a positive even number")));
        }
        let attention_bias = fields.flag("attention_bias")?;
        let config = Self {
            architecture,
            vocabulary: fields.size("vocab_size")?,
            hidden,
            intermediate: fields.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            windows: windows(&fields, architecture)?,
            norm_eps: fields.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
            norm_offset: if gemma { 1.0 } else { 0.0 },
            embedding_scale: if gemma { (hidden as f64).sqrt() } else { 1.0 },
            activation: activation(&fields, architecture)?,
            qkv_bias: attention_bias.unwrap_or(architecture == Architecture::Qwen2),
            output_bias: attention_bias.unwrap_or(false) && architecture != Architecture::Qwen2,
            mlp_bias: fields.flag("mlp_bias")?.unwrap_or(false),
            head_norms: architecture == Architecture::Qwen3,
            rope: rope(&fields)?,
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(gemma),
            max_positions: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
            initializer_range: fields.optional_number("initializer_range")?.unwrap_or(0.02),
            source: Map::new(),
        };
        Ok(Self { source, ..config })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.windows.len()
    }

    /// The attention of a layer.
    pub fn attention(&self, layer: usize) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.0 / (self.head_dim as f64).sqrt(),
            window: self.windows[layer],
        }
    }

    /// The norm over hidden states.
    pub fn norm(&self) -> Norm {
        Norm { width: self.hidden, eps: self.norm_eps, offset: self.norm_offset }
    }

    /// The norm over one query or key head.
    pub fn head_norm(&self) -> Norm {
        Norm { width: self.head_dim, eps: self.norm_eps, offset: self.norm_offset }
    }
}

fn architecture(fields: &Fields) -> Result<Architecture, ModelError> {
    let supported: Vec<&str> = Architecture::ALL.iter().map(|(name, _)| *name).collect();
    let expected = format!("expected one of {}", supported.join(", "));
    let Some(found) = fields.text("model_type")? else {
        return Err(fields.error("model_type", &format!("is missing, {expected}")));
    };
    let known = Architecture::ALL.iter().find(|(name, _)| *name == found);
    known.map(|(_, a)| *a).ok_or_else(|| {
        fields
            .error("model_type", &format!("`{found}` is not a supported architecture, {expected}"))
    })
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

fn activation(fields: &Fields, architecture: Architecture) -> Result<Activation, ModelError> {
    let gemma = architecture == Architecture::Gemma;
    let field = if gemma && fields.get("hidden_activation").is_some() {
        "hidden_activation"
    } else {
        "hidden_act"
    };
    match fields.text(field)? {
        Some("silu" | "swish") => Ok(Activation::Silu),
        None if !gemma => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") | None => Ok(Activation::GeluTanh),
        // Early Gemma files say `gelu` and mean the tanh form, which is what they were trained
        // with.
        Some("gelu") if gemma => Ok(Activation::GeluTanh),
        Some(other) => Err(fields.error(
            field,
            &format!("`{other}` is not supported, expected silu or gelu_pytorch_tanh"),
        )),
    }
}

/// The sliding window of each layer.
fn windows(fields: &Fields, architecture: Architecture) -> Result<Vec<Option<usize>>, ModelError> {
    let layers = fields.size("num_hidden_layers")?;
    if layers > 4096 {
        return Err(
            fields.error("num_hidden_layers", &format!("is {layers}, expected at most 4096"))
        );
    }
    let size = match architecture {
        Architecture::Mistral => fields.optional_size("sliding_window")?,
        Architecture::Qwen2 | Architecture::Qwen3
            if fields.flag("use_sliding_window")? == Some(true) =>
        {
            fields.optional_size("sliding_window")?
        }
        _ => None,
    };
    if let Some(types) = fields.get("layer_types") {
        let types = types.as_array().filter(|t| t.len() == layers).ok_or_else(|| {
            fields.error(
                "layer_types",
                &format!("expected a list of {layers} names, one for each layer"),
            )
        })?;
        return types
            .iter()
            .map(|t| match t.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") => size.map(Some).ok_or_else(|| {
                    fields.error(
                        "layer_types",
                        "has `sliding_attention`, but no `sliding_window` is in use",
                    )
                }),
                _ => Err(fields.error(
                    "layer_types",
                    &format!(
                        "`{t}` is not supported, expected full_attention or sliding_attention"
                    ),
                )),
            })
            .collect();
    }
    let first_sliding = match architecture {
        Architecture::Qwen2 | Architecture::Qwen3 => {
            fields.optional_size("max_window_layers")?.unwrap_or(28)
        }
        _ => 0,
    };
    Ok((0..layers).map(|layer| size.filter(|_| layer >= first_sliding)).collect())
}

/// `rope_theta` and `rope_scaling` at the top level (transformers 4), or both in `rope_parameters`
/// (transformers 5).
fn rope(fields: &Fields) -> Result<Rope, ModelError> {
    let nested = |name: &'static str, prefix: &'static str| {
        let object = |v| Value::as_object(v);
        let map = fields.typed(name, "an object", object)?;
        Ok::<_, ModelError>(map.map(|map| Fields { map, prefix, path: fields.path }))
    };
    let parameters = nested("rope_parameters", "rope_parameters.")?;
    let scaling = match &parameters {
        Some(_) => None,
        None => nested("rope_scaling", "rope_scaling.")?,
    };
    let theta = match &parameters {
        Some(p) => p.optional_number("rope_theta")?,
        None => None,
    };
    let theta = match theta {
        Some(theta) => theta,
        None => fields.optional_number("rope_theta")?.unwrap_or(10_000.0),
    };
    if theta.is_nan() || theta <= 0.0 {
        return Err(fields.error("rope_theta", &format!("is {theta}, expected a positive number")));
    }
    let Some(scaling) = parameters.or(scaling) else {
        return Ok(Rope { theta, scaling: RopeScaling::None });
    };
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: scaling.number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: scaling.number("factor")?,
            low_freq_factor: scaling.number("low_freq_factor")?,
            high_freq_factor: scaling.number("high_freq_factor")?,
            original_max_position: scaling.number("original_max_position_embeddings")?,
        },
        other => {
            let reason = format!("`{other}` is not supported, expected default, linear or llama3");
            return Err(scaling.error("rope_type", &reason));
        }
    };
    Ok(Rope { theta, scaling })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama() -> Map<String, Value> {
        let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}"#;
        serde_json::from_str(text).unwrap()
    }

    fn read(changes: &[(&str, Value)]) -> Result<Config, String> {
        let mut map = llama();
        for (key, value) in changes {
            map.insert((*key).to_owned(), value.clone());
        }
        Config::from_json(map, Path::new("m/config.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn rope_is_read_from_both_places() {
        let scaling = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 16});
        let old = read(&[("rope_theta", 5e5.into()), ("rope_scaling", scaling.clone())]).unwrap();
        let mut parameters = scaling;
        parameters["rope_theta"] = 5e5.into();
        let new = read(&[("rope_parameters", parameters)]).unwrap();
        assert_eq!(old.rope, new.rope);
        assert_eq!(old.rope.theta, 5e5);
        assert!(matches!(old.rope.scaling, RopeScaling::Llama3 { factor: 8.0, .. }));
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
    fn windows_follow_the_family() {
        assert_eq!(read(&[("sliding_window", 8.into())]).unwrap().windows, [None, None]);
        let mistral = [("model_type", "mistral".into()), ("sliding_window", 8.into())];
        assert_eq!(read(&mistral).unwrap().windows, [Some(8), Some(8)]);
        let qwen = |used: bool| {
            read(&[
                ("model_type", "qwen2".into()),
                ("sliding_window", 8.into()),
                ("use_sliding_window", used.into()),
                ("max_window_layers", 1.into()),
            ])
        };
        assert_eq!(qwen(true).unwrap().windows, [None, Some(8)]);
        assert_eq!(qwen(false).unwrap().windows, [None, None]);
    }
}
