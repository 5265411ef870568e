//! Maximum likelihood: `lm` on plain text and `sft` on answers.
//!
//! Both are `L = -Σ v[t]·ℓ[t]` over the targets of a row, with `v` their weights in the data. They
//! differ in the targets (every token, or the turns of the assistant) and in the default reduction.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    needs::{Needs, RowKind},
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Plain next-token training on text, every token a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lm {
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
    pub reduction: Reduction,
}

impl Default for Lm {
    fn default() -> Self {
        Self { reduction: Reduction::Token }
    }
}

/// Supervised fine-tuning: the negative log-likelihood of the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// `sequence`: mean over rows of the mean over the targets of each row. `token`: mean over all
    /// targets of the step.
    pub reduction: Reduction,
    /// Whether the input embeddings are constants, as the authors of IFT train their SFT. A table
    /// that is also the output head still learns as the head. With an `[adapter]` they always are.
    pub freeze_input_embeddings: bool,
}

impl Default for Sft {
    fn default() -> Self {
        Self { reduction: Reduction::Sequence, freeze_input_embeddings: false }
    }
}

impl Objective for Lm {
    fn needs(&self) -> Needs {
        Needs::only(RowKind::Text)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        losses(rows, self.reduction)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

impl Objective for Sft {
    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        losses(rows, self.reduction)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn trains_input_embeddings(&self) -> bool {
        !self.freeze_input_embeddings
    }
}

/// Negative log-likelihood of each row.
pub(crate) fn losses(rows: &[RowScores], reduction: Reduction) -> Vec<RowLoss> {
    rows.iter().map(|row| RowLoss::likelihood(row, reduction)).collect()
}
