//! Recognises the layout of a record, and reads a record of a known layout.
//!
//! | module | holds |
//! |---|---|
//! | `values` | JSON values of an expected type, also from the forms that tables store them in |
//! | `columns` | the names that a source has for our fields, and the fields it ignores |
//! | `fields` | the fields of a record while it is read |
//! | `known` | the names that fields and roles have, and the fields that are refused |
//! | `calls` | tools, and calls of tools |
//! | `messages` | messages of every form |
//! | `dialogue` | dialogues in plain text |
//! | `prompts` | a whole conversation, or a prompt and its answer |
//! | `setting` | what belongs to a conversation beside its messages |
//! | `pair` | a pair of answers |
//! | `layouts` | a record of a known layout |
//! | `detect` | the layout of a record |
//! | `unread` | fields of messages that a chat template does not read |

mod calls;
mod columns;
mod detect;
mod dialogue;
mod fields;
mod known;
mod layouts;
mod messages;
mod pair;
mod prompts;
mod setting;
mod unread;
mod values;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking
mod tests;

use ift_methods::RowKind;
use serde_json::{Map, Value, json};

use crate::conversation::Example;
use crate::error::DataError;
use crate::format::Format;

pub(crate) use calls::parse_arguments;
pub(crate) use columns::Columns;
pub(crate) use known::FIELDS;
pub(crate) use unread::unread;
pub(crate) use values::kind;

use fields::Fields;

/// What a record means, and which of its fields mean nothing.
pub(crate) struct Reading {
    /// `None` if the record is empty: all fields with text are null.
    pub example: Option<Example>,
    /// The fields without a meaning here.
    pub unused: Vec<String>,
}

/// Recognises the layout of a record; `None` if it is empty: all fields with text are null.
///
/// # Errors
/// When no layout fits; the message lists the fields that were found.
pub(crate) fn detect(
    value: Value,
    columns: &Columns,
    kind: RowKind,
) -> Result<Option<Format>, DataError> {
    let map = object(value)?;
    let empty = is_empty(&map, columns);
    let fields = Fields::new(columns, map);
    if empty { Ok(None) } else { detect::detect(&fields, kind).map(Some) }
}

/// The layout of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub format: Format,
    /// Whether the recipe names it; otherwise it is the one of the file's first record.
    pub named: bool,
}

/// Reads a record of this layout.
///
/// # Errors
/// When a field is missing or of the wrong type, the layout does not have rows of this kind, or the
/// record has a field that would change what is learned and that is not supported.
pub(crate) fn read(
    value: Value,
    layout: Layout,
    columns: &Columns,
    kind: RowKind,
) -> Result<Reading, DataError> {
    let format = layout.format;
    let map = object(value)?;
    if is_empty(&map, columns) {
        return Ok(Reading { example: None, unused: Vec::new() });
    }
    let mut unused = columns.replaced_in_messages(&map);
    let mut fields = Fields::new(columns, map);
    let suits = match kind {
        RowKind::Pair => format == Format::Preference,
        RowKind::Judged => matches!(format, Format::Preference | Format::Judged),
        RowKind::Text | RowKind::Demonstration => true,
    };
    if !suits {
        return Err(match kind {
            RowKind::Pair => detect::not_a_pair(&fields),
            _ => detect::not_judged(&fields),
        });
    }
    let example = layouts::parse(&mut fields, format).map_err(|e| columns.name_theirs(e))?;
    let (left, replaced) = fields.rest();
    unused.extend(replaced.map(str::to_owned));
    for (name, value) in left {
        if values::is_empty(value) {
            unused.push(name.clone());
            continue;
        }
        let of_chat = format != Format::Text && known::is_refused_in_chats(name);
        if known::is_refused(name, value) || of_chat {
            return Err(known::refused(name.clone(), value, name));
        }
        if !layout.named && format != Format::Text && is_of_another_layout(name, value, format) {
            let theirs = columns.theirs(name);
            let found = format!("{}, in a file of layout `{}`", values::kind(value), format.name());
            let expected = format!(
                "records of one layout, which the first record shows; set `format` of the file to \
                 read all of them so, or write `data.ignore = [\"{theirs}\"]`"
            );
            return Err(DataError::field(theirs, found, expected));
        }
        unused.push(name.clone());
    }
    Ok(Reading { example: Some(example), unused })
}

/// Whether a field that is left over says that an answer is better, or good, or bad.
fn is_of_another_layout(name: &str, value: &Value, format: Format) -> bool {
    if known::LABELS.contains(&name) {
        !matches!(format, Format::Judged | Format::Preference) && layouts::verdict(value).is_some()
    } else {
        format != Format::Preference
            && (known::CHOSEN.contains(&name) || known::REJECTED.contains(&name))
    }
}

/// The fields of a record. A list is a conversation.
fn object(value: Value) -> Result<Map<String, Value>, DataError> {
    match value {
        Value::Object(map) => Ok(map),
        list @ Value::Array(_) => Ok(Map::from_iter([("messages".to_owned(), json!(list))])),
        other => Err(DataError::Malformed(format!(
            "found {}, expected an object with named fields, or a list of messages",
            kind(&other)
        ))),
    }
}

/// Whether a record says nothing: all its fields are null, or all those that a layout reads its
/// text from.
fn is_empty(record: &Map<String, Value>, columns: &Columns) -> bool {
    let content = |ours: &str| record.get(columns.theirs(ours));
    let mut content = known::content().filter_map(content).peekable();
    let empty = content.peek().is_some() && content.all(Value::is_null);
    !record.is_empty() && (empty || record.values().all(Value::is_null))
}
