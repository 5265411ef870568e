//! What the head reports in addition to log-probabilities: selected tokens and entropies.

use super::memory::{Result, collected, copied};
use crate::Select;
use ift_random::gumbel;

/// The first of the largest.
fn argmax(values: impl Iterator<Item = f64>) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.enumerate() {
        if v > best.1 {
            best = (i as u32, v);
        }
    }
    best.0
}

/// The token that is selected at target `t`, if any is.
pub(super) fn select(logits: &[f64], t: usize, select: &Select) -> Result<Option<u32>> {
    Ok(match *select {
        Select::Nothing | Select::Entropy { .. } => None,
        Select::Argmax => Some(argmax(logits.iter().copied())),
        Select::TopK(k) => {
            let mut order = collected("an order of tokens", logits.len(), 0..logits.len() as u32)?;
            order.sort_unstable_by(|&a, &b| {
                logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
            });
            Some(order[k.clamp(1, order.len()) - 1])
        }
        Select::Sample { temperature, streams } => {
            let noisy = logits
                .iter()
                .enumerate()
                .map(|(v, l)| l / temperature + gumbel(streams[t], v as u32));
            Some(argmax(noisy))
        }
    })
}

/// The entropy of the softmax over the `top` largest logits.
pub(super) fn top_entropy(logits: &[f64], top: usize) -> Result<f64> {
    let mut sorted = copied("an order of logits", logits)?;
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted.truncate(top.max(1));
    let sum: f64 = sorted.iter().map(|l| (l - sorted[0]).exp()).sum();
    let normalizer = sorted[0] + sum.ln();
    Ok(-sorted.iter().map(|l| (l - normalizer).exp() * (l - normalizer)).sum::<f64>())
}
