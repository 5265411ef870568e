//! Values as Python prints them: `str` and, for what stands in lists and dictionaries, `repr`.

use std::fmt::{self, Write};

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::limits::{is_too_deep, too_deep};
use super::numbers::{as_float, float_text};

/// A value as Python's `str` prints it.
///
/// # Errors
/// When it is nested too deeply, or there are not enough steps left.
pub(super) fn printed(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if is_container(value) {
        let mut printer = Printer { state, out: String::new(), paid: 0 };
        printer.value(value, 0)?;
        return Ok(printer.out);
    }
    Ok(as_float(value).map_or_else(|| value.to_string(), float_text))
}

/// Whether a value is printed with the values in it.
pub(super) fn is_container(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => true,
        // A slice of a list. Other iterators have no length.
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

/// Whether a list is a tuple. The engine has several kinds of them, and prints each as one.
fn is_tuple(value: &Value) -> bool {
    /// Takes one character and stops.
    struct First(Option<char>);
    impl Write for First {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.or(text.chars().next());
            if self.0.is_some() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut first = First(None);
    // It always fails.
    let _ = write!(first, "{value}");
    first.0 == Some('(')
}

struct Printer<'a> {
    state: &'a State<'a, 'a>,
    out: String,
    /// Bytes of `out` that are paid for.
    paid: usize,
}

impl Printer<'_> {
    /// Writes the `repr` of a value.
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if is_too_deep(depth) {
            return Err(too_deep());
        }
        if let Some(text) = value.as_str() {
            self.string(text);
        } else if value.is_undefined() {
            self.out.push_str("Undefined");
        } else if let Some(number) = as_float(value) {
            self.out.push_str(&float_text(number));
        } else if !is_container(value) {
            // Writing to a string does not fail.
            let _ = write!(self.out, "{value:?}");
        } else if value.kind() == ValueKind::Map {
            self.items(value, ['{', '}'], |this, key| {
                this.value(&key, depth + 1)?;
                this.out.push_str(": ");
                this.value(&value.get_item(&key)?, depth + 1)
            })?;
        } else {
            let tuple = is_tuple(value);
            let brackets = if tuple { ['(', ')'] } else { ['[', ']'] };
            self.items(value, brackets, |this, item| this.value(&item, depth + 1))?;
            if tuple && value.len() == Some(1) {
                self.out.insert(self.out.len() - 1, ',');
            }
        }
        let new = (self.out.len() - self.paid) / 8;
        self.paid += new * 8;
        // One step for the value itself.
        self.state.consume_fuel(new as u64 + 1)
    }

    fn items(
        &mut self,
        values: &Value,
        [open, close]: [char; 2],
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (i, item) in values.try_iter()?.checked().enumerate() {
            if i > 0 {
                self.out.push_str(", ");
            }
            write(self, item?)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn string(&mut self, text: &str) {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.out.push(quote);
        for c in text.chars() {
            let code = u32::from(c);
            // Writing to a string does not fail.
            let _ = match c {
                '\n' => self.out.write_str("\\n"),
                '\r' => self.out.write_str("\\r"),
                '\t' => self.out.write_str("\\t"),
                '\\' => self.out.write_str("\\\\"),
                c if c == quote => write!(self.out, "\\{c}"),
                c if is_printable(c) => self.out.write_char(c),
                _ if code <= 0xff => write!(self.out, "\\x{code:02x}"),
                _ if code <= 0xffff => write!(self.out, "\\u{code:04x}"),
                _ => write!(self.out, "\\U{code:08x}"),
            };
        }
        self.out.push(quote);
    }
}

/// Python's `isprintable`: no control, format or private character, no space but the common one,
/// and no code without a character.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library decides by the same categories. It escapes a mark only at the start.
    let mut text = [b'a', 0, 0, 0, 0];
    let length = c.encode_utf8(&mut text[1..]).len();
    let text = str::from_utf8(&text[..=length]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::is_printable;

    #[test]
    fn printable_characters_are_those_of_python() {
        for c in
            [' ', '~', 'é', '日', '😀', '\u{300}', '\u{301}', '\u{93f}', '\u{ff9e}', '\u{fe0f}']
        {
            assert!(is_printable(c), "{c:?}");
        }
        for c in
            "\u{0}\u{1f}\u{7f}\u{80}\u{a0}\u{ad}\u{378}\u{200b}\u{200c}\u{200d}\u{2003}\u{2028}"
                .chars()
                .chain("\u{2029}\u{3000}\u{feff}\u{e000}\u{fffe}\u{e0001}\u{f0000}".chars())
        {
            assert!(!is_printable(c), "{c:?}");
        }
    }
}
