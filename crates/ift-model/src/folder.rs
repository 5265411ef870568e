//! The tensors of a model or adapter folder.

use crate::ModelError;
use crate::parameter_map::Tensor;
use crate::tensor_files::{NamedTensors, TensorFiles};
use ift_backend::HostTensor;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The mapped files of a folder.
pub(crate) struct Shards {
    folder: PathBuf,
    files: TensorFiles,
    /// The files that determine names and shapes of the tensors, for messages.
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

    /// The files that [`Shards::open`] reads: the index too, where it is what names the shards.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
        let mut names = shard_names(folder)?;
        if names != [SINGLE] {
            names.insert(0, INDEX.to_owned());
        }
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Maps the tensors of an adapter folder, as PEFT writes them.
    pub fn open_adapter(folder: &Path) -> Result<Self, ModelError> {
        let shaped_by = "`adapter_config.json` and the base's `config.json`";
        Self::map(folder, vec![ADAPTER.to_owned()], shaped_by)
    }

    fn map(folder: &Path, names: Vec<String>, shaped_by: &'static str) -> Result<Self, ModelError> {
        let paths = names.into_iter().map(|name| folder.join(name)).collect();
        Ok(Self { folder: folder.to_owned(), files: TensorFiles::open(paths)?, shaped_by })
    }

    /// All tensors by name.
    pub fn tensors(&self) -> Result<FolderTensors<'_>, ModelError> {
        Ok(FolderTensors { shards: self, named: self.files.tensors()? })
    }
}

/// The tensors of a folder by name.
pub(crate) struct FolderTensors<'a> {
    shards: &'a Shards,
    pub named: NamedTensors<'a>,
}

impl<'a> FolderTensors<'a> {
    /// A tensor's elements, as they lie in the file; refuses a missing or wrongly shaped one by
    /// name.
    pub fn read(&self, tensor: &Tensor) -> Result<HostTensor<'a>, ModelError> {
        let name = self.stored_name(&tensor.name);
        self.named.read(&name, &tensor.shape, self.shards.shaped_by)
    }

    /// An adapter's magnitudes are a module in memory, and some versions of PEFT wrote them as one.
    fn stored_name(&self, name: &str) -> String {
        let module = format!("{name}.weight");
        let is_module = name.ends_with("lora_magnitude_vector") && self.named.contains(&module);
        if is_module { module } else { name.to_owned() }
    }

    /// Refuses, by name, what is missing, has another shape, or is neither `known` nor `ignorable`.
    /// To be called before memory is taken for the tensors.
    pub fn check<'t>(
        &self,
        known: impl Iterator<Item = &'t Tensor>,
        ignorable: impl Fn(&str) -> bool,
    ) -> Result<(), ModelError> {
        let mut names = BTreeSet::new();
        let mut missing_or_wrong = Ok(());
        for tensor in known {
            names.insert(self.stored_name(&tensor.name));
            missing_or_wrong = missing_or_wrong.and_then(|()| self.read(tensor).map(drop));
        }
        let unknown = |name: &&str| !names.contains(*name) && !ignorable(name);
        match self.named.names().filter(unknown).min() {
            None => missing_or_wrong,
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
        Some(name) => {
            let reason =
                format!("lists the shard `{name}`, expected the name of a file in the same folder");
            Err(ModelError::File { path, reason })
        }
        None => Ok(names.into_iter().collect()),
    }
}
