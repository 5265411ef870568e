//! How the operands of a product lie in packed panels: in words of 32 bits, each of one or two
//! steps of `k`.

use crate::scalar::Scalar;
use half::bf16;

/// A kind of words.
pub trait Words: 'static {
    /// Steps of `k` in a word.
    const STEPS: usize;
}

/// Words made of elements of type `T`.
pub trait Format<T>: Words {
    /// The word of steps that lie one after the other in memory.
    ///
    /// # Safety
    /// `from` is readable for `STEPS` elements.
    unsafe fn word(from: *const T) -> f32;
    /// The word of a step and, where words hold two, of the next.
    fn join(step: T, next: T) -> f32;
    /// Eight words of steps that lie one after the other in memory.
    ///
    /// # Safety
    /// The machine has AVX2; `from` is readable for `8·STEPS` elements.
    #[cfg(target_arch = "x86_64")]
    unsafe fn words8(from: *const T) -> std::arch::x86_64::__m256;
}

/// One element in each word, widened to `f32`.
pub struct Plain;

impl Words for Plain {
    const STEPS: usize = 1;
}

impl<T: Scalar> Format<T> for Plain {
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

/// Two steps of `bf16` in each word, the first in the low half: the operands of the instruction
/// that multiplies pairs.
pub struct Pairs;

impl Words for Pairs {
    const STEPS: usize = 2;
}

impl Format<bf16> for Pairs {
    #[inline(always)]
    unsafe fn word(from: *const bf16) -> f32 {
        // SAFETY: two elements are readable by contract.
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
        // SAFETY: sixteen elements are readable by contract.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(from.cast()) }
    }
}
