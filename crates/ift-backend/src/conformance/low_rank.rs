//! Norms of the rows of a weight with a low-rank sum.

use super::fixture::{Fixture, Kept, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, LowRank, Storage};

/// Norms of adapted rows.
#[derive(Debug)]
pub(super) struct LowRankCase {
    low_rank: LowRank,
    kept: Kept,
}

impl Operation for LowRankCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(2e-6)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let Self { low_rank, kept } = self;
        let (inputs, rank, rows) = (low_rank.inputs, low_rank.rank, low_rank.rows.clone());
        let w = f.weight(*kept, 1, (rows.end + 2) * inputs)?;
        let a = f.weight(Kept::Trainable, 2, rank * inputs)?;
        let b = f.weight(Kept::Trainable, 3, rows.len() * rank)?;
        let norms = f.backend.adapted_norms(low_rank, w.weight(), a.weight(), b.weight())?;
        let mut results = Results::default();
        results.exact("count", vec![norms.len() as f64]);
        results.near("norms", norms);
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<LowRankCase> {
    let mut cases = Vec::new();
    for inputs in [1, 3, 64, 65, 127, 576, 2049] {
        for (rank, rows) in [(1, 0..1), (8, 3..10), (17, 0..130), (3, 5..5)] {
            let low_rank = LowRank { inputs, rank, rows, scale: 1.7 };
            cases.push(LowRankCase { low_rank, kept: Kept::Trainable });
        }
    }
    for storage in [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4] {
        let low_rank = LowRank { inputs: 65, rank: 5, rows: 30..33, scale: 0.5 };
        cases.push(LowRankCase { low_rank, kept: Kept::Frozen(storage) });
    }
    cases
}
