//! The loss on held-out rows.

use std::time::Instant;

use ift_backend::Backend;
use ift_data::Row;
use ift_methods::{Method, Sft};
use ift_model::Model;

use crate::context::StepContext;
use crate::metrics::{EvalMetrics, PreferenceMetrics};
use crate::reference::ReferenceSource;
use crate::step::examine;
use crate::step_error::StepError;

/// Scores rows without gradient. `loss` is the plain likelihood's in the method's reduction (of the
/// chosen answers, where answers are compared), so that it compares across methods; it has neither
/// weights nor a look-ahead. Methods that compare answers also report their own loss and rewards.
///
/// # Errors
/// As [`examine`].
pub(crate) fn evaluate<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    rows: &[&Row],
    method: &Method,
    micro_batch_tokens: usize,
    step: u64,
) -> Result<EvalMetrics, StepError> {
    let start = Instant::now();
    let plain = Method::Sft(Sft { reduction: method.reduction() });
    let compares = method.needs().rows.compares();
    let judge = if compares { method } else { &plain };
    let sums = examine(model, reference, rows, &StepContext::plain(judge, micro_batch_tokens))?;
    let nll_per_target = sums.nll / sums.nll_targets as f64;
    Ok(EvalMetrics {
        step,
        loss: sums.unweighted / sums.plain_count,
        nll_per_target,
        perplexity: nll_per_target.exp(),
        method_loss: compares.then_some(sums.loss / sums.count),
        preference: PreferenceMetrics::of(&sums),
        rows: sums.rows,
        targets: sums.targets,
        seconds: start.elapsed().as_secs_f64(),
    })
}
