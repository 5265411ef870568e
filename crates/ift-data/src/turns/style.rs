//! How a template marks the turns of the assistant.

use serde_json::json;

use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::template::Template;
use crate::turns::render::Renderer;

/// How a template marks the turns of the assistant.
#[derive(Clone, Debug)]
pub(crate) struct TurnStyle {
    /// Whether `add_generation_prompt` has an effect.
    pub generation_prompt: bool,
    /// Whether only white space is between the messages before a turn and its content.
    pub bare: bool,
    /// End-of-turn text after the last message.
    pub end: String,
    /// The added token at the end of that text, if it ends with one.
    pub end_token: Option<String>,
    /// The token that ends a turn that calls tools, if it is another one.
    pub call_end_token: Option<String>,
    /// Whether the same text follows earlier turns.
    pub end_everywhere: bool,
    /// The special tokens, any of which may end a turn that calls tools.
    special: Vec<String>,
}

impl TurnStyle {
    /// Finds the style of a template by rendering conversations of two and of three messages.
    /// `added` are the texts of all added tokens, `special` of those that are flagged as special.
    ///
    /// # Errors
    /// When the template does not write the answer exactly once, or writes nothing after it.
    pub fn probe(
        template: &Template,
        added: &[String],
        special: &[String],
    ) -> Result<Self, DataError> {
        let fault = |problem: &str| DataError::Template {
            origin: template.origin.clone(),
            problem: problem.to_owned(),
        };
        let conversation = Conversation::from(vec![
            Message::new("user", "hello"),
            Message::new("assistant", MARKER),
            Message::new("user", "goodbye"),
        ]);
        let renderer = Renderer::new(template, &conversation);
        let short = renderer.beginning(2)?;
        let Some((head, tail)) = around(&short, MARKER) else {
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
        let long = renderer.whole().ok();
        let end_everywhere = long
            .as_deref()
            .and_then(|t| around(t, MARKER))
            .is_some_and(|(_, tail)| tail.starts_with(end));
        let plain = renderer.beginning(1).ok();
        let bare = plain.as_deref().and_then(|plain| head.strip_prefix(plain));
        let mut style = Self {
            generation_prompt: renderer.prompt(1).ok() != plain,
            bare: bare.is_some_and(|gap| gap.trim().is_empty()),
            end: end.to_owned(),
            end_token: end_token.map(str::to_owned),
            call_end_token: None,
            end_everywhere,
            special: special.to_vec(),
        };
        style.call_end_token = style.probe_calls(&renderer);
        Ok(style)
    }

    /// The token that ends a turn that calls tools, unless it ends as others do.
    fn probe_calls(&self, renderer: &Renderer<'_>) -> Option<String> {
        let call = json!([{
            "id": "call00001",
            "type": "function",
            "function": { "name": "f", "arguments": { "x": MARKER } },
        }]);
        let mut message = Message { role: "assistant".to_owned(), ..Message::default() };
        message.fields.insert("tool_calls".to_owned(), call);
        let text = renderer.variant(2, [(1, message)]).ok()?;
        let (_, token) = self.call_ending(text.rsplit_once(MARKER)?.1)?;
        token.filter(|token| Some(*token) != self.end_token.as_deref()).map(str::to_owned)
    }

    /// Where a last turn that calls tools ends in `tail`, the text after the argument of its last
    /// call, and the token at the end.
    pub fn call_ending<'a>(&'a self, tail: &str) -> Option<(usize, Option<&'a str>)> {
        if let Some(at) = tail.rfind(&self.end) {
            return Some((at + self.end.len(), self.end_token.as_deref()));
        }
        let tail = tail.trim_end();
        let ends = self.special.iter().filter(|token| tail.ends_with(token.as_str()));
        ends.max_by_key(|token| token.len()).map(|token| (tail.len(), Some(token.as_str())))
    }
}

/// Replaces the content of an assistant. Only letters, so that no template trims or escapes it.
const MARKER: &str = "iftassistantcontentmarker";

/// A marker that does not occur in the text.
pub(super) fn unused_marker(text: &str) -> String {
    let mut marker = MARKER.to_owned();
    while text.contains(&marker) {
        marker.push('x');
    }
    marker
}

/// The text before and after a marker that occurs exactly once.
pub(super) fn around<'a>(text: &'a str, marker: &str) -> Option<(&'a str, &'a str)> {
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
