//! Batches of Arrow columns as a stream of records.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;

use super::contained::contained;
use super::{Record, columns};
use crate::error::{DataError, Place};

/// Rows of a batch: few, as a row may be large.
pub(super) const ROWS: usize = 128;

/// Bytes that grow more than this when they are decompressed are damaged, unless they are few.
const LARGEST_GROWTH: u64 = 2000;

/// So many bytes may be decompressed from any number.
const SMALL: u64 = 16 << 20;

/// Whether compressed bytes that claim to have this size are damaged.
pub(super) fn grows_too_much(compressed: u64, size: u64) -> bool {
    size > SMALL && size / LARGEST_GROWTH > compressed
}

/// The records of batches, in order. After an error there are no further ones.
pub(super) struct BatchRecords {
    path: PathBuf,
    /// What the file is called in messages.
    kind: &'static str,
    batches: Option<Box<dyn Iterator<Item = Result<RecordBatch, String>>>>,
    /// The records of the current batch, the last one first.
    records: Vec<Record>,
    /// Records read before.
    read: u64,
    /// Records that the file says it has.
    expected: Option<u64>,
}

impl BatchRecords {
    /// The records of `batches`, of which there should be `expected`.
    pub(super) fn new(
        path: &Path,
        kind: &'static str,
        batches: Box<dyn Iterator<Item = Result<RecordBatch, String>>>,
        expected: Option<u64>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            batches: Some(batches),
            records: Vec::new(),
            read: 0,
            expected,
        }
    }

    /// Reads the next batch. `None` at the end.
    fn advance(&mut self) -> Option<Result<(), String>> {
        let batches = self.batches.as_mut()?;
        let first = self.read + 1;
        let batch = contained(|| match batches.next() {
            Some(Ok(batch)) => Some(Ok((0..batch.num_rows())
                .map(|row| {
                    let place = Place::Record(first + row as u64);
                    Record::new(place, columns::record(&batch, row))
                })
                .collect::<Vec<_>>())),
            Some(Err(problem)) => Some(Err(problem)),
            None => None,
        });
        match batch.unwrap_or_else(|panic| Some(Err(panic))) {
            Some(Ok(records)) => {
                self.read += records.len() as u64;
                self.records = records;
                self.records.reverse();
                Some(Ok(()))
            }
            Some(Err(problem)) => {
                self.batches = None;
                Some(Err(problem))
            }
            None => {
                self.batches = None;
                if self.read == 0 {
                    return Some(Err("it has no rows, expected at least one record".to_owned()));
                }
                let expected = self.expected.filter(|&expected| expected != self.read)?;
                Some(Err(format!("it ends after {} of {expected} records", self.read)))
            }
        }
    }
}

impl Iterator for BatchRecords {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.records.pop() {
                return Some(Ok(record));
            }
            if let Err(problem) = self.advance()? {
                let place = Place::Record(self.read + 1);
                let problem = format!("not readable as {}: {problem}", self.kind);
                return Some(Err(DataError::Malformed(problem).in_record(&self.path, place)));
            }
        }
    }
}
