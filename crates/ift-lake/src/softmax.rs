//! Softmax over the logits of the four actions.

/// Log-probabilities of the actions, nats.
pub(crate) fn log_softmax(logits: &[f64]) -> [f64; 4] {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let normalizer = largest + sum.ln();
    std::array::from_fn(|action| logits[action] - normalizer)
}

/// Probabilities of the actions.
pub(crate) fn softmax(logits: &[f64]) -> [f64; 4] {
    log_softmax(logits).map(f64::exp)
}
