//! Weights: all trainable elements in one flat range, and frozen weights, each in the storage that
//! was asked for. A frozen weight exists in its storage alone: an operation decodes what it needs.

use crate::Cpu;
use crate::arena::Buffer;
use crate::elements::{Elements, Encoding, ScratchVec};
use crate::instructions::kernel;
use crate::number::Number;
use crate::profile::Kind;
use crate::quantized::{BLOCK, Int8, Nf4, QuantizedBlock, encode};
use crate::rounding::round_copy;
use crate::threads::Cut;
use bytemuck::Pod;
use half::bf16;
use ift_backend::{BackendError, HostTensor, Storage, Weight};
use std::ops::{Deref, Range};

type Result<T> = std::result::Result<T, BackendError>;

/// All trainable elements, and their copy in the type of activations where that is narrower.
#[derive(Debug)]
pub struct Parameters<N: Number> {
    pub(crate) exact: Buffer<f32>,
    /// As long as `exact`, or empty.
    pub(crate) copy: Buffer<N>,
}

/// A weight that is never trained.
#[derive(Debug)]
pub struct Frozen<N: Number>(FrozenElements<N>);

#[derive(Debug)]
enum FrozenElements<N: Number> {
    Exact(Parameters<N>),
    Bf16(Buffer<bf16>),
    Int8(Buffer<Int8>),
    Nf4(Buffer<Nf4>),
}

impl<N: Number> Parameters<N> {
    fn operand(&self) -> Elements<'_, N> {
        N::operand(&self.exact, &self.copy).into()
    }
}

impl<N: Number> Frozen<N> {
    fn operand(&self) -> Elements<'_, N> {
        match &self.0 {
            FrozenElements::Exact(parameters) => parameters.operand(),
            FrozenElements::Bf16(elements) => {
                N::bf16(elements).map_or(Encoding::Bf16(elements).into(), Into::into)
            }
            FrozenElements::Int8(blocks) => Encoding::Int8(blocks).into(),
            FrozenElements::Nf4(blocks) => Encoding::Nf4(blocks).into(),
        }
    }

    fn values(&self) -> Elements<'_, f32> {
        match &self.0 {
            FrozenElements::Exact(parameters) => parameters.exact[..].into(),
            FrozenElements::Bf16(elements) => Encoding::Bf16(elements).into(),
            FrozenElements::Int8(blocks) => Encoding::Int8(blocks).into(),
            FrozenElements::Nf4(blocks) => Encoding::Nf4(blocks).into(),
        }
    }
}

/// The elements of a weight as products read them.
pub(crate) fn operand<N: Number>(weight: Weight<'_, Cpu<N>>) -> Elements<'_, N> {
    match weight {
        Weight::Trainable { parameters, start } => parameters.operand().skip(start),
        Weight::Frozen(frozen) => frozen.operand(),
    }
}

/// The elements of a weight in f32: the exact ones of a trainable weight.
pub(crate) fn values<N: Number>(weight: Weight<'_, Cpu<N>>) -> Elements<'_, f32> {
    match weight {
        Weight::Trainable { parameters, start } => {
            Elements::from(&parameters.exact[..]).skip(start)
        }
        Weight::Frozen(frozen) => frozen.values(),
    }
}

/// Some elements of a weight, in f32.
pub(crate) enum Values<'a> {
    /// In place.
    Here(&'a [f32]),
    /// Decoded for one operation.
    Decoded(Buffer<f32>),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Here(values) => values,
            Self::Decoded(values) => values,
        }
    }
}

