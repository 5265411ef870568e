//! Errors on the way from a file to a row.

use std::fmt;
use std::path::{Path, PathBuf};

/// Position of a record in its file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file.
    Line(u64),
    /// A record of another file: a JSON array, JSON values over several lines, Parquet, Arrow.
    Record(u64),
}

impl Place {
    /// The line or record number, from 1.
    pub(crate) fn number(self) -> u64 {
        match self {
            Place::Line(n) | Place::Record(n) => n,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(n) => write!(f, "line {n}"),
            Place::Record(n) => write!(f, "record {n}"),
        }
    }
}

/// An error on the way from a file to a row.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("`{path}`: cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file as a whole cannot be used.
    #[error("`{path}`: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected.
        problem: String,
    },
    /// A record cannot be used.
    #[error("`{path}`, {place}: {cause}")]
    Record {
        /// The file.
        path: PathBuf,
        /// The line or record.
        place: Place,
        /// The reason.
        cause: Box<DataError>,
    },
    /// A record as a whole cannot be used: not JSON, not an object, or of no known layout.
    #[error("{0}")]
    Malformed(String),
    /// A field is missing or of the wrong type.
    #[error("field `{field}`: found {found}, expected {expected}")]
    Field {
        /// The field's path, such as `messages[2].content`.
        field: String,
        /// What was found there.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A value of the `[data]` table cannot be used.
    #[error("`data.{field}`: {problem}")]
    Config {
        /// The field in the table.
        field: &'static str,
        /// What was found, what was expected.
        problem: String,
    },
    /// A tokenizer folder cannot be used.
    #[error("tokenizer `{path}`: {problem}")]
    Tokenizer {
        /// The folder or the file in it.
        path: PathBuf,
        /// What was found, what was expected.
        problem: String,
    },
    /// A chat template does not compile, raises an error, or cannot be used for training.
    #[error("chat template ({origin}): {problem}")]
    Template {
        /// Where the template comes from.
        origin: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// The assistant turns of a conversation cannot be found in the rendered text.
    #[error("chat template ({origin}): the turn of message {message} cannot be found: {problem}")]
    Turns {
        /// Where the template comes from.
        origin: String,
        /// The message, from 1.
        message: usize,
        /// What was compared and how it differs.
        problem: String,
    },
    /// A row begins with two beginning-of-sequence tokens.
    #[error("begins with two BOS tokens (`{bos}`): {cause}")]
    DoubleBos {
        /// The token's text.
        bos: String,
        /// Where the second one comes from.
        cause: String,
    },
    /// A row is longer than `max_length`, and `over_length` is `error`.
    #[error(
        "{}{tokens} tokens, but `data.max_length` is {max_length} and `data.over_length` is \
         \"error\"; raise `max_length`, or choose \"drop\" or \"truncate\"",
        if *estimated { "about " } else { "" }
    )]
    OverLength {
        /// Length of the row in tokens.
        tokens: usize,
        /// Whether that is an estimate, because the row is far too long to be tokenised.
        estimated: bool,
        /// The limit.
        max_length: usize,
    },
    /// No row is left to train or evaluate on.
    #[error("no row is left {purpose}; the records read:\n{report}")]
    NoRows {
        /// "to train on" or "to evaluate on".
        purpose: &'static str,
        /// The report as a table.
        report: String,
    },
    /// There is only one judged answer, so there is no other answer to combine its prompt with.
    #[error(
        "only one judged row is left {purpose}, expected at least two: KTO combines each prompt \
         with the answer of another row; the records read:\n{report}"
    )]
    OneJudged {
        /// "to train on" or "to evaluate on".
        purpose: &'static str,
        /// The report as a table.
        report: String,
    },
}

impl DataError {
    /// Adds the record to an error.
    pub(crate) fn in_record(self, path: &Path, place: Place) -> Self {
        DataError::Record { path: path.to_owned(), place, cause: Box::new(self) }
    }

    /// A file that cannot be used.
    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        DataError::File { path: path.to_owned(), problem: problem.into() }
    }

    /// A failed read.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| DataError::Read { path, source }
    }

    /// A field that is missing or of the wrong type.
    pub(crate) fn field(
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        DataError::Field { field: field.into(), found: found.into(), expected: expected.into() }
    }
}
