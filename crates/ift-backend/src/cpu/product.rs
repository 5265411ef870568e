//! Matrix products: `C = [C +] [bias +] A·B` for matrices stored by rows or by columns.
//!
//! The plan is Goto's (Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008): `B` is packed once
//! into panels as wide as a tile, cut along `k` so that one panel stays in the first-level cache; blocks of rows of `A`
//! that stay in the second-level cache pass over the panels, tile by tile. Threads first pack `B` together, then take row
//! blocks. Each number of `C` is summed over `k` in one fixed order that depends on `k` alone: neither the number of
//! threads nor the other rows change a bit of it.

use super::Cpu;
use super::instructions::kernel;
use super::simd::Simd;
use super::threads::Shared;
use super::tile::{Block, run_block, tile_size};
use crate::Out;
use std::cell::RefCell;
use std::ops::Range;

/// Steps of `k` in a cut, at most.
const CUT: usize = 320;
/// Rows of `A` in a block, about.
const BLOCK_ROWS: usize = 144;
/// Numbers of `B` that are packed at once, about (16 MiB).
const PACKED: usize = 4 << 20;

/// Numbers of `A` that a task works on at a time, about (384 KiB).
const BLOCK_NUMBERS: usize = 96 << 10;
/// Panels of `B` that a task goes through before it takes the next cut: so much of `C` stays in the cache.
const COLUMN_PANELS: usize = 16;
/// Steps of `A` that are packed at a time where steps are far apart in memory.
const STEPS: usize = 32;
/// Side of the squares in which [`Simd::transpose`] works.
const SIDE: usize = 8;
/// Panels that one packing task takes.
const PANELS: usize = 4;

/// A matrix whose element `(i, j)` lies at `i·row + j·column`; one of the two is 1.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, `width` numbers a row.
    pub(super) fn by_rows(data: &'a [f32], width: usize) -> Self {
        Self { data, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix of `width` numbers a row.
    pub(super) fn transposed(data: &'a [f32], width: usize) -> Self {
        Self { data, row: 1, column: width }
    }

    /// The numbers from element `(i, j)` on, after checking that a `[rows, columns]` matrix from there lies inside.
    fn part(&self, i: usize, rows: usize, j: usize, columns: usize) -> &'a [f32] {
        let start = i * self.row + j * self.column;
        let end = start + (rows - 1) * self.row + (columns - 1) * self.column + 1;
        &self.data[start..end]
    }
}

/// The sizes and operands: `A` is `[m, k]`, `B` `[k, n]`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
    /// `[n]`, added to every row.
    pub bias: Option<&'a [f32]>,
    pub to: Out,
}

impl Product<'_> {
    /// Multiplications and additions.
    pub(super) fn flops(&self) -> u64 {
        2 * (self.m * self.n) as u64 * self.k as u64
    }
}

/// `total` cut into `parts` ranges that differ by at most one.
fn share(total: usize, parts: usize, i: usize) -> Range<usize> {
    total * i / parts..total * (i + 1) / parts
}

kernel! {
    /// Packs `[steps, columns]` of a `B` part into panels of `[steps, TILE_COLUMNS]`, zeros behind the last column.
    fn pack_columns<S>(from: &[f32], row: usize, column: usize, steps: usize, columns: usize, to: &mut [f32]) {
        let panel = steps * S::TILE_COLUMNS;
        if column == 1 {
            for p in 0..steps {
                for (j, from) in from[p * row..p * row + columns].chunks(S::TILE_COLUMNS).enumerate() {
                    let to = &mut to[j * panel + p * S::TILE_COLUMNS..][..S::TILE_COLUMNS];
                    if from.len() == S::TILE_COLUMNS {
                        to.copy_from_slice(from);
                    } else {
                        to[..from.len()].copy_from_slice(from);
                        to[from.len()..].fill(0.0);
                    }
                }
            }
        } else {
            for (j, to) in to.chunks_exact_mut(panel).enumerate() {
                let first = j * S::TILE_COLUMNS;
                let count = S::TILE_COLUMNS.min(columns - first);
                transpose::<S>(&from[first * column..], column, steps, count, S::TILE_COLUMNS, to);
            }
        }
    }
}

