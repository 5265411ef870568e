//! Errors of a study.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a study cannot be run or written.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The file of a map cannot be read.
    #[error("cannot read the map `{path}`: {source}; expected `4x4`, `8x8`, `random` or a file")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason that the system gives.
        source: io::Error,
    },
    /// A map is not valid.
    #[error("{name}{}: {problem}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Map {
        /// The file or the name of the map.
        name: String,
        /// The line with the mistake, counted from 1; `None` if it concerns the whole map.
        line: Option<usize>,
        /// What was found and what was expected.
        problem: String,
    },
    /// A setting is out of range.
    #[error("`{field}` {problem}")]
    Setting {
        /// The full path of the setting, such as `training.hidden`.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The study has no policy with that name.
    #[error("there is no policy `{name}`; expected `optimum`, `fitted` or one of {labels}")]
    Policy {
        /// The name.
        name: String,
        /// The labels of the learners, in backticks and with commas.
        labels: String,
    },
    /// No map or trajectory of the wanted kind exists or was found.
    #[error("{0}")]
    Impossible(String),
    /// A result file cannot be written.
    #[error("cannot write `{path}`: {problem}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
}
