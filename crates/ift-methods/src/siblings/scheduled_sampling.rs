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
/// 2019, arXiv 1906.07651), with the most probable token.
///
/// A first pass without gradient finds the most probable token at each target. In the input of the
/// second pass it replaces the target with probability `λ`. The loss is the negative log-likelihood
/// of the true targets in the second pass, and only this pass has a gradient. λ may increase over
/// the warm-up; in both papers it increases over the whole training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduledSampling {
    /// Probability that an input token is replaced by the most probable token, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// How λ changes over the optimizer steps.
    pub lambda_schedule: LambdaSchedule,
    /// With `lambda_schedule = "linear"`: λ of the first step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lambda: f64,
    /// With `lambda_schedule = "linear"`: λ after the warm-up.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lambda: f64,
    /// With `lambda_schedule = "noisy"`: standard deviation of the noise, as a share of λ.
    #[schemars(range(min = 0.0))]
    pub sigma: f64,
    /// `sequence`: mean over rows of the mean over the targets of each row. `token`: mean over all
    /// targets of the step.
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
    fn schedule(&self) -> Schedule {
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
        self.schedule().at(step, warmup_steps, seed)
    }

    fn replaces_tokens(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), MethodError> {
        self.schedule().validate_ranges()?;
        self.schedule().validate_effects(Self::default().schedule())
    }
}
