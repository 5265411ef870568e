//! Memory for weights, activations and temporary buffers: one arena that keeps what is no longer
//! used and gives it out again. After the first training step, only a later step that needs more
//! (longer sequences) takes new memory from the system, which then has to clear its pages.
//!
//! All access to a region goes through raw pointers. A Rust reference exists only to the elements
//! of one [`Buffer`], never to a whole region.

use bytemuck::Pod;
use ift_backend::BackendError;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a cache line. Every buffer begins on one.
const LINE: usize = 64;
/// Bytes of a region, unless one buffer needs more. The part that was never used is not resident.
const REGION: usize = if cfg!(miri) { 1 << 18 } else { 1 << 30 };

type Result<T> = std::result::Result<T, BackendError>;

/// Zeroed memory from the system, given back when dropped.
#[cfg(not(miri))]
struct Mapping(memmap2::MmapRaw);

#[cfg(not(miri))]
impl Mapping {
    /// `None` if the system has no memory.
    fn new(bytes: usize) -> Option<Self> {
        let map = memmap2::MmapOptions::new().len(bytes).map_anon().ok()?;
        // A step walks through gigabytes, and the processor's table of small pages covers a few
        // megabytes. Where the system does not grant large pages, small ones do.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Some(Self(map.into()))
    }

    fn start(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The same from the heap: Miri checks accesses there more strictly than in mappings.
#[cfg(miri)]
struct Mapping(*mut u8, std::alloc::Layout);

// SAFETY: the memory belongs to no thread.
#[cfg(miri)]
unsafe impl Send for Mapping {}

#[cfg(miri)]
impl Mapping {
    fn new(bytes: usize) -> Option<Self> {
        // Miri itself stops where an allocation fails.
        let layout = std::alloc::Layout::from_size_align(bytes.max(1), LINE).ok();
        let layout = layout.filter(|layout| layout.size() <= 1 << 30)?;
        // SAFETY: the layout has at least one byte.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        (!start.is_null()).then_some(Self(start, layout))
    }

    fn start(&self) -> *mut u8 {
        self.0
    }

    fn len(&self) -> usize {
        self.1.size()
    }
}

#[cfg(miri)]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and dropped once.
        unsafe { std::alloc::dealloc(self.0, self.1) }
    }
}

/// A mapping and which parts of it are free.
struct Region {
    mapping: Mapping,
    /// Free pieces, `offset → bytes`; no two touch.
    free: BTreeMap<usize, usize>,
    /// From here on nothing was ever given out, so there are only zeros.
    untouched: usize,
}

impl Region {
    /// A region of at least `bytes`; `None` if the system has no memory.
    fn new(bytes: usize) -> Option<Self> {
        let mapping = Mapping::new(bytes.max(REGION)).or_else(|| Mapping::new(bytes))?;
        let free = BTreeMap::from([(0, mapping.len() / LINE * LINE)]);
        Some(Self { mapping, free, untouched: 0 })
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
pub(crate) struct Arena(Arc<Mutex<Vec<Region>>>);

impl Arena {
    fn regions(&self) -> MutexGuard<'_, Vec<Region>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` elements with unspecified (but initialised) contents. `what` names it in
    /// the error.
    pub(crate) fn take<T: Pod>(&self, what: &'static str, len: usize) -> Result<Buffer<T>> {
        Ok(self.get(what, len)?.0)
    }

    /// A buffer of zeros.
    pub(crate) fn zeros<T: Pod>(&self, what: &'static str, len: usize) -> Result<Buffer<T>> {
        let (mut buffer, new) = self.get(what, len)?;
        if !new {
            buffer.fill(T::zeroed());
        }
        Ok(buffer)
    }

    /// A buffer, and whether its memory was never used before.
    fn get<T: Pod>(&self, what: &'static str, len: usize) -> Result<(Buffer<T>, bool)> {
        const { assert!(align_of::<T>() <= LINE, "buffers are aligned to cache lines") };
        let out_of_memory = || {
            let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
            BackendError::OutOfMemory { what, bytes }
        };
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes = bytes.and_then(|bytes| bytes.max(1).checked_next_multiple_of(LINE));
        let bytes = bytes.ok_or_else(out_of_memory)?;
        let mut regions = self.regions();
        let found =
            regions.iter_mut().enumerate().find_map(|(i, region)| Some((i, region.take(bytes)?)));
        let (number, at) = if let Some(found) = found {
            found
        } else {
            let mut region = Region::new(bytes).ok_or_else(out_of_memory)?;
            let at = region.take(bytes).ok_or_else(out_of_memory)?;
            regions.push(region);
            (regions.len() - 1, at)
        };
        let region = &mut regions[number];
        let new = at >= region.untouched;
        region.untouched = region.untouched.max(at + bytes);
        // SAFETY: `take` gives pieces inside the mapping only.
        let start = unsafe { region.mapping.start().add(at) }.cast::<T>();
        let piece = Piece { region: number, at, bytes };
        Ok((Buffer { start, len, piece, arena: self.clone(), elements: PhantomData }, new))
    }
}

/// Where a buffer lies.
#[derive(Clone, Copy)]
struct Piece {
    region: usize,
    at: usize,
    bytes: usize,
}

/// `len` elements from the start of a cache line on, given back to the arena when dropped.
pub struct Buffer<T: Pod> {
    start: *mut T,
    len: usize,
    piece: Piece,
    arena: Arena,
    elements: PhantomData<T>,
}

// SAFETY: a buffer owns its elements, which are plain.
unsafe impl<T: Pod + Send> Send for Buffer<T> {}
// SAFETY: a shared buffer gives only shared access to its elements.
unsafe impl<T: Pod + Sync> Sync for Buffer<T> {}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: until it is dropped the piece is this buffer's own, and its mapping lives as long
        // as the arena, which the buffer holds. The piece is aligned to a line, has room for `len`
        // elements, and is initialised: mappings begin as zeros, and all bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the buffer is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Pod> Drop for Buffer<T> {
    fn drop(&mut self) {
        let Piece { region, at, bytes } = self.piece;
        self.arena.regions()[region].give_back(at, bytes);
    }
}

impl<T: Pod> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Buffer({} elements)", self.len)
    }
}

