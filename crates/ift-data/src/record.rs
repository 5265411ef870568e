//! Recognises the layout of a record, and reads a record of a known layout.

use ift_methods::RowKind;
use serde_json::{Map, Value};

use crate::conversation::{Conversation, Example, Message};
use crate::error::DataError;
use crate::format::Format;

/// Recognises the layout of a record by its fields. A record may fit several (`UltraFeedback` has
/// `messages` next to `chosen`): the most specific one counts. For methods on plain text, `text`
/// comes first; methods on pairs or judged answers accept no other layout.
///
/// # Errors
/// When no layout fits; the message lists the fields that were found.
pub(crate) fn detect(record: &Map<String, Value>, kind: RowKind) -> Result<Format, DataError> {
    let has = |name: &str| record.get(name).is_some_and(|v| !v.is_null());
    let list = |name: &str| record.get(name).is_some_and(Value::is_array);
    let pair = has("chosen") && has("rejected");
    let completion = has("prompt") && has("completion");
    let label = record.get("label").is_some_and(Value::is_boolean);
    let found = if kind == RowKind::Text && has("text") {
        Format::Text
    } else if pair {
        Format::Preference
    } else if kind == RowKind::Pair {
        return Err(not_a_pair(record));
    } else if label && (completion || list("messages")) {
        Format::Judged
    } else if kind == RowKind::Judged {
        return Err(not_judged(record));
    } else if list("messages") {
        Format::Messages
    } else if list("conversations") {
        Format::Sharegpt
    } else if completion {
        Format::PromptCompletion
    } else if has("instruction") && has("output") {
        Format::Alpaca
    } else if has("text") {
        Format::Text
    } else {
        return Err(DataError::Malformed(format!(
            "unrecognised record format: found fields {}; expected `messages`, \
             `conversations`, `prompt` and `completion`, `instruction` and `output`, `chosen` \
             and `rejected`, or `text`",
            names(record)
        )));
    };
    Ok(found)
}

/// Reads a record of this layout.
///
/// # Errors
/// When a field is missing or of the wrong type, or a conversation is empty.
pub(crate) fn parse(record: &Map<String, Value>, format: Format) -> Result<Example, DataError> {
    match format {
        Format::Text => Ok(Example::Text(string(record, "text")?.to_owned())),
        Format::Messages => conversation(record).map(chat),
        Format::Sharegpt => filled(sharegpt(record)?, "conversations").map(chat),
        Format::PromptCompletion => completed(record).map(chat),
        Format::Alpaca => alpaca(record).map(chat),
        Format::Judged => judged(record),
        Format::Preference => Ok(Example::Pair {
            chosen: continuation(record, "chosen")?.into(),
            rejected: continuation(record, "rejected")?.into(),
        }),
    }
}

fn chat(messages: Vec<Message>) -> Example {
    Example::Chat(Conversation::from(messages))
}

/// The error for a record that should be a pair.
pub(crate) fn not_a_pair(record: &Map<String, Value>) -> DataError {
    DataError::Malformed(format!(
        "not a pair: found fields {}; expected `chosen` and `rejected`, each a string or a list \
         of messages, and optionally `prompt`",
        names(record)
    ))
}

/// The error for a record that should be a judged answer.
pub(crate) fn not_judged(record: &Map<String, Value>) -> DataError {
    DataError::Malformed(format!(
        "not a judged answer: found fields {}; expected `label` (true or false) with `prompt` \
         and `completion` or `messages`, or a pair of `chosen` and `rejected`",
        names(record)
    ))
}

