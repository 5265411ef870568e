//! AVX2 with FMA, and AVX-512.

use super::Simd;
use crate::scalar::Scalar;
use crate::words::Format;

/// Transposes 8 × 8 words: exchanges elements, then pairs, then halves.
///
/// # Safety
/// The machine has AVX2; see [`Simd::transpose`] for the pointers.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_avx2<T: Scalar, F: Format<T>>(
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

/// Multiplies both elements of each pair, one after the other.
///
/// # Safety
/// The machine has AVX2 and FMA.
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

/// Multiplies pairs by the instruction for them.
///
/// # Safety
/// The machine has AVX-512 with bf16.
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

/// Looks up both halves of the table and selects by the fourth bit.
///
/// # Safety
/// The machine has AVX2; eight bytes are readable.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn lookup_avx2(table: &[f32; 16], bytes: *const u8) -> [std::arch::x86_64::__m256; 2] {
    use std::arch::x86_64::{
        _mm_loadl_epi64, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cvtepu8_epi32,
        _mm256_loadu_ps, _mm256_permutevar8x32_ps, _mm256_slli_epi32, _mm256_srli_epi32,
    };
    // SAFETY: the table has sixteen elements, and the bytes are readable by contract.
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

/// Looks up the whole table at once.
///
/// # Safety
/// The machine has AVX-512; sixteen bytes are readable.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn lookup_avx512(table: &[f32; 16], bytes: *const u8) -> [std::arch::x86_64::__m512; 2] {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm512_cvtepu8_epi32, _mm512_loadu_ps, _mm512_permutexvar_ps,
        _mm512_srli_epi32,
    };
    // SAFETY: the table has sixteen elements, and the bytes are readable by contract.
    let (table, low) = unsafe {
        (_mm512_loadu_ps(table.as_ptr()), _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.cast())))
    };
    // The instruction uses four bits of each index.
    [low, _mm512_srli_epi32::<4>(low)].map(|at| _mm512_permutexvar_ps(at, table))
}

macro_rules! x86 {
    (
        $(#[$attribute:meta])* $name:ident: $lanes:literal of $vector:ident,
        $zero:ident, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident,
        $fma_pairs:ident, $lookup:ident
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Simd for $name {
            type Vector = std::arch::x86_64::$vector;
            const LANES: usize = $lanes;

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
                // SAFETY: instructions and `LANES` readable elements by contract.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, x: Self::Vector) {
                // SAFETY: instructions and `LANES` writable elements by contract.
                unsafe { std::arch::x86_64::$store(to, x) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$add(a, b) }
            }
            #[inline(always)]
            unsafe fn multiply_add(
                a: Self::Vector,
                b: Self::Vector,
                c: Self::Vector,
            ) -> Self::Vector {
                // SAFETY: the machine has the instructions by contract.
                unsafe { std::arch::x86_64::$fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn multiply_add_pairs(
                a: Self::Vector,
                b: Self::Vector,
                c: Self::Vector,
            ) -> Self::Vector {
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
            unsafe fn transpose<T: Scalar, F: Format<T>>(
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

x86!(
    /// AVX2 and FMA.
    Avx2: 8 of __m256,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
    _mm256_fmadd_ps, pairs_avx2, lookup_avx2
);

x86!(
    /// AVX-512.
    Avx512: 16 of __m512,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
    _mm512_fmadd_ps, pairs_avx512, lookup_avx512
);
