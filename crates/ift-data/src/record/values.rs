//! Reads JSON values of an expected type, also from the forms that tables store them in.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::error::DataError;
use crate::files;
use crate::strict;

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
    match decoded(value, at)? {
        Value::Object(map) => Ok(map),
        other => Err(DataError::field(at, kind(&other), "an object")),
    }
}

/// A list, or the JSON text of one.
pub(super) fn list(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    match decoded(value, at)? {
        Value::Array(list) => Ok(list),
        other => Err(DataError::field(at, kind(&other), "a list, or the JSON text of a list")),
    }
}

/// Whether [`list`] reads a value.
pub(super) fn is_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::String(text) => {
            text.trim_start().starts_with('[') && serde_json::from_str::<Vec<Value>>(text).is_ok()
        }
        _ => false,
    }
}

/// The list or object whose JSON text a value is; any other value as it is.
///
/// # Errors
/// When the text is JSON with a key that occurs twice in an object.
pub(super) fn decoded(value: Value, at: &str) -> Result<Value, DataError> {
    let Value::String(text) = &value else { return Ok(value) };
    if !text.trim_start().starts_with(['[', '{']) {
        return Ok(value);
    }
    match strict::parse(text) {
        Ok(value) => Ok(value),
        Err(error) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Err(DataError::field(at, format!("JSON text in which {error}"), "each key once"))
        }
        Err(_) => Ok(value),
    }
}

/// Refuses a value that contains one without a JSON form, which templates would write otherwise
/// than it was.
pub(super) fn check_whole(value: &Value, at: &str) -> Result<(), DataError> {
    match value {
        Value::Object(map) => {
            if let Some(found) = files::without_value(map) {
                let expected = "a value that can be written as it is; store it as a string";
                return Err(DataError::field(at, found, expected));
            }
            map.iter().try_for_each(|(name, value)| check_whole(value, &format!("{at}.{name}")))
        }
        Value::Array(list) => {
            let mut entries = list.iter().enumerate();
            entries.try_for_each(|(i, value)| check_whole(value, &format!("{at}[{i}]")))
        }
        _ => Ok(()),
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
