//! A model folder with random weights.

use crate::parameter_map::{ParameterMap, Tensor, TrainedParts};
use crate::save::write_config;
use crate::tensor_files::{PendingTensor, write_tensors};
use crate::{Config, ModelError};
use ift_backend::{NumberType, Storage};
use rand_distr::{Distribution, Normal};
use serde_json::{Map, Value};
use std::path::Path;

/// Writes `config.json` and `model.safetensors` of a fresh model into an existing folder and
/// returns its configuration.
///
/// Matrices are drawn from a normal distribution of standard deviation `initializer_range`, norms
/// start as the identity and biases at zero. Each tensor has its own stream, so the same seed
/// gives the same tensor whatever the others are. One tensor at a time is in memory.
///
/// # Errors
/// If the configuration is not usable, the largest tensor does not fit into memory or a file cannot
/// be written.
pub fn create(
    config: Map<String, Value>,
    seed: u64,
    number: NumberType,
    folder: &Path,
) -> Result<Config, ModelError> {
    let config_path = folder.join("config.json");
    let config = Config::from_json(config, &config_path)?;
    let map = ParameterMap::new(&config, TrainedParts::Nothing(Storage::Exact));
    check_memory(&map, number, &config_path)?;
    let normal = Normal::new(0.0, config.initializer_range).map_err(|e| ModelError::Field {
        path: config_path,
        field: "initializer_range".to_owned(),
        reason: format!("is {}: {e}", config.initializer_range),
    })?;
    let tensors = map.tensors().enumerate().map(|(stream, tensor)| {
        let values = move || fresh(tensor, normal, seed, stream as u64);
        (tensor.name.as_str(), PendingTensor::new(tensor.shape.clone(), number, values))
    });
    write_tensors(tensors, &folder.join("model.safetensors"))?;
    write_config(&config.source, folder, number)?;
    Ok(config)
}

fn fresh(tensor: &Tensor, normal: Normal<f64>, seed: u64, stream: u64) -> Vec<f64> {
    if let Some(value) = tensor.fresh {
        return vec![value; tensor.len()];
    }
    let random = ift_random::generator(seed, stream);
    normal.sample_iter(random).take(tensor.len()).collect()
}

/// Refuses a model whose largest tensor, as drawn and as written, does not fit into memory.
fn check_memory(map: &ParameterMap, number: NumberType, path: &Path) -> Result<(), ModelError> {
    let Some(largest) = map.tensors().max_by_key(|tensor| tensor.len()) else { return Ok(()) };
    let bytes = largest.len().saturating_mul(size_of::<f64>() + number.size());
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| ModelError::File {
        path: path.to_owned(),
        reason: format!(
            "asks for the tensor `{}` of shape {:?}, which does not fit into memory: drawing it \
             takes {bytes} bytes",
            largest.name, largest.shape
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Map<String, Value> {
        let config = json!({"model_type": "gemma", "vocab_size": 30, "hidden_size": 12,
            "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 6, "attention_bias": true});
        config.as_object().unwrap().clone()
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        let good = create(config.clone(), 3, NumberType::F32, folder.path()).unwrap();
        config.insert("initializer_range".to_owned(), json!(-1.0));
        let error = create(config, 3, NumberType::F32, folder.path()).unwrap_err().to_string();
        assert!(error.contains("field `initializer_range`"), "{error}");

        let mut map = ParameterMap::new(&good, TrainedParts::Nothing(Storage::Exact));
        // More than any machine can address.
        map.parameters[0].tensors[0].shape = vec![1 << 24, 1 << 30];
        let error = check_memory(&map, NumberType::F32, folder.path()).unwrap_err().to_string();
        assert!(error.contains("tensor `model.embed_tokens.weight`"), "{error}");
        assert!(error.contains("does not fit into memory"), "{error}");
    }
}
