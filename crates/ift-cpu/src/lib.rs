//! The fast CPU backend: threads and SIMD, activations in f32 or bf16, arithmetic in f32.
//!
//! * `backend`: the trait; hands each operation to one of the following files.
//! * `linear`, `product`, `pack`, `tile`, `simd`: matrix products, where most of the time goes.
//! * `attention`, `head`: several products in a row, in blocks that stay in the caches.
//! * `norm`, `heads`, `gated`, `rows`, `columns`, `noise`, `adapted`, `update`: operations bound by
//!   memory bandwidth, each one pass.
//! * `parameters`, `elements`, `quantized`: weights, exact or in fewer bits.
//! * `inputs`: what a pass needs of the host.
//! * `arena`, `threads`, `instructions`, `scalar`, `rounding`, `words`, `number`, `math`,
//!   `profile`, `peak`: memory, threads, compiled copies of kernels, element types, time.
//!
//! Every result has the same bits for any number of threads: work is cut into parts that depend on
//! shapes alone, and sums over parts are taken in a fixed order.
//!
//! Operations and buffers that run out of memory return an error. Some memory comes from the global
//! allocator without a check, so that the process aborts where it is short: small lists, a few MiB
//! of scratch memory for each thread, and the copies for the host that the methods `read_…` of the
//! trait return, which are as large as the range that is read.

#![allow(
    clippy::inline_always,
    reason = "a kernel's helpers must become part of its copy for an instruction set"
)]

mod adapted;
mod arena;
mod attention;
mod backend;
mod columns;
mod elements;
mod gated;
mod head;
mod heads;
mod inputs;
mod instructions;
mod linear;
mod math;
mod noise;
mod norm;
mod number;
mod pack;
mod parameters;
mod peak;
mod product;
mod profile;
mod quantized;
mod rounding;
mod rows;
mod scalar;
mod simd;
mod threads;
mod tile;
mod update;
mod words;

pub use arena::Buffer;
pub use head::Scores;
pub use inputs::Inputs;
pub use instructions::{CpuError, Instructions};
pub use number::Number;
pub use parameters::{Frozen, Parameters};

use arena::Arena;
use half::bf16;
use instructions::Available;
use profile::Meter;
use std::fmt;
use std::marker::PhantomData;
use threads::Threads;

/// The backend for CPUs, with activations of type `N`. Weights, gradients and optimizer states are
/// f32; where `N` is narrower, products read a copy of the weights in `N`.
pub struct Cpu<N: Number> {
    set: Available,
    /// Whether products multiply `N` itself.
    narrow_products: bool,
    threads: Threads,
    arena: Arena,
    meter: Meter,
    activations: PhantomData<N>,
}

/// Activations in f32.
pub type CpuF32 = Cpu<f32>;
/// Activations and compute copies in bf16: half the memory, and on machines that multiply bf16
/// faster products.
pub type CpuBf16 = Cpu<bf16>;

impl<N: Number> Cpu<N> {
    /// A backend with `threads` threads of its own (0: one for each core) and the best instructions
    /// of this machine. Where the system refuses to start threads, the caller's thread works alone.
    pub fn new(threads: usize) -> Self {
        Self::build(threads, Available::best())
    }

    /// A backend that uses the given instructions: for tests, and for the same bits on different
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
            arena: Arena::default(),
            meter: Meter::default(),
            activations: PhantomData,
        }
    }

    /// The number of threads that compute.
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
        let activations = std::any::type_name::<N>();
        write!(f, "Cpu<{activations}>({} threads, {:?})", self.threads(), self.instructions())
    }
}
