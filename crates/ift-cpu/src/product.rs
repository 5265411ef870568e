//! Matrix products: `C = [base +] [bias +] A·B` for matrices stored by rows or by columns.
//!
//! The algorithm is Goto's (Goto & van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008): `B` is packed once into panels as wide as a tile, cut along `k` so that
//! one panel stays in the first-level cache. Blocks of rows of `A` that stay in the second-level
//! cache pass over the panels, tile by tile. Threads first pack `B` together, then take row blocks.
//! Each element of `C` is summed over `k` in f32, in a fixed order that depends on `k` alone:
//! neither the number of threads nor the other rows change a bit of it.
//!
//! Operands of `bf16` are widened as they are packed, or stay pairs where the machine multiplies
//! pairs ([`Pairs`](crate::words::Pairs)). A `C` of `bf16` is summed in f32 and rounded once.

use crate::elements::ScratchVec;
use crate::instructions::kernel;
use crate::number::Number;
use crate::pack::{Matrix, Operand, SIDE, pack_columns, pack_rows, steps_of, widen_rows};
use crate::scalar::{Scalar, round_all};
use crate::threads::Shared;
use crate::tile::{PackedProduct, Tiles, multiply_packed, tile_size};
use crate::words::{Format, Plain};
use crate::{Buffer, Cpu};
use ift_backend::{BackendError, Out};
use std::cell::RefCell;
use std::ops::Range;

/// Words of `k` in a cut, at most.
const CUT: usize = 320;
/// Rows of `A` in a block, about.
const BLOCK_ROWS: usize = 144;
/// Words of `B` that are packed at once, about (16 MiB).
pub(crate) const PACKED: usize = 4 << 20;
/// Words of `A` that a task works on at a time, about (384 KiB).
const BLOCK_WORDS: usize = 96 << 10;
/// Panels of `B` that a task goes through before it takes the next cut: so much of `C` stays in the
/// cache.
const COLUMN_PANELS: usize = 16;
/// Panels that one packing task takes.
const PANELS: usize = 4;

/// Sizes and operands of a product: `A` is `[m, k]`, `B` `[k, n]`.
#[derive(Clone, Copy)]
pub(crate) struct MatrixProduct<'a, T, C> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix<'a, T>,
    pub b: Operand<'a, T>,
    /// `[n]`, added to every row.
    pub bias: Option<&'a [f32]>,
    /// What is added: nothing, `C` as it was, or another `[m, n]`.
    pub to: Out<'a, [C]>,
}

impl<T, C> MatrixProduct<'_, T, C> {
    /// Multiplications and additions.
    pub(crate) fn flops(&self) -> u64 {
        2 * (self.m * self.n) as u64 * self.k as u64
    }
}

/// `total` cut into `parts` ranges that differ by at most one.
fn share(total: usize, parts: usize, i: usize) -> Range<usize> {
    total * i / parts..total * (i + 1) / parts
}

/// One task: rows of `A` times packed panels.
struct Task<'a, T, C> {
    product: MatrixProduct<'a, T, C>,
    /// Rows of the product.
    rows: Range<usize>,
    /// Columns of the product.
    columns: Range<usize>,
    /// The columns that `packed` holds.
    packed_columns: Range<usize>,
    packed: &'a [f32],
    /// `C` at the first of `rows` and `columns`; `rows × columns` of it, `n` apart, are this
    /// task's own.
    c: *mut C,
    /// What is added to it, laid out like `c`, which it may be; or null.
    base: *const C,
}

