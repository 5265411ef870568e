//! One file to rows: its layout is recognised, and its records are read and encoded in parallel
//! batches.

use std::collections::BTreeSet;
use std::path::Path;

use ift_methods::RowKind;
use rayon::prelude::*;
use serde_json::json;

use crate::config::Source;
use crate::conversation::{Conversation, Message};
use crate::encode::{Encoded, Encoder, RecordOutcome};
use crate::error::{DataError, Place};
use crate::files::{self, Record};
use crate::format::Format;
use crate::mixture::Loaded;
use crate::record::{self, Columns, Layout};
use crate::report::FileReport;
use crate::tokenizer::ChatTokenizer;

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
    /// Whether the recipe names the layout.
    named: bool,
    report: FileReport,
    /// The fields without a meaning in the report.
    unused: BTreeSet<String>,
    /// Our and their names of the columns that the recipe names and no record had so far.
    wanted: Vec<(String, String)>,
    /// The fields of the first records.
    first_fields: BTreeSet<String>,
    /// Whether the chat template writes arguments of calls that are text as they are.
    writes_arguments: bool,
}

/// What a record becomes; `None` if it is empty.
struct Read {
    place: Place,
    encoded: Option<Encoded>,
    /// The weights of the assistant's turns that have one.
    weights: Vec<f32>,
    unused: Vec<String>,
    ignored: Vec<String>,
    /// Those of the wanted columns that it has.
    columns: Vec<String>,
}

