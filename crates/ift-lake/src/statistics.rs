//! Means with confidence intervals, and paired tests. Samples are seeds, or maps in groups.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean over samples, which are seeds or maps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean; NaN without samples.
    pub mean: f64,
    /// Half the width of the 95 % confidence interval (Student's t): 0 for a single sample, NaN
    /// without any.
    pub half_width: f64,
}

impl Estimate {
    /// Mean and interval of independent samples. NaN stands for a sample that does not exist and is
    /// left out.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let samples: Vec<_> = samples.iter().copied().filter(|sample| !sample.is_nan()).collect();
        if samples.is_empty() {
            return Self { mean: f64::NAN, half_width: f64::NAN };
        }
        let (mean, error) = mean_and_error(&samples);
        let half_width =
            student(&samples).map_or(0.0, |distribution| distribution.inverse_cdf(0.975) * error);
        Self { mean, half_width }
    }

    /// Whether there are samples.
    pub(crate) fn exists(&self) -> bool {
        !self.mean.is_nan()
    }
}

/// Two-sided p-value of Student's paired t-test of the hypothesis that the mean of `differences` is
/// 0. It is 1 if all differences are 0, if there is only one, or if one is not finite.
pub(crate) fn paired_p(differences: &[f64]) -> f64 {
    let below: Vec<_> = differences.iter().map(|difference| -difference).collect();
    (2.0 * paired_p_above(differences).min(paired_p_above(&below))).min(1.0)
}

/// Samples count as equal if their standard error is at most this share of their mean, a few
/// rounding errors.
const EQUAL: f64 = 1e-13;

/// One-sided p-value of Student's paired t-test: small if the mean of `differences` is above 0. It
/// is 1 if all differences are 0, if there is only one, or if one is not finite. If all are equal,
/// they have no variance, and it is the p-value of the sign test: 2 to the power of minus their
/// number above 0, and 1 below.
pub(crate) fn paired_p_above(differences: &[f64]) -> f64 {
    let (mean, error) = mean_and_error(differences);
    match student(differences) {
        Some(_) if mean > 0.0 && error <= EQUAL * mean => 0.5_f64.powf(differences.len() as f64),
        Some(distribution) if !(mean / error).is_nan() => distribution.cdf(-(mean / error)),
        _ => 1.0,
    }
}

/// The p-values after Holm's correction for multiple tests, in the order given.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        largest = largest.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
        corrected[index] = largest;
    }
    corrected
}

/// The mean and its standard error, which is 0 for a single sample.
fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = samples.len().max(1) as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

/// Student's t-distribution for the mean of the samples; `None` for fewer than two.
fn student(samples: &[f64]) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, samples.len() as f64 - 1.0).ok()
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;

    #[test]
    fn intervals_and_p_values_equal_scipy() {
        // scipy.stats.t.interval and ttest_1samp of these samples.
        let samples = [0.3, -0.1, 0.25, 0.4, 0.05, 0.2];
        let estimate = Estimate::of(&samples);
        let mut comparison = Comparison::new("scipy", Tolerance::absolute(1e-9));
        let mean = ([estimate.mean], [0.183_333_333_333_333_33]);
        comparison.values_within("mean", &mean.0, &mean.1, Tolerance::absolute(1e-15));
        comparison.value("half width", estimate.half_width, 0.189_674_181_957_571);
        comparison.value("p", paired_p(&samples), 0.055_523_981_201_079);
        comparison.finish();
    }

    #[test]
    fn samples_that_do_not_exist_are_left_out() {
        let samples = [0.3, -0.1, 0.25];
        let with_gaps = [f64::NAN, 0.3, -0.1, f64::NAN, 0.25];
        assert_eq!(Estimate::of(&with_gaps), Estimate::of(&samples));
        for none in [Estimate::of(&[]), Estimate::of(&[f64::NAN; 3])] {
            assert!(!none.exists() && none.half_width.is_nan());
        }
    }

    #[test]
    fn one_sided_p_values_equal_scipy() {
        // scipy.stats.ttest_1samp(samples, 0.0, alternative="greater") and "less".
        let mut comparison = Comparison::new("scipy", Tolerance::absolute(1e-9));
        for (name, samples, above, below) in [
            (
                "first",
                [0.3, -0.1, 0.25, 0.4, 0.05, 0.2],
                0.027_761_990_600_540,
                0.972_238_009_399_460,
            ),
            (
                "second",
                [-1.0, 0.5, -0.25, 0.125, 0.0, -2.0],
                0.853_021_067_774_559,
                0.146_978_932_225_441,
            ),
            ("no mean", [-1.0, 1.0, -2.0, 2.0, 0.0, 0.0], 0.5, 0.5),
        ] {
            comparison.value(name, paired_p_above(&samples), above);
            comparison.value(name, paired_p_above(&samples.map(|sample| -sample)), below);
        }
        comparison.finish();
    }

    #[test]
    fn single_equal_and_non_finite_samples_have_a_one_sided_p_value() {
        assert_eq!(paired_p_above(&[]), 1.0);
        assert_eq!(paired_p_above(&[0.5]), 1.0);
        assert_eq!(paired_p_above(&[0.0, 0.0, 0.0]), 1.0);
        assert_eq!(paired_p_above(&[0.5, 0.5, 0.5]), 0.125);
        assert_eq!(paired_p_above(&[0.1, 0.1, 0.1 + 1e-17, 0.3 - 0.2]), 0.0625);
        assert_eq!(paired_p_above(&[-0.5, -0.5, -0.5]), 1.0);
        assert_eq!(paired_p_above(&[0.5, f64::NAN]), 1.0);
        assert_eq!(paired_p_above(&[0.5, f64::INFINITY]), 1.0);
        assert_eq!(paired_p_above(&[0.5, f64::NEG_INFINITY]), 1.0);
    }

    #[test]
    fn single_equal_and_non_finite_samples_have_a_p_value() {
        assert_eq!(Estimate::of(&[0.5]), Estimate { mean: 0.5, half_width: 0.0 });
        assert_eq!(paired_p(&[0.5]), 1.0);
        assert_eq!(paired_p(&[0.0, 0.0, 0.0]), 1.0);
        assert_eq!(paired_p(&[0.5, 0.5, 0.5]), 0.25);
        assert_eq!(paired_p(&[-0.5, -0.5, -0.5]), 0.25);
        assert_eq!(paired_p(&[0.5, f64::NAN]), 1.0);
        assert_eq!(paired_p(&[0.5, f64::INFINITY]), 1.0);
    }

    #[test]
    fn holms_correction_is_monotone_and_stops_at_1() {
        // statsmodels.stats.multitest.multipletests(method="holm").
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005, 0.9]);
        let expected = [0.04, 0.09, 0.09, 0.025, 0.9];
        let mut comparison = Comparison::new("statsmodels", Tolerance::absolute(1e-12));
        comparison.values("p", &corrected, &expected);
        comparison.finish();
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
