//! A recipe: a TOML file, the `--set` overrides on top of it, and where each of its fields stands.
//!
//! The values are checked against the schema of the settings they become before serde sees them.
//! That is what lets every fault name its line, its full path and the nearest valid name at any
//! depth, inside tagged tables like `[method]` too, where serde has already forgotten the file.

mod error;
mod overrides;
mod places;

use std::{fmt, fs, path::Path};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::schema_check;
pub use error::{Fault, RecipeError};
use places::Places;
pub use places::{FieldPath, Place};

/// A recipe as written, before its meaning is known.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    table: Table,
    places: Places,
}

impl RecipeFile {
    /// Reads a TOML file and applies overrides of the form `section.key=value` to it, in order.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML, or an override has no meaning.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, sets)
    }

    /// Like [`RecipeFile::read`] for text that is already here; `name` stands for it in messages.
    /// Empty text makes a recipe of overrides alone.
    ///
    /// # Errors
    /// The text is not TOML, or an override has no meaning.
    pub fn parse(name: &str, text: &str, sets: &[String]) -> Result<Self, RecipeError> {
        let (table, places) = Places::parse(name, text)?;
        let mut recipe = Self { table, places };
        for argument in sets {
            overrides::apply(&mut recipe.table, &mut recipe.places, argument)?;
        }
        Ok(recipe)
    }

    /// The settings that the recipe means.
    ///
    /// # Errors
    /// Lists every field that is unknown, missing, of the wrong type or out of range, with its
    /// place.
    pub fn resolve<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, RecipeError> {
        let schema = schemars::schema_for!(T).to_value();
        let value = Value::Table(self.table.clone());
        let mut faults: Vec<_> = schema_check::check(&value, &schema)
            .into_iter()
            .map(|found| Fault {
                place: self.places.of(&found.path),
                message: found.message,
                help: found.help,
            })
            .collect();
        if faults.is_empty() {
            // What a schema cannot say: the message names the field, in a line of its own.
            return value.try_into().map_err(|error: toml::de::Error| {
                self.invalid("", error.to_string().trim().replace('\n', " "))
            });
        }
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        Err(RecipeError::Fields { faults })
    }

    /// A fault of a field that only its meaning shows, such as a value that does not go with
    /// another.
    ///
    /// `field` is the full path with dots, `method.gamma`; an empty one stands for the recipe as a
    /// whole.
    pub fn invalid(&self, field: &str, message: impl fmt::Display) -> RecipeError {
        let path = field
            .split('.')
            .filter(|key| !key.is_empty())
            .fold(FieldPath::default(), |path, key| path.key(key));
        let fault =
            Fault { place: self.places.of(&path), message: message.to_string(), help: None };
        RecipeError::Fields { faults: vec![fault] }
    }
}

/// The settings that a recipe file means, with overrides of the form `section.key=value` applied.
///
/// # Errors
/// As [`RecipeFile::read`] and [`RecipeFile::resolve`].
pub fn load_recipe<T: DeserializeOwned + JsonSchema>(
    path: &Path,
    sets: &[String],
) -> Result<T, RecipeError> {
    RecipeFile::read(path, sets)?.resolve()
}
