//! Elements that are not finite in buffers, optimizer steps, rows and columns.

use super::super::fixture::{Fixture, Result, START, slot};
use super::super::results::Results;
use super::element::Element;
use crate::{Backend, Columns, RangeUpdate, RowMap, Update};

pub(super) fn sums_of_squares<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let len = 70_001;
    let mut values = vec![1.0; len];
    values[66_000] = element.0;
    let accumulator = f.accumulator_from(&values)?;
    let ranges = [0..len, 0..66_000, 66_001..len, 66_000..66_001, 65_990..66_010];
    let sums = f.backend.sums_of_squares(&accumulator, &ranges);
    // Infinity or NaN: an implementation may overflow on the way.
    let sums = sums.into_iter().map(|sum| if sum.is_finite() { sum } else { f64::NAN });
    results.exact("sums", sums.collect());
    Ok(())
}

pub(super) fn update<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let len = 100;
    let rule = Update::AdamW {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.125,
        step: 1,
    };
    let mut parameters = f.parameters_from(&f.values(1, len))?;
    let gradient = f.accumulator_from(&element.among(f, 2, START + len + 1, 71))?;
    let mut states = [f.accumulator(3, START + len + 1)?, f.backend.accumulator(START + len + 1)?];
    f.backend.clear(&mut states[0]);
    let updates = [RangeUpdate { range: START..START + len, rule }];
    f.backend.update(&mut parameters, &gradient, &mut states, &updates, 0.5);
    let read = f.backend.read_parameters(&parameters, 0..START + len);
    results.near("parameters", read.into_iter().map(crate::Element::to_f64).collect());
    results.near("first state", f.read_accumulator(&states[0], START + len));
    results.near("second state", f.read_accumulator(&states[1], START + len));
    Ok(())
}

pub(super) fn rows<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, width, rows) = (f.backend, 19, 6);
    let x = b.activation_from(&element.among(f, 1, rows * width, 2 * width + 18))?;
    let map = RowMap::gather([2, 0, 2], 1);
    let mut copied = f.activation(2, rows * width)?;
    b.copy_rows(width, &map, &x, &mut copied);
    results.exact("copied", f.read(&copied, rows * width));
    let mut added = f.activation(3, rows * width)?;
    b.add_rows(width, &map, &x, &mut added);
    results.near("added", f.read(&added, rows * width));
    let accumulator = f.accumulator_from(&element.among(f, 4, rows * width, 7))?;
    b.add(rows * width, &accumulator, &mut added);
    results.near("accumulator added", f.read(&added, rows * width));
    Ok(())
}

pub(super) fn columns<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let b = f.backend;
    let columns = Columns { tokens: 5, width: 40, columns: 3..36 };
    let (all, count) = (columns.tokens * columns.width, columns.columns.len());
    let x = b.activation_from(&element.among(f, 1, all, 2 * columns.width + 20))?;
    let mut taken = b.activation(columns.tokens * count)?;
    b.take_columns(&columns, &x, &mut taken);
    results.exact("taken", f.read(&taken, columns.tokens * count));
    let mut added = f.activation(2, all)?;
    b.add_columns(&columns, &taken, 0.5, &mut added);
    results.near("added", f.read(&added, all));
    let mut sums = b.accumulator(START + count)?;
    b.column_products(&columns, &x, &f.activation(3, all)?, slot(&mut sums));
    results.near("sums", f.read_accumulator(&sums, START + count));
    Ok(())
}
