//! The points of a training curve, and the inputs of training between them.

use crate::network::Input;

/// Points of a training curve after the first.
const CURVE_POINTS: u64 = 24;

/// The steps after which the curve of a training run of `steps` steps has a point: ascending from
/// 0 to `steps`, evenly spaced up to rounding, at most 25.
pub(crate) fn curve_steps(steps: u64) -> Vec<u64> {
    let mut points: Vec<_> = (0..=CURVE_POINTS).map(|point| steps * point / CURVE_POINTS).collect();
    points.dedup();
    points
}

/// How often training used each state as an input, by interval between two points of the curve.
///
/// Every input of every row and step counts 1. A mixed input counts for both of its states, each
/// with its share, and a state that replaces another one counts in its place. The inputs of the
/// first pass of a look-ahead and of the reference policy do not count. PPO counts the moves of a
/// batch at every step that is taken on them. The step that diverges counts, later ones do not
/// exist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputCounts {
    states: usize,
    /// The points of the curve.
    points: Vec<u64>,
    /// `[intervals, states]`
    by_interval: Vec<Vec<f64>>,
}

impl InputCounts {
    /// No inputs yet, for a training run of `steps` steps.
    pub(crate) fn new(states: usize, steps: u64) -> Self {
        let points = curve_steps(steps);
        Self { states, by_interval: vec![vec![0.0; states]; points.len() - 1], points }
    }

    /// Counts inputs of the step number `step`, counted from 0, each with the number of times that
    /// it occurs. Steps from the end of the run on are not counted.
    pub(crate) fn add(&mut self, step: u64, inputs: impl IntoIterator<Item = (Input, f64)>) {
        let interval = self.points.partition_point(|&point| point <= step) - 1;
        if let Some(counts) = self.by_interval.get_mut(interval) {
            for (input, times) in inputs {
                for (state, share) in input.parts() {
                    counts[state] += times * share;
                }
            }
        }
    }

    /// The counts of each interval. `[intervals, states]`
    pub(crate) fn by_interval(&self) -> &[Vec<f64>] {
        &self.by_interval
    }

    /// The counts of the whole training. `[states]`
    pub(crate) fn total(&self) -> Vec<f64> {
        let mut total = vec![0.0; self.states];
        for counts in &self.by_interval {
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
        }
        total
    }

    /// The share of each state in all inputs; 0 without inputs. `[states]`
    pub(crate) fn shares(&self) -> Vec<f64> {
        let total = self.total();
        let sum: f64 = total.iter().sum();
        total.into_iter().map(|count| if sum > 0.0 { count / sum } else { 0.0 }).collect()
    }

    /// For each state, whether training used it as an input. `[states]`
    pub(crate) fn explored(&self) -> Vec<bool> {
        self.total().into_iter().map(|count| count > 0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_runs_from_the_first_step_to_the_last() {
        assert_eq!(curve_steps(1), [0, 1]);
        assert_eq!(curve_steps(3), [0, 1, 2, 3]);
        assert_eq!(curve_steps(48), (0..=24).map(|point| 2 * point).collect::<Vec<_>>());
    }

    #[test]
    fn inputs_count_by_their_shares_in_the_interval_of_their_step() {
        // 72 steps: intervals of three steps.
        let mut counts = InputCounts::new(3, 72);
        assert_eq!(counts.explored(), [false; 3]);
        counts.add(2, [(Input::at(0), 1.0)]);
        let mixed = Input { state: 0, other: 1, share: 0.25 };
        counts.add(3, [(mixed, 2.0), (Input::at(1), 1.0)]);
        counts.add(71, [(Input { share: 0.0, ..mixed }, 1.0)]);
        counts.add(72, [(mixed, 1.0)]);
        assert_eq!(counts.by_interval().len(), 24);
        assert_eq!(counts.by_interval()[0], [1.0, 0.0, 0.0]);
        assert_eq!(counts.by_interval()[1], [1.5, 1.5, 0.0]);
        assert_eq!(counts.by_interval()[2], [0.0; 3]);
        assert_eq!(counts.by_interval()[23], [1.0, 0.0, 0.0]);
        assert_eq!(counts.total(), [3.5, 1.5, 0.0]);
        assert_eq!(counts.explored(), [true, true, false]);
        assert_eq!(counts.shares().iter().sum::<f64>(), 1.0);
        assert_eq!(counts.shares()[2], 0.0);
        assert_eq!(InputCounts::new(3, 0).shares(), [0.0; 3]);
        // A run without steps has no intervals.
        assert_eq!(InputCounts::new(3, 0).total(), [0.0; 3]);
    }
}