/// Converts the elements from `first` on of concatenated parts.
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
    /// All parts in a buffer of `T`, each for `of` elements, made by `store` piece by piece.
    fn laid_out<T: Pod + Send + Sync>(
        &self,
        parts: &[HostTensor],
        of: usize,
        store: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Result<Buffer<T>> {
        let len = parts.iter().map(HostTensor::len).sum::<usize>();
        let mut stored = self.arena.take("a frozen weight", len.div_ceil(of))?;
        self.threads.rows(stored.len(), of, Cut(&mut stored, 1), |range, to| {
            let first = range.start * of;
            let mut memory = ScratchVec::default();
            let values = memory.elements(len.min(range.end * of) - first);
            read_parts(parts, first, values);
            store(values, to);
        });
        Ok(stored)
    }

    fn blocks<B: QuantizedBlock>(&self, parts: &[HostTensor]) -> Result<Buffer<B>> {
        self.laid_out(parts, BLOCK, |values, blocks| encode(self.set, values, blocks))
    }

    pub(crate) fn frozen_weight(
        &self,
        parts: &[HostTensor],
        storage: Storage,
    ) -> Result<Frozen<N>> {
        Ok(Frozen(match storage {
            Storage::Exact => {
                let exact = self.laid_out(parts, 1, |values, to| to.copy_from_slice(values))?;
                let len = if N::EXACT { 0 } else { exact.len() };
                let mut copy = self.arena.take("the compute copy of a frozen weight", len)?;
                self.round_elements(&exact, &mut copy);
                FrozenElements::Exact(Parameters { exact, copy })
            }
            Storage::Bf16 => FrozenElements::Bf16(
                self.laid_out(parts, 1, |values, to| round_copy(self.set, values, to))?,
            ),
            Storage::Int8 => FrozenElements::Int8(self.blocks(parts)?),
            Storage::Nf4 => FrozenElements::Nf4(self.blocks(parts)?),
        }))
    }

    pub(crate) fn frozen_elements(&self, frozen: &Frozen<N>, range: Range<usize>) -> Vec<f32> {
        let mut elements = vec![0.0; range.len()];
        let stored = frozen.values().skip(range.start);
        self.threads.rows(range.len(), 1, Cut(&mut elements, 1), |part, to| {
            stored.skip(part.start).copy(self.set, to);
        });
        elements
    }

    pub(crate) fn zero_parameters(&self, len: usize) -> Result<Parameters<N>> {
        let exact = self.arena.zeros("trainable parameters", len)?;
        let copy = self
            .arena
            .zeros("the compute copy of trainable parameters", if N::EXACT { 0 } else { len })?;
        Ok(Parameters { exact, copy })
    }

    pub(crate) fn overwrite_parameters(
        &self,
        parameters: &mut Parameters<N>,
        start: usize,
        values: HostTensor,
    ) {
        let range = start..start.saturating_add(values.len());
        let exact = &mut parameters.exact[range.clone()];
        self.threads.rows(exact.len(), 1, Cut(exact, 1), |part, to| {
            read_parts(&[values], part.start, to);
        });
        if !parameters.copy.is_empty() {
            self.round_elements(&parameters.exact[range.clone()], &mut parameters.copy[range]);
        }
    }

    /// The first `len` elements of a weight in f32.
    pub(crate) fn weight_values<'a>(
        &self,
        weight: Weight<'a, Self>,
        len: usize,
    ) -> Result<Values<'a>> {
        let stored = values(weight);
        if let Some(values) = stored.ready() {
            return Ok(Values::Here(&values[..len]));
        }
        let mut decoded = self.arena.take("the decoded elements of a weight", len)?;
        self.threads.rows(len, 1, Cut(&mut decoded, 1), |part, to| {
            stored.skip(part.start).copy(self.set, to);
        });
        Ok(Values::Decoded(decoded))
    }

    /// `average = decay·average + (1 - decay)·parameters`.
    pub(crate) fn average_parameters(
        &self,
        parameters: &Parameters<N>,
        decay: f64,
        average: &mut [f32],
    ) {
        let _timer = self.meter.start(Kind::Optimizer, 3 * average.len() as u64);
        let (keep, take) = (decay as f32, (1.0 - decay) as f32);
        let exact = &parameters.exact[..average.len()];
        self.threads.rows(average.len(), 1, Cut(average, 1), |range, average| {
            mix(self.set, keep, average, take, &exact[range]);
        });
    }
}