/// `to[p·width + j] = from[j·stride + p]` for `p < steps`, `j < count`; zeros for `count ≤ j < width`.
#[inline(always)]
pub(super) fn transpose<S: Simd>(
    from: &[f32],
    stride: usize,
    steps: usize,
    count: usize,
    width: usize,
    to: &mut [f32],
) {
    let squares = (count / SIDE * SIDE, steps / SIDE * SIDE);
    assert!(count == 0 || (count - 1) * stride + steps <= from.len());
    assert!(count <= width && steps * width <= to.len());
    for j in (0..squares.0).step_by(SIDE) {
        for p in (0..squares.1).step_by(SIDE) {
            // SAFETY: eight rows of eight numbers inside `count × steps` and `steps × width`, checked above.
            unsafe {
                let from = from.as_ptr().add(j * stride + p);
                S::transpose(from, stride, to.as_mut_ptr().add(p * width + j), width);
            }
        }
    }
    for (p, to) in to.chunks_exact_mut(width).enumerate().take(steps) {
        let done = if p < squares.1 { squares.0 } else { 0 };
        for (j, to) in to.iter_mut().enumerate().skip(done) {
            *to = if j < count { from[j * stride + p] } else { 0.0 };
        }
    }
}

/// Packs rows of `A` over some steps into panels of `[steps, TILE_ROWS]`, zeros behind the last row. `to` has a square's
/// side more than the panels need.
#[inline(always)]
fn pack_rows<S: Simd>(product: &Product, rows: Range<usize>, steps: Range<usize>, to: &mut [f32]) {
    let a = product.a;
    let (height, depth) = (S::TILE_ROWS, steps.len());
    if rows.is_empty() {
        return;
    }
    if a.row == 1 {
        // So few steps at a time that their cache lines still lie there when the next panel reads on in them.
        for first in (0..depth).step_by(STEPS) {
            for (i, row) in rows.clone().step_by(height).enumerate() {
                let count = height.min(rows.end - row);
                for p in first..depth.min(first + STEPS) {
                    let from = a.part(row, count, steps.start + p, 1);
                    let to = &mut to[(i * depth + p) * height..][..height];
                    if count == height {
                        to.copy_from_slice(&from[..height]);
                    } else {
                        to[..count].copy_from_slice(from);
                        to[count..].fill(0.0);
                    }
                }
            }
        }
        return;
    }
    for (i, first) in rows.clone().step_by(height).enumerate() {
        let to = &mut to[i * depth * height..];
        let reach = height.next_multiple_of(SIDE);
        let whole = if first + reach <= product.m { depth / SIDE * SIDE } else { 0 };
        for p in (0..whole).step_by(SIDE) {
            // The squares reach over the panel's rows into the next step, which is written after. The last first, so that
            // what one spills into the steps of its own block is written again.
            for j in (0..height).step_by(SIDE).rev() {
                let from = a.part(first + j, SIDE, steps.start + p, SIDE);
                let to = &mut to[p * height + j..][..(SIDE - 1) * height + SIDE];
                // SAFETY: both slices hold a square with these distances.
                unsafe { S::transpose(from.as_ptr(), a.row, to.as_mut_ptr(), height) }
            }
        }
        let count = height.min(rows.end - first);
        for (p, to) in to.chunks_exact_mut(height).enumerate().take(depth).skip(whole) {
            let from = a.part(first, count, steps.start + p, 1);
            for (r, to) in to.iter_mut().enumerate() {
                *to = if r < count { from[r * a.row] } else { 0.0 };
            }
        }
    }
}

