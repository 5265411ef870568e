//! Elements that are not finite in the head and in divergences.

use super::super::fixture::{Fixture, Kept, Result, START, slot, tokens};
use super::super::results::Results;
use super::element::Element;
use crate::{Backend, Distributions, Divergence, Head, HeadGradient, HeadTargets, Select};

/// In one hidden state.
pub(super) fn head<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let width = 7;
    scores(f, results, &element.among(f, 1, 6 * width, 4 * width + 2), &f.values(2, 300 * width))
}

/// In one entry of the vocabulary.
pub(super) fn head_weight<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let width = 7;
    scores(f, results, &f.values(1, 6 * width), &element.among(f, 2, 300 * width, 200 * width))
}

fn scores<B: Backend>(
    f: &Fixture<B>,
    results: &mut Results,
    x: &[f64],
    weight: &[f64],
) -> Result<()> {
    let (b, head) = (f.backend, Head { width: 7, vocabulary: 300 });
    let (n, Head { width, vocabulary }) = (6, head);
    let x = b.activation_from(x)?;
    let held = f.weight_from(Kept::Trainable, weight)?;
    let w = held.weight();
    let ids = tokens(3, n, vocabulary);
    for keep_logits in [false, true] {
        let targets = HeadTargets { ids: &ids, select: Select::Nothing, keep_logits };
        let scores = b.head(head, &x, w, &targets)?;
        let log_probs = b.read_scores(&scores).log_probs;
        results.near(format!("log-probabilities, logits kept: {keep_logits}"), log_probs);
        let d_log_probs = f.values(4, n);
        let gradient = HeadGradient { d_log_probs: &d_log_probs, divergence: None };
        let mut d_x = b.activation(n * width)?;
        let mut d_w = b.accumulator(START + vocabulary * width)?;
        b.head_backward(head, &x, w, scores, &gradient, &mut d_x, Some(slot(&mut d_w)))?;
        results.near(format!("d_x, logits kept: {keep_logits}"), f.read(&d_x, n * width));
        let d_w = f.read_accumulator(&d_w, START + vocabulary * width);
        results.near(format!("d_weight, logits kept: {keep_logits}"), d_w);
    }
    let select = Select::Entropy { top: 5 };
    let targets = HeadTargets { ids: &ids, select, keep_logits: false };
    let scores = b.read_scores(&b.head(head, &x, w, &targets)?);
    results.near("log-probabilities with entropies", scores.log_probs);
    results.near("entropies", scores.entropies);
    Ok(())
}

/// In a hidden state of the policy, then of the reference.
pub(super) fn divergence<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, head) = (f.backend, Head { width: 7, vocabulary: 300 });
    let (n, Head { width, vocabulary }) = (6, head);
    let held = f.weight(Kept::Trainable, 2, vocabulary * width)?;
    let w = held.weight();
    let ids = tokens(3, n, vocabulary);
    let targets = HeadTargets { ids: &ids, select: Select::Nothing, keep_logits: false };
    let right = b.activation_from(&f.values(4, n * width))?;
    let wrong = b.activation_from(&element.among(f, 5, n * width, 3 * width + 1))?;
    for (name, x, other) in [("policy", &wrong, &right), ("reference", &right, &wrong)] {
        let others = b.head(head, other, w, &targets)?;
        let reference = Distributions { width, x: other, weight: w, scores: &others };
        for kind in [Divergence::Forward, Divergence::Reverse] {
            let mut scores = b.head(head, x, w, &targets)?;
            b.divergence(kind, head, x, w, &mut scores, reference)?;
            results.near(format!("{kind:?}, {name}"), b.read_scores(&scores).divergences);
        }
    }
    Ok(())
}
