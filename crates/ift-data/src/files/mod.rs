//! Files as streams of records: JSON lines, one JSON array, or Parquet, recognised by their first
//! bytes.

mod batches;
mod columns;
mod contained;
mod parquet;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::Source;
use crate::error::{DataError, Place};
use crate::record::kind;

/// A record. A line is parsed lazily, when its fields are read, so that threads can share the work.
pub(crate) struct Record {
    pub place: Place,
    body: Body,
}

enum Body {
    Line(Vec<u8>),
    Value(Value),
}

impl Record {
    fn new(place: Place, value: Value) -> Self {
        Self { place, body: Body::Value(value) }
    }

    /// The record's fields.
    ///
    /// # Errors
    /// When the line is not UTF-8, not JSON, or not an object.
    pub fn fields(&self) -> Result<Cow<'_, Map<String, Value>>, DataError> {
        let value = match &self.body {
            Body::Value(Value::Object(fields)) => return Ok(Cow::Borrowed(fields)),
            Body::Value(other) => return Err(not_an_object(other)),
            Body::Line(bytes) => parse(bytes)?,
        };
        match value {
            Value::Object(fields) => Ok(Cow::Owned(fields)),
            other => Err(not_an_object(&other)),
        }
    }

    /// The record as a JSON value.
    ///
    /// # Errors
    /// When the line is not UTF-8 or not JSON.
    pub fn value(&self) -> Result<Value, DataError> {
        match &self.body {
            Body::Value(value) => Ok(value.clone()),
            Body::Line(bytes) => parse(bytes),
        }
    }

    /// The record as a JSON value, without a copy.
    ///
    /// # Errors
    /// When the line is not UTF-8 or not JSON.
    pub fn into_value(self) -> Result<Value, DataError> {
        match self.body {
            Body::Value(value) => Ok(value),
            Body::Line(bytes) => parse(&bytes),
        }
    }

    /// The bytes of a line; `None` for a record that is not a line.
    pub fn line(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Line(bytes) => Some(bytes),
            Body::Value(_) => None,
        }
    }
}

fn not_an_object(value: &Value) -> DataError {
    DataError::Malformed(format!("found {}, expected an object with named fields", kind(value)))
}

/// Parses JSON, with a message of its own for text that is not UTF-8.
fn parse(bytes: &[u8]) -> Result<Value, DataError> {
    let text = utf8(bytes)?;
    serde_json::from_str(text).map_err(|e| {
        DataError::Malformed(format!(
            "not valid JSON ({e}); expected one JSON object per line, or one array of objects"
        ))
    })
}

/// Checks that bytes are UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|e| {
        DataError::Malformed(format!(
            "not valid UTF-8 at byte {} of the text; convert the file to UTF-8",
            e.valid_up_to()
        ))
    })
}

/// The records of a file, in order.
pub(crate) type Records = Box<dyn Iterator<Item = Result<Record, DataError>>>;

/// The files of a source: itself, or those of a split in a folder.
///
/// # Errors
/// When a folder is given without `split` or has no such split.
pub(crate) fn resolve(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let path = &source.path;
    let folder = path.is_dir();
    let Some(split) = &source.split else {
        return if folder {
            Err(DataError::file(
                path,
                "is a folder, expected a file; name a file in it, or add `split`",
            ))
        } else {
            Ok(vec![path.clone()])
        };
    };
    if !folder {
        return Err(DataError::file(
            path,
            format!("is not a folder, which `split = \"{split}\"` needs; remove `split`"),
        ));
    }
    let mut names = Vec::new();
    for folder in [path.clone(), path.join("data")] {
        if folder.is_dir() {
            for entry in fs::read_dir(&folder).map_err(DataError::read(&folder))? {
                let entry = entry.map_err(DataError::read(&folder))?.path();
                let data = entry
                    .extension()
                    .is_some_and(|e| e == "jsonl" || e == "json" || e == "parquet");
                if data && entry.is_file() {
                    names.push(entry);
                }
            }
        }
    }
    names.sort();
    let belongs = |file: &PathBuf| {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix(split.as_str()).is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    let chosen: Vec<_> = names.iter().filter(|f| belongs(f)).cloned().collect();
    if chosen.is_empty() {
        let seen: Vec<_> =
            names.iter().filter_map(|f| f.file_name()).map(|n| n.to_string_lossy()).collect();
        let seen = if seen.is_empty() { "no data file".to_owned() } else { seen.join(", ") };
        let problem =
            format!("has no file of split `{split}` (`{split}.*` or `{split}-*`); found {seen}");
        return Err(DataError::file(path, problem));
    }
    Ok(chosen)
}

/// Opens a file of records.
///
/// # Errors
/// When it cannot be read, is empty, or is of no known kind.
pub(crate) fn open(path: &Path) -> Result<Records, DataError> {
    let mut file = File::open(path).map_err(DataError::read(path))?;
    if file.metadata().map_err(DataError::read(path))?.is_dir() {
        return Err(DataError::file(path, "is a folder, expected a file"));
    }
    let mut head = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut head).map_err(DataError::read(path))?;
    file.seek(SeekFrom::Start(0)).map_err(DataError::read(path))?;
    if head.starts_with(b"PAR1") {
        return parquet::open(path, file);
    }
    let bom = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    match head.iter().skip(bom).find(|b| !b.is_ascii_whitespace()) {
        None if head.len() < 4096 => {
            Err(DataError::file(path, "is empty, expected at least one record"))
        }
        Some(b'{') => {
            file.seek(SeekFrom::Start(bom as u64)).map_err(DataError::read(path))?;
            Ok(Box::new(Lines { path: path.to_owned(), reader: BufReader::new(file), number: 0 }))
        }
        Some(b'[') => array(path, file, bom),
        _ if head.starts_with(b"\x1f\x8b") => {
            Err(DataError::file(path, "is gzip-compressed; decompress it first (`gunzip`)"))
        }
        _ => Err(DataError::file(
            path,
            "is neither JSON lines (first character `{`), a JSON array (`[`) nor Parquet (`PAR1`)",
        )),
    }
}

/// Lines that are not blank, with their numbers.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Iterator for Lines {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line) {
                Err(e) => return Some(Err(DataError::read(&self.path)(e))),
                Ok(0) => return None,
                Ok(_) => self.number += 1,
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Ok(Record {
                    place: Place::Line(self.number),
                    body: Body::Line(line),
                }));
            }
        }
    }
}

/// A file with one JSON array, which is read as a whole.
fn array(path: &Path, mut file: File, bom: usize) -> Result<Records, DataError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(DataError::read(path))?;
    let value = parse(bytes.get(bom..).unwrap_or_default())
        .map_err(|e| DataError::file(path, e.to_string()))?;
    let Value::Array(records) = value else {
        return Err(DataError::file(
            path,
            format!("found {}, expected an array of objects", kind(&value)),
        ));
    };
    if records.is_empty() {
        return Err(DataError::file(path, "is an empty array, expected at least one record"));
    }
    Ok(Box::new(records.into_iter().enumerate().map(|(i, value)| {
        Ok(Record { place: Place::Record(i as u64 + 1), body: Body::Value(value) })
    })))
}
