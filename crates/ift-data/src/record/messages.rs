//! Reads messages: `role` and `content`, or `from` and `value`, and what else they have.

use serde_json::{Map, Value};

use crate::conversation::Message;
use crate::error::DataError;

use super::calls::calls;
use super::columns::Columns;
use super::known;
use super::values::{check_whole, decoded, is_empty, kind, list, object, text};

/// Largest weight of a turn; a larger one is taken for a typing error.
const MAX_WEIGHT: f32 = 1000.0;

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
        let mut called = self.called(&mut map)?;
        let from = !map.contains_key(self.columns.theirs("role")) && map.contains_key("from");
        let (role, content) = if from {
            ("from", "value")
        } else {
            (self.columns.theirs("role"), self.columns.theirs("content"))
        };
        let stated = text(map.shift_remove(role).unwrap_or_default(), &self.path(role))?;
        let content = (content, map.shift_remove(content));
        self.check_unmapped(&map, (role, &stated), (content.0, content.1.as_ref()))?;
        // Templates see the fields that were read under these names, never others.
        map.shift_remove("role");
        map.shift_remove("content");
        let role = match known::role(&stated) {
            Some(known::CALL) if called.is_empty() => return self.call_turn(content, map, weight),
            Some(known::CALL) => {
                let found = format!("\"{stated}\" in a message that has calls of its own");
                return Err(DataError::field(self.path(role), found, "one of the two"));
            }
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
        let content = (content.0, content.1.map(|value| parts(value, &self.path(content.0))));
        let content = match content {
            (name, Some(parts)) => {
                let parts = parts?;
                self.take_parts(parts, name, &role, &mut map, &mut called)?
            }
            (_, None) => None,
        };
        if !called.is_empty() {
            map.insert("tool_calls".to_owned(), Value::Array(called));
        }
        let reasons = self.read_reasoning(&mut map)?;
        self.refuse(&map)?;
        if content.is_none() && !reasons && !map.contains_key("tool_calls") {
            let name = if from { "value" } else { self.columns.theirs("content") };
            let expected = "a string or a list of text parts";
            return Err(DataError::field(self.path(name), kind(&Value::Null), expected));
        }
        let message = Message { role, content, fields: map, weight };
        self.check_weight(&message)?;
        Ok(message)
    }

    /// Refuses a `role` or `content` that says something else than the fields that were read.
    fn check_unmapped(
        &self,
        left: &Map<String, Value>,
        (role, stated): (&str, &str),
        (content, read): (&str, Option<&Value>),
    ) -> Result<(), DataError> {
        // A mapping of columns says which of the two fields counts.
        let differs = |ours: &str, theirs: &str, same: bool| {
            let mapped = self.columns.theirs(ours) == theirs && ours != theirs;
            (!mapped && !same && left.contains_key(ours)).then(|| {
                let found = format!("a value that differs from `{theirs}`");
                let expected = format!(
                    "one of the two; to leave one out, write `data.ignore = [\"messages.{ours}\"]`"
                );
                DataError::field(self.path(ours), found, expected)
            })
        };
        let same_role = left.get("role").is_none_or(|role| role == stated);
        let same_content = left.get("content").is_none_or(|content| Some(content) == read);
        let fault = differs("role", role, same_role);
        fault.or_else(|| differs("content", content, same_content)).map_or(Ok(()), Err)
    }

    /// The text of the parts of a content; those with a reasoning or a call go to their fields.
    fn take_parts(
        &self,
        parts: Vec<Part>,
        name: &str,
        role: &str,
        fields: &mut Map<String, Value>,
        called: &mut Vec<Value>,
    ) -> Result<Option<String>, DataError> {
        let mut content: Option<String> = parts.is_empty().then(String::new);
        let mut reasoning = String::new();
        let mut calling = false;
        for (i, part) in parts.into_iter().enumerate() {
            let at = format!("{}[{i}]", self.path(name));
            let misplaced = |kind: &str, expected: &str| {
                Err(DataError::field(&at, format!("a part of type \"{kind}\""), expected))
            };
            match part {
                Part::Text(text) if calling && !text.trim().is_empty() => {
                    return misplaced("text", "it before the calls of the turn");
                }
                Part::Text(text) => content.get_or_insert_default().push_str(&text),
                Part::Reasoning(_) if role != "assistant" => {
                    return misplaced("reasoning", "only text: the turn is not the assistant's");
                }
                Part::Reasoning(_) if content.is_some() || calling => {
                    return misplaced("reasoning", "it before the text and the calls of a turn");
                }
                Part::Reasoning(text) => reasoning.push_str(&text),
                Part::Call(_) if role != "assistant" => {
                    return misplaced("tool_call", "only text: the turn is not the assistant's");
                }
                Part::Call(call) => {
                    called.extend(calls(call, &at)?);
                    calling = true;
                }
            }
        }
        if !reasoning.is_empty() {
            if known::REASONING.iter().any(|name| fields.contains_key(*name)) {
                let found = "a part of type \"reasoning\", next to a field with the reasoning";
                return Err(DataError::field(self.path(name), found, "one of the two"));
            }
            fields.insert(known::REASONING[0].to_owned(), reasoning.into());
        }
        Ok(content)
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
        self.read_reasoning(&mut map)?;
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

    /// Reads the text of the reasoning, which may have several names: the template is given all.
    /// Whether there is one.
    fn read_reasoning(&self, map: &mut Map<String, Value>) -> Result<bool, DataError> {
        let mut first: Option<(&str, String)> = None;
        for name in known::REASONING {
            let Some(value) = map.get_mut(name) else { continue };
            let text = reasoning(value.take(), &self.path(name), &format!("messages.{name}"))?;
            match &first {
                Some((first, other)) if *other != text => {
                    let found = format!("a value that differs from `{first}`");
                    return Err(DataError::field(self.path(name), found, "the same text"));
                }
                _ => first = Some((name, text.clone())),
            }
            *value = text.into();
        }
        Ok(first.is_some_and(|(_, text)| !text.is_empty()))
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
            let weight = weight.filter(|weight| (0.0..=MAX_WEIGHT).contains(weight));
            let Some(weight) = weight else {
                let found = match value {
                    Value::Number(number) => number.to_string(),
                    other => kind(&other).to_owned(),
                };
                let expected = format!("a weight from 0 to {MAX_WEIGHT}, or true or false");
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
            if known::REFUSED.contains(&name.as_str()) && !is_empty(value) {
                return Err(known::refused(self.path(name), value, &format!("messages.{name}")));
            }
            check_whole(value, &self.path(name))?;
        }
        Ok(())
    }
}

