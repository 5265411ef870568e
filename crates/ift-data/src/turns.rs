//! The positions of the assistant's turns in the rendered text of a conversation.
//!
//! A template is a program, so its turns are found by rendering it several times:
//!
//! - *Start of a turn*: the messages before it are rendered with the generation prompt. The model
//!   continues this text at inference, so the turn starts at its end. It must be a prefix of the
//!   whole text; otherwise the model would be trained on another context than it gets at inference,
//!   and the template is refused. Without a generation prompt, the header is part of the turn; then
//!   the turn starts at its content, and white space before the content counts only if there is no
//!   header (the `[/INST] answer` style).
//! - *End of a turn*: the conversation is rendered again with a marker as the content of the turn.
//!   The text after the marker does not depend on the content, and the whole text must end with it.
//!   The turn ends after the end-of-turn text, which is the same for every turn: up to and
//!   including the first added token, or, if there is none, all text after a last turn without
//!   trailing white space.

use std::ops::Range;

use minijinja::Value;

use crate::config::Targets;
use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::template::{Template, template_value};

/// How a template marks the turns of the assistant.
#[derive(Clone, Debug)]
pub(crate) struct TurnStyle {
    /// Whether `add_generation_prompt` has an effect.
    pub generation_prompt: bool,
    /// End-of-turn text after the last message.
    pub end: String,
    /// The added token at the end of that text, if it ends with one.
    pub end_token: Option<String>,
    /// Whether the same text follows earlier turns.
    pub end_everywhere: bool,
}

/// A rendered conversation.
pub(crate) struct Rendered {
    pub text: String,
    /// The byte ranges of the selected turns, in order, without overlap.
    pub spans: Vec<Range<usize>>,
}

impl TurnStyle {
    /// Finds the style of a template by rendering conversations of two and of three messages.
    ///
    /// # Errors
    /// When the template does not write the answer exactly once, or writes nothing after it.
    pub fn probe(template: &Template, added: &[String]) -> Result<Self, DataError> {
        let fault = |problem: &str| DataError::Template {
            origin: template.origin.clone(),
            problem: problem.to_owned(),
        };
        let message = |role, content: &str| template_value(&Message::new(role, content));
        let conversation =
            [message("user", "hello"), message("assistant", MARKER), message("user", "goodbye")];
        let plain = Conversation::default();
        let short = template.render(&conversation[..2], &plain, false)?;
        let Some((_, tail)) = around(&short, MARKER) else {
            return Err(fault(
                "does not write an assistant's content exactly once, so turns cannot be found",
            ));
        };
        let (end, end_token) = end_of_turn(tail, added);
        if end.is_empty() {
            return Err(fault(
                "writes nothing after an assistant's turn, so a model would not learn to stop; use \
                 a template that ends the turn with `eos_token` or another token",
            ));
        }
        let long = template.render(&conversation, &plain, false).ok();
        let end_everywhere = long
            .as_deref()
            .and_then(|t| around(t, MARKER))
            .is_some_and(|(_, tail)| tail.starts_with(end));
        let prompt = |on| template.render(&conversation[..1], &plain, on).ok();
        Ok(Self {
            generation_prompt: prompt(true) != prompt(false),
            end: end.to_owned(),
            end_token: end_token.map(str::to_owned),
            end_everywhere,
        })
    }

    /// Renders a conversation and finds the selected turns.
    ///
    /// # Errors
    /// When the template raises an error or a turn cannot be found.
    pub fn spans(
        &self,
        template: &Template,
        conversation: &Conversation,
        targets: Targets,
    ) -> Result<Rendered, DataError> {
        let messages = &conversation.messages;
        let mut values: Vec<Value> = messages.iter().map(template_value).collect();
        let text = template.render(&values, conversation, false)?;
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
            let prompt = if i == 0 {
                None
            } else {
                Some(template.render(&values[..i], conversation, true)?)
            };
            let content = std::mem::replace(
                &mut values[i],
                template_value(&Message::new("assistant", &marker)),
            );
            let marked = template.render(&values, conversation, false);
            values[i] = content;
            let marked = marked?;
            let (before, after) = around(&marked, &marker)
                .ok_or_else(|| fault("the assistant's content is not written exactly once"))?;
            let end = self.end_of(&text, after, i + 1 == messages.len()).map_err(&fault)?;
            let start = self.start_of(&text, before, prompt.as_deref()).map_err(&fault)?;
            if end.start < start || spans.last().is_some_and(|last| start < last.end) {
                return Err(fault("turn spans overlap; the template rewrites earlier messages"));
            }
            spans.push(start..end.end);
        }
        Ok(Rendered { text, spans })
    }

    /// The byte range of the end-of-turn text, given the text after the marker.
    fn end_of(&self, text: &str, after: &str, last: bool) -> Result<Range<usize>, &'static str> {
        if !last && !self.end_everywhere {
            return Err(
                "the template ends the last turn in another way than earlier turns, so the model \
                 would not learn to end those; use `targets = \"last\"` or another template",
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

    /// The first byte of the turn, given the text before the marker and the rendered prompt.
    fn start_of(
        &self,
        text: &str,
        before: &str,
        prompt: Option<&str>,
    ) -> Result<usize, &'static str> {
        if prompt.is_some_and(|prompt| !text.starts_with(prompt)) {
            return Err(
                "the messages before it, rendered with the generation prompt, are not a prefix of \
                 the whole text, so the model would be trained on another context than it gets at \
                 inference; use `targets = \"last\"` or another template",
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

/// Replaces the content of an assistant. Only letters, so that no template trims or escapes it.
const MARKER: &str = "iftassistantcontentmarker";

/// A marker that does not occur in the text.
fn unused_marker(text: &str) -> String {
    let mut marker = MARKER.to_owned();
    while text.contains(&marker) {
        marker.push('x');
    }
    marker
}

/// The text before and after a marker that occurs exactly once.
fn around<'a>(text: &'a str, marker: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(marker).filter(|(_, after)| !after.contains(marker))
}

/// The end-of-turn text at the start of `tail`, the text after the last content: white space and
/// one added token, which is returned too; or, without an added token, `tail` without trailing
/// white space.
fn end_of_turn<'a>(tail: &'a str, added: &[String]) -> (&'a str, Option<&'a str>) {
    let rest = tail.trim_start();
    let longest =
        added.iter().filter(|token| rest.starts_with(token.as_str())).map(String::len).max();
    match longest {
        Some(length) => (&tail[..tail.len() - rest.len() + length], Some(&rest[..length])),
        None => (tail.trim_end(), None),
    }
}
