//! Divergences between two heads, and what they add to the gradients.

use super::fixture::{Fixture, Kept, Result, START, slot, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{
    Backend, Distributions, Divergence, DivergenceGradient, Head, HeadGradient, HeadTargets,
    Select, Storage,
};
use ift_compare::Tolerance;

const KINDS: [Divergence; 2] = [Divergence::Forward, Divergence::Reverse];

/// A policy and a reference of another width over the same vocabulary.
#[derive(Debug)]
pub(super) struct DivergenceCase {
    targets: usize,
    widths: (usize, usize),
    vocabulary: usize,
    /// How far the distributions are from uniform.
    sharpness: f64,
    storage: Storage,
}

impl Operation for DivergenceCase {
    fn tolerance(&self) -> CaseTolerance {
        // A divergence of 1e-3 is what is left of terms that nearly cancel: log-probabilities are
        // f32, and it is off by a unit in their last place.
        CaseTolerance::stored_between(if self.sharpness < 1.0 { 2e-4 } else { 1e-5 })
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { targets: n, widths: (width, other), vocabulary, .. } = *self;
        let head = Head { width, vocabulary };
        let other_head = Head { width: other, vocabulary };
        let states = |seed, count| b.activation_from(&f.scaled(seed, count, self.sharpness));
        let (x, other_x) = (states(1, n * width)?, states(3, n * other)?);
        let held = f.weight(Kept::Trainable, 2, vocabulary * width)?;
        let other_held = f.weight(Kept::Frozen(self.storage), 4, vocabulary * other)?;
        let (w, other_w) = (held.weight(), other_held.weight());
        let ids = tokens(5, n, vocabulary);
        let targets = |keep_logits| HeadTargets { ids: &ids, select: Select::Nothing, keep_logits };
        let other_scores = b.head(other_head, &other_x, other_w, &targets(false))?;
        let reference =
            Distributions { width: other, x: &other_x, weight: other_w, scores: &other_scores };
        let (d_log_probs, d_divergences) = (f.values(6, n), f.values(7, n));
        let mut results = Results::default();
        for kind in KINDS {
            for keep in [false, true] {
                let mut scores = b.head(head, &x, w, &targets(keep))?;
                b.divergence(kind, head, &x, w, &mut scores, reference)?;
                let name = format!("{kind:?}, logits kept: {keep}");
                results.near(format!("{name}: divergences"), b.read_scores(&scores).divergences);
                let gradient = HeadGradient {
                    d_log_probs: &d_log_probs,
                    divergence: Some(DivergenceGradient {
                        kind,
                        reference,
                        d_divergences: &d_divergences,
                    }),
                };
                let mut d_x = f.activation(8, n * width + 1)?;
                let mut d_w = f.accumulator(9, START + vocabulary * width + 1)?;
                let to = Some(slot(&mut d_w));
                b.head_backward(head, &x, w, scores, &gradient, &mut d_x, to)?;
                results.near(format!("{name}: d_x"), f.read(&d_x, n * width + 1));
                let d_w = f.read_accumulator(&d_w, START + vocabulary * width + 1);
                results.near(format!("{name}: d_weight"), d_w);
            }
        }
        Ok(results)
    }
}

/// Two policies that are the same or nearly so: the divergence is as small as it should be, in both
/// directions, and not what rounding leaves.
#[derive(Debug)]
pub(super) struct SmallDivergenceCase;

impl Operation for SmallDivergenceCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, n) = (f.backend, 20);
        let head = Head { width: 64, vocabulary: 49_153 };
        let ids = tokens(5, n, head.vocabulary);
        let states = f.scaled(1, n * head.width, 2.0);
        let near: Vec<f64> =
            states.iter().zip(f.values(3, states.len())).map(|(x, y)| x + 0.01 * y).collect();
        let near: Vec<f64> = near.into_iter().map(|x| f.rounded(x)).collect();
        let (x, near) = (b.activation_from(&states)?, b.activation_from(&near)?);
        let held = f.weight(Kept::Trainable, 2, head.vocabulary * head.width)?;
        let w = held.weight();
        let targets = HeadTargets { ids: &ids, select: Select::Nothing, keep_logits: false };
        let same = b.head(head, &x, w, &targets)?;
        let other = b.head(head, &near, w, &targets)?;
        // Log-probabilities are f32, so the smallest divergences are off by more than 5 %.
        let nearby = Tolerance { absolute: 1e-8, ..Tolerance::relative(0.05) };
        let mut results = Results::default();
        for kind in KINDS {
            for (name, other_x, scores, within) in [
                ("of itself", &x, &same, Tolerance::absolute(1e-9)),
                ("of one nearby", &near, &other, nearby),
            ] {
                let reference = Distributions { width: head.width, x: other_x, weight: w, scores };
                let mut policy = b.head(head, &x, w, &targets)?;
                b.divergence(kind, head, &x, w, &mut policy, reference)?;
                let divergences = b.read_scores(&policy).divergences;
                results.within(format!("{kind:?} {name}"), divergences, within);
            }
        }
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<DivergenceCase> {
    let mut cases = Vec::new();
    for (targets, widths, vocabulary) in [
        (0, (3, 3), 9),
        (1, (1, 3), 5),
        (7, (3, 3), 1),
        (130, (24, 17), 320),
        (13, (33, 65), 1000),
        (7, (17, 8), 4100),
    ] {
        for (sharpness, storage) in [(4.0, Storage::Exact), (0.125, Storage::Bf16)] {
            cases.push(DivergenceCase { targets, widths, vocabulary, sharpness, storage });
        }
    }
    // More targets than a backend may compute logits of at a time.
    let storage = Storage::Nf4;
    let (widths, vocabulary) = ((3, 2), 37);
    cases.push(DivergenceCase { targets: 4100, widths, vocabulary, sharpness: 1.0, storage });
    cases
}

pub(super) fn small_cases() -> Vec<SmallDivergenceCase> {
    vec![SmallDivergenceCase]
}
