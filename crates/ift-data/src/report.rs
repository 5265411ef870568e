//! The report at the start of a run: numbers of records read, kept and dropped.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::rows::Row;

/// Numbers of records read, kept and dropped, for all files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One entry per file, in order.
    pub files: Vec<FileReport>,
    /// Where the chat template comes from; `None` if none was needed.
    pub template: Option<String>,
    /// Whether the chat template writes the current date, so that tokens depend on it.
    pub template_reads_clock: bool,
    /// Whether reading stopped at `max_rows`, before the end of the files.
    pub stopped_early: bool,
    /// Names in `data.ignore` that no record read has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen_ignored: Vec<String>,
    /// Names in `data.ignore` that a record has.
    #[serde(skip)]
    pub(crate) seen_ignored: BTreeSet<String>,
}

/// Numbers of records read, kept and dropped, for one file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its layout, or `-` if nothing was read from it.
    pub format: String,
    /// Its weight in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Records read.
    pub records: u64,
    /// Rows in the data set, including repetitions. A long document becomes several rows, and a
    /// pair becomes two for a method on judged answers.
    pub rows: u64,
    /// How many of them are repetitions, by a weight above 1.
    pub repeated: u64,
    /// Rows left out by a weight below 1.
    pub left_out: u64,
    /// Records held out for evaluation.
    pub held_out: u64,
    /// Records dropped because they are longer than `max_length`.
    pub dropped_over_length: u64,
    /// The first of them: its line or record in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_over_length: Option<u64>,
    /// Records cut at `max_length` and kept.
    pub truncated: u64,
    /// The first of them: its line or record in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_truncated: Option<u64>,
    /// Records dropped because they have no target.
    pub dropped_without_targets: u64,
    /// The first of them: its line or record in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_without_targets: Option<u64>,
    /// Pairs dropped because both answers are the same.
    pub dropped_identical: u64,
    /// Undesirable answers dropped, for methods that imitate answers.
    pub dropped_undesirable: u64,
    /// Records whose fields are all null, dropped.
    pub empty: u64,
    /// The first of them, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_empty: Option<u64>,
    /// Fields of records without a meaning here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unused_fields: Vec<String>,
    /// Assistant turns of weight 0, which are read and not learned.
    pub turns_unlearned: u64,
    /// Assistant turns of a weight other than 0 and 1.
    pub turns_weighted: u64,
    /// Answers without text in records that are kept: only the end of the turn is learned.
    pub answers_empty: u64,
    /// The first record with one: its line or record in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_answers_empty: Option<u64>,
    /// The limit on its records, if it has more; 0 if the files before it reached that of the
    /// source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u64>,
    /// Records that contain the text of a special token.
    pub special_in_text: u64,
    /// Records of which the template left out text, such as earlier reasoning.
    pub template_removed: u64,
    /// The roles of whose messages it left out text.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub template_removed_roles: BTreeSet<String>,
    /// Pairs whose two answers follow different prompts.
    pub prompts_differ: u64,
    /// The first of them: its line or record in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_prompts_differ: Option<u64>,
    /// Records far longer than `max_length`: their tokens were estimated, not counted.
    pub estimated: u64,
    /// Tokens in the rows; for pairs, of both answers.
    pub tokens: u64,
    /// Scored targets in the rows; for pairs, of both answers.
    pub targets: u64,
    /// Tokens of all records read, kept or not.
    pub tokens_read: u64,
    /// Tokens in dropped records and cut-off ends.
    pub tokens_lost: u64,
}

