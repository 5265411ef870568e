//! Packing: copies parts of matrices into panels of words, in the order in which tiles read them.

use crate::elements::{Elements, ScratchVec};
use crate::instructions::{Available, kernel};
use crate::scalar::{Scalar, widen_all};
use crate::tile::Tiles;
use crate::words::Format;
use std::ops::Range;

/// Words of `A` along `k` that are packed at a time where consecutive steps are far apart.
const STEPS: usize = 32;
/// Words on a side of the squares that `Simd::transpose` writes. A buffer for packed rows has room
/// for so many words more.
pub(crate) const SIDE: usize = 8;

/// A matrix whose element `(i, j)` lies at `i·row + j·column`; one of the two is 1.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row-major, `width` elements a row.
    pub(crate) fn by_rows(data: &'a [T], width: usize) -> Self {
        Self { data, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix of `width` elements a row.
    pub(crate) fn transposed(data: &'a [T], width: usize) -> Self {
        Self { data, row: 1, column: width }
    }

    /// Whether all of a `[rows, columns]` matrix, neither of them 0, lies inside.
    pub(crate) fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = |count: usize, distance: usize| (count - 1).checked_mul(distance);
        let last = last(rows, self.row).zip(last(columns, self.column));
        last.and_then(|(i, j)| i.checked_add(j)).is_some_and(|last| last < self.data.len())
    }

    /// The elements from `(i, j)` on, checked to hold a `[rows, columns]` matrix.
    pub(crate) fn part(&self, i: usize, rows: usize, j: usize, columns: usize) -> &'a [T] {
        let start = i * self.row + j * self.column;
        let end = start + (rows - 1) * self.row + (columns - 1) * self.column + 1;
        &self.data[start..end]
    }
}

/// The right operand of a product: an activation, or a weight in its storage. Laid out like a
/// [`Matrix`].
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    elements: Elements<'a, T>,
    row: usize,
    column: usize,
}

impl<'a, T: Scalar> Operand<'a, T> {
    /// Row-major, `width` elements a row.
    pub(crate) fn by_rows(elements: Elements<'a, T>, width: usize) -> Self {
        Self { elements, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix of `width` elements a row.
    pub(crate) fn transposed(elements: Elements<'a, T>, width: usize) -> Self {
        Self { elements, row: 1, column: width }
    }

    /// Some rows and columns: in place, or decoded into `memory`. A product decodes each element
    /// once, and never the whole weight at a time.
    pub(crate) fn part<'s>(
        &self,
        set: Available,
        rows: Range<usize>,
        columns: Range<usize>,
        memory: &'s mut ScratchVec,
    ) -> Matrix<'s, T>
    where
        'a: 's,
    {
        let Self { row, column, .. } = *self;
        if let Some(data) = self.elements.ready() {
            let data = Matrix { data, row, column }.part(
                rows.start,
                rows.len(),
                columns.start,
                columns.len(),
            );
            return Matrix { data, row, column };
        }
        // Lines of consecutive elements.
        let by_rows = column == 1;
        let (lines, along, distance) =
            if by_rows { (rows, columns, row) } else { (columns, rows, column) };
        let data = memory.elements(lines.len() * along.len());
        for (line, to) in lines.zip(data.chunks_exact_mut(along.len().max(1))) {
            self.elements.skip(line * distance + along.start).copy(set, to);
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

/// `to[j] = join(step[j], next[j])`, zeros where there is no next step and after the last element.
#[inline(always)]
fn join_rows<T: Scalar, F: Format<T>>(step: &[T], next: Option<&[T]>, to: &mut [f32]) {
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
    /// Packs `[steps, columns]` of `B` into panels of `[words, TILE_COLUMNS]`, zeros after the last
    /// column.
    pub(crate) fn pack_columns<S: Tiles, T: Scalar, F: Format<T>>(
        from: Matrix<T>,
        steps: usize,
        columns: usize,
        to: &mut [f32],
    ) {
        let Matrix { data: from, row, column } = from;
        let words = steps.div_ceil(F::STEPS);
        let panel = words * S::TILE_COLUMNS;
        if column == 1 {
            for p in 0..words {
                let step = |s: usize| (s < steps).then(|| &from[s * row..s * row + columns]);
                let (Some(first), next) = (step(p * F::STEPS), step((p + 1) * F::STEPS - 1)) else {
                    break;
                };
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
                let from = Matrix::by_rows(&from[first * column..], column);
                transpose::<S, T, F>(from, steps, count, S::TILE_COLUMNS, to);
            }
        }
    }
}

/// `to[p·width + j]` becomes word `p` of the first `steps` elements of row `j` for `j < count`;
/// zeros for `count ≤ j < width`.
#[inline(always)]
fn transpose<S: Tiles, T: Scalar, F: Format<T>>(
    from: Matrix<T>,
    steps: usize,
    count: usize,
    width: usize,
    to: &mut [f32],
) {
    let Matrix { data: from, row: stride, .. } = from;
    let words = steps.div_ceil(F::STEPS);
    let squares = (count / SIDE * SIDE, steps / F::STEPS / SIDE * SIDE);
    let end = count.saturating_sub(1).saturating_mul(stride).saturating_add(steps);
    assert!(count == 0 || end <= from.len());
    assert!(count <= width && words.saturating_mul(width) <= to.len());
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

/// Word `p` of consecutive elements, with zeros after them.
#[inline(always)]
fn word<T: Scalar, F: Format<T>>(elements: &[T], p: usize) -> f32 {
    let at = |i: usize| elements.get(i).copied().unwrap_or_else(T::zeroed);
    F::join(at(p * F::STEPS), at((p + 1) * F::STEPS - 1))
}

/// Packs rows of an `A` of `[m, k]` over some words into panels of `[words, TILE_ROWS]`, zeros
/// after the last row. `to` has room for [`SIDE`] words more than the panels need.
#[inline(always)]
pub(crate) fn pack_rows<S: Tiles, T: Scalar, F: Format<T>>(
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
        // So few steps at a time that their cache lines are still cached when the next panel reads
        // the rest of them.
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
            // The squares extend over the panel's rows into the next step, which is written after.
            // The last square comes first, so that what one spills into the steps of its own block
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

/// Copies rows of a row-major `A` over some steps, widened, `steps` elements a row: for tiles of so
/// few rows that each can be addressed by itself.
#[inline(always)]
pub(crate) fn widen_rows<T: Scalar>(
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
