//! Recipes: a TOML file, `--set` overrides, and the place of each field for messages.
//!
//! Values are checked against the JSON schema of the settings before serde reads them. This way
//! every error names its line, its full path and the nearest valid name at any depth, also inside
//! tagged tables such as `[method]`, where serde no longer knows the position in the file.

mod error;
mod overrides;
mod places;

use std::{fmt, fs, path::Path};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{place::FieldPath, schema_check};
pub use error::{Fault, RecipeError};
use places::Places;

/// A recipe as written: TOML values that are not settings yet.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    table: Table,
    places: Places,
}

impl RecipeFile {
    /// Reads a TOML file and applies overrides of the form `section.key=value` to it, in order.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML, or an override cannot be applied.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, sets)
    }

    /// Like [`RecipeFile::read`], from text. `name` stands for the file in messages. With empty
    /// text the recipe consists of the overrides.
    ///
    /// # Errors
    /// The text is not TOML, or an override cannot be applied.
    pub fn parse(name: &str, text: &str, sets: &[String]) -> Result<Self, RecipeError> {
        let (table, places) = Places::parse(name, text)?;
        let mut recipe = Self { table, places };
        for argument in sets {
            overrides::apply(&mut recipe.table, &mut recipe.places, argument)?;
        }
        Ok(recipe)
    }

    /// Converts the recipe to settings.
    ///
    /// ```
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// #[serde(deny_unknown_fields)]
    /// struct Settings {
    ///     steps: u64,
    /// }
    ///
    /// let parse = |text: &str| ift::RecipeFile::parse("run.toml", text, &[]);
    /// let read = |text: &str| parse(text)?.resolve::<Settings>();
    /// assert_eq!(read("steps = 3")?.steps, 3);
    /// let error = read("stpes = 3").err().unwrap();
    /// assert!(error.to_string().contains("run.toml:1:1: unknown field `stpes`"));
    /// # Ok::<(), ift::RecipeError>(())
    /// ```
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
            // Rules that a schema cannot express; the message names the field in a line of its own.
            return value.try_into().map_err(|error: toml::de::Error| {
                self.invalid("", error.to_string().trim().replace('\n', " "))
            });
        }
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        Err(RecipeError::Fields { faults })
    }

    /// An error about a field that the schema cannot find, such as a value that does not go with
    /// another.
    ///
    /// `field` is the full path with dots, `method.gamma`; an empty one means the whole recipe.
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

/// Reads a recipe file, applies overrides of the form `section.key=value` and converts it to
/// settings.
///
/// # Errors
/// As [`RecipeFile::read`] and [`RecipeFile::resolve`].
pub fn load_recipe<T: DeserializeOwned + JsonSchema>(
    path: &Path,
    sets: &[String],
) -> Result<T, RecipeError> {
    RecipeFile::read(path, sets)?.resolve()
}
