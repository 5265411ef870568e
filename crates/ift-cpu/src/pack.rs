//! Packing: parts of matrices copied into panels of words, in the order in which tiles read them.

use crate::instructions::Available;
use crate::instructions::kernel;
use crate::number::{Number, widen_all};
use crate::simd::Simd;
use crate::stored::{Memory, Stored};
use crate::tile::Format;
use std::ops::Range;

/// Words of `A` along `k` that are packed at a time where steps are far apart in memory.
const STEPS: usize = 32;
/// Side of the squares in which [`Simd::transpose`] works, in words; what a buffer for packed rows
/// needs more than they do.
pub(crate) const SIDE: usize = 8;

/// A matrix whose element `(i, j)` lies at `i·row + j·column`; one of the two is 1.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row-major, `width` numbers a row.
    pub(crate) fn by_rows(data: &'a [T], width: usize) -> Self {
        Self { data, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix of `width` numbers a row.
    pub(crate) fn transposed(data: &'a [T], width: usize) -> Self {
        Self { data, row: 1, column: width }
    }

    /// The numbers from element `(i, j)` on, after checking that a `[rows, columns]` matrix from
    /// there lies inside.
    pub(crate) fn part(&self, i: usize, rows: usize, j: usize, columns: usize) -> &'a [T] {
        let start = i * self.row + j * self.column;
        let end = start + (rows - 1) * self.row + (columns - 1) * self.column + 1;
        &self.data[start..end]
    }
}

/// What a product multiplies with: an activation, or a weight as it is stored. Laid out like a
/// [`Matrix`].
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    numbers: Stored<'a, T>,
    row: usize,
    column: usize,
}