impl<T, C: Scalar> Task<'_, T, C> {
    /// Writes the sums to the columns of `C` from `first` on, `width` of each row, with `base`
    /// added and rounded.
    ///
    /// # Safety
    /// `c` and `base` are as the fields say, and the columns are inside the task's.
    #[inline(always)]
    unsafe fn finish(&self, first: usize, width: usize, sums: &[f32], distance: usize) {
        for (i, sums) in sums.chunks(distance).enumerate().take(self.rows.len()) {
            let (sums, at) = (&sums[..width], i * self.product.n + first);
            // SAFETY: inside the task's rectangle. An element of `base` is read before the element
            // of `c` at the same address is written.
            unsafe {
                let c = self.c.add(at);
                if self.base.is_null() {
                    round_all(sums, std::slice::from_raw_parts_mut(c, width));
                } else {
                    let base = self.base.add(at);
                    for (j, sum) in sums.iter().enumerate() {
                        c.add(j).write(C::round(sum + base.add(j).read().widen()));
                    }
                }
            }
        }
    }
}

/// Memory of a thread: decoded elements of a weight, packed rows of `A`, and sums.
#[derive(Default)]
struct ThreadMemory {
    weight: ScratchVec,
    rows: ScratchVec,
    sums: ScratchVec,
}

kernel! {
    /// Computes one task.
    fn multiply<S: Tiles, T: Scalar, F: Format<T>, C: Scalar>(
        task: &Task<T, C>,
        scratch: &mut ThreadMemory,
    ) {
        let MatrixProduct { n, k, a, bias, .. } = task.product;
        let m = task.rows.len();
        let panels = m.div_ceil(S::TILE_ROWS);
        let packed_width = task.packed_columns.len().next_multiple_of(S::TILE_COLUMNS);
        let bias = bias.map(|b| &b[task.columns.clone()]);
        let words = k.div_ceil(F::STEPS);
        let cuts = words.div_ceil(CUT).max(1);
        let deepest = words.div_ceil(cuts);
        // Row-major rows are read one by one where a tile has few enough to address each: in place,
        // unless they share cache sets because of their distance, or have to be widened.
        let by_rows = a.column == 1 && S::TILE_ROWS <= 8 && F::STEPS == 1;
        let in_place = by_rows && T::EXACT && a.row % 1024 != 0;
        let whole = if in_place { m / S::TILE_ROWS } else { 0 };
        // So many cuts at a time as keep these rows of `A` in the cache.
        let together = (BLOCK_WORDS / (m * deepest).max(1)).clamp(1, cuts);
        let size = panels * S::TILE_ROWS * deepest;
        let packed_rows = scratch.rows.words(together * size + SIDE);
        // Sums that cannot stay in `C` from cut to cut: of a group of columns, or of all columns if
        // the cuts do not fit at a time.
        let group = COLUMN_PANELS * S::TILE_COLUMNS;
        let all = together < cuts;
        let distance = if C::EXACT {
            n
        } else if all {
            task.columns.len()
        } else {
            group
        };
        let sums = scratch.sums.words(if C::EXACT { 0 } else { m * distance });
        for first_cut in (0..cuts).step_by(together) {
            let batch = first_cut..cuts.min(first_cut + together);
            for cut in batch.clone() {
                let rows = task.rows.start + whole * S::TILE_ROWS..task.rows.end;
                let to = &mut packed_rows[(cut - first_cut) * size..];
                let words = share(words, cuts, cut);
                if by_rows {
                    widen_rows(a, rows, steps_of::<T, F>(&words, k), to);
                } else {
                    pack_rows::<S, T, F>(a, (task.product.m, k), rows, words, to);
                }
            }
            for first in (0..task.columns.len()).step_by(group) {
                let columns = task.columns.len().min(first + group) - first;
                for cut in batch.clone() {
                    let words = share(words, cuts, cut);
                    let depth = words.len();
                    let panels_at = words.start * packed_width
                        + (task.columns.start + first - task.packed_columns.start) * depth;
                    let b = &task.packed[panels_at..]
                        [..columns.next_multiple_of(S::TILE_COLUMNS) * depth];
                    let bias = bias.filter(|_| cut == 0).map(|b| &b[first..first + columns]);
                    let own_rows = &packed_rows[(cut - first_cut) * size..]
                        [..(panels - whole) * S::TILE_ROWS * depth];
                    let (c, base) = if C::EXACT {
                        // `C` is `f32`.
                        let c = task.c.wrapping_add(first).cast::<f32>();
                        let base = if task.base.is_null() {
                            std::ptr::null()
                        } else {
                            task.base.wrapping_add(first).cast::<f32>()
                        };
                        (c, if cut == 0 { base } else { c.cast_const() })
                    } else {
                        let c = sums[if all { first } else { 0 }..].as_mut_ptr();
                        (c, if cut == 0 { std::ptr::null() } else { c.cast_const() })
                    };
                    let (a_row, a_step) = if by_rows { (depth, 1) } else { (1, S::TILE_ROWS) };
                    let below = |x: *const f32| {
                        if x.is_null() {
                            x
                        } else {
                            x.wrapping_add(whole * S::TILE_ROWS * distance)
                        }
                    };
                    let block = PackedProduct {
                        m: m - whole * S::TILE_ROWS,
                        n: columns,
                        k: depth,
                        a: own_rows.as_ptr(),
                        a_panel: S::TILE_ROWS * depth,
                        a_row,
                        a_step,
                        b: b.as_ptr(),
                        b_panel: S::TILE_COLUMNS * depth,
                        b_step: S::TILE_COLUMNS,
                        c: c.wrapping_add(whole * S::TILE_ROWS * distance),
                        c_row: distance,
                        base: below(base),
                        bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                    };
                    // SAFETY: the slices hold all that the products read. The rows after the
                    // `whole` panels, and then those of the panels, are the
                    // task's part of `C` or its own sums; `base` is laid out
                    // like `C`.
                    unsafe {
                        multiply_packed::<S, F>(&block);
                        if whole > 0 && depth > 0 {
                            let rows = whole * S::TILE_ROWS;
                            // Here elements are words, in place.
                            let from = a
                                .part(task.rows.start, rows, words.start, depth)
                                .as_ptr()
                                .cast::<f32>();
                            let a_panel = S::TILE_ROWS * a.row;
                            multiply_packed::<S, F>(&PackedProduct {
                                m: rows,
                                a: from,
                                a_panel,
                                a_row: a.row,
                                a_step: 1,
                                c,
                                base,
                                ..block
                            });
                        }
                    }
                }
                if !C::EXACT && batch.end == cuts {
                    let sums = &sums[if all { first } else { 0 }..];
                    // SAFETY: these columns are the task's.
                    unsafe { task.finish(first, columns, sums, distance) }
                }
            }
        }
    }
}

