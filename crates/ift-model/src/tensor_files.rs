//! Reading and writing safetensors files.

use crate::ModelError;
use half::{bf16, f16};
use ift_backend::{Element, HostTensor, NumberType};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Memory-mapped safetensors files, read as one collection of tensors.
pub struct TensorFiles {
    files: Vec<(PathBuf, Mmap)>,
}

impl TensorFiles {
    /// Maps files.
    ///
    /// # Errors
    /// If one cannot be read; the message names it.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self, ModelError> {
        let map = |path: PathBuf| {
            let io = |source| ModelError::Io { action: "read", path: path.clone(), source };
            let file = File::open(&path).map_err(io)?;
            // SAFETY: the map is read-only, and its bytes are only ever read as plain numbers. A
            // file that another process changes or cuts off meanwhile is outside of what a user
            // can expect to work.
            let map = unsafe { Mmap::map(&file) }.map_err(io)?;
            Ok((path, map))
        };
        Ok(Self { files: paths.into_iter().map(map).collect::<Result<_, ModelError>>()? })
    }

    /// All tensors by name.
    ///
    /// # Errors
    /// If a file is damaged, or two have a tensor of the same name.
    pub fn tensors(&self) -> Result<NamedTensors<'_>, ModelError> {
        let mut found: HashMap<String, (&Path, TensorView)> = HashMap::new();
        for (path, map) in &self.files {
            let damaged = |e| ModelError::File {
                path: path.clone(),
                reason: format!("not a readable safetensors file (cut off or damaged?): {e}"),
            };
            for (name, view) in SafeTensors::deserialize(map).map_err(damaged)?.tensors() {
                if let Some((other, _)) = found.insert(name.clone(), (path, view)) {
                    let reason = format!("is in `{}` too, expected it once", other.display());
                    return Err(ModelError::Tensor { path: path.clone(), tensor: name, reason });
                }
            }
        }
        // Messages about what is in none of the files name the only one, or their folder.
        let place = match self.files.as_slice() {
            [(path, _)] => path.clone(),
            files => {
                files.first().and_then(|(path, _)| path.parent()).unwrap_or(Path::new("")).into()
            }
        };
        Ok(NamedTensors { place, found })
    }
}

/// The tensors of [`TensorFiles`].
pub struct NamedTensors<'a> {
    place: PathBuf,
    found: HashMap<String, (&'a Path, TensorView<'a>)>,
}

impl<'a> NamedTensors<'a> {
    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The names, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.found.get(name).map(|(_, view)| view.shape())
    }

    /// The file that the tensors are in, or the folder of their files.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// A tensor's elements, as they lie in the file.
    ///
    /// # Errors
    /// If it is missing or has another shape or an unknown number type; the message names file and
    /// tensor, and `shaped_by`, what the shape was expected by.
    pub fn read(
        &self,
        name: &str,
        shape: &[usize],
        shaped_by: &str,
    ) -> Result<HostTensor<'a>, ModelError> {
        let error = |path: &Path, reason| ModelError::Tensor {
            path: path.to_owned(),
            tensor: name.to_owned(),
            reason,
        };
        let Some((path, view)) = self.found.get(name) else {
            let reason = format!("is missing, expected shape {shape:?} by {shaped_by}");
            return Err(error(&self.place, reason));
        };
        if view.shape() != shape {
            let found = view.shape();
            let reason = format!("has shape {found:?}, expected {shape:?} by {shaped_by}");
            return Err(error(path, reason));
        }
        let Some(number) = number_type(view.dtype()) else {
            let reason = format!("is of type {:?}, expected F32, BF16 or F16", view.dtype());
            return Err(error(path, reason));
        };
        Ok(HostTensor { number, bytes: view.data() })
    }

    /// The number type of most elements, by bytes: what saving uses unless told otherwise.
    pub fn number(&self) -> NumberType {
        let order = [NumberType::F64, NumberType::F32, NumberType::Bf16, NumberType::F16];
        let mut bytes = [0usize; 4];
        for (_, view) in self.found.values() {
            let number = number_type(view.dtype()).unwrap_or(NumberType::F32);
            for (bytes, other) in bytes.iter_mut().zip(order) {
                *bytes += if other == number { view.data().len() } else { 0 };
            }
        }
        let most = (0..4).max_by_key(|&i| bytes[i]).unwrap_or(1);
        order[most]
    }
}

fn number_type(dtype: Dtype) -> Option<NumberType> {
    match dtype {
        Dtype::F64 => Some(NumberType::F64),
        Dtype::F32 => Some(NumberType::F32),
        Dtype::BF16 => Some(NumberType::Bf16),
        Dtype::F16 => Some(NumberType::F16),
        _ => None,
    }
}

