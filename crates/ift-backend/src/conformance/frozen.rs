//! Weights that are never trained: every storage keeps the same values on every backend.

use super::fixture::{Fixture, Result, f64_bytes};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Element, HostTensor, NumberType, Storage};
use std::ops::Range;

/// What a storage keeps.
#[derive(Debug)]
pub(super) struct FrozenCase {
    /// `None` for blocks at the edges of what a storage can keep.
    len: Option<usize>,
    storage: Storage,
}

impl Operation for FrozenCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let values = match self.len {
            Some(len) => f.values(1, len),
            None => edges().into_iter().map(|x| f.rounded(x)).collect(),
        };
        let (b, len) = (f.backend, values.len());
        let mut results = Results::default();
        let read = |frozen: &B::Frozen, range: Range<usize>| {
            b.read_frozen(frozen, range).into_iter().map(Element::to_f64).collect()
        };
        let frozen = f.frozen_from(&values, self.storage)?;
        let ranges = [0..len, len / 2..len, len / 3..len / 2, len - 1..len];
        for (i, range) in ranges.into_iter().enumerate() {
            results.exact(format!("range {i}"), read(&frozen, range));
        }
        let bytes = f64_bytes(&values);
        let part = HostTensor { number: NumberType::F64, bytes: &bytes };
        let frozen = b.frozen(&[part], self.storage)?;
        results.exact("of one part", read(&frozen, 0..len));
        Ok(results)
    }
}

/// Blocks whose elements are all 0, all equal, or at the ends of the range.
fn edges() -> Vec<f64> {
    let blocks: [fn(usize) -> f64; 5] = [
        |_| 0.0,
        |_| -3.5,
        |i| if i == 7 { 3.3e38 } else { 1.0 },
        |i| f64::from(f32::MIN_POSITIVE) * i as f64,
        |i| if i % 2 == 0 { 1e-3 } else { -1e-3 },
    ];
    blocks.iter().flat_map(|block| (0..Storage::BLOCK).map(block)).collect()
}

pub(super) fn cases() -> Vec<FrozenCase> {
    let mut cases = Vec::new();
    for storage in [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4] {
        for len in [1, 63, 64, 65, 1000, 100_003] {
            cases.push(FrozenCase { len: Some(len), storage });
        }
        cases.push(FrozenCase { len: None, storage });
    }
    cases
}
