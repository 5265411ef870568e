//! Methods of Python's strings, dictionaries and lists.

use minijinja::value::{StringInput, Tuple, ValueKind};
use minijinja::{Error, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::arguments::{arguments, integer, needed, text, wrong};
use super::limits::pay_for_parts;

/// Calls a method of a value, as Python does.
///
/// # Errors
/// When there is no such method, or Python refuses the arguments.
pub(super) fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    for argument in args {
        pay_for_parts(state, argument)?;
    }
    let own = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(string)) => string_method(state, string, method, args)?,
        (ValueKind::Map, _) if method == "copy" => Some(value.clone()),
        (ValueKind::Seq, _) => list_method(state, value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

/// The methods that differ from those of `pycompat` or are missing there.
fn string_method(
    state: &mut State<'_, '_>,
    string: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    pay(state, string.len())?;
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = arguments(args, ["chars"])?;
            Value::from(strip(string, chars.as_ref(), method)?)
        }
        "split" | "rsplit" => {
            let [separator, most] = arguments(args, ["sep", "maxsplit"])?;
            let most = integer(most.as_ref(), "maxsplit")?;
            let most = most.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            let separator = separator.filter(|value| !value.is_none());
            let separator = separator.as_ref().map(|value| text(value, "sep")).transpose()?;
            Value::from(split(string, separator, most, method == "rsplit")?)
        }
        "splitlines" => {
            let [keep] = arguments(args, ["keepends"])?;
            Value::from(lines(string, keep.is_some_and(|keep| keep.is_true())))
        }
        "startswith" | "endswith" => {
            let [affix, start, end] = arguments(args, ["prefix", "start", "end"])?;
            let part = part(string, start.as_ref(), end.as_ref())?.map(|(_, part)| part);
            let affix = needed(affix.as_ref(), "prefix")?;
            Value::from(has_affix(part, affix, method == "startswith")?)
        }
        "find" | "rfind" | "index" | "rindex" => {
            let [wanted, start, end] = arguments(args, ["sub", "start", "end"])?;
            let wanted = text(needed(wanted.as_ref(), "sub")?, "sub")?;
            let found = part(string, start.as_ref(), end.as_ref())?.and_then(|(before, part)| {
                let at =
                    if method.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) };
                at.map(|at| before + part[..at].chars().count())
            });
            match found {
                Some(at) => Value::from(at),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(wrong("substring not found")),
            }
        }
        "count" => {
            let [wanted, start, end] = arguments(args, ["sub", "start", "end"])?;
            let wanted = text(needed(wanted.as_ref(), "sub")?, "sub")?;
            let part = part(string, start.as_ref(), end.as_ref())?;
            Value::from(part.map_or(0, |(_, part)| part.matches(wanted).count()))
        }
        "replace" => {
            let [old, new, count] = arguments(args, ["old", "new", "count"])?;
            let (old, new) = (needed(old.as_ref(), "old")?, needed(new.as_ref(), "new")?);
            let count = count.unwrap_or(Value::from(-1));
            let args = [old.clone(), new.clone(), count];
            unknown_method_callback(state, &Value::from(string), method, &args)?
        }
        "join" => {
            let [items] = arguments(args, ["iterable"])?;
            join_texts(state, string, needed(items.as_ref(), "iterable")?)?
        }
        "title" => {
            arguments(args, [])?;
            title(state, string)?
        }
        "swapcase" => {
            arguments(args, [])?;
            let swap = |c: char| {
                if c.is_uppercase() {
                    c.to_lowercase().to_string()
                } else {
                    c.to_uppercase().to_string()
                }
            };
            Value::from(string.chars().map(swap).collect::<String>())
        }
        "zfill" | "ljust" | "rjust" | "center" => pad(state, string, method, args)?,
        "expandtabs" => {
            let [size] = arguments(args, ["tabsize"])?;
            let size = integer(size.as_ref(), "tabsize")?.unwrap_or(8);
            expand_tabs(state, string, usize::try_from(size).unwrap_or(0))?
        }
        "partition" | "rpartition" => {
            let [separator] = arguments(args, ["sep"])?;
            let separator = text(needed(separator.as_ref(), "sep")?, "sep")?;
            partition(string, separator, method == "rpartition")?
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = arguments(args, ["prefix"])?;
            let affix = text(needed(affix.as_ref(), "prefix")?, "prefix")?;
            let rest = if method == "removeprefix" {
                string.strip_prefix(affix)
            } else {
                string.strip_suffix(affix)
            };
            Value::from(rest.unwrap_or(string))
        }
        "format" => {
            pay(state, widths(string))?;
            return Ok(None);
        }
        "isspace" => {
            arguments(args, [])?;
            Value::from(!string.is_empty() && string.chars().all(is_space))
        }
        "isdigit" | "isdecimal" => {
            arguments(args, [])?;
            if let Some(c) = string.chars().find(|c| c.is_numeric() && !c.is_ascii()) {
                return Err(wrong(format!("`{method}` of `{c}` is not supported")));
            }
            Value::from(!string.is_empty() && string.bytes().all(|byte| byte.is_ascii_digit()))
        }
        _ => return Ok(None),
    }))
}

