//! Reading the safetensors files of a model folder, memory-mapped.

use crate::layout::Layout;
use crate::{ModelError, Tensor};
use ift_backend::{Backend, HostTensor, NumberType};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The mapped shards of a folder.
pub(crate) struct Shards {
    folder: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let mut files = Vec::new();
        for name in shard_names(folder)? {
            let path = folder.join(name);
            let io = |source| ModelError::Io { action: "read", path: path.clone(), source };
            let file = File::open(&path).map_err(io)?;
            // SAFETY: the map is read-only, and the bytes are only ever read as plain numbers; a file that another
            // process changes or cuts off meanwhile is outside of what a user can expect to work.
            let map = unsafe { Mmap::map(&file) }.map_err(io)?;
            files.push((path, map));
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// Uploads every parameter of the layout; refuses missing, unknown and wrongly shaped tensors by name.
    pub fn upload<B: Backend>(
        &self,
        layout: &Layout,
        tied: bool,
        backend: &B,
    ) -> Result<Vec<B::Weight>, ModelError> {
        let mut found = HashMap::new();
        let mut parsed = Vec::with_capacity(self.files.len());
        for (path, map) in &self.files {
            let file = |e| ModelError::File {
                path: path.clone(),
                reason: format!("not a readable safetensors file (cut off or damaged?): {e}"),
            };
            parsed.push((path, SafeTensors::deserialize(map).map_err(file)?));
        }
        for (path, tensors) in &parsed {
            for (name, view) in tensors.iter() {
                found.insert(name.to_owned(), (*path, view));
            }
        }
        self.refuse_unknown(layout, tied, found.keys())?;
        let read = |tensor: &Tensor| {
            let error = |path: &Path, reason| ModelError::Tensor {
                path: path.to_owned(),
                tensor: tensor.name.clone(),
                reason,
            };
            let Some((path, view)) = found.get(&tensor.name) else {
                return Err(error(&self.folder, "is missing from the model's files".to_owned()));
            };
            if view.shape() != tensor.shape {
                let reason =
                    format!("has shape {:?}, expected {:?} by `config.json`", view.shape(), tensor.shape);
                return Err(error(path, reason));
            }
            let number = match view.dtype() {
                Dtype::F64 => NumberType::F64,
                Dtype::F32 => NumberType::F32,
                Dtype::BF16 => NumberType::Bf16,
                Dtype::F16 => NumberType::F16,
                other => return Err(error(path, format!("is of type {other:?}, expected F32, BF16 or F16"))),
            };
            Ok((number, view.data()))
        };
        let mut weights = Vec::with_capacity(layout.parameters.len());
        for parameter in &layout.parameters {
            let mut parts = Vec::with_capacity(parameter.tensors.len());
            for tensor in &parameter.tensors {
                let (number, bytes) = read(tensor)?;
                parts.push(HostTensor { number, bytes });
            }
            weights.push(backend.weight(&parts));
        }
        Ok(weights)
    }

    /// The number type of most of the files' numbers: what saving uses unless told otherwise.
    pub fn number(&self) -> Result<NumberType, ModelError> {
        let mut bytes = [0usize; 4];
        for (path, map) in &self.files {
            let tensors = SafeTensors::deserialize(map).map_err(|e| ModelError::File {
                path: path.clone(),
                reason: format!("not a readable safetensors file: {e}"),
            })?;
            for (_, view) in tensors.iter() {
                let slot = match view.dtype() {
                    Dtype::F64 => 0,
                    Dtype::BF16 => 2,
                    Dtype::F16 => 3,
                    _ => 1,
                };
                bytes[slot] += view.data().len();
            }
        }
        let order = [NumberType::F64, NumberType::F32, NumberType::Bf16, NumberType::F16];
        let most = (0..4).max_by_key(|&i| bytes[i]).unwrap_or(1);
        Ok(order[most])
    }

    fn refuse_unknown<'n>(
        &self,
        layout: &Layout,
        tied: bool,
        names: impl Iterator<Item = &'n String>,
    ) -> Result<(), ModelError> {
        let known: BTreeSet<&str> = layout.tensors().map(|t| t.name.as_str()).collect();
        // Old files store the rotary frequencies, and some tied models store their head a second time.
        let ignorable =
            |name: &str| name.ends_with(".rotary_emb.inv_freq") || (tied && name == "lm_head.weight");
        let unknown =
            names.map(String::as_str).filter(|name| !known.contains(name) && !ignorable(name)).min();
        match unknown {
            None => Ok(()),
            Some(name) => Err(ModelError::Tensor {
                path: self.folder.clone(),
                tensor: name.to_owned(),
                reason:
                    "is not part of the architecture that `config.json` describes; training would drop it"
                        .to_owned(),
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
        let hint =
            if pickled { " (`pytorch_model.bin` is not read: save the model as safetensors)" } else { "" };
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
            reason: format!("lists the shard `{name}`, expected the name of a file in the same folder"),
        }),
        None => Ok(names.into_iter().collect()),
    }
}
