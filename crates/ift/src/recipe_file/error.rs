//! What can be wrong with a recipe.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use super::Place;

/// A recipe that has no meaning.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe `{}`: {source}", path.display())]
    Read {
        /// The recipe file.
        path: PathBuf,
        /// What the system reports.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where the text stops being TOML.
        place: Place,
        /// What the parser expected.
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
    /// Fields that the settings do not have, lack or do not take.
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
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
