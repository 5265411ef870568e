//! Where the assistant's turns lie in the rendered text of a conversation.
//!
//! A template is a program, so its turns are found by asking it:
//!
//! - *Where a turn begins*: after what the template writes for the messages before it together with
//!   the generation prompt. That is where the model takes over at inference, so whatever follows is
//!   the model's to write. This must be a prefix of the whole text, to the byte; otherwise the
//!   model would be trained after another text than it will be given, and the template is refused.
//!   A template without a generation prompt writes its header as part of the turn; there the turn
//!   begins at the content itself, and white space before it counts only if there is no header (the
//!   `[/INST] answer` style).
//! - *Where it ends*: the conversation is rendered again with a marker in place of that turn's
//!   content. What follows the marker is the template's own writing and the messages after it,
//!   whatever the content holds. The whole text must end in the same way. The turn ends after the
//!   end-of-turn text, the same after every turn: up to the first added token, or all that is
//!   written after a last turn, without white space at its end.

use std::ops::Range;

use minijinja::Value;

use crate::config::Targets;
use crate::conversation::Message;
use crate::error::DataError;
use crate::template::{Template, template_value};

/// What a template writes around an assistant's turn.
#[derive(Clone, Debug)]
pub(crate) struct TurnStyle {
    /// Whether `add_generation_prompt` makes a difference.
    pub generation_prompt: bool,
    /// End-of-turn text after the last message.
    pub end: String,
    /// The added token at the end of it, unless it is spelled with ordinary ones.
    pub end_token: Option<String>,
    /// Whether it is also what follows an earlier turn.
    pub end_everywhere: bool,
}

/// A rendered conversation.
pub(crate) struct Rendered {
    pub text: String,
    /// The byte ranges that the model learns, in order, without overlap.
    pub spans: Vec<Range<usize>>,
}

impl TurnStyle {
    /// Learns a template's style from a conversation of two and of three messages.
    ///
    /// # Errors
    /// When the template does not write the answer exactly once, or nothing after it.
    pub fn probe(template: &Template, added: &[String]) -> Result<Self, DataError> {
        let fault = |problem: &str| DataError::Template {
            origin: template.origin.clone(),
            problem: problem.to_owned(),
        };
        let say = |role, content: &str| template_value(&Message::new(role, content));
        let talk = [say("user", "hello"), say("assistant", MARKER), say("user", "goodbye")];
        let short = template.render(&talk[..2], false)?;
        let Some((_, tail)) = around(&short, MARKER) else {
            return Err(fault(
                "does not write an assistant's content exactly once, so turns cannot be told apart",
            ));
        };
        let (end, end_token) = end_of_turn(tail, added);
        if end.is_empty() {
            return Err(fault(
                "writes nothing after an assistant's turn, so a model would never learn to stop; use a \
                 template that ends the turn with `eos_token` or another token",
            ));
        }
        let long = template.render(&talk, false).ok();
        let end_everywhere = long
            .as_deref()
            .and_then(|t| around(t, MARKER))
            .is_some_and(|(_, tail)| tail.starts_with(end));
        let prompt = |on| template.render(&talk[..1], on).ok();
        Ok(Self {
            generation_prompt: prompt(true) != prompt(false),
            end: end.to_owned(),
            end_token: end_token.map(str::to_owned),
            end_everywhere,
        })
    }

