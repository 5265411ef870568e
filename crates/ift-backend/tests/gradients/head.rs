//! Log-probabilities, entropies and selected tokens.

use super::difference::{START, check, dot, parameters, wave, weight};
use ift_backend::{Backend, Head, HeadGradient, HeadScores, HeadTargets, Reference, Select, Slot};

const HEAD: Head = Head { width: 4, vocabulary: 11 };
const TARGETS: [u32; 3] = [7, 0, 10];

fn scores(x: &[f64], w: &[f64], select: Select) -> HeadScores {
    let w = parameters(w);
    let targets = HeadTargets { ids: &TARGETS, select, keep_logits: false };
    let scores = Reference.head(HEAD, &x.to_vec(), weight(&w), &targets).unwrap();
    Reference.read_scores(&scores)
}

#[test]
fn gradients_of_log_probabilities() {
    let (x, w) = (wave(3 * 4, 0.37), wave(11 * 4, 0.74));
    let d_log_probs = [0.5, -1.5, 0.0];
    let loss = |x: &[f64], w: &[f64]| dot(&scores(x, w, Select::Nothing).log_probs, &d_log_probs);
    let stored = parameters(&w);
    let targets = HeadTargets { ids: &TARGETS, select: Select::Nothing, keep_logits: true };
    let kept = Reference.head(HEAD, &x, weight(&stored), &targets).unwrap();
    let mut d_x = Reference.activation(x.len()).unwrap();
    let before = wave(START + w.len(), 0.2);
    let mut d_w = before.clone();
    let gradient = HeadGradient { d_log_probs: &d_log_probs, divergence: None };
    let slot = Slot { buffer: &mut d_w, start: START };
    Reference
        .head_backward(HEAD, &x, weight(&stored), kept, &gradient, &mut d_x, Some(slot))
        .unwrap();
    check("d_x", &d_x, &vec![0.0; x.len()], &x, |x| loss(x, &w));
    check("d_weight", &d_w[START..], &before[START..], &w, |w| loss(&x, w));
    assert_eq!(d_w[..START], before[..START]);
}

#[test]
fn log_probabilities_are_logits_less_their_log_sum_exp() {
    let (x, w) = (wave(3 * 4, 0.37), wave(11 * 4, 0.74));
    let found = scores(&x, &w, Select::Nothing).log_probs;
    let logits = Reference.logits(HEAD, 3, &x, weight(&parameters(&w))).unwrap();
    for (t, logits) in logits.chunks(11).enumerate() {
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let expected = f64::from(logits[TARGETS[t] as usize]) - sum.ln();
        assert!((found[t] - expected).abs() < 1e-6, "{} for {expected}", found[t]);
    }
}

/// Equal logits: the entropy of a uniform choice among as many as count.
#[test]
fn entropies_of_equal_logits() {
    let (x, w) = (wave(3 * 4, 0.5), [1.0; 11 * 4]);
    for (top, among) in [(1, 1.0f64), (2, 2.0), (7, 7.0), (11, 11.0), (20, 11.0)] {
        let scores = scores(&x, &w, Select::Entropy { top });
        assert!(scores.selected.is_empty());
        assert_eq!(scores.entropies.len(), 3);
        assert!(scores.entropies.iter().all(|entropy| (entropy - among.ln()).abs() < 1e-12));
    }
}

#[test]
fn tokens_are_selected_in_the_order_of_their_logits() {
    // The logits of the first hidden state are the first column; two of them are equal.
    let mut w = vec![0.0; 11 * 4];
    for (id, logit) in
        [0.5, 3.0, -1.0, 2.0, 3.0, 0.0, 1.0, -2.0, 0.25, -3.0, 2.5].iter().enumerate()
    {
        w[4 * id] = *logit;
    }
    let x = [1.0, 0.0, 0.0, 0.0].repeat(3);
    let order = [1, 4, 10, 3, 6, 0, 8, 5, 2, 7, 9];
    for (i, id) in order.into_iter().enumerate() {
        assert_eq!(scores(&x, &w, Select::TopK(i + 1)).selected, [id; 3]);
    }
    assert_eq!(scores(&x, &w, Select::Argmax).selected, [1; 3]);
    assert_eq!(scores(&x, &w, Select::TopK(12)).selected, [9; 3]);
    assert_eq!(scores(&x, &w, Select::TopK(usize::MAX)).selected, [9; 3]);
    // At a low temperature the noise decides nothing but ties.
    let streams = [3, 4, 5];
    let selected = scores(&x, &w, Select::Sample { temperature: 1e-3, streams: &streams }).selected;
    assert!(selected.iter().all(|id| [1, 4].contains(id)), "{selected:?}");
    // A logit that is NaN is not selected.
    w[4 * 5] = f64::NAN;
    let nan = scores(&x, &w, Select::Argmax);
    assert_eq!(nan.selected, [1; 3]);
    assert!(nan.log_probs.iter().all(|p| p.is_nan()));
}

/// Draws are as frequent as their probabilities.
#[test]
fn samples_follow_the_softmax() {
    let (head, n) = (Head { width: 1, vocabulary: 3 }, 20_000);
    let w = parameters(&[0.0, 1.0, -0.5]);
    let streams: Vec<u64> = (0..n as u64).map(|i| ift_random::stream([9, i])).collect();
    let select = Select::Sample { temperature: 2.0, streams: &streams };
    let targets = HeadTargets { ids: &vec![0; n], select, keep_logits: false };
    let scores = Reference.head(head, &vec![1.0; n], weight(&w), &targets).unwrap();
    let selected = Reference.read_scores(&scores).selected;
    let weights = [0.0f64.exp(), 0.5f64.exp(), (-0.25f64).exp()];
    let sum: f64 = weights.iter().sum();
    for (id, weight) in weights.iter().enumerate() {
        let share = selected.iter().filter(|&&s| s as usize == id).count() as f64 / n as f64;
        assert!((share - weight / sum).abs() < 0.015, "token {id}: {share}");
    }
}
