//! The innermost part of every matrix product: a tile of the output kept in registers.

use crate::instructions::{Available, kernel};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};
use crate::words::{Pairs, Plain, Words};

/// From so many steps on, a tile's part of `C` is expected to be outside the caches.
const FAR: usize = 128;
/// Elements of the largest tile, 14 × 32.
const LARGEST: usize = 448;

/// The tiles of an instruction set.
pub(crate) trait Tiles: Simd {
    /// Rows of a tile.
    const TILE_ROWS: usize;
    /// Columns of a tile: two vectors.
    const TILE_COLUMNS: usize = 2 * Self::LANES;

    /// Computes one tile of words with one element each. A function of its own, so that its loop
    /// gets all the registers.
    ///
    /// # Safety
    /// The machine has the instruction set; the pointers are as [`Tile`] says.
    unsafe fn tile(tile: &Tile);
    /// Computes a tile whose words are pairs.
    ///
    /// # Safety
    /// As for [`Tiles::tile`]; and the machine has the instruction for pairs if the set is AVX-512.
    unsafe fn tile_pairs(tile: &Tile);
}

macro_rules! tiles {
    ($set:ident, $rows:literal $(, $features:literal, $pair_features:literal)?) => {
        impl Tiles for $set {
            const TILE_ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn tile(tile: &Tile) {
                #[inline(never)]
                $(#[target_feature(enable = $features)])?
                unsafe fn run(tile: &Tile) {
                    // SAFETY: passed on.
                    unsafe { run_tile::<$set, Plain, $rows>(tile) }
                }
                // SAFETY: passed on.
                unsafe { run(tile) }
            }
            #[inline(always)]
            unsafe fn tile_pairs(tile: &Tile) {
                #[inline(never)]
                $(#[target_feature(enable = $pair_features)])?
                unsafe fn run(tile: &Tile) {
                    // SAFETY: passed on.
                    unsafe { run_tile::<$set, Pairs, $rows>(tile) }
                }
                // SAFETY: passed on.
                unsafe { run(tile) }
            }
        }
    };
}
// A 6 × 8 tile.
tiles!(Portable, 6);
// A 6 × 16 tile takes 12 of the 16 registers.
#[cfg(target_arch = "x86_64")]
tiles!(Avx2, 6, "avx2,fma", "avx2,fma");
// A 14 × 32 tile takes 28 of the 32 registers.
#[cfg(target_arch = "x86_64")]
tiles!(Avx512, 14, "avx512f,avx2,fma", "avx512f,avx512bf16,avx2,fma");

/// `a·b + c`, word by word.
///
/// # Safety
/// The machine has `S`'s instructions, and those for pairs if words are pairs and `S` is AVX-512.
#[inline(always)]
pub(crate) unsafe fn multiply_add<S: Simd, F: Words>(
    a: S::Vector,
    b: S::Vector,
    c: S::Vector,
) -> S::Vector {
    // SAFETY: passed on.
    unsafe { if F::STEPS == 1 { S::multiply_add(a, b, c) } else { S::multiply_add_pairs(a, b, c) } }
}

/// A tile `C = [base +] [bias +] A·B`: `A` is `[TILE_ROWS, k]`, `B` `[k, TILE_COLUMNS]`, and the
/// leading `rows × columns` of the product are stored. `k` counts words, and so do all offsets into
/// `A` and `B`.
///
/// Either `a_row` or `a_step` is 1. `a` is readable at `i·a_row + p·a_step` for `i < TILE_ROWS`, `p
/// < k`; `b` for `TILE_COLUMNS` elements from every `p·b_step`; `c` is readable and writable at
/// `i·c_row + j` for `i < rows`, `j < columns`, and nobody else uses those; `base` is null or
/// readable there likewise (it may be `c`); `bias` is null or readable for `columns` elements.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) k: usize,
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) b: *const f32,
    pub(crate) b_step: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) base: *const f32,
    pub(crate) bias: *const f32,
}

/// `sum += x·b`.
///
/// # Safety
/// The machine has `S`'s instructions.
#[inline(always)]
unsafe fn add_row<S: Simd, F: Words>(sum: &mut [S::Vector; 2], x: f32, b: [S::Vector; 2]) {
    // SAFETY: the machine has the instructions by contract.
    unsafe {
        let x = S::splat(x);
        sum[0] = multiply_add::<S, F>(x, b[0], sum[0]);
        sum[1] = multiply_add::<S, F>(x, b[1], sum[1]);
    }
}

