//! All turns of a conversation from one rendering with another marker in each.

use crate::conversation::Message;
use crate::turns::fault::Fault;
use crate::turns::render::Renderer;
use crate::turns::single::{Found, start_of};
use crate::turns::style::{TurnStyle, unused_marker};

/// Largest number of bytes of rendered prompts: 8 MiB.
const PROMPT_BYTES: usize = 8 << 20;

/// Smallest number of prompts that are rendered, if there are so many.
const MIN_PROMPTS: usize = 8;

/// The selected turns; `None` if the text is not exactly the rendering with markers with other
/// contents in their place. An error has the index of its message.
pub(super) fn align(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    selected: &[usize],
) -> Result<Option<Vec<Found>>, (usize, Fault)> {
    // One turn is as quick alone.
    if selected.len() < 2 || !style.end_everywhere {
        return Ok(None);
    }
    let base = unused_marker(text);
    let marked = selected
        .iter()
        .enumerate()
        .map(|(n, &i)| (i, Message::new("assistant", nth_marker(&base, n))));
    let Ok(marked) = renderer.variant(renderer.messages().len(), marked) else { return Ok(None) };
    let Some(between) = split(&marked, &base, selected.len()) else { return Ok(None) };
    let contents: Vec<&str> = selected.iter().map(|&i| renderer.messages()[i].text()).collect();
    let Some(contents) = fit(style, text, &between, &contents) else { return Ok(None) };
    let starts = starts(style, renderer, text, selected, &between, &contents)?;
    let found = starts.into_iter().zip(contents).map(|(start, (_, content_end))| Found {
        bytes: start..content_end + style.end.len(),
        end_token: style.end_token.clone(),
    });
    Ok(Some(found.collect()))
}

/// Number of letters after the common beginning of all markers.
const LETTERS: u32 = 6;

/// The n-th marker. All have the same length, so none begins with another.
fn nth_marker(base: &str, n: usize) -> String {
    let letter = |place: u32| char::from(b'a' + (n / 26_usize.pow(place) % 26) as u8);
    base.chars().chain((0..LETTERS).map(letter)).collect()
}

/// The text before, between and after the markers, which must all occur once and in order.
fn split<'a>(marked: &'a str, base: &str, count: usize) -> Option<Vec<&'a str>> {
    let mut between = Vec::with_capacity(count + 1);
    let mut rest = marked;
    for n in 0..count {
        let (before, after) = rest.split_once(base)?;
        between.push(before);
        rest = after.strip_prefix(&nth_marker("", n))?;
    }
    between.push(rest);
    (!rest.contains(base)).then_some(between)
}

/// The bytes of each content in the text, which must be `between` with contents in the gaps. What
/// the template wrote as a content is the content itself or without white space around it; or it is
/// whatever stands before the only occurrence of the text after it.
fn fit(
    style: &TurnStyle,
    text: &str,
    between: &[&str],
    contents: &[&str],
) -> Option<Vec<(usize, usize)>> {
    let mut at = text.starts_with(between[0]).then_some(between[0].len())?;
    let mut found = Vec::with_capacity(contents.len());
    for (n, content) in contents.iter().enumerate() {
        let after = between[n + 1];
        if !after.starts_with(&style.end) {
            return None;
        }
        let rest = &text[at..];
        let last = n + 1 == contents.len();
        let fits = |content: &str| {
            rest.strip_prefix(content)
                .is_some_and(|rest| if last { rest == after } else { rest.starts_with(after) })
        };
        let written = [content, content.trim(), content.trim_start(), content.trim_end()];
        let length = match written.into_iter().find(|written| fits(written)) {
            Some(written) => written.len(),
            None if last => rest.strip_suffix(after)?.len(),
            None => {
                let first = rest.find(after)?;
                let next = first + rest[first..].chars().next().map_or(1, char::len_utf8);
                let second = rest.get(next..).and_then(|rest| rest.find(after));
                if second.is_some() {
                    return None;
                }
                first
            }
        };
        found.push((at, at + length));
        at += length + after.len();
    }
    Some(found)
}

/// The first byte of each turn.
fn starts(
    style: &TurnStyle,
    renderer: &Renderer<'_>,
    text: &str,
    selected: &[usize],
    between: &[&str],
    contents: &[(usize, usize)],
) -> Result<Vec<usize>, (usize, Fault)> {
    let checked = evenly(contents);
    let exact = |n: usize| {
        let i = selected[n];
        let prompt =
            if i == 0 { None } else { Some(renderer.prompt(i).map_err(|e| (i, e.into()))?) };
        start_of(style, text, Some(&text[..contents[n].0]), prompt.as_deref()).map_err(|e| (i, e))
    };
    let mut header: Option<(String, usize)> = None;
    let mut starts = Vec::with_capacity(selected.len());
    for (n, &i) in selected.iter().enumerate() {
        let content = contents[n].0;
        let known = header.as_ref().filter(|_| !checked[n]);
        if let Some((_, gap)) = known.filter(|(written, _)| between[n].ends_with(written.as_str()))
        {
            starts.push(content - gap);
            continue;
        }
        let start = exact(n)?;
        starts.push(start);
        // What each other turn must follow, from the first one with messages before it.
        if header.is_none() && i > 0 && checked.contains(&false) {
            let before = renderer.beginning(i).map_err(|e| (i, e.into()))?;
            let written = text[..content].strip_prefix(before.as_str());
            header = written
                .filter(|written| !written.is_empty() && start <= content)
                .map(|written| (written.to_owned(), content - start));
        }
    }
    Ok(starts)
}

/// Which turns are compared with their prompts: all if their prompts are short, else so many as are
/// short enough, the first and the last one among them.
fn evenly(contents: &[(usize, usize)]) -> Vec<bool> {
    let count = contents.len();
    let bytes: usize = contents.iter().map(|(start, _)| start).sum();
    let fitting = (PROMPT_BYTES as u128 * count as u128 / (bytes as u128).max(1)) as usize;
    if fitting >= count {
        return vec![true; count];
    }
    let wanted = fitting.max(MIN_PROMPTS).min(count);
    let mut checked = vec![false; count];
    for k in 0..wanted {
        checked[k * (count - 1) / (wanted - 1)] = true;
    }
    checked
}
