//! Work split over a pool of threads. The bounds of the parts do not depend on the number of
//! threads, so every result has the same bits with one thread and with many.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An elementwise operation on at most this many elements runs on the caller's thread: waking
/// another one would take longer.
const SERIAL_ELEMENTS: usize = 16_384;
/// A product of at most this many floating point operations runs on the caller's thread.
const SERIAL_FLOPS: usize = 1 << 19;
/// About how many elements an elementwise task touches.
const TASK: usize = 8_192;

/// Threads that wait for work.
#[cfg(not(miri))]
struct Pool(rayon::ThreadPool);

#[cfg(not(miri))]
impl Pool {
    /// `None` if the system refuses to start threads.
    fn new(threads: usize) -> Option<Self> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.thread_name(|i| format!("ift-cpu-{i}")).build().ok().map(Self)
    }

    fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on every thread.
    fn run(&self, work: impl Fn() + Sync) {
        self.0.broadcast(|_| work());
    }
}

/// The same with threads of the standard library: the pool of `rayon` breaks Miri's stricter rules.
#[cfg(miri)]
struct Pool(usize);

#[cfg(miri)]
impl Pool {
    fn new(threads: usize) -> Option<Self> {
        Some(Self(threads))
    }

    fn count(&self) -> usize {
        self.0
    }

    fn run(&self, work: impl Fn() + Sync) {
        std::thread::scope(|scope| (0..self.0).for_each(|_| drop(scope.spawn(&work))));
    }
}

/// A pool of threads; without one, the caller's thread does everything.
pub(crate) struct Threads {
    pool: Option<Pool>,
    /// Nanoseconds of all threads inside tasks.
    busy: AtomicU64,
}

impl Threads {
    /// A pool of `threads`, 0 for one per core. Where the system refuses to start threads, the
    /// caller's works alone.
    pub(crate) fn new(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if threads == 0 { cores } else { threads };
        let pool = (count > 1).then(|| Pool::new(count)).flatten();
        Self { pool, busy: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, Pool::count)
    }

    /// Runs `task(0..tasks)`, each once, in any order, on any thread.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        self.each_of(usize::MAX, tasks, task);
    }

    /// As [`Threads::each`]; `work` is the number of floating point operations of all tasks. Little
    /// work runs on the caller's thread.
    pub(crate) fn each_of(&self, work: usize, tasks: usize, task: impl Fn(usize) + Sync) {
        let next = AtomicUsize::new(0);
        let take_tasks = || {
            let start = Instant::now();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                task(i);
            }
            self.busy.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        };
        match &self.pool {
            Some(pool) if tasks > 1 && work > SERIAL_FLOPS => pool.run(take_tasks),
            _ => take_tasks(),
        }
    }

    /// The time of all threads inside tasks since the last call.
    pub(crate) fn take_busy(&self) -> Duration {
        Duration::from_nanos(self.busy.swap(0, Ordering::Relaxed))
    }

    /// Runs `task(0..tasks)`, each with its own part of every output: parts of equal length,
    /// shorter (or empty) where a slice ends.
    pub(crate) fn split<O: Outputs>(
        &self,
        tasks: usize,
        outputs: O,
        task: impl Fn(usize, O::Part) + Sync,
    ) {
        let shared = outputs.share();
        // SAFETY: each task runs once.
        self.each(tasks, |i| task(i, unsafe { O::part(&shared, i) }));
    }

    /// Runs `task(rows, outputs)` for blocks of the rows `0..n`. Each output is cut into rows and
    /// must hold `n` of them. `work` is the number of elements that a row touches. No result may
    /// depend on which rows share a block.
    pub(crate) fn rows<O: Outputs>(
        &self,
        n: usize,
        work: usize,
        outputs: O,
        task: impl Fn(Range<usize>, O::Part) + Sync,
    ) {
        let block = if n.saturating_mul(work) <= SERIAL_ELEMENTS {
            n.max(1)
        } else {
            (TASK / work.max(1)).max(1)
        };
        self.split(n.div_ceil(block), outputs.rows(n, block), |i, parts| {
            task(i * block..n.min((i + 1).saturating_mul(block)), parts);
        });
    }
}

/// A mutable slice, cut into parts of so many elements.
pub(crate) struct Cut<'a, T>(pub &'a mut [T], pub usize);

/// What tasks write to: nothing, a [`Cut`], or a tuple of such.
pub(crate) trait Outputs: Sized {
    /// The slices, to be shared by tasks.
    type Shared: Sync;
    /// A task's part of each.
    type Part;
    /// The first `n` parts of every slice, joined into parts of `block`.
    fn rows(self, n: usize, block: usize) -> Self;
    fn share(self) -> Self::Shared;
    /// The `i`-th part of every slice.
    ///
    /// # Safety
    /// Each `i` is asked for once.
    unsafe fn part(shared: &Self::Shared, i: usize) -> Self::Part;
}

