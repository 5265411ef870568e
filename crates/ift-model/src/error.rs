//! What can be wrong with a model folder, and what can go wrong while a model is at work.

use ift_backend::{BackendError, Element};
use std::path::PathBuf;

/// A vector of `len` zeros, or an error if there is no memory for it.
pub(crate) fn zeros<E: Element>(what: &'static str, len: usize) -> Result<Vec<E>, BackendError> {
    let mut elements = Vec::new();
    let bytes = len.saturating_mul(size_of::<E>()) as u64;
    let reserved = elements.try_reserve_exact(len);
    reserved.map_err(|_| BackendError::OutOfMemory { what, bytes })?;
    elements.resize(len, E::from_f64(0.0));
    Ok(elements)
}

/// A model folder that cannot be read, is not supported or cannot be written, or a backend that
/// fails.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file that cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("`{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A configuration field with an unusable value.
    #[error("`{}`: field `{field}`: {reason}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, dotted.
        field: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A tensor that is missing, unknown or of the wrong shape.
    #[error("`{}`: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An adapter setting with an unusable value.
    #[error("adapter setting `{field}`: {reason}")]
    Adapter {
        /// The field of [`crate::Adapter`].
        field: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A model that does not fit into memory.
    #[error("`{}`: the model has {elements} elements: {source}", path.display())]
    Memory {
        /// The model's folder.
        path: PathBuf,
        /// Elements of all weights.
        elements: usize,
        /// What could not be allocated.
        source: BackendError,
    },
    /// A backward pass through a pass that did not keep what it needs.
    #[error(
        "the forward pass did not save what its backward pass needs: keep block inputs, or \
         everything"
    )]
    NotKept,
    /// A position that was scored twice.
    #[error("position {position} is scored twice in one piece, expected each position once")]
    RepeatedPosition {
        /// The packed position.
        position: usize,
    },
    /// A failure of the backend, such as running out of memory.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
