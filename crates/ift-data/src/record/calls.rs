//! Tools and calls of tools, in the forms that chat templates read.
//!
//! Templates expect what transformers documents: tools as JSON schemas of functions, and calls as
//! `{"type": "function", "function": {"name": …, "arguments": {…}}}`. Records also have the JSON
//! text of these, the bare function, and the older `functions` and `function_call` of `OpenAI`.

use serde_json::{Map, Value, json};

use crate::conversation::Conversation;
use crate::error::DataError;

use super::values::{check_whole, decoded, kind, list};

/// The tools of a record: a list, or the JSON text of one. An element may be JSON text too.
pub(super) fn tools(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let mut tools = list(value, at)?;
    for (i, tool) in tools.iter_mut().enumerate() {
        let at = format!("{at}[{i}]");
        *tool = decoded(tool.take(), &at)?;
        check_whole(tool, &at)?;
        if !tool.is_object() {
            let expected = "the JSON schema of a function, an object";
            return Err(DataError::field(at, kind(tool), expected));
        }
    }
    Ok(tools)
}

/// The tools of the older form, `functions`: each is what `function` of a tool is.
pub(super) fn functions(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    let tool = |function: Value| match function.get("function") {
        Some(_) => function,
        None => json!({"type": "function", "function": function}),
    };
    Ok(tools(value, at)?.into_iter().map(tool).collect())
}

/// The calls of a message: a list, one call, or the JSON text of either.
pub(super) fn calls(value: Value, at: &str) -> Result<Vec<Value>, DataError> {
    let calls = match decoded(value, at)? {
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
    let mut call = match decoded(value, at)? {
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
    let function = call.get_mut("function").map(Value::take).unwrap_or_default();
    let function = match decoded(function, &at)? {
        Value::Object(map) => map,
        other => {
            let expected = "an object with `name` and `arguments`";
            return Err(DataError::field(at, kind(&other), expected));
        }
    };
    if !function.get("name").is_some_and(Value::is_string) {
        let found = kind(function.get("name").unwrap_or(&Value::Null));
        return Err(DataError::field(format!("{at}.name"), found, "a string"));
    }
    call.insert("function".to_owned(), Value::Object(function));
    let call = Value::Object(call);
    check_whole(&call, &at)?;
    Ok(call)
}

/// The calls of a conversation with the JSON text of their arguments read, for templates that write
/// arguments with `tojson`, which would put a text in quotes. Other text stays as it is.
///
/// # Errors
/// When the text has a key twice, or a number that would be changed.
pub(crate) fn parse_arguments(conversation: &mut Conversation) -> Result<(), DataError> {
    for (i, message) in conversation.messages.iter_mut().enumerate() {
        let calls = message.fields.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (j, call) in calls.into_iter().flatten().enumerate() {
            let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
            if !arguments.is_string() {
                continue;
            }
            let at = format!("messages[{i}].tool_calls[{j}].function.arguments");
            *arguments = match arguments.take() {
                Value::String(text) if text.trim().is_empty() => json!({}),
                text => decoded(text, &at)?,
            };
            check_whole(arguments, &at)?;
        }
    }
    Ok(())
}
