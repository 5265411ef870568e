//! Maximum likelihood: `lm` on plain text and `sft` on answers.
//!
//! Both are `L = -Σ ℓ[t]` over the targets of a row; they differ in what the data marks as a target
//! (every token, or the assistant's turns) and in the reduction each community uses.

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
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of each row's mean.
    pub reduction: Reduction,
}

impl Default for Lm {
    fn default() -> Self {
        Self { reduction: Reduction::Token }
    }
}

/// Supervised fine-tuning: the likelihood of the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// `sequence`: mean over rows of each row's mean. `token`: mean over all targets of the step.
    pub reduction: Reduction,
}

impl Default for Sft {
    fn default() -> Self {
        Self { reduction: Reduction::Sequence }
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
}

/// Negative log-likelihood of each row, every weight 1.
pub(crate) fn losses(rows: &[RowScores], reduction: Reduction) -> Vec<RowLoss> {
    rows.iter().map(|row| RowLoss::unweighted(row, reduction)).collect()
}
