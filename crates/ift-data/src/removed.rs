//! Text of a record that its template leaves out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::conversation::{Conversation, Message, REASONING};
use crate::error::DataError;

/// The roles with messages of which the rendered text lacks a part; templates for models that
/// reason leave out earlier reasoning. White space around each part does not count. The parts of an
/// assistant's content are the texts between `<think>` and `</think>` marks, which templates write
/// in their own way.
///
/// # Errors
/// When a message that is neither an assistant's nor the system's or developer's, or the call of a
/// tool, is left out as a whole.
pub(crate) fn left_out(
    conversation: &Conversation,
    text: &str,
) -> Result<BTreeSet<String>, DataError> {
    let mut roles = BTreeSet::new();
    let mut search = Search { text, rest: text, escaped: false };
    for (i, message) in conversation.messages.iter().enumerate() {
        // Of a role that is noted already, only what is an error is looked for.
        let noted = roles.contains(&message.role);
        let complete = match message.role.as_str() {
            "assistant" => {
                let complete = noted || parts(message).all(|part| search.finds(part));
                check_calls(message, i, &search)?;
                complete
            }
            // Templates may write it anywhere.
            "system" | "developer" => noted || text.contains(message.text().trim()),
            _ => {
                search.finds(message.text()) || search.holds(message.text()) || {
                    check_turn(message, i, text)?;
                    false
                }
            }
        };
        if !complete {
            roles.insert(message.role.clone());
        }
    }
    Ok(roles)
}

/// What an assistant thought and wrote.
fn parts(message: &Message) -> impl Iterator<Item = &str> {
    let reasoning = REASONING.iter().find_map(|name| message.fields.get(*name)?.as_str());
    let content = message.text();
    let content = content.split("<think>").flat_map(|part| part.split("</think>"));
    reasoning.into_iter().chain(content)
}

/// Looks for texts in their order, so that all together take one pass over the rendered text.
struct Search<'a> {
    text: &'a str,
    /// What follows the last text that was found.
    rest: &'a str,
    /// Whether that one was written as in a JSON string.
    escaped: bool,
}

impl Search<'_> {
    /// Whether a text follows, also in the form of a JSON string, as templates write the answers of
    /// tools.
    fn finds(&mut self, wanted: &str) -> bool {
        let wanted = wanted.trim();
        for escaped in [self.escaped, !self.escaped] {
            let form = form(wanted, escaped);
            if let Some(at) = self.rest.find(&form) {
                self.rest = self.rest.get(at + form.len()..).unwrap_or_default();
                self.escaped = escaped;
                return true;
            }
        }
        false
    }

    /// Whether a text is there at all.
    fn holds(&self, wanted: &str) -> bool {
        [false, true].iter().any(|&escaped| self.text.contains(&form(wanted.trim(), escaped)))
    }
}

/// A text as it is, or as within a JSON string.
fn form(text: &str, escaped: bool) -> String {
    if !escaped {
        return text.to_owned();
    }
    let json = Value::from(text).to_string();
    json.get(1..json.len() - 1).unwrap_or_default().to_owned()
}

/// Refuses the text of a turn of which not even the longest word is there. A template may change
/// the rest.
fn check_turn(message: &Message, i: usize, text: &str) -> Result<(), DataError> {
    let content = message.text().trim();
    let words = content.split(|c: char| !c.is_alphanumeric());
    // A text without words, such as white space of another kind, tells nothing.
    if words.max_by_key(|word| word.len()).is_none_or(|word| text.contains(word)) {
        return Ok(());
    }
    let found = format!("a turn of `{}`, whose text the chat template leaves out", message.role);
    let expected = "a role whose turns the chat template writes, or a template that writes them \
                    (`data.template`)";
    Err(DataError::field(format!("messages[{i}]"), found, expected))
}

/// Refuses calls whose names are nowhere in the text.
fn check_calls(message: &Message, i: usize, search: &Search<'_>) -> Result<(), DataError> {
    let calls = message.fields.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        let Some(name) = call.pointer("/function/name").and_then(Value::as_str) else { continue };
        if !search.holds(name) {
            let found = format!("a call of `{name}`, which the chat template leaves out");
            let expected = "a template that writes it (`data.template`), or \
                            `data.ignore = [\"messages.tool_calls\"]` to train without the calls";
            return Err(DataError::field(format!("messages[{i}].tool_calls"), found, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roles(messages: &[Message], text: &str) -> Vec<String> {
        left_out(&messages.to_vec().into(), text).unwrap().into_iter().collect()
    }

    #[test]
    fn removed_text_is_found_whatever_white_space_the_template_writes() {
        let mut answer = Message::new("assistant", "<think>add</think>4\n");
        let talk = |message: &Message| [Message::new("user", "2+2?"), message.clone()];
        let none: [&str; 0] = [];
        let written = "2+2? <think>\nadd\n</think>\n\n4<end>";
        assert_eq!(roles(&talk(&answer), written), none);
        assert_eq!(roles(&talk(&answer), "2+2? 4<end>"), ["assistant"]);
        answer.fields.insert("reasoning_content".to_owned(), "hm".into());
        assert_eq!(roles(&talk(&answer), written), ["assistant"]);
        let system = [Message::new("system", "Be brief.")];
        assert_eq!(roles(&system, "user: hi"), ["system"]);
        assert_eq!(roles(&system, "Be brief. user: hi"), none);
    }

    #[test]
    fn a_turn_that_vanishes_is_refused() {
        let none: [&str; 0] = [];
        for role in ["user", "tool", "ai"] {
            let talk = |text: &str| [Message::new(role, text), Message::new("assistant", "Yo")];
            let error = left_out(&talk("Be brief.").to_vec().into(), "Yo").unwrap_err().to_string();
            assert!(error.contains("`messages[0]`") && error.contains(role), "{error}");
            assert_eq!(roles(&talk(" \n"), "Yo"), none);
            assert_eq!(roles(&talk("\u{1c}\u{200b}"), "Yo"), [role]);
            assert_eq!(roles(&talk("Say \"hi\""), "\"Say \\\"hi\\\"\" Yo"), none);
            assert_eq!(roles(&talk("Be brief."), "BE brief Yo"), [role]);
        }
        let mut call = Message::new("assistant", "Let me see.");
        call.fields.insert("tool_calls".to_owned(), json!([{"function": {"name": "look"}}]));
        assert_eq!(roles(&[call.clone()], "Let me see. <call>look()"), none);
        let error = left_out(&vec![call].into(), "Let me see.").unwrap_err().to_string();
        assert!(error.contains("`messages[0].tool_calls`") && error.contains("`look`"), "{error}");
    }
}
