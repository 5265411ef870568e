//! Activations and scratch memory, kept when they are no longer used and given out again: a training step allocates
//! nothing after the first, and the kernel never has pages to clear.

use bytemuck::{Pod, Zeroable};
use memmap2::{Advice, MmapMut, MmapOptions};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A cache line: the unit of small allocations, so that every buffer begins on one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;
/// From so many bytes on, memory comes straight from the system, in huge pages where it has them: a step walks through
/// gigabytes, and the processor's table of small pages covers a few megabytes.
const HUGE: usize = 4 << 20;

/// Memory that begins on a cache line, all zeros when new.
enum Memory {
    Small(Vec<Line>),
    Huge(MmapMut),
}

impl Memory {
    fn new(bytes: usize) -> Self {
        let small = || Self::Small(bytemuck::allocation::zeroed_vec(bytes.div_ceil(LINE)));
        if bytes < HUGE {
            return small();
        }
        match MmapOptions::new().len(bytes).map_anon() {
            Ok(map) => {
                // A wish; where the system does not grant it, pages are small.
                #[cfg(target_os = "linux")]
                drop(map.advise(Advice::HugePage));
                Self::Huge(map)
            }
            Err(_) => small(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(lines) => bytemuck::cast_slice(lines),
            Self::Huge(map) => map,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Small(lines) => bytemuck::cast_slice_mut(lines),
            Self::Huge(map) => map,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }
}

/// The free memory, by size.
#[derive(Default)]
struct Free {
    sorted: Vec<Memory>,
}

/// Where buffers come from and go back to.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Free>>);

impl Pool {
    /// A buffer of `len` numbers with unspecified contents.
    pub(super) fn take<T: Pod>(&self, len: usize) -> Buffer<T> {
        self.get(len).0
    }

    /// A buffer of zeros.
    pub(super) fn zeros<T: Pod>(&self, len: usize) -> Buffer<T> {
        let (mut buffer, new) = self.get(len);
        if !new {
            buffer.fill(T::zeroed());
        }
        buffer
    }

    /// A buffer, and whether its memory is new.
    ///
    /// The smallest free one of at most twice the size is taken. If there is none, a free one of at least half the size
    /// makes way for a new one, so that sizes which vary from step to step do not pile up.
    fn get<T: Pod>(&self, len: usize) -> (Buffer<T>, bool) {
        let bytes = (len * size_of::<T>()).next_multiple_of(LINE).max(64 * LINE);
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = free.sorted.partition_point(|b| b.len() < bytes);
        let fits = free.sorted.get(first).is_some_and(|b| b.len() <= 2 * bytes);
        let memory = if fits {
            free.sorted.remove(first)
        } else {
            let replaced = first.checked_sub(1).filter(|&i| 2 * free.sorted[i].len() >= bytes);
            drop(replaced.map(|i| free.sorted.remove(i)));
            drop(free);
            Memory::new(bytes)
        };
        (Buffer { memory, len, pool: self.clone(), numbers: PhantomData }, !fits)
    }
}

/// `len` numbers, from a cache line's start on, that go back to the pool when dropped.
pub struct Buffer<T: Pod> {
    memory: Memory,
    len: usize,
    pool: Pool,
    numbers: PhantomData<T>,
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory.bytes()[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory.bytes_mut()[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> Drop for Buffer<T> {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::Small(Vec::new()));
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.sorted.partition_point(|b| b.len() < memory.len());
        free.sorted.insert(at, memory);
    }
}

impl<T: Pod> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Buffer({} numbers)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(pool: &Pool) -> Vec<usize> {
        pool.0.lock().unwrap().sorted.iter().map(|b| b.len() / 4).collect()
    }

    #[test]
    fn a_dropped_buffer_is_given_out_again() {
        let pool = Pool::default();
        let mut a = pool.take::<f32>(5000);
        assert!(a.iter().all(|&x| x == 0.0) && a.len() == 5000);
        assert_eq!(a.as_ptr() as usize % 64, 0);
        a[4999] = 7.0;
        let address = a.as_ptr();
        drop(a);
        let b = pool.take::<f32>(4000);
        assert_eq!((b.as_ptr(), b.len()), (address, 4000));
        let c = pool.take::<f32>(4000);
        assert_ne!(c.as_ptr(), address);
        drop((b, c));
        assert_eq!(free(&pool).len(), 2);
    }

    #[test]
    fn the_pool_does_not_grow_with_varying_sizes() {
        let pool = Pool::default();
        for step in 0..200 {
            let len = 10_000 + (step * 7919) % 5000;
            drop((pool.take::<f32>(len), pool.take::<f32>(2 * len), pool.take::<f32>(300)));
        }
        assert!(free(&pool).len() <= 4, "{:?}", free(&pool));
        // A much larger buffer is never given away for a small request, nor dropped for a large one.
        let (large, small) = (pool.take::<f32>(1 << 20), pool.take::<f32>(64));
        drop((large, small));
        assert!(free(&pool).iter().any(|&len| len >= 1 << 20));
    }
}