/// A part of a content.
enum Part {
    Text(String),
    /// What the model thinks before it answers.
    Reasoning(String),
    /// The JSON of a call.
    Call(Value),
}

/// The parts of a content: a string, or a list of objects with their `type`. LLaMA-Factory has what
/// they hold in `value`.
fn parts(content: Value, at: &str) -> Result<Vec<Part>, DataError> {
    let list = match content {
        Value::String(text) => return Ok(vec![Part::Text(text)]),
        Value::Array(list) => list,
        other => {
            let expected = "a string or a list of text parts";
            return Err(DataError::field(at, kind(&other), expected));
        }
    };
    let mut parts = Vec::with_capacity(list.len());
    for (i, part) in list.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        let mut part = object(part, &at)?;
        let of_type = part.shift_remove("type");
        let held = |part: &mut Map<String, Value>, name: &str| {
            let name = if part.contains_key(name) { name } else { "value" };
            (part.shift_remove(name).unwrap_or_default(), format!("{at}.{name}"))
        };
        parts.push(match of_type.as_ref().and_then(Value::as_str) {
            Some("text") => {
                let (value, at) = held(&mut part, "text");
                Part::Text(text(value, &at)?)
            }
            Some("reasoning") if part.contains_key("value") => {
                let (value, at) = held(&mut part, "value");
                Part::Reasoning(text(value, &at)?)
            }
            Some("tool_call") if part.contains_key("value") => {
                Part::Call(held(&mut part, "value").0)
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
        });
        let weights = || known::WEIGHTS.into_iter().chain(known::REFUSED);
        let counts = |name: &str| weights().any(|weight| weight == name);
        if let Some((name, value)) = part.iter().find(|(name, v)| counts(name) && !is_empty(v)) {
            let expected = "no such field of a part: it would change what is learned, and is not \
                            supported";
            return Err(DataError::field(format!("{at}.{name}"), kind(value), expected));
        }
    }
    Ok(parts)
}

/// A reasoning: a string, or a list of text parts that are joined. `ignore` is its name in
/// `data.ignore`.
pub(super) fn reasoning(value: Value, at: &str, ignore: &str) -> Result<String, DataError> {
    let found = match value {
        Value::String(text) => return Ok(text),
        value if is_empty(&value) => return Ok(String::new()),
        Value::Array(list) => match parts(Value::Array(list), at) {
            Ok(parts) if parts.iter().all(|part| matches!(part, Part::Text(_))) => {
                let text = parts.iter().map(|part| match part {
                    Part::Text(text) | Part::Reasoning(text) => text.as_str(),
                    Part::Call(_) => "",
                });
                return Ok(text.collect());
            }
            _ => "a list that is not all text parts",
        },
        other => kind(&other),
    };
    let expected = format!(
        "the text of a reasoning, a string or a list of text parts; to leave it out, write \
         `data.ignore = [\"{ignore}\"]`"
    );
    Err(DataError::field(at, found, expected))
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
            Value::String(text) => match decoded(Value::String(text.clone()), field)? {
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
