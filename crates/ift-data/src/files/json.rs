//! JSON files: one value per line, values one after another over several lines, or one array.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::json_value::Text;
use super::{Record, Records};
use crate::error::{DataError, Place};

/// Largest record in bytes: 256 MiB. A longer one is damage, or a compressed file made to fill the
/// memory.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// How the records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// Each line is a record.
    Lines,
    /// Each value is a record; a value goes over several lines.
    Values,
    /// The entries of one array are the records.
    Array,
}

/// The records of JSON text that begins with `head`, which is all of it if `whole` is set.
pub(super) fn open(path: &Path, head: &[u8], whole: bool, reader: Box<dyn BufRead>) -> Records {
    let layout = layout(head, whole);
    let path = path.to_owned();
    let largest = MAX_RECORD_BYTES;
    let texts = Texts { reader, line: 1, column: 1, layout, begun: false, largest };
    if layout == Layout::Lines {
        return Box::new(Lines { path, texts });
    }
    Box::new(Values { path, texts, read: 0, ended: false })
}

fn layout(head: &[u8], whole: bool) -> Layout {
    let mut rest = head.trim_ascii_start();
    while let Some(inner) = rest.strip_prefix(b"[") {
        let inner = inner.trim_ascii_start();
        match inner.first() {
            Some(b'{') if is_message(inner) => break,
            Some(b']') => match inner.get(1..).unwrap_or_default().trim_ascii_start() {
                // An empty list: the lists after it decide.
                after if after.starts_with(b"[") => rest = after,
                _ => return Layout::Array,
            },
            _ => return Layout::Array,
        }
    }
    // The first value decides, also where the loop above looked at a later one.
    let first = head.trim_ascii_start();
    let mut scanner = Scanner::default();
    let end = first.iter().position(|&byte| scanner.step(byte, false) == Step::Last);
    let value = end.and_then(|end| first.get(..=end)).unwrap_or(first);
    let after = first.get(value.len()..).unwrap_or_default();
    let after = after.iter().find(|&&byte| byte == b'\n' || !byte.is_ascii_whitespace());
    let lines = match after {
        _ if value.contains(&b'\n') => false,
        Some(b'{' | b'[') => false,
        Some(_) | None => true,
    };
    // A first line that is longer than the head is still a line.
    if lines || (end.is_none() && !whole && !value.contains(&b'\n')) {
        Layout::Lines
    } else {
        Layout::Values
    }
}

/// Whether the object at the beginning of `text`, which may be cut off, is a message and not a
/// record.
fn is_message(text: &[u8]) -> bool {
    let (keys, complete) = keys(text);
    let has = |name: &str| keys.contains(&name.as_bytes());
    if complete {
        has("role") && (has("content") || has("tool_calls")) || has("from") && has("value")
    } else {
        ["role", "content", "from", "value"].into_iter().any(has)
    }
}

/// The keys of the object at the beginning of `text`, and whether it is complete.
fn keys(text: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut keys = Vec::new();
    let mut scanner = Scanner::default();
    let mut start = None;
    let mut expected = false;
    for (at, &byte) in text.iter().enumerate() {
        let before = scanner.string;
        if scanner.step(byte, false) == Step::Last {
            return (keys, true);
        }
        if scanner.depth != 1 {
            continue;
        }
        match byte {
            b'"' if !before && expected => start = Some(at + 1),
            b'"' if before && !scanner.string => {
                keys.extend(start.take().and_then(|start| text.get(start..at)));
                expected = false;
            }
            b'{' | b',' if !before => expected = true,
            _ => {}
        }
    }
    (keys, false)
}

/// Finds the end of a value without reading it.
#[derive(Default)]
struct Scanner {
    depth: u64,
    string: bool,
    escape: bool,
}

#[derive(PartialEq)]
enum Step {
    /// The value goes on.
    More,
    /// The byte is the last one of the value.
    Last,
    /// The byte follows the value.
    After,
}

impl Scanner {
    /// Takes one byte. A value in an array ends before a comma or bracket; any other ends with its
    /// bracket, or if it has none with its line.
    fn step(&mut self, byte: u8, in_array: bool) -> Step {
        if self.string {
            match byte {
                _ if self.escape => self.escape = false,
                b'\\' => self.escape = true,
                b'"' => self.string = false,
                _ => {}
            }
            return Step::More;
        }
        match byte {
            b'"' => self.string = true,
            b'{' | b'[' => self.depth += 1,
            b']' | b',' if self.depth == 0 && in_array => return Step::After,
            b'\n' if self.depth == 0 && !in_array => return Step::After,
            b'}' | b']' => {
                let inside = self.depth > 0;
                self.depth = self.depth.saturating_sub(1);
                if inside && self.depth == 0 && !in_array {
                    return Step::Last;
                }
            }
            _ => {}
        }
        Step::More
    }
}

/// Cuts the bytes of a file into the texts of its values.
struct Texts {
    reader: Box<dyn BufRead>,
    /// The place of the next byte, from 1.
    line: u64,
    column: u64,
    layout: Layout,
    /// Whether the bracket of the array was read.
    begun: bool,
    /// Largest record in bytes.
    largest: usize,
}

/// What comes next.
enum Next {
    Text(Text),
    End,
    /// Something else is there, or missing.
    Fault(String),
}

