//! Writing a model as a Hugging Face folder, or its adapters as a folder in PEFT's format.

use crate::change_lost::ChangeLost;
use crate::folder::ADAPTER;
use crate::merge::AdapterValues;
use crate::parameter_map::{Parameter, Tensor};
use crate::tensor_files::{PendingTensor, overflow, write_tensors};
use crate::{Model, ModelError, peft};
use ift_backend::{Backend, Element, NumberType};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;

/// Largest shard, in bytes: what the Python libraries write by default.
const SHARD_BYTES: usize = 5_000_000_000;

/// Elements, at most, that are read at a time to look at them.
const PIECE: usize = 1 << 22;

/// Files of a model folder that are copied to a saved model: those of the tokenizer and of
/// generation, and the license.
const COPIED_FILES: [&str; 13] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
];

impl<B: Backend> Model<B> {
    /// Writes a Hugging Face folder: safetensors of the given type (sharded above 5 GB),
    /// `config.json` with its fields as they were read, and the tokenizer's files copied from the
    /// folder the model came from. `folder` must exist. Adapters are merged: what is
    /// written is a plain model, from the frozen base as it is stored.
    ///
    /// # Errors
    /// If a file cannot be written or copied.
    pub fn save(&self, folder: &Path, number: NumberType) -> Result<(), ModelError> {
        self.save_weights(folder, number, SHARD_BYTES)?;
        write_config(&self.config.source, folder, number)?;
        self.copy_files(folder)
    }

    /// Writes an adapted model's adapters as a folder in PEFT's format: `adapter_config.json`,
    /// which names the base's folder, `adapter_model.safetensors` of the given type, and the
    /// tokenizer's files. `folder` must exist.
    ///
    /// # Errors
    /// If the model has no adapters, or a file cannot be written or copied.
    pub fn save_adapter(&self, folder: &Path, number: NumberType) -> Result<(), ModelError> {
        let Some(adapted) = &self.adapted else {
            let reason =
                "cannot be written as an adapter folder: the model has no adapters".to_owned();
            return Err(ModelError::File { path: folder.to_owned(), reason });
        };
        let own = self.pending(self.map.base..self.map.parameters.len(), number);
        write_tensors(own, &folder.join(ADAPTER))?;
        let base = std::path::absolute(&self.source).map_err(|source| ModelError::Io {
            action: "find",
            path: self.source.clone(),
            source,
        })?;
        let config = peft::config(&adapted.placed, &base, folder);
        write_json(&peft::config_path(folder), &config)?;
        self.copy_files(folder)
    }

