//! Means over seeds with their intervals, and paired tests.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % interval (Student's); 0 for a single seed.
    pub half_width: f64,
}

impl Estimate {
    /// The mean of numbers that are independent of each other, with its interval.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let (mean, error) = mean_and_error(numbers);
        let half_width =
            student(numbers).map_or(0.0, |distribution| distribution.inverse_cdf(0.975) * error);
        Self { mean, half_width }
    }
}

/// Two-sided p of Student's paired test that the mean of `differences` is 0; 1 where all are 0,
/// there is but one, or one is not a number.
pub(crate) fn paired_p(differences: &[f64]) -> f64 {
    let (mean, error) = mean_and_error(differences);
    match student(differences) {
        Some(distribution) if mean != 0.0 && !(mean / error).is_nan() => {
            2.0 * distribution.cdf(-(mean / error).abs())
        }
        _ => 1.0,
    }
}

/// Holm's correction for as many tests as there are p-values, in their order.
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

/// The mean and its standard error, 0 for a single number.
fn mean_and_error(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len().max(1) as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}

/// Student's distribution for the mean of as many numbers; there is none for fewer than two.
fn student(numbers: &[f64]) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, numbers.len() as f64 - 1.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_p_are_those_of_student() {
        // scipy.stats.t.interval and ttest_1samp of these numbers.
        let numbers = [0.3, -0.1, 0.25, 0.4, 0.05, 0.2];
        let estimate = Estimate::of(&numbers);
        assert!((estimate.mean - 0.183_333_333_333_333_33).abs() < 1e-15);
        assert!(
            (estimate.half_width - 0.189_674_181_957_571).abs() < 1e-9,
            "{}",
            estimate.half_width
        );
        assert!(
            (paired_p(&numbers) - 0.055_523_981_201_079).abs() < 1e-9,
            "{}",
            paired_p(&numbers)
        );
    }

    #[test]
    fn a_single_number_and_equal_ones_prove_nothing_or_everything() {
        assert_eq!(Estimate::of(&[0.5]), Estimate { mean: 0.5, half_width: 0.0 });
        assert_eq!(paired_p(&[0.5]), 1.0);
        assert_eq!(paired_p(&[0.0, 0.0, 0.0]), 1.0);
        assert_eq!(paired_p(&[0.5, 0.5, 0.5]), 0.0);
        assert_eq!(paired_p(&[0.5, f64::NAN]), 1.0);
        assert_eq!(paired_p(&[0.5, f64::INFINITY]), 1.0);
    }

    #[test]
    fn holms_correction_is_monotone_and_stops_at_1() {
        // statsmodels.stats.multitest.multipletests(method="holm").
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005, 0.9]);
        let expected = [0.04, 0.09, 0.09, 0.025, 0.9];
        assert!(
            corrected.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{corrected:?}"
        );
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
