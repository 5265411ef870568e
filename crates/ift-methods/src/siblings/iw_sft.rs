//! Importance-weighted SFT.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks::{self, effect},
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Importance-weighted SFT (arXiv 2507.12856).
///
/// `-Σ sg(w)·log p[t]`, with weights that compare the probability `p` under the policy with `r`
/// under the reference, the initial model; `sg` is stop-gradient. The weights by `level`:
///
/// - `sequence`: `w = min(exp(temperature·mean of log(p/r)), max_weight)` for the whole row;
/// - `token`: `w[t] = clip(p[t]/r[t], 1-epsilon, 1+epsilon)` for each target.
///
/// The paper does not say how the weights are bounded. Formulas and defaults are those of the
/// program of the authors (`bounding_trainers.py`), which uses `sequence` and has `token` as an
/// alternative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IwSft {
    /// `sequence`: one weight for each row. `token`: one for each target.
    pub level: Level,
    /// With `level = "sequence"`: factor of the mean log-ratio, 0 or more; 0 is SFT.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// With `level = "sequence"`: the largest weight of a row, above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub max_weight: f64,
    /// With `level = "token"`: largest distance of a weight from 1, 0 to 1; 0 is SFT.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// `token`: mean over all targets of the step. `sequence`: mean over rows of the mean over the
    /// targets of each row.
    pub reduction: Reduction,
}

/// The scope of an importance weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A row.
    Sequence,
    /// A target.
    Token,
}

impl Default for IwSft {
    fn default() -> Self {
        Self {
            level: Level::Sequence,
            temperature: 1.0,
            max_weight: 16.0,
            epsilon: 0.8,
            reduction: Reduction::Token,
        }
    }
}

impl Objective for IwSft {
    fn needs(&self) -> Needs {
        Needs::with_reference(RowKind::Demonstration)
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        rows.iter().map(|row| RowLoss::weighted(row, self.weights(row), self.reduction)).collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::not_negative("temperature", self.temperature)?;
        checks::positive("max_weight", self.max_weight)?;
        checks::share("epsilon", self.epsilon)?;
        let default = Self::default();
        let whole = self.level == Level::Sequence;
        effect("temperature", &self.temperature, &default.temperature, whole, SEQUENCE)?;
        effect("max_weight", &self.max_weight, &default.max_weight, whole, SEQUENCE)?;
        effect("epsilon", &self.epsilon, &default.epsilon, !whole, TOKEN)
    }
}

impl IwSft {
    fn weights(&self, row: &RowScores) -> Vec<f64> {
        let ratios = row.log_ratios();
        match self.level {
            Level::Sequence => {
                let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
                vec![(self.temperature * mean).exp().min(self.max_weight); ratios.len()]
            }
            Level::Token => {
                let clip = |ratio: f64| ratio.exp().clamp(1.0 - self.epsilon, 1.0 + self.epsilon);
                ratios.into_iter().map(clip).collect()
            }
        }
    }
}

const SEQUENCE: &str = "`level = \"sequence\"`";
const TOKEN: &str = "`level = \"token\"`";
