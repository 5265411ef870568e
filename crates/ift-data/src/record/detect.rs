//! Recognises the layout of a record by its fields.

use ift_methods::RowKind;
use serde_json::Value;

use crate::error::DataError;
use crate::format::Format;

use super::fields::Fields;
use super::known::{CHOSEN, COMPLETIONS, INPUTS, LABELS, LISTS, PROMPTS, REJECTED};
use super::layouts::verdict;
use super::values::{decoded, is_list};

/// Recognises the layout of a record by its fields. A record may fit several (`UltraFeedback` has
/// `messages` next to `chosen`): the most specific one counts. For methods on plain text, `text`
/// comes first; methods on pairs or judged answers accept no other layout.
///
/// # Errors
/// When no layout fits; the message lists the fields that were found.
pub(super) fn detect(fields: &Fields<'_>, kind: RowKind) -> Result<Format, DataError> {
    let pair = fields.first(&CHOSEN).is_some() && fields.first(&REJECTED).is_some();
    let list = LISTS.into_iter().find(|name| fields.peek(name).is_some_and(is_list));
    let answer = fields.first(&COMPLETIONS).is_some();
    let prompt = fields.first(&PROMPTS);
    let completed = answer && (prompt.is_some() || fields.first(&INPUTS).is_some());
    let label = fields.first(&LABELS).and_then(|name| fields.peek(name));
    let label = label.is_some_and(|value| verdict(value).is_some());
    Ok(if kind == RowKind::Text && fields.has("text") {
        Format::Text
    } else if pair {
        Format::Preference
    } else if kind == RowKind::Pair {
        return Err(not_a_pair(fields));
    } else if label && (completed || list.is_some()) {
        Format::Judged
    } else if kind == RowKind::Judged {
        return Err(not_judged(fields));
    } else if let Some(name) = list {
        if name != LISTS[0] && has_from(fields.peek(name)) {
            Format::Sharegpt
        } else {
            Format::Messages
        }
    } else if completed {
        if prompt == Some("instruction") { Format::Alpaca } else { Format::PromptCompletion }
    } else if fields.has("text") {
        Format::Text
    } else {
        return Err(DataError::Malformed(format!(
            "unrecognised record format: found fields {}; expected `messages`, `conversations`, \
             `prompt` and `completion`, `instruction` and `output`, `chosen` and `rejected`, or \
             `text`; other names can be given in `data.columns`",
            fields.names()
        )));
    })
}

/// Whether the first turn of a list has `from`.
fn has_from(list: Option<&Value>) -> bool {
    let first = match list.cloned().map(|list| decoded(list, "")) {
        Some(Ok(Value::Array(list))) => list.into_iter().next(),
        Some(Ok(other)) => Some(other),
        // Reading the list says what is wrong with it.
        Some(Err(_)) | None => None,
    };
    first.is_some_and(|turn| turn.get("from").is_some() && turn.get("role").is_none())
}

/// The error for a record that should be a pair.
pub(super) fn not_a_pair(fields: &Fields<'_>) -> DataError {
    DataError::Malformed(format!(
        "not a pair: found fields {}; expected `chosen` and `rejected`, each a string or a list \
         of messages, with their `prompt`",
        fields.names()
    ))
}

/// The error for a record that should be a judged answer.
pub(super) fn not_judged(fields: &Fields<'_>) -> DataError {
    DataError::Malformed(format!(
        "not a judged answer: found fields {}; expected `label` (true or false, also 1 or 0) with \
         `prompt` and `completion` or `messages`, or a pair of `chosen` and `rejected`",
        fields.names()
    ))
}
