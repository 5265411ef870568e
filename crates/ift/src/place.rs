//! Names and places of the fields of a recipe, for messages.

use std::fmt;

/// Where a field of a recipe was written: in a line of the file or in an argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The recipe as a whole.
    Recipe {
        /// Name of the file.
        file: String,
    },
    /// A position in the file; lines and columns (in characters) are counted from 1.
    Line {
        /// Name of the file.
        file: String,
        /// Line of the field's name.
        line: usize,
        /// Column of the field's name.
        column: usize,
    },
    /// A `--set` argument.
    Argument {
        /// The argument as given.
        argument: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipe { file } => write!(f, "{file}"),
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Argument { argument } => write!(f, "`--set {argument}`"),
        }
    }
}

/// The full path of a field: its keys, or for an element of an array its index from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FieldPath(Vec<String>);

impl FieldPath {
    /// The path of a field or element within this one.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(self.0.iter().cloned().chain([key.to_owned()]).collect())
    }

    /// Whether this is `other` or lies within it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The path of the table or array that holds this field; none for the recipe itself.
    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }
}

impl fmt::Display for FieldPath {
    /// As `--set` takes it: keys joined with dots, quoted where TOML requires it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let dot = if index > 0 { "." } else { "" };
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !key.is_empty() && key.chars().all(bare) {
                write!(f, "{dot}{key}")?;
            } else {
                write!(f, "{dot}{key:?}")?;
            }
        }
        Ok(())
    }
}