/// The names of the fields, for messages.
fn names(record: &Map<String, Value>) -> String {
    let names: Vec<_> = record.keys().map(|k| format!("`{k}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Refuses a conversation without messages.
fn filled(messages: Vec<Message>, field: &str) -> Result<Vec<Message>, DataError> {
    if messages.is_empty() {
        return Err(DataError::field(field, "an empty list", "at least one message"));
    }
    Ok(messages)
}

fn conversation(record: &Map<String, Value>) -> Result<Vec<Message>, DataError> {
    filled(messages(get(record, "messages")?, "messages")?, "messages")
}

fn completed(record: &Map<String, Value>) -> Result<Vec<Message>, DataError> {
    let mut all = side(get(record, "prompt")?, "prompt", "user")?;
    all.extend(side(get(record, "completion")?, "completion", "assistant")?);
    filled(all, "completion")
}

fn judged(record: &Map<String, Value>) -> Result<Example, DataError> {
    let label = get(record, "label")?;
    let desirable =
        label.as_bool().ok_or_else(|| DataError::field("label", kind(label), "true or false"))?;
    let has_completion = record.get("completion").is_some_and(|v| !v.is_null());
    let messages = if has_completion { completed(record)? } else { conversation(record)? };
    Ok(Example::Judged { conversation: messages.into(), desirable })
}

fn alpaca(record: &Map<String, Value>) -> Result<Vec<Message>, DataError> {
    let mut question = string(record, "instruction")?.to_owned();
    match record.get("input") {
        None | Some(Value::Null) => {}
        Some(_) => {
            let input = string(record, "input")?;
            if !input.is_empty() {
                question.push_str("\n\n");
                question.push_str(input);
            }
        }
    }
    Ok(vec![Message::new("user", question), Message::new("assistant", string(record, "output")?)])
}

fn sharegpt(record: &Map<String, Value>) -> Result<Vec<Message>, DataError> {
    let turns = list(get(record, "conversations")?, "conversations")?;
    let mut out = Vec::with_capacity(turns.len());
    for (i, turn) in turns.iter().enumerate() {
        out.push(sharegpt_turn(turn, &format!("conversations[{i}]"))?);
    }
    Ok(out)
}

fn sharegpt_turn(turn: &Value, at: &str) -> Result<Message, DataError> {
    let turn = object(turn, at)?;
    let from = string_at(turn, "from", at)?;
    let role = match from.to_ascii_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "assistant" | "model" | "chatgpt" | "bot" | "bard" | "bing" => "assistant",
        "system" => "system",
        "tool" | "function_response" | "observation" => "tool",
        _ => {
            let expected = "\"human\", \"gpt\", \"system\", \"tool\" or a common synonym";
            return Err(DataError::field(format!("{at}.from"), format!("\"{from}\""), expected));
        }
    };
    Ok(Message::new(role, string_at(turn, "value", at)?))
}

/// One side of a pair as a whole conversation. The field holds the whole conversation, or only the
/// answer, which then follows `prompt`.
fn continuation(record: &Map<String, Value>, field: &str) -> Result<Vec<Message>, DataError> {
    let answer = side(get(record, field)?, field, "assistant")?;
    let Some(first) = answer.first() else {
        return Err(DataError::field(field, "an empty list", "at least one message"));
    };
    if !first.is_assistant() {
        return Ok(answer);
    }
    let mut whole = match record.get("prompt") {
        None | Some(Value::Null) => Vec::new(),
        Some(prompt) => side(prompt, "prompt", "user")?,
    };
    whole.extend(answer);
    Ok(whole)
}

/// A string as one message of `role`, or a list of messages.
fn side(value: &Value, field: &str, role: &str) -> Result<Vec<Message>, DataError> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text.as_str())]),
        Value::Array(_) => messages(value, field),
        other => Err(DataError::field(field, kind(other), "a string or a list of messages")),
    }
}

fn messages(value: &Value, field: &str) -> Result<Vec<Message>, DataError> {
    let list = list(value, field)?;
    let mut out = Vec::with_capacity(list.len());
    for (i, message) in list.iter().enumerate() {
        let at = format!("{field}[{i}]");
        let message = object(message, &at)?;
        let role = string_at(message, "role", &at)?;
        let content = message.get("content").unwrap_or(&Value::Null);
        out.push(Message::new(role, content_text(content, &format!("{at}.content"))?));
    }
    Ok(out)
}

/// Content as a string, or as a list of text parts that are joined.
fn content_text(content: &Value, at: &str) -> Result<String, DataError> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => return Err(DataError::field(at, kind(other), "a string or a list of text parts")),
    };
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let part = object(part, &at)?;
        match part.get("type").and_then(Value::as_str) {
            Some("text") => text.push_str(string_at(part, "text", &at)?),
            Some(other) => {
                let found = format!("a part of type \"{other}\"");
                return Err(DataError::field(
                    at,
                    found,
                    "a part of type \"text\" (only text is supported)",
                ));
            }
            None => {
                return Err(DataError::field(
                    at,
                    "a part without `type`",
                    "a part of type \"text\"",
                ));
            }
        }
    }
    Ok(text)
}

fn get<'a>(record: &'a Map<String, Value>, field: &str) -> Result<&'a Value, DataError> {
    record.get(field).ok_or_else(|| {
        DataError::field(field, format!("nothing (the record has {})", names(record)), "a value")
    })
}

fn string<'a>(record: &'a Map<String, Value>, field: &str) -> Result<&'a str, DataError> {
    let value = get(record, field)?;
    value.as_str().ok_or_else(|| DataError::field(field, kind(value), "a string"))
}

fn string_at<'a>(map: &'a Map<String, Value>, field: &str, at: &str) -> Result<&'a str, DataError> {
    let value = map.get(field).unwrap_or(&Value::Null);
    value.as_str().ok_or_else(|| DataError::field(format!("{at}.{field}"), kind(value), "a string"))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], DataError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| DataError::field(field, kind(value), "a list"))
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>, DataError> {
    value.as_object().ok_or_else(|| DataError::field(field, kind(value), "an object"))
}

/// The type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (null or missing)",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