fn list_method(
    state: &State<'_, '_>,
    list: &Value,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(match method {
        "copy" => Some(list.clone()),
        "index" => {
            let [wanted, start, end] = arguments(args, ["value", "start", "stop"])?;
            let wanted = needed(wanted.as_ref(), "value")?;
            pay_for_parts(state, list)?;
            let range = (integer(start.as_ref(), "start")?, integer(end.as_ref(), "stop")?);
            let length = list.len().unwrap_or(0);
            pay(state, length)?;
            let (from, to) = bounds(range, length);
            let items = list.try_iter()?.enumerate().take(to).skip(from);
            let found = items.into_iter().find(|(_, item)| item == wanted);
            Some(Value::from(found.ok_or_else(|| wrong(format!("{wanted} is not in list")))?.0))
        }
        _ => None,
    })
}

/// Pays for the work on a number of bytes, or for making them.
fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / 64) as u64)
}

/// The sum of all numbers between braces in a format.
fn widths(format: &str) -> usize {
    let fields = format.split('{').skip(1).filter_map(|field| field.split_once('}'));
    let digits = fields.flat_map(|(field, _)| field.split(|c: char| !c.is_ascii_digit()));
    let widths = digits.filter(|number| !number.is_empty());
    widths.map(|number| number.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
}

/// White space of Python's strings.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `strip`, `lstrip` and `rstrip`.
pub(super) fn strip<'a>(
    string: &'a str,
    chars: Option<&Value>,
    method: &str,
) -> Result<&'a str, Error> {
    let chars = chars.filter(|value| !value.is_none());
    let chars = chars.map(|value| text(value, "chars")).transpose()?;
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    Ok(match method {
        "lstrip" => string.trim_start_matches(goes),
        "rstrip" => string.trim_end_matches(goes),
        _ => string.trim_matches(goes),
    })
}

fn split(
    string: &str,
    separator: Option<&str>,
    most: usize,
    from_right: bool,
) -> Result<Vec<Value>, Error> {
    let pieces: Vec<&str> = match separator {
        Some("") => return Err(wrong("empty separator")),
        Some(separator) if from_right => {
            string.rsplitn(most.saturating_add(1), separator).collect()
        }
        Some(separator) => string.splitn(most.saturating_add(1), separator).collect(),
        None => words(string, most, from_right),
    };
    let values = pieces.into_iter().map(Value::from);
    Ok(if from_right { values.rev().collect() } else { values.collect() })
}

/// The pieces between white space, after at most so many splits; in reverse order if from the
/// right.
fn words(string: &str, most: usize, from_right: bool) -> Vec<&str> {
    let trim = |text| -> &str {
        if from_right {
            str::trim_end_matches(text, is_space)
        } else {
            str::trim_start_matches(text, is_space)
        }
    };
    let mut pieces = Vec::new();
    let mut rest = trim(string);
    while !rest.is_empty() {
        let cut = if pieces.len() >= most {
            None
        } else if from_right {
            rest.rfind(is_space).map(|at| (at, rest[at..].chars().next().map_or(0, char::len_utf8)))
        } else {
            rest.find(is_space).map(|at| (at, 0))
        };
        let Some((at, width)) = cut else {
            pieces.push(rest);
            break;
        };
        let (left, right) = rest.split_at(at + width);
        let (piece, more) = if from_right { (right, left) } else { (left, right) };
        pieces.push(piece);
        rest = trim(more);
    }
    pieces
}

