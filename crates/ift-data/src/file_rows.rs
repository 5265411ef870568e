//! One file to rows: its layout is recognised, and its records are read and encoded in parallel
//! batches.

use std::collections::BTreeSet;
use std::path::Path;

use ift_methods::RowKind;
use rayon::prelude::*;

use crate::config::Source;
use crate::encode::{Encoded, Encoder, RecordOutcome};
use crate::error::{DataError, Place};
use crate::files::{self, Record};
use crate::format::Format;
use crate::mixture::Loaded;
use crate::record::{self, Columns};
use crate::report::FileReport;

/// Records encoded at a time: enough for every thread, and small compared with the rows.
const BATCH: usize = 1024;

/// How much is read of a file.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Number of rows of all files together.
    pub rows: Option<usize>,
    /// Number of records of this file.
    pub records: Option<u64>,
}

/// Reads the records of one file.
pub(crate) struct FileRows<'a> {
    encoder: &'a Encoder<'a>,
    path: &'a Path,
    columns: Columns,
    format: Option<Format>,
    report: FileReport,
    /// The fields without a meaning in the report.
    unused: BTreeSet<String>,
}

/// What a record becomes; `None` if it is empty.
struct Read {
    place: Place,
    encoded: Option<Encoded>,
    /// The weights of the assistant's turns that have one.
    weights: Vec<f32>,
    unused: Vec<String>,
    ignored: Vec<String>,
}

impl<'a> FileRows<'a> {
    /// A file of a source.
    pub fn new(encoder: &'a Encoder<'a>, path: &'a Path, source: &Source) -> Self {
        let config = encoder.config;
        Self {
            encoder,
            path,
            columns: Columns::new(&config.columns, &source.columns, &config.ignore),
            format: source.format,
            unused: BTreeSet::new(),
            report: FileReport {
                path: path.to_owned(),
                weight: source.weight,
                ..FileReport::default()
            },
        }
    }

