//! Element types: `f32` and `bf16`. Arithmetic is f32 whatever the type.

use bytemuck::Pod;
use half::bf16;
use std::fmt::Debug;

/// An element as it is stored. Implemented for `f32` and `bf16` only: code outside this crate
/// cannot name the trait, so unsafe code may rely on what it says.
pub trait Scalar: Pod + PartialEq + Send + Sync + Debug {
    /// Whether the type is `f32` itself.
    const EXACT: bool;

    /// As `f32`, exactly.
    fn widen(self) -> f32;
    /// The nearest value of this type, ties to even.
    fn round(x: f32) -> Self;
    /// What products read of a weight: its compute copy where there is one, else the exact
    /// elements.
    fn operand<'a>(exact: &'a [f32], copy: &'a [Self]) -> &'a [Self];
    /// Elements of `bf16` if this is that type.
    fn bf16(elements: &[bf16]) -> Option<&[Self]>;
    /// Eight elements, widened.
    ///
    /// # Safety
    /// The machine has AVX2; `from` is readable for eight elements.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load8(from: *const Self) -> std::arch::x86_64::__m256;
}

impl Scalar for f32 {
    const EXACT: bool = true;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn round(x: f32) -> Self {
        x
    }
    fn operand<'a>(exact: &'a [f32], _: &'a [f32]) -> &'a [f32] {
        exact
    }
    fn bf16(_: &[bf16]) -> Option<&[f32]> {
        None
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load8(from: *const f32) -> std::arch::x86_64::__m256 {
        // SAFETY: readable by contract.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from) }
    }
}

impl Scalar for bf16 {
    const EXACT: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    /// Written so that loops over it vectorise.
    #[inline(always)]
    fn round(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
        Self::from_bits(if x.is_nan() { 0x7FC0 } else { rounded as u16 })
    }
    fn operand<'a>(_: &'a [f32], copy: &'a [bf16]) -> &'a [bf16] {
        copy
    }
    fn bf16(elements: &[bf16]) -> Option<&[bf16]> {
        Some(elements)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load8(from: *const bf16) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_slli_epi32,
        };
        // SAFETY: readable by contract.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

/// `to[i] = from[i]`, rounded.
#[inline(always)]
pub(crate) fn round_all<N: Scalar>(from: &[f32], to: &mut [N]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = N::round(*x));
}

/// `to[i] = from[i]`, widened.
#[inline(always)]
pub(crate) fn widen_all<N: Scalar>(from: &[N], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = x.widen());
}

/// Rounds the elements of a row of `n` in place: read as `N`, they are the first `n` elements of
/// the row's memory.
#[inline(always)]
pub(crate) fn round_in_place<N: Scalar>(row: &mut [f32]) {
    const AT_ONCE: usize = 32;
    if N::EXACT {
        return;
    }
    let mut wide = [0.0; AT_ONCE];
    for first in (0..row.len()).step_by(AT_ONCE) {
        let count = AT_ONCE.min(row.len() - first);
        wide[..count].copy_from_slice(&row[first..first + count]);
        // What is written here lies before what is still to be read.
        let narrow: &mut [N] = bytemuck::cast_slice_mut(row);
        round_all(&wide[..count], &mut narrow[first..first + count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_bf16_rounds_to_the_nearest_even() {
        let edges =
            [0.0, -0.0, 1.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NEG_INFINITY];
        let spread = (0..if cfg!(miri) { 500 } else { 200_000_u32 })
            .map(|i| f32::from_bits(i.wrapping_mul(21_475)));
        for x in spread.filter(|x| !x.is_nan()).chain(edges) {
            let expected = bf16::from_f32(x);
            assert_eq!(<bf16 as Scalar>::round(x).to_bits(), expected.to_bits(), "{x:e}");
            assert_eq!(expected.widen(), expected.to_f32());
        }
        assert!(<bf16 as Scalar>::round(f32::NAN).is_nan());
    }

    #[test]
    fn miri_rows_are_rounded_in_place() {
        let elements: Vec<f32> = (0..77).map(|i| (i as f32).sin()).collect();
        let mut row = elements.clone();
        round_in_place::<f32>(&mut row);
        assert_eq!(row, elements);
        round_in_place::<bf16>(&mut row);
        let narrow: &[bf16] = bytemuck::cast_slice(&row);
        assert!(narrow.iter().zip(&elements).all(|(a, b)| *a == bf16::from_f32(*b)));
    }
}
