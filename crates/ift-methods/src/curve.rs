//! The learning rate over the steps of a run, apart from its warm-up's length.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves after a linear warm-up from 0.
///
/// These are `get_{constant,linear,cosine}_schedule_with_warmup` of transformers, with the share
/// that the curve ends at added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// Constant.
    Constant,
    /// Linear decay.
    Linear,
    /// Cosine decay.
    Cosine,
}

impl Curve {
    /// The factor of the learning rate at step `step` of `steps`, counted from 0, with a warm-up
    /// of `warmup` steps and `end`, the share of the learning rate at which the curve ends (0
    /// without effect on `Constant`).
    ///
    /// `step / warmup` during the warm-up, so that the very first step has a learning rate of 0, as
    /// in transformers. Afterwards, with `x = (step - warmup) / (steps - warmup)`: `Constant` 1,
    /// `Linear` `end + (1 - end)·(1 - x)`, `Cosine` `end + (1 - end)·(1 + cos πx) / 2`.
    pub fn factor(self, step: u64, steps: u64, warmup: u64, end: f64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        let curve = match self {
            Self::Constant => return 1.0,
            Self::Linear => (1.0 - progress).max(0.0),
            Self::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
        };
        end + (1.0 - end) * curve
    }
}
