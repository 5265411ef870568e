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
                REASONING.iter().any(|name| reads(template, name))
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
    places(text, word).next().is_some()
}

/// Whether a template reads a field of this name: `message.name`, or its name in quotation marks.
/// A variable of the same name, such as a switch for thinking, is no field.
fn reads(template: &str, name: &str) -> bool {
    places(template, name).any(|(before, after)| {
        let attribute = before.trim_end().ends_with('.');
        let quoted = ['\'', '"'].into_iter().any(|q| before.ends_with(q) && after.starts_with(q));
        attribute || quoted
    })
}

/// The texts before and after each place of a word.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let around = text.match_indices(word).map(|(at, word)| (&text[..at], &text[at + word.len()..]));
    around.filter(move |(before, after)| !before.ends_with(part) && !after.starts_with(part))
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

    #[test]
    fn a_variable_is_no_field() {
        for template in [
            "{{ m.thinking }}",
            "{{ m['thinking'] }}",
            "{{ m.get(\"thinking\", '') }}",
            "{% for name in ['reasoning', 'thinking'] %}{{ m[name] }}{% endfor %}",
        ] {
            assert!(reads(template, "thinking"), "{template}");
        }
        for template in [
            "{# Granite #}{% if thinking %}Think.{% endif %}",
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}",
            "Put your thinking first. {{ m.thinking_budget }}",
        ] {
            assert!(!reads(template, "thinking"), "{template}");
        }
    }
}
