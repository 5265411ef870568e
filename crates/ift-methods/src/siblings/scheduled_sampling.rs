//! Scheduled sampling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::MethodError,
    lambda::{LambdaSchedule, Schedule},
    likelihood,
    needs::LookAhead,
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};

/// Scheduled sampling for transformers (Bengio et al. 2015, arXiv 1506.03099; Mihaylova and Martins
/// 2019, arXiv 1906.07651), with hard choices.
///
/// A first pass without gradient finds the most probable token at each target; a second pass reads
/// it in the target's place with probability `λ`. The loss is the likelihood of the true targets in
/// the second pass, alone in having a gradient. λ may grow over the warm-up; both papers let it
/// grow over the whole training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduledSampling {
    /// Probability that an input token is replaced by the model's own, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// How λ moves over the optimizer steps.
    pub lambda_schedule: LambdaSchedule,
    /// With `lambda_schedule = "linear"`: λ of the first step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lambda: f64,
    /// With `lambda_schedule = "linear"`: λ from the end of the warm-up on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lambda: f64,
    /// With `lambda_schedule = "noisy"`: standard deviation of the noise, as a share of λ.
    #[schemars(range(min = 0.0))]
    pub sigma: f64,
    /// `sequence`: mean over rows of each row's mean. `token`: mean over all targets of the step.
    pub reduction: Reduction,
}

impl Default for ScheduledSampling {
    fn default() -> Self {
        Self {
            lambda: 0.2,
            lambda_schedule: LambdaSchedule::Fixed,
            min_lambda: 0.0,
            max_lambda: 0.2,
            sigma: 0.5,
            reduction: Reduction::Sequence,
        }
    }
}

impl ScheduledSampling {
    fn probability(&self) -> Schedule {
        Schedule {
            kind: self.lambda_schedule,
            lambda: self.lambda,
            min: self.min_lambda,
            max: self.max_lambda,
            sigma: self.sigma,
        }
    }
}

impl Objective for ScheduledSampling {
    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        likelihood::losses(rows, self.reduction)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn look_ahead(&self) -> Option<LookAhead> {
        Some(LookAhead::Greedy)
    }

    fn lambda_at(&self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        self.probability().at(step, warmup_steps, seed)
    }

    fn replaces_tokens(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), MethodError> {
        self.probability().validate_ranges()?;
        self.probability().validate_effects(Self::default().probability())
    }
}
