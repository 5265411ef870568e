//! The `[schedule]` table: the learning rate over the steps.

use ift_methods::Curve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How the learning rate moves over the steps: a linear warm-up from 0, then a curve.
///
/// With `k` the step counted from 0, `n` all steps and `w` the warm-up's, the learning rate is `lr`
/// times
///
/// * `k / w` for `k < w`: the very first step of a warm-up has a learning rate of 0, as in
///   transformers;
/// * afterwards, with `x = (k - w) / (n - w)` and `f` the `final_ratio`, `constant`: 1; `linear`:
///   `f + (1 - f)·(1 - x)`; `cosine`: `f + (1 - f)·(1 + cos πx) / 2`.
///
/// These are `get_{constant,linear,cosine}_schedule_with_warmup` of transformers, with `f` added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub name: Curve,
    /// Steps of the warm-up. λ's `linear` schedule follows it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The warm-up as a share of all steps, rounded up; 0.1 when neither is given. Not together
    /// with `warmup_steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: Option<f64>,
    /// With `linear` and `cosine`: the share of the learning rate that the curve ends at.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub final_ratio: f64,
}

/// The paper's warm-up, as a share of all steps.
const WARMUP_RATIO: f64 = 0.1;

impl Default for Schedule {
    fn default() -> Self {
        Self { name: Curve::Cosine, warmup_steps: None, warmup_ratio: None, final_ratio: 0.0 }
    }
}

impl Schedule {
    /// Steps of the warm-up, given all steps.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        match self.warmup_steps {
            Some(warmup) => warmup,
            None => (steps as f64 * self.warmup_ratio.unwrap_or(WARMUP_RATIO)).ceil() as u64,
        }
    }

    /// The factor of the learning rate at a step counted from 0.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        self.name.factor(step, steps, self.warmup_steps(steps), self.final_ratio)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn validate(&self) -> Result<(), TrainError> {
        let share = |field: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                return Ok(());
            }
            Err(TrainError::recipe(field, format!("is {value}, expected a number from 0 to 1")))
        };
        share("schedule.warmup_ratio", self.warmup_ratio.unwrap_or(0.0))?;
        share("schedule.final_ratio", self.final_ratio)?;
        if let (Some(steps), Some(ratio)) = (self.warmup_steps, self.warmup_ratio) {
            let problem =
                format!("is {ratio}, and `warmup_steps` is {steps}; expected only one of them");
            return Err(TrainError::recipe("schedule.warmup_ratio", problem));
        }
        if self.name == Curve::Constant && self.final_ratio != 0.0 {
            let problem = format!(
                "is {}, which has no effect on a constant schedule; remove it",
                self.final_ratio
            );
            return Err(TrainError::recipe("schedule.final_ratio", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: &Schedule, steps: u64) -> Vec<f64> {
        (0..=steps).map(|k| schedule.factor(k, steps)).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-15, "{found:?} {expected:?}");
        }
    }

    /// Numbers printed by transformers 5.24 (`LambdaLR` over the three functions), 10 steps,
    /// warm-up 3.
    #[test]
    fn curves_are_those_of_transformers() {
        let schedule = |name| Schedule { name, warmup_steps: Some(3), ..Schedule::default() };
        close(&factors(&schedule(Curve::Cosine), 10), &COSINE);
        close(&factors(&schedule(Curve::Linear), 10), &LINEAR);
        let constant = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        close(&factors(&schedule(Curve::Constant), 10), &constant);
    }

    #[expect(clippy::unreadable_literal, reason = "as they were printed")]
    const COSINE: [f64; 11] = [
        0.0,
        0.3333333333333333,
        0.6666666666666666,
        1.0,
        0.9504844339512095,
        0.8117449009293668,
        0.6112604669781572,
        0.38873953302184283,
        0.18825509907063326,
        0.04951556604879048,
        0.0,
    ];
    #[expect(clippy::unreadable_literal, reason = "as they were printed")]
    const LINEAR: [f64; 11] = [
        0.0,
        0.3333333333333333,
        0.6666666666666666,
        1.0,
        0.8571428571428571,
        0.7142857142857143,
        0.5714285714285714,
        0.42857142857142855,
        0.2857142857142857,
        0.14285714285714285,
        0.0,
    ];

    #[test]
    fn the_final_ratio_lifts_the_end_and_keeps_the_beginning() {
        for name in [Curve::Linear, Curve::Cosine] {
            let schedule =
                Schedule { name, warmup_steps: Some(2), final_ratio: 0.25, ..Schedule::default() };
            assert_eq!((schedule.factor(2, 6), schedule.factor(6, 6)), (1.0, 0.25));
            assert!((schedule.factor(4, 6) - 0.625).abs() < 1e-15);
        }
    }

    #[test]
    fn the_warm_up_is_rounded_up_and_may_be_longer_than_the_run() {
        let ratio = |ratio| Schedule { warmup_ratio: Some(ratio), ..Schedule::default() };
        assert_eq!((ratio(0.15).warmup_steps(101), ratio(0.0).warmup_steps(101)), (16, 0));
        assert_eq!(ratio(0.0).factor(0, 5), 1.0);
        let long = Schedule { warmup_steps: Some(8), ..Schedule::default() };
        assert_eq!(long.factor(4, 4), 0.5);
    }
}
