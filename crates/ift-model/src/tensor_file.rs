//! Writing a safetensors file.

use crate::ModelError;
use safetensors::View;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;

/// Writes tensors to a safetensors file with the permissions that any new file gets. (The library
/// writes a private temporary file and renames it, which nobody else could read.)
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write_tensors<S: AsRef<str> + Ord + Display, V: View>(
    tensors: impl IntoIterator<Item = (S, V)>,
    path: &Path,
) -> Result<(), ModelError> {
    // Other readers look for this entry to know how the tensors are to be read.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let io = |source| ModelError::Io { action: "write", path: path.to_owned(), source };
    let permissions =
        File::create(path).and_then(|file| file.metadata()).map_err(io)?.permissions();
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|e| {
        ModelError::File { path: path.to_owned(), reason: format!("cannot be written: {e}") }
    })?;
    fs::set_permissions(path, permissions).map_err(io)
}