    /// Adds the rows of the file, and its report. Returns the number of records read.
    ///
    /// # Errors
    /// When the file or one of its records cannot be used.
    pub fn read(mut self, limits: Limits, (rows, report): &mut Loaded) -> Result<u64, DataError> {
        let number = report.files.len() as u32;
        let mut records = files::open(self.path)?;
        let mut left = limits.records.unwrap_or(u64::MAX);
        let full = |rows: &Vec<_>| limits.rows.is_some_and(|max| rows.len() >= max);
        let mut first = true;
        let mut stopped = false;
        while !stopped && left > 0 {
            let size = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
            let batch: Vec<Record> = records.by_ref().take(size).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                break;
            }
            left -= batch.len() as u64;
            if first {
                self.check_columns(&batch)?;
                first = false;
            }
            for read in self.encode(batch)? {
                if full(rows) {
                    stopped = true;
                    break;
                }
                let Read { place, encoded, weights, unused, ignored } = read?;
                report.seen_ignored.extend(ignored);
                self.note_unused(unused);
                self.note_weights(&weights);
                let Some(mut encoded) = encoded else {
                    self.report.records += 1;
                    self.report.empty += 1;
                    self.report.first_empty.get_or_insert(place.number());
                    continue;
                };
                let space = limits.rows.map_or(usize::MAX, |max| max - rows.len());
                stopped |= encoded.rows.len() > space;
                encoded.rows.truncate(space);
                let record = place.number();
                count(&mut self.report, &encoded, record);
                rows.extend(encoded.rows.into_iter().map(|row| row.at(number, record)));
            }
        }
        report.stopped_early |= stopped;
        if left == 0 && records.next().is_some() {
            self.report.max_records = limits.records;
        }
        self.format.map_or("-", Format::name).clone_into(&mut self.report.format);
        let read = self.report.records;
        report.files.push(self.report);
        Ok(read)
    }

    /// Reads and encodes a batch. The layout of the file is the one of its first record that is not
    /// empty.
    fn encode(&mut self, batch: Vec<Record>) -> Result<Vec<Result<Read, DataError>>, DataError> {
        if self.format.is_none() {
            self.format = self.detect(&batch)?;
        }
        let this = &*self;
        let read = |record: Record| {
            let place = record.place;
            this.read_record(record).map_err(|e| e.in_record(this.path, place))
        };
        Ok(batch.into_par_iter().map(read).collect())
    }

    fn detect(&self, batch: &[Record]) -> Result<Option<Format>, DataError> {
        for record in batch {
            let found = record
                .value()
                .and_then(|value| record::detect(value, &self.columns, self.encoder.kind))
                .map_err(|e| e.in_record(self.path, record.place))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn read_record(&self, record: Record) -> Result<Read, DataError> {
        let place = record.place;
        let value = record.into_value()?;
        let ignored = self.columns.ignored_in(&value);
        // Without a layout, all records of the batch are empty.
        let format = self.format.unwrap_or(Format::Messages);
        let reading = record::read(value, format, &self.columns, self.encoder.kind)?;
        let mut unused = reading.unused;
        let mut encoded = None;
        let mut weights: Vec<f32> = Vec::new();
        if let Some(example) = reading.example {
            let template = self.encoder.tokenizer.template_source();
            if let (Some(conversation), Some(template)) = (example.conversation(), template) {
                unused.extend(record::unread(conversation, template)?);
                weights = conversation
                    .messages
                    .iter()
                    .filter(|m| m.role == "assistant")
                    .filter_map(|m| m.weight)
                    .collect();
            }
            encoded = Some(self.encoder.encode(&example)?);
        }
        match self.encoder.kind {
            RowKind::Demonstration => {}
            // Every token is a target.
            RowKind::Text if !weights.is_empty() => {
                unused.push("messages.weight".to_owned());
                weights.clear();
            }
            // Only the last answer is learned.
            RowKind::Text | RowKind::Pair | RowKind::Judged => weights.clear(),
        }
        Ok(Read { place, encoded, weights, unused, ignored })
    }

    fn note_weights(&mut self, weights: &[f32]) {
        let count = |chosen: fn(f32) -> bool| weights.iter().filter(|&&w| chosen(w)).count() as u64;
        self.report.turns_unlearned += count(|weight| weight == 0.0);
        self.report.turns_weighted += count(|weight| weight != 0.0 && weight != 1.0);
    }

    /// Adds fields without a meaning, each once.
    fn note_unused(&mut self, unused: Vec<String>) {
        for name in unused {
            if self.unused.insert(name.clone()) {
                self.report.unused_fields.push(name);
            }
        }
    }

    /// Each column that the recipe names must be in one of the first records.
    fn check_columns(&self, batch: &[Record]) -> Result<(), DataError> {
        let mut wanted: Vec<_> = self.columns.renamed().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut found = BTreeSet::new();
        for record in batch {
            let value = record.value().map_err(|e| e.in_record(self.path, record.place))?;
            let fields = value.as_object();
            let names = fields.into_iter().flatten().map(|(name, _)| name.clone());
            found.extend(names);
            wanted.retain(|(_, theirs)| !found.contains(*theirs));
            if wanted.is_empty() {
                return Ok(());
            }
        }
        let (ours, theirs) = wanted[0];
        let found: Vec<_> = found.iter().map(|name| format!("`{name}`")).collect();
        let problem = format!(
            "has no field `{theirs}`, which `columns` names as `{ours}`; found {}; correct the \
             name, or give `columns` to the files that have it only",
            if found.is_empty() { "none".to_owned() } else { found.join(", ") }
        );
        Err(DataError::file(self.path, problem))
    }
}

fn count(file: &mut FileReport, encoded: &Encoded, record: u64) {
    file.records += 1;
    match encoded.outcome {
        RecordOutcome::Kept => {}
        RecordOutcome::Truncated => file.truncated += 1,
        RecordOutcome::TooLong => file.dropped_over_length += 1,
        RecordOutcome::WithoutTargets => file.dropped_without_targets += 1,
        RecordOutcome::Identical => file.dropped_identical += 1,
        RecordOutcome::Undesirable => file.dropped_undesirable += 1,
    }
    let notes = encoded.notes;
    file.special_in_text += u64::from(notes.special_in_text);
    file.template_removed += u64::from(notes.template_removed);
    file.estimated += u64::from(notes.estimated);
    if notes.prompts_differ {
        file.prompts_differ += 1;
        file.first_prompts_differ.get_or_insert(record);
    }
    file.tokens_read += encoded.tokens;
    file.tokens_lost += encoded.tokens_lost;
}
