//! The smaller tables of a recipe.

use std::path::PathBuf;

use ift_backend::NumberType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The model to start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// A Hugging Face folder: `config.json`, safetensors, and the tokenizer's files.
    pub path: PathBuf,
}

/// How long to train, on how much at a time, and how it is computed. The first three defaults are
/// the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainTable {
    /// Passes over the training rows.
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Optimizer steps, in place of `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Rows in an optimizer step. The last step of an epoch takes what is left.
    #[schemars(range(min = 1))]
    pub rows_per_step: usize,
    /// Most tokens computed at once; memory grows with it, the result does not depend on it beyond
    /// rounding. A longer row is computed alone.
    #[schemars(range(min = 1))]
    pub micro_batch_tokens: usize,
    /// Seed of the order of rows, of noisy λ and of sampled look-aheads.
    pub seed: u64,
    /// Whether each epoch has an order of its own; otherwise rows come as they lie in the files.
    pub shuffle: bool,
    /// Number type of the computation; it decides the backend.
    pub precision: Precision,
    /// Threads; 0 for one per core. The result does not depend on it.
    pub threads: usize,
    /// Computes each block a second time in the backward pass instead of keeping its activations:
    /// less memory, about 1.3 times the time, the same result.
    pub recompute: bool,
    /// `NEFTune`: while training, embeddings get uniform noise of at most this over
    /// √(tokens·hidden) of their row (arXiv 2310.05914, which uses 5 to 15); 0 for none.
    #[schemars(range(min = 0.0))]
    pub neftune_alpha: f64,
    /// Keeps an exponential moving average (EMA) of the weights with this decay, between 0 and 1,
    /// and makes it the final model. Checkpoints hold both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ema_decay: Option<f64>,
    /// Stops after the first step if a trainable tensor has a gradient of exactly zero.
    pub check_gradients: bool,
}

impl Default for TrainTable {
    fn default() -> Self {
        Self {
            epochs: 3,
            steps: None,
            rows_per_step: 512,
            micro_batch_tokens: 4096,
            seed: 0,
            shuffle: true,
            precision: Precision::F32,
            threads: 0,
            recompute: false,
            neftune_alpha: 0.0,
            ema_decay: None,
            check_gradients: true,
        }
    }
}

impl TrainTable {
    pub(crate) fn validate(&self) -> Result<(), TrainError> {
        let at_least_one = [
            ("train.epochs", self.epochs),
            ("train.steps", self.steps.unwrap_or(1)),
            ("train.rows_per_step", self.rows_per_step as u64),
            ("train.micro_batch_tokens", self.micro_batch_tokens as u64),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(TrainError::recipe(*field, "is 0, expected at least 1"));
        }
        let found = self.neftune_alpha;
        if !(found.is_finite() && found >= 0.0) {
            let problem = format!("is {found}, expected a finite number, 0 or more");
            return Err(TrainError::recipe("train.neftune_alpha", problem));
        }
        match self.ema_decay {
            Some(found) if !(found > 0.0 && found < 1.0) => {
                let problem = format!("is {found}, expected a number between 0 and 1");
                Err(TrainError::recipe("train.ema_decay", problem))
            }
            _ => Ok(()),
        }
    }
}

/// Number type of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision, on all cores.
    F32,
    /// Activations and the weights that products read in bfloat16, for half the memory of
    /// activations, and where the processor multiplies bfloat16 itself (avx512bf16) up to twice
    /// the speed. Weights, gradients, optimizer states, sums, norms, softmax and loss stay in
    /// single precision.
    Bf16,
    /// Double precision by plain loops on one core: the reference for tests, far too slow for real
    /// models.
    F64,
}

/// When to measure the loss on the rows of `data.eval` or `data.eval_fraction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalTable {
    /// Every so many steps; 0 for never.
    pub every: u64,
    /// Before the first step.
    pub before: bool,
    /// After the last step.
    pub after: bool,
}

impl Default for EvalTable {
    fn default() -> Self {
        Self { every: 0, before: true, after: true }
    }
}

/// When to save, and what to keep. A checkpoint is a Hugging Face folder with the trainer's state
/// in a subfolder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointTable {
    /// Every so many steps and after the last one; 0 for only when the run is interrupted.
    pub every: u64,
    /// Number of newest checkpoints to keep.
    #[schemars(range(min = 1))]
    pub keep: usize,
    /// Number type of the weights in checkpoints and in the final model. Where it is narrower than
    /// `train.precision`, checkpoints also hold the exact weights. In bf16 the final model
    /// loses updates smaller than 1/256 of a weight, as small learning rates make them; the run
    /// measures how much of what was learned that is, and `auto` saves in f32 where it is more
    /// than 5 %.
    pub number: SaveAs,
}

impl Default for CheckpointTable {
    fn default() -> Self {
        Self { every: 500, keep: 2, number: SaveAs::Auto }
    }
}

/// Number type to save weights in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaveAs {
    /// That of the files the model was loaded from, unless rounding the final model to it would
    /// lose more than 5 % of what was learned: then f32.
    Auto,
    /// That of the files the model was loaded from; f32 for an adapter.
    AsLoaded,
    /// IEEE 754 double precision.
    F64,
    /// IEEE 754 single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE 754 half precision.
    F16,
}

impl SaveAs {
    /// The number type, given that of the loaded files.
    pub fn number(self, loaded: NumberType) -> NumberType {
        match self {
            Self::Auto | Self::AsLoaded => loaded,
            Self::F64 => NumberType::F64,
            Self::F32 => NumberType::F32,
            Self::Bf16 => NumberType::Bf16,
            Self::F16 => NumberType::F16,
        }
    }
}

/// Prompts to answer greedily before and after training, to see what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateTable {
    /// Each is the user's turn of a conversation; for method `lm`, text to be continued.
    pub prompts: Vec<String>,
    /// Most tokens of an answer.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
}

impl Default for GenerateTable {
    fn default() -> Self {
        Self { prompts: Vec::new(), max_tokens: 128 }
    }
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputTable {
    /// The run's folder: `recipe.toml`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`, and the
    /// final `model/`.
    pub dir: PathBuf,
}