/// Collects an iterator of known length on the heap; `what` names it in the error.
pub(crate) fn collect<T>(
    what: &'static str,
    of: impl ExactSizeIterator<Item = T>,
) -> Result<Vec<T>> {
    let mut list = reserved(what, of.len())?;
    list.extend(of);
    Ok(list)
}

/// An empty list with room for `len` elements on the heap.
pub(crate) fn reserved<T>(what: &'static str, len: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    list.try_reserve_exact(len).map_err(|_| BackendError::OutOfMemory { what, bytes })?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All free pieces of an arena.
    fn free(arena: &Arena) -> Vec<(usize, usize)> {
        arena.regions().iter().flat_map(|region| region.free.clone()).collect()
    }

    fn take<T: Pod>(arena: &Arena, len: usize) -> Buffer<T> {
        arena.take("a test", len).unwrap()
    }

    #[test]
    fn miri_a_dropped_buffer_is_given_out_again() {
        let arena = Arena::default();
        let mut a = arena.zeros::<f32>("a test", 500).unwrap();
        assert!(a.iter().all(|&x| x == 0.0) && a.len() == 500);
        assert_eq!(a.as_ptr() as usize % LINE, 0);
        a.fill(7.0);
        let address = a.as_ptr();
        drop(a);
        let b = arena.zeros::<f32>("a test", 400).unwrap();
        assert_eq!((b.as_ptr(), b.len(), b[399]), (address, 400, 0.0));
        let c = take::<f32>(&arena, 400);
        assert!(!b.as_ptr_range().contains(&c.as_ptr()));
        drop((b, c));
        assert_eq!(free(&arena), [(0, REGION)]);
        let large = take::<u8>(&arena, REGION + 1);
        assert_eq!((large.len(), arena.regions().len()), (REGION + 1, 2));
    }

    /// Whatever is dropped when, no two buffers overlap and all of the memory comes back.
    #[test]
    fn miri_pieces_stay_apart_and_grow_together() {
        let arena = Arena::default();
        let mut held: Vec<(Buffer<u32>, u32)> = Vec::new();
        let (steps, longest) = if cfg!(miri) { (40, 100) } else { (2000_u32, 5000) };
        for step in 0..steps {
            let mut buffer = take::<u32>(&arena, (step as usize * 7919) % longest);
            buffer.fill(step);
            held.push((buffer, step));
            if step % 3 > 0 {
                let (buffer, mark) = held.swap_remove((step as usize * 31) % held.len());
                assert!(buffer.iter().all(|&x| x == mark));
            }
        }
        assert!(held.iter().all(|(buffer, mark)| buffer.iter().all(|x| x == mark)));
        held.clear();
        assert!(free(&arena).iter().map(|(_, bytes)| bytes).sum::<usize>() % REGION == 0);
        assert_eq!(free(&arena).len(), arena.regions().len());
    }

    /// Threads write to buffers of one region at the same time.
    #[test]
    fn miri_buffers_of_several_threads_stay_apart() {
        let arena = Arena::default();
        std::thread::scope(|scope| {
            for mark in 0..3_u32 {
                let arena = &arena;
                scope.spawn(move || {
                    for len in [1, 50, 300] {
                        let mut buffer = take::<u32>(arena, len);
                        let mut other = take::<u32>(arena, len);
                        buffer.fill(mark);
                        other.fill(mark + 100);
                        assert!(buffer.iter().all(|&x| x == mark));
                        assert!(other.iter().all(|&x| x == mark + 100));
                    }
                });
            }
        });
        assert_eq!(free(&arena), [(0, REGION)]);
    }

    #[test]
    fn memory_does_not_grow_with_varying_sizes() {
        let arena = Arena::default();
        for step in 0..200 {
            let len = 10_000 + (step * 7919) % 5000;
            drop((
                take::<f32>(&arena, len),
                take::<f32>(&arena, 2 * len),
                take::<f32>(&arena, 300),
            ));
        }
        assert!(arena.regions()[0].untouched <= 4 * (3 * 15_000 + 400));
    }

    #[test]
    fn miri_absurd_lengths_are_an_error_that_says_what_and_how_much() {
        let arena = Arena::default();
        for len in [usize::MAX, usize::MAX / 4, usize::MAX / 4 + 1, usize::MAX / 8 + 1, 1 << 61] {
            let error = arena.take::<f32>("activations", len).unwrap_err();
            let bytes = (len as u64).saturating_mul(4);
            assert_eq!(error, BackendError::OutOfMemory { what: "activations", bytes });
            assert!(arena.zeros::<f32>("activations", len).is_err());
        }
        assert!(arena.take::<u8>("activations", usize::MAX - 3).is_err());
        // The address space of 64-bit machines has at most 57 bits.
        assert!(arena.take::<u8>("activations", 1 << 60).is_err());
        assert!(reserved::<u32>("ids", usize::MAX).is_err());
        assert_eq!(take::<f32>(&arena, 10).len(), 10);
    }
}
