//! Logits, and the log-probabilities of all tokens.

use super::buffers::{Reference, elements};
use super::memory::{Result, collected, room, size};
use crate::{Distributions, Head, Weight};

/// The rows of a head's weight, and no more.
pub(super) fn vocabulary(head: Head, weight: Weight<'_, Reference>) -> &[f64] {
    &elements(weight)[..head.vocabulary * head.width]
}

/// `x·Wᵀ` for one hidden state.
pub(super) fn row(x: &[f64], weight: &[f64]) -> Result<Vec<f64>> {
    let width = x.len();
    let logits = weight.chunks_exact(width).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum());
    collected("logits", weight.len() / width, logits)
}

/// `x·Wᵀ` for `n` hidden states, rounded to f32.
pub(super) fn rows(head: Head, n: usize, x: &[f64], weight: &[f64]) -> Result<Vec<f32>> {
    let mut logits = room("logits", size(&[n, head.vocabulary]))?;
    for x in x.chunks_exact(head.width).take(n) {
        logits.extend(row(x, weight)?.into_iter().map(|l| l as f32));
    }
    Ok(logits)
}

/// Log-probabilities of every token for target `t` of a head that was scored.
pub(super) fn log_probs(
    vocabulary_size: usize,
    of: Distributions<Reference>,
    t: usize,
) -> Result<Vec<f64>> {
    let head = Head { width: of.width, vocabulary: vocabulary_size };
    let mut logits = row(&of.x[t * of.width..][..of.width], vocabulary(head, of.weight))?;
    let normalizer = of.scores.log_normalizers[t];
    for l in &mut logits {
        *l -= normalizer;
    }
    Ok(logits)
}
