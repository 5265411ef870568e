//! Embeddings, plain and with a look-ahead, their gradients, noise and dropout.

use super::fixture::{Fixture, Kept, Result, START, one_sequence, slot, streams, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{
    Backend, Dropout, Embedding, Head, HeadTargets, LookAheadInputs, PassInputs, Residual, Segment,
    Select,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const VOCABULARY: usize = 37;

/// The inputs of a model.
#[derive(Debug)]
pub(super) struct EmbeddingCase {
    tokens: usize,
    width: usize,
    kept: Kept,
}

/// Scores of a few positions with a selected token each.
fn scores<B: Backend>(f: &Fixture<B>) -> Result<B::Scores> {
    let head = Head { width: 5, vocabulary: VOCABULARY };
    let (x, w) =
        (f.activation(20, 9 * 5)?, f.weight(Kept::Trainable, 21, VOCABULARY * head.width)?);
    let ids = tokens(22, 9, VOCABULARY);
    let targets = HeadTargets { ids: &ids, select: Select::Argmax, keep_logits: false };
    f.backend.head(head, &x, w.weight(), &targets)
}

impl Operation for EmbeddingCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-6)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { tokens: count, width, kept } = *self;
        let (size, scale) = (count * width, 7.5);
        let table = f.weight(kept, 1, VOCABULARY * width)?;
        let table = table.weight();
        let ids = tokens(2, count, VOCABULARY);
        let scores = scores(f)?;
        let index: Vec<Option<u32>> =
            tokens(3, count, 3 * 9).into_iter().map(|i| (i % 3 > 0).then_some(i / 3)).collect();
        let mut results = Results::default();
        let residuals = [
            ("plain", None),
            ("mixed", Some(Residual::Mix { lambda: 0.3 })),
            ("replaced", Some(Residual::Replace)),
        ];
        for (name, residual) in residuals {
            let look_ahead =
                residual.map(|how| LookAheadInputs { scores: &scores, index: &index, how });
            let mut segment = [Segment::default()];
            let inputs = PassInputs { look_ahead, ..one_sequence(&ids, &mut segment) };
            let inputs = b.upload(&inputs)?;
            for scale in [1.0, scale] {
                let mut out = f.activation(4, size + 1)?;
                b.embed(
                    Embedding { vocabulary: VOCABULARY, width, scale },
                    &inputs,
                    table,
                    &mut out,
                )?;
                results.near(format!("{name}, scale {scale}"), f.read(&out, size + 1));
            }
            if name != "mixed" {
                let mut d_table = f.accumulator(5, START + VOCABULARY * width + 1)?;
                let d_out = f.activation(6, size + 1)?;
                let embedding = Embedding { vocabulary: VOCABULARY, width, scale };
                b.embed_backward(embedding, &inputs, &d_out, slot(&mut d_table))?;
                let d_table = f.read_accumulator(&d_table, START + VOCABULARY * width + 1);
                results.near(format!("d_table, {name}"), d_table);
            }
        }
        Ok(results)
    }
}

/// Whether a token id beyond the table is refused, where other tensors lie behind the table.
#[derive(Debug)]
pub(super) struct UnknownTokenCase;

