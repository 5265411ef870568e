//! The loss on held-out rows.

use std::time::Instant;

use ift_backend::Backend;
use ift_data::Row;
use ift_methods::{Method, RowScores};
use ift_model::Model;

use crate::{EvalMetrics, RowError, score};

/// Scores rows without gradient. `loss` is the plain likelihood's in the method's reduction, so that it compares across
/// methods; it has neither weights nor a look-ahead.
///
/// # Errors
/// If a row has no target or a token outside of the vocabulary.
pub fn evaluate<B: Backend>(
    model: &Model<B>,
    rows: &[Row],
    method: &Method,
    micro_batch_tokens: usize,
    step: u64,
) -> Result<EvalMetrics, RowError> {
    let start = Instant::now();
    let scores = score(model, &rows.iter().collect::<Vec<_>>(), micro_batch_tokens)?;
    let (mut loss, mut count, mut nll, mut targets) = (0.0, 0.0, 0.0, 0);
    for (row, logps) in rows.iter().zip(&scores) {
        let positions: Vec<usize> = (1..row.tokens.len()).filter(|&t| row.targets[t]).collect();
        let (row_loss, row_count) = method.unweighted(RowScores { logps, positions: &positions });
        loss += row_loss;
        count += row_count;
        nll -= logps.iter().sum::<f64>();
        targets += logps.len() as u64;
    }
    let nll_per_target = nll / targets as f64;
    Ok(EvalMetrics {
        step,
        loss: loss / count,
        nll_per_target,
        perplexity: nll_per_target.exp(),
        rows: rows.len() as u64,
        targets,
        seconds: start.elapsed().as_secs_f64(),
    })
}
