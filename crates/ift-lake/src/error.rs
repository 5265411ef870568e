//! What can go wrong in a study.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a study cannot be run or written.
#[derive(Debug, Error)]
pub enum LakeError {
    /// A map's file cannot be read.
    #[error("cannot read the map `{path}`: {source}; expected `4x4`, `8x8`, `random` or a file")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A map that is no lake.
    #[error("{name}{}: {problem}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Map {
        /// The map's file or name.
        name: String,
        /// The line at fault, counted from 1, if it is one.
        line: Option<usize>,
        /// What was found and what was expected.
        problem: String,
    },
    /// A setting that cannot be used.
    #[error("`{field}` {problem}")]
    Setting {
        /// The setting's full path, such as `training.hidden`.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A trajectory of the kind asked for was not found.
    #[error("{0}")]
    Impossible(String),
    /// A result cannot be written.
    #[error("cannot write `{path}`: {problem}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
}