impl FileReport {
    /// Share of all tokens read that was dropped or cut off, between 0 and 1.
    pub fn share_lost(&self) -> f64 {
        if self.tokens_read == 0 { 0.0 } else { self.tokens_lost as f64 / self.tokens_read as f64 }
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.repeated += other.repeated;
        self.left_out += other.left_out;
        self.held_out += other.held_out;
        self.dropped_over_length += other.dropped_over_length;
        self.truncated += other.truncated;
        self.dropped_without_targets += other.dropped_without_targets;
        self.dropped_identical += other.dropped_identical;
        self.dropped_undesirable += other.dropped_undesirable;
        self.empty += other.empty;
        self.turns_unlearned += other.turns_unlearned;
        self.turns_weighted += other.turns_weighted;
        self.answers_empty += other.answers_empty;
        self.special_in_text += other.special_in_text;
        self.template_removed += other.template_removed;
        self.prompts_differ += other.prompts_differ;
        self.estimated += other.estimated;
        self.tokens += other.tokens;
        self.targets += other.targets;
        self.tokens_read += other.tokens_read;
        self.tokens_lost += other.tokens_lost;
    }

    /// Notes below the table.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if !self.unused_fields.is_empty() {
            write!(f, "\n`{path}`: fields without meaning here: {}", quoted(&self.unused_fields))?;
        }
        for (n, first, what) in [
            (self.dropped_over_length, self.first_over_length, "longer than `max_length`, dropped"),
            (self.truncated, self.first_truncated, "longer than `max_length`, cut"),
            (self.dropped_without_targets, self.first_without_targets, "without a target, dropped"),
        ] {
            if let Some(first) = first {
                let (records, which) = (counted(n, "record"), which(n, first));
                write!(f, "\n`{path}`: {records} {what}{which}")?;
            }
        }
        if self.template_removed > 0 {
            let records = counted(self.template_removed, "record");
            let roles: Vec<_> = self.template_removed_roles.iter().cloned().collect();
            let such = if roles == ["assistant"] {
                ", such as reasoning before the last answer"
            } else {
                ""
            };
            write!(
                f,
                "\n`{path}`: the chat template left out text of {records}, of messages of \
                 {}{such}",
                quoted(&roles)
            )?;
        }
        if let Some(first) = self.first_prompts_differ {
            let n = self.prompts_differ;
            let (pairs, which) = (counted(n, "pair"), which(n, first));
            write!(f, "\n`{path}`: {pairs} whose two answers follow different prompts{which}")?;
        }
        if self.estimated > 0 {
            let (records, are) = (counted(self.estimated, "record"), are(self.estimated));
            write!(
                f,
                "\n`{path}`: {records} {are} far longer than `max_length`; the tokens are estimated"
            )?;
        }
        if let Some(first) = self.first_empty {
            let (records, which) = (counted(self.empty, "empty record"), which(self.empty, first));
            write!(f, "\n`{path}`: {records}{which}")?;
        }
        for (n, of) in [
            (self.turns_unlearned, "of weight 0: not learned"),
            (self.turns_weighted, "of a weight other than 0 and 1"),
        ] {
            if n > 0 {
                write!(f, "\n`{path}`: {} of the assistant {of}", counted(n, "turn"))?;
            }
        }
        if let Some(first) = self.first_answers_empty {
            let answers = counted(self.answers_empty, "answer");
            let which = which(self.answers_empty, first);
            write!(
                f,
                "\n`{path}`: {answers} without text, of which only the end is learned{which}"
            )?;
        }
        match self.max_records {
            Some(0) => write!(f, "\n`{path}`: none of its records were read (`max_records`)")?,
            Some(1) => write!(f, "\n`{path}`: only its first record was read (`max_records`)")?,
            Some(max) => {
                write!(f, "\n`{path}`: only its first {max} records were read (`max_records`)")?;
            }
            None => {}
        }
        Ok(())
    }

    fn cells(&self) -> [String; COLUMNS] {
        [
            self.path.display().to_string(),
            self.format.clone(),
            self.records.to_string(),
            self.rows.to_string(),
            self.weight.map_or("-".to_owned(), |weight| weight.to_string()),
            self.repeated.to_string(),
            self.left_out.to_string(),
            self.held_out.to_string(),
            self.dropped_over_length.to_string(),
            self.truncated.to_string(),
            self.dropped_without_targets.to_string(),
            self.dropped_identical.to_string(),
            self.dropped_undesirable.to_string(),
            self.empty.to_string(),
            self.tokens.to_string(),
            self.targets.to_string(),
            format!("{:.1} %", 100.0 * self.share_lost()),
        ]
    }
}

