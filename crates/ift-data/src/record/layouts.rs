//! Reads a record of a known layout.

use serde_json::Value;

use crate::conversation::{Conversation, Example, Message};
use crate::error::DataError;
use crate::format::Format;

use super::fields::Fields;
use super::known::{COMPLETIONS, INPUTS, LABELS, LISTS, PROMPTS};
use super::pair::pair;
use super::prompts::{completed, conversation};
use super::setting::Setting;
use super::values::{is_list, kind, text};

/// Reads a record of this layout. What it leaves in the fields has no meaning.
///
/// # Errors
/// When a field is missing or of the wrong type, fields contradict each other, or a conversation is
/// empty.
pub(super) fn parse(fields: &mut Fields<'_>, format: Format) -> Result<Example, DataError> {
    match format {
        Format::Text => Ok(Example::Text(text(fields.need("text")?, "text")?)),
        Format::Messages => {
            let messages = conversation(fields, &LISTS)?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Sharegpt => {
            let messages = conversation(fields, &LISTS[1..])?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::PromptCompletion => {
            let messages = completed(fields, "prompt", "completion")?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Alpaca => {
            let messages = completed(fields, "instruction", "output")?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Judged => judged(fields),
        Format::Preference => pair(fields),
    }
}

/// What belongs to a conversation beside its messages.
fn chat(fields: &mut Fields<'_>, messages: Vec<Message>) -> Result<Conversation, DataError> {
    let setting = Setting::take(fields)?;
    setting.conversation(messages)
}

fn judged(fields: &mut Fields<'_>) -> Result<Example, DataError> {
    let Some((name, value)) = fields.one_of(&LABELS)? else { return Err(fields.missing("label")) };
    let Some(desirable) = verdict(&value) else {
        let found = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("\"{text}\""),
            other => kind(&other).to_owned(),
        };
        return Err(DataError::field(name, found, "true or false, or 1 or 0"));
    };
    let prompted = fields.first(&PROMPTS).or(fields.first(&INPUTS)).is_some();
    let listed = LISTS.into_iter().any(|name| fields.peek(name).is_some_and(is_list));
    let answered = fields.first(&COMPLETIONS).is_some();
    let messages = if answered && (prompted || !listed) {
        completed(fields, "prompt", "completion")?
    } else {
        conversation(fields, &LISTS)?
    };
    Ok(Example::Judged { conversation: chat(fields, messages)?, desirable })
}

/// Whether a label says that an answer is desirable.
pub(super) fn verdict(label: &Value) -> Option<bool> {
    match label {
        Value::Bool(desirable) => Some(*desirable),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