/// The safetensors name of a number type.
pub fn dtype(number: NumberType) -> Dtype {
    match number {
        NumberType::F64 => Dtype::F64,
        NumberType::F32 => Dtype::F32,
        NumberType::Bf16 => Dtype::BF16,
        NumberType::F16 => Dtype::F16,
    }
}

/// Elements as the little-endian bytes of a file. (Narrow ones by way of f32: `half`'s conversions
/// from f64 ignore the lower bits, so that a little more than half a step is rounded as a half.)
fn to_bytes<E: Element>(values: &[E], number: NumberType) -> Vec<u8> {
    match number {
        NumberType::F64 => values.iter().flat_map(|v| v.to_f64().to_le_bytes()).collect(),
        NumberType::F32 => values.iter().flat_map(|v| v.to_f32().to_le_bytes()).collect(),
        NumberType::Bf16 => {
            values.iter().flat_map(|v| bf16::from_f32(v.to_f32()).to_le_bytes()).collect()
        }
        NumberType::F16 => {
            values.iter().flat_map(|v| f16::from_f32(v.to_f32()).to_le_bytes()).collect()
        }
    }
}

/// Rounds elements to the values that are read back after they were written as another type.
pub fn round_as_saved<E: Element>(values: &mut [E], number: NumberType) {
    if number.size() >= E::NUMBER.size() {
        return;
    }
    let round = |value: f32| match number {
        NumberType::F64 | NumberType::F32 => value,
        NumberType::Bf16 => bf16::from_f32(value).to_f32(),
        NumberType::F16 => f16::from_f32(value).to_f32(),
    };
    for value in values {
        *value = E::from_f64(f64::from(round(value.to_f32())));
    }
}

/// The first element that is a number, and infinite when it is written as another type.
pub(crate) fn overflow<E: Element>(values: &[E], number: NumberType) -> Option<f64> {
    if number.size() >= E::NUMBER.size() {
        return None;
    }
    let is_finite = |value: f64| match number {
        NumberType::F64 => true,
        NumberType::F32 => (value as f32).is_finite(),
        NumberType::Bf16 => bf16::from_f32(value as f32).is_finite(),
        NumberType::F16 => f16::from_f32(value as f32).is_finite(),
    };
    values.iter().map(|value| value.to_f64()).find(|&value| value.is_finite() && !is_finite(value))
}

/// The name of a type and its largest number, for messages.
fn largest(number: NumberType) -> (&'static str, f64) {
    match number {
        NumberType::F64 => ("f64", f64::MAX),
        NumberType::F32 => ("f32", f64::from(f32::MAX)),
        NumberType::Bf16 => ("bf16", bf16::MAX.to_f64()),
        NumberType::F16 => ("f16", f16::MAX.to_f64()),
    }
}

/// The bytes of a tensor as they are written, and an element that its type cannot hold.
type Bytes = (Vec<u8>, Option<f64>);

/// A tensor whose elements are fetched only when its turn to be written comes, so that one tensor
/// at a time is in memory: its elements, and its bytes as they are written. If there is no memory
/// for these the process aborts, because the library's [`View`] has no way to report an error.
pub struct PendingTensor<'a> {
    shape: Vec<usize>,
    number: NumberType,
    bytes: Box<dyn Fn() -> Bytes + 'a>,
}

impl<'a> PendingTensor<'a> {
    /// A tensor of that shape, written as `number`, whose elements `values` returns.
    pub fn new<E: Element>(
        shape: Vec<usize>,
        number: NumberType,
        values: impl Fn() -> Vec<E> + 'a,
    ) -> Self {
        let bytes = move || {
            let values = values();
            (to_bytes(&values, number), overflow(&values, number))
        };
        Self { shape, number, bytes: Box::new(bytes) }
    }

    /// Bytes in a file.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.number.size()
    }
}

/// A tensor being written, and where to note the first element of any that its type cannot hold.
struct Checked<'a, 'b> {
    name: String,
    tensor: PendingTensor<'a>,
    too_large: &'b RefCell<Option<(String, String)>>,
}

impl View for Checked<'_, '_> {
    fn dtype(&self) -> Dtype {
        dtype(self.tensor.number)
    }
    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let (bytes, overflow) = (self.tensor.bytes)();
        if let Some(value) = overflow {
            let (number, largest) = largest(self.tensor.number);
            let reason = format!(
                "holds {value:e}, but the largest number of type {number} is {largest:e}; save it \
                 as a wider type, such as f32"
            );
            self.too_large.borrow_mut().get_or_insert_with(|| (self.name.clone(), reason));
        }
        Cow::Owned(bytes)
    }
    fn data_len(&self) -> usize {
        self.tensor.size()
    }
}