impl<'a, T: Number> Operand<'a, T> {
    /// Row-major, `width` numbers a row.
    pub(crate) fn by_rows(numbers: Stored<'a, T>, width: usize) -> Self {
        Self { numbers, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix of `width` numbers a row.
    pub(crate) fn transposed(numbers: Stored<'a, T>, width: usize) -> Self {
        Self { numbers, row: 1, column: width }
    }

    /// Some rows and columns: where they lie, or made in `memory`, so that a product makes each
    /// number once, and nothing as large as a weight is there.
    pub(crate) fn part<'s>(
        &self,
        set: Available,
        rows: Range<usize>,
        columns: Range<usize>,
        memory: &'s mut Memory,
    ) -> Matrix<'s, T>
    where
        'a: 's,
    {
        let Self { row, column, .. } = *self;
        if let Some(data) = self.numbers.ready() {
            let data = Matrix { data, row, column }.part(
                rows.start,
                rows.len(),
                columns.start,
                columns.len(),
            );
            return Matrix { data, row, column };
        }
        // Lines of numbers that lie one after the other.
        let by_rows = column == 1;
        let (lines, along, distance) =
            if by_rows { (rows, columns, row) } else { (columns, rows, column) };
        let data = memory.numbers(lines.len() * along.len());
        for (line, to) in lines.zip(data.chunks_exact_mut(along.len().max(1))) {
            self.numbers.skip(line * distance + along.start).copy(set, to);
        }
        if by_rows {
            Matrix::by_rows(data, along.len())
        } else {
            Matrix::transposed(data, along.len())
        }
    }
}

/// The steps that `words` hold, of `k` in all.
pub(crate) fn steps_of<T, F: Format<T>>(words: &Range<usize>, k: usize) -> Range<usize> {
    words.start * F::STEPS..k.min(words.end * F::STEPS)
}

/// `to[j] = join(step[j], next[j])`, zeros where there is no next step and behind the last number.
#[inline(always)]
fn join_rows<T: Number, F: Format<T>>(step: &[T], next: Option<&[T]>, to: &mut [f32]) {
    let (to, rest) = to.split_at_mut(step.len());
    match next {
        Some(next) => {
            to.iter_mut()
                .zip(step)
                .zip(next)
                .for_each(|((to, step), next)| *to = F::join(*step, *next));
        }
        None => to.iter_mut().zip(step).for_each(|(to, step)| *to = F::join(*step, T::zeroed())),
    }
    rest.fill(0.0);
}

kernel! {
    /// Packs `[steps, columns]` of a `B` part into panels of `[words, TILE_COLUMNS]`, zeros behind the last column.
    pub(crate) fn pack_columns<S, T: Number, F: Format<T>>(
        from: &[T],
        row: usize,
        column: usize,
        steps: usize,
        columns: usize,
        to: &mut [f32],
    ) {
        let words = steps.div_ceil(F::STEPS);
        let panel = words * S::TILE_COLUMNS;
        if column == 1 {
            for p in 0..words {
                let step = |s: usize| (s < steps).then(|| &from[s * row..s * row + columns]);
                let (Some(first), next) = (step(p * F::STEPS), step((p + 1) * F::STEPS - 1)) else { break };
                for (j, first) in first.chunks(S::TILE_COLUMNS).enumerate() {
                    let next = next.map(|next| &next[j * S::TILE_COLUMNS..][..first.len()]);
                    let to = &mut to[j * panel + p * S::TILE_COLUMNS..][..S::TILE_COLUMNS];
                    join_rows::<T, F>(first, next, to);
                }
            }
        } else {
            for (j, to) in to.chunks_exact_mut(panel).enumerate() {
                let first = j * S::TILE_COLUMNS;
                let count = S::TILE_COLUMNS.min(columns - first);
                transpose::<S, T, F>(&from[first * column..], column, steps, count, S::TILE_COLUMNS, to);
            }
        }
    }
}

/// `to[p·width + j]` becomes word `p` of `from[j·stride..][..steps]` for `j < count`; zeros for
/// `count ≤ j < width`.
#[inline(always)]
fn transpose<S: Simd, T: Number, F: Format<T>>(
    from: &[T],
    stride: usize,
    steps: usize,
    count: usize,
    width: usize,
    to: &mut [f32],
) {
    let words = steps.div_ceil(F::STEPS);
    let squares = (count / SIDE * SIDE, steps / F::STEPS / SIDE * SIDE);
    assert!(count == 0 || (count - 1) * stride + steps <= from.len());
    assert!(count <= width && words * width <= to.len());
    for j in (0..squares.0).step_by(SIDE) {
        for p in (0..squares.1).step_by(SIDE) {
            // SAFETY: eight rows of eight words inside `count × steps` and `words × width`, checked
            // above.
            unsafe {
                let from = from.as_ptr().add(j * stride + p * F::STEPS);
                S::transpose::<T, F>(from, stride, to.as_mut_ptr().add(p * width + j), width);
            }
        }
    }
    for (p, to) in to.chunks_exact_mut(width).enumerate().take(words) {
        let done = if p < squares.1 { squares.0 } else { 0 };
        for (j, to) in to.iter_mut().enumerate().skip(done) {
            *to = if j < count { word::<T, F>(&from[j * stride..][..steps], p) } else { 0.0 };
        }
    }
}

/// Word `p` of numbers that lie one after the other, with zeros behind them.
#[inline(always)]
fn word<T: Number, F: Format<T>>(numbers: &[T], p: usize) -> f32 {
    let at = |i: usize| numbers.get(i).copied().unwrap_or_else(T::zeroed);
    F::join(at(p * F::STEPS), at((p + 1) * F::STEPS - 1))
}

/// Packs rows of an `A` of `[m, k]` over some words into panels of `[words, TILE_ROWS]`, zeros
/// behind the last row. `to` has a square's side more than the panels need.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd, T: Number, F: Format<T>>(
    a: Matrix<T>,
    (m, k): (usize, usize),
    rows: Range<usize>,
    words: Range<usize>,
    to: &mut [f32],
) {
    let (height, depth) = (S::TILE_ROWS, words.len());
    let steps = steps_of::<T, F>(&words, k);
    if rows.is_empty() || steps.is_empty() {
        return;
    }
    if a.row == 1 {
        // So few steps at a time that their cache lines still lie there when the next panel reads
        // on in them.
        for first in (0..depth).step_by(STEPS) {
            for (i, row) in rows.clone().step_by(height).enumerate() {
                let count = height.min(rows.end - row);
                for p in first..depth.min(first + STEPS) {
                    let (step, next) =
                        (steps.start + p * F::STEPS, steps.start + (p + 1) * F::STEPS - 1);
                    let at = |step| a.part(row, count, step, 1);
                    let next = (next < steps.end).then(|| at(next));
                    join_rows::<T, F>(
                        at(step),
                        next,
                        &mut to[(i * depth + p) * height..][..height],
                    );
                }
            }
        }
        return;
    }
    for (i, first) in rows.clone().step_by(height).enumerate() {
        let to = &mut to[i * depth * height..];
        let reach = height.next_multiple_of(SIDE);
        let whole = if first + reach <= m { steps.len() / F::STEPS / SIDE * SIDE } else { 0 };
        for p in (0..whole).step_by(SIDE) {
            // The squares reach over the panel's rows into the next step, which is written after.
            // The last first, so that what one spills into the steps of its own block
            // is written again.
            for j in (0..height).step_by(SIDE).rev() {
                let from = a.part(first + j, SIDE, steps.start + p * F::STEPS, SIDE * F::STEPS);
                let to = &mut to[p * height + j..][..(SIDE - 1) * height + SIDE];
                // SAFETY: both slices hold a square with these distances.
                unsafe { S::transpose::<T, F>(from.as_ptr(), a.row, to.as_mut_ptr(), height) }
            }
        }
        let count = height.min(rows.end - first);
        for (r, from) in (0..count).map(|r| (r, a.part(first + r, 1, steps.start, steps.len()))) {
            for p in whole..depth {
                to[p * height + r] = word::<T, F>(from, p);
            }
        }
        for to in to.chunks_exact_mut(height).take(depth).skip(whole) {
            to[count..].fill(0.0);
        }
    }
}

/// Copies rows of a row-major `A` over some steps, widened, `steps` numbers a row: for tiles of so
/// few rows that each can be addressed by itself.
#[inline(always)]
pub(crate) fn widen_rows<T: Number>(
    a: Matrix<T>,
    rows: Range<usize>,
    steps: Range<usize>,
    to: &mut [f32],
) {
    if steps.is_empty() {
        return;
    }
    for (row, to) in rows.zip(to.chunks_exact_mut(steps.len())) {
        widen_all(a.part(row, 1, steps.start, steps.len()), to);
    }
}