impl<'a> FileRows<'a> {
    /// A file of a source.
    pub fn new(encoder: &'a Encoder<'a>, path: &'a Path, source: &Source) -> Self {
        let config = encoder.config;
        let columns = Columns::new(&config.columns, &source.columns, &config.ignore);
        let owned = |(ours, theirs): (&str, &str)| (ours.to_owned(), theirs.to_owned());
        Self {
            encoder,
            path,
            wanted: columns.renamed().map(owned).collect(),
            first_fields: BTreeSet::new(),
            writes_arguments: writes_arguments(encoder.tokenizer),
            columns,
            format: source.format,
            named: source.format.is_some(),
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
                self.note_fields(&batch)?;
                first = false;
            }
            for read in self.encode(batch)? {
                if full(rows) {
                    stopped = true;
                    break;
                }
                let Read { place, encoded, weights, unused, ignored, columns } = read?;
                self.wanted.retain(|(_, theirs)| !columns.contains(theirs));
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
        if !stopped {
            self.check_columns()?;
        }
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
            match self.detect(&batch) {
                Ok(found) => self.format = found,
                // A wrong name of a column is the more likely reason.
                Err(error) => {
                    self.check_columns()?;
                    return Err(error);
                }
            }
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
        let wanted = self.wanted.iter().map(|(_, theirs)| theirs);
        let columns = wanted.filter(|theirs| value.get(theirs).is_some()).cloned().collect();
        // Without a layout, all records of the batch are empty.
        let format = self.format.unwrap_or(Format::Messages);
        let layout = Layout { format, named: self.named };
        let reading = record::read(value, layout, &self.columns, self.encoder.kind)?;
        let mut unused = reading.unused;
        let mut encoded = None;
        let mut weights: Vec<f32> = Vec::new();
        if let Some(mut example) = reading.example {
            // Others learn from the chosen one of a pair only.
            let both = matches!(self.encoder.kind, RowKind::Pair | RowKind::Judged);
            let count = if both { 2 } else { 1 };
            for conversation in example.conversations_mut().take(count) {
                self.fit(conversation, &mut unused)?;
            }
            // For pairs and judged answers, only the last answer is learned.
            if let (RowKind::Demonstration, Some(talk)) =
                (self.encoder.kind, example.conversation())
            {
                let turns = talk.messages.iter().filter(|message| message.is_assistant());
                weights = turns.filter_map(|message| message.weight).collect();
            }
            encoded = Some(self.encoder.encode(&example)?);
        }
        Ok(Read { place, encoded, weights, unused, ignored, columns })
    }

    /// Fits a conversation to the chat template: lists what that does not read, and gives it calls
    /// in the form that it writes.
    fn fit(
        &self,
        conversation: &mut Conversation,
        unused: &mut Vec<String>,
    ) -> Result<(), DataError> {
        if self.encoder.kind == RowKind::Text {
            check_weights(conversation)?;
        }
        let tokenizer = self.encoder.tokenizer;
        let Some(template) = tokenizer.template_source() else { return Ok(()) };
        unused.extend(record::unread(conversation, template)?);
        // As in transformers, a variable that the template does not read changes nothing.
        conversation.arguments.retain(|name, _| {
            let read = tokenizer.reads_variable(name);
            if !read {
                unused.push(format!("chat_template_kwargs.{name}"));
            }
            read
        });
        if !self.writes_arguments {
            record::parse_arguments(conversation)?;
        }
        Ok(())
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

    /// Notes the fields of the first records, if columns are named.
    fn note_fields(&mut self, batch: &[Record]) -> Result<(), DataError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        for record in batch {
            let value = record.value().map_err(|e| e.in_record(self.path, record.place))?;
            for (name, _) in value.as_object().into_iter().flatten() {
                if !self.first_fields.contains(name) {
                    self.first_fields.insert(name.clone());
                }
            }
        }
        self.wanted.retain(|(_, theirs)| !self.first_fields.contains(theirs));
        Ok(())
    }

    /// Each column that the recipe names must be in a record.
    fn check_columns(&self) -> Result<(), DataError> {
        let Some((ours, theirs)) = self.wanted.first() else { return Ok(()) };
        let found: Vec<_> = self.first_fields.iter().map(|name| format!("`{name}`")).collect();
        let problem = format!(
            "has no field `{theirs}`, which `columns` names as `{ours}`; found {}; correct the \
             name, or give `columns` to the files that have it only",
            if found.is_empty() { "none".to_owned() } else { found.join(", ") }
        );
        Err(DataError::file(self.path, problem))
    }
}

/// Refuses weights where every token is learned.
fn check_weights(conversation: &Conversation) -> Result<(), DataError> {
    for (i, message) in conversation.messages.iter().enumerate() {
        let says = !message.text().is_empty() || message.fields.contains_key("tool_calls");
        if let Some(weight) = message.weight.filter(|&weight| says && weight != 1.0) {
            let found = format!("{weight} with method `lm`, which learns every token");
            let expected = "no weight other than 1; list its field in `data.ignore` (such as \
                            \"messages.weight\"), or choose method `sft`";
            return Err(DataError::field(format!("messages[{i}].weight"), found, expected));
        }
    }
    Ok(())
}

/// Whether the chat template writes arguments of a call that are text as they are. Others write
/// them as JSON, for which they are read.
fn writes_arguments(tokenizer: &ChatTokenizer) -> bool {
    const TEXT: &str = "{\"probe\":1}";
    if !tokenizer.template_source().is_some_and(|source| source.contains("arguments")) {
        return false;
    }
    let function = json!({"name": "probe", "description": "", "parameters": {}});
    let mut call = Message { role: "assistant".to_owned(), ..Message::default() };
    let arguments = json!({"name": "probe", "arguments": TEXT});
    let calls = json!([{"id": "probe0000", "type": "function", "function": arguments}]);
    call.fields.insert("tool_calls".to_owned(), calls);
    [Some(String::new()), None].into_iter().any(|content| {
        let call = Message { content, ..call.clone() };
        let conversation = Conversation {
            messages: vec![Message::new("user", "hello"), call],
            tools: vec![json!({"type": "function", "function": function})],
            ..Conversation::default()
        };
        tokenizer.render(&conversation, false).is_ok_and(|text| text.contains(TEXT))
    })
}

fn count(file: &mut FileReport, encoded: &Encoded, record: u64) {
    file.records += 1;
    match encoded.outcome {
        RecordOutcome::Kept => {}
        RecordOutcome::Truncated => {
            file.truncated += 1;
            file.first_truncated.get_or_insert(record);
        }
        RecordOutcome::TooLong => {
            file.dropped_over_length += 1;
            file.first_over_length.get_or_insert(record);
        }
        RecordOutcome::WithoutTargets => {
            file.dropped_without_targets += 1;
            file.first_without_targets.get_or_insert(record);
        }
        RecordOutcome::Identical => file.dropped_identical += 1,
        RecordOutcome::Undesirable => file.dropped_undesirable += 1,
    }
    let notes = &encoded.notes;
    file.special_in_text += u64::from(notes.special_in_text);
    file.template_removed += u64::from(!notes.left_out.is_empty());
    file.template_removed_roles.extend(notes.left_out.iter().cloned());
    file.estimated += u64::from(notes.estimated);
    if notes.prompts_differ {
        file.prompts_differ += 1;
        file.first_prompts_differ.get_or_insert(record);
    }
    if notes.answers_empty > 0 && encoded.outcome <= RecordOutcome::Truncated {
        file.answers_empty += notes.answers_empty;
        file.first_answers_empty.get_or_insert(record);
    }
    file.tokens_read += encoded.tokens;
    file.tokens_lost += encoded.tokens_lost;
}
