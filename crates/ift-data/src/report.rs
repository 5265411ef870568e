//! The account of what was read, kept and lost: the start-up report.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::rows::Row;

/// What became of the records of all files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One entry per file, in order.
    pub files: Vec<FileReport>,
    /// Where the chat template comes from; absent where none was needed.
    pub template: Option<String>,
    /// Whether the chat template writes the current time, so that another day gives other tokens.
    pub template_reads_clock: bool,
    /// Whether `max_rows` ended the reading before the files did.
    pub stopped_early: bool,
}

/// What became of the records of one file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its layout, or `-` if nothing was read of it.
    pub format: String,
    /// How often its rows occur, if the configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Records read.
    pub records: u64,
    /// Rows in the data set, repetitions included. A long document of plain text becomes several,
    /// and so does a pair in judged answers.
    pub rows: u64,
    /// Rows among them that come from repetition, by a weight above 1.
    pub repeated: u64,
    /// Rows left out by a weight below 1.
    pub left_out: u64,
    /// Records held out for evaluation.
    pub held_out: u64,
    /// Records dropped as longer than `max_length`.
    pub dropped_over_length: u64,
    /// Records cut at `max_length` and kept.
    pub truncated: u64,
    /// Records dropped as nothing in them is learned.
    pub dropped_without_targets: u64,
    /// Pairs dropped as both sides are the same.
    pub dropped_identical: u64,
    /// Judged answers dropped as undesirable, where answers are imitated.
    pub dropped_undesirable: u64,
    /// Records whose own text holds a special token's text.
    pub special_in_text: u64,
    /// Tokens in the rows, of pairs those of both sides.
    pub tokens: u64,
    /// Targets in the rows that have a token before them, of pairs those of both sides.
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
        self.special_in_text += other.special_in_text;
        self.tokens += other.tokens;
        self.targets += other.targets;
        self.tokens_read += other.tokens_read;
        self.tokens_lost += other.tokens_lost;
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
            self.tokens.to_string(),
            self.targets.to_string(),
            format!("{:.1} %", 100.0 * self.share_lost()),
        ]
    }
}

const COLUMNS: usize = 16;

/// The columns of the table; the first two are words.
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
    "tokens",
    "targets",
    "lost",
];

/// Columns that are left out where they say nothing.
const OPTIONAL: Range<usize> = 4..13;

impl Report {
    /// The sum over all files.
    pub fn total(&self) -> FileReport {
        let mut total =
            FileReport { path: "total".into(), format: "-".to_owned(), ..FileReport::default() };
        self.files.iter().for_each(|file| total.add(file));
        total
    }

    /// Counts the rows of the data set and what is in them.
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
    /// A table, one line per file; columns about nothing are left out. Notes follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.files.iter().map(FileReport::cells));
        if self.files.len() > 1 {
            lines.push(total.cells());
        }
        let said = |c: usize| lines.iter().skip(1).any(|line| line[c] != "0" && line[c] != "-");
        let shown: Vec<usize> =
            (0..COLUMNS).filter(|&c| !OPTIONAL.contains(&c) || said(c)).collect();
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
            write!(
                f,
                "\n{n} records hold the text of special tokens, which is tokenised as these tokens"
            )?;
        }
        if self.stopped_early {
            write!(f, "\nstopped at `max_rows`; the rest was not read")?;
        }
        Ok(())
    }
}
