//! Files to rows: records are read in order, encoded in parallel batches, and counted.

use std::path::Path;

use ift_methods::RowKind;
use rayon::prelude::*;

use crate::config::{DataConfig, Source};
use crate::dataset::Dataset;
use crate::encode::{Encoded, Encoder, RecordOutcome};
use crate::error::DataError;
use crate::files::{self, Record};
use crate::format::Format;
use crate::judged;
use crate::mixture::{Loaded, apply_source_weights, hold_out};
use crate::record;
use crate::report::{FileReport, Report};
use crate::rows::Row;
use crate::tokenizer::ChatTokenizer;

/// Records encoded at a time: enough for every thread, and small compared with the rows.
const BATCH: usize = 1024;

/// Largest weight of a file; a larger one is taken for a typing error.
const MAX_WEIGHT: f64 = 1000.0;

/// Reads the training and evaluation data of a configuration, as rows of the kind that a method
/// learns from. `config.template` is not read here, but by [`ChatTokenizer::from_folder`]. A
/// held-out share is chosen by a hash of each record's position, so it is the same in every run;
/// weights apply to the remaining records.
///
/// - [`RowKind::Text`]: texts or rendered conversations, in pieces of `max_length` tokens; every
///   token is a target.
/// - [`RowKind::Demonstration`]: conversations, of pairs the chosen one, of judged answers the
///   desirable ones; the targets are the assistant turns that `config.targets` selects.
/// - [`RowKind::Pair`]: pairs; the last assistant turn of either conversation is the target.
/// - [`RowKind::Judged`]: judged answers; the last assistant turn is the target. A pair becomes a
///   desirable and an undesirable row.
///
/// # Errors
/// When the configuration contradicts itself, a file or record cannot be used (the message names
/// it), no row is left, or only one judged row is left.
pub fn load(
    config: &DataConfig,
    tokenizer: &ChatTokenizer,
    kind: RowKind,
) -> Result<(Dataset, Option<Dataset>), DataError> {
    check(config)?;
    let loader = Loader { encoder: Encoder { config, tokenizer, kind } };
    let train = loader.read(&config.train, config.max_rows)?;
    let (train, eval) = match config.eval_fraction {
        Some(fraction) => {
            let (train, eval) = hold_out(train, fraction);
            (train, Some(eval))
        }
        None if config.eval.is_empty() => (train, None),
        None => (train, Some(loader.read(&config.eval, None)?)),
    };
    let train = loader.finish(apply_source_weights(train), "to train on")?;
    let eval = eval.map(|eval| loader.finish(eval, "to evaluate on")).transpose()?;
    Ok((train, eval))
}

fn check(config: &DataConfig) -> Result<(), DataError> {
    let fault = |field, problem: String| Err(DataError::Config { field, problem });
    if config.train.is_empty() {
        return fault("train", "found no file, expected at least one".to_owned());
    }
    if config.max_length < 2 {
        return fault("max_length", format!("found {}, expected at least 2", config.max_length));
    }
    if config.max_rows == Some(0) {
        return fault(
            "max_rows",
            "found 0, expected at least 1; leave it out for all rows".to_owned(),
        );
    }
    if let Some(fraction) = config.eval_fraction {
        if !(fraction > 0.0 && fraction < 1.0) {
            return fault(
                "eval_fraction",
                format!("found {fraction}, expected a number between 0 and 1"),
            );
        }
        if !config.eval.is_empty() {
            return fault(
                "eval_fraction",
                "cannot be used together with `data.eval`; remove one of them".to_owned(),
            );
        }
    }
    for source in &config.train {
        if let Some(weight) =
            source.weight.filter(|&weight| !(weight > 0.0 && weight <= MAX_WEIGHT))
        {
            let path = source.path.display();
            let expected = format!("a number above 0, at most {MAX_WEIGHT}");
            return fault(
                "train",
                format!("`{path}` has `weight = {weight}`, expected {expected}"),
            );
        }
    }
    if let Some(source) = config.eval.iter().find(|source| source.weight.is_some()) {
        let path = source.path.display();
        return fault(
            "eval",
            format!("`{path}` has a `weight`, but every held-out row is evaluated once; remove it"),
        );
    }
    Ok(())
}

struct Loader<'a> {
    encoder: Encoder<'a>,
}

