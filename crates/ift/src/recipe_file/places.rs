//! Where the fields of a recipe stand: a line of the file or an argument.

use std::{collections::HashMap, fmt};

use toml::{
    Table,
    de::{DeTable, DeValue},
};

use super::RecipeError;

/// Where a field was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The recipe as a whole.
    Recipe {
        /// Name of the file.
        file: String,
    },
    /// A place in the file, lines and columns (in characters) counted from 1.
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

/// The keys that lead to a field; an element of an array goes by its number, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// The path of a field or element within this one.
    pub fn key(&self, key: &str) -> Self {
        Self(self.0.iter().cloned().chain([key.to_owned()]).collect())
    }

    fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }
}

impl fmt::Display for FieldPath {
    /// As `--set` takes it: keys with dots between them, quoted where TOML needs it.
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

/// Where every field of a recipe stands.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: String,
    known: HashMap<FieldPath, Place>,
}

impl Places {
    /// Parses TOML and notes where its fields stand.
    pub(super) fn parse(file: &str, text: &str) -> Result<(Table, Self), RecipeError> {
        let mut places = Self { file: file.to_owned(), known: HashMap::new() };
        let refuse = |error: toml::de::Error| RecipeError::Syntax {
            place: places.at(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        };
        let table = toml::from_str(text).map_err(refuse)?;
        let spans = DeTable::parse(text).map_err(refuse)?;
        places.note_table(text, &FieldPath::default(), spans.get_ref());
        Ok((table, places))
    }

    /// The place of a field, or of the innermost table around it that was written down.
    pub(super) fn of(&self, path: &FieldPath) -> Place {
        match (self.known.get(path), path.parent()) {
            (Some(place), _) => place.clone(),
            (None, Some(parent)) => self.of(&parent),
            (None, None) => Place::Recipe { file: self.file.clone() },
        }
    }

    /// Notes that an argument wrote a field, and with it all that lies within.
    pub(super) fn override_with(&mut self, path: &FieldPath, argument: &str) {
        self.known.retain(|known, _| !known.0.starts_with(&path.0));
        self.known.insert(path.clone(), Place::Argument { argument: argument.to_owned() });
    }

    fn note_table(&mut self, text: &str, path: &FieldPath, table: &DeTable) {
        for (key, value) in table {
            self.note(text, path.key(key.get_ref()), key.span().start, value.get_ref());
        }
    }

    fn note(&mut self, text: &str, path: FieldPath, start: usize, value: &DeValue) {
        match value {
            DeValue::Table(table) => self.note_table(text, &path, table),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.note(
                        text,
                        path.key(&index.to_string()),
                        element.span().start,
                        element.get_ref(),
                    );
                }
            }
            _ => {}
        }
        let place = self.at(text, start);
        self.known.insert(path, place);
    }

    fn at(&self, text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Place::Line { file: self.file.clone(), line, column }
    }
}
