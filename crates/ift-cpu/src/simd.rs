//! The few vector operations that loops over arrays do not become by themselves, for each
//! instruction set.
//!
//! Everything here is `#[inline(always)]`: it takes on the target features of the kernel copy it is
//! used in (see `kernel!`). Outside one, an implementation must not be called.

use crate::number::Number;
use crate::tile::{Format, Pairs, Plain, Tile, run_tile};

/// One instruction set's vectors of `f32`.
pub trait Simd: Copy {
    /// A vector.
    type Vector: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a tile of a matrix product.
    const TILE_ROWS: usize;
    /// Columns of a tile: two vectors.
    const TILE_COLUMNS: usize = 2 * Self::LANES;

    /// All zeros.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn zero() -> Self::Vector;
    /// All `x`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn splat(x: f32) -> Self::Vector;
    /// `LANES` numbers from anywhere.
    ///
    /// # Safety
    /// The machine has the instruction set; `from` is readable for `LANES` numbers.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// `LANES` numbers to anywhere.
    ///
    /// # Safety
    /// The machine has the instruction set; `to` is writable for `LANES` numbers.
    unsafe fn store(to: *mut f32, x: Self::Vector);
    /// `a + b`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a·b + c`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a·b + c` where a number of `a` and `b` stands for two of `bf16`: both products are added.
    ///
    /// # Safety
    /// The machine has the instruction set, with that for pairs.
    unsafe fn multiply_add_pairs(a: Self::Vector, b: Self::Vector, c: Self::Vector)
    -> Self::Vector;
    /// Asks for the cache line of `at`, which need not be readable, in the first-level cache
    /// (`LEVEL` 1) or the second.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn prefetch<const LEVEL: usize>(at: *const f32);
    /// One tile of a matrix product: a function of its own, so that its loop gets all the
    /// registers.
    ///
    /// # Safety
    /// The machine has the instruction set; see [`Tile`] for the pointers.
    unsafe fn tile(tile: &Tile);
    /// A tile whose words are pairs.
    ///
    /// # Safety
    /// As for [`Simd::tile`]; and the machine has the instruction for pairs, if the set is AVX-512.
    unsafe fn tile_pairs(tile: &Tile);
    /// `to[c·to_row + r]` becomes word `c` of what begins at `from[r·from_row]`, for `r, c < 8`,
    /// written in the order of `c`: where `to_row` is less than 8, a line is cut short by the
    /// next.
    ///
    /// # Safety
    /// The machine has the instruction set; those numbers are readable and writable.
    unsafe fn transpose<T: Number, F: Format<T>>(
        from: *const T,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    );
    /// The numbers of a table that the low halves of `LANES` bytes name, and those that their high
    /// halves name.
    ///
    /// # Safety
    /// The machine has the instruction set; `bytes` is readable for `LANES` of them.
    unsafe fn lookup(table: &[f32; 16], bytes: *const u8) -> [Self::Vector; 2];
    /// `a·b + c` of single numbers, in one rounding where the set has that.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// Any machine.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: readable for `LANES` numbers by contract.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: writable for `LANES` numbers by contract.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| Self::mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn multiply_add_pairs(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        let pair = |x: f32| [x.to_bits() << 16, x.to_bits() & 0xFFFF_0000].map(f32::from_bits);
        std::array::from_fn(|i| {
            let ([a, a_next], [b, b_next]) = (pair(a[i]), pair(b[i]));
            a_next * b_next + (a * b + c[i])
        })
    }
    #[inline(always)]
    unsafe fn prefetch<const LEVEL: usize>(_: *const f32) {}
    #[inline(never)]
    unsafe fn tile(tile: &Tile) {
        // SAFETY: passed on.
        unsafe { run_tile::<Self, Plain, { Self::TILE_ROWS }>(tile) }
    }
    #[inline(never)]
    unsafe fn tile_pairs(tile: &Tile) {
        // SAFETY: passed on.
        unsafe { run_tile::<Self, Pairs, { Self::TILE_ROWS }>(tile) }
    }
    #[inline(always)]
    unsafe fn transpose<T: Number, F: Format<T>>(
        from: *const T,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    ) {
        for c in 0..8 {
            for r in 0..8 {
                // SAFETY: the caller's.
                unsafe { *to.add(c * to_row + r) = F::word(from.add(r * from_row + c * F::STEPS)) }
            }
        }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[f32; 16], bytes: *const u8) -> [[f32; 4]; 2] {
        // SAFETY: `LANES` bytes are readable by contract.
        let bytes = unsafe { bytes.cast::<[u8; 4]>().read_unaligned() };
        [
            bytes.map(|byte| table[usize::from(byte & 15)]),
            bytes.map(|byte| table[usize::from(byte >> 4)]),
        ]
    }
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        // On 64-bit ARM that is one instruction of every machine; elsewhere it may be a call.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Pairs, then quadruples, then halves change places.
///
/// # Safety
/// The machine has AVX2; see [`Simd::transpose`] for the pointers.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_avx2<T: Number, F: Format<T>>(
    from: *const T,
    from_row: usize,
    to: *mut f32,
    to_row: usize,
) {
    use std::arch::x86_64::{
        _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps,
        _mm256_unpacklo_ps,
    };
    // SAFETY: readable by contract.
    let rows: [_; 8] = std::array::from_fn(|r| unsafe { F::words8(from.add(r * from_row)) });
    let pairs: [_; 8] = std::array::from_fn(|i| {
        let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
    });
    let quads: [_; 8] = std::array::from_fn(|i| {
        let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
        if i % 2 == 0 { _mm256_shuffle_ps::<0x44>(a, b) } else { _mm256_shuffle_ps::<0xEE>(a, b) }
    });
    for i in 0..8 {
        let (a, b) = (quads[i % 4], quads[i % 4 + 4]);
        let line = if i < 4 {
            _mm256_permute2f128_ps::<0x20>(a, b)
        } else {
            _mm256_permute2f128_ps::<0x31>(a, b)
        };
        // SAFETY: writable by contract.
        unsafe { _mm256_storeu_ps(to.add(i * to_row), line) }
    }
}

