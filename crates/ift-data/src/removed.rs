//! Text of a record that its template leaves out.

use crate::conversation::Conversation;

/// The fields in which records and templates keep the reasoning of an assistant.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// Whether the rendered text lacks a system message, or a part of what an assistant wrote or
/// thought; templates for models that reason leave out earlier reasoning. White space around each
/// part does not count. The parts of a content are the texts between `<think>` and `</think>`
/// marks, which templates write in their own way.
pub(crate) fn is_text_removed(conversation: &Conversation, text: &str) -> bool {
    let mut rest = text;
    for message in &conversation.messages {
        if message.is_assistant() {
            let reasoning = REASONING.iter().find_map(|name| message.fields.get(*name)?.as_str());
            let parts = reasoning.into_iter().chain(parts(message.text()));
            for part in parts.map(str::trim) {
                // In order, so that all parts together take one pass over the text.
                match rest.find(part) {
                    Some(at) => rest = &rest[at + part.len()..],
                    None => return true,
                }
            }
        } else if message.role == "system" && !text.contains(message.text().trim()) {
            return true;
        }
    }
    false
}

fn parts(content: &str) -> impl Iterator<Item = &str> {
    content.split("<think>").flat_map(|part| part.split("</think>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Message;

    #[test]
    fn removed_text_is_found_whatever_white_space_the_template_writes() {
        let mut answer = Message::new("assistant", "<think>add</think>4\n");
        let talk = |message: &Message| {
            Conversation::from(vec![Message::new("user", "2+2?"), message.clone()])
        };
        assert!(!is_text_removed(&talk(&answer), "2+2? <think>\nadd\n</think>\n\n4<end>"));
        assert!(is_text_removed(&talk(&answer), "2+2? 4<end>"));
        answer.fields.insert("reasoning_content".to_owned(), "hm".into());
        assert!(is_text_removed(&talk(&answer), "2+2? <think>\nadd\n</think>\n\n4<end>"));
        let system = Conversation::from(vec![Message::new("system", "Be brief.")]);
        assert!(is_text_removed(&system, "user: hi"));
        assert!(!is_text_removed(&system, "Be brief. user: hi"));
    }
}
