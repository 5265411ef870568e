//! Files as streams of records, recognised by their content; tables in text by their names.
//!
//! | module | holds |
//! |---|---|
//! | `split` | the files of a source |
//! | `compression` | gzip and zstd |
//! | `json` | JSON lines, JSON values over several lines, one JSON array |
//! | `json_value` | one JSON value, read strictly |
//! | `table` | CSV and TSV |
//! | `parquet` | Parquet |
//! | `arrow` | Arrow streams and files, as `datasets` saves them |
//! | `batches` | batches of Arrow columns as records |
//! | `columns` | a row of Arrow columns as a JSON value |
//! | `contained` | panics of other crates as errors |
//!
//! *Invariants.* A record is never lost: a file that is cut short or damaged is an error that names
//! it. Files are read piece by piece, and memory is not taken on a damaged file's word.

mod arrow;
mod batches;
mod columns;
mod compression;
mod contained;
mod json;
mod json_value;
mod parquet;
mod split;
mod table;

#[cfg(test)]
#[allow(clippy::unwrap_used)] // helpers of tests fail by panicking
mod tests;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::error::{DataError, Place};
use compression::{Content, Peeked};
use json_value::Text;

pub(crate) use columns::without_value;
pub(crate) use json_value::utf8;
pub(crate) use split::{extension, resolve};

/// A record. JSON text is parsed when its value is asked for, so that threads can share the work.
pub(crate) struct Record {
    pub place: Place,
    body: Body,
}

enum Body {
    Text(Text),
    Value(Value),
}

impl Record {
    fn new(place: Place, value: Value) -> Self {
        Self { place, body: Body::Value(value) }
    }

    fn text(place: Place, text: Text) -> Self {
        Self { place, body: Body::Text(text) }
    }

    /// The record as a JSON value.
    ///
    /// # Errors
    /// When it is not UTF-8 or not JSON, or an object has a key twice.
    pub fn value(&self) -> Result<Value, DataError> {
        match &self.body {
            Body::Value(value) => Ok(value.clone()),
            Body::Text(text) => text.parse(),
        }
    }

    /// The record as a JSON value, without a copy.
    ///
    /// # Errors
    /// As [`Record::value`].
    pub fn into_value(self) -> Result<Value, DataError> {
        match self.body {
            Body::Value(value) => Ok(value),
            Body::Text(text) => text.parse(),
        }
    }
}

/// The records of a file, in order.
pub(crate) type Records = Box<dyn Iterator<Item = Result<Record, DataError>>>;

/// Bytes by which a file is recognised.
const HEAD: u64 = 64 << 10;

/// Opens a file of records.
///
/// # Errors
/// When it cannot be read, is empty, or is of no known kind.
pub(crate) fn open(path: &Path) -> Result<Records, DataError> {
    let reader: Box<dyn Read> = match compression::open(path)? {
        Content::Plain(file) if starts_as_parquet(path, &file)? => {
            return parquet::open(path, file);
        }
        Content::Plain(file) => Box::new(BufReader::new(file)),
        Content::Compressed(reader) => reader,
    };
    let peeked = Peeked::new(reader, HEAD).map_err(DataError::read(path))?;
    let head = peeked.head.as_slice();
    if head.starts_with(arrow::FILE) {
        return Ok(arrow::open(path, Box::new(peeked.from(arrow::FILE.len()))));
    }
    if head.starts_with(arrow::MESSAGE) {
        return Ok(arrow::open(path, Box::new(peeked.from(0))));
    }
    if let Some(problem) = known_problem(head) {
        return Err(DataError::file(path, problem));
    }
    let bom = if head.starts_with(BOM) { BOM.len() } else { 0 };
    let separator = match extension(path) {
        Some("csv") => Some(b','),
        Some("tsv") => Some(b'\t'),
        _ => None,
    };
    match (head.iter().skip(bom).find(|b| !b.is_ascii_whitespace()), separator) {
        (None, _) if peeked.whole => {
            Err(DataError::file(path, "is empty, expected at least one record"))
        }
        (Some(b'{' | b'['), _) => {
            let text = head.get(bom..).unwrap_or_default().to_vec();
            let whole = peeked.whole;
            Ok(json::open(path, &text, whole, peeked.from(bom)))
        }
        (_, Some(separator)) => table::open(path, peeked.from(bom), separator),
        _ => Err(DataError::file(
            path,
            "is neither JSON lines (first character `{`), a JSON array (`[`), Parquet (`PAR1`), \
             Arrow, nor by its name a table (`.csv`, `.tsv`)",
        )),
    }
}

/// What a UTF-8 file may begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// First bytes of a Parquet file.
const PARQUET: &[u8] = b"PAR1";

/// Whether a file begins as Parquet; it is at its beginning afterwards.
fn starts_as_parquet(path: &Path, mut file: &File) -> Result<bool, DataError> {
    use std::io::{Seek, SeekFrom};
    let mut head = Vec::new();
    file.take(PARQUET.len() as u64).read_to_end(&mut head).map_err(DataError::read(path))?;
    file.seek(SeekFrom::Start(0)).map_err(DataError::read(path))?;
    Ok(head == PARQUET)
}

/// What is wrong with a file that begins with `head`, where that says it.
fn known_problem(head: &[u8]) -> Option<&'static str> {
    let utf16 = head.starts_with(b"\xff\xfe")
        || head.starts_with(b"\xfe\xff")
        || matches!(head, [0, b'{' | b'[', ..] | [b'{' | b'[', 0, ..]);
    if utf16 {
        return Some("is UTF-16 text; convert it to UTF-8 (`iconv -f UTF-16 -t UTF-8`)");
    }
    if head.starts_with(PARQUET) {
        return Some("is a compressed Parquet file; decompress it first");
    }
    if head.starts_with(b"FEA1") {
        return Some("is Feather of version 1; save it again in version 2 (Arrow), or as Parquet");
    }
    if head.starts_with(b"version https://git-lfs") {
        return Some("is a pointer of Git LFS and not the file itself; fetch it (`git lfs pull`)");
    }
    None
}