    /// Renders a conversation and finds the turns to learn.
    ///
    /// # Errors
    /// When the template refuses the conversation or a turn cannot be told apart.
    pub fn spans(
        &self,
        template: &Template,
        messages: &[Message],
        targets: Targets,
    ) -> Result<Rendered, DataError> {
        let mut values: Vec<Value> = messages.iter().map(template_value).collect();
        let text = template.render(&values, false)?;
        let mut turns: Vec<usize> =
            (0..messages.len()).filter(|&i| messages[i].is_assistant()).collect();
        if targets == Targets::Last {
            turns.drain(..turns.len().saturating_sub(1));
        }
        let marker = unused_marker(&text);
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(turns.len());
        for i in turns {
            let fault = |problem: &str| DataError::Turns {
                origin: template.origin.clone(),
                message: i + 1,
                problem: problem.to_owned(),
            };
            let prompt = if i == 0 { None } else { Some(template.render(&values[..i], true)?) };
            let content = std::mem::replace(
                &mut values[i],
                template_value(&Message::new("assistant", &marker)),
            );
            let marked = template.render(&values, false);
            values[i] = content;
            let marked = marked?;
            let (before, after) = around(&marked, &marker)
                .ok_or_else(|| fault("the assistant's content is not written exactly once"))?;
            let end = self.end_of(&text, after, i + 1 == messages.len()).map_err(&fault)?;
            let start = self.start_of(&text, before, prompt.as_deref()).map_err(&fault)?;
            if end.start < start || spans.last().is_some_and(|last| start < last.end) {
                return Err(fault(
                    "it ends before it begins; the template rewrites earlier messages",
                ));
            }
            spans.push(start..end.end);
        }
        Ok(Rendered { text, spans })
    }

    /// The end-of-turn text's place, given what follows the marked content.
    fn end_of(&self, text: &str, after: &str, last: bool) -> Result<Range<usize>, &'static str> {
        if !last && !self.end_everywhere {
            return Err(
                "the template ends the last turn in another way than earlier ones, so these would be learned \
                        without an end; use `targets = \"last\"` or another template",
            );
        }
        if !after.starts_with(&self.end) {
            return Err(
                "it is not followed by the end-of-turn text that the template writes elsewhere",
            );
        }
        if !text.ends_with(after) {
            return Err("the text after it changes with its content");
        }
        let content_end = text.len() - after.len();
        Ok(content_end..content_end + self.end.len())
    }

    /// The first byte that the model writes, given what precedes the marked content and the
    /// rendered prompt.
    fn start_of(
        &self,
        text: &str,
        before: &str,
        prompt: Option<&str>,
    ) -> Result<usize, &'static str> {
        if prompt.is_some_and(|prompt| !text.starts_with(prompt)) {
            return Err(
                "the messages before it, with the generation prompt if there is one, are not how the whole \
                        text begins, so the model would learn to answer after another text than it is given; \
                        use `targets = \"last\"` or another template",
            );
        }
        if let Some(prompt) = prompt.filter(|_| self.generation_prompt) {
            return Ok(prompt.len());
        }
        if !text.starts_with(before) {
            return Err("the text before it changes with its content");
        }
        let bare =
            |prompt: &&str| before.strip_prefix(*prompt).is_some_and(|gap| gap.trim().is_empty());
        Ok(prompt.filter(bare).map_or(before.len(), str::len))
    }
}

/// Stands for an assistant's content. Letters only, so that no template trims or escapes it.
const MARKER: &str = "iftassistantcontentmarker";

/// A marker that the text does not hold.
fn unused_marker(text: &str) -> String {
    let mut marker = MARKER.to_owned();
    while text.contains(&marker) {
        marker.push('x');
    }
    marker
}

/// What stands before and after the only occurrence of a marker.
fn around<'a>(text: &'a str, marker: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(marker).filter(|(_, after)| !after.contains(marker))
}

/// The end-of-turn text at the start of what follows the last turn: white space and one added
/// token, which is returned too, or, if there is none, everything up to the white space at the end.
fn end_of_turn<'a>(tail: &'a str, added: &[String]) -> (&'a str, Option<&'a str>) {
    let rest = tail.trim_start();
    let longest =
        added.iter().filter(|token| rest.starts_with(token.as_str())).map(String::len).max();
    match longest {
        Some(length) => (&tail[..tail.len() - rest.len() + length], Some(&rest[..length])),
        None => (tail.trim_end(), None),
    }
}
