//! Embeddings, plain and with a look-ahead, their gradients, noise and dropout.

use super::fixture::{Fixture, Kept, Result, START, one_sequence, slot, streams, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{
    Backend, Dropout, Embedding, Head, HeadTargets, LookAheadInputs, PassInputs, Residual, Segment,
    Select,
};

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
                b.embed(Embedding { width, scale }, &inputs, table, &mut out)?;
                results.near(format!("{name}, scale {scale}"), f.read(&out, size + 1));
            }
            if name != "mixed" {
                let mut d_table = f.accumulator(5, START + VOCABULARY * width + 1)?;
                let d_out = f.activation(6, size + 1)?;
                let embedding = Embedding { width, scale };
                b.embed_backward(embedding, &inputs, &d_out, slot(&mut d_table))?;
                let d_table = f.read_accumulator(&d_table, START + VOCABULARY * width + 1);
                results.near(format!("d_table, {name}"), d_table);
            }
        }
        Ok(results)
    }
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