impl Outputs for () {
    type Shared = ();
    type Part = ();
    fn rows(self, _: usize, _: usize) {}
    fn share(self) {}
    unsafe fn part((): &(), _: usize) {}
}

impl<'a, T: Send + 'a> Outputs for Cut<'a, T> {
    type Shared = (Shared<'a, T>, usize);
    type Part = &'a mut [T];
    fn rows(self, n: usize, block: usize) -> Self {
        // A product that overflows is more than any slice holds.
        Cut(&mut self.0[..n.saturating_mul(self.1)], block.saturating_mul(self.1))
    }
    fn share(self) -> Self::Shared {
        (Shared::new(self.0), self.1)
    }
    unsafe fn part((shared, length): &Self::Shared, i: usize) -> &'a mut [T] {
        let bound = |i: usize| shared.len.min(i.saturating_mul(*length));
        // SAFETY: different parts do not overlap, and each is asked for once.
        unsafe { shared.range(bound(i)..bound(i + 1)) }
    }
}

macro_rules! several {
    ($($O:ident $at:tt),*) => {
        impl<$($O: Outputs),*> Outputs for ($($O,)*) {
            type Shared = ($($O::Shared,)*);
            type Part = ($($O::Part,)*);
            fn rows(self, n: usize, block: usize) -> Self {
                ($(self.$at.rows(n, block),)*)
            }
            fn share(self) -> Self::Shared {
                ($(self.$at.share(),)*)
            }
            unsafe fn part(shared: &Self::Shared, i: usize) -> Self::Part {
                // SAFETY: passed on.
                unsafe { ($($O::part(&shared.$at, i),)*) }
            }
        }
    };
}
several!(A 0, B 1);
several!(A 0, B 1, C 2);
several!(A 0, B 1, C 2, D 3);

/// A mutable slice that several tasks write to, each its own part.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks reach the elements only through `range` and `pointer`, whose callers keep the parts
// of tasks apart; `T` itself may change threads.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The part `range`.
    ///
    /// # Safety
    /// No other part that is in use overlaps it.
    ///
    /// # Panics
    /// If the range is not inside the slice.
    #[allow(
        clippy::mut_from_ref,
        reason = "tasks share the type, and the callers keep their parts apart"
    )]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the slice, which is borrowed mutably for 'a; the caller rules out
        // overlaps.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start)
        }
    }

    /// The address of element `at`, for writes of `len` elements from there on.
    ///
    /// # Panics
    /// If those are not inside the slice.
    pub(crate) fn pointer(&self, at: usize, len: usize) -> *mut T {
        assert!(at <= self.len && len <= self.len - at, "{at} + {len} of {}", self.len);
        // SAFETY: inside the slice.
        unsafe { self.start.add(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_every_part_is_visited_once() {
        let sizes: &[_] = if cfg!(miri) {
            &[(0, 3), (7, 65), (9, 2048)]
        } else {
            &[(0, 3), (1, 1), (7, 65), (1025, 24), (3000, 31)]
        };
        for threads in [1, 2, 3] {
            let pool = Threads::new(threads);
            assert_eq!(pool.count(), threads);
            for &(n, width) in sizes {
                let (mut a, mut b) = (vec![0.0; n * width], vec![0.0; n]);
                let outputs = (Cut(&mut a, width), Cut(&mut b, 1));
                pool.rows(n, width, outputs, |rows, (a, b)| {
                    for (row, (a, b)) in rows.zip(a.chunks_exact_mut(width).zip(b)) {
                        a.fill(row as f32);
                        *b += 1.0;
                    }
                });
                assert!(b.iter().all(|&x| x == 1.0));
                assert!(a.iter().enumerate().all(|(i, &x)| x == (i / width) as f32));
                pool.split(n.div_ceil(10), Cut(&mut b, 10), |part, slice| {
                    for x in slice {
                        *x += part as f32;
                    }
                });
                assert!(b.iter().enumerate().all(|(i, &x)| x == 1.0 + (i / 10) as f32));
            }
        }
    }

    /// Parts whose bounds would overflow are empty, and do not overlap.
    #[test]
    fn miri_absurd_lengths_make_no_overlap() {
        let mut elements = vec![0; 10];
        let visited = AtomicUsize::new(0);
        Threads::new(1).split(4, Cut(&mut elements, usize::MAX / 2 + 1), |_, part| {
            visited.fetch_add(part.len(), Ordering::Relaxed);
        });
        assert_eq!(visited.into_inner(), 10);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn miri_rows_that_do_not_fit_are_refused() {
        let mut elements = vec![0; 10];
        let outputs = Cut(&mut elements, usize::MAX / 2 + 1);
        Threads::new(1).rows(2, 1, outputs, |_, _| {});
    }
}
