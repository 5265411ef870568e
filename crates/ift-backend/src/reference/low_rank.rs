//! Norms of the rows of a weight with a low-rank sum.

use super::memory::{Result, collected};
use crate::LowRank;

/// `‖W[o] + scale·(B·A)[o - rows.start]‖` for each row `o`.
pub(super) fn norms(low_rank: &LowRank, weight: &[f64], a: &[f64], b: &[f64]) -> Result<Vec<f64>> {
    let LowRank { inputs, rank, ref rows, scale } = *low_rank;
    let adapted = |o: usize, i: usize| {
        let sum: f64 = (0..rank).map(|k| b[(o - rows.start) * rank + k] * a[k * inputs + i]).sum();
        weight[o * inputs + i] + scale * sum
    };
    let norm = |o| (0..inputs).map(|i| adapted(o, i).powi(2)).sum::<f64>().sqrt();
    collected("norms of adapted rows", rows.len(), rows.clone().map(norm))
}
