//! Which backend computes. This is the only place that names one.

use std::sync::Arc;

use half::bf16;
use ift_backend::{Backend, Reference};
use ift_cpu::{Cpu, Instructions, Number};

use crate::recipe::Precision;

/// Work that any backend can do.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it with a backend that computes on so many threads.
    fn run<B: Backend>(self, backend: Arc<B>, threads: usize) -> Self::Output;
}

/// Does `work` with the backend for a precision, on at most `threads` threads; 0 for one per core.
pub fn run_on<W: Work>(precision: Precision, threads: usize, work: W) -> W::Output {
    match precision {
        Precision::F32 => run_on_cpu::<f32, W>(threads, work),
        Precision::Bf16 => run_on_cpu::<bf16, W>(threads, work),
        Precision::F64 => work.run(Arc::new(Reference), 1),
    }
}

fn run_on_cpu<N: Number, W: Work>(threads: usize, work: W) -> W::Output {
    let cpu = Cpu::<N>::new(threads);
    let threads = cpu.threads();
    work.run(Arc::new(cpu), threads)
}

/// The arithmetic that a precision is computed with on this machine. It decides the last bits of
/// results, whatever the number of threads.
pub(crate) fn arithmetic(precision: Precision) -> &'static str {
    match (precision, Instructions::detect()) {
        (Precision::F64, _) => "reference",
        (_, Instructions::Portable) => "portable",
        (_, Instructions::Avx2) => "avx2",
        (Precision::Bf16, Instructions::Avx512Bf16) => "avx512_bf16",
        (_, Instructions::Avx512 | Instructions::Avx512Bf16) => "avx512",
    }
}
