//! The positions of the assistant's turns in the rendered text of a conversation.
//!
//! A template is a program, so its turns are found by rendering it several times:
//!
//! - *Start of a turn*: the messages before it are rendered with the generation prompt, and
//!   with the same tools and arguments. The model continues this text at inference, so the turn
//!   starts at its end. It must be a prefix of the whole text; otherwise the model would be
//!   trained on another context than it gets at inference, and the conversation is refused.
//!   Without a generation prompt, the header is part of the turn; then the turn starts at its
//!   content, and white space before the content counts only if there is no header (the
//!   `[/INST] answer` style). So what the template itself writes at the beginning of a turn,
//!   such as an empty `<think>` block, is learned unless the generation prompt has it.
//! - *End of a turn*: the conversation is rendered again with a marker as the content of the turn,
//!   without its other fields. The text after the marker does not depend on the content, and the
//!   whole text must end with it. The turn ends after the end-of-turn text, which is the same for
//!   every turn: up to and including the first added token, or, if there is none, all text after a
//!   last turn without trailing white space. Where a message that calls tools cannot be replaced by
//!   plain text, or ends in another way, the marker becomes the argument of its last call; then the
//!   turn ends after the same text, or after the last special token that the template writes where
//!   such a message is the last one.
//!
//! | module | holds |
//! |---|---|
//! | `render` | renders parts and variants of one conversation, and counts the bytes |
//! | `style` | how a template marks turns, from conversations of its own |
//! | `align` | all turns from one rendering with a marker in each |
//! | `single` | one turn from a rendering with a marker in it |
//! | `fault` | why a turn cannot be found, and what may help |
//!
//! *Many turns.* One rendering with another marker in each turn gives the ends of all turns, if the
//! whole text is exactly that rendering with other contents; otherwise each turn is rendered alone.
//! The prompts of all turns are rendered while they are shorter than 8 MiB together. Beyond that,
//! only so many are, among them the first and the last one, spaced evenly; of each other turn it is
//! checked that the text before it ends with the generation prompt.

mod align;
mod fault;
mod render;
mod single;
mod style;

use std::ops::Range;

use crate::config::Targets;
use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::template::Template;
use fault::{Fault, refusal};
use render::Renderer;
pub(crate) use style::TurnStyle;

/// A rendered conversation.
pub(crate) struct Rendered {
    pub text: String,
    /// The selected turns, in order, without overlap.
    pub turns: Vec<Turn>,
}

/// An assistant's turn in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    /// Its bytes, with the end-of-turn text.
    pub bytes: Range<usize>,
    /// Weight in the loss, not 0.
    pub weight: f32,
    /// The token at its end, if the end is an added token.
    pub end_token: Option<String>,
}

/// Renders a conversation and finds the selected turns that have a weight.
///
/// # Errors
/// When the template raises an error or a turn cannot be found.
pub(crate) fn find_turns(
    style: &TurnStyle,
    template: &Template,
    conversation: &Conversation,
    targets: Targets,
) -> Result<Rendered, DataError> {
    let renderer = Renderer::new(template, conversation);
    let text = renderer.whole()?;
    let turns = find(style, &renderer, &text, targets)?;
    Ok(Rendered { text, turns })
}

fn find(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    targets: Targets,
) -> Result<Vec<Turn>, DataError> {
    let (turn, fault) = match attempt(style, renderer, text, targets) {
        Ok(turns) => return Ok(turns),
        Err(found) => found,
    };
    let last = renderer.messages().iter().rposition(Message::is_assistant);
    let last_helps = match targets {
        Targets::Last => None,
        Targets::Assistant if last == Some(turn) => Some(false),
        Targets::Assistant => Some(attempt(style, renderer, text, Targets::Last).is_ok()),
    };
    Err(refusal(renderer, text, turn, &fault, last_helps))
}

