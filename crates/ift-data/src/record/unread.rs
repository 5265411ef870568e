//! Fields of messages that a chat template does not read.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::conversation::Conversation;
use crate::error::DataError;

use super::known::REASONING;
use super::values::is_empty;

/// The fields of the messages that occur nowhere in the text of a template, each once, as
/// `messages.NAME`.
///
/// # Errors
/// When a message has a reasoning that would not be written.
pub(crate) fn unread(
    conversation: &Conversation,
    template: &str,
) -> Result<BTreeSet<String>, DataError> {
    let mut found = BTreeSet::new();
    for (i, message) in conversation.messages.iter().enumerate() {
        for (name, value) in &message.fields {
            let reasoning = REASONING.contains(&name.as_str());
            // Templates are given a reasoning under the names that they know.
            let read = if reasoning {
                REASONING.iter().any(|name| mentions(template, name))
            } else {
                mentions(template, name)
            };
            if read || is_empty(value) {
                continue;
            }
            if reasoning {
                return Err(not_written(i, name, value));
            }
            found.insert(format!("messages.{name}"));
        }
    }
    Ok(found)
}

fn not_written(message: usize, name: &str, value: &Value) -> DataError {
    let length = value.as_str().map_or(0, |text| text.chars().count());
    let found = format!(
        "a reasoning of {length} characters, which the chat template never reads, so it would not \
         be learned"
    );
    let expected = format!(
        "a template that writes it (`data.template`), or `data.ignore = [\"messages.{name}\"]`"
    );
    DataError::field(format!("messages[{message}].{name}"), found, expected)
}

/// Whether a word occurs in a text.
fn mentions(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_not_a_part_of_another() {
        assert!(mentions("{% if message.thinking %}", "thinking"));
        assert!(!mentions("{% if enable_thinking %}", "thinking"));
        assert!(mentions("enable_thinking or m['thinking']", "thinking"));
    }
}
