//! Tools and calls of tools, in the forms that chat templates read.
//!
//! Templates expect what transformers documents: tools as JSON schemas of functions, and calls as
//! `{"type": "function", "function": {"name": …, "arguments": {…}}}`. Records also have the JSON
//! text of these, the bare function, and the older `functions` and `function_call` of `OpenAI`.

use serde_json::{Map, Value, json};

use crate::error::DataError;

use super::values::{decoded, kind, list};

/// The tools of a record: a list, or the JSON text of one. An element may be JSON text too.
pub(super) fn tools(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let mut tools = list(value, at)?;
    for (i, tool) in tools.iter_mut().enumerate() {
        *tool = decoded(tool.take());
        if !tool.is_object() {
            let expected = "the JSON schema of a function, an object";
            return Err(DataError::field(format!("{at}[{i}]"), kind(tool), expected));
        }
    }
    Ok(tools)
}

/// The tools of the older form, `functions`: each is what `function` of a tool is.
pub(super) fn functions(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    let wrap = |function: Value| match &function {
        Value::Object(map) if map.contains_key("function") => function,
        _ => json!({"type": "function", "function": function}),
    };
    Ok(tools(value, at)?.into_iter().map(wrap).collect())
}

/// The calls of a message: a list, one call, or the JSON text of either.
pub(super) fn calls(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    let calls = match decoded(value) {
        Value::Array(calls) => calls,
        call @ Value::Object(_) => vec![call],
        other => {
            let expected = "calls of tools, as a list or its JSON text";
            return Err(DataError::field(at, kind(&other), expected));
        }
    };
    let call = |(i, value)| call(value, &format!("{at}[{i}]"));
    calls.into_iter().enumerate().map(call).collect()
}

fn call(value: Value, at: &str) -> Result<Value, DataError> {
    let mut call = match decoded(value) {
        Value::Object(map) => map,
        other => return Err(DataError::field(at, kind(&other), "the call of a tool, an object")),
    };
    if !call.contains_key("function") && call.contains_key("name") {
        let mut function = Map::new();
        for name in ["name", "arguments", "parameters"] {
            if let Some(value) = call.shift_remove(name) {
                let name = if name == "parameters" { "arguments" } else { name };
                function.insert(name.to_owned(), value);
            }
        }
        call.entry("type").or_insert_with(|| json!("function"));
        call.insert("function".to_owned(), Value::Object(function));
    }
    let at = format!("{at}.function");
    let function = match call.get_mut("function").map(Value::take).map(decoded) {
        Some(Value::Object(map)) => map,
        other => {
            let found = kind(other.as_ref().unwrap_or(&Value::Null));
            return Err(DataError::field(at, found, "an object with `name` and `arguments`"));
        }
    };
    call.insert("function".to_owned(), Value::Object(with_arguments(function, &at)?));
    Ok(Value::Object(call))
}

/// The JSON text of arguments becomes an object: most templates write them with `tojson`, which
/// would write a text in quotes.
fn with_arguments(
    mut function: Map<String, Value>,
    at: &str,
) -> Result<Map<String, Value>, DataError> {
    if !function.get("name").is_some_and(Value::is_string) {
        let found = kind(function.get("name").unwrap_or(&Value::Null));
        return Err(DataError::field(format!("{at}.name"), found, "a string"));
    }
    if let Some(arguments) = function.get_mut("arguments") {
        *arguments = match arguments.take() {
            Value::String(text) if text.trim().is_empty() => json!({}),
            other => decoded(other),
        };
    }
    Ok(function)
}