/// The lines of a string, as Python's `splitlines` finds them.
pub(super) fn lines(string: &str, keep_ends: bool) -> Vec<Value> {
    let is_end = |c: char| matches!(u32::from(c), 10..=13 | 28..=30 | 0x85 | 0x2028 | 0x2029);
    let mut found = Vec::new();
    let mut rest = string;
    while let Some(at) = rest.find(is_end) {
        let end = if rest[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        found.push(Value::from(&rest[..if keep_ends { end } else { at }]));
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        found.push(Value::from(rest));
    }
    found
}

/// Python's meaning of `start` and `end` for a length.
fn bounds((start, end): (Option<i64>, Option<i64>), length: usize) -> (usize, usize) {
    let place = |n: i64| match usize::try_from(n) {
        Ok(n) => n,
        Err(_) => length.saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    (start.map_or(0, place), end.map_or(length, place).min(length))
}

/// The number of characters before `string[start:end]`, and that text; `None` if it is empty
/// because it starts behind its end.
fn part<'a>(
    string: &'a str,
    start: Option<&Value>,
    end: Option<&Value>,
) -> Result<Option<(usize, &'a str)>, Error> {
    let range = (integer(start, "start")?, integer(end, "end")?);
    if range == (None, None) {
        return Ok(Some((0, string)));
    }
    let (from, to) = bounds(range, string.chars().count());
    if from > to {
        return Ok(None);
    }
    let mut places = string.char_indices().map(|(at, _)| at).chain([string.len()]);
    let first = places.nth(from).unwrap_or(string.len());
    let last = if to == from { first } else { places.nth(to - from - 1).unwrap_or(string.len()) };
    Ok(Some((from, &string[first..last])))
}

/// Whether a text begins or ends with a string or with one of a tuple of strings.
fn has_affix(part: Option<&str>, affix: &Value, prefix: bool) -> Result<bool, Error> {
    let has = |affix: &str| {
        part.is_some_and(
            |part| if prefix { part.starts_with(affix) } else { part.ends_with(affix) },
        )
    };
    if let Some(affix) = affix.as_str() {
        return Ok(has(affix));
    }
    if affix.downcast_object_ref::<Tuple>().is_none() {
        let problem = format!(
            "found a value of type {}, expected a string or a tuple of strings",
            affix.kind()
        );
        return Err(wrong(problem));
    }
    let mut any = false;
    for item in affix.try_iter()? {
        any |= has(text(&item, "prefix")?);
    }
    Ok(any)
}

/// Strings with a separator between them.
///
/// # Errors
/// When an item is no string, or there are not enough steps left.
pub(super) fn join_texts(
    state: &State<'_, '_>,
    separator: &str,
    items: &Value,
) -> Result<Value, Error> {
    let mut joined = String::new();
    for (i, item) in items.try_iter()?.checked().enumerate() {
        let item = item?;
        let item = item.as_str().ok_or_else(|| {
            wrong(format!("item {i}: found a value of type {}, expected a string", item.kind()))
        })?;
        pay(state, separator.len() + item.len() + 64)?;
        if i > 0 {
            joined.push_str(separator);
        }
        joined.push_str(item);
    }
    Ok(Value::from(joined))
}

/// Every letter after one that is no letter becomes a capital one, every other a small one.
fn title(state: &State<'_, '_>, string: &str) -> Result<Value, Error> {
    let mut out = String::with_capacity(string.len());
    let mut inside = false;
    for c in string.chars() {
        let changes = c.to_lowercase().next() != Some(c) || c.to_uppercase().next() != Some(c);
        if inside {
            out.extend(c.to_lowercase());
        } else if c.is_ascii() {
            out.push(c.to_ascii_uppercase());
        } else {
            let letter = Value::from(c.to_string());
            let capital = minijinja::filters::capitalize(StringInput::new(state, &letter)?);
            out.push_str(capital.as_str().unwrap_or_default());
        }
        inside = changes || c.is_lowercase() || c.is_uppercase();
    }
    Ok(Value::from(out))
}

/// `zfill`, `ljust`, `rjust` and `center`.
fn pad(state: &State<'_, '_>, string: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let [width, fill] = arguments(args, ["width", "fillchar"])?;
    let width = integer(Some(needed(width.as_ref(), "width")?), "width")?.unwrap_or(0);
    let width = usize::try_from(width).unwrap_or(0);
    let fill = match (method, &fill) {
        ("zfill", None) => "0",
        ("zfill", Some(_)) => return Err(wrong("zfill takes one argument")),
        (_, None) => " ",
        (_, Some(fill)) => text(fill, "fillchar")?,
    };
    if fill.chars().count() != 1 {
        return Err(wrong("the fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(string.chars().count());
    pay(state, missing.saturating_mul(fill.len()))?;
    let fill = |n: usize| fill.repeat(n);
    Ok(Value::from(match method {
        "zfill" => {
            let sign = usize::from(string.starts_with(['+', '-']));
            format!("{}{}{}", &string[..sign], fill(missing), &string[sign..])
        }
        "ljust" => format!("{string}{}", fill(missing)),
        "rjust" => format!("{}{string}", fill(missing)),
        _ => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{string}{}", fill(left), fill(missing - left))
        }
    }))
}

fn expand_tabs(state: &State<'_, '_>, string: &str, size: usize) -> Result<Value, Error> {
    let mut out = String::new();
    let mut column = 0_usize;
    for c in string.chars() {
        match c {
            '\t' => {
                let spaces = size - column.checked_rem(size).unwrap_or(0);
                pay(state, spaces)?;
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(Value::from(out))
}

fn partition(string: &str, separator: &str, from_right: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(wrong("empty separator"));
    }
    let cut = if from_right { string.rsplit_once(separator) } else { string.split_once(separator) };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", string],
        None => [string, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}
