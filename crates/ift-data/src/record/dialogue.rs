//! Dialogues in plain text, as in HH-RLHF: `\n\nHuman: …\n\nAssistant: …`.

use crate::conversation::Message;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// The turns of a dialogue that ends with the assistant's turn, or, if it is `open`, with the
/// beginning of that turn. White space around the turns is not a part of them. `None` for other
/// text.
pub(super) fn turns(text: &str, open: bool) -> Option<Vec<Message>> {
    let mut rest = text.strip_prefix(HUMAN)?;
    let mut role = "user";
    let mut turns = Vec::new();
    loop {
        let next = [(HUMAN, "user"), (ASSISTANT, "assistant")]
            .into_iter()
            .filter_map(|(marker, role)| rest.find(marker).map(|at| (at, marker, role)))
            .min();
        let end = next.map_or(rest.len(), |(at, _, _)| at);
        turns.push(Message::new(role, rest[..end].trim()));
        let Some((at, marker, next)) = next else { break };
        rest = &rest[at + marker.len()..];
        role = next;
    }
    let last = turns.last()?;
    let fits = last.is_assistant() && turns.len() > 1 && open == last.text().is_empty();
    if open && fits {
        turns.pop();
    }
    fits.then_some(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(turns: &[Message]) -> Vec<(&str, &str)> {
        turns.iter().map(|turn| (turn.role.as_str(), turn.text())).collect()
    }

    #[test]
    fn dialogues_and_other_text() {
        let whole = "\n\nHuman: Hi\n\nthere \n\nAssistant: Yo\n\nHuman: 2+2?\n\nAssistant: 4";
        let turns_of = |text, open| turns(text, open);
        assert_eq!(
            roles(&turns_of(whole, false).unwrap()),
            [("user", "Hi\n\nthere"), ("assistant", "Yo"), ("user", "2+2?"), ("assistant", "4")]
        );
        assert!(turns_of(whole, true).is_none());
        let prompt = "\n\nHuman: Hi\n\nAssistant:";
        assert_eq!(roles(&turns_of(prompt, true).unwrap()), [("user", "Hi")]);
        assert!(turns_of(prompt, false).is_none());
        for text in ["Human: Hi\n\nAssistant: Yo", "\n\nHuman: Hi", "4", ""] {
            assert!(turns_of(text, false).is_none() && turns_of(text, true).is_none(), "{text}");
        }
    }
}
