//! Vectors of four `f32` as plain arrays, for any machine.

use super::Simd;
use crate::scalar::Scalar;
use crate::words::Format;

/// What every machine of the compiled target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;

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
        // SAFETY: readable for `LANES` elements by contract.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: writable for `LANES` elements by contract.
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
    #[inline(always)]
    unsafe fn transpose<T: Scalar, F: Format<T>>(
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
