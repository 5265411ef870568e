//! From files to training rows: files → records → examples → tokens with targets → rows.
//!
//! | module | holds |
//! |---|---|
//! | `config` | the `[data]` table of a recipe |
//! | `format` | the seven layouts of records |
//! | `files` | JSON, CSV, Parquet and Arrow files as streams of records |
//! | `strict` | JSON values, read strictly |
//! | `conversation` | messages, and the meaning of a record |
//! | `record` | recognises the layout of a record and reads it |
//! | `special` | special tokens of a Hugging Face tokenizer folder |
//! | `template` | chat templates with their BOS and arguments, run as transformers runs them |
//! | `turns` | the position of each assistant turn in the rendered text |
//! | `mark` | from turns in the text to weights of tokens |
//! | `removed` | text of a record that its template leaves out |
//! | `tokenizer` | text to tokens, conversations to tokens and targets |
//! | `tokenizer_training` | training a new tokenizer on text |
//! | `encode` | one example as rows of the kind that a method learns from |
//! | `rows` | a row: sequences with targets, and how they are compared |
//! | `dataset` | rows with their report and identity |
//! | `mixture` | the held-out share, and the weights of files |
//! | `judged` | the mismatched sequences of judged rows |
//! | `report` | numbers of records read, kept and dropped |
//! | `file_rows` | one file to rows, in parallel batches |
//! | `load` | reads the files of a configuration into data sets |
//! | `tokenised` | rows that were tokenised elsewhere |
//!
//! *Invariants.* Targets are found by position, never by token id: the template is rendered several
//! times and the results are compared, so an end-of-turn token inside a user's message is not taken
//! for one. The text is tokenised once, as a whole, as transformers does. Nothing is padded. Every
//! record that is dropped is counted in the [`Report`]. The rows depend only on the files, the
//! configuration and the tokenizer. [`Dataset::identity`] covers kind, tokens and targets of the
//! rows, in order, but not the source and the record that a row comes from.

mod config;
mod conversation;
mod dataset;
mod encode;
mod error;
mod file_rows;
mod files;
mod format;
mod judged;
mod load;
mod mark;
mod mixture;
mod record;
mod removed;
mod report;
mod rows;
mod special;
mod strict;
mod template;
mod tokenised;
mod tokenizer;
mod tokenizer_training;
mod turns;

pub use config::{Bos, DataConfig, OverLength, Source, Targets, TemplateSettings};
pub use conversation::{Conversation, Message};
pub use dataset::Dataset;
pub use error::{DataError, Place};
pub use format::Format;
pub use load::load;
pub use report::{FileReport, Report};
pub use rows::{Row, Sequence};
pub use tokenised::rows_from_jsonl;
pub use tokenizer::ChatTokenizer;
pub use tokenizer_training::{TokenizerSettings, train_tokenizer};