/// One task: rows of `A` times packed panels.
struct Task<'a> {
    product: Product<'a>,
    /// Rows of the product.
    rows: Range<usize>,
    /// Columns of the product.
    columns: Range<usize>,
    /// The columns that `packed` holds.
    packed_columns: Range<usize>,
    packed: &'a [f32],
    /// `C` at the first of `rows` and `columns`; `rows × columns` of it, `n` apart, are this task's own.
    c: *mut f32,
}

kernel! {
    fn multiply<S>(task: &Task, scratch: &mut Vec<f32>) {
        let Product { n, k, a, bias, to, .. } = task.product;
        let m = task.rows.len();
        let panels = m.div_ceil(S::TILE_ROWS);
        let packed_width = task.packed_columns.len().next_multiple_of(S::TILE_COLUMNS);
        let bias = bias.map(|b| &b[task.columns.clone()]);
        let cuts = k.div_ceil(CUT).max(1);
        let deepest = k.div_ceil(cuts);
        // Rows that lie in memory step by step are read there, unless their distance makes them fall on each other in the
        // cache, or there are too many of them to address.
        let in_place = a.column == 1 && S::TILE_ROWS <= 8 && a.row % 1024 != 0;
        let whole = if in_place { m / S::TILE_ROWS } else { 0 };
        // So many cuts at a time as keep these rows of `A` in the cache.
        let together = (BLOCK_NUMBERS / (m * deepest).max(1)).clamp(1, cuts);
        let size = panels * S::TILE_ROWS * deepest;
        scratch.resize(scratch.len().max(together * size + SIDE), 0.0);
        for first_cut in (0..cuts).step_by(together) {
            let batch = first_cut..cuts.min(first_cut + together);
            for cut in batch.clone() {
                let rows = task.rows.start + whole * S::TILE_ROWS..task.rows.end;
                let to = &mut scratch[(cut - first_cut) * size..];
                pack_rows::<S>(&task.product, rows, share(k, cuts, cut), to);
            }
            for first in (0..task.columns.len()).step_by(COLUMN_PANELS * S::TILE_COLUMNS) {
                let columns = task.columns.len().min(first + COLUMN_PANELS * S::TILE_COLUMNS) - first;
                for cut in batch.clone() {
                    let steps = share(k, cuts, cut);
                    let depth = steps.len();
                    let panels_at = steps.start * packed_width
                        + (task.columns.start + first - task.packed_columns.start) * depth;
                    let b = &task.packed[panels_at..][..columns.next_multiple_of(S::TILE_COLUMNS) * depth];
                    let bias = bias.filter(|_| cut == 0).map(|b| &b[first..first + columns]);
                    let packed_rows = &scratch[(cut - first_cut) * size..][..(panels - whole) * S::TILE_ROWS * depth];
                    let mut block = Block {
                        m: m - whole * S::TILE_ROWS,
                        n: columns,
                        k: depth,
                        a: packed_rows.as_ptr(),
                        a_panel: S::TILE_ROWS * depth,
                        a_row: 1,
                        a_step: S::TILE_ROWS,
                        b: b.as_ptr(),
                        b_panel: S::TILE_COLUMNS * depth,
                        b_step: S::TILE_COLUMNS,
                        c: std::ptr::null_mut(),
                        c_row: n,
                        bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                        add: cut > 0 || to == Out::Add,
                    };
                    // SAFETY: the slices hold all that the blocks read; the rows behind the `whole` panels, and then those
                    // of the panels, are the task's part of `C`.
                    unsafe {
                        block.c = task.c.add(whole * S::TILE_ROWS * n + first);
                        run_block::<S>(&block);
                        if whole > 0 && depth > 0 {
                            let rows = whole * S::TILE_ROWS;
                            let from = a.part(task.rows.start, rows, steps.start, depth);
                            let (a_panel, c) = (S::TILE_ROWS * a.row, task.c.add(first));
                            let in_place = (from.as_ptr(), a_panel, a.row, 1);
                            (block.a, block.a_panel, block.a_row, block.a_step) = in_place;
                            run_block::<S>(&Block { m: rows, c, ..block });
                        }
                    }
                }
            }
        }
    }
}

