//! The specification itself: what `Reference` says of divergences and entropies against finite
//! differences and closed forms.

use ift_backend::{Backend, Choice, Distributions, Divergence, DivergenceGradient, Reference};

const N: usize = 3;
const VOCABULARY: usize = 11;
const TARGETS: [u32; N] = [7, 0, 10];
const D_LOG_PROBS: [f64; N] = [0.5, -1.5, 0.0];
const SLOPES: [f64; N] = [1.0, -0.25, 2.0];

fn wave(count: usize, pace: f64) -> Vec<f64> {
    (0..count).map(|i| (i as f64 * pace + 0.3).sin()).collect()
}

/// Hidden states and a head over them.
#[derive(Clone)]
struct Head {
    width: usize,
    x: Vec<f64>,
    weight: Vec<f64>,
}

impl Head {
    fn new(width: usize, pace: f64) -> Self {
        Self { width, x: wave(N * width, pace), weight: wave(VOCABULARY * width, 2.0 * pace) }
    }

    /// Log-probabilities of the targets and normalisers.
    fn scores(&self) -> (Vec<f64>, Vec<f64>) {
        let (x, weight) = (&self.x, &self.weight);
        let (scores, _) =
            Reference.head(self.width, VOCABULARY, x, weight, &TARGETS, Choice::Nothing, false);
        (scores.log_probs, scores.log_normalizers)
    }

    fn distributions<'a>(
        &'a self,
        log_normalizers: &'a [f64],
    ) -> Distributions<'a, Vec<f64>, Vec<f64>> {
        Distributions { width: self.width, x: &self.x, weight: &self.weight, log_normalizers }
    }
}

fn divergences(policy: &Head, reference: &Head, kind: Divergence) -> Vec<f64> {
    let (p, r) = (policy.scores().1, reference.scores().1);
    Reference.divergence(VOCABULARY, policy.distributions(&p), reference.distributions(&r), kind)
}

/// `Σ_t d_log_probs[t]·log_prob[t] + slopes[t]·KL[t]`.
fn loss(policy: &Head, reference: &Head, kind: Divergence) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&D_LOG_PROBS, &policy.scores().0) + dot(&SLOPES, &divergences(policy, reference, kind))
}

#[test]
fn gradients_match_finite_differences() {
    let (policy, reference) = (Head::new(4, 0.37), Head::new(5, 0.91));
    let (normalizers, others) = (policy.scores().1, reference.scores().1);
    for kind in [Divergence::Forward, Divergence::Reverse] {
        let values = divergences(&policy, &reference, kind);
        assert!(values.iter().all(|value| *value > 0.01), "{values:?}");
        let reference_of = reference.distributions(&others);
        let share =
            DivergenceGradient { reference: reference_of, kind, values: &values, slopes: &SLOPES };
        let (mut d_x, mut d_weight) = (vec![f64::NAN; N * 4], vec![0.0; VOCABULARY * 4]);
        Reference.head_backward(
            4,
            VOCABULARY,
            &policy.x,
            &policy.weight,
            &TARGETS,
            &normalizers,
            None,
            &D_LOG_PROBS,
            Some(share),
            &mut d_x,
            Some(&mut d_weight),
        );
        let check = |what: &str, found: &[f64], number: fn(&mut Head, usize) -> &mut f64| {
            for (at, found) in found.iter().enumerate() {
                let moved = |offset: f64| {
                    let mut policy = policy.clone();
                    *number(&mut policy, at) += offset;
                    loss(&policy, &reference, kind)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (found - expected).abs() < 1e-8,
                    "{kind:?} {what}[{at}]: {found} for {expected}"
                );
            }
        };
        check("d_x", &d_x, |head, at| &mut head.x[at]);
        check("d_weight", &d_weight, |head, at| &mut head.weight[at]);
    }
}

#[test]
fn divergences_are_none_of_a_head_itself_and_turn_with_the_kind() {
    let (a, b) = (Head::new(4, 0.37), Head::new(5, 0.91));
    assert!(divergences(&a, &a, Divergence::Forward).iter().all(|value| value.abs() < 1e-14));
    let there = divergences(&a, &b, Divergence::Reverse);
    assert_eq!(there, divergences(&b, &a, Divergence::Forward));
    assert_ne!(there, divergences(&a, &b, Divergence::Forward));
}

/// Equal logits: the entropy of a uniform choice among as many as count.
#[test]
fn entropies_of_equal_logits() {
    let head = Head { width: 2, x: wave(N * 2, 0.5), weight: vec![1.0; VOCABULARY * 2] };
    for (top, among) in [(1, 1.0f64), (2, 2.0), (7, 7.0), (11, 11.0), (20, 11.0)] {
        let choice = Choice::Entropy { top };
        let (scores, _) =
            Reference.head(2, VOCABULARY, &head.x, &head.weight, &TARGETS, choice, false);
        assert!(scores.choices.is_empty());
        assert!(scores.entropies.iter().all(|entropy| (entropy - among.ln()).abs() < 1e-12));
    }
}