type Result<T> = std::result::Result<T, BackendError>;

thread_local! {
    static SCRATCH: RefCell<ThreadMemory> = RefCell::default();
}

impl<N: Number> Cpu<N> {
    /// Computes into `c`, `[m, n]`.
    pub(crate) fn multiply<C: Scalar>(
        &self,
        product: &MatrixProduct<N, C>,
        c: &mut [C],
    ) -> Result<()> {
        if self.narrow_products {
            self.multiply_in::<N::Narrow, C>(product, c)
        } else {
            self.multiply_in::<Plain, C>(product, c)
        }
    }

    fn multiply_in<F: Format<N>, C: Scalar>(
        &self,
        product: &MatrixProduct<N, C>,
        c: &mut [C],
    ) -> Result<()> {
        let MatrixProduct { m, n, k, .. } = *product;
        if m == 0 || n == 0 {
            return Ok(());
        }
        // A product that overflows is more than any slice holds; from here on none does.
        let size = m.saturating_mul(n);
        let c = Shared::new(&mut c[..size]);
        assert!(k == 0 || product.a.holds(m, k), "`A` is not [{m}, {k}]");
        let (tile_rows, tile_columns) = tile_size(self.set);
        let words = k.div_ceil(F::STEPS);
        let widest = (PACKED / words.max(1)).max(tile_columns * 4);
        let groups = n.div_ceil(widest);
        let panels = n.div_ceil(tile_columns);
        let base = if let Out::Plus(base) = product.to { &base[..size] } else { &[] };
        for group in 0..groups {
            let panels = share(panels, groups, group);
            let columns = panels.start * tile_columns..n.min(panels.end * tile_columns);
            let packed = self.pack::<F, C>(product, columns.clone(), tile_columns)?;
            let row_panels = m.div_ceil(tile_rows);
            let (row_parts, column_parts) =
                self.split(row_panels, panels.len(), BLOCK_ROWS / tile_rows);
            self.threads.each_of(product.flops() as usize, row_parts * column_parts, |task| {
                let rows = share(row_panels, row_parts, task / column_parts);
                let rows = rows.start * tile_rows..m.min(rows.end * tile_rows);
                let part = share(panels.len(), column_parts, task % column_parts);
                let first = columns.start + part.start * tile_columns;
                let own = first..columns.end.min(columns.start + part.end * tile_columns);
                let last = (rows.end - 1) * n + own.end - 1;
                let at = rows.start * n + own.start;
                // The tasks' rectangles of `c` do not overlap.
                let c = c.pointer(at, last + 1 - at);
                let base = match product.to {
                    Out::Set => std::ptr::null(),
                    Out::Add => c.cast_const(),
                    Out::Plus(_) => base[at..=last].as_ptr(),
                };
                let packed_columns = columns.clone();
                let task = Task {
                    product: *product,
                    rows,
                    columns: own,
                    packed_columns,
                    packed: &packed,
                    c,
                    base,
                };
                SCRATCH.with_borrow_mut(|scratch| multiply::<N, F, C>(self.set, &task, scratch));
            });
        }
        Ok(())
    }

