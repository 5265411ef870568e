//! The place of every field of a recipe.

use std::collections::HashMap;

use toml::{
    Table,
    de::{DeTable, DeValue},
};

use super::error::RecipeError;
use crate::place::{FieldPath, Place};

/// Where each field of a recipe was written.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: String,
    known: HashMap<FieldPath, Place>,
}

impl Places {
    /// Parses TOML and records the places of its fields.
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

    /// The place of a field, or of the innermost table around it that was written.
    pub(super) fn of(&self, path: &FieldPath) -> Place {
        match (self.known.get(path), path.parent()) {
            (Some(place), _) => place.clone(),
            (None, Some(parent)) => self.of(&parent),
            (None, None) => Place::Recipe { file: self.file.clone() },
        }
    }

    /// Records that an argument set a field and everything within it.
    pub(super) fn override_with(&mut self, path: &FieldPath, argument: &str) {
        self.known.retain(|known, _| !known.is_within(path));
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
