//! The output head, one scored row at a time.

use crate::{Choice, HeadScores, gumbel};

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
        Choice::Nothing => None,
        Choice::Greedy => Some(argmax(logits.iter().copied())),
        Choice::TopK(k) => {
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            Some(order[k.clamp(1, order.len()) - 1])
        }
        Choice::Sample { temperature, streams } => {
            let noisy =
                logits.iter().enumerate().map(|(v, l)| l / temperature + gumbel(streams[row], v as u32));
            Some(argmax(noisy))
        }
    }
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
    }
    scores
}

/// `g = d_log_prob·(onehot - p)`, `d_x = g·W`, `d_W += gᵀ·x`.
pub(super) fn backward(
    width: usize,
    x: &[f64],
    weight: &[f64],
    targets: &[u32],
    log_normalizers: &[f64],
    d_log_probs: &[f64],
    d_x: &mut [f64],
    mut d_weight: Option<&mut [f64]>,
) {
    for (row, (x, d_x)) in
        x.chunks_exact(width).zip(d_x.chunks_exact_mut(width)).take(targets.len()).enumerate()
    {
        let logits = logits_row(x, weight, width);
        d_x.fill(0.0);
        for (v, logit) in logits.iter().enumerate() {
            let hit = f64::from(u8::from(v == targets[row] as usize));
            let g = d_log_probs[row] * (hit - (logit - log_normalizers[row]).exp());
            for c in 0..width {
                d_x[c] += g * weight[v * width + c];
                if let Some(d_weight) = &mut d_weight {
                    d_weight[v * width + c] += g * x[c];
                }
            }
        }
    }
}
