//! Maximum likelihood: `lm` on plain text and `sft` on answers.
//!
//! Both are `L = -Σ ℓ[t]` over the targets of a row. They differ in the targets (every token, or
//! the turns of the assistant) and in the default reduction.

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

/// Negative log-likelihood of each row, with all weights 1.
pub(crate) fn losses(rows: &[RowScores], reduction: Reduction) -> Vec<RowLoss> {
    rows.iter().map(|row| RowLoss::unweighted(row, reduction)).collect()
}
