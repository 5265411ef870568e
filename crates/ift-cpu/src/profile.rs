//! Time and work by kind of operation: two counters for each.

use crate::threads::Threads;
use ift_backend::{Profile, ProfileEntry};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Kinds of operations, in the order of the report.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Products,
    Attention,
    Head,
    Elementwise,
    Embedding,
    Optimizer,
}

const NAMES: [&str; 6] =
    ["products", "attention", "head", "norms and elementwise", "embedding", "optimizer"];

#[derive(Default)]
struct Counter {
    nanoseconds: AtomicU64,
    flops: AtomicU64,
}

/// Time and work so far.
#[derive(Default)]
pub(crate) struct Meter([Counter; NAMES.len()]);

/// Counts the time until it is dropped.
pub(crate) struct Timer<'a> {
    counter: &'a Counter,
    start: Instant,
}

impl Meter {
    pub(crate) fn start(&self, kind: Kind, flops: u64) -> Timer<'_> {
        let counter = &self.0[kind as usize];
        counter.flops.fetch_add(flops, Ordering::Relaxed);
        Timer { counter, start: Instant::now() }
    }

    /// The counters and the threads' busy time since the last call.
    pub(crate) fn take(&self, threads: &Threads) -> Profile {
        let entries = NAMES.iter().zip(&self.0).map(|(&operation, counter)| ProfileEntry {
            operation,
            time: Duration::from_nanos(counter.nanoseconds.swap(0, Ordering::Relaxed)),
            flops: counter.flops.swap(0, Ordering::Relaxed),
        });
        Profile { entries: entries.collect(), busy: threads.take_busy(), threads: threads.count() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.counter
            .nanoseconds
            .fetch_add(self.start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}
