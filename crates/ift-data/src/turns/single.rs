//! One turn, from a rendering with a marker in it.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::conversation::Message;
use crate::turns::fault::Fault;
use crate::turns::render::Renderer;
use crate::turns::style::{TurnStyle, around, unused_marker};

/// Where a turn is.
pub(super) struct Found {
    /// Its bytes, with the end-of-turn text.
    pub bytes: Range<usize>,
    /// The token at its end, if the end is an added token.
    pub end_token: Option<String>,
}

/// Finds the turn of message `i`.
pub(super) fn find(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    i: usize,
) -> Result<Found, Fault> {
    let marker = unused_marker(text);
    let prompt = if i == 0 { None } else { Some(renderer.prompt(i)?) };
    let prompt = prompt.as_deref();
    let plain = as_plain_text(style, renderer, text, i, &marker).and_then(|(before, found)| {
        let start = start_of(style, text, Some(&before), prompt)?;
        Ok(Found { bytes: start..found.end, end_token: style.end_token.clone() })
    });
    let fault = match plain {
        Err(fault) if !matches!(fault, Fault::Prompt(_)) => fault,
        done => return done,
    };
    match as_call(style, renderer, text, i, &marker)? {
        Some((end, token)) => {
            let start = start_of(style, text, None, prompt)?;
            Ok(Found { bytes: start..end, end_token: token.map(str::to_owned) })
        }
        None => Err(fault),
    }
}

/// The text before the content of the turn, and the bytes of its end-of-turn text, from a rendering
/// in which the message is plain text.
fn as_plain_text(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    i: usize,
    marker: &str,
) -> Result<(String, Range<usize>), Fault> {
    let count = renderer.messages().len();
    let marked = renderer.variant(count, [(i, Message::new("assistant", marker))])?;
    let (before, after) =
        around(&marked, marker).ok_or_else(|| Fault::NotOnce(marked.matches(marker).count()))?;
    if i + 1 < count && !style.end_everywhere {
        return Err(Fault::OnlyTheLastEnds);
    }
    if !after.starts_with(&style.end) {
        return Err(Fault::OtherEnd { found: after.to_owned(), expected: style.end.clone() });
    }
    if !text.ends_with(after) {
        return Err(Fault::Depends("after"));
    }
    let content_end = text.len() - after.len();
    Ok((before.to_owned(), content_end..content_end + style.end.len()))
}

/// Where a turn that calls tools ends, and the token at its end, from renderings in which the
/// argument of its last call is a marker. `None` if it calls no tools or does not end so.
fn as_call<'s>(
    style: &'s TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    i: usize,
    marker: &str,
) -> Result<Option<(usize, Option<&'s str>)>, Fault> {
    let Some(message) = with_marked_call(&renderer.messages()[i], marker) else { return Ok(None) };
    let last = renderer.variant(i + 1, [(i, message.clone())])?;
    let whole = renderer.variant(renderer.messages().len(), [(i, message)])?;
    let after = |text: &'_ str| text.rfind(marker).map(|at| at + marker.len());
    let (Some(last_at), Some(whole_at)) = (after(&last), after(&whole)) else { return Ok(None) };
    let (tail, rest) = (&last[last_at..], &whole[whole_at..]);
    let Some((length, token)) = style.call_ending(tail) else { return Ok(None) };
    let fits = rest.starts_with(&tail[..length]) && text.ends_with(rest);
    Ok(fits.then(|| (text.len() - rest.len() + length, token)))
}

/// The message with a marker as the argument of its last call.
fn with_marked_call(message: &Message, marker: &str) -> Option<Message> {
    let mut message = message.clone();
    let call = message.fields.get_mut("tool_calls")?.as_array_mut()?.last_mut()?;
    let call = match call.get("function") {
        Some(_) => call.get_mut("function")?,
        None => call,
    };
    let arguments = call.get_mut("arguments")?;
    let marked = Value::Object(Map::from_iter([(marker.to_owned(), Value::from(marker))]));
    *arguments = if arguments.is_string() { Value::from(marked.to_string()) } else { marked };
    Some(message)
}

/// The first byte of a turn, given the text before its content, if it is known, and the rendered
/// prompt, if there are messages before it.
pub(super) fn start_of(
    style: &TurnStyle,
    text: &str,
    before: Option<&str>,
    prompt: Option<&str>,
) -> Result<usize, Fault> {
    if let Some(prompt) = prompt {
        if !text.starts_with(prompt) {
            return Err(Fault::Prompt(prompt.to_owned()));
        }
        let gap = before.and_then(|before| before.strip_prefix(prompt));
        let bare = gap.map_or(before.is_none() && style.bare, |gap| gap.trim().is_empty());
        if style.generation_prompt || bare {
            return Ok(prompt.len());
        }
    }
    match before {
        Some(before) if text.starts_with(before) => Ok(before.len()),
        _ => Err(Fault::Depends("before")),
    }
}
