//! Numbers as they lie in memory: ready for use, or in fewer bits, from which they are made where
//! they are used.

use crate::instructions::{Available, kernel};
use crate::math::max;
use crate::number::{Number, round_all};
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use half::bf16;
use ift_backend::Storage;
use ift_backend::quantize::{NF4, int8_code, int8_value, nf4_code};
use std::ops::Range;

/// Numbers in a block.
pub(crate) const BLOCK: usize = Storage::BLOCK;

/// Consecutive numbers that share a scale. The functions are parts of kernels.
pub(crate) trait Block: Pod + Send + Sync {
    fn encode(values: &[f32; BLOCK]) -> Self;
    fn decode<S: Simd>(&self) -> [f32; BLOCK];
}

/// A block of [`Storage::Int8`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Int8 {
    scale: f32,
    codes: [i8; BLOCK],
}

impl Block for Int8 {
    #[inline(always)]
    fn encode(values: &[f32; BLOCK]) -> Self {
        let scale = max(&values.map(f32::abs)).max(0.0);
        Self { scale, codes: values.map(|x| int8_code(x, scale)) }
    }
    #[inline(always)]
    fn decode<S: Simd>(&self) -> [f32; BLOCK] {
        self.codes.map(|code| int8_value(code, self.scale))
    }
}

/// A block of [`Storage::Nf4`]: number `i` is the low half of byte `i`, and number `BLOCK / 2 + i`
/// its high half.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Nf4 {
    scale: f32,
    codes: [u8; BLOCK / 2],
}

impl Block for Nf4 {
    #[inline(always)]
    fn encode(values: &[f32; BLOCK]) -> Self {
        let scale = max(&values.map(f32::abs)).max(0.0);
        let codes = values.map(|x| nf4_code(x, scale));
        Self { scale, codes: std::array::from_fn(|i| codes[i] | codes[BLOCK / 2 + i] << 4) }
    }
    #[inline(always)]
    fn decode<S: Simd>(&self) -> [f32; BLOCK] {
        let mut values = [0.0; BLOCK];
        let (low, high) = values.split_at_mut(BLOCK / 2);
        let parts = low.chunks_exact_mut(S::LANES).zip(high.chunks_exact_mut(S::LANES));
        for (codes, (low, high)) in self.codes.chunks_exact(S::LANES).zip(parts) {
            // SAFETY: a kernel's copy runs where its instructions are; all three hold `LANES`.
            unsafe {
                let named = S::lookup(&NF4, codes.as_ptr());
                S::store(low.as_mut_ptr(), named[0]);
                S::store(high.as_mut_ptr(), named[1]);
            }
        }
        values.map(|x| x * self.scale)
    }
}

kernel! {
    /// Blocks of consecutive numbers; behind the last there are zeros.
    pub(crate) fn encode<S, B: Block>(values: &[f32], blocks: &mut [B]) {
        for (values, block) in values.chunks(BLOCK).zip(blocks) {
            let mut whole = [0.0; BLOCK];
            whole[..values.len()].copy_from_slice(values);
            *block = B::encode(&whole);
        }
    }
}

kernel! {
    /// The numbers from `first` on, rounded to `T`.
    fn decode<S, B: Block, T: Number>(blocks: &[B], first: usize, to: &mut [T]) {
        let (mut blocks, mut skip) = (blocks[first / BLOCK..].iter(), first % BLOCK);
        let mut rest = to;
        while !rest.is_empty() {
            let Some(block) = blocks.next() else { break };
            let (to, others) = rest.split_at_mut(rest.len().min(BLOCK - skip));
            round_all(&block.decode::<S>()[skip..skip + to.len()], to);
            (rest, skip) = (others, 0);
        }
    }
}

kernel! {
    /// `to[i] = from[i]`, rounded to `T`.
    fn widen<S, T: Number>(from: &[bf16], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, x)| *to = T::round(x.to_f32()));
    }
}

/// How numbers that an operation takes as `T` lie in memory.
#[derive(Clone, Copy)]
pub(crate) enum Layout<'a, T> {
    Ready(&'a [T]),
    Bf16(&'a [bf16]),
    Int8(&'a [Int8]),
    Nf4(&'a [Nf4]),
}

/// Numbers from some first on that an operation takes as `T`.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a, T> {
    layout: Layout<'a, T>,
    first: usize,
}

impl<'a, T> From<Layout<'a, T>> for Stored<'a, T> {
    fn from(layout: Layout<'a, T>) -> Self {
        Self { layout, first: 0 }
    }
}

impl<'a, T> From<&'a [T]> for Stored<'a, T> {
    fn from(numbers: &'a [T]) -> Self {
        Layout::Ready(numbers).into()
    }
}

impl<'a, T: Number> Stored<'a, T> {
    /// Those from the `first` of these on.
    pub(crate) fn skip(self, first: usize) -> Self {
        Self { first: self.first + first, ..self }
    }

    /// All numbers, where they lie as they are used.
    pub(crate) fn ready(self) -> Option<&'a [T]> {
        if let Layout::Ready(numbers) = self.layout { Some(&numbers[self.first..]) } else { None }
    }

    /// Makes the first numbers.
    ///
    /// # Panics
    /// If there are not so many.
    pub(crate) fn copy(self, set: Available, to: &mut [T]) {
        let (first, last) = (self.first, self.first + to.len());
        match self.layout {
            Layout::Ready(numbers) => to.copy_from_slice(&numbers[first..last]),
            Layout::Bf16(numbers) => widen(set, &numbers[first..last], to),
            Layout::Int8(blocks) => decode(set, &blocks[..last.div_ceil(BLOCK)], first, to),
            Layout::Nf4(blocks) => decode(set, &blocks[..last.div_ceil(BLOCK)], first, to),
        }
    }

    /// The numbers of a range: where they lie, or made in `memory`.
    pub(crate) fn read<'s>(
        self,
        set: Available,
        range: Range<usize>,
        memory: &'s mut Memory,
    ) -> &'s [T]
    where
        'a: 's,
    {
        if let Some(numbers) = self.ready() {
            return &numbers[range];
        }
        let to = memory.numbers(range.len());
        self.skip(range.start).copy(set, to);
        to
    }
}

/// Memory of a task or a thread in which numbers are made, of any type.
#[derive(Default)]
pub(crate) struct Memory(Vec<f32>);

impl Memory {
    /// At least `words` words, with what was there before.
    pub(crate) fn words(&mut self, words: usize) -> &mut [f32] {
        self.0.resize(self.0.len().max(words), 0.0);
        &mut self.0
    }

    /// `count` numbers with unspecified contents.
    pub(crate) fn numbers<T: Pod>(&mut self, count: usize) -> &mut [T] {
        let words = (count * size_of::<T>()).div_ceil(size_of::<f32>());
        &mut bytemuck::cast_slice_mut(self.words(words))[..count]
    }
}
