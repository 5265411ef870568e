//! The files of a configuration to data sets.

use std::collections::BTreeMap;

use ift_methods::RowKind;

use crate::config::{DataConfig, Source};
use crate::dataset::Dataset;
use crate::encode::Encoder;
use crate::error::DataError;
use crate::file_rows::{FileRows, Limits};
use crate::files;
use crate::judged;
use crate::mixture::{Loaded, apply_source_weights, hold_out};
use crate::record::FIELDS;
use crate::report::{FileReport, Report};
use crate::tokenizer::ChatTokenizer;

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
    let mut train = loader.read(&config.train, config.max_rows)?;
    let eval = match config.eval.as_slice() {
        [] => None,
        files => Some(loader.read(files, None)?),
    };
    let seen = |name: &String| {
        let reports = [Some(&train.1), eval.as_ref().map(|eval| &eval.1)];
        reports.into_iter().flatten().any(|report| report.seen_ignored.contains(name))
    };
    train.1.unseen_ignored = config.ignore.iter().filter(|name| !seen(name)).cloned().collect();
    let (train, eval) = match config.eval_fraction {
        Some(fraction) => {
            let (train, eval) = hold_out(train, fraction);
            (train, Some(eval))
        }
        None => (train, eval),
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
    check_columns(&config.columns, "columns")?;
    for (sources, field) in [(&config.train, "train"), (&config.eval, "eval")] {
        for source in sources {
            check_columns(&source.columns, field)?;
            if source.max_records == Some(0) {
                let path = source.path.display();
                let expected = "expected at least 1; leave it out for all records";
                return fault(field, format!("`{path}` has `max_records = 0`, {expected}"));
            }
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

/// Checks our names in a mapping of columns.
fn check_columns(columns: &BTreeMap<String, String>, field: &'static str) -> Result<(), DataError> {
    let Some(unknown) = columns.keys().find(|name| !FIELDS.contains(&name.as_str())) else {
        return Ok(());
    };
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(name, unknown);
    let nearest = FIELDS.into_iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let nearest = nearest.unwrap_or_default();
    let known = FIELDS.map(|name| format!("`{name}`")).join(", ");
    let problem = format!(
        "found the name `{unknown}` in `columns`; did you mean `{nearest}`? Expected one of \
         {known}, each with the name of a column, such as `{{ prompt = \"question\" }}`"
    );
    Err(DataError::Config { field, problem })
}

struct Loader<'a> {
    encoder: Encoder<'a>,
}

impl Loader<'_> {
    fn read(&self, sources: &[Source], max_rows: Option<usize>) -> Result<Loaded, DataError> {
        let tokenizer = self.encoder.tokenizer;
        let template = tokenizer.template_origin().map(str::to_owned);
        let report =
            Report { template, template_reads_clock: tokenizer.reads_clock(), ..Report::default() };
        let mut loaded = (Vec::new(), report);
        for source in sources {
            let mut records = source.max_records;
            for path in files::resolve(source)? {
                let full = max_rows.is_some_and(|max| loaded.0.len() >= max);
                loaded.1.stopped_early |= full;
                if full || records == Some(0) {
                    let max_records = records.filter(|&left| left == 0);
                    let format = "-".to_owned();
                    let unread = FileReport { path, format, max_records, ..FileReport::default() };
                    loaded.1.files.push(unread);
                    continue;
                }
                let limits = Limits { rows: max_rows, records };
                let read = FileRows::new(&self.encoder, &path, source).read(limits, &mut loaded)?;
                records = records.map(|records| records - read.min(records));
            }
        }
        Ok(loaded)
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