/// Both products of pairs, one after the other.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn pairs_avx2(
    a: std::arch::x86_64::__m256,
    b: std::arch::x86_64::__m256,
    c: std::arch::x86_64::__m256,
) -> std::arch::x86_64::__m256 {
    use std::arch::x86_64::{
        _mm256_and_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_fmadd_ps,
        _mm256_set1_epi32, _mm256_slli_epi32,
    };
    let first = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
    let high = _mm256_castsi256_ps(_mm256_set1_epi32(0xFFFF_0000_u32.cast_signed()));
    let sum = _mm256_fmadd_ps(first(a), first(b), c);
    _mm256_fmadd_ps(_mm256_and_ps(a, high), _mm256_and_ps(b, high), sum)
}

/// The instruction for pairs.
///
/// # Safety
/// The machine has AVX-512 with bf16.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pairs_avx512(
    a: std::arch::x86_64::__m512,
    b: std::arch::x86_64::__m512,
    c: std::arch::x86_64::__m512,
) -> std::arch::x86_64::__m512 {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    // SAFETY: both are 512 bits.
    let pairs = |x| unsafe { std::mem::transmute::<__m512, __m512bh>(x) };
    _mm512_dpbf16_ps(c, pairs(a), pairs(b))
}

/// Both halves of the table are looked up, and the fourth bit chooses.
///
/// # Safety
/// The machine has AVX2; eight bytes are readable.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn lookup_avx2(table: &[f32; 16], bytes: *const u8) -> [std::arch::x86_64::__m256; 2] {
    use std::arch::x86_64::{
        _mm_loadl_epi64, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cvtepu8_epi32,
        _mm256_loadu_ps, _mm256_permutevar8x32_ps, _mm256_slli_epi32, _mm256_srli_epi32,
    };
    // SAFETY: the table has sixteen numbers, and the bytes are readable by contract.
    let (first, second, bytes) = unsafe {
        let table = table.as_ptr();
        (_mm256_loadu_ps(table), _mm256_loadu_ps(table.add(8)), _mm_loadl_epi64(bytes.cast()))
    };
    let low = _mm256_cvtepu8_epi32(bytes);
    [low, _mm256_srli_epi32::<4>(low)].map(|at| {
        let (a, b) = (_mm256_permutevar8x32_ps(first, at), _mm256_permutevar8x32_ps(second, at));
        _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at)))
    })
}