/// Computes a tile: sums in registers, then bias and base, then `C`.
///
/// # Safety
/// The machine has `S`'s instructions, `ROWS` is `S::TILE_ROWS`, and the pointers are as [`Tile`]
/// says.
#[inline(always)]
pub(crate) unsafe fn run_tile<S: Tiles, F: Words, const ROWS: usize>(tile: &Tile) {
    let Tile { k, a_row, a_step, b_step, c_row, rows, columns, base, bias, .. } = *tile;
    // SAFETY: all offsets are those that `Tile` promises.
    unsafe {
        let mut sums = [[S::zero(); 2]; ROWS];
        // Short products are those of attention, whose `C` is in the cache. A row of a tile may lie
        // in two cache lines.
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
                    add_row::<S, F>(sum, *a.add(i), columns_of_b);
                }
                a = a.add(a_step);
                b = b.add(b_step);
            }
        } else {
            let rows: [_; ROWS] = std::array::from_fn(|i| a.add(i * a_row));
            for p in 0..k {
                let columns_of_b = [S::load(b), S::load(b.add(S::LANES))];
                for (sum, row) in sums.iter_mut().zip(rows) {
                    add_row::<S, F>(sum, *row.add(p), columns_of_b);
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
                    let at = i * c_row + at;
                    if !base.is_null() {
                        sum = S::add(sum, S::load(base.add(at)));
                    }
                    S::store(tile.c.add(at), sum);
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
                    let at = i * c_row + j;
                    if !base.is_null() {
                        sum += *base.add(at);
                    }
                    *tile.c.add(at) = sum;
                }
            }
        }
    }
}

/// A product `C = [base +] [bias +] A·B` of `[m, n]` that [`multiply_packed`] computes by tiles.
/// `k` counts words, and so do all offsets into `A` and `B`.
///
/// Either `a_row` or `a_step` is 1. `a`: panel `i` of `TILE_ROWS` rows starts at `i·a_panel`, in it
/// row `r` at `r·a_row`, and steps of `k` are `a_step` apart; the last panel is readable for all
/// its rows even where `m` ends before. `b`: panel `j` of `TILE_COLUMNS` columns starts at
/// `j·b_panel`, steps of `k` are `b_step` apart; the last panel is likewise readable whole. `c` is
/// `[m, n]` with rows `c_row` apart, and so is `base` unless it is null; it may be `c`.
#[derive(Clone, Copy)]
pub(crate) struct PackedProduct {
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
    pub base: *const f32,
    pub bias: *const f32,
}

/// Computes a product tile by tile.
///
/// # Safety
/// The machine has `S`'s instructions and the pointers are as [`PackedProduct`] says; nobody else
/// uses that part of `c` meanwhile.
#[inline(always)]
pub(crate) unsafe fn multiply_packed<S: Tiles, F: Words>(product: &PackedProduct) {
    /// Elements of a cache line.
    const LINE: usize = 16;
    let PackedProduct { m, n, k, .. } = *product;
    let row_tiles = m.div_ceil(S::TILE_ROWS);
    // While one packed panel of `B` is used, the next one is fetched, a part of it before every
    // tile.
    let lines = if product.b_step == S::TILE_COLUMNS { k * S::TILE_COLUMNS / LINE } else { 0 };
    for (j, column) in (0..n).step_by(S::TILE_COLUMNS).enumerate() {
        for (i, row) in (0..m).step_by(S::TILE_ROWS).enumerate() {
            let next = product.b.wrapping_add((j + 1) * product.b_panel);
            for line in lines * i / row_tiles..lines * (i + 1) / row_tiles {
                // SAFETY: the machine has the instructions by contract.
                unsafe { S::prefetch::<2>(next.wrapping_add(line * LINE)) }
            }
            // SAFETY: panels `i` and `j` and this part of `c` lie inside what `PackedProduct`
            // promises.
            unsafe {
                let tile = Tile {
                    k,
                    a: product.a.add(i * product.a_panel),
                    a_row: product.a_row,
                    a_step: product.a_step,
                    b: product.b.add(j * product.b_panel),
                    b_step: product.b_step,
                    c: product.c.add(row * product.c_row + column),
                    c_row: product.c_row,
                    rows: S::TILE_ROWS.min(m - row),
                    columns: S::TILE_COLUMNS.min(n - column),
                    base: if product.base.is_null() {
                        product.base
                    } else {
                        product.base.add(row * product.c_row + column)
                    },
                    bias: if product.bias.is_null() {
                        product.bias
                    } else {
                        product.bias.add(column)
                    },
                };
                if F::STEPS == 1 { S::tile(&tile) } else { S::tile_pairs(&tile) }
            }
        }
    }
}

/// `TILE_ROWS` and `TILE_COLUMNS` of a set.
pub(crate) fn tile_size(set: Available) -> (usize, usize) {
    kernel! {
        fn size<S: Tiles>() -> (usize, usize) {
            (S::TILE_ROWS, S::TILE_COLUMNS)
        }
    }
    size(set)
}
