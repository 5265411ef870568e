//! Some columns of a matrix: what fused projections with adapters are made of.

use super::fixture::{Fixture, Result, START, slot};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Columns};

/// The operations on some columns.
#[derive(Debug)]
pub(super) struct ColumnsCase(Columns);

impl Operation for ColumnsCase {
    fn tolerance(&self) -> CaseTolerance {
        // Each element is rounded once.
        CaseTolerance::direct(2e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, columns) = (f.backend, &self.0);
        let (all, count) = (columns.tokens * columns.width, columns.columns.len());
        let part = columns.tokens * count;
        let (x, y) = (f.activation(1, all + 1)?, f.activation(2, part + 1)?);
        let mut taken = f.activation(3, part + 1)?;
        b.take_columns(columns, &x, &mut taken);
        let mut added = f.activation(4, all + 1)?;
        b.add_columns(columns, &y, -0.37, &mut added);
        let mut scaled = f.activation(5, all + 1)?;
        b.scale_columns(columns, &f.values(6, count), &mut scaled);
        let mut sums = f.accumulator(7, START + count + 1)?;
        b.column_products(columns, &x, &f.activation(8, all)?, slot(&mut sums));
        let mut results = Results::default();
        results.exact("taken", f.read(&taken, part + 1));
        results.near("added", f.read(&added, all + 1));
        results.near("scaled", f.read(&scaled, all + 1));
        results.near("sums", f.read_accumulator(&sums, START + count + 1));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<ColumnsCase> {
    let mut cases = Vec::new();
    for tokens in [0, 1, 7, 130, 1025] {
        for (width, columns) in
            [(1, 0..1), (3, 1..2), (24, 0..24), (65, 3..64), (576, 64..192), (600, 137..600)]
        {
            cases.push(ColumnsCase(Columns { tokens, width, columns }));
        }
    }
    cases
}
