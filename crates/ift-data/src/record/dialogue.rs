//! Dialogues in plain text, as in HH-RLHF: `\n\nHuman: …\n\nAssistant: …`.

use crate::conversation::Message;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// The turns of a dialogue that ends with the assistant's turn, which may be empty; or, if it is
/// `open`, with the beginning of that turn. An empty answer has weight 0. White space around the
/// turns is not a part of them. `None` for other text.
pub(super) fn turns(text: &str, open: bool) -> Option<Vec<Message>> {
    if !text.starts_with(HUMAN) {
        return None;
    }
    let marks = |marker, role| text.match_indices(marker).map(move |(at, _)| (at, marker, role));
    let mut marks: Vec<_> = marks(HUMAN, "user").chain(marks(ASSISTANT, "assistant")).collect();
    marks.sort_unstable();
    let ends = marks.iter().skip(1).map(|&(at, _, _)| at).chain([text.len()]);
    let turn = |(&(at, marker, role), end): (&(usize, &str, &str), usize)| {
        Message::new(role, text[at + marker.len()..end].trim())
    };
    let mut turns: Vec<_> = marks.iter().zip(ends).map(turn).collect();
    let last = turns.last()?;
    let fits = last.is_assistant() && turns.len() > 1 && (!open || last.text().is_empty());
    if open && fits {
        turns.pop();
    } else if let Some(answer) = turns.last_mut().filter(|last| last.text().is_empty()) {
        // There is nothing to learn.
        answer.weight = Some(0.0);
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
        assert_eq!(roles(&turns_of(prompt, false).unwrap()), [("user", "Hi"), ("assistant", "")]);
        for text in ["Human: Hi\n\nAssistant: Yo", "\n\nHuman: Hi", "4", ""] {
            assert!(turns_of(text, false).is_none() && turns_of(text, true).is_none(), "{text}");
        }
    }
}
