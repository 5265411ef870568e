//! Numbers of the trainer as safetensors: exact weights and optimizer states, one tensor at a time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ift_backend::{Backend, Element, HostTensor, NumberType};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, View};

use crate::error::TrainError;

/// A tensor that is read from the backend only when its turn to be written comes.
pub(super) struct Exact<'a, E> {
    /// `[…]`, as in the model's files.
    pub shape: &'a [usize],
    /// Reads its numbers.
    pub values: Box<dyn Fn() -> Vec<E> + 'a>,
}

impl<E: Element> View for Exact<'_, E> {
    fn dtype(&self) -> Dtype {
        dtype(E::NUMBER)
    }
    fn shape(&self) -> &[usize] {
        self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        // As stored in memory; the format is little-endian, and so is every machine that the
        // backends run on.
        Cow::Owned(bytemuck::cast_slice(&(self.values)()).to_vec())
    }
    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * E::NUMBER.size()
    }
}

/// Writes tensors to a file.
pub(super) fn write<E: Element>(
    path: &Path,
    tensors: Vec<(String, Exact<E>)>,
) -> Result<(), TrainError> {
    Ok(ift_model::write_tensors(tensors, path)?)
}

/// Memory-mapped safetensors files, as one collection.
pub(super) struct Stored {
    files: Vec<(PathBuf, Mmap)>,
}

impl Stored {
    /// Maps files.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self, TrainError> {
        let map = |path: PathBuf| -> Result<(PathBuf, Mmap), TrainError> {
            let file = File::open(&path).map_err(TrainError::io("read", &path))?;
            // SAFETY: the map is read-only, and its bytes are only ever read as plain numbers. The
            // run's folder is locked; what else changes a file of it meanwhile is
            // outside of what a user can expect to work.
            let map = unsafe { Mmap::map(&file) }.map_err(TrainError::io("read", &path))?;
            Ok((path, map))
        };
        Ok(Self { files: paths.into_iter().map(map).collect::<Result<_, _>>()? })
    }

    /// The tensors by name.
    pub fn tensors(&self) -> Result<StoredTensors<'_>, TrainError> {
        let mut by_name = HashMap::new();
        for (path, map) in &self.files {
            let damaged =
                |e| TrainError::file(path, format!("is not a readable safetensors file: {e}"));
            for (name, view) in SafeTensors::deserialize(map).map_err(damaged)?.tensors() {
                let number = match view.dtype() {
                    Dtype::F64 => NumberType::F64,
                    Dtype::F32 => NumberType::F32,
                    Dtype::BF16 => NumberType::Bf16,
                    Dtype::F16 => NumberType::F16,
                    other => {
                        return Err(TrainError::file(
                            path,
                            format!("tensor `{name}` is of type {other:?}"),
                        ));
                    }
                };
                by_name.insert(name, HostTensor { number, bytes: view.data() });
            }
        }
        let path = self.files.first().map_or(Path::new(""), |(path, _)| path);
        Ok(StoredTensors { path, by_name })
    }
}

/// Tensors of [`Stored`] files.
pub(super) struct StoredTensors<'a> {
    path: &'a Path,
    by_name: HashMap<String, HostTensor<'a>>,
}

impl StoredTensors<'_> {
    /// A tensor's numbers, converted, into `out`, whose length they must have.
    pub fn read_into<E: Element>(&self, name: &str, out: &mut [E]) -> Result<(), TrainError> {
        let Some(tensor) = self.by_name.get(name) else {
            return Err(TrainError::file(self.path, format!("tensor `{name}` is missing")));
        };
        if tensor.len() != out.len() {
            let problem =
                format!("tensor `{name}` has {} numbers, expected {}", tensor.len(), out.len());
            return Err(TrainError::file(self.path, problem));
        }
        tensor.convert_into(out);
        Ok(())
    }
}

/// Reads the parts of a parameter, end to end.
pub(super) fn read_parts<B: Backend>(
    stored: &StoredTensors,
    parameter: &ift_model::Parameter,
    name: impl Fn(&str) -> String,
) -> Result<Vec<B::Element>, TrainError> {
    let mut values = vec![B::Element::from_f64(0.0); parameter.len];
    for tensor in &parameter.tensors {
        stored.read_into(&name(&tensor.name), &mut values[tensor.range()])?;
    }
    Ok(values)
}

fn dtype(number: NumberType) -> Dtype {
    match number {
        NumberType::F64 => Dtype::F64,
        NumberType::F32 => Dtype::F32,
        NumberType::Bf16 => Dtype::BF16,
        NumberType::F16 => Dtype::F16,
    }
}
