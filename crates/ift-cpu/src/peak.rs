//! The peak rate of the machine's arithmetic: multiply-adds that touch no memory.

use crate::Cpu;
use crate::instructions::kernel;
use crate::number::Number;
use crate::simd::Simd;
use crate::tile;
use crate::words::{Plain, Words};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Independent vectors of sums; more than any machine needs to be busy, and as many as fit its
/// registers.
const SUMS: usize = 12;
/// Rounds between two looks at the clock.
const ROUNDS: usize = 20_000;
/// Duration of a measurement.
const TIME: Duration = Duration::from_millis(200);

/// `rounds` multiply-adds of every vector.
///
/// # Safety
/// The machine has `S`'s instructions, with those for pairs if `F` takes pairs.
#[inline(always)]
unsafe fn multiply_add<S: Simd, F: Words>(rounds: usize) -> f32 {
    // SAFETY: the instructions are there by contract; the array holds a vector.
    unsafe {
        let factor = S::splat(black_box(0.999));
        // With different starts: the compiler would compute equal ones once.
        let mut sums: [S::Vector; SUMS] = std::array::from_fn(|i| S::splat(black_box(i as f32)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = tile::multiply_add::<S, F>(factor, factor, *sum);
            }
        }
        // All are used: the compiler would remove one that is not.
        let mut total = S::zero();
        for sum in sums {
            total = S::add(total, sum);
        }
        let mut elements = [0.0f32; 16];
        S::store(elements.as_mut_ptr(), total);
        elements[0]
    }
}

kernel! {
    /// Rounds of multiply-adds of `f32`; returns the operations done.
    fn plain<S>(rounds: usize) -> usize {
        // SAFETY: a kernel runs where its instructions were detected.
        black_box(unsafe { multiply_add::<S, Plain>(rounds) });
        rounds * 2 * SUMS * S::LANES
    }
}

/// As [`plain`], of pairs of `bf16`.
///
/// # Safety
/// The machine has AVX-512 with bf16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
unsafe fn pairs(rounds: usize) -> usize {
    use crate::simd::Avx512;
    // SAFETY: by contract.
    black_box(unsafe { multiply_add::<Avx512, crate::words::Pairs>(rounds) });
    rounds * 4 * SUMS * Avx512::LANES
}

impl<N: Number> Cpu<N> {
    fn some_rounds(&self, rounds: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.narrow_products {
            // SAFETY: this is true only where the instructions were detected.
            return unsafe { pairs(rounds) };
        }
        plain(self.set, rounds)
    }

    /// Operations a second, on all threads.
    pub(crate) fn measure_peak(&self) -> f64 {
        let done = AtomicUsize::new(0);
        let start = Instant::now();
        // As many tasks as threads, each as long as the others: every thread gets one.
        self.threads.each(self.threads.count(), |_| {
            while start.elapsed() < TIME {
                done.fetch_add(self.some_rounds(ROUNDS), Ordering::Relaxed);
            }
        });
        done.into_inner() as f64 / start.elapsed().as_secs_f64()
    }
}