/// Writes tensors to a safetensors file with the permissions that any new file gets. (The library
/// writes a private temporary file and renames it, which nobody else could read.)
///
/// # Errors
/// If the file cannot be written, or a tensor has an element that is too large for the type that it
/// is to be written as; the message names file and tensor, and no file is left.
pub fn write_tensors<'a, S: AsRef<str> + Ord + Display>(
    tensors: impl IntoIterator<Item = (S, PendingTensor<'a>)>,
    path: &Path,
) -> Result<(), ModelError> {
    // Other readers look for this entry to know how the tensors are to be read.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let io = |source| ModelError::Io { action: "write", path: path.to_owned(), source };
    let permissions =
        File::create(path).and_then(|file| file.metadata()).map_err(io)?.permissions();
    let too_large = RefCell::new(None);
    let checked = tensors.into_iter().map(|(name, tensor)| {
        let checked = Checked { name: name.to_string(), tensor, too_large: &too_large };
        (name, checked)
    });
    safetensors::serialize_to_file(checked, Some(metadata), path).map_err(|e| {
        ModelError::File { path: path.to_owned(), reason: format!("cannot be written: {e}") }
    })?;
    if let Some((tensor, reason)) = too_large.into_inner() {
        fs::remove_file(path).map_err(io)?;
        return Err(ModelError::Tensor { path: path.to_owned(), tensor, reason });
    }
    fs::set_permissions(path, permissions).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_more_than_half_a_step_is_rounded_up() {
        let little = f32::EPSILON;
        let bf16 = to_bytes(&[1.0 + 1.0 / 256.0 + little], NumberType::Bf16);
        assert_eq!(bf16, bf16::from_f32(1.0 + 1.0 / 128.0).to_le_bytes());
        let f16 = to_bytes(&[1.0 + 1.0 / 2048.0 + little], NumberType::F16);
        assert_eq!(f16, f16::from_f32(1.0 + 1.0 / 1024.0).to_le_bytes());
        let mut rounded = [1.0 + 1.0 / 256.0 + little];
        round_as_saved(&mut rounded, NumberType::Bf16);
        assert_eq!(rounded, [1.0 + 1.0 / 128.0]);
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.safetensors");
        let write = |number, value: f64| {
            let tensors = ["a", "b"].map(|name| {
                let values = move || vec![1.0, if name == "b" { value } else { 2.0 }];
                (name, PendingTensor::new(vec![2], number, values))
            });
            write_tensors(tensors, &path).map_err(|e| e.to_string())
        };
        for (number, fits, too_large, largest) in [
            (NumberType::F16, 65504.0, 65520.0, "type f16 is 6.5504e4"),
            (NumberType::F32, 3e38, -1e39, "type f32 is 3.40282"),
            (NumberType::Bf16, 3e38, 3.4e38, "type bf16 is 3.38953"),
        ] {
            write(number, fits).unwrap();
            // What is not a number is no overflow; it is found elsewhere.
            write(number, f64::INFINITY).unwrap();
            let error = write(number, too_large).unwrap_err();
            assert!(error.contains("tensor `b`") && error.contains(largest), "{error}");
            assert!(error.contains(&format!("holds {too_large:e}")), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn errors_name_file_and_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.safetensors");
        let tensor = PendingTensor::new(vec![2, 1], NumberType::F32, || vec![1.0, 2.0]);
        write_tensors([("a", tensor)], &path).unwrap();
        let files = TensorFiles::open(vec![path.clone()]).unwrap();
        let tensors = files.tensors().unwrap();
        assert_eq!(tensors.names().collect::<Vec<_>>(), ["a"]);
        assert_eq!((tensors.shape("a"), tensors.shape("b")), (Some(&[2, 1][..]), None));
        let read = |name, shape: &[usize]| {
            tensors.read(name, shape, "the model").map(|t| t.len()).map_err(|e| e.to_string())
        };
        assert_eq!(read("a", &[2, 1]), Ok(2));
        for (name, shape, expected) in [
            ("a", vec![1, 2], "tensor `a`: has shape [2, 1], expected [1, 2] by the model"),
            ("b", vec![1], "tensor `b`: is missing, expected shape [1] by the model"),
        ] {
            let error = read(name, &shape).unwrap_err();
            assert!(error.contains(expected) && error.contains("some.safetensors"), "{error}");
        }
        fs::write(&path, "{}").unwrap();
        let files = TensorFiles::open(vec![path]).unwrap();
        let error = files.tensors().err().unwrap().to_string();
        assert!(error.contains("some.safetensors`: not a readable"), "{error}");
    }
}