impl Texts {
    /// The next line that is not blank.
    fn line(&mut self) -> io::Result<Option<Text>> {
        loop {
            let mut bytes = Vec::new();
            let line = self.line;
            let mut limited = self.reader.by_ref().take(self.largest as u64 + 1);
            if limited.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            check_size(&bytes, line, self.largest)?;
            self.line += 1;
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Text { bytes, line, column: 1 }));
            }
        }
    }

    /// The next value of an array or of a row of values.
    fn value(&mut self) -> io::Result<Next> {
        let in_array = self.layout == Layout::Array;
        if in_array && !self.begun {
            self.skip_white_space()?;
            self.consume(1)?;
            self.begun = true;
            if self.skip_white_space()? == Some(b']') {
                return Ok(Next::Fault(
                    "is an empty array, expected at least one record".to_owned(),
                ));
            }
        }
        if self.skip_white_space()?.is_none() {
            let open = "ends within an array that is not closed, expected `]`; is it cut short?";
            return Ok(if in_array { Next::Fault(open.to_owned()) } else { Next::End });
        }
        let (line, column) = (self.line, self.column);
        let mut bytes = Vec::new();
        let mut scanner = Scanner::default();
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let mut end = None;
            for (at, &byte) in buffer.iter().enumerate() {
                match scanner.step(byte, in_array) {
                    Step::More => {}
                    Step::Last => end = Some(at + 1),
                    Step::After => end = Some(at),
                }
                if end.is_some() {
                    break;
                }
            }
            let length = end.unwrap_or(buffer.len());
            bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
            check_size(&bytes, line, self.largest)?;
            self.consume(length)?;
            if end.is_some() {
                break;
            }
        }
        Ok(Next::Text(Text { bytes, line, column }))
    }

    /// Reads what follows an entry of the array. `Text` stands for a further entry.
    fn after_entry(&mut self) -> io::Result<Option<Next>> {
        match self.skip_white_space()? {
            Some(b',') => {
                self.consume(1)?;
                let comma = (self.line, self.column);
                Ok((self.skip_white_space()? == Some(b']')).then(|| {
                    let (line, column) = comma;
                    Next::Fault(format!(
                        "is not valid JSON at line {line} column {column}: a comma before `]`"
                    ))
                }))
            }
            Some(b']') => {
                self.consume(1)?;
                let more = self.skip_white_space()?.is_some();
                Ok(Some(if more {
                    let (line, column) = (self.line, self.column);
                    Next::Fault(format!(
                        "has text after the end of its array, at line {line} column {column}; \
                         expected one array of records, or one record per line"
                    ))
                } else {
                    Next::End
                }))
            }
            _ => Ok(None),
        }
    }

    /// The next byte that is not white space.
    fn skip_white_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let found = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            let byte = found.and_then(|at| buffer.get(at)).copied();
            let length = found.unwrap_or(buffer.len());
            self.consume(length)?;
            if byte.is_some() {
                return Ok(byte);
            }
        }
    }

    /// Takes `length` bytes, which are in the buffer, and counts lines and columns.
    fn consume(&mut self, length: usize) -> io::Result<()> {
        let buffer = self.reader.fill_buf()?;
        for &byte in buffer.get(..length).unwrap_or_default() {
            if byte == b'\n' {
                self.line += 1;
                self.column = 0;
            }
            self.column += 1;
        }
        self.reader.consume(length);
        Ok(())
    }
}

/// Refuses a record of more than `largest` bytes. `line` is the line that it begins in.
fn check_size(record: &[u8], line: u64, largest: usize) -> io::Result<()> {
    if record.len() <= largest {
        return Ok(());
    }
    let problem = format!("the record that begins in line {line} is longer than {largest} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Lines that are not blank.
struct Lines {
    path: PathBuf,
    texts: Texts,
}

impl Iterator for Lines {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.texts.line().map_err(DataError::read(&self.path)).transpose()?;
        Some(text.map(|text| Record::text(Place::Line(text.line), text)))
    }
}

/// Values that are not lines.
struct Values {
    path: PathBuf,
    texts: Texts,
    /// Records read before.
    read: u64,
    ended: bool,
}

impl Iterator for Values {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match self.between() {
            Ok(Some(end)) => Ok(end),
            Ok(None) => self.texts.value(),
            Err(e) => Err(e),
        };
        let next = match next {
            Ok(Next::Text(text)) => {
                self.read += 1;
                return Some(Ok(Record::text(Place::Record(self.read), text)));
            }
            Ok(Next::End) => None,
            Ok(Next::Fault(problem)) => Some(Err(DataError::file(&self.path, problem))),
            Err(e) => Some(Err(DataError::read(&self.path)(e))),
        };
        self.ended = true;
        next
    }
}

impl Values {
    /// What stands between two entries of an array; `None` if a further one follows.
    fn between(&mut self) -> io::Result<Option<Next>> {
        if self.texts.layout == Layout::Array && self.read > 0 {
            self.texts.after_entry()
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // fails by panicking
mod tests {
    use super::*;

    #[test]
    fn a_record_beyond_the_limit_is_refused_before_it_is_read_whole() {
        for (layout, text) in [
            (Layout::Lines, "{\"a\": 1}\n{\"b\": \"0123456789\"}"),
            (Layout::Values, "{\"a\":\n 1}\n{\"b\":\"0123456789\"}"),
        ] {
            let read = |largest| {
                let reader = Box::new(io::Cursor::new(text.as_bytes()));
                let texts = Texts { reader, line: 1, column: 1, layout, begun: false, largest };
                let path = PathBuf::from("a.jsonl");
                let records: Records = match layout {
                    Layout::Lines => Box::new(Lines { path, texts }),
                    _ => Box::new(Values { path, texts, read: 0, ended: false }),
                };
                records.map(|record| record.map(drop)).collect::<Result<Vec<()>, DataError>>()
            };
            assert_eq!(read(19).unwrap().len(), 2, "{text}");
            let error = read(12).unwrap_err().to_string();
            assert!(error.contains("longer than 12 bytes"), "{error}");
        }
    }
}
