//! RMS norms and their gradients.

use super::fixture::{Fixture, Kept, Result, START, slot};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Norm};

/// A norm, forward and backward.
#[derive(Debug)]
pub(super) struct NormCase {
    rows: usize,
    norm: Norm,
    kept: Kept,
}

impl Operation for NormCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { rows, norm, kept } = *self;
        let size = rows * norm.width;
        let (x, d_out) = (f.activation(1, size)?, f.activation(3, size)?);
        let held = f.weight(kept, 2, norm.width)?;
        let w = held.weight();
        let (mut out, mut d_x) = (f.activation(4, size + 1)?, f.activation(5, size + 1)?);
        b.norm(rows, norm, &x, w, &mut out)?;
        let mut d_w = f.accumulator(6, START + norm.width + 1)?;
        b.norm_backward(rows, norm, &x, w, &d_out, &mut d_x, Some(slot(&mut d_w)))?;
        let mut d_x_only = f.activation(5, size + 1)?;
        b.norm_backward(rows, norm, &x, w, &d_out, &mut d_x_only, None)?;
        let mut results = Results::default();
        results.near("out", f.read(&out, size + 1));
        results.near("d_x", f.read(&d_x, size + 1));
        results.near("d_x without d_weight", f.read(&d_x_only, size + 1));
        results.near("d_weight", f.read_accumulator(&d_w, START + norm.width + 1));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<NormCase> {
    let mut cases = Vec::new();
    let norm = |width: usize| Norm { width, eps: 1e-5, offset: (width % 2) as f64 };
    for width in [1, 3, 24, 65, 576] {
        for rows in [0, 1, 7, 130, 1025] {
            cases.push(NormCase { rows, norm: norm(width), kept: Kept::Trainable });
        }
    }
    for kept in Kept::ALL.into_iter().filter(|&kept| kept != Kept::Trainable) {
        for width in [1, 24, 65, 641] {
            cases.push(NormCase { rows: 7, norm: norm(width), kept });
        }
    }
    cases
}
