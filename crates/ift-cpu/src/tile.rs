//! The innermost part of every matrix product: a tile of the output kept in registers.

use crate::instructions::kernel;
use crate::number::Storage;
use crate::simd::Simd;
use half::bf16;

/// From so many steps on, a tile's part of `C` is expected to be far away.
const FAR: usize = 128;
/// Numbers in the largest tile, 14 × 32.
const LARGEST: usize = 448;

/// How the numbers of a product lie in packed panels: in words of 32 bits, each one or more steps
/// of `k`.
pub trait Words: 'static {
    /// Steps of `k` in a word.
    const STEPS: usize;
    /// One tile.
    ///
    /// # Safety
    /// As for `Simd::tile` or `Simd::tile_pairs`.
    unsafe fn tile<S: Simd>(tile: &Tile);
    /// `a·b + c`, word by word.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn multiply_add<S: Simd>(a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector;
}

/// Words made of numbers of type `T`.
pub trait Format<T>: Words {
    /// The word of steps that lie one after the other in memory.
    ///
    /// # Safety
    /// `from` is readable for `STEPS` numbers.
    unsafe fn word(from: *const T) -> f32;
    /// The word of a step and, where words hold two, of the next.
    fn join(step: T, next: T) -> f32;
    /// Eight words of steps that lie one after the other in memory.
    ///
    /// # Safety
    /// The machine has AVX2; `from` is readable for `8·STEPS` numbers.
    #[cfg(target_arch = "x86_64")]
    unsafe fn words8(from: *const T) -> std::arch::x86_64::__m256;
}

/// A number in each word, widened to `f32`.
pub struct Plain;

impl Words for Plain {
    const STEPS: usize = 1;
    #[inline(always)]
    unsafe fn tile<S: Simd>(tile: &Tile) {
        // SAFETY: passed on.
        unsafe { S::tile(tile) }
    }
    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector {
        // SAFETY: passed on.
        unsafe { S::multiply_add(a, b, c) }
    }
}

impl<T: Storage> Format<T> for Plain {
    #[inline(always)]
    unsafe fn word(from: *const T) -> f32 {
        // SAFETY: readable by contract.
        unsafe { from.read() }.widen()
    }
    #[inline(always)]
    fn join(step: T, _: T) -> f32 {
        step.widen()
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn words8(from: *const T) -> std::arch::x86_64::__m256 {
        // SAFETY: passed on.
        unsafe { T::load8(from) }
    }
}

/// Two steps in each word, the first in the low half: what the instruction for pairs of `bf16`
/// takes.
pub struct Pairs;

impl Words for Pairs {
    const STEPS: usize = 2;
    #[inline(always)]
    unsafe fn tile<S: Simd>(tile: &Tile) {
        // SAFETY: passed on.
        unsafe { S::tile_pairs(tile) }
    }
    #[inline(always)]
    unsafe fn multiply_add<S: Simd>(a: S::Vector, b: S::Vector, c: S::Vector) -> S::Vector {
        // SAFETY: passed on.
        unsafe { S::multiply_add_pairs(a, b, c) }
    }
}

impl Format<bf16> for Pairs {
    #[inline(always)]
    unsafe fn word(from: *const bf16) -> f32 {
        // SAFETY: readable by contract.
        unsafe { from.cast::<f32>().read_unaligned() }
    }
    #[inline(always)]
    fn join(step: bf16, next: bf16) -> f32 {
        f32::from_bits(u32::from(step.to_bits()) | u32::from(next.to_bits()) << 16)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn words8(from: *const bf16) -> std::arch::x86_64::__m256 {
        // SAFETY: sixteen numbers are readable by contract.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from.cast()) }
    }
}

/// A tile `C = [base +] [bias +] A·B`: `A` is `[TILE_ROWS, k]`, `B` `[k, TILE_COLUMNS]`, and the
/// leading `rows × columns` of the product are stored. `k` counts words, and so do all offsets into
/// `A` and `B`.
///
/// Either `a_row` or `a_step` is 1. `a` is readable at `i·a_row + p·a_step` for `i < TILE_ROWS`, `p
/// < k`; `b` for `TILE_COLUMNS` numbers from every `p·b_step`; `c` is readable and writable at
/// `i·c_row + j` for `i < rows`, `j < columns`, and nobody else uses those; `base` is null or
/// readable there likewise (it may be `c`); `bias` is null or readable for `columns` numbers.
#[derive(Clone, Copy)]
pub struct Tile {
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
        sum[0] = F::multiply_add::<S>(x, b[0], sum[0]);
        sum[1] = F::multiply_add::<S>(x, b[1], sum[1]);
    }
}

/// # Safety
/// The machine has `S`'s instructions, `ROWS` is `S::TILE_ROWS`, and the pointers are as [`Tile`]
/// says.
#[inline(always)]
pub(crate) unsafe fn run_tile<S: Simd, F: Words, const ROWS: usize>(tile: &Tile) {
    let Tile { k, a_row, a_step, b_step, c_row, rows, columns, base, bias, .. } = *tile;
    // SAFETY: all offsets are those that `Tile` promises.
    unsafe {
        let mut sums = [[S::zero(); 2]; ROWS];
        // Short products belong to blocks of attention, whose `C` is in the cache. A tile may lie
        // across two lines.
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

/// A block `C = [base +] [bias +] A·B` of `[m, n]`, by tiles. `k` counts words, and so do all
/// offsets into `A` and `B`.
///
/// Either `a_row` or `a_step` is 1. `a`: panel `i` of `TILE_ROWS` rows starts at `i·a_panel`, in it
/// row `r` at `r·a_row`, and steps of `k` are `a_step` apart; the last panel is readable for all
/// its rows even where `m` ends before. `b`: panel `j` of `TILE_COLUMNS` columns starts at
/// `j·b_panel`, steps of `k` are `b_step` apart; the last panel is likewise readable whole. `c` is
/// `[m, n]` with rows `c_row` apart, and so is `base` unless it is null; it may be `c`.
#[derive(Clone, Copy)]
pub(crate) struct Block {
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

/// # Safety
/// The machine has `S`'s instructions and the pointers are as [`Block`] says; nobody else uses
/// `c`'s block meanwhile.
#[inline(always)]
pub(crate) unsafe fn run_block<S: Simd, F: Words>(block: &Block) {
    /// Numbers in a cache line.
    const LINE: usize = 16;
    let Block { m, n, k, .. } = *block;
    let row_tiles = m.div_ceil(S::TILE_ROWS);
    // While one packed panel of `B` is used, the next one is fetched, a part of it before every
    // tile.
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
                F::tile::<S>(&Tile {
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
                    base: if block.base.is_null() {
                        block.base
                    } else {
                        block.base.add(row * block.c_row + column)
                    },
                    bias: if block.bias.is_null() { block.bias } else { block.bias.add(column) },
                });
            }
        }
    }
}

/// `TILE_ROWS` and `TILE_COLUMNS` of a set.
pub(crate) fn tile_size(set: crate::instructions::Available) -> (usize, usize) {
    kernel! {
        fn size<S>() -> (usize, usize) {
            (S::TILE_ROWS, S::TILE_COLUMNS)
        }
    }
    size(set)
}
