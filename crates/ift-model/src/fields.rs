//! Fields of a JSON file, read with messages that name file and field.

use crate::ModelError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The JSON object in a file.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|e| ModelError::File {
        path: path.to_owned(),
        reason: format!("not a JSON object: {e}"),
    })
}

/// A JSON object with a place in a file, for messages.
pub(crate) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    pub prefix: &'a str,
    pub path: &'a Path,
}

impl Fields<'_> {
    pub fn error(&self, field: &str, reason: &str) -> ModelError {
        let field = format!("{}{field}", self.prefix);
        ModelError::Field { path: PathBuf::from(self.path), field, reason: reason.to_owned() }
    }

    /// The field, with `null` as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    pub fn typed<'v, T>(
        &'v self,
        field: &str,
        expected: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match read(value) {
            Some(v) => Ok(Some(v)),
            None => Err(self.error(field, &format!("is `{value}`, expected {expected}"))),
        }
    }

    pub fn optional_size(&self, field: &str) -> Result<Option<usize>, ModelError> {
        // The bound keeps every product of two sizes far from overflow.
        let read = |v: &Value| v.as_u64().filter(|&n| n > 0 && n < 1 << 31).map(|n| n as usize);
        self.typed(field, "a positive whole number below 2^31", read)
    }

    pub fn size(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_size(field)?
            .ok_or_else(|| self.error(field, "is missing, expected a positive whole number"))
    }

    pub fn optional_number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a number", Value::as_f64)
    }

    pub fn number(&self, field: &str) -> Result<f64, ModelError> {
        self.optional_number(field)?
            .ok_or_else(|| self.error(field, "is missing, expected a number"))
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, ModelError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub fn text(&self, field: &str) -> Result<Option<&str>, ModelError> {
        self.typed(field, "a string", Value::as_str)
    }
}
