//! The messages of a record: a whole conversation, or a prompt and its answer.

use serde_json::Value;

use crate::conversation::Message;
use crate::error::DataError;

use super::dialogue;
use super::fields::Fields;
use super::known::{COMPLETIONS, INPUTS, PROMPTS, REASONING};
use super::messages::{Side, messages, reasoning};
use super::values::{is_empty, kind, text};

/// Refuses a conversation without messages.
pub(super) fn filled(messages: Vec<Message>, field: &str) -> Result<Vec<Message>, DataError> {
    if messages.is_empty() {
        return Err(DataError::field(field, "an empty list", "at least one message"));
    }
    Ok(messages)
}

/// The conversation in the first of these fields, and the answer to it, if that has a field of its
/// own.
pub(super) fn conversation(
    fields: &mut Fields<'_>,
    names: &[&str],
) -> Result<Vec<Message>, DataError> {
    let mut all = listed(fields, names)?;
    let Some((name, value)) = fields.one_of(&COMPLETIONS)? else { return Ok(all) };
    let value = if is_empty(&value) { None } else { Some(value) };
    if !all.last().is_some_and(Message::is_assistant) {
        match value {
            Some(value) => all.extend(answer(fields, name, value)?),
            None => fields.list(name),
        }
        return Ok(all);
    }
    let same = |value: &Value| match Side::read(value.clone(), name, fields.columns) {
        Ok(side) => is_end(&all, &side.messages("assistant")),
        Err(_) => false,
    };
    if value.as_ref().is_none_or(same) {
        fields.list(name);
        return Ok(all);
    }
    let name = fields.columns.theirs(name);
    let found = "another answer than the one that the conversation ends with";
    let expected =
        format!("one answer; to learn the conversation alone, write `data.ignore = [\"{name}\"]`");
    Err(DataError::field(name, found, expected))
}

/// Whether messages end with these turns and texts.
fn is_end(all: &[Message], end: &[Message]) -> bool {
    let start = all.len().checked_sub(end.len());
    start.is_some_and(|start| same_turns(&all[start..], end))
}

/// Whether two lists have the same turns and texts, but for white space around them.
pub(super) fn same_turns(some: &[Message], others: &[Message]) -> bool {
    let same =
        |(a, b): (&Message, &Message)| a.role == b.role && a.text().trim() == b.text().trim();
    some.len() == others.len() && some.iter().zip(others).all(same)
}

/// The messages in the first of these fields.
pub(super) fn listed(fields: &mut Fields<'_>, names: &[&str]) -> Result<Vec<Message>, DataError> {
    let name = fields.first(names).or(names.first().copied()).unwrap_or_default();
    let value = fields.need(name)?;
    filled(messages(value, name, fields.columns)?, name)
}

/// A prompt and its answer. `prompt` and `answer` are the names in the error for a record that has
/// none.
pub(super) fn completed(
    fields: &mut Fields<'_>,
    prompt: &str,
    answer: &str,
) -> Result<Vec<Message>, DataError> {
    let Some(mut all) = self::prompt(fields)? else { return Err(fields.missing(prompt)) };
    let Some((name, value)) = fields.one_of(&COMPLETIONS)? else {
        return Err(fields.missing(answer));
    };
    all.extend(self::answer(fields, name, value)?);
    filled(all, name)
}

/// The answer in a field, with the reasoning that the record has for it.
fn answer(fields: &mut Fields<'_>, name: &str, value: Value) -> Result<Vec<Message>, DataError> {
    let mut turns = Side::read(value, name, fields.columns)?.messages("assistant");
    let Some((name, value)) = fields.one_of(&REASONING)? else { return Ok(turns) };
    let theirs = fields.columns.theirs(name);
    let text = reasoning(value, name, theirs)?;
    let fault = |found: String| {
        let expected = format!(
            "the text that the model thinks before the answer, once; to leave it out, write \
             `data.ignore = [\"{theirs}\"]`"
        );
        Err(DataError::field(name, found, expected))
    };
    if text.trim().is_empty() {
        fields.list(name);
        return Ok(turns);
    }
    if SWITCHES.contains(&text.trim().to_ascii_lowercase().as_str()) {
        return fault(format!("\"{text}\", which says whether to think"));
    }
    match turns.iter_mut().rfind(|message| message.is_assistant()) {
        Some(message) if REASONING.iter().all(|name| !message.fields.contains_key(*name)) => {
            message.fields.insert(REASONING[0].to_owned(), text.into());
            Ok(turns)
        }
        Some(_) => fault("a reasoning, next to one in the answer's message".to_owned()),
        None => fault("a reasoning, but no turn of the assistant in the answer".to_owned()),
    }
}

/// Texts of a field such as `reasoning` that are no reasoning.
const SWITCHES: [&str; 6] = ["on", "off", "yes", "no", "true", "false"];

/// The prompt of a record: a text with its input, or messages. `None` if the record has none.
pub(super) fn prompt(fields: &mut Fields<'_>) -> Result<Option<Vec<Message>>, DataError> {
    let (name, value) = match fields.one_of(&PROMPTS)? {
        Some(found) => found,
        None => match fields.one_of(&INPUTS)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let turns = match Side::read(value, name, fields.columns)? {
        Side::Messages(messages) => messages,
        Side::Text(text) => {
            let Some(turns) = dialogue::turns(&text, true) else {
                let input = input(fields)?;
                let between = if text.is_empty() || input.is_empty() { "" } else { "\n\n" };
                return Ok(Some(vec![Message::new("user", text + between + &input)]));
            };
            turns
        }
    };
    if let Some((input, value)) = fields.one_of(&INPUTS)? {
        if !is_empty(&value) {
            let theirs = fields.columns.theirs(input);
            let found = format!("{}, next to a prompt of messages in `{name}`", kind(&value));
            let expected = format!(
                "it within the messages; to leave it out, write `data.ignore = [\"{theirs}\"]`"
            );
            return Err(DataError::field(input, found, expected));
        }
        fields.list(input);
    }
    Ok(Some(turns))
}

/// The text that follows the text of a prompt.
fn input(fields: &mut Fields<'_>) -> Result<String, DataError> {
    match fields.one_of(&INPUTS)? {
        Some((name, value)) => text(value, name),
        None => Ok(String::new()),
    }
}
