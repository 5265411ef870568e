//! From files to training rows: files → records → conversations → tokens and targets → rows.
//!
//! | module | holds |
//! |---|---|
//! | `config` | the `[data]` table of a recipe |
//! | `files` | JSONL, JSON and Parquet files as streams of records |
//! | `record` | what a record means: one of seven formats becomes an [`Example`] |
//! | `special` | special tokens of a Hugging Face tokenizer folder |
//! | `template` | chat templates, run as transformers runs them |
//! | `turns` | where each assistant turn lies in the rendered text |
//! | `tokenizer` | text to tokens, conversations to tokens and targets |
//! | `tokenizer_training` | a new tokenizer from text |
//! | `encode` | one record as rows, by [`Mode`]: demonstrations, text, pairs, judged answers |
//! | `rows` | a row and what it is contrasted with |
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
mod encode;
mod error;
mod files;
mod judged;
mod load;
mod mixture;
mod record;
mod report;
mod rows;
mod special;
mod template;
mod tokenised;
mod tokenizer;
mod tokenizer_training;
mod turns;

pub use config::{DataConfig, OverLength, Source, Targets};
pub use conversation::{Example, Message};
pub use encode::Mode;
pub use error::{DataError, Place};
pub use load::load;
pub use record::Format;
pub use report::{FileReport, Report};
pub use rows::{Contrast, Dataset, Row, Sequence};
pub use template::BUILT_IN_TEMPLATES;
pub use tokenised::rows_from_jsonl;
pub use tokenizer::ChatTokenizer;
pub use tokenizer_training::{TokenizerSettings, train_tokenizer};
