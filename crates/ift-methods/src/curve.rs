//! The learning rate over the steps of a run.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves over the steps of a run.
///
/// With `k` the step counted from 0, `n` all steps and `w` those of a linear warm-up, the learning
/// rate is multiplied by `k/w` for `k < w`: the very first step of a warm-up has a learning rate of
/// 0. Afterwards the factor is a function of `x = (k-w)/(n-w)` and of `f`, the share at its end.
///
/// With `f = 0` these are `get_{constant,linear,cosine}_schedule_with_warmup` of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// Constant: the factor is 1.
    Constant,
    /// Linear decay: the factor is `f + (1-f)·(1-x)`.
    Linear,
    /// Cosine decay: the factor is `f + (1-f)·(1 + cos πx)/2`.
    Cosine,
}

impl Curve {
    /// The factor of the learning rate at step `step` of `steps`, counted from 0, with a warm-up
    /// of `warmup` steps, which may be longer than the run, and the final share `end`, which has no
    /// effect on [`Curve::Constant`].
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

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;

    fn factors(curve: Curve, steps: u64, warmup: u64, end: f64) -> Vec<f64> {
        (0..=steps).map(|step| curve.factor(step, steps, warmup, end)).collect()
    }

    /// Numbers printed by transformers 5.24 (`LambdaLR` over the three functions), 10 steps,
    /// warm-up 3.
    #[test]
    fn curves_are_those_of_transformers() {
        let third = 1.0 / 3.0;
        let constant = [0.0, third, 2.0 * third, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let mut comparison = Comparison::new("curves", Tolerance::absolute(1e-15));
        for (curve, expected) in
            [(Curve::Constant, constant), (Curve::Linear, LINEAR), (Curve::Cosine, COSINE)]
        {
            comparison.values(&format!("{curve:?}"), &factors(curve, 10, 3, 0.0), &expected);
        }
        comparison.finish();
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
    fn without_a_warm_up_the_first_step_has_the_whole_learning_rate() {
        for curve in [Curve::Constant, Curve::Linear, Curve::Cosine] {
            assert_eq!(curve.factor(0, 5, 0, 0.0), 1.0);
            // A run of one step, and one without steps.
            assert_eq!((curve.factor(0, 1, 0, 0.0), curve.factor(0, 0, 0, 0.0)), (1.0, 1.0));
        }
    }

    #[test]
    fn the_end_lifts_the_curve_and_keeps_its_beginning() {
        for curve in [Curve::Linear, Curve::Cosine] {
            assert_eq!((curve.factor(2, 6, 2, 0.25), curve.factor(6, 6, 2, 0.25)), (1.0, 0.25));
            assert!((curve.factor(4, 6, 2, 0.25) - 0.625).abs() < 1e-15);
            // Not below the end after the last step.
            assert!(curve.factor(7, 6, 2, 0.25) >= 0.25);
        }
        assert_eq!(factors(Curve::Constant, 6, 0, 0.25), [1.0; 7]);
    }

    #[test]
    fn a_warm_up_may_be_longer_than_the_run() {
        for curve in [Curve::Constant, Curve::Linear, Curve::Cosine] {
            assert_eq!(factors(curve, 4, 8, 0.0), [0.0, 0.125, 0.25, 0.375, 0.5]);
        }
    }
}
