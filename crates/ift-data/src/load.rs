//! Files to rows: records are read in order, encoded in parallel batches, and accounted for.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;

use crate::config::{DataConfig, OverLength, Source};
use crate::conversation::Example;
use crate::error::DataError;
use crate::files::{self, Record};
use crate::record::Format;
use crate::report::{FileReport, Report};
use crate::rows::{Dataset, Row};
use crate::tokenizer::ChatTokenizer;

/// What rows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Conversations; the assistant's turns are targets.
    Chat,
    /// Plain text, or conversations as the template writes them; every token is a target. Documents longer
    /// than `max_length` become consecutive rows, whatever `over_length` says.
    Text,
}

/// Records encoded at a time: enough for every thread, little beside the rows themselves.
const BATCH: usize = 1024;

/// Reads the training and evaluation data of a configuration. `template` is the tokenizer's affair (see
/// [`ChatTokenizer::from_folder`]); everything else is looked at here. A held-out share is chosen by a hash
/// of each record's position, so it is the same in every run.
///
/// # Errors
/// When the configuration contradicts itself, a file or record is at fault (the message names it), or no row
/// is left.
pub fn load(
    config: &DataConfig,
    tokenizer: &ChatTokenizer,
    mode: Mode,
) -> Result<(Dataset, Option<Dataset>), DataError> {
    check(config)?;
    let loader = Loader { config, tokenizer, mode };
    let train = loader.read(&config.train, config.max_rows)?;
    let (train, eval) = match config.eval_fraction {
        Some(fraction) => {
            let (train, eval) = hold_out(train, fraction);
            (train, Some(eval))
        }
        None if config.eval.is_empty() => (train, None),
        None => (train, Some(loader.read(&config.eval, None)?)),
    };
    let train = finish(train, "to train on")?;
    let eval = eval.map(|eval| finish(eval, "to evaluate on")).transpose()?;
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
        return fault("max_rows", "found 0, expected at least 1; leave it out for all rows".to_owned());
    }
    if let Some(fraction) = config.eval_fraction {
        if !(fraction > 0.0 && fraction < 1.0) {
            return fault("eval_fraction", format!("found {fraction}, expected a number between 0 and 1"));
        }
        if !config.eval.is_empty() {
            return fault("eval_fraction", "found beside `data.eval`, expected only one of them".to_owned());
        }
    }
    Ok(())
}

/// Rows and report before the identity is computed.
type Loaded = (Vec<Row>, Report);

fn finish((rows, report): Loaded, purpose: &'static str) -> Result<Dataset, DataError> {
    if rows.is_empty() {
        return Err(DataError::NoRows { purpose, report: report.to_string() });
    }
    Ok(Dataset::new(rows, report))
}

/// One record as rows, and what became of it.
struct Encoded {
    rows: Vec<(Vec<u32>, Vec<bool>)>,
    fate: Fate,
    special_in_text: bool,
    tokens_lost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Truncated,
    TooLong,
    WithoutTargets,
}

struct Loader<'a> {
    config: &'a DataConfig,
    tokenizer: &'a ChatTokenizer,
    mode: Mode,
}