    /// Copies the files that go with the weights, each from the first of the model's folders that
    /// has it.
    fn copy_files(&self, folder: &Path) -> Result<(), ModelError> {
        for name in COPIED_FILES {
            let to = folder.join(name);
            let from =
                self.folders.iter().map(|folder| folder.join(name)).find(|from| from.is_file());
            if let Some(from) = from.filter(|from| *from != to) {
                std::fs::copy(&from, &to).map_err(|source| ModelError::Io {
                    action: "copy",
                    path: from,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// The tensors of some parameters, each read when its turn to be written comes.
    fn pending(
        &self,
        parameters: Range<usize>,
        number: NumberType,
    ) -> impl Iterator<Item = (String, PendingTensor<'_>)> {
        parameters.flat_map(move |index| {
            let tensors = &self.map.parameters[index].tensors;
            tensors.iter().map(move |tensor| {
                let values = move || self.merged(index, tensor);
                (tensor.name.clone(), PendingTensor::new(tensor.shape.clone(), number, values))
            })
        })
    }

    /// The elements of a tensor, with its adapter merged if it has one.
    fn merged(&self, parameter: usize, tensor: &Tensor) -> Vec<B::Element> {
        let mut values = self.read_parameter(parameter, tensor.range());
        let Some(adapted) = &self.adapted else { return values };
        let all = |parameter: usize| {
            let Parameter { len, .. } = self.map.parameters[parameter];
            self.read_parameter(parameter, 0..len).into_iter().map(Element::to_f64).collect()
        };
        let own = self.map.adapters().find(|(layer, adapter)| {
            layer.weight == parameter && adapter.rows.start * layer.inputs == tensor.start
        });
        if let Some((layer, adapter)) = own {
            let (a, b, magnitude) = (all(adapter.a), all(adapter.b), adapter.magnitude.map(all));
            let (rank, scale) = (adapted.rank(), adapted.scale());
            AdapterValues { a, b, magnitude, rank, scale }.merge_into(layer.inputs, &mut values);
        }
        values
    }

    /// The share of what the adapters change in the frozen base that rounding to `number` takes
    /// back when the merged model is saved; 0 without adapters.
    pub fn merge_lost(&self, number: NumberType) -> f64 {
        let mut lost = ChangeLost::default();
        for index in 0..self.map.base {
            if self.map.adapters().any(|(layer, _)| layer.weight == index) {
                for tensor in &self.map.parameters[index].tensors {
                    let before = self.read_parameter(index, tensor.range());
                    lost.add(&before, &self.merged(index, tensor), number);
                }
            }
        }
        lost.share()
    }

    /// Whether `number` can hold every weight that is saved: none becomes infinite.
    pub fn fits(&self, number: NumberType) -> bool {
        let saved = match &self.adapted {
            Some(_) => self.map.base..self.map.parameters.len(),
            None => 0..self.map.base,
        };
        let mut pieces = saved.flat_map(|index| {
            let len = self.map.parameters[index].len;
            let piece = move |start| (index, start..len.min(start + PIECE));
            (0..len).step_by(PIECE).map(piece)
        });
        pieces.all(|(index, part)| overflow(&self.read_parameter(index, part), number).is_none())
    }

    fn save_weights(
        &self,
        folder: &Path,
        number: NumberType,
        largest: usize,
    ) -> Result<(), ModelError> {
        let mut shards: Vec<Vec<(String, PendingTensor)>> = vec![Vec::new()];
        let (mut shard_bytes, mut total_bytes) = (0, 0);
        for (name, tensor) in self.pending(0..self.map.base, number) {
            let bytes = tensor.size();
            if shard_bytes > 0 && shard_bytes + bytes > largest {
                shards.push(Vec::new());
                shard_bytes = 0;
            }
            shard_bytes += bytes;
            total_bytes += bytes;
            if let Some(shard) = shards.last_mut() {
                shard.push((name, tensor));
            }
        }
        let count = shards.len();
        let mut weight_map = serde_json::Map::new();
        for (i, shard) in shards.into_iter().enumerate() {
            let name = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            for (tensor, _) in &shard {
                weight_map.insert(tensor.clone(), Value::String(name.clone()));
            }
            write_tensors(shard, &folder.join(name))?;
        }
        if count > 1 {
            let index = json!({"metadata": {"total_size": total_bytes}, "weight_map": weight_map});
            write_json(&folder.join("model.safetensors.index.json"), &index)?;
        }
        Ok(())
    }
}

/// Writes `config.json`: the fields as they were read, with the weights' number type brought up to
/// date.
pub(crate) fn write_config(
    source: &serde_json::Map<String, Value>,
    folder: &Path,
    number: NumberType,
) -> Result<(), ModelError> {
    let mut config = source.clone();
    let name = match number {
        NumberType::F64 => "float64",
        NumberType::F32 => "float32",
        NumberType::Bf16 => "bfloat16",
        NumberType::F16 => "float16",
    };
    // `torch_dtype` is the older name of the field; it is kept where it was used.
    let field = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(field.to_owned(), name.into());
    write_json(&folder.join("config.json"), &Value::Object(config))
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    let text = format!("{value:#}\n");
    std::fs::write(path, text).map_err(|source| ModelError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Trained, random};
    use ift_backend::Reference;
    use std::sync::Arc;

    fn fresh(folder: &Path, number: NumberType) -> Model<Reference> {
        let config = json!({"model_type": "qwen3", "vocab_size": 50, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 6, "tie_word_embeddings": false,
            "torch_dtype": "float32", "some_future_field": [1, 2]});
        random::create(config.as_object().unwrap().clone(), 7, number, folder).unwrap();
        load(folder).unwrap()
    }

    fn load(folder: &Path) -> Result<Model<Reference>, ModelError> {
        Model::load(folder, Arc::new(Reference), Trained::All { input_embeddings: true })
    }

    fn same(a: &Model<Reference>, b: &Model<Reference>) -> bool {
        assert_eq!(a.trainable(), b.trainable());
        let all = 0..a.trainable().len();
        !all.is_empty() && a.read(all.clone()) == b.read(all)
    }

    #[test]
    fn saved_is_loaded_whole_or_in_shards() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = fresh(from.path(), NumberType::F32);
        std::fs::write(from.path().join("tokenizer.json"), "{}").unwrap();
        model.save(to.path(), NumberType::F32).unwrap();
        let loaded = load(to.path()).unwrap();
        assert!(same(&model, &loaded));
        assert!(to.path().join("tokenizer.json").is_file());
        assert_eq!(loaded.config().source["some_future_field"], json!([1, 2]));
        std::fs::remove_file(to.path().join("model.safetensors")).unwrap();
        model.save_weights(to.path(), NumberType::F32, 4000).unwrap();
        let shard = std::fs::read_dir(to.path()).unwrap().map(|f| f.unwrap().path());
        let shard =
            shard.filter(|p| p.to_string_lossy().contains("model-00002-of-")).last().unwrap();
        let sharded = load(to.path()).unwrap();
        assert!(same(&model, &sharded));
        std::fs::remove_file(&shard).unwrap();
        let error = load(to.path()).err().unwrap().to_string();
        assert!(error.contains("model-00002-of-"), "{error}");
    }

    #[test]
    fn narrow_types_are_read_and_written_exactly() {
        for (number, name) in [(NumberType::Bf16, "bfloat16"), (NumberType::F16, "float16")] {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let model = fresh(from.path(), number);
            assert_eq!(model.number(), number);
            model.save(to.path(), number).unwrap();
            let loaded = load(to.path()).unwrap();
            assert!(same(&model, &loaded));
            assert_eq!(loaded.config().source["torch_dtype"], name);
        }
    }
}