thread_local! {
    /// Packed rows of `A`.
    static PACKED_ROWS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Cpu {
    /// Computes into `c`, `[m, n]`.
    pub(super) fn multiply(&self, product: &Product, c: &mut [f32]) {
        let Product { m, n, k, .. } = *product;
        if m == 0 || n == 0 {
            return;
        }
        let (tile_rows, tile_columns) = tile_size(self.set);
        let widest = (PACKED / k.max(1)).max(tile_columns * 4);
        let groups = n.div_ceil(widest);
        let panels = n.div_ceil(tile_columns);
        let c = Shared::new(&mut c[..m * n]);
        for group in 0..groups {
            let panels = share(panels, groups, group);
            let columns = panels.start * tile_columns..n.min(panels.end * tile_columns);
            let packed = self.pack(product, columns.clone(), tile_columns);
            let row_panels = m.div_ceil(tile_rows);
            let (row_parts, column_parts) = self.split(row_panels, panels.len(), BLOCK_ROWS / tile_rows);
            self.threads.each(row_parts * column_parts, |task| {
                let rows = share(row_panels, row_parts, task / column_parts);
                let rows = rows.start * tile_rows..m.min(rows.end * tile_rows);
                let part = share(panels.len(), column_parts, task % column_parts);
                let first = columns.start + part.start * tile_columns;
                let own = first..columns.end.min(columns.start + part.end * tile_columns);
                let last = (rows.end - 1) * n + own.end - 1;
                let at = rows.start * n + own.start;
                let task = Task {
                    product: *product,
                    rows,
                    columns: own,
                    packed_columns: columns.clone(),
                    packed: &packed,
                    // The tasks' rectangles of `c` do not overlap.
                    c: c.pointer(at, last + 1 - at),
                };
                PACKED_ROWS.with_borrow_mut(|scratch| multiply(self.set, &task, scratch));
            });
        }
    }

    /// The columns of `B`, packed: for each cut of `k` the panels one after the other.
    fn pack(&self, product: &Product, columns: Range<usize>, tile: usize) -> super::Buffer {
        let Product { k, b, .. } = *product;
        let cuts = k.div_ceil(CUT).max(1);
        let panels = columns.len().div_ceil(tile);
        let mut packed = self.pool.take(panels * tile * k);
        let shared = Shared::new(&mut packed);
        let groups = panels.div_ceil(PANELS);
        self.threads.each(if k == 0 { 0 } else { cuts * groups }, |task| {
            let (cut, group) = (task / groups, task % groups);
            let steps = share(k, cuts, cut);
            let (begin, end) = (group * PANELS, panels.min((group + 1) * PANELS));
            let first = columns.start + begin * tile;
            let width = ((end - begin) * tile).min(columns.end - first);
            let at = (steps.start * panels + begin * steps.len()) * tile;
            // SAFETY: every task has its own panels.
            let to = unsafe { shared.range(at..at + (end - begin) * tile * steps.len()) };
            let from = b.part(steps.start, steps.len(), first, width);
            pack_columns(self.set, from, b.row, b.column, steps.len(), width, to);
        });
        packed
    }

    /// Into how many parts to split the row panels and the column panels: blocks of at most `block` row panels, as
    /// many as keep all threads equally busy; columns too where rows are few.
    fn split(&self, row_panels: usize, column_panels: usize, block: usize) -> (usize, usize) {
        let threads = self.threads.count();
        let rows = row_panels.div_ceil(block).next_multiple_of(threads).min(row_panels);
        let columns = (4 * threads).div_ceil(rows).min(column_panels.div_ceil(4));
        (rows, if rows >= 2 * threads { 1 } else { columns })
    }
}