impl Loader<'_> {
    fn read(&self, sources: &[Source], max_rows: Option<usize>) -> Result<Loaded, DataError> {
        let mut rows = Vec::new();
        let tokenizer = self.encoder.tokenizer;
        let template = tokenizer.template_origin().map(str::to_owned);
        let mut report =
            Report { template, template_reads_clock: tokenizer.reads_clock(), ..Report::default() };
        for source in sources {
            for path in files::resolve(source)? {
                let full = max_rows.is_some_and(|max| rows.len() >= max);
                report.stopped_early |= full;
                if full {
                    let unread =
                        FileReport { path, format: "-".to_owned(), ..FileReport::default() };
                    report.files.push(unread);
                } else {
                    self.read_file(&path, source, max_rows, &mut rows, &mut report)?;
                }
            }
        }
        Ok((rows, report))
    }

    fn read_file(
        &self,
        path: &Path,
        source: &Source,
        max_rows: Option<usize>,
        rows: &mut Vec<Row>,
        report: &mut Report,
    ) -> Result<(), DataError> {
        let mut records = files::open(path)?.peekable();
        let mut format = source.format;
        let number = report.files.len() as u32;
        let mut file =
            FileReport { path: path.to_owned(), weight: source.weight, ..FileReport::default() };
        'file: while records.peek().is_some() {
            let batch: Vec<Record> = records.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            let places: Vec<_> = batch.iter().map(|record| record.place).collect();
            let known = match format {
                Some(known) => known,
                None => self.detect(path, batch.first())?,
            };
            format = Some(known);
            let encoded: Vec<_> =
                batch.par_iter().map(|record| self.encode(path, record, known)).collect();
            for (encoded, place) in encoded.into_iter().zip(places) {
                if max_rows.is_some_and(|max| rows.len() >= max) {
                    report.stopped_early = true;
                    break 'file;
                }
                let mut encoded = encoded?;
                let left = max_rows.map_or(usize::MAX, |max| max - rows.len());
                report.stopped_early |= encoded.rows.len() > left;
                encoded.rows.truncate(left);
                count(&mut file, &encoded);
                let record = place.number();
                rows.extend(encoded.rows.into_iter().map(|row| row.at(number, record)));
            }
        }
        format.map_or("-", Format::name).clone_into(&mut file.format);
        report.files.push(file);
        Ok(())
    }

    fn detect(&self, path: &Path, first: Option<&Record>) -> Result<Format, DataError> {
        let Some(first) = first else { return Err(DataError::file(path, "holds no record")) };
        let fields = first.fields().map_err(|e| e.in_record(path, first.place))?;
        record::detect(&fields, self.encoder.kind).map_err(|e| e.in_record(path, first.place))
    }

    fn encode(&self, path: &Path, record: &Record, format: Format) -> Result<Encoded, DataError> {
        let encoded = record.fields().and_then(|fields| self.encoder.encode(&fields, format));
        encoded.map_err(|e| e.in_record(path, record.place))
    }

    /// The steps that need all rows of a set: mismatched sequences, counts, identity.
    fn finish(
        &self,
        (mut rows, mut report): Loaded,
        purpose: &'static str,
    ) -> Result<Dataset, DataError> {
        report.count_rows(&rows);
        if rows.is_empty() {
            return Err(DataError::NoRows { purpose, report: report.to_string() });
        }
        if self.encoder.kind == RowKind::Judged {
            if rows.len() < 2 {
                return Err(DataError::OneJudged { purpose, report: report.to_string() });
            }
            judged::assign_mismatched(&mut rows, self.encoder.config.max_length);
        }
        Ok(Dataset::new(rows, report))
    }
}

fn count(file: &mut FileReport, encoded: &Encoded) {
    file.records += 1;
    match encoded.outcome {
        RecordOutcome::Kept => {}
        RecordOutcome::Truncated => file.truncated += 1,
        RecordOutcome::TooLong => file.dropped_over_length += 1,
        RecordOutcome::WithoutTargets => file.dropped_without_targets += 1,
        RecordOutcome::Identical => file.dropped_identical += 1,
        RecordOutcome::Undesirable => file.dropped_undesirable += 1,
    }
    file.special_in_text += u64::from(encoded.special_in_text);
    file.tokens_read += encoded.tokens;
    file.tokens_lost += encoded.tokens_lost;
}
