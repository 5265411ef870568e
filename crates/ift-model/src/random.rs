//! A model folder with random weights.

use crate::parameter_map::{ParameterMap, Plan};
use crate::save::write_config;
use crate::tensor_files::{dtype, to_bytes, write_tensors};
use crate::{Config, ModelError};
use ift_backend::NumberType;
use rand_distr::{Distribution, Normal};
use safetensors::tensor::TensorView;
use serde_json::{Map, Value};
use std::path::Path;

/// Writes `config.json` and `model.safetensors` of a fresh model into an existing folder and
/// returns its configuration.
///
/// Matrices are drawn from a normal distribution of standard deviation `initializer_range`, norms
/// start as the identity and biases at zero. Each tensor has a stream of its own, so the same seed
/// gives the same tensor whatever the others are.
///
/// # Errors
/// If the configuration is not usable or a file cannot be written.
pub fn create(
    config: Map<String, Value>,
    seed: u64,
    number: NumberType,
    folder: &Path,
) -> Result<Config, ModelError> {
    let config = Config::from_json(config, &folder.join("config.json"))?;
    let map = ParameterMap::new(&config, Plan::All { input_embeddings: true });
    let path = folder.join("model.safetensors");
    let file = |reason: String| ModelError::File { path: path.clone(), reason };
    let normal = Normal::new(0.0, config.initializer_range)
        .map_err(|e| file(format!("`initializer_range` {}: {e}", config.initializer_range)))?;
    let mut tensors = Vec::new();
    for (index, tensor) in map.tensors().enumerate() {
        let mut random = ift_random::generator(seed, index as u64);
        let mut values: Vec<f64> = Vec::new();
        let reserved = values.try_reserve_exact(tensor.len());
        reserved.map_err(|_| {
            file(format!(
                "tensor `{}` of shape {:?} does not fit into memory",
                tensor.name, tensor.shape
            ))
        })?;
        match tensor.fresh {
            Some(value) => values.resize(tensor.len(), value),
            None => values.extend((0..tensor.len()).map(|_| normal.sample(&mut random))),
        }
        tensors.push((tensor, to_bytes(&values, number)));
    }
    let views = tensors.iter().map(|(tensor, bytes)| {
        TensorView::new(dtype(number), tensor.shape.clone(), bytes)
            .map(|view| (tensor.name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| file(e.to_string()))?;
    write_tensors(views, &path)?;
    write_config(&config.source, folder, number)?;
    Ok(config)
}
