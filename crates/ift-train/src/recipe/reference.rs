//! The `reference` of a recipe: a keyword or a table.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The model that DPO and similar methods compare the policy with. It is never trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Form")]
pub struct ReferenceTable {
    /// A Hugging Face folder with the same vocabulary; left out, the weights that training starts
    /// from (with an `[adapter]`, the policy without it, which takes no memory).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether its log-probabilities are written to a cache in the run's folder before training,
    /// after which the model is gone from memory.
    pub precomputed: bool,
    /// How its weights are kept.
    pub storage: ReferenceStorage,
}

/// How a reference's weights are kept in memory (`precision = "f64"` always keeps them exactly).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceStorage {
    /// In bfloat16, two bytes per element.
    #[default]
    Bf16,
    /// As exactly as a model that is trained.
    Exact,
}

/// What a recipe may write: `"start"`, `"precomputed"`, or a table.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form {
    /// A short form.
    Word(Word),
    /// All of it.
    Table(Table),
}

/// The start weights, resident or precomputed.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// `{}`
    Start,
    /// `{ precomputed = true }`
    Precomputed,
}

/// The reference, written as a table.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// A Hugging Face folder with the same vocabulary; left out, the weights that training starts
    /// from (with an `[adapter]`, the policy without it, which takes no memory).
    path: Option<PathBuf>,
    /// Whether its log-probabilities are written to a cache in the run's folder before training,
    /// after which the model is gone from memory.
    precomputed: bool,
    /// How its weights are kept.
    storage: ReferenceStorage,
}

impl From<Form> for ReferenceTable {
    fn from(form: Form) -> Self {
        match form {
            Form::Word(Word::Start) => Self::default(),
            Form::Word(Word::Precomputed) => Self { precomputed: true, ..Self::default() },
            Form::Table(Table { path, precomputed, storage }) => {
                Self { path, precomputed, storage }
            }
        }
    }
}
