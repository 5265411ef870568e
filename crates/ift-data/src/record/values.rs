//! Reads JSON values of an expected type, also from the forms that tables store them in.

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::files;

/// The type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null or missing)",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(object) => files::without_value(object).unwrap_or("an object"),
    }
}

/// A string.
pub(super) fn text(value: Value, at: &str) -> Result<String, DataError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(DataError::field(at, kind(&other), "a string")),
    }
}

/// An object, or the JSON text of one.
pub(super) fn object(value: Value, at: &str) -> Result<Map<String, Value>, DataError> {
    match decoded(value) {
        Value::Object(map) => Ok(map),
        other => Err(DataError::field(at, kind(&other), "an object")),
    }
}

/// A list, or the JSON text of one.
pub(super) fn list(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    match decoded(value) {
        Value::Array(list) => Ok(list),
        other => Err(DataError::field(at, kind(&other), "a list, or the JSON text of a list")),
    }
}

/// Whether [`list`] reads a value.
pub(super) fn is_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::String(text) => {
            text.trim_start().starts_with('[') && decoded(value.clone()).is_array()
        }
        _ => false,
    }
}

/// The list or object whose JSON text a value is; any other value as it is.
pub(super) fn decoded(value: Value) -> Value {
    match &value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or(value)
        }
        _ => value,
    }
}

/// Whether a value says nothing: null, or an empty string, list or object.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
