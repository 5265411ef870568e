//! The output head, one hidden state at a time.

use super::buffers::Reference;
use super::divergence;
use super::logits;
use super::memory::{Result, copied, filled};
use super::scores::Scores;
use super::select::{select, top_entropy};
use crate::{Head, HeadGradient, HeadTargets, Select};

/// Log-probabilities of the targets and what is selected. `weight` holds the vocabulary's
/// rows and no more.
pub(super) fn forward(
    head: Head,
    x: &[f64],
    weight: &[f64],
    targets: &HeadTargets,
) -> Result<Scores> {
    let ids = targets.ids;
    let empty = |wanted: bool| filled("scores", if wanted { ids.len() } else { 0 }, 0.0);
    let has_entropies = matches!(targets.select, Select::Entropy { .. });
    let has_selected = !has_entropies && !matches!(targets.select, Select::Nothing);
    let mut scores = Scores {
        targets: copied("targets", ids)?,
        log_probs: empty(true)?,
        log_normalizers: empty(true)?,
        selected: filled("selected tokens", if has_selected { ids.len() } else { 0 }, 0)?,
        entropies: empty(has_entropies)?,
        divergences: empty(false)?,
    };
    for (t, &target) in ids.iter().enumerate() {
        let logits = logits::row(&x[t * head.width..][..head.width], weight)?;
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let normalizer = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
        scores.log_probs[t] = logits[target as usize] - normalizer;
        scores.log_normalizers[t] = normalizer;
        if let Some(token) = select(&logits, t, &targets.select)? {
            scores.selected[t] = token;
        }
        if let Select::Entropy { top } = targets.select {
            scores.entropies[t] = top_entropy(&logits, top)?;
        }
    }
    Ok(scores)
}

/// `g = d_log_prob·(onehot - p)` and the divergence's part, `d_x = g·W`, `d_W += gᵀ·x`.
pub(super) fn backward(
    head: Head,
    x: &[f64],
    weight: &[f64],
    scores: &Scores,
    gradient: &HeadGradient<Reference>,
    d_x: &mut [f64],
    mut d_weight: Option<&mut [f64]>,
) -> Result<()> {
    let Head { width, vocabulary } = head;
    for (t, &target) in scores.targets.iter().enumerate() {
        let (x, d_x) = (&x[t * width..][..width], &mut d_x[t * width..][..width]);
        let log_r = match &gradient.divergence {
            Some(share) => Some(logits::log_probs(vocabulary, share.reference, t)?),
            None => None,
        };
        d_x.fill(0.0);
        for (v, logit) in logits::row(x, weight)?.iter().enumerate() {
            let hit = f64::from(u8::from(v == target as usize));
            let log_p = logit - scores.log_normalizers[t];
            let mut g = gradient.d_log_probs[t] * (hit - log_p.exp());
            if let Some((share, log_r)) = gradient.divergence.as_ref().zip(log_r.as_ref()) {
                let derivative =
                    divergence::derivative(share.kind, log_p, log_r[v], scores.divergences[t]);
                g += share.d_divergences[t] * derivative;
            }
            for c in 0..width {
                d_x[c] += g * weight[v * width + c];
                if let Some(d_weight) = &mut d_weight {
                    d_weight[v * width + c] += g * x[c];
                }
            }
        }
    }
    Ok(())
}
