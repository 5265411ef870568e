//! Reading the safetensors files of a model or adapter folder, memory-mapped.

use crate::{ModelError, Tensor};
use ift_backend::{HostTensor, NumberType};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The mapped shards of a folder.
pub(crate) struct Shards {
    folder: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    /// What says which tensors there are, for messages.
    shaped_by: &'static str,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        Self::map(folder, shard_names(folder)?, "`config.json`")
    }

    /// Maps the tensors of an adapter folder, as PEFT writes them.
    pub fn open_adapter(folder: &Path) -> Result<Self, ModelError> {
        Self::map(
            folder,
            vec![ADAPTER.to_owned()],
            "`adapter_config.json` and the base's `config.json`",
        )
    }

    fn map(folder: &Path, names: Vec<String>, shaped_by: &'static str) -> Result<Self, ModelError> {
        let map = |name: String| {
            let path = folder.join(name);
            let io = |source| ModelError::Io { action: "read", path: path.clone(), source };
            let file = File::open(&path).map_err(io)?;
            // SAFETY: the map is read-only, and the bytes are only ever read as plain numbers; a
            // file that another process changes or cuts off meanwhile is outside of
            // what a user can expect to work.
            let map = unsafe { Mmap::map(&file) }.map_err(io)?;
            Ok((path, map))
        };
        let files = names.into_iter().map(map).collect::<Result<_, ModelError>>()?;
        Ok(Self { folder: folder.to_owned(), files, shaped_by })
    }

    /// All tensors by name.
    pub fn tensors(&self) -> Result<Tensors<'_>, ModelError> {
        let mut found = HashMap::new();
        for (path, map) in &self.files {
            let file = |e| ModelError::File {
                path: path.clone(),
                reason: format!("not a readable safetensors file (cut off or damaged?): {e}"),
            };
            for (name, view) in SafeTensors::deserialize(map).map_err(file)?.tensors() {
                // An adapter's magnitudes are a module in memory, and some versions wrote them as
                // one.
                let name = name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector");
                found.insert(name, (path.as_path(), view));
            }
        }
        Ok(Tensors { shards: self, found })
    }
}

/// The tensors of a folder by name.
pub(crate) struct Tensors<'a> {
    shards: &'a Shards,
    found: HashMap<String, (&'a Path, TensorView<'a>)>,
}

impl<'a> Tensors<'a> {
    /// A tensor's numbers, as they lie in the file; refuses a missing or wrongly shaped one by
    /// name.
    pub fn read(&self, tensor: &Tensor) -> Result<HostTensor<'a>, ModelError> {
        let error = |path: &Path, reason| ModelError::Tensor {
            path: path.to_owned(),
            tensor: tensor.name.clone(),
            reason,
        };
        let Some((path, view)) = self.found.get(&tensor.name) else {
            return Err(error(
                &self.shards.folder,
                "is missing from the folder's files".to_owned(),
            ));
        };
        if view.shape() != tensor.shape {
            let (found, shaped_by) = (view.shape(), self.shards.shaped_by);
            let reason = format!("has shape {found:?}, expected {:?} by {shaped_by}", tensor.shape);
            return Err(error(path, reason));
        }
        let number = match view.dtype() {
            Dtype::F64 => NumberType::F64,
            Dtype::F32 => NumberType::F32,
            Dtype::BF16 => NumberType::Bf16,
            Dtype::F16 => NumberType::F16,
            other => {
                return Err(error(
                    path,
                    format!("is of type {other:?}, expected F32, BF16 or F16"),
                ));
            }
        };
        Ok(HostTensor { number, bytes: view.data() })
    }

    /// The number type of most numbers: what saving uses unless told otherwise.
    pub fn number(&self) -> NumberType {
        let mut bytes = [0usize; 4];
        for (_, view) in self.found.values() {
            let slot = match view.dtype() {
                Dtype::F64 => 0,
                Dtype::BF16 => 2,
                Dtype::F16 => 3,
                _ => 1,
            };
            bytes[slot] += view.data().len();
        }
        let order = [NumberType::F64, NumberType::F32, NumberType::Bf16, NumberType::F16];
        let most = (0..4).max_by_key(|&i| bytes[i]).unwrap_or(1);
        order[most]
    }

    /// Refuses tensors that are neither `known` nor `ignorable`, by name.
    pub fn refuse_unknown<'t>(
        &self,
        known: impl Iterator<Item = &'t Tensor>,
        ignorable: impl Fn(&str) -> bool,
    ) -> Result<(), ModelError> {
        let known: BTreeSet<&str> = known.map(|t| t.name.as_str()).collect();
        let names = self.found.keys().map(String::as_str);
        match names.filter(|name| !known.contains(name) && !ignorable(name)).min() {
            None => Ok(()),
            Some(name) => Err(ModelError::Tensor {
                path: self.shards.folder.clone(),
                tensor: name.to_owned(),
                reason: format!(
                    "is not part of what {} describes; training would drop it",
                    self.shards.shaped_by
                ),
            }),
        }
    }
}

fn shard_names(folder: &Path) -> Result<Vec<String>, ModelError> {
    if folder.join(SINGLE).is_file() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let path = folder.join(INDEX);
    if !path.is_file() {
        let pickled = folder.join("pytorch_model.bin").is_file();
        let hint = if pickled {
            " (`pytorch_model.bin` is not read: save the model as safetensors)"
        } else {
            ""
        };
        return Err(ModelError::File {
            path: folder.to_owned(),
            reason: format!("holds neither `{SINGLE}` nor `{INDEX}`{hint}"),
        });
    }
    let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let index: Index = serde_json::from_str(&text).map_err(|e| ModelError::File {
        path: path.clone(),
        reason: format!("not an index of shards: {e}"),
    })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // A shard is a file of this folder: a path that leads elsewhere is not followed.
    match names.iter().find(|name| Path::new(name).file_name().is_none_or(|f| f != name.as_str())) {
        Some(name) => Err(ModelError::File {
            path,
            reason: format!(
                "lists the shard `{name}`, expected the name of a file in the same folder"
            ),
        }),
        None => Ok(names.into_iter().collect()),
    }
}
