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

/// A JSON object and where it stands, for messages.
pub(crate) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    pub prefix: &'a str,
    pub path: &'a Path,
}

impl Fields<'_> {
    /// An error about a field.
    pub fn error(&self, field: &str, reason: &str) -> ModelError {
        let field = format!("{}{field}", self.prefix);
        ModelError::Field { path: PathBuf::from(self.path), field, reason: reason.to_owned() }
    }

    /// The field, with `null` as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    /// The field as `read` understands it.
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
        self.size_below(field, 31)
    }

    /// A width of some part of a model: below 2^24, so that products of two widths and a number
    /// of tokens are far from overflow.
    pub fn optional_width(&self, field: &str) -> Result<Option<usize>, ModelError> {
        self.size_below(field, 24)
    }

    pub fn width(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_width(field)?
            .ok_or_else(|| self.error(field, "is missing, expected a positive whole number"))
    }

    fn size_below(&self, field: &str, bits: u32) -> Result<Option<usize>, ModelError> {
        let read = |v: &Value| v.as_u64().filter(|&n| n > 0 && n < 1 << bits).map(|n| n as usize);
        self.typed(field, &format!("a positive whole number below 2^{bits}"), read)
    }

    pub fn size(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_size(field)?
            .ok_or_else(|| self.error(field, "is missing, expected a positive whole number"))
    }

    pub fn optional_number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a finite number", |v| v.as_f64().filter(|x| x.is_finite()))
    }

    /// A number above 0.
    pub fn optional_positive(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A number above 0 that must be there.
    pub fn positive(&self, field: &str) -> Result<f64, ModelError> {
        self.optional_positive(field)?
            .ok_or_else(|| self.error(field, "is missing, expected a positive number"))
    }

    /// A number above 0 that is neither 0 nor infinite as an f32.
    pub fn optional_positive_f32(&self, field: &str) -> Result<Option<f64>, ModelError> {
        let fits = |x: &f64| (*x as f32) > 0.0 && (*x as f32).is_finite();
        let expected = "a number above 0 that f32 can represent";
        self.typed(field, expected, |v| v.as_f64().filter(fits))
    }

    /// A number that is not negative.
    pub fn optional_non_negative(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.typed(field, "a number of at least 0", |v| {
            v.as_f64().filter(|x| x.is_finite() && *x >= 0.0)
        })
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