/// A number with the name of what was counted, such as "2 records".
pub(crate) fn counted(n: u64, name: &str) -> String {
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

fn are(n: u64) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// Which record was counted, or the first of several.
fn which(n: u64, first: u64) -> String {
    if n == 1 { format!(": record {first}") } else { format!(", the first is record {first}") }
}

/// Names in backticks; of many, the first.
fn quoted(names: &[String]) -> String {
    let first = names.iter().take(NAMED).map(|name| format!("`{name}`"));
    let first = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Largest number of names in a note.
const NAMED: usize = 30;

const COLUMNS: usize = 17;

/// The columns of the table; the first two are text.
const HEAD: [&str; COLUMNS] = [
    "file",
    "format",
    "records",
    "rows",
    "weight",
    "repeated",
    "left out",
    "held out",
    "too long",
    "cut",
    "no target",
    "identical",
    "undesirable",
    "empty",
    "tokens",
    "targets",
    "lost",
];

/// Columns that are omitted if all their values are 0 or absent.
const OPTIONAL: Range<usize> = 4..14;

impl Report {
    /// The sum over all files.
    pub(crate) fn total(&self) -> FileReport {
        let mut total =
            FileReport { path: "total".into(), format: "-".to_owned(), ..FileReport::default() };
        self.files.iter().for_each(|file| total.add(file));
        total
    }

    /// Counts the rows of the data set, their tokens and their targets.
    pub(crate) fn count_rows(&mut self, rows: &[Row]) {
        for row in rows {
            if let Some(file) = self.files.get_mut(row.source as usize) {
                file.rows += 1;
                file.tokens += row.len_tokens() as u64;
                file.targets += row.target_count() as u64;
            }
        }
    }
}

impl fmt::Display for Report {
    /// A table with one line per file, then notes. Columns without values are omitted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.files.iter().map(FileReport::cells));
        if self.files.len() > 1 {
            lines.push(total.cells());
        }
        let has_values =
            |c: usize| lines.iter().skip(1).any(|line| line[c] != "0" && line[c] != "-");
        let shown: Vec<usize> =
            (0..COLUMNS).filter(|&c| !OPTIONAL.contains(&c) || has_values(c)).collect();
        let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = shown.iter().map(|&c| width(c)).collect();
        for (n, line) in lines.iter().enumerate() {
            let mut text = String::new();
            for (&c, &width) in shown.iter().zip(&widths) {
                let cell = &line[c];
                let gap = if c == 0 { "" } else { "  " };
                text.push_str(gap);
                let padding = " ".repeat(width - cell.chars().count());
                let (left, right) =
                    if c < 2 { ("", padding.as_str()) } else { (padding.as_str(), "") };
                text.extend([left, cell.as_str(), right]);
            }
            write!(f, "{}{}", if n == 0 { "" } else { "\n" }, text.trim_end())?;
        }
        if let Some(template) = &self.template {
            write!(f, "\nchat template: {template}")?;
            if self.template_reads_clock {
                write!(f, " (writes the current date)")?;
            }
        }
        if total.special_in_text > 0 {
            let n = total.special_in_text;
            let (records, contain) =
                (counted(n, "record"), if n == 1 { "contains" } else { "contain" });
            write!(
                f,
                "\n{records} {contain} the text of special tokens, which is tokenised as these \
                 tokens"
            )?;
        }
        for file in &self.files {
            file.notes(f)?;
        }
        if !self.unseen_ignored.is_empty() {
            let names = quoted(&self.unseen_ignored);
            write!(f, "\nno record read has the fields {names} of `data.ignore`")?;
        }
        if self.stopped_early {
            write!(f, "\nreading stopped at `max_rows`")?;
        }
        Ok(())
    }
}
