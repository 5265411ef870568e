//! Inputs that an upload refuses.

use super::fixture::{Fixture, Kept, Result, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{
    Backend, Head, HeadTargets, LookAheadInputs, PassInputs, PastBlocks, Residual, Segment, Select,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether an upload panics, for inputs that are right and wrong.
#[derive(Debug)]
pub(super) struct UploadCase;

const fn segment(start: usize, len: usize, past_start: usize, past_len: usize) -> Segment {
    Segment { start, len, past_start, past_len }
}

/// Segments that five tokens do not have.
const WRONG_SEGMENTS: [(&str, &[Segment]); 8] = [
    ("overlap", &[segment(0, 3, 0, 0), segment(2, 3, 0, 0)]),
    ("gap", &[segment(0, 1, 0, 0), segment(2, 3, 0, 0)]),
    ("wrong order", &[segment(2, 3, 0, 0), segment(0, 2, 0, 0)]),
    ("tokens without a segment", &[segment(0, 4, 0, 0)]),
    ("a segment beyond the tokens", &[segment(0, 6, 0, 0)]),
    ("no segment", &[]),
    ("a past beyond all lengths", &[segment(0, 5, 0, usize::MAX - 1)]),
    ("a start of the past beyond all lengths", &[segment(0, 5, usize::MAX, 1)]),
];

impl Operation for UploadCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let ids = tokens(1, 5, 9);
        let (streams, noise) = ([1, 2, 3, 4, 5], [0.5; 5]);
        let right = [segment(0, 2, 0, 9), segment(2, 0, 0, 0), segment(2, 3, 3, 4)];
        let pass = |segments| PassInputs::<B::Scores> {
            tokens: &ids,
            segments,
            streams: &[],
            noise: &[],
            look_ahead: None,
            past_blocks: None,
        };
        let head = Head { width: 1, vocabulary: 2 };
        let w = f.weight(Kept::Trainable, 2, 2)?;
        let x = f.activation(3, 1)?;
        let targets = HeadTargets { ids: &[0], select: Select::Argmax, keep_logits: false };
        let scores = b.head(head, &x, w.weight(), &targets)?;
        let look_ahead = |index| {
            Some(LookAheadInputs { scores: &scores, index, how: Residual::Mix { lambda: 0.5 } })
        };
        let blocks = |size, table| Some(PastBlocks { size, table });
        let mut results = Results::default();
        let mut check = |name: &str, inputs: PassInputs<B::Scores>| -> Result<()> {
            let panics = match catch_unwind(AssertUnwindSafe(|| b.upload(&inputs))) {
                Ok(uploaded) => uploaded.map(|_| 0.0)?,
                Err(_) => 1.0,
            };
            results.exact(name, vec![panics]);
            Ok(())
        };
        check("right", pass(&right))?;
        for (name, segments) in WRONG_SEGMENTS {
            check(name, pass(segments))?;
        }
        check("all streams", PassInputs { streams: &streams, noise: &noise, ..pass(&right) })?;
        check("few streams", PassInputs { streams: &streams[1..], ..pass(&right) })?;
        check("noise without streams", PassInputs { noise: &noise, ..pass(&right) })?;
        let few = &noise[1..];
        check("few magnitudes", PassInputs { streams: &streams, noise: few, ..pass(&right) })?;
        check("look-ahead", PassInputs { look_ahead: look_ahead(&[Some(0); 5]), ..pass(&right) })?;
        check("few indices", PassInputs { look_ahead: look_ahead(&[None; 4]), ..pass(&right) })?;
        check("blocks", PassInputs { past_blocks: blocks(4, &[3, 1, 4, 1]), ..pass(&right) })?;
        check("few blocks", PassInputs { past_blocks: blocks(4, &[3, 1]), ..pass(&right) })?;
        check("odd blocks", PassInputs { past_blocks: blocks(6, &[3, 1, 4, 1]), ..pass(&right) })?;
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<UploadCase> {
    vec![UploadCase]
}
