//! Rows that were tokenised elsewhere.

use std::path::Path;

use ift_methods::RowKind;
use serde::Deserialize;
use serde_json::Value;

use crate::error::DataError;
use crate::files;
use crate::judged;
use crate::rows::{Row, Sequence};

/// The fields of one line; others are ignored.
#[derive(Deserialize)]
struct Line {
    input_ids: Option<Vec<u32>>,
    labels: Option<Vec<i64>>,
    chosen_ids: Option<Vec<u32>>,
    chosen_labels: Option<Vec<i64>>,
    rejected_ids: Option<Vec<u32>>,
    rejected_labels: Option<Vec<i64>>,
    desirable: Option<bool>,
}

/// Reads pre-tokenised rows: JSON lines (or another kind of file that [`load`](crate::load())
/// reads) with token ids and labels. A label is the id of a target, and −100 elsewhere. `source` of
/// every row is 0, `record` is its line.
///
/// | kind | a line has | and gives |
/// |---|---|---|
/// | `Text`, `Demonstration` | `input_ids`, `labels`, or `chosen_ids`, `chosen_labels` | one row |
/// | `Pair` | `chosen_ids`, `chosen_labels`, `rejected_ids`, `rejected_labels` | one row |
/// | `Judged` | these four | two rows |
/// | `Judged` | `input_ids`, `labels` and `desirable` (true or false) | one row |
///
/// Judged rows get their order and their mismatched sequences as by [`load`](crate::load()).
///
/// # Errors
/// When the file cannot be read, a line is not JSON or lacks a field, the lists of a line
/// differ in length, a label is neither its id nor −100, or there is only one judged row.
pub fn rows_from_jsonl(path: &Path, kind: RowKind) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    for record in files::open(path)? {
        let record = record?;
        let place = record.place;
        let read = record.into_value().and_then(|line| line_rows(line, kind));
        let read = read.map_err(|e| e.in_record(path, place))?;
        rows.extend(read.into_iter().map(|row| row.at(0, place.number())));
    }
    if kind == RowKind::Judged {
        if rows.len() < 2 {
            return Err(DataError::file(path, judged::TOO_FEW));
        }
        judged::assign_mismatched(&mut rows, usize::MAX);
    }
    Ok(rows)
}

fn line_rows(line: Value, kind: RowKind) -> Result<Vec<Row>, DataError> {
    let line: Line = serde_json::from_value(line).map_err(|e| {
        let expected = "an object with lists of token ids and of labels (ids, or -100)";
        DataError::Malformed(format!("{e}; expected {expected}"))
    })?;
    match kind {
        RowKind::Text => line.imitated().map(|sequence| vec![Row::text(sequence)]),
        RowKind::Demonstration => {
            line.imitated().map(|sequence| vec![Row::demonstration(sequence)])
        }
        RowKind::Pair => Ok(vec![Row::pair(line.chosen()?, line.rejected()?)]),
        RowKind::Judged => match line.desirable {
            Some(desirable) if line.chosen_ids.is_none() => {
                Ok(vec![Row::judged_without_mismatch(line.answer()?, desirable)])
            }
            None if line.chosen_ids.is_none() && line.rejected_ids.is_none() => {
                let expected = "true or false together with `input_ids`, or `chosen_ids`, \
                                `chosen_labels`, `rejected_ids` and `rejected_labels`";
                Err(DataError::field("desirable", "nothing", expected))
            }
            _ => Ok(vec![
                Row::judged_without_mismatch(line.chosen()?, true),
                Row::judged_without_mismatch(line.rejected()?, false),
            ]),
        },
    }
}

impl Line {
    /// The only answer, or the chosen one of a pair.
    fn imitated(&self) -> Result<Sequence, DataError> {
        let pair = self.input_ids.is_none() && self.chosen_ids.is_some();
        if pair { self.chosen() } else { self.answer() }
    }

    fn answer(&self) -> Result<Sequence, DataError> {
        sequence(["input_ids", "labels"], self.input_ids.as_deref(), self.labels.as_deref())
    }

    fn chosen(&self) -> Result<Sequence, DataError> {
        sequence(
            ["chosen_ids", "chosen_labels"],
            self.chosen_ids.as_deref(),
            self.chosen_labels.as_deref(),
        )
    }

    fn rejected(&self) -> Result<Sequence, DataError> {
        sequence(
            ["rejected_ids", "rejected_labels"],
            self.rejected_ids.as_deref(),
            self.rejected_labels.as_deref(),
        )
    }
}

/// Token ids and labels as a sequence; `names` are those of their fields.
fn sequence(
    names: [&str; 2],
    ids: Option<&[u32]>,
    labels: Option<&[i64]>,
) -> Result<Sequence, DataError> {
    let [ids_name, labels_name] = names;
    let absent = |name, expected| DataError::field(name, "nothing", expected);
    let ids = ids.ok_or_else(|| absent(ids_name, "a list of token ids"))?;
    let labels = labels.ok_or_else(|| absent(labels_name, "a list of labels (ids, or -100)"))?;
    if ids.is_empty() {
        return Err(DataError::field(ids_name, "an empty list", "at least one token"));
    }
    if ids.len() != labels.len() {
        let found = format!("{} entries", labels.len());
        return Err(DataError::field(
            labels_name,
            found,
            format!("as many as `{ids_name}`, {}", ids.len()),
        ));
    }
    let mut targets = Vec::with_capacity(ids.len());
    for (i, (&token, &label)) in ids.iter().zip(labels).enumerate() {
        if label != -100 && label != i64::from(token) {
            let expected = format!("-100, or {token} as in `{ids_name}`");
            return Err(DataError::field(
                format!("{labels_name}[{i}]"),
                label.to_string(),
                expected,
            ));
        }
        targets.push(label != -100);
    }
    Ok(Sequence::masked(ids.to_vec(), &targets))
}
