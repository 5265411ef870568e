//! The output head, one scored row at a time.

use crate::{Choice, Distributions, Divergence, DivergenceGradient, HeadScores};
use ift_random::gumbel;

/// `x·Wᵀ` for one hidden state.
pub(super) fn logits_row(x: &[f64], weight: &[f64], width: usize) -> Vec<f64> {
    weight.chunks_exact(width).map(|w| x.iter().zip(w).map(|(x, w)| x * w).sum()).collect()
}

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

fn choose(logits: &[f64], row: usize, choice: &Choice) -> Option<u32> {
    match *choice {
        Choice::Nothing | Choice::Entropy { .. } => None,
        Choice::Greedy => Some(argmax(logits.iter().copied())),
        Choice::TopK(k) => {
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|&a, &b| {
                logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
            });
            Some(order[k.clamp(1, order.len()) - 1])
        }
        Choice::Sample { temperature, streams } => {
            let noisy = logits
                .iter()
                .enumerate()
                .map(|(v, l)| l / temperature + gumbel(streams[row], v as u32));
            Some(argmax(noisy))
        }
    }
}

/// The entropy of the softmax over the `top` largest logits.
fn top_entropy(logits: &[f64], top: usize) -> f64 {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.truncate(top.max(1));
    let sum: f64 = sorted.iter().map(|l| (l - sorted[0]).exp()).sum();
    let normalizer = sorted[0] + sum.ln();
    -sorted.iter().map(|l| (l - normalizer).exp() * (l - normalizer)).sum::<f64>()
}

/// Log-probabilities of every token at every position, `[n, vocabulary]`.
fn log_distributions(vocabulary: usize, of: Distributions<Vec<f64>, Vec<f64>>) -> Vec<Vec<f64>> {
    let weight = &of.weight[..vocabulary * of.width];
    let rows = of.x.chunks_exact(of.width).zip(of.log_normalizers);
    rows.map(|(x, z)| logits_row(x, weight, of.width).iter().map(|l| l - z).collect()).collect()
}

/// `Σ_v r·(log r - log p)`, or with `p` and `r` exchanged.
pub(super) fn divergence(
    vocabulary: usize,
    policy: Distributions<Vec<f64>, Vec<f64>>,
    reference: Distributions<Vec<f64>, Vec<f64>>,
    kind: Divergence,
) -> Vec<f64> {
    let (p, r) = (log_distributions(vocabulary, policy), log_distributions(vocabulary, reference));
    let (from, to) = match kind {
        Divergence::Forward => (r, p),
        Divergence::Reverse => (p, r),
    };
    let rows = from.iter().zip(&to);
    rows.map(|(from, to)| from.iter().zip(to).map(|(f, t)| f.exp() * (f - t)).sum()).collect()
}

/// Log-probabilities and choices.
pub(super) fn forward(
    width: usize,
    x: &[f64],
    weight: &[f64],
    targets: &[u32],
    choice: &Choice,
) -> HeadScores {
    let mut scores = HeadScores::default();
    for (row, (x, &target)) in x.chunks_exact(width).zip(targets).enumerate() {
        let logits = logits_row(x, weight, width);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let normalizer = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
        scores.log_probs.push(logits[target as usize] - normalizer);
        scores.log_normalizers.push(normalizer);
        scores.choices.extend(choose(&logits, row, choice));
        if let Choice::Entropy { top } = *choice {
            scores.entropies.push(top_entropy(&logits, top));
        }
    }
    scores
}

/// `g = d_log_prob·(onehot - p)` and the divergence's share, `d_x = g·W`, `d_W += gᵀ·x`.
pub(super) fn backward(
    width: usize,
    x: &[f64],
    weight: &[f64],
    targets: &[u32],
    log_normalizers: &[f64],
    d_log_probs: &[f64],
    divergence: Option<&DivergenceGradient<Vec<f64>, Vec<f64>>>,
    d_x: &mut [f64],
    mut d_weight: Option<&mut [f64]>,
) {
    let reference = divergence.map(|d| log_distributions(weight.len() / width, d.reference));
    for (row, (x, d_x)) in
        x.chunks_exact(width).zip(d_x.chunks_exact_mut(width)).take(targets.len()).enumerate()
    {
        let logits = logits_row(x, weight, width);
        d_x.fill(0.0);
        for (v, logit) in logits.iter().enumerate() {
            let hit = f64::from(u8::from(v == targets[row] as usize));
            let log_p = logit - log_normalizers[row];
            let mut g = d_log_probs[row] * (hit - log_p.exp());
            if let (Some(d), Some(reference)) = (divergence, &reference) {
                let log_r = reference[row][v];
                g += d.slopes[row]
                    * match d.kind {
                        Divergence::Forward => log_p.exp() - log_r.exp(),
                        Divergence::Reverse => log_p.exp() * (log_p - log_r - d.values[row]),
                    };
            }
            for c in 0..width {
                d_x[c] += g * weight[v * width + c];
                if let Some(d_weight) = &mut d_weight {
                    d_weight[v * width + c] += g * x[c];
                }
            }
        }
    }
}
