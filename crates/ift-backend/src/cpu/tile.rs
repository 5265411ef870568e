//! The innermost part of every matrix product: a tile of the output kept in registers.

use super::instructions::kernel;
use super::simd::Simd;

/// From so many steps on, a tile's part of `C` is expected to be far away.
const FAR: usize = 128;
/// Numbers in the largest tile, 14 × 32.
const LARGEST: usize = 448;

/// A tile `C = [C +] [bias +] A·B`: `A` is `[TILE_ROWS, k]`, `B` `[k, TILE_COLUMNS]`, and the leading
/// `rows × columns` of the product are stored.
///
/// Either `a_row` or `a_step` is 1. `a` is readable at `i·a_row + p·a_step` for `i < TILE_ROWS`, `p < k`; `b` for `TILE_COLUMNS` numbers from every
/// `p·b_step`; `c` is readable and writable at `i·c_row + j` for `i < rows`, `j < columns`, and nobody else uses those;
/// `bias` is null or readable for `columns` numbers.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub k: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    pub b: *const f32,
    pub b_step: usize,
    pub c: *mut f32,
    pub c_row: usize,
    pub rows: usize,
    pub columns: usize,
    pub bias: *const f32,
    pub add: bool,
}

/// `sum += x·b`.
///
/// # Safety
/// The machine has `S`'s instructions.
#[inline(always)]
unsafe fn add_row<S: Simd>(sum: &mut [S::Vector; 2], x: f32, b: [S::Vector; 2]) {
    // SAFETY: the machine has the instructions by contract.
    unsafe {
        let x = S::splat(x);
        sum[0] = S::multiply_add(x, b[0], sum[0]);
        sum[1] = S::multiply_add(x, b[1], sum[1]);
    }
}

/// # Safety
/// The machine has `S`'s instructions, `ROWS` is `S::TILE_ROWS`, and the pointers are as [`Tile`] says.
#[inline(always)]
pub(super) unsafe fn run_tile<S: Simd, const ROWS: usize>(tile: &Tile) {
    let Tile { k, a_row, a_step, b_step, c_row, rows, columns, bias, add, .. } = *tile;
    // SAFETY: all offsets are those that `Tile` promises.
    unsafe {
        let mut sums = [[S::zero(); 2]; ROWS];
        // Short products belong to blocks of attention, whose `C` is in the cache. A tile may lie across two lines.
        let far = if k < FAR { 0 } else { rows };
        for i in 0..far {
            S::prefetch::<1>(tile.c.wrapping_add(i * c_row));
            S::prefetch::<1>(tile.c.wrapping_add(i * c_row + S::TILE_COLUMNS - 1));
        }
        let (mut a, mut b) = (tile.a, tile.b);
        if a_row == 1 {
            for _ in 0..k {
                let columns_of_b = [S::load(b), S::load(b.add(S::LANES))];
                for (i, sum) in sums.iter_mut().enumerate() {
                    add_row::<S>(sum, *a.add(i), columns_of_b);
                }
                a = a.add(a_step);
                b = b.add(b_step);
            }
        } else {
            let rows: [_; ROWS] = std::array::from_fn(|i| a.add(i * a_row));
            for p in 0..k {
                let columns_of_b = [S::load(b), S::load(b.add(S::LANES))];
                for (sum, row) in sums.iter_mut().zip(rows) {
                    add_row::<S>(sum, *row.add(p), columns_of_b);
                }
                b = b.add(b_step);
            }
        }
        if rows == ROWS && columns == S::TILE_COLUMNS {
            for (i, sum) in sums.into_iter().enumerate() {
                for (half, mut sum) in sum.into_iter().enumerate() {
                    let at = half * S::LANES;
                    if !bias.is_null() {
                        sum = S::add(sum, S::load(bias.add(at)));
                    }
                    let to = tile.c.add(i * c_row + at);
                    if add {
                        sum = S::add(sum, S::load(to));
                    }
                    S::store(to, sum);
                }
            }
        } else {
            let mut whole = [0.0f32; LARGEST];
            for (i, sum) in sums.into_iter().enumerate() {
                S::store(whole.as_mut_ptr().add(i * S::TILE_COLUMNS), sum[0]);
                S::store(whole.as_mut_ptr().add(i * S::TILE_COLUMNS + S::LANES), sum[1]);
            }
            for i in 0..rows {
                for j in 0..columns {
                    let mut sum = whole[i * S::TILE_COLUMNS + j];
                    if !bias.is_null() {
                        sum += *bias.add(j);
                    }
                    let to = tile.c.add(i * c_row + j);
                    if add {
                        sum += *to;
                    }
                    *to = sum;
                }
            }
        }
    }
}

/// A block `C = [C +] [bias +] A·B` of `[m, n]`, by tiles.
///
/// Either `a_row` or `a_step` is 1. `a`: panel `i` of `TILE_ROWS` rows starts at `i·a_panel`, in it row `r` at `r·a_row`, and steps of `k` are `a_step`
/// apart; the last panel is readable for all its rows even where `m` ends before. `b`: panel `j` of `TILE_COLUMNS`
/// columns starts at `j·b_panel`, steps of `k` are `b_step` apart; the last panel is likewise readable whole. `c` is
/// `[m, n]` with rows `c_row` apart.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_panel: usize,
    pub a_row: usize,
    pub a_step: usize,
    pub b: *const f32,
    pub b_panel: usize,
    pub b_step: usize,
    pub c: *mut f32,
    pub c_row: usize,
    pub bias: *const f32,
    pub add: bool,
}

/// # Safety
/// The machine has `S`'s instructions and the pointers are as [`Block`] says; nobody else uses `c`'s block meanwhile.
#[inline(always)]
pub(super) unsafe fn run_block<S: Simd>(block: &Block) {
    /// Numbers in a cache line.
    const LINE: usize = 16;
    let Block { m, n, k, .. } = *block;
    let row_tiles = m.div_ceil(S::TILE_ROWS);
    // While one packed panel of `B` is used, the next one is fetched, a part of it before every tile.
    let lines = if block.b_step == S::TILE_COLUMNS { k * S::TILE_COLUMNS / LINE } else { 0 };
    for (j, column) in (0..n).step_by(S::TILE_COLUMNS).enumerate() {
        for (i, row) in (0..m).step_by(S::TILE_ROWS).enumerate() {
            let next = block.b.wrapping_add((j + 1) * block.b_panel);
            for line in lines * i / row_tiles..lines * (i + 1) / row_tiles {
                // SAFETY: the machine has the instructions by contract.
                unsafe { S::prefetch::<2>(next.wrapping_add(line * LINE)) }
            }
            // SAFETY: panels `i` and `j` and this part of `c` lie inside what `Block` promises.
            unsafe {
                S::tile(&Tile {
                    k,
                    a: block.a.add(i * block.a_panel),
                    a_row: block.a_row,
                    a_step: block.a_step,
                    b: block.b.add(j * block.b_panel),
                    b_step: block.b_step,
                    c: block.c.add(row * block.c_row + column),
                    c_row: block.c_row,
                    rows: S::TILE_ROWS.min(m - row),
                    columns: S::TILE_COLUMNS.min(n - column),
                    bias: if block.bias.is_null() { block.bias } else { block.bias.add(column) },
                    add: block.add,
                });
            }
        }
    }
}

/// `TILE_ROWS` and `TILE_COLUMNS` of a set.
pub(super) fn tile_size(set: super::instructions::Available) -> (usize, usize) {
    kernel! {
        fn size<S>() -> (usize, usize) {
            (S::TILE_ROWS, S::TILE_COLUMNS)
        }
    }
    size(set)
}
