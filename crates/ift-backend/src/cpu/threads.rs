//! Work split over a pool of threads in parts whose bounds do not depend on how many threads there are, so that every
//! result has the same bits with one thread and with many.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below this many numbers an elementwise operation is done by the caller: waking a thread would take longer.
const SMALL: usize = 16_384;
/// About how many numbers an elementwise task touches.
const TASK: usize = 8_192;

/// A pool; without one, the caller does everything.
pub(super) struct Threads {
    pool: Option<ThreadPool>,
}

impl Threads {
    /// `threads` of them, 0 for one per core. Where the system refuses to start them, the caller's thread works alone.
    pub(super) fn new(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if threads == 0 { cores } else { threads };
        let name = |i| format!("ift-cpu-{i}");
        let pool = (count > 1)
            .then(|| ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().ok())
            .flatten();
        Self { pool }
    }

    pub(super) fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `task(0..tasks)`, each once, in any order, on any thread.
    pub(super) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.pool {
            Some(pool) if tasks > 1 => {
                let next = AtomicUsize::new(0);
                pool.broadcast(|_| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= tasks {
                            break;
                        }
                        task(i);
                    }
                });
            }
            _ => (0..tasks).for_each(task),
        }
    }

    /// Runs `task(0..tasks)`, each with its own part of every output: task `i` gets the `i`-th run of so many numbers as
    /// stand beside the slice, fewer (or none) where the slice ends.
    pub(super) fn split<T: Send, const N: usize>(
        &self,
        tasks: usize,
        outputs: [(&mut [T], usize); N],
        task: impl Fn(usize, [&mut [T]; N]) + Sync,
    ) {
        let shared = outputs.map(|(slice, length)| (Shared::new(slice), length));
        self.each(tasks, |i| {
            let parts = std::array::from_fn(|o| {
                let (shared, length) = &shared[o];
                let range = shared.len.min(i * length)..shared.len.min((i + 1) * length);
                // SAFETY: the ranges of different tasks do not overlap, and each task runs once.
                unsafe { shared.range(range) }
            });
            task(i, parts);
        });
    }

    /// Runs `task(rows, outputs)` for blocks of the rows `0..n`. Each output comes with the width of its rows and must
    /// hold `n` of them. `work` is how many numbers a row touches. Nothing may depend on which rows share a block.
    pub(super) fn rows<const N: usize>(
        &self,
        n: usize,
        work: usize,
        outputs: [(&mut [f32], usize); N],
        task: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
    ) {
        let block = if n * work <= SMALL { n.max(1) } else { (TASK / work.max(1)).max(1) };
        let outputs = outputs.map(|(slice, width)| (&mut slice[..n * width], block * width));
        self.split(n.div_ceil(block), outputs, |i, parts| task(i * block..n.min((i + 1) * block), parts));
    }
}

/// A mutable slice that several tasks write to, each its own part.
pub(super) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a task gets at the numbers only through `range` and `pointer`, whose callers keep the parts of tasks apart; `T`
// itself may change threads.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The part `range`.
    ///
    /// # Safety
    /// No other part that is in use overlaps it.
    ///
    /// # Panics
    /// If the range is not inside the slice.
    #[allow(clippy::mut_from_ref, reason = "the point of the type; the callers keep the parts apart")]
    pub(super) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the slice, which is borrowed mutably for 'a; the caller rules out overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }

    /// Where the number `at` lies, for writes of `len` numbers from there on.
    ///
    /// # Panics
    /// If those are not inside the slice.
    pub(super) fn pointer(&self, at: usize, len: usize) -> *mut T {
        assert!(at + len <= self.len, "{at} + {len} of {}", self.len);
        // SAFETY: inside the slice.
        unsafe { self.start.add(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_visited_once() {
        for threads in [1, 2, 3] {
            let pool = Threads::new(threads);
            assert_eq!(pool.count(), threads);
            for (n, width) in [(0, 3), (1, 1), (7, 65), (1025, 24), (3000, 31)] {
                let (mut a, mut b) = (vec![0.0; n * width], vec![0.0; n]);
                pool.rows(n, width, [(&mut a, width), (&mut b, 1)], |rows, [a, b]| {
                    for (row, (a, b)) in rows.zip(a.chunks_exact_mut(width).zip(b)) {
                        a.fill(row as f32);
                        *b += 1.0;
                    }
                });
                assert!(b.iter().all(|&x| x == 1.0));
                assert!(a.iter().enumerate().all(|(i, &x)| x == (i / width) as f32));
                pool.split(n.div_ceil(10), [(&mut b, 10)], |part, [slice]| {
                    for x in slice {
                        *x += part as f32;
                    }
                });
                assert!(b.iter().enumerate().all(|(i, &x)| x == 1.0 + (i / 10) as f32));
            }
        }
    }
}
