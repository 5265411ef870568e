//! CSV and TSV files (RFC 4180): a line with the names of the columns, then records. Cells are
//! strings, empty ones null.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::mem::take;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Record, Records};
use crate::error::{DataError, Place};

/// Opens a table whose cells are separated by `separator`.
///
/// # Errors
/// When its first line cannot be read, or names a column twice.
pub(super) fn open(
    path: &Path,
    reader: Box<dyn BufRead>,
    separator: u8,
) -> Result<Records, DataError> {
    let mut lines = Lines { path: path.to_owned(), reader, separator, line: 1 };
    let header = lines.next_record()?.map(|(_, cells)| cells).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (number, name) in header.into_iter().enumerate() {
        // As pandas and datasets call it; pandas writes its index so.
        let name = if name.is_empty() { format!("Unnamed: {number}") } else { name };
        if !seen.insert(name.clone()) {
            let problem =
                format!("names the column `{name}` twice in its first line, expected each once");
            return Err(DataError::file(path, problem));
        }
        names.push(name);
    }
    Ok(Box::new(Rows { names, lines, any: false, ended: false }))
}

struct Rows {
    names: Vec<String>,
    lines: Lines,
    /// Whether there was a record.
    any: bool,
    ended: bool,
}

impl Iterator for Rows {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.record().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}

impl Rows {
    fn record(&mut self) -> Result<Option<Record>, DataError> {
        let Some((line, cells)) = self.lines.next_record()? else {
            let problem = "has names of columns, but no record below them";
            return if self.any {
                Ok(None)
            } else {
                Err(DataError::file(&self.lines.path, problem))
            };
        };
        self.any = true;
        if cells.len() != self.names.len() {
            let problem = format!(
                "found {} cells, expected {} as in the first line; a cell with a separator or a \
                 line break needs quotation marks",
                cells.len(),
                self.names.len()
            );
            return Err(self.lines.fault(line, problem));
        }
        let cells = cells.into_iter().map(|cell| match cell.as_str() {
            "" => Value::Null,
            _ => Value::String(cell),
        });
        let fields = self.names.iter().cloned().zip(cells).collect();
        Ok(Some(Record::new(Place::Line(line), Value::Object(fields))))
    }
}

/// Lines of cells.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    separator: u8,
    /// The line of the next byte, from 1.
    line: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the beginning of a cell.
    Start,
    /// In a cell without quotation marks.
    Bare,
    /// In a quoted cell.
    Quoted,
    /// After a mark in a quoted cell, which closes it, or is one of two.
    Mark,
}

/// A line of cells that is being read.
struct Cells {
    state: State,
    /// The line on which it begins, and that of the last mark that opens a cell.
    line: u64,
    opened: u64,
    done: Vec<Vec<u8>>,
    cell: Vec<u8>,
}

impl Lines {
    /// The next line of cells that is not blank, and where it begins. A quoted cell may hold line
    /// breaks.
    fn next_record(&mut self) -> Result<Option<(u64, Vec<String>)>, DataError> {
        let mut cells = Cells::new(self.line);
        loop {
            let byte = self.next_byte()?;
            match (cells.state, byte) {
                (State::Quoted, None) => {
                    let problem = "a quotation mark that opens a cell is never closed".to_owned();
                    return Err(self.fault(cells.opened, problem));
                }
                (State::Quoted, Some(b'"')) => cells.state = State::Mark,
                (State::Mark, Some(b'"')) => {
                    cells.cell.push(b'"');
                    cells.state = State::Quoted;
                }
                (State::Quoted, Some(byte)) => cells.cell.push(byte),
                (State::Start, Some(b'"')) => {
                    cells.opened = self.line;
                    cells.state = State::Quoted;
                }
                (_, Some(byte)) if byte == self.separator => cells.finish_cell(),
                (_, None | Some(b'\n' | b'\r')) => {
                    // Of the two bytes of a Windows line break, the second one is a blank line.
                    if !cells.is_blank() {
                        cells.finish_cell();
                        return self.texts(cells).map(Some);
                    }
                    if byte.is_none() {
                        return Ok(None);
                    }
                    cells = Cells::new(self.line);
                }
                (State::Mark, Some(_)) => {
                    let problem = "found text after the quotation mark that closes a cell, \
                                   expected a separator; a mark within a quoted cell is written \
                                   twice";
                    return Err(self.fault(self.line, problem.to_owned()));
                }
                (_, Some(byte)) => {
                    cells.cell.push(byte);
                    cells.state = State::Bare;
                }
            }
        }
    }

    fn next_byte(&mut self) -> Result<Option<u8>, DataError> {
        let byte = self.reader.fill_buf().map(|buffer| buffer.first().copied());
        let byte = byte.map_err(|e: io::Error| DataError::read(&self.path)(e))?;
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }

    fn texts(&self, cells: Cells) -> Result<(u64, Vec<String>), DataError> {
        let texts: Result<Vec<_>, _> = cells.done.into_iter().map(String::from_utf8).collect();
        texts.map(|texts| (cells.line, texts)).map_err(|_| {
            self.fault(cells.line, "not valid UTF-8; convert the file to UTF-8".to_owned())
        })
    }

    fn fault(&self, line: u64, problem: String) -> DataError {
        DataError::Malformed(problem).in_record(&self.path, Place::Line(line))
    }
}

impl Cells {
    fn new(line: u64) -> Self {
        Self { state: State::Start, line, opened: line, done: Vec::new(), cell: Vec::new() }
    }

    fn is_blank(&self) -> bool {
        self.state == State::Start && self.done.is_empty()
    }

    fn finish_cell(&mut self) {
        self.done.push(take(&mut self.cell));
        self.state = State::Start;
    }
}
