//! Activations and scratch memory, kept when they are no longer used and given out again: a training step allocates
//! nothing after the first, and the kernel never has pages to clear.

use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A cache line: the unit of allocation, so that every buffer begins on one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// The free buffers, by size.
#[derive(Default)]
struct Free {
    sorted: Vec<Vec<Line>>,
}

/// Where buffers come from and go back to.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Free>>);

impl Pool {
    /// A buffer of `len` numbers with unspecified contents (zeros when it is new).
    ///
    /// The smallest free one of at most twice the size is taken. If there is none, a free one of at least half the size
    /// makes way for a new one, so that sizes which vary from step to step do not pile up.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let lines = len.div_ceil(LINE).max(64);
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = free.sorted.partition_point(|b| b.len() < lines);
        let fits = free.sorted.get(first).is_some_and(|b| b.len() <= 2 * lines);
        let data = if fits {
            free.sorted.remove(first)
        } else {
            let replaced = first.checked_sub(1).filter(|&i| 2 * free.sorted[i].len() >= lines);
            drop(replaced.map(|i| free.sorted.remove(i)));
            drop(free);
            bytemuck::allocation::zeroed_vec(lines)
        };
        Buffer { data, len, pool: self.clone() }
    }
}

/// `len` numbers, from a cache line's start on, that go back to the pool when dropped.
pub struct Buffer {
    data: Vec<Line>,
    len: usize,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.data)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.data)[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.sorted.partition_point(|b| b.len() < data.len());
        free.sorted.insert(at, data);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Buffer({} numbers)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(pool: &Pool) -> Vec<usize> {
        pool.0.lock().unwrap().sorted.iter().map(|b| b.len() * LINE).collect()
    }

    #[test]
    fn a_dropped_buffer_is_given_out_again() {
        let pool = Pool::default();
        let mut a = pool.take(5000);
        assert!(a.iter().all(|&x| x == 0.0) && a.len() == 5000);
        assert_eq!(a.as_ptr() as usize % 64, 0);
        a[4999] = 7.0;
        let address = a.as_ptr();
        drop(a);
        let b = pool.take(4000);
        assert_eq!((b.as_ptr(), b.len()), (address, 4000));
        let c = pool.take(4000);
        assert_ne!(c.as_ptr(), address);
        drop((b, c));
        assert_eq!(free(&pool).len(), 2);
    }

    #[test]
    fn the_pool_does_not_grow_with_varying_sizes() {
        let pool = Pool::default();
        for step in 0..200 {
            let len = 10_000 + (step * 7919) % 5000;
            drop((pool.take(len), pool.take(2 * len), pool.take(300)));
        }
        assert!(free(&pool).len() <= 4, "{:?}", free(&pool));
        // A much larger buffer is never given away for a small request, nor dropped for a large one.
        let (large, small) = (pool.take(1 << 20), pool.take(64));
        drop((large, small));
        assert!(free(&pool).iter().any(|&len| len >= 1 << 20));
    }
}
