//! Why a turn cannot be found, in words that name what the template did.

use crate::conversation::Message;
use crate::error::DataError;
use crate::turns::render::Renderer;

/// Why a turn cannot be found.
#[derive(Debug)]
pub(super) enum Fault {
    /// The template raised an error for a beginning or a variant of the conversation.
    Raised(DataError),
    /// The content is written this often.
    NotOnce(usize),
    /// Earlier turns do not end as the last one.
    OnlyTheLastEnds,
    /// Another text follows the content.
    OtherEnd { found: String, expected: String },
    /// The text on this side of the content ("before" or "after") changes with it.
    Depends(&'static str),
    /// The messages before the turn with the generation prompt, which do not begin the text.
    Prompt(String),
    /// The turn does not follow the one before.
    Overlap,
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Self {
        Fault::Raised(error)
    }
}

/// The error for message `i`. `last_helps` says whether the conversation can be used with
/// `targets = "last"`, unless that is the setting.
pub(super) fn refusal(
    renderer: &Renderer<'_>,
    text: &str,
    i: usize,
    fault: &Fault,
    last_helps: Option<bool>,
) -> DataError {
    let advice = match last_helps {
        Some(true) => {
            "with `targets = \"last\"` this conversation can be used; or use another \
                       template (`data.template`)"
        }
        Some(false) => {
            "`targets = \"last\"` does not help here; use another template \
                        (`data.template`)"
        }
        None => "use another template (`data.template`)",
    };
    DataError::Turns {
        origin: renderer.template.origin.clone(),
        message: i + 1,
        problem: format!("{}; {advice}", problem(renderer, text, i, fault)),
    }
}

fn problem(renderer: &Renderer<'_>, text: &str, i: usize, fault: &Fault) -> String {
    let next_is_assistant = renderer.messages().get(i + 1).is_some_and(Message::is_assistant);
    match fault {
        Fault::Raised(error) => {
            let error = match error {
                DataError::Template { problem, .. } => problem.clone(),
                other => other.to_string(),
            };
            format!(
                "the template raises an error for the messages before it alone, or for another \
                 text in its place: {error}"
            )
        }
        Fault::NotOnce(0) => {
            "the template drops it: its content is not written exactly once, but never".to_owned()
        }
        Fault::NotOnce(n) => {
            format!("the template writes its content {n} times, expected exactly once")
        }
        Fault::OnlyTheLastEnds => {
            "the template ends the last turn in another way than earlier turns, so the model would \
             not learn to end those"
                .to_owned()
        }
        Fault::OtherEnd { found, expected } => {
            let what = if next_is_assistant {
                "the template merges it with the assistant's message after it"
            } else {
                "the template ends it in another way than other turns"
            };
            format!("{what}: found {} after it, expected {}", quote(found), quote(expected))
        }
        Fault::Depends(side) => {
            format!("the template rewrites the text {side} it when its content changes")
        }
        Fault::Prompt(prompt) => rewritten(renderer, text, i, prompt),
        Fault::Overlap => "the template writes it before the end of an earlier turn".to_owned(),
    }
}

/// What differs between the prompt of message `i` and the text.
fn rewritten(renderer: &Renderer<'_>, text: &str, i: usize, prompt: &str) -> String {
    let same = prompt.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    let at = (0..=same).rev().find(|&at| prompt.is_char_boundary(at) && text.is_char_boundary(at));
    let at = at.unwrap_or(0);
    let (alone, found) = (quote(&prompt[at..]), quote(&text[at..]));
    // The first message whose end in the prompt is beyond the difference.
    let (mut low, mut high) = (1, i);
    while low < high {
        let middle = low.midpoint(high);
        let end = renderer.beginning(middle).map_or(0, |text| text.len());
        if end > at { high = middle } else { low = middle + 1 }
    }
    let end = renderer.beginning(low).map_or(0, |text| text.len());
    let what = if end > at {
        let message = &renderer.messages()[low - 1];
        let role = &message.role;
        let done = match message.content.as_deref().map(str::trim) {
            Some(content) if !text.contains(content) => "drops text of",
            _ => "rewrites",
        };
        format!(
            "the template {done} message {low} ({role}) when later messages follow: where it wrote \
             {alone}, the whole text has {found}"
        )
    } else {
        format!(
            "the generation prompt is not how the template begins this turn: the prompt goes on \
             with {alone}, the whole text with {found}"
        )
    };
    format!(
        "{what}. So the messages before it, rendered with the generation prompt, are not a prefix \
         of the whole text, and the model would be trained on another context than it gets at \
         inference"
    )
}

/// The beginning of a text in quotes.
fn quote(text: &str) -> String {
    const LENGTH: usize = 40;
    let mut short: String = text.chars().take(LENGTH).collect();
    if text.chars().nth(LENGTH).is_some() {
        short.push('…');
    }
    if short.is_empty() { "nothing more".to_owned() } else { format!("{short:?}") }
}
