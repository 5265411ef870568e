//! Elements of a weight or an activation as an operation reads them: ready for use in memory, or
//! in fewer bits, decoded where they are used.

use crate::instructions::{Available, kernel};
use crate::quantized::{BLOCK, Int8, Nf4, decode};
use crate::scalar::Scalar;
use bytemuck::Pod;
use half::bf16;
use std::ops::Range;

kernel! {
    /// `to[i] = from[i]`, rounded to `T`.
    fn widen<S, T: Scalar>(from: &[bf16], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, x)| *to = T::round(x.to_f32()));
    }
}

/// How elements that an operation reads as `T` are stored.
#[derive(Clone, Copy)]
pub(crate) enum Encoding<'a, T> {
    Ready(&'a [T]),
    Bf16(&'a [bf16]),
    Int8(&'a [Int8]),
    Nf4(&'a [Nf4]),
}

/// The elements from `first` on, which an operation reads as `T`.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a, T> {
    encoding: Encoding<'a, T>,
    first: usize,
}

impl<'a, T> From<Encoding<'a, T>> for Elements<'a, T> {
    fn from(encoding: Encoding<'a, T>) -> Self {
        Self { encoding, first: 0 }
    }
}

impl<'a, T> From<&'a [T]> for Elements<'a, T> {
    fn from(elements: &'a [T]) -> Self {
        Encoding::Ready(elements).into()
    }
}

impl<'a, T: Scalar> Elements<'a, T> {
    /// The elements after the first `count` of these.
    pub(crate) fn skip(self, count: usize) -> Self {
        Self { first: self.first.saturating_add(count), ..self }
    }

    /// All elements in place, if they need no decoding.
    pub(crate) fn ready(self) -> Option<&'a [T]> {
        if let Encoding::Ready(elements) = self.encoding {
            Some(&elements[self.first..])
        } else {
            None
        }
    }

    /// Decodes the first elements into `to`.
    ///
    /// # Panics
    /// If there are not so many.
    pub(crate) fn copy(self, set: Available, to: &mut [T]) {
        let (first, last) = (self.first, self.first.saturating_add(to.len()));
        match self.encoding {
            Encoding::Ready(elements) => to.copy_from_slice(&elements[first..last]),
            Encoding::Bf16(elements) => widen(set, &elements[first..last], to),
            Encoding::Int8(blocks) => decode(set, &blocks[..last.div_ceil(BLOCK)], first, to),
            Encoding::Nf4(blocks) => decode(set, &blocks[..last.div_ceil(BLOCK)], first, to),
        }
    }

    /// The elements of a range: in place, or decoded into `memory`.
    pub(crate) fn read<'s>(
        self,
        set: Available,
        range: Range<usize>,
        memory: &'s mut ScratchVec,
    ) -> &'s [T]
    where
        'a: 's,
    {
        if let Some(elements) = self.ready() {
            return &elements[range];
        }
        let to = memory.elements(range.len());
        self.skip(range.start).copy(set, to);
        to
    }
}

/// Memory of a task or a thread for elements of any type; it grows and is used again.
#[derive(Default)]
pub(crate) struct ScratchVec(Vec<f32>);

impl ScratchVec {
    /// At least `words` words, with unspecified contents.
    pub(crate) fn words(&mut self, words: usize) -> &mut [f32] {
        self.0.resize(self.0.len().max(words), 0.0);
        &mut self.0
    }

    /// `count` elements with unspecified contents.
    pub(crate) fn elements<T: Pod>(&mut self, count: usize) -> &mut [T] {
        let words = (count * size_of::<T>()).div_ceil(size_of::<f32>());
        &mut bytemuck::cast_slice_mut(self.words(words))[..count]
    }
}
