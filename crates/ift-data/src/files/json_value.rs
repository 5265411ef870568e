//! One JSON value, read strictly: what JSON leaves open, and would lose text, is refused.

use serde_json::Value;

use crate::error::DataError;
use crate::strict;

/// The text of a JSON value, and where it begins in its file (counted from 1, columns in bytes).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    /// The text, with white space around it.
    pub bytes: Vec<u8>,
    /// The line of its first byte.
    pub line: u64,
    /// The column of its first byte.
    pub column: u64,
}

impl Text {
    /// The value.
    ///
    /// # Errors
    /// When the text is not UTF-8 or not JSON, or an object has a key twice.
    pub fn parse(&self) -> Result<Value, DataError> {
        let text = utf8(&self.bytes)?;
        strict::parse(text).map_err(|e| {
            let at = offset(text, &e);
            let before = text.get(..at).unwrap_or(text);
            let line = self.line + before.matches('\n').count() as u64;
            let column = match before.rfind('\n') {
                Some(end) => before.get(end..).unwrap_or_default().chars().count() as u64,
                None => self.column + before.chars().count() as u64,
            };
            DataError::Malformed(format!(
                "not valid JSON at line {line} column {column}: {}",
                reason(text, at, &e)
            ))
        })
    }
}

/// Checks that bytes are UTF-8.
///
/// # Errors
/// When they are not.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|e| {
        DataError::Malformed(format!(
            "not valid UTF-8 at byte {} of the text; convert the file to UTF-8",
            e.valid_up_to()
        ))
    })
}

/// The byte that an error is about, on a boundary of characters.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let mut at = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What is wrong at a byte, in words.
fn reason(text: &str, at: usize, error: &serde_json::Error) -> String {
    let near = |word: &str| {
        let from = |start: usize| text.get(start..).is_some_and(|rest| rest.starts_with(word));
        from(at) || at.checked_sub(1).is_some_and(from)
    };
    for word in ["NaN", "nan", "Infinity", "inf"] {
        if near(word) {
            return format!("JSON has no {word}; write null, or leave the field out");
        }
    }
    for (word, right) in [("True", "true"), ("False", "false"), ("None", "null")] {
        if near(word) {
            return format!("found {word} as in Python, expected {right}");
        }
    }
    if near("'") {
        return "found a single quotation mark as in Python, expected a double one".to_owned();
    }
    if near("\u{feff}") {
        return "found a byte order mark within the file, expected it at the beginning only"
            .to_owned();
    }
    if let Some(half) = lone_surrogate(text, at) {
        return format!("{half} is half of a character; its other half is missing");
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    match message {
        "recursion limit exceeded" => "lists and objects are nested more than 127 deep".to_owned(),
        "trailing comma" => "a comma before `}` or `]`".to_owned(),
        "trailing characters" => "found more text after the value, expected one value".to_owned(),
        eof if error.is_eof() => {
            format!("{eof}; expected one JSON value per line, or an array of them")
        }
        other => other.to_owned(),
    }
}

/// The escape of half a character (a surrogate without its partner) that ends shortly before `at`.
fn lone_surrogate(text: &str, at: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let code = |start: usize| {
        let escape = text.get(start..start + 6)?;
        let digits = escape.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut start = 0;
    while start < at.min(bytes.len()) {
        if bytes.get(start) != Some(&b'\\') {
            start += 1;
            continue;
        }
        let low = |start| code(start).is_some_and(|code| (0xdc00..0xe000).contains(&code));
        match code(start) {
            Some(0xd800..0xdc00) if low(start + 6) => start += 12,
            Some(0xd800..0xe000) if start + 14 >= at => return text.get(start..start + 6),
            _ => start += 2,
        }
    }
    None
}
