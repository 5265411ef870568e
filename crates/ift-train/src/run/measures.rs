//! The metrics of a step, from its sums.

use std::time::Duration;

use ift_methods::{Method, RowKind};

use crate::metrics::{PreferenceMetrics, StepMetrics, peak_memory};
use crate::sums::Sums;

/// What is known of a step that was done.
pub(super) struct DoneStep<'a> {
    /// The step, from 1.
    pub step: u64,
    /// Epochs done after it.
    pub epoch: f64,
    /// λ of the step.
    pub lambda: f64,
    /// Its learning rate.
    pub lr: f64,
    /// Global norm of the gradient before clipping.
    pub norm: f64,
    /// Sums over its rows.
    pub sums: &'a Sums,
    /// Time of forward, backward and update.
    pub time: Duration,
}

/// The metrics of a step; losses are means in the method's reduction.
pub(super) fn of_step(method: &Method, done: &DoneStep) -> StepMetrics {
    let (sums, needs) = (done.sums, method.needs());
    let two_passes = method.look_ahead().is_some();
    let is_likelihood = matches!(method, Method::Lm(_) | Method::Sft(_));
    let plain = |sum: f64| sum / sums.plain_count;
    let kl = match sums.divergence {
        _ if needs.rows == RowKind::Judged => Some(sums.kl_point),
        (_, 0) => None,
        (sum, count) => Some(sum / count as f64),
    };
    let seconds = done.time.as_secs_f64();
    StepMetrics {
        step: done.step,
        epoch: done.epoch,
        loss: sums.loss / sums.count,
        first_pass_loss: two_passes.then(|| plain(sums.first_pass)),
        unweighted_loss: two_passes.then(|| plain(sums.unweighted)),
        lambda: two_passes.then_some(done.lambda),
        pushed_down: two_passes.then_some(sums.pushed_down as f64 / sums.targets as f64),
        nll: (!two_passes && !is_likelihood && sums.plain_count > 0.0)
            .then(|| plain(sums.unweighted)),
        kl,
        preference: PreferenceMetrics::of(sums),
        lr: done.lr,
        grad_norm: done.norm,
        rows: sums.rows,
        targets: sums.targets,
        tokens: sums.tokens,
        seconds,
        tokens_per_second: sums.tokens as f64 / seconds,
        peak_memory_bytes: peak_memory(),
    }
}
