//! The output head: log-probabilities, selected tokens, entropies, gradients, logits.

use super::fixture::{Fixture, Kept, Result, START, slot, streams, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Head, HeadGradient, HeadTargets, Select, Storage};

/// A head, forward and backward.
#[derive(Debug)]
pub(super) struct HeadCase {
    targets: usize,
    head: Head,
    kept: Kept,
}

impl HeadCase {
    /// Whether the weight is exact in every type: products of narrow types round it otherwise.
    fn is_exact(&self) -> bool {
        !matches!(self.kept, Kept::Frozen(Storage::Int8 | Storage::Nf4))
    }

    /// What is selected: everything that can be, or a few of many logits.
    fn selections<'a>(&self, streams: &'a [u64]) -> Vec<Select<'a>> {
        let vocabulary = self.head.vocabulary;
        if !self.is_exact() {
            return Vec::new();
        }
        let sample = Select::Sample { temperature: 0.7, streams };
        let mut selections =
            vec![Select::Argmax, Select::TopK(2), sample, Select::Entropy { top: 20 }];
        if self.targets * vocabulary < 100_000 {
            selections.extend([1, 7, vocabulary, vocabulary + 3].map(Select::TopK));
            let tops = [1, 2, vocabulary.min(400) + 1];
            selections.extend(tops.map(|top| Select::Entropy { top }));
        }
        selections
    }
}

/// A selection without its streams.
fn name(select: &Select) -> String {
    match select {
        Select::Sample { temperature, .. } => format!("Sample at {temperature}"),
        select => format!("{select:?}"),
    }
}

impl Operation for HeadCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(1e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { targets: n, head, kept } = *self;
        let Head { width, vocabulary } = head;
        let sharpness = if self.is_exact() { 4.0 } else { 1.0 };
        let x = b.activation_from(&f.scaled(1, n * width, sharpness))?;
        let held = f.weight(kept, 2, vocabulary * width)?;
        let w = held.weight();
        let ids = tokens(3, n, vocabulary);
        let score = |select, keep_logits| {
            b.head(head, &x, w, &HeadTargets { ids: &ids, select, keep_logits })
        };
        let (kept, forgotten) = (score(Select::Nothing, true)?, score(Select::Nothing, false)?);
        let scores = b.read_scores(&kept);
        let mut results = Results::default();
        let flag = |flag: bool| vec![f64::from(u8::from(flag))];
        results
            .exact("the same whether logits are kept", flag(b.read_scores(&forgotten) == scores));
        let nothing = scores.selected.is_empty()
            && scores.entropies.is_empty()
            && scores.divergences.is_empty();
        results.exact("nothing else is reported", flag(nothing));

        let streams = streams(7, n);
        for (i, select) in self.selections(&streams).into_iter().enumerate() {
            let found = b.read_scores(&score(select, false)?);
            let name = format!("{i}, {}", name(&select));
            let same = found.log_probs == scores.log_probs;
            results.exact(format!("{name}: the same log-probabilities"), flag(same));
            let selected = found.selected.into_iter().map(f64::from).collect();
            results.exact(format!("{name}: selected tokens"), selected);
            results.near(format!("{name}: entropies"), found.entropies);
        }
        results.near("log-probabilities", scores.log_probs);

        let d_log_probs = f.values(4, n).into_iter().enumerate();
        let d_log_probs: Vec<f64> =
            d_log_probs.map(|(i, x)| if i % 5 == 0 { 0.0 } else { x }).collect();
        let gradient = HeadGradient { d_log_probs: &d_log_probs, divergence: None };
        let (mut d_x, mut d_x_only) =
            (f.activation(5, n * width + 1)?, f.activation(5, n * width + 1)?);
        let mut d_w = f.accumulator(6, START + vocabulary * width + 1)?;
        b.head_backward(head, &x, w, kept, &gradient, &mut d_x, Some(slot(&mut d_w)))?;
        b.head_backward(head, &x, w, forgotten, &gradient, &mut d_x_only, None)?;
        results.near("d_x", f.read(&d_x, n * width + 1));
        results.near("d_x without kept logits", f.read(&d_x_only, n * width + 1));
        results.near("d_weight", f.read_accumulator(&d_w, START + vocabulary * width + 1));
        let logits = b.logits(head, n.min(3), &x, w)?;
        results.near("logits", logits.into_iter().map(f64::from).collect());
        Ok(results)
    }
}

/// Equal logits: the lowest id is the best, the next lowest the second.
#[derive(Debug)]
pub(super) struct TiesCase;

impl Operation for TiesCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let head = Head { width: 1, vocabulary: 3000 };
        // Three entries have the largest logit.
        let mut table = vec![0.0; head.vocabulary];
        for id in [2500, 10, 2700] {
            table[id] = 1.0;
        }
        let w = f.weight_from(Kept::Trainable, &table)?;
        let x = f.backend.activation_from(&[2.0, 2.0])?;
        let mut results = Results::default();
        for select in [Select::Argmax].into_iter().chain([1, 2, 3, 4, 9999].map(Select::TopK)) {
            let targets = HeadTargets { ids: &[0, 1], select, keep_logits: false };
            let scores = f.backend.head(head, &x, w.weight(), &targets)?;
            let selected = f.backend.read_scores(&scores).selected;
            results.exact(format!("{select:?}"), selected.into_iter().map(f64::from).collect());
        }
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<HeadCase> {
    let mut cases = Vec::new();
    for (width, vocabulary) in [(1, 5), (3, 1), (24, 320), (65, 1000), (17, 4100)] {
        for targets in [0, 1, 7, 130] {
            let head = Head { width, vocabulary };
            cases.push(HeadCase { targets, head, kept: Kept::Trainable });
        }
    }
    // A real vocabulary; more targets than a backend may compute logits of at a time.
    for (targets, width, vocabulary) in [(15, 24, 49_153), (4100, 3, 37)] {
        let head = Head { width, vocabulary };
        cases.push(HeadCase { targets, head, kept: Kept::Trainable });
    }
    for kept in Kept::ALL.into_iter().filter(|&kept| kept != Kept::Trainable) {
        for (width, vocabulary) in [(24, 5), (24, 320), (17, 4100)] {
            for targets in [1, 7, 130] {
                cases.push(HeadCase { targets, head: Head { width, vocabulary }, kept });
            }
        }
    }
    cases
}

pub(super) fn ties_cases() -> Vec<TiesCase> {
    vec![TiesCase]
}
