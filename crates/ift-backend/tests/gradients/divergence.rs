//! Divergences between two heads.

use super::difference::{START, check, dot, parameters, wave, weight};
use ift_backend::{
    Backend, Buffers, Distributions, Divergence, DivergenceGradient, Head, HeadGradient,
    HeadTargets, Reference, Select, Slot,
};

type Scores = <Reference as Buffers>::Scores;

const N: usize = 3;
const VOCABULARY: usize = 11;
const TARGETS: [u32; N] = [7, 0, 10];
const D_LOG_PROBS: [f64; N] = [0.5, -1.5, 0.0];
const D_DIVERGENCES: [f64; N] = [1.0, -0.25, 2.0];
const KINDS: [Divergence; 2] = [Divergence::Forward, Divergence::Reverse];

/// Hidden states and a head over them.
#[derive(Clone)]
struct Policy {
    head: Head,
    x: Vec<f64>,
    parameters: Vec<f64>,
}

impl Policy {
    fn new(width: usize, pace: f64) -> Self {
        let head = Head { width, vocabulary: VOCABULARY };
        let parameters = parameters(&wave(VOCABULARY * width, 2.0 * pace));
        Self { head, x: wave(N * width, pace), parameters }
    }

    fn scores(&self) -> Scores {
        let targets = HeadTargets { ids: &TARGETS, select: Select::Nothing, keep_logits: true };
        Reference.head(self.head, &self.x, weight(&self.parameters), &targets).unwrap()
    }

    fn distributions<'a>(&'a self, scores: &'a Scores) -> Distributions<'a, Reference> {
        let weight = weight(&self.parameters);
        Distributions { width: self.head.width, x: &self.x, weight, scores }
    }

    /// Scores with the divergences from a reference.
    fn diverged(&self, kind: Divergence, reference: Distributions<Reference>) -> Scores {
        let (mut scores, weight) = (self.scores(), weight(&self.parameters));
        Reference.divergence(kind, self.head, &self.x, weight, &mut scores, reference).unwrap();
        scores
    }
}

fn divergences(policy: &Policy, reference: &Policy, kind: Divergence) -> Vec<f64> {
    let scores = reference.scores();
    Reference.read_scores(&policy.diverged(kind, reference.distributions(&scores))).divergences
}

/// `Σ_t d_log_probs[t]·log_prob[t] + d_divergences[t]·KL[t]`.
fn loss(policy: &Policy, reference: &Policy, kind: Divergence) -> f64 {
    let log_probs = Reference.read_scores(&policy.scores()).log_probs;
    dot(&D_LOG_PROBS, &log_probs) + dot(&D_DIVERGENCES, &divergences(policy, reference, kind))
}

#[test]
fn gradients_of_divergences() {
    let (policy, reference) = (Policy::new(4, 0.37), Policy::new(5, 0.91));
    let others = reference.scores();
    let reference_of = reference.distributions(&others);
    for kind in KINDS {
        let scores = policy.diverged(kind, reference_of);
        let values = Reference.read_scores(&scores).divergences;
        assert!(values.iter().all(|value| *value > 0.01), "{values:?}");
        let share =
            DivergenceGradient { kind, reference: reference_of, d_divergences: &D_DIVERGENCES };
        let gradient = HeadGradient { d_log_probs: &D_LOG_PROBS, divergence: Some(share) };
        let mut d_x = Reference.activation(N * 4).unwrap();
        let mut d_w = Reference.accumulator(START + VOCABULARY * 4).unwrap();
        let (weight, slot) = (weight(&policy.parameters), Slot { buffer: &mut d_w, start: START });
        Reference
            .head_backward(policy.head, &policy.x, weight, scores, &gradient, &mut d_x, Some(slot))
            .unwrap();
        let moved_x =
            |x: &[f64]| loss(&Policy { x: x.to_vec(), ..policy.clone() }, &reference, kind);
        check(&format!("{kind:?}: d_x"), &d_x, &[0.0; N * 4], &policy.x, moved_x);
        let moved_w = |w: &[f64]| {
            loss(&Policy { parameters: parameters(w), ..policy.clone() }, &reference, kind)
        };
        let (w, none) = (&policy.parameters[START..], [0.0; VOCABULARY * 4]);
        check(&format!("{kind:?}: d_weight"), &d_w[START..], &none, w, moved_w);
    }
}

#[test]
fn a_head_does_not_diverge_from_itself_and_directions_are_exchanged() {
    let (a, b) = (Policy::new(4, 0.37), Policy::new(5, 0.91));
    assert!(divergences(&a, &a, Divergence::Forward).iter().all(|value| value.abs() < 1e-14));
    let there = divergences(&a, &b, Divergence::Reverse);
    assert_eq!(there, divergences(&b, &a, Divergence::Forward));
    assert_ne!(there, divergences(&a, &b, Divergence::Forward));
}
