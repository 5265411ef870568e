//! The few vector operations that loops over arrays do not become by themselves, for each
//! instruction set.
//!
//! Everything here is `#[inline(always)]`: it takes on the target features of the kernel copy it is
//! used in (see `kernel!`). Outside one, an implementation must not be called.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::scalar::Scalar;
use crate::words::Format;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// One instruction set's vectors of `f32`.
pub trait Simd: Copy {
    /// A vector.
    type Vector: Copy;
    /// Elements of a vector.
    const LANES: usize;

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
    /// `LANES` elements from anywhere.
    ///
    /// # Safety
    /// The machine has the instruction set; `from` is readable for `LANES` elements.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// `LANES` elements to anywhere.
    ///
    /// # Safety
    /// The machine has the instruction set; `to` is writable for `LANES` elements.
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
    /// `a·b + c` where each word of `a` and `b` is a pair of `bf16`: both products are added.
    ///
    /// # Safety
    /// The machine has the instruction set, and the instruction for pairs if the set is AVX-512.
    unsafe fn multiply_add_pairs(a: Self::Vector, b: Self::Vector, c: Self::Vector)
    -> Self::Vector;
    /// Prefetches the cache line of `at`, which need not be readable, into the first-level cache
    /// (`LEVEL` 1) or the second.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn prefetch<const LEVEL: usize>(at: *const f32);
    /// `to[c·to_row + r]` becomes word `c` of what begins at `from[r·from_row]`, for `r, c < 8`,
    /// written in the order of `c`: where `to_row` is less than 8, each line overwrites the end of
    /// the one before.
    ///
    /// # Safety
    /// The machine has the instruction set; those elements are readable and writable.
    unsafe fn transpose<T: Scalar, F: Format<T>>(
        from: *const T,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    );
    /// The elements of a table at the low halves of `LANES` bytes, and those at their high halves.
    ///
    /// # Safety
    /// The machine has the instruction set; `bytes` is readable for `LANES` of them.
    unsafe fn lookup(table: &[f32; 16], bytes: *const u8) -> [Self::Vector; 2];
    /// `a·b + c` of scalars, with one rounding where the set has such an instruction.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}
