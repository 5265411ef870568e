//! The `[schedule]` table: the learning rate over the steps.

use ift_methods::Curve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How the learning rate moves over the steps: a linear warm-up from 0, then a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The curve after the warm-up: `constant`, `linear` or `cosine`.
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

    #[test]
    fn the_curve_has_the_warm_up_and_the_end_of_the_settings() {
        let schedule = Schedule { name: Curve::Linear, final_ratio: 0.25, ..Schedule::default() };
        for schedule in [
            Schedule { warmup_steps: Some(2), ..schedule.clone() },
            Schedule { warmup_ratio: Some(0.3), ..schedule },
        ] {
            let factors: Vec<_> = (0..=6).map(|step| schedule.factor(step, 6)).collect();
            assert_eq!(factors, [0.0, 0.5, 1.0, 0.8125, 0.625, 0.4375, 0.25]);
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
