//! Reads messages: `role` and `content`, or `from` and `value`, and what else they have.

use serde_json::{Map, Value};

use crate::conversation::Message;
use crate::error::DataError;

use super::calls::calls;
use super::columns::Columns;
use super::known;
use super::values::{decoded, is_empty, kind, list, object, text};

/// A list of messages, in any form that [`list`] reads.
pub(super) fn messages(
    value: Value,
    field: &str,
    columns: &Columns,
) -> Result<Vec<Message>, DataError> {
    let list = list(value, field)?;
    let mut out = Vec::with_capacity(list.len());
    for (i, value) in list.into_iter().enumerate() {
        out.push(Reader { columns, at: format!("{field}[{i}]") }.message(value)?);
    }
    Ok(out)
}

/// A message by itself.
pub(super) fn message(value: Value, field: &str, columns: &Columns) -> Result<Message, DataError> {
    Reader { columns, at: field.to_owned() }.message(value)
}

/// Reads one message.
struct Reader<'a> {
    columns: &'a Columns,
    /// The message's path in the record.
    at: String,
}

impl Reader<'_> {
    fn message(&self, value: Value) -> Result<Message, DataError> {
        let mut map = object(value, &self.at)?;
        map.retain(|name, value| !value.is_null() && !self.columns.ignores_in_messages(name));
        let weight = self.weight(&mut map)?;
        let called = self.called(&mut map)?;
        let from = !map.contains_key(self.columns.theirs("role")) && map.contains_key("from");
        let (role, content) = if from {
            ("from", "value")
        } else {
            (self.columns.theirs("role"), self.columns.theirs("content"))
        };
        let stated = text(map.shift_remove(role).unwrap_or_default(), &self.path(role))?;
        let content = (content, map.shift_remove(content));
        let role = match known::role(&stated) {
            Some(known::CALL) => return self.call_turn(content, map, weight),
            // Templates of GLM have this role.
            Some(_) if !from && stated == "observation" => stated,
            Some(known) => known.to_owned(),
            None if from => {
                let expected = "\"human\", \"gpt\", \"system\", \"tool\", \"function_call\" or a \
                                common synonym";
                return Err(DataError::field(self.path(role), format!("\"{stated}\""), expected));
            }
            None => stated,
        };
        if !called.is_empty() {
            map.insert("tool_calls".to_owned(), Value::Array(called));
        }
        let reasons = self.check_reasoning(&map)?;
        self.refuse(&map)?;
        let content = match content {
            (_, None) if reasons || map.contains_key("tool_calls") => None,
            (name, value) => Some(joined(value.unwrap_or_default(), &self.path(name))?),
        };
        let message = Message { role, content, fields: map, weight };
        self.check_weight(&message)?;
        Ok(message)
    }

    fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    /// A turn of `function_call`, whose text is the JSON of one call or of several.
    fn call_turn(
        &self,
        (name, value): (&str, Option<Value>),
        mut map: Map<String, Value>,
        weight: Option<f32>,
    ) -> Result<Message, DataError> {
        let called = calls(value.unwrap_or_default(), &self.path(name))?;
        map.insert("tool_calls".to_owned(), Value::Array(called));
        self.refuse(&map)?;
        Ok(Message { role: "assistant".to_owned(), content: None, fields: map, weight })
    }

    /// `tool_calls`, or the older `function_call`.
    fn called(&self, map: &mut Map<String, Value>) -> Result<Vec<Value>, DataError> {
        let several = map.shift_remove("tool_calls").filter(|value| !is_empty(value));
        let single = map.shift_remove("function_call").filter(|value| !is_empty(value));
        let (name, value) = match (several, single) {
            (None, None) => return Ok(Vec::new()),
            (Some(value), None) => ("tool_calls", value),
            (None, Some(value)) => ("function_call", value),
            (Some(_), Some(_)) => {
                let found = "a value, next to `tool_calls`";
                return Err(DataError::field(self.path("function_call"), found, "one of the two"));
            }
        };
        calls(value, &self.path(name))
    }

    /// The text of the reasoning may have several names, which the template is given all.
    fn check_reasoning(&self, map: &Map<String, Value>) -> Result<bool, DataError> {
        let mut given =
            known::REASONING.into_iter().filter_map(|name| Some((name, map.get(name)?)));
        let Some((first, text)) = given.next() else { return Ok(false) };
        match given.find(|(_, other)| *other != text) {
            None => Ok(!is_empty(text)),
            Some((name, _)) => {
                let found = format!("a value that differs from `{first}`");
                Err(DataError::field(self.path(name), found, "the same text"))
            }
        }
    }

    /// The weight of a turn: `weight`, or one of the fields that say whether it is learned.
    fn weight(&self, map: &mut Map<String, Value>) -> Result<Option<f32>, DataError> {
        let mut found: Option<(&str, f32)> = None;
        for name in known::WEIGHTS {
            let Some(value) = map.shift_remove(name) else { continue };
            let weight = match &value {
                Value::Bool(learned) => Some(if *learned { 1.0 } else { 0.0 }),
                Value::Number(number) => number.as_f64().map(|number| number as f32),
                _ => None,
            };
            let weight = weight.filter(|weight| weight.is_finite() && *weight >= 0.0);
            let Some(weight) = weight else {
                let found = match value {
                    Value::Number(number) => number.to_string(),
                    other => kind(&other).to_owned(),
                };
                let expected = "a weight of at least 0, or true or false";
                return Err(DataError::field(self.path(name), found, expected));
            };
            if let Some((other, _)) = found.filter(|&(_, other)| other != weight) {
                let found = format!("another weight than in `{other}`");
                return Err(DataError::field(self.path(name), found, "the same weight"));
            }
            found = Some((name, weight));
        }
        Ok(found.map(|(_, weight)| weight))
    }

    /// Only the turns of the assistant are learned.
    fn check_weight(&self, message: &Message) -> Result<(), DataError> {
        if message.is_assistant() || message.weight.is_none_or(|weight| weight == 0.0) {
            return Ok(());
        }
        let found = format!("a weight above 0 for a turn of `{}`", message.role);
        let expected = "weights for the assistant's turns only, as no other is learned; remove it, \
                        or list its field in `data.ignore` (such as \"messages.weight\")";
        Err(DataError::field(&self.at, found, expected))
    }

    /// Refuses fields that would change what is learned. Others are given to the template.
    fn refuse(&self, map: &Map<String, Value>) -> Result<(), DataError> {
        for (name, value) in map {
            if known::REFUSED_IN_MESSAGES.contains(&name.as_str()) && !is_empty(value) {
                return Err(known::refused(self.path(name), value, &format!("messages.{name}")));
            }
        }
        Ok(())
    }
}