    /// The columns of `B`, packed: for each cut of `k` the panels one after the other.
    fn pack<F: Format<N>, C>(
        &self,
        product: &MatrixProduct<N, C>,
        columns: Range<usize>,
        tile: usize,
    ) -> Result<Buffer<f32>> {
        let MatrixProduct { k, b, .. } = *product;
        let words = k.div_ceil(F::STEPS);
        let cuts = words.div_ceil(CUT).max(1);
        let panels = columns.len().div_ceil(tile);
        let len = (panels * tile).saturating_mul(words);
        let mut packed = self.arena.take("packed columns of a product", len)?;
        let shared = Shared::new(&mut packed);
        let groups = panels.div_ceil(PANELS);
        let tasks = if k == 0 { 0 } else { cuts * groups };
        self.threads.each_of(product.flops() as usize, tasks, |task| {
            let (cut, group) = (task / groups, task % groups);
            let words = share(words, cuts, cut);
            let steps = steps_of::<N, F>(&words, k);
            let (begin, end) = (group * PANELS, panels.min((group + 1) * PANELS));
            let first = columns.start + begin * tile;
            let width = ((end - begin) * tile).min(columns.end - first);
            let at = (words.start * panels + begin * words.len()) * tile;
            // SAFETY: every task has its own panels.
            let to = unsafe { shared.range(at..at + (end - begin) * tile * words.len()) };
            SCRATCH.with_borrow_mut(|scratch| {
                let from =
                    b.part(self.set, steps.clone(), first..first + width, &mut scratch.weight);
                pack_columns::<N, F>(self.set, from, steps.len(), width, to);
            });
        });
        Ok(packed)
    }

    /// The number of parts of the row panels and of the column panels: blocks of at most `block`
    /// row panels, as many as keep all threads equally busy; columns are split too where rows
    /// are few.
    fn split(&self, row_panels: usize, column_panels: usize, block: usize) -> (usize, usize) {
        let threads = self.threads.count();
        let rows = row_panels.div_ceil(block).next_multiple_of(threads).min(row_panels);
        let columns = (4 * threads).div_ceil(rows).min(column_panels.div_ceil(4));
        (rows, if rows >= 2 * threads { 1 } else { columns })
    }
}

#[cfg(test)]
mod tests;
