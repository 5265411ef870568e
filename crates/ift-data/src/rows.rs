//! Training rows, and rows that were tokenised elsewhere.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::files;
use crate::report::Report;

/// One training row: a whole conversation after the chat template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Token ids, `[length]`.
    pub tokens: Vec<u32>,
    /// Whether each token is learned, `[length]`.
    pub targets: Vec<bool>,
    /// Index of the file in [`Report::files`].
    pub source: u32,
    /// Line or record in that file, from 1.
    pub record: u64,
}

impl Row {
    /// Number of targets that have a token before them; one at position 0 is never scored.
    pub fn target_count(&self) -> usize {
        self.targets.iter().skip(1).filter(|&&t| t).count()
    }
}

/// Rows with the account of where they come from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows, in the order of the files.
    pub rows: Vec<Row>,
    /// What was read, kept and lost.
    pub report: Report,
    /// SHA-256 over the tokens and targets of all rows, in order, as lower-case hexadecimal.
    pub identity: String,
}

impl Dataset {
    /// Rows and their report, with the identity computed.
    pub(crate) fn new(rows: Vec<Row>, report: Report) -> Self {
        let mut hash = Sha256::new();
        for row in &rows {
            hash.update((row.tokens.len() as u64).to_le_bytes());
            let bytes: Vec<u8> = row.tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
            hash.update(&bytes);
            let bytes: Vec<u8> = row.targets.iter().map(|&t| u8::from(t)).collect();
            hash.update(&bytes);
        }
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let identity =
            hash.finalize().iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        Self { rows, report, identity }
    }
}

/// A line of pre-tokenised rows; other fields are ignored.
#[derive(Deserialize)]
struct Tokenised {
    input_ids: Vec<u32>,
    labels: Vec<i64>,
}

/// Reads pre-tokenised rows: JSON lines with `input_ids` and `labels`, which repeat the ids at targets and
/// are −100 elsewhere. Every row's `source` is 0.
///
/// # Errors
/// When the file cannot be read, is not JSON lines, or a line's lists do not fit each other.
pub fn rows_from_jsonl(path: &Path) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    for record in files::open(path)? {
        let record = record?;
        let place = record.place;
        let Some(line) = record.line() else {
            return Err(DataError::file(path, "is not JSON lines, expected one row per line"));
        };
        let row = tokenised(line).map_err(|e| e.in_record(path, place))?;
        rows.push(Row { record: place.number(), ..row });
    }
    Ok(rows)
}

fn tokenised(line: &[u8]) -> Result<Row, DataError> {
    let row: Tokenised = serde_json::from_str(files::utf8(line)?).map_err(|e| {
        let expected = "a line with `input_ids` (token ids) and `labels` (ids, or -100)";
        DataError::Malformed(format!("{e}; expected {expected}"))
    })?;
    let (tokens, labels) = (row.input_ids, row.labels);
    if tokens.is_empty() {
        return Err(DataError::field("input_ids", "an empty list", "at least one token"));
    }
    if tokens.len() != labels.len() {
        let found = format!("{} entries", labels.len());
        return Err(DataError::field("labels", found, format!("as many as `input_ids`, {}", tokens.len())));
    }
    let mut targets = Vec::with_capacity(tokens.len());
    for (i, (&token, &label)) in tokens.iter().zip(&labels).enumerate() {
        if label != -100 && label != i64::from(token) {
            let expected = format!("-100, or {token} as in `input_ids`");
            return Err(DataError::field(format!("labels[{i}]"), label.to_string(), expected));
        }
        targets.push(label != -100);
    }
    Ok(Row { tokens, targets, source: 0, record: 0 })
}
