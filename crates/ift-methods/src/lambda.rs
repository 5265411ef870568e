//! Schedules of `λ`, the share of look-ahead tokens, over the optimizer steps: fixed, linear or
//! noisy.

use ift_random::standard_normal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks::{effect, not_negative, range, share},
    error::MethodError,
};

/// How λ changes over the optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LambdaSchedule {
    /// `lambda` in every step.
    Fixed,
    /// From `min_lambda` to `max_lambda` over the warm-up steps, then constant.
    Linear,
    /// `lambda` with noise of standard deviation `sigma·lambda`, drawn for each step; the result is
    /// clipped to the range from 0 to 1.
    Noisy,
}

/// The settings of a schedule of λ.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) kind: LambdaSchedule,
    pub(crate) lambda: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sigma: f64,
}

impl Schedule {
    /// `λ` of optimizer step `step`, counted from 0. It depends only on the arguments.
    ///
    /// `linear` goes from `min_lambda` at step 0 to `max_lambda` at step `warmup_steps`, and then
    /// stays constant.
    /// `noisy` is `clip(λ + ε·σ·λ, 0, 1)` with `ε ~ N(0,1)` drawn for each step (arXiv 2405.11870,
    /// Table 7).
    pub(crate) fn at(self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        match self.kind {
            LambdaSchedule::Fixed => self.lambda,
            LambdaSchedule::Linear if step >= warmup_steps => self.max,
            LambdaSchedule::Linear => {
                let progress = step as f64 / warmup_steps as f64;
                self.min + (self.max - self.min) * progress
            }
            LambdaSchedule::Noisy => (self.lambda
                + standard_normal(seed, step) * self.sigma * self.lambda)
                .clamp(0.0, 1.0),
        }
    }

    /// Checks the ranges of the fields.
    pub(crate) fn validate_ranges(self) -> Result<(), MethodError> {
        share("lambda", self.lambda)?;
        share("min_lambda", self.min)?;
        share("max_lambda", self.max)?;
        range("max_lambda", self.max, self.min <= self.max, "`min_lambda` or more")?;
        not_negative("sigma", self.sigma)
    }

    /// Checks that a field that differs from its default has an effect.
    pub(crate) fn validate_effects(self, default: Self) -> Result<(), MethodError> {
        let schedule = self.kind;
        let linear = schedule == LambdaSchedule::Linear;
        effect("lambda", &self.lambda, &default.lambda, !linear, FIXED_OR_NOISY)?;
        effect("min_lambda", &self.min, &default.min, linear, LINEAR)?;
        effect("max_lambda", &self.max, &default.max, linear, LINEAR)?;
        effect("sigma", &self.sigma, &default.sigma, schedule == LambdaSchedule::Noisy, NOISY)
    }
}

const LINEAR: &str = "`lambda_schedule = \"linear\"`";
const NOISY: &str = "`lambda_schedule = \"noisy\"`";
const FIXED_OR_NOISY: &str = "`lambda_schedule = \"fixed\"` or `\"noisy\"`";

#[cfg(test)]
mod tests {
    use super::*;

    const LAMBDA: Schedule =
        Schedule { lambda: 0.2, kind: LambdaSchedule::Fixed, min: 0.25, max: 0.75, sigma: 0.5 };

    #[test]
    fn linear_grows_over_the_warm_up_and_stays() {
        let linear = Schedule { kind: LambdaSchedule::Linear, ..LAMBDA };
        let lambdas = [0, 1, 2, 4, 9].map(|step| linear.at(step, 4, 0));
        assert_eq!(lambdas, [0.25, 0.375, 0.5, 0.75, 0.75]);
        assert_eq!(linear.at(0, 0, 0), 0.75);
    }

    #[test]
    fn noise_is_relative_clipped_and_repeatable() {
        let noisy = Schedule { kind: LambdaSchedule::Noisy, ..LAMBDA };
        let lambdas: Vec<f64> = (0..2000).map(|step| noisy.at(step, 9, 3)).collect();
        assert_eq!(lambdas[17], noisy.at(17, 0, 3));
        assert_eq!(lambdas[17], (0.2 + standard_normal(3, 17) * 0.5 * 0.2).clamp(0.0, 1.0));
        assert!(
            lambdas.contains(&0.0) && lambdas.iter().all(|lambda| (0.0..=1.0).contains(lambda))
        );
        assert_eq!(Schedule { lambda: 0.0, ..noisy }.at(5, 0, 3), 0.0);
    }
}
