//! From files to training rows: files → records → conversations → tokens and targets → rows.
//!
//! | module | holds |
//! |---|---|
//! | `config` | the `[data]` table of a recipe |
//! | `format` | the seven layouts of records |
//! | `files` | JSONL, JSON and Parquet files as streams of records |
//! | `record` | a record of a known format as an [`Example`] |
//! | `special` | special tokens of a Hugging Face tokenizer folder |
//! | `template` | chat templates, run as transformers runs them |
//! | `template_source` | which template a tokenizer folder has |
//! | `turns` | where each assistant turn lies in the rendered text |
//! | `tokenizer` | text to tokens, conversations to tokens and targets |
//! | `tokenizer_training` | a new tokenizer from text |
//! | `encode` | one example as rows of the kind that a method learns from |
//! | `rows` | a row: sequences with targets, and how they are compared |
//! | `dataset` | rows with their report and identity |
//! | `mixture` | the held-out share, and how often a file's rows occur |
//! | `judged` | the mismatched answers of judged rows |
//! | `load` | all of it together, in parallel, with a report |
//! | `tokenised` | rows that were tokenised elsewhere |
//!
//! *Invariants.* Targets are found by position, never by token id: the template is rendered turn by
//! turn and the results are compared, so a token that looks like an end-of-turn token inside a
//! user's message is not one. The text is tokenised once, as a whole, as transformers does. Nothing
//! is padded. No record disappears without being counted in the [`Report`]. The rows depend on the
//! files, the configuration and the tokenizer alone, so [`Dataset::identity`] says whether two runs
//! saw the same data.

mod config;
mod conversation;
mod dataset;
mod encode;
mod error;
mod files;
mod format;
mod judged;
mod load;
mod mixture;
mod record;
mod report;
mod rows;
mod special;
mod template;
mod template_source;
mod tokenised;
mod tokenizer;
mod tokenizer_training;
mod turns;

pub use config::{DataConfig, OverLength, Source, Targets};
pub use conversation::{Example, Message};
pub use dataset::Dataset;
pub use error::{DataError, Place};
pub use format::Format;
pub use load::load;
pub use report::{FileReport, Report};
pub use rows::{Row, Sequence};
pub use template::BUILT_IN_TEMPLATES;
pub use tokenised::rows_from_jsonl;
pub use tokenizer::ChatTokenizer;
pub use tokenizer_training::{TokenizerSettings, train_tokenizer};
