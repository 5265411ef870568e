//! The output head: log-probabilities, choices, gradients, logits.

use super::{Case, accumulator, activation, numbers, read, read_accumulator, tokens, weight};
use ift_backend::{Backend, Choice, HostTensor, NumberType, Reference};
use ift_cpu::CpuF32;

struct Head {
    n: usize,
    width: usize,
    vocabulary: usize,
}

impl Case for Head {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width, vocabulary } = *self;
        let x =
            b.activation_from(&numbers(1, n * width).iter().map(|x| 4.0 * x).collect::<Vec<_>>());
        let w = weight(b, 2, vocabulary * width);
        let targets = tokens(3, n, vocabulary);
        let (scores, kept) = b.head(width, vocabulary, &x, &w, &targets, Choice::Nothing, true);
        assert!(scores.choices.is_empty());
        let streams: Vec<u64> = (0..n as u64).map(|i| i * i + 5).collect();
        let choices = [
            Choice::Greedy,
            Choice::TopK(1),
            Choice::TopK(2),
            Choice::TopK(7),
            Choice::Sample { temperature: 0.7, streams: &streams },
        ];
        let chosen = choices.iter().flat_map(|&choice| {
            let (with_choice, none) = b.head(width, vocabulary, &x, &w, &targets, choice, false);
            assert!(none.is_none());
            assert_eq!(with_choice.log_probs, scores.log_probs);
            with_choice.choices.into_iter().map(f64::from)
        });
        let chosen = chosen.collect();
        let entropies = [1, 2, 20, vocabulary.min(400) + 1].into_iter().flat_map(|top| {
            let (with_entropies, _) =
                b.head(width, vocabulary, &x, &w, &targets, Choice::Entropy { top }, false);
            assert!(with_entropies.choices.is_empty());
            assert_eq!(with_entropies.log_probs, scores.log_probs);
            with_entropies.entropies
        });
        let entropies = entropies.collect();
        let d_log_probs: Vec<f64> = numbers(4, n)
            .iter()
            .enumerate()
            .map(|(i, x)| if i % 5 == 0 { 0.0 } else { *x })
            .collect();
        let (mut d_x, mut d_x_only) =
            (activation(b, 5, n * width + 1), activation(b, 5, n * width + 1));
        let mut d_w = accumulator(b, 6, vocabulary * width);
        let normalizers = &scores.log_normalizers;
        b.head_backward(
            width,
            vocabulary,
            &x,
            &w,
            &targets,
            normalizers,
            kept,
            &d_log_probs,
            None,
            &mut d_x,
            Some(&mut d_w),
        );
        let d_x_to = &mut d_x_only;
        b.head_backward(
            width,
            vocabulary,
            &x,
            &w,
            &targets,
            normalizers,
            None,
            &d_log_probs,
            None,
            d_x_to,
            None,
        );
        let few = n.min(3);
        let logits = b.logits(few, width, vocabulary, &x, &w).into_iter().map(f64::from).collect();
        vec![
            ("log_probs", scores.log_probs),
            ("log_normalizers", scores.log_normalizers.clone()),
            ("choices", chosen),
            ("entropies", entropies),
            ("d_x", read(b, &d_x, n * width + 1)),
            ("d_x without d_weight", read(b, &d_x_only, n * width + 1)),
            ("d_weight", read_accumulator(b, &d_w, vocabulary * width)),
            ("logits", logits),
        ]
    }
}

#[test]
fn head_on_odd_sizes() {
    for (width, vocabulary) in [(1, 5), (3, 1), (24, 320), (65, 1000), (17, 4100)] {
        for n in [0, 1, 7, 130] {
            Head { n, width, vocabulary }
                .check(&format!("head {n} x {width} -> {vocabulary}"), 1e-5);
        }
    }
}

#[test]
fn head_of_a_real_vocabulary() {
    Head { n: 15, width: 24, vocabulary: 49_153 }.check("head of 49153", 1e-5);
}

#[test]
fn head_with_more_rows_than_logits_exist_at_a_time() {
    Head { n: 4100, width: 3, vocabulary: 37 }.check("head of 4100 rows", 1e-5);
}

/// Equal logits: the lowest id is the best, the next lowest the second.
#[test]
fn ties_go_to_the_lowest_id() {
    fn choose<B: Backend>(b: &B, choice: Choice) -> Vec<u32> {
        // Entries 2500, 10 and 2700 of 3000 have the largest logit.
        let mut table = vec![0.0f64; 3000];
        for id in [2500, 10, 2700] {
            table[id] = 1.0;
        }
        let bytes: Vec<u8> = table.iter().flat_map(|x| x.to_le_bytes()).collect();
        let w = b.weight(&[HostTensor { number: NumberType::F64, bytes: &bytes }]);
        let x = b.activation_from(&[2.0, 2.0]);
        b.head(1, 3000, &x, &w, &[0, 1], choice, false).0.choices
    }
    for (choice, expected) in [
        (Choice::Greedy, 10),
        (Choice::TopK(1), 10),
        (Choice::TopK(2), 2500),
        (Choice::TopK(3), 2700),
        (Choice::TopK(4), 0),
        (Choice::TopK(9999), 2999),
    ] {
        assert_eq!(choose(&CpuF32::new(2), choice), [expected; 2], "{choice:?}");
        assert_eq!(choose(&Reference, choice), [expected; 2], "{choice:?}");
    }
}

/// A logit that is not a number must not go unnoticed.
#[test]
fn a_nan_reaches_the_log_probability() {
    let cpu = CpuF32::new(1);
    let mut numbers = vec![0.5f32; 300];
    numbers[200] = f32::NAN;
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let weight = cpu.weight(&[HostTensor { number: NumberType::F32, bytes: &bytes }]);
    let x = cpu.activation_from(&[1.0]);
    let (scores, _) = cpu.head(1, 300, &x, &weight, &[3], Choice::Greedy, false);
    assert!(scores.log_probs[0].is_nan());
    assert_eq!(scores.choices, [0]);
    let (scores, _) = cpu.head(1, 300, &x, &weight, &[3], Choice::Entropy { top: 5 }, false);
    assert!(scores.entropies[0].is_nan());
    let x = cpu.activation_from(&[f64::NAN]);
    let (scores, _) = cpu.head(1, 300, &x, &weight, &[3], Choice::Entropy { top: 5 }, false);
    assert!(scores.entropies[0].is_nan());
}
