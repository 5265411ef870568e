//! Weights, activations and scratch memory, all from one arena that keeps what is no longer used
//! and gives it out again: a training step takes no memory from the system after the first, and the
//! system never has pages to clear.

use bytemuck::Pod;
use memmap2::{MmapMut, MmapOptions};
use std::alloc::{Layout, handle_alloc_error};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A cache line: every buffer begins on one.
const LINE: usize = 64;
/// Memory is taken from the system in chunks of so many bytes, or as many as a larger buffer needs.
/// What is not used of a chunk is not resident.
const CHUNK: usize = 1 << 30;

/// Memory from the system, all zeros when new.
struct Chunk {
    map: MmapMut,
    /// Free pieces, `offset → bytes`; no two touch.
    free: BTreeMap<usize, usize>,
    /// From here on nothing was ever given out: there it is all zeros.
    untouched: usize,
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let map = |bytes| MmapOptions::new().len(bytes).map_anon();
        let Ok(map) = map(bytes.max(CHUNK)).or_else(|_| map(bytes)) else {
            handle_alloc_error(Layout::from_size_align(bytes, LINE).unwrap_or(Layout::new::<u8>()))
        };
        // A step walks through gigabytes, and the processor's table of small pages covers a few
        // megabytes. This is a wish: where the system does not grant it, pages are small.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        let free = BTreeMap::from([(0, map.len() / LINE * LINE)]);
        Self { map, free, untouched: 0 }
    }

    /// The first free piece that is large enough, so that what is used stays together.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&at, &free) = self.free.iter().find(|(_, free)| **free >= bytes)?;
        self.free.remove(&at);
        if free > bytes {
            self.free.insert(at + bytes, free - bytes);
        }
        Some(at)
    }

    fn give_back(&mut self, mut at: usize, mut bytes: usize) {
        if let Some((&before, &size)) = self.free.range(..at).next_back()
            && before + size == at
        {
            self.free.remove(&before);
            (at, bytes) = (before, bytes + size);
        }
        if let Some(size) = self.free.remove(&(at + bytes)) {
            bytes += size;
        }
        self.free.insert(at, bytes);
    }
}

/// Where buffers come from and go back to.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Chunk>>>);

impl Pool {
    fn chunks(&self) -> MutexGuard<'_, Vec<Chunk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` numbers with unspecified contents.
    pub(crate) fn take<T: Pod>(&self, len: usize) -> Buffer<T> {
        self.get(len).0
    }

    /// A buffer of zeros.
    pub(crate) fn zeros<T: Pod>(&self, len: usize) -> Buffer<T> {
        let (mut buffer, new) = self.get(len);
        if !new {
            buffer.fill(T::zeroed());
        }
        buffer
    }

    /// A buffer, and whether its memory is new.
    fn get<T: Pod>(&self, len: usize) -> (Buffer<T>, bool) {
        assert!(align_of::<T>() <= LINE);
        let bytes = (len * size_of::<T>()).next_multiple_of(LINE).max(LINE);
        let mut chunks = self.chunks();
        let found =
            chunks.iter_mut().enumerate().find_map(|(i, chunk)| Some((i, chunk.take(bytes)?)));
        let (chunk, at) = found.unwrap_or_else(|| {
            let mut chunk = Chunk::new(bytes);
            let at = chunk.take(bytes).unwrap_or_default();
            chunks.push(chunk);
            (chunks.len() - 1, at)
        });
        let memory = &mut chunks[chunk];
        let new = at >= memory.untouched;
        memory.untouched = memory.untouched.max(at + bytes);
        let start = memory.map[at..at + bytes].as_mut_ptr().cast();
        let piece = Piece { chunk, at, bytes };
        (Buffer { start, len, piece, pool: self.clone(), numbers: PhantomData }, new)
    }
}

/// Where a buffer lies.
#[derive(Clone, Copy)]
struct Piece {
    chunk: usize,
    at: usize,
    bytes: usize,
}

/// `len` numbers, from a cache line's start on, that go back to the pool when dropped.
pub struct Buffer<T: Pod> {
    start: *mut T,
    len: usize,
    piece: Piece,
    pool: Pool,
    numbers: PhantomData<T>,
}

// SAFETY: a buffer owns its numbers, which are plain.
unsafe impl<T: Pod + Send> Send for Buffer<T> {}
// SAFETY: as above; a shared buffer only gives shared access to them.
unsafe impl<T: Pod + Sync> Sync for Buffer<T> {}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the piece is this buffer's own until it is dropped, is aligned to a line, holds
        // `len` numbers, and any bits are a `T`; its chunk lives as long as the pool.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Pod> Drop for Buffer<T> {
    fn drop(&mut self) {
        let Piece { chunk, at, bytes } = self.piece;
        self.pool.chunks()[chunk].give_back(at, bytes);
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

    /// All free pieces of a pool.
    fn free(pool: &Pool) -> Vec<(usize, usize)> {
        pool.chunks().iter().flat_map(|chunk| chunk.free.clone()).collect()
    }

    #[test]
    fn a_dropped_buffer_is_given_out_again() {
        let pool = Pool::default();
        let mut a = pool.zeros::<f32>(5000);
        assert!(a.iter().all(|&x| x == 0.0) && a.len() == 5000);
        assert_eq!(a.as_ptr() as usize % LINE, 0);
        a.fill(7.0);
        let address = a.as_ptr();
        drop(a);
        let b = pool.zeros::<f32>(4000);
        assert_eq!((b.as_ptr(), b.len(), b[3999]), (address, 4000, 0.0));
        let c = pool.take::<f32>(4000);
        assert!(!b.as_ptr_range().contains(&c.as_ptr()));
        drop((b, c));
        assert_eq!(free(&pool), [(0, CHUNK)]);
        let large = pool.take::<u8>(CHUNK + 1);
        assert_eq!((large.len(), pool.chunks().len()), (CHUNK + 1, 2));
    }

    /// Whatever is dropped when, no two buffers overlap and all of the memory comes back.
    #[test]
    fn pieces_stay_apart_and_grow_together() {
        let pool = Pool::default();
        let mut held: Vec<(Buffer<u32>, u32)> = Vec::new();
        for step in 0..2000u32 {
            let mut buffer = pool.take::<u32>((step as usize * 7919) % 5000);
            buffer.fill(step);
            held.push((buffer, step));
            if step % 3 > 0 {
                let (buffer, mark) = held.swap_remove((step as usize * 31) % held.len());
                assert!(buffer.iter().all(|&x| x == mark));
            }
        }
        assert!(held.iter().all(|(buffer, mark)| buffer.iter().all(|x| x == mark)));
        held.clear();
        assert_eq!(free(&pool), [(0, CHUNK)]);
    }

    #[test]
    fn memory_does_not_grow_with_varying_sizes() {
        let pool = Pool::default();
        for step in 0..200 {
            let len = 10_000 + (step * 7919) % 5000;
            drop((pool.take::<f32>(len), pool.take::<f32>(2 * len), pool.take::<f32>(300)));
        }
        assert!(pool.chunks()[0].untouched <= 4 * (3 * 15_000 + 400));
    }
}
