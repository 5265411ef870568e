//! What can be wrong with a model folder.

use std::path::PathBuf;

/// A model folder that cannot be read, is not supported, or cannot be written.
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
}
