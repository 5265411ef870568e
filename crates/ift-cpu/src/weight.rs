//! Weights: those that learn, and frozen ones in the storage that was asked for. A frozen weight
//! exists in its storage alone; what an operation needs of it is made where it is used.

use crate::Cpu;
use crate::buffer::Buffer;
use crate::instructions::kernel;
use crate::number::Number;
use crate::stored::{BLOCK, Block, Int8, Layout, Memory, Nf4, Stored, encode};
use crate::threads::Cut;
use crate::update::round_copy;
use bytemuck::Pod;
use half::bf16;
use ift_backend::{HostTensor, Storage};
use std::ops::{Deref, Range};

/// A weight tensor.
#[derive(Debug)]
pub struct Weight<N: Number>(Numbers<N>);

#[derive(Debug)]
enum Numbers<N: Number> {
    /// The exact numbers, and their copy in the activations' type where that is narrower.
    Exact {
        exact: Buffer<f32>,
        copy: Buffer<N>,
    },
    Bf16(Buffer<bf16>),
    Int8(Buffer<Int8>),
    Nf4(Buffer<Nf4>),
}

impl<N: Number> Weight<N> {
    /// What products read.
    pub(crate) fn operand(&self) -> Stored<'_, N> {
        match &self.0 {
            Numbers::Exact { exact, copy } => N::operand(exact, copy).into(),
            Numbers::Bf16(numbers) => {
                N::bf16(numbers).map_or(Layout::Bf16(numbers).into(), Into::into)
            }
            Numbers::Int8(blocks) => Layout::Int8(blocks).into(),
            Numbers::Nf4(blocks) => Layout::Nf4(blocks).into(),
        }
    }

    /// The values, unrounded.
    pub(crate) fn values(&self) -> Stored<'_, f32> {
        match &self.0 {
            Numbers::Exact { exact, .. } => Stored::from(&exact[..]),
            Numbers::Bf16(numbers) => Layout::Bf16(numbers).into(),
            Numbers::Int8(blocks) => Layout::Int8(blocks).into(),
            Numbers::Nf4(blocks) => Layout::Nf4(blocks).into(),
        }
    }

    /// The numbers that an optimizer changes, and their copy, empty where there is none.
    ///
    /// # Panics
    /// If the weight is stored in fewer bits.
    pub(crate) fn learning(&mut self) -> (&mut [f32], &mut [N]) {
        match &mut self.0 {
            Numbers::Exact { exact, copy } => (exact, copy),
            _ => unreachable!("a weight that is stored in fewer bits never learns"),
        }
    }
}

/// Some values of a weight, in f32.
pub(crate) enum Values<'a> {
    /// Where they lie.
    Here(&'a [f32]),
    /// Made for one operation.
    Made(Buffer<f32>),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Here(values) => values,
            Self::Made(values) => values,
        }
    }
}

/// The numbers from `first` on of parts laid end to end.
fn read_parts(parts: &[HostTensor], mut first: usize, mut to: &mut [f32]) {
    for part in parts {
        let size = part.number.size();
        let count = to.len().min(part.len().saturating_sub(first));
        let (now, rest) = to.split_at_mut(count);
        if count > 0 {
            let bytes = &part.bytes[first * size..(first + count) * size];
            HostTensor { number: part.number, bytes }.convert_into(now);
        }
        (to, first) = (rest, first.saturating_sub(part.len()));
    }
}

kernel! {
    /// `average = keep·average + take·w`.
    fn mix<S>(keep: f32, average: &mut [f32], take: f32, w: &[f32]) {
        for (average, w) in average.iter_mut().zip(w) {
            *average = S::mul_add(keep, *average, take * *w);
        }
    }
}

impl<N: Number> Cpu<N> {
    /// All parts in a buffer of `T`, each for `of` numbers, made by `store` piece by piece.
    fn laid_out<T: Pod + Send + Sync>(
        &self,
        parts: &[HostTensor],
        of: usize,
        store: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Buffer<T> {
        let len = parts.iter().map(HostTensor::len).sum::<usize>();
        let mut stored = self.pool.take(len.div_ceil(of));
        self.threads.rows(stored.len(), of, Cut(&mut stored, 1), |range, to| {
            let first = range.start * of;
            let mut memory = Memory::default();
            let values = memory.numbers(len.min(range.end * of) - first);
            read_parts(parts, first, values);
            store(values, to);
        });
        stored
    }

    fn blocks<B: Block>(&self, parts: &[HostTensor]) -> Buffer<B> {
        self.laid_out(parts, BLOCK, |values, blocks| encode(self.set, values, blocks))
    }

    pub(crate) fn exact_weight(&self, parts: &[HostTensor]) -> Weight<N> {
        let exact = self.laid_out(parts, 1, |values, to| to.copy_from_slice(values));
        let mut copy = self.pool.take(if N::EXACT { 0 } else { exact.len() });
        self.round_numbers(&exact, &mut copy);
        Weight(Numbers::Exact { exact, copy })
    }

    pub(crate) fn stored_weight(&self, parts: &[HostTensor], storage: Storage) -> Weight<N> {
        Weight(match storage {
            Storage::Exact => return self.exact_weight(parts),
            Storage::Bf16 => Numbers::Bf16(
                self.laid_out(parts, 1, |values, to| round_copy(self.set, values, to)),
            ),
            Storage::Int8 => Numbers::Int8(self.blocks(parts)),
            Storage::Nf4 => Numbers::Nf4(self.blocks(parts)),
        })
    }

    /// A range of a weight's values.
    pub(crate) fn values<'a>(&self, weight: &'a Weight<N>, range: Range<usize>) -> Values<'a> {
        let stored = weight.values();
        if let Some(values) = stored.ready() {
            return Values::Here(&values[range]);
        }
        let mut made = self.pool.take(range.len());
        self.threads.rows(range.len(), 1, Cut(&mut made, 1), |part, to| {
            stored.skip(range.start + part.start).copy(self.set, to);
        });
        Values::Made(made)
    }

    /// `average = decay·average + (1 - decay)·weight`.
    pub(crate) fn average_values(&self, weight: &Weight<N>, decay: f64, average: &mut [f32]) {
        let (keep, take) = (decay as f32, (1.0 - decay) as f32);
        self.threads.rows(average.len(), 1, Cut(average, 1), |range, average| {
            let mut memory = Memory::default();
            mix(self.set, keep, average, take, weight.values().read(self.set, range, &mut memory));
        });
    }
}