impl Operation for UnknownTokenCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, width) = (f.backend, 3);
        let embedding = Embedding { vocabulary: VOCABULARY, width, scale: 1.0 };
        let table = f.weight(Kept::Trainable, 1, 2 * VOCABULARY * width)?;
        let scores = scores(f)?;
        let mut results = Results::default();
        for last in [VOCABULARY - 1, VOCABULARY, 2 * VOCABULARY - 1] {
            let ids = [0, last as u32];
            let inputs = f.upload(&ids)?;
            let (mut out, d_out) = (b.activation(2 * width)?, f.activation(2, 2 * width)?);
            let mut d_table = b.accumulator(START + 2 * VOCABULARY * width)?;
            let mut panics = |name: &str, run: &mut dyn FnMut() -> Result<()>| -> Result<()> {
                let panics = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(done) => done.map(|()| 0.0)?,
                    Err(_) => 1.0,
                };
                results.exact(format!("{name} of {last}"), vec![panics]);
                Ok(())
            };
            panics("embedding", &mut || b.embed(embedding, &inputs, table.weight(), &mut out))?;
            panics("gradient", &mut || {
                b.embed_backward(embedding, &inputs, &d_out, slot(&mut d_table))
            })?;
        }
        // A selected token that is mixed in.
        let how = Residual::Mix { lambda: 0.5 };
        let look_ahead = Some(LookAheadInputs { scores: &scores, index: &[Some(0)], how });
        let mut segment = [Segment::default()];
        let inputs = PassInputs { look_ahead, ..one_sequence(&[0], &mut segment) };
        let inputs = b.upload(&inputs)?;
        let selected = b.read_scores(&scores).selected[0] as usize;
        for vocabulary in [selected + 1, selected] {
            let embedding = Embedding { vocabulary: vocabulary.max(1), ..embedding };
            let mut out = b.activation(width)?;
            let run = || b.embed(embedding, &inputs, table.weight(), &mut out);
            let panics = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(done) => done.map(|()| 0.0)?,
                Err(_) => 1.0,
            };
            results.exact(format!("mixed, vocabulary {vocabulary}"), vec![panics]);
        }
        Ok(results)
    }
}

pub(super) fn unknown_token_cases() -> Vec<UnknownTokenCase> {
    vec![UnknownTokenCase]
}

/// Draws of tokens' streams.
#[derive(Debug)]
pub(super) struct RandomCase {
    tokens: usize,
    width: usize,
    rate: f64,
}

impl Operation for RandomCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-6)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { tokens: count, width, rate } = *self;
        let ids = tokens(1, count, VOCABULARY);
        let (streams, noise) = (streams(2, count), f.values(3, count));
        let mut segment = [Segment::default()];
        let plain = one_sequence(&ids, &mut segment);
        let without_noise = b.upload(&PassInputs { streams: &streams, ..plain })?;
        let mut segment = [Segment::default()];
        let plain = one_sequence(&ids, &mut segment);
        let inputs = b.upload(&PassInputs { streams: &streams, noise: &noise, ..plain })?;
        let size = count * width;
        let x = f.activation(4, size)?;
        let mut results = Results::default();
        for part in [0, 5, u64::MAX] {
            let mut out = f.activation(5, size + 1)?;
            b.dropout(Dropout { width, rate, part }, &inputs, &x, &mut out);
            results.near(format!("dropout {part}"), f.read(&out, size + 1));
            let mut noisy = f.activation(6, size + 1)?;
            b.add_noise(width, part, &inputs, &mut noisy);
            results.near(format!("noise {part}"), f.read(&noisy, size + 1));
            b.add_noise(width, part, &without_noise, &mut noisy);
            results.near(format!("no more noise {part}"), f.read(&noisy, size + 1));
        }
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<EmbeddingCase> {
    let mut cases = Vec::new();
    for width in [1, 3, 24, 65, 576] {
        for tokens in [0, 1, 7, 130, 1025] {
            cases.push(EmbeddingCase { tokens, width, kept: Kept::Trainable });
        }
    }
    for kept in Kept::ALL.into_iter().filter(|&kept| kept != Kept::Trainable) {
        for width in [1, 24, 65] {
            cases.push(EmbeddingCase { tokens: 13, width, kept });
        }
    }
    cases
}

pub(super) fn random_cases() -> Vec<RandomCase> {
    let mut cases = Vec::new();
    for tokens in [0, 1, 7, 130] {
        for width in [1, 3, 65, 576] {
            for rate in [0.0, 0.05, 0.5, 0.999] {
                cases.push(RandomCase { tokens, width, rate });
            }
        }
    }
    cases
}
