//! `tojson`, as Python's `json.dumps` writes it.

use std::fmt::Write;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, State, Value};

use super::arguments::{arguments, needed, text, wrong};
use super::limits::{is_too_deep, too_deep};
use super::numbers::{as_float, float_text};

/// Longest text of one level of `indent` and of a separator, in bytes.
const WIDEST: usize = 64;

/// The filter `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
///
/// # Errors
/// When a value cannot be written as JSON, or an argument is wrong.
pub(super) fn to_json(state: &State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["value", "ensure_ascii", "indent", "separators", "sort_keys"];
    let [value, ascii, indent, separators, sort] = arguments(&args.into_values(), names)?;
    let value = needed(value.as_ref(), "value")?;
    let on = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = indent.filter(|value| !value.is_none()).map(|value| level(&value)).transpose()?;
    let separators = separators.filter(|value| !value.is_none());
    let (item, key) = match separators {
        Some(separators) => pair(&separators)?,
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer {
        state,
        ascii: on(ascii),
        indent,
        item,
        key,
        sort: on(sort),
        out: String::new(),
        paid: 0,
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// The text of one level of `indent`.
fn level(indent: &Value) -> Result<String, Error> {
    let text = match (indent.as_str(), indent.kind()) {
        (Some(text), _) => text.to_owned(),
        (None, ValueKind::Bool) => " ".repeat(usize::from(indent.is_true())),
        (None, ValueKind::Number) if indent.is_integer() => {
            let width = indent.as_i64().unwrap_or(i64::MAX).max(0);
            " ".repeat(usize::try_from(width).unwrap_or(usize::MAX).min(WIDEST + 1))
        }
        _ => return Err(wrong("`indent`: expected an integer or a string")),
    };
    if text.len() > WIDEST {
        return Err(wrong(format!(
            "limit: `indent` of tojson is above {WIDEST}; use a smaller one"
        )));
    }
    Ok(text)
}

/// The two separators: between items, and after a key.
fn pair(separators: &Value) -> Result<(String, String), Error> {
    let fault = || wrong("`separators`: expected a pair of strings");
    let items: Vec<Value> = separators.try_iter().map_err(|_| fault())?.take(3).collect();
    let [item, key] = items.as_slice() else { return Err(fault()) };
    let (item, key) = (text(item, "separators")?, text(key, "separators")?);
    if item.len().max(key.len()) > WIDEST {
        return Err(wrong(format!("limit: a separator of tojson is longer than {WIDEST} bytes")));
    }
    Ok((item.to_owned(), key.to_owned()))
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    ascii: bool,
    indent: Option<String>,
    /// Between items.
    item: String,
    /// Between a key and its value.
    key: String,
    sort: bool,
    out: String,
    /// Bytes of `out` that are paid for.
    paid: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if is_too_deep(depth) {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            kind if is_list(kind, value) => {
                let items = value.try_iter()?.checked();
                self.open('[', depth, items, |this, item| this.value(&item?, depth + 1))?;
                self.out.push(']');
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<Value>>();
                if self.sort {
                    if keys.windows(2).any(|pair| pair[0].kind() != pair[1].kind()) {
                        return Err(wrong("`sort_keys`: keys of several types cannot be sorted"));
                    }
                    keys.sort();
                }
                self.open('{', depth, keys.into_iter(), |this, key| {
                    let text = key_text(&key)?;
                    this.string(&text);
                    let separator = std::mem::take(&mut this.key);
                    this.out.push_str(&separator);
                    this.key = separator;
                    this.value(&value.get_item(&key)?, depth + 1)
                })?;
                self.out.push('}');
            }
            other => {
                return Err(wrong(format!("a value of type {other} cannot be written as JSON")));
            }
        }
        self.pay()
    }

    /// Writes an opening bracket and the items behind it.
    fn open<T>(
        &mut self,
        bracket: char,
        depth: usize,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(bracket);
        let mut any = false;
        for item in items {
            if any {
                self.out.push_str(&self.item);
            }
            any = true;
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if any {
            self.new_line(depth);
        }
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// Pays for what was written since the last time.
    fn pay(&mut self) -> Result<(), Error> {
        let new = (self.out.len() - self.paid) / 8;
        self.paid += new * 8;
        self.state.consume_fuel(new as u64)
    }
}

/// A list, or a slice of one.
fn is_list(kind: ValueKind, value: &Value) -> bool {
    kind == ValueKind::Seq || (kind == ValueKind::Iterable && value.len().is_some())
}

fn number(value: &Value) -> String {
    match as_float(value) {
        Some(x) if x.is_nan() => "NaN".to_owned(),
        Some(x) if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Some(x) => float_text(x),
        None => value.to_string(),
    }
}

/// A key of a dictionary as the string that stands for it.
fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        other => return Err(wrong(format!("a key of type {other} cannot be written as JSON"))),
    })
}