impl Loader<'_> {
    fn read(&self, sources: &[Source], max_rows: Option<usize>) -> Result<Loaded, DataError> {
        let mut rows = Vec::new();
        let template = self.tokenizer.template_origin().map(str::to_owned);
        let mut report =
            Report { template, template_reads_clock: self.tokenizer.reads_clock(), ..Report::default() };
        for source in sources {
            for path in files::resolve(source)? {
                let full = max_rows.is_some_and(|max| rows.len() >= max);
                report.stopped_early |= full;
                if full {
                    let unread = FileReport { path, format: "-".to_owned(), ..FileReport::default() };
                    report.files.push(unread);
                } else {
                    self.read_file(&path, source.format, max_rows, &mut rows, &mut report)?;
                }
            }
        }
        Ok((rows, report))
    }

    fn read_file(
        &self,
        path: &Path,
        format: Option<Format>,
        max_rows: Option<usize>,
        rows: &mut Vec<Row>,
        report: &mut Report,
    ) -> Result<(), DataError> {
        let mut records = files::open(path)?.peekable();
        let mut format = format;
        let source = report.files.len() as u32;
        let mut file = FileReport { path: path.to_owned(), ..FileReport::default() };
        'file: while records.peek().is_some() {
            let batch: Vec<Record> = records.by_ref().take(BATCH).collect::<Result<_, _>>()?;
            let places: Vec<_> = batch.iter().map(|record| record.place).collect();
            let known = match format {
                Some(known) => known,
                None => self.detect(path, batch.first())?,
            };
            format = Some(known);
            let encoded: Vec<_> = batch.par_iter().map(|record| self.encode(path, record, known)).collect();
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
                for (tokens, targets) in encoded.rows {
                    let row = Row { tokens, targets, source, record: place.number() };
                    file.rows += 1;
                    file.tokens += row.tokens.len() as u64;
                    file.targets += row.target_count() as u64;
                    rows.push(row);
                }
            }
        }
        format.map_or("-", Format::name).clone_into(&mut file.format);
        report.files.push(file);
        Ok(())
    }

    fn detect(&self, path: &Path, first: Option<&Record>) -> Result<Format, DataError> {
        let Some(first) = first else { return Err(DataError::file(path, "holds no record")) };
        let fields = first.fields().map_err(|e| e.in_record(path, first.place))?;
        Format::detect(&fields, self.mode == Mode::Text).map_err(|e| e.in_record(path, first.place))
    }

    fn encode(&self, path: &Path, record: &Record, format: Format) -> Result<Encoded, DataError> {
        let place = record.place;
        let example = record.fields().and_then(|fields| format.parse(&fields));
        let encoded = example.and_then(|example| match self.mode {
            Mode::Chat => self.encode_chat(&example),
            Mode::Text => self.encode_text(&example),
        });
        encoded.map_err(|e| e.in_record(path, place))
    }

    fn encode_chat(&self, example: &Example) -> Result<Encoded, DataError> {
        let Some(messages) = example.messages() else {
            return Err(DataError::Malformed(
                "found plain `text`, which has no turns to tell prompt and answer apart; expected a \
                 conversation, or method `lm`, which learns every token"
                    .to_owned(),
            ));
        };
        let (mut tokens, mut targets) = self.tokenizer.encode_with_targets(messages, self.config.targets)?;
        let special_in_text = messages.iter().any(|m| self.tokenizer.holds_special_token(&m.content));
        let (length, max_length) = (tokens.len(), self.config.max_length);
        let lost = |fate| Encoded { rows: Vec::new(), fate, special_in_text, tokens_lost: length as u64 };
        let mut fate = Fate::Kept;
        if length > max_length {
            match self.config.over_length {
                OverLength::Error => return Err(DataError::OverLength { tokens: length, max_length }),
                OverLength::Drop => return Ok(lost(Fate::TooLong)),
                OverLength::Truncate => fate = Fate::Truncated,
            }
            tokens.truncate(max_length);
            targets.truncate(max_length);
        }
        if !targets.iter().skip(1).any(|&t| t) {
            return Ok(lost(Fate::WithoutTargets));
        }
        let tokens_lost = (length - tokens.len()) as u64;
        Ok(Encoded { rows: vec![(tokens, targets)], fate, special_in_text, tokens_lost })
    }

    fn encode_text(&self, example: &Example) -> Result<Encoded, DataError> {
        let special = |text: &str| self.tokenizer.holds_special_token(text);
        let (tokens, special_in_text) = match example {
            Example::Text(text) => {
                let tokens = self.tokenizer.encode_plain(text, true)?;
                let cause =
                    "the tokenizer writes one and the text begins with another; remove it from the data";
                self.tokenizer.check_bos(&tokens, || cause.to_owned())?;
                (tokens, special(text))
            }
            Example::Chat(messages) | Example::Pair { chosen: messages, .. } => {
                let tokens = self.tokenizer.encode_chat(messages, false)?;
                (tokens, messages.iter().any(|m| special(&m.content)))
            }
        };
        // A piece of one token has nothing to predict it from.
        let pieces = tokens.chunks(self.config.max_length).filter(|piece| piece.len() > 1);
        let rows: Vec<_> = pieces.map(|piece| (piece.to_vec(), vec![true; piece.len()])).collect();
        let kept: usize = rows.iter().map(|(tokens, _)| tokens.len()).sum();
        let fate = if rows.is_empty() { Fate::WithoutTargets } else { Fate::Kept };
        Ok(Encoded { rows, fate, special_in_text, tokens_lost: (tokens.len() - kept) as u64 })
    }
}

fn count(file: &mut FileReport, encoded: &Encoded) {
    file.records += 1;
    match encoded.fate {
        Fate::Kept => {}
        Fate::Truncated => file.truncated += 1,
        Fate::TooLong => file.dropped_over_length += 1,
        Fate::WithoutTargets => file.dropped_without_targets += 1,
    }
    file.special_in_text += u64::from(encoded.special_in_text);
    file.tokens_lost += encoded.tokens_lost;
}

/// Takes a share of the records out, at least one of them, chosen by a hash of their positions.
fn hold_out((rows, mut report): Loaded, fraction: f64) -> (Loaded, Loaded) {
    let mut records: Vec<(u32, u64)> = rows.iter().map(|row| (row.source, row.record)).collect();
    records.dedup();
    let wanted = ((records.len() as f64 * fraction).round() as usize).max(1);
    records.sort_by_cached_key(|&(source, record)| (mix(u64::from(source) << 40 ^ record), source, record));
    let held: HashSet<(u32, u64)> = records.into_iter().take(wanted).collect();
    let (eval, train): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| held.contains(&(row.source, row.record)));
    let blank = |file: &FileReport| FileReport {
        path: file.path.clone(),
        format: file.format.clone(),
        ..FileReport::default()
    };
    let mut held_report = Report { files: report.files.iter().map(blank).collect(), ..report.clone() };
    for &(source, _) in &held {
        if let (Some(from), Some(to)) =
            (report.files.get_mut(source as usize), held_report.files.get_mut(source as usize))
        {
            from.held_out += 1;
            to.records += 1;
        }
    }
    for row in &eval {
        let at = row.source as usize;
        if let (Some(from), Some(to)) = (report.files.get_mut(at), held_report.files.get_mut(at)) {
            let (tokens, targets) = (row.tokens.len() as u64, row.target_count() as u64);
            from.rows -= 1;
            from.tokens -= tokens;
            from.targets -= targets;
            to.rows += 1;
            to.tokens += tokens;
            to.targets += targets;
        }
    }
    ((train, report), (eval, held_report))
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood, 2014): close positions get unrelated values.
fn mix(position: u64) -> u64 {
    let z = position.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
