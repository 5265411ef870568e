//! Divergences between two heads over the same vocabulary.

use super::buffers::Reference;
use super::logits::log_probs;
use super::memory::{Result, filled};
use crate::{Distributions, Divergence};

/// `Σ_v r·(log r - log p)`, or with `p` and `r` exchanged, for each target.
pub(super) fn divergences(
    kind: Divergence,
    vocabulary: usize,
    policy: Distributions<Reference>,
    reference: Distributions<Reference>,
) -> Result<Vec<f64>> {
    let mut divergences = filled("divergences", policy.scores.targets.len(), 0.0)?;
    for (t, divergence) in divergences.iter_mut().enumerate() {
        let (p, r) = (log_probs(vocabulary, policy, t)?, log_probs(vocabulary, reference, t)?);
        let (from, to) = match kind {
            Divergence::Forward => (&r, &p),
            Divergence::Reverse => (&p, &r),
        };
        *divergence = from.iter().zip(to).map(|(f, t)| f.exp() * (f - t)).sum();
    }
    Ok(divergences)
}

/// The derivative of a divergence with respect to a logit of the policy, from log-probabilities.
pub(super) fn derivative(kind: Divergence, log_p: f64, log_r: f64, divergence: f64) -> f64 {
    match kind {
        Divergence::Forward => log_p.exp() - log_r.exp(),
        Divergence::Reverse => log_p.exp() * (log_p - log_r - divergence),
    }
}