/// # Safety
/// The machine has AVX-512; sixteen bytes are readable.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn lookup_avx512(table: &[f32; 16], bytes: *const u8) -> [std::arch::x86_64::__m512; 2] {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm512_cvtepu8_epi32, _mm512_loadu_ps, _mm512_permutexvar_ps,
        _mm512_srli_epi32,
    };
    // SAFETY: the table has sixteen numbers, and the bytes are readable by contract.
    let (table, low) = unsafe {
        (_mm512_loadu_ps(table.as_ptr()), _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.cast())))
    };
    // The instruction looks at four bits.
    [low, _mm512_srli_epi32::<4>(low)].map(|at| _mm512_permutexvar_ps(at, table))
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($(#[$attribute:meta])* $name:ident, $features:literal, $vector:ident, $lanes:literal, $rows:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident, $pair_features:literal, $fma_pairs:ident, $lookup:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Simd for $name {
            type Vector = std::arch::x86_64::$vector;
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn zero() -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$zero() }
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self::Vector {
                // SAFETY: instructions and `LANES` readable numbers by contract.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, x: Self::Vector) {
                // SAFETY: instructions and `LANES` writable numbers by contract.
                unsafe { std::arch::x86_64::$store(to, x) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$add(a, b) }
            }
            #[inline(always)]
            unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn multiply_add_pairs(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { $fma_pairs(a, b, c) }
            }
            #[inline(always)]
            unsafe fn prefetch<const LEVEL: usize>(at: *const f32) {
                use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
                // SAFETY: SSE is part of x86-64, and a prefetch of any address is harmless.
                unsafe {
                    if LEVEL == 1 {
                        _mm_prefetch::<_MM_HINT_T0>(at.cast());
                    } else {
                        _mm_prefetch::<_MM_HINT_T1>(at.cast());
                    }
                }
            }
            #[inline(always)]
            unsafe fn tile(tile: &Tile) {
                #[inline(never)]
                #[target_feature(enable = $features)]
                unsafe fn run(tile: &Tile) {
                    // SAFETY: passed on.
                    unsafe { run_tile::<$name, Plain, $rows>(tile) }
                }
                // SAFETY: passed on.
                unsafe { run(tile) }
            }
            #[inline(always)]
            unsafe fn tile_pairs(tile: &Tile) {
                #[inline(never)]
                #[target_feature(enable = $pair_features)]
                unsafe fn run(tile: &Tile) {
                    // SAFETY: passed on.
                    unsafe { run_tile::<$name, Pairs, $rows>(tile) }
                }
                // SAFETY: passed on.
                unsafe { run(tile) }
            }
            #[inline(always)]
            unsafe fn transpose<T: Number, F: Format<T>>(
                from: *const T,
                from_row: usize,
                to: *mut f32,
                to_row: usize,
            ) {
                // SAFETY: both sets have AVX2; the rest is the caller's.
                unsafe { transpose_avx2::<T, F>(from, from_row, to, to_row) }
            }
            #[inline(always)]
            unsafe fn lookup(table: &[f32; 16], bytes: *const u8) -> [Self::Vector; 2] {
                // SAFETY: instructions and `LANES` readable bytes by contract.
                unsafe { $lookup(table, bytes) }
            }
            #[inline(always)]
            fn mul_add(a: f32, b: f32, c: f32) -> f32 {
                a.mul_add(b, c)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86!(
    /// AVX2 and FMA: a 6 × 16 tile takes 12 of the 16 registers.
    Avx2, "avx2,fma", __m256, 8, 6, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_fmadd_ps, "avx2,fma", pairs_avx2, lookup_avx2
);

#[cfg(target_arch = "x86_64")]
x86!(
    /// AVX-512: a 14 × 32 tile takes 28 of the 32 registers.
    Avx512, "avx512f,avx2,fma", __m512, 16, 14, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps,
    "avx512f,avx512bf16,avx2,fma", pairs_avx512, lookup_avx512
);
