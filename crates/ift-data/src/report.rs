//! The account of what was read, kept and lost: the start-up report.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

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
    /// Records read.
    pub records: u64,
    /// Rows kept. A long document of plain text becomes several.
    pub rows: u64,
    /// Records held out for evaluation.
    pub held_out: u64,
    /// Records dropped as longer than `max_length`.
    pub dropped_over_length: u64,
    /// Records cut at `max_length` and kept.
    pub truncated: u64,
    /// Records dropped as nothing in them is learned.
    pub dropped_without_targets: u64,
    /// Records whose own text holds a special token's text.
    pub special_in_text: u64,
    /// Tokens in the rows kept.
    pub tokens: u64,
    /// Targets in the rows kept that have a token before them.
    pub targets: u64,
    /// Tokens in dropped records and cut-off ends.
    pub tokens_lost: u64,
}

impl FileReport {
    /// Share of all tokens that was dropped or cut off, between 0 and 1.
    pub fn share_lost(&self) -> f64 {
        let all = self.tokens + self.tokens_lost;
        if all == 0 { 0.0 } else { self.tokens_lost as f64 / all as f64 }
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.held_out += other.held_out;
        self.dropped_over_length += other.dropped_over_length;
        self.truncated += other.truncated;
        self.dropped_without_targets += other.dropped_without_targets;
        self.special_in_text += other.special_in_text;
        self.tokens += other.tokens;
        self.targets += other.targets;
        self.tokens_lost += other.tokens_lost;
    }

    fn cells(&self) -> [String; 11] {
        [
            self.path.display().to_string(),
            self.format.clone(),
            self.records.to_string(),
            self.rows.to_string(),
            self.held_out.to_string(),
            self.dropped_over_length.to_string(),
            self.truncated.to_string(),
            self.dropped_without_targets.to_string(),
            self.tokens.to_string(),
            self.targets.to_string(),
            format!("{:.1} %", 100.0 * self.share_lost()),
        ]
    }
}

/// The columns of the table; the first two are words.
const HEAD: [&str; 11] = [
    "file",
    "format",
    "records",
    "rows",
    "held out",
    "too long",
    "cut",
    "no target",
    "tokens",
    "targets",
    "lost",
];

impl Report {
    /// The sum over all files.
    pub fn total(&self) -> FileReport {
        let mut total = FileReport { path: "total".into(), format: "-".to_owned(), ..FileReport::default() };
        self.files.iter().for_each(|file| total.add(file));
        total
    }
}

impl fmt::Display for Report {
    /// A table, one line per file; columns without a number other than 0 are left out. Notes follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.files.iter().map(FileReport::cells));
        if self.files.len() > 1 {
            lines.push(total.cells());
        }
        let optional = 4..8;
        let sums = total.cells();
        let shown: Vec<usize> =
            (0..HEAD.len()).filter(|c| !optional.contains(c) || sums[*c] != "0").collect();
        let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = shown.iter().map(|&c| width(c)).collect();
        for (n, line) in lines.iter().enumerate() {
            let mut text = String::new();
            for (&c, &width) in shown.iter().zip(&widths) {
                let cell = &line[c];
                let gap = if c == 0 { "" } else { "  " };
                text.push_str(gap);
                let padding = " ".repeat(width - cell.chars().count());
                let (left, right) = if c < 2 { ("", padding.as_str()) } else { (padding.as_str(), "") };
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
            write!(f, "\n{n} records hold the text of special tokens, which is tokenised as these tokens")?;
        }
        if self.stopped_early {
            write!(f, "\nstopped at `max_rows`; the rest was not read")?;
        }
        Ok(())
    }
}
