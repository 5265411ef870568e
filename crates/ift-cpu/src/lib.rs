//! The fast CPU backend: threads and SIMD, activations in f32 or bf16, arithmetic in f32.
//!
//! * `operations`: the trait, which hands on to all that follow.
//! * `product` with `pack`, `tile` and `simd`, and `linear` above them: matrix products, where most
//!   of the time goes.
//! * `attention`, `head` with `divergence`: what is more than one product, in blocks that stay in
//!   the caches.
//! * `norm`, `heads`, `gated`, `rows`, `columns`, `noise`, `adapted`, `update`: what is bound by
//!   memory, one pass each.
//! * `weight` with `stored`: weights, exact or in fewer bits.
//! * `instructions`, `number`, `threads`, `buffer`, `profile`: what all of them stand on.
//!
//! Every result has the same bits whatever the number of threads: work is cut into parts that
//! depend on shapes alone, and sums over parts are taken in a fixed order.

#![allow(
    clippy::inline_always,
    reason = "a kernel's helpers must become part of its copy for an instruction set"
)]

mod adapted;
mod attention;
mod buffer;
mod columns;
mod divergence;
mod gated;
mod head;
mod heads;
mod instructions;
mod linear;
mod math;
mod noise;
mod norm;
mod number;
mod operations;
mod pack;
mod peak;
mod product;
mod profile;
mod rows;
mod simd;
mod stored;
mod threads;
mod tile;
mod update;
mod weight;

pub use buffer::Buffer;
pub use instructions::{CpuError, Instructions};
pub use number::Number;

use buffer::Pool;
use half::bf16;
use instructions::Available;
use profile::Meter;
use std::fmt;
use std::marker::PhantomData;
use threads::Threads;
use weight::Weight;

/// The backend for CPUs, with activations of type `N`. Weights, gradients and optimizer states are
/// f32; where `N` is narrower, products read a copy of the weights in `N`.
pub struct Cpu<N: Number> {
    set: Available,
    /// Whether products multiply `N` itself.
    narrow_products: bool,
    threads: Threads,
    pool: Pool,
    meter: Meter,
    numbers: PhantomData<N>,
}

/// Activations in f32.
pub type CpuF32 = Cpu<f32>;
/// Activations and compute copies in bf16: half the memory, and on machines that multiply bf16
/// faster products.
pub type CpuBf16 = Cpu<bf16>;

impl<N: Number> Cpu<N> {
    /// A backend with `threads` threads of its own (0: one for each core) and the best instructions
    /// of this machine. Where the system refuses to start threads, the caller's works alone.
    pub fn new(threads: usize) -> Self {
        Self::build(threads, Available::best())
    }

    /// A backend that uses the instructions given: for tests, and for the same bits on different
    /// machines.
    ///
    /// # Errors
    /// If this machine lacks them.
    pub fn with_instructions(threads: usize, instructions: Instructions) -> Result<Self, CpuError> {
        Ok(Self::build(threads, Available::new(instructions)?))
    }

    fn build(threads: usize, set: Available) -> Self {
        Self {
            set,
            narrow_products: !N::EXACT && set.get() == Instructions::Avx512Bf16,
            threads: Threads::new(threads),
            pool: Pool::default(),
            meter: Meter::default(),
            numbers: PhantomData,
        }
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// The instructions that the kernels use.
    pub fn instructions(&self) -> Instructions {
        self.set.get()
    }
}

impl<N: Number> fmt::Debug for Cpu<N> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let numbers = std::any::type_name::<N>();
        write!(f, "Cpu<{numbers}>({} threads, {:?})", self.threads(), self.instructions())
    }
}