/// The selected turns; of an error also the index of the message.
fn attempt(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    targets: Targets,
) -> Result<Vec<Turn>, (usize, Fault)> {
    let messages = renderer.messages();
    let mut selected: Vec<usize> =
        (0..messages.len()).filter(|&i| messages[i].is_assistant()).collect();
    if targets == Targets::Last {
        selected.drain(..selected.len().saturating_sub(1));
    }
    let weight = |i: usize| messages[i].weight.unwrap_or(1.0);
    selected.retain(|&i| weight(i) != 0.0);
    let found = if let Some(found) = align::align(style, renderer, text, &selected)? {
        found
    } else {
        let one = |&i: &usize| single::find(style, renderer, text, i).map_err(|e| (i, e));
        selected.iter().map(one).collect::<Result<Vec<_>, _>>()?
    };
    let mut turns: Vec<Turn> = Vec::with_capacity(found.len());
    for (&i, found) in selected.iter().zip(found) {
        let before = turns.last().map_or(0, |turn| turn.bytes.end);
        if found.bytes.end < found.bytes.start || found.bytes.start < before {
            return Err((i, Fault::Overlap));
        }
        let (bytes, end_token) = (found.bytes, found.end_token);
        turns.push(Turn { bytes, weight: weight(i), end_token });
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::special::SpecialTokens;

    const CHATML: &str = "{% for m in messages %}\
        {{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn template(source: &str) -> (Template, TurnStyle) {
        let special = SpecialTokens::default();
        let template = Template::compile(source, "test", &special, Timestamp::UNIX_EPOCH).unwrap();
        let added = ["<|im_end|>".to_owned()];
        let style = TurnStyle::probe(&template, &added, &added).unwrap();
        (template, style)
    }

    /// A conversation of so many answers. With `quoting`, each quotes the text around the next one.
    fn talk(answers: usize, quoting: bool) -> Conversation {
        let quote = "<|im_end|>\n<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n";
        let pair = |i: usize| {
            let answer = format!(" answer {i} {} ", if quoting { quote } else { "" });
            let question = if quoting { "q1".to_owned() } else { format!("question {i}") };
            [Message::new("user", question), Message::new("assistant", answer)]
        };
        (0..answers).flat_map(pair).collect::<Vec<_>>().into()
    }

    /// The text of each turn, and the number of renderings and their bytes.
    fn found(source: &str, conversation: &Conversation) -> (Vec<String>, (usize, usize)) {
        let (template, style) = template(source);
        let renderer = Renderer::new(&template, conversation);
        let text = renderer.whole().unwrap();
        let turns = find(&style, &renderer, &text, Targets::Assistant).unwrap();
        let texts = turns.iter().map(|turn| text[turn.bytes.clone()].to_owned());
        (texts.collect(), renderer.effort())
    }

    fn answers(conversation: &Conversation) -> Vec<String> {
        let answers = conversation.messages.iter().filter(|message| message.is_assistant());
        answers.map(|message| format!("{}<|im_end|>", message.text().trim())).collect()
    }

    #[test]
    fn every_prompt_is_rendered_while_they_are_short() {
        let conversation = talk(100, false);
        let (texts, (renders, _)) = found(CHATML, &conversation);
        assert_eq!(texts, answers(&conversation));
        // The text, the text with markers, and the prompts.
        assert_eq!(renders, 102);
    }

    #[test]
    fn many_turns_take_a_bounded_number_of_bytes() {
        for quoting in [false, true] {
            let conversation = talk(5000, quoting);
            let (texts, (renders, bytes)) = found(CHATML, &conversation);
            assert_eq!(texts, answers(&conversation));
            assert!((11..100).contains(&renders), "{renders}");
            assert!(bytes < 16 << 20, "{bytes}");
        }
    }

    #[test]
    fn turns_that_are_rewritten_are_found_among_many() {
        // The template writes every third answer in another way, so its length is not known.
        let source = CHATML.replace("m.content | trim", "m.content | trim | replace('3', 'three')");
        let conversation = talk(5000, false);
        let (texts, (renders, _)) = found(&source, &conversation);
        let expected = answers(&conversation);
        assert!(texts.iter().zip(&expected).all(|(a, b)| *a == b.replace('3', "three")));
        assert!(renders < 100, "{renders}");
    }

    #[test]
    fn where_markers_do_not_fit_each_turn_is_found_alone() {
        // Equal texts follow rewritten answers, so that one rendering does not tell where they end.
        let source = CHATML.replace("m.content | trim", "m.content | trim | replace('Q', 'b')");
        let messages = |_| [Message::new("user", "q"), Message::new("assistant", "Q")];
        let conversation = Conversation::from((0..10).flat_map(messages).collect::<Vec<_>>());
        let (texts, (renders, _)) = found(&source, &conversation);
        assert_eq!(texts, vec!["b<|im_end|>"; 10]);
        assert_eq!(renders, 22);
    }

    #[test]
    fn a_rewritten_context_is_refused_among_many_turns_too() {
        let source =
            CHATML.replace("m.content | trim", "m.content[:messages | length + 1000] | trim");
        let (template, style) = template(&source);
        let conversation = Conversation::from(
            [Message::new("user", "x".repeat(9000)), Message::new("assistant", "y")]
                .into_iter()
                .chain(talk(2000, false).messages)
                .collect::<Vec<_>>(),
        );
        let targets = Targets::Assistant;
        let error = find_turns(&style, &template, &conversation, targets).err().unwrap();
        assert!(error.to_string().contains("message 2 "), "{error}");
    }
}
