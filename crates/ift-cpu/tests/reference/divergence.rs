//! Divergences between two heads, and what they add to the gradients.

use super::{
    Case, accumulator, activation, frozen, numbers, read, read_accumulator, tokens, weight,
};
use ift_backend::{Backend, Choice, Distributions, Divergence, DivergenceGradient, Storage};
use ift_cpu::{CpuBf16, CpuF32};

const KINDS: [Divergence; 2] = [Divergence::Forward, Divergence::Reverse];

/// A policy and a reference of another width over the same vocabulary.
struct Heads {
    n: usize,
    widths: (usize, usize),
    vocabulary: usize,
    /// How far the distributions are from uniform.
    sharpness: f64,
    storage: Storage,
}

impl Case for Heads {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, widths: (width, other), vocabulary, sharpness, storage } = *self;
        let states = |seed, count| {
            let scaled: Vec<f64> = numbers(seed, count).iter().map(|x| x * sharpness).collect();
            b.activation_from(&scaled)
        };
        let (x, w) = (states(1, n * width), weight(b, 2, vocabulary * width));
        let (other_x, other_w) = (states(3, n * other), frozen(b, 4, vocabulary * other, storage));
        let targets = tokens(5, n, vocabulary);
        let (scores, _) = b.head(width, vocabulary, &x, &w, &targets, Choice::Nothing, false);
        let (others, _) =
            b.head(other, vocabulary, &other_x, &other_w, &targets, Choice::Nothing, false);
        let policy =
            Distributions { width, x: &x, weight: &w, log_normalizers: &scores.log_normalizers };
        let reference = Distributions {
            width: other,
            x: &other_x,
            weight: &other_w,
            log_normalizers: &others.log_normalizers,
        };
        let (d_log_probs, slopes) = (numbers(6, n), numbers(7, n));
        let mut results = Vec::new();
        for kind in KINDS {
            let values = b.divergence(vocabulary, policy, reference, kind);
            for keep in [false, true] {
                let (_, kept) = b.head(width, vocabulary, &x, &w, &targets, Choice::Nothing, keep);
                let (mut d_x, mut d_w) =
                    (activation(b, 8, n * width + 1), accumulator(b, 9, vocabulary * width));
                let share =
                    DivergenceGradient { reference, kind, values: &values, slopes: &slopes };
                b.head_backward(
                    width,
                    vocabulary,
                    &x,
                    &w,
                    &targets,
                    &scores.log_normalizers,
                    kept,
                    &d_log_probs,
                    Some(share),
                    &mut d_x,
                    Some(&mut d_w),
                );
                results.push(("d_x", read(b, &d_x, n * width + 1)));
                results.push(("d_weight", read_accumulator(b, &d_w, vocabulary * width)));
            }
            results.push(("divergence", values));
        }
        results
    }
}

#[test]
fn heads_of_different_widths() {
    for (n, widths, vocabulary) in [
        (0, (3, 3), 9),
        (1, (1, 3), 5),
        (7, (3, 3), 1),
        (130, (24, 17), 320),
        (13, (33, 65), 1000),
        (7, (17, 8), 4100),
    ] {
        // A divergence of 1e-3 is what is left of terms that nearly cancel: log-probabilities are
        // f32, and it is off by a unit in their last place.
        for (sharpness, storage, tolerance) in
            [(4.0, Storage::Exact, 1e-5), (0.1, Storage::Bf16, 2e-4)]
        {
            let case =
                format!("divergence {n} x {widths:?} -> {vocabulary}, {sharpness}, {storage:?}");
            Heads { n, widths, vocabulary, sharpness, storage }.check(&case, tolerance);
        }
    }
}

#[test]
fn more_rows_than_logits_exist_at_a_time() {
    let storage = Storage::Nf4;
    Heads { n: 4100, widths: (3, 2), vocabulary: 37, sharpness: 1.0, storage }
        .check("4100 rows", 1e-5);
}

/// Two policies that are the same or nearly so: the divergence is as small as it should be, in both
/// directions, and not what rounding leaves.
#[test]
fn small_divergences_are_small() {
    fn check<B: Backend>(b: &B) {
        let (n, width, vocabulary) = (20, 64, 49_153);
        let targets = tokens(5, n, vocabulary);
        let states: Vec<f64> = numbers(1, n * width).iter().map(|x| 3.0 * x).collect();
        let w = weight(b, 2, vocabulary * width);
        let near: Vec<f64> =
            states.iter().zip(numbers(3, n * width)).map(|(x, y)| x + 0.01 * y).collect();
        let (x, near) = (b.activation_from(&states), b.activation_from(&near));
        let normalizers = |x| {
            b.head(width, vocabulary, x, &w, &targets, Choice::Nothing, false).0.log_normalizers
        };
        let (z, near_z) = (normalizers(&x), normalizers(&near));
        let policy = Distributions { width, x: &x, weight: &w, log_normalizers: &z };
        let other = Distributions { width, x: &near, weight: &w, log_normalizers: &near_z };
        for kind in KINDS {
            for value in b.divergence(vocabulary, policy, policy, kind) {
                assert!(value.abs() < 1e-9, "{kind:?} of itself: {value:e}");
            }
            let values = b.divergence(vocabulary, policy, other, kind);
            assert!(
                values.iter().all(|value| (1e-5..1e-2).contains(value)),
                "{kind:?}: {values:?}"
            );
        }
        // Nearly symmetric so near to each other.
        let [forward, reverse] = KINDS.map(|kind| b.divergence(vocabulary, policy, other, kind));
        assert!(forward.iter().zip(&reverse).all(|(f, r)| (f - r).abs() < 0.1 * f));
    }
    check(&CpuF32::new(2));
    check(&CpuBf16::new(2));
}
