//! Rows and elements from one buffer to another.

use super::fixture::{Fixture, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, RowMap};

/// Copies and sums of rows.
#[derive(Debug)]
pub(super) struct RowsCase {
    rows: usize,
    width: usize,
}

impl Operation for RowsCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-6)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { rows, width } = *self;
        let size = rows * width;
        let x = f.activation(1, size)?;
        // Every third row backwards, after two others, and the first of them twice.
        let index: Vec<usize> = (0..rows).rev().step_by(3).chain((0..rows).rev().take(1)).collect();
        let count = index.len();
        let mut gathered = f.activation(2, (count + 2) * width + 1)?;
        b.copy_rows(width, &RowMap::gather(index.iter().copied(), 2), &x, &mut gathered);
        let mut added = f.activation(3, (count + 2) * width + 1)?;
        b.add_rows(width, &RowMap::gather(index.iter().copied(), 2), &x, &mut added);
        // Back to other places.
        let mut scattered = f.activation(4, size + 1)?;
        let mut replaced = f.activation(5, size + 1)?;
        if let Some(map) = RowMap::scatter(2, &index[..count.saturating_sub(1)]) {
            b.add_rows(width, &map, &gathered, &mut scattered);
            b.copy_rows(width, &map, &gathered, &mut replaced);
        }
        b.add(size, &f.accumulator(6, size + 1)?, &mut scattered);
        let mut results = Results::default();
        results.exact("gathered", f.read(&gathered, (count + 2) * width + 1));
        results.near("added", f.read(&added, (count + 2) * width + 1));
        results.near("scattered and added", f.read(&scattered, size + 1));
        results.exact("replaced", f.read(&replaced, size + 1));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<RowsCase> {
    let mut cases = Vec::new();
    for width in [1, 3, 24, 65, 576] {
        for rows in [0, 1, 7, 130, 1025] {
            cases.push(RowsCase { rows, width });
        }
    }
    cases
}