/// Content as a string, or as a list of text parts that are joined.
fn joined(content: Value, at: &str) -> Result<String, DataError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => {
            let expected = "a string or a list of text parts";
            return Err(DataError::field(at, kind(&other), expected));
        }
    };
    let mut text_of_parts = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        let mut part = object(part, &at)?;
        match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                let value = part.shift_remove("text").unwrap_or_default();
                text_of_parts.push_str(&text(value, &format!("{at}.text"))?);
            }
            Some(other) => {
                let found = format!("a part of type \"{other}\"");
                let expected = "a part of type \"text\" (only text is supported)";
                return Err(DataError::field(at, found, expected));
            }
            None => {
                let expected = "a part of type \"text\"";
                return Err(DataError::field(at, "a part without `type`", expected));
            }
        }
    }
    Ok(text_of_parts)
}

/// A side of a pair, a prompt or a completion: a string, one message, or a list of messages.
pub(super) enum Side {
    Text(String),
    Messages(Vec<Message>),
}

impl Side {
    pub fn read(value: Value, field: &str, columns: &Columns) -> Result<Self, DataError> {
        let value = match value {
            // A text that begins with a bracket is the JSON of messages only if it reads so.
            Value::String(text) => match decoded(Value::String(text.clone())) {
                Value::Array(list) if holds_messages(&list) => Value::Array(list),
                _ => return Ok(Side::Text(text)),
            },
            other => other,
        };
        match value {
            Value::Array(_) => messages(value, field, columns).map(Side::Messages),
            Value::Object(_) => message(value, field, columns).map(|m| Side::Messages(vec![m])),
            other => Err(DataError::field(field, kind(&other), "a string or a list of messages")),
        }
    }

    /// The side as messages; a string becomes one message of `role`.
    pub fn messages(self, role: &str) -> Vec<Message> {
        match self {
            Side::Text(text) => vec![Message::new(role, text)],
            Side::Messages(messages) => messages,
        }
    }
}

fn holds_messages(list: &[Value]) -> bool {
    let message = |value: &Value| value.get("role").or_else(|| value.get("from")).is_some();
    !list.is_empty() && list.iter().all(message)
}
