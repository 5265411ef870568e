//! Errors of recipes.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::place::Place;

/// A recipe that cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe `{}`: {source}", path.display())]
    Read {
        /// The recipe file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// The position of the first error.
        place: Place,
        /// The message of the parser.
        message: String,
    },
    /// A `--set` argument that cannot be applied.
    #[error("`--set {argument}`: {message}")]
    Override {
        /// The argument as given.
        argument: String,
        /// What is wrong with it.
        message: String,
    },
    /// Fields that are unknown, missing or have a wrong value.
    #[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Fields {
        /// At least one fault, in the order of their places.
        faults: Vec<Fault>,
    },
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the field was written.
    pub place: Place,
    /// The field's full path, what was found and what was expected.
    pub message: String,
    /// Advice on how to correct it.
    pub help: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
