//! The progress of a run, with an estimate of the remaining time.

use std::time::{Duration, Instant};

use crate::observer::Progress;

/// Estimates the remaining time from the steps that this process has done.
pub(super) struct Pace {
    start: Instant,
    first: u64,
}

impl Pace {
    /// Starts the clock; `steps_done` steps were done before.
    pub fn new(steps_done: u64) -> Self {
        Self { start: Instant::now(), first: steps_done }
    }

    /// `step`: steps done, at least one of them by this process.
    pub fn progress(&self, step: u64, steps: u64) -> Progress {
        let steps_left = steps - step;
        let each = self.start.elapsed().as_secs_f64() / (step - self.first).max(1) as f64;
        let time_left =
            Duration::try_from_secs_f64(each * steps_left as f64).unwrap_or(Duration::MAX);
        Progress { steps, steps_left, time_left }
    }
}
