//! Inputs of the cases: pure functions of a seed, exact in the type under test.

use crate::{
    Backend, BackendError, Element, HostTensor, NumberType, PassInputs, Segment, Slot, Storage,
    Weight,
};
use half::bf16;
use ift_random::uniform;

pub(super) type Result<T> = std::result::Result<T, BackendError>;

/// Elements that lie before a weight and its gradient in their buffers.
pub(super) const START: usize = 3;

/// How a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// As trainable elements.
    Trainable,
    /// In a storage for weights that are never trained.
    Frozen(Storage),
}

impl Kept {
    /// All ways.
    pub(super) const ALL: [Self; 5] = [
        Self::Trainable,
        Self::Frozen(Storage::Exact),
        Self::Frozen(Storage::Bf16),
        Self::Frozen(Storage::Int8),
        Self::Frozen(Storage::Nf4),
    ];
}

/// A weight on a backend.
pub(super) enum Held<B: Backend> {
    Trainable(B::Parameters),
    Frozen(B::Frozen),
}

impl<B: Backend> Held<B> {
    pub(super) fn weight(&self) -> Weight<'_, B> {
        match self {
            Self::Trainable(parameters) => Weight::Trainable { parameters, start: START },
            Self::Frozen(frozen) => Weight::Frozen(frozen),
        }
    }
}

/// Where the gradient of the only weight in a buffer lies.
pub(super) fn slot<A>(buffer: &mut A) -> Slot<'_, A> {
    Slot { buffer, start: START }
}

/// The bytes of elements as f64.
pub(super) fn f64_bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Token ids below `vocabulary`.
pub(super) fn tokens(seed: u64, count: usize, vocabulary: usize) -> Vec<u32> {
    let token = |i| (uniform(seed, i) * vocabulary as f64) as u32;
    (0..count as u32).map(token).collect()
}

/// Streams of `count` tokens.
pub(super) fn streams(seed: u64, count: usize) -> Vec<u64> {
    (0..count as u64).map(|t| ift_random::substream(seed, t)).collect()
}

/// Inputs of one sequence without a past.
pub(super) fn one_sequence<'a, S>(
    tokens: &'a [u32],
    segments: &'a mut [Segment; 1],
) -> PassInputs<'a, S> {
    segments[0] = Segment { len: tokens.len(), ..Segment::default() };
    PassInputs { tokens, segments, streams: &[], noise: &[], look_ahead: None, past_blocks: None }
}

/// A backend under test, and the type of the elements that it is given.
pub(super) struct Fixture<'a, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) inputs: NumberType,
}

impl<B: Backend> Fixture<'_, B> {
    /// The nearest element that is exact in the type under test.
    pub(super) fn rounded(&self, x: f64) -> f64 {
        match self.inputs {
            NumberType::F64 => x,
            NumberType::F32 => f64::from(x as f32),
            NumberType::Bf16 => bf16::from_f64(x).to_f64(),
            NumberType::F16 => half::f16::from_f64(x).to_f64(),
        }
    }

    /// `count` elements between -1 and 1.
    pub(super) fn values(&self, seed: u64, count: usize) -> Vec<f64> {
        (0..count as u32).map(|i| self.rounded(2.0 * uniform(seed, i) - 1.0)).collect()
    }

    /// [`Fixture::values`] times a power of two.
    pub(super) fn scaled(&self, seed: u64, count: usize, factor: f64) -> Vec<f64> {
        self.values(seed, count).iter().map(|x| factor * x).collect()
    }

    pub(super) fn activation(&self, seed: u64, count: usize) -> Result<B::Activation> {
        self.backend.activation_from(&self.values(seed, count))
    }

    pub(super) fn accumulator(&self, seed: u64, count: usize) -> Result<B::Accumulator> {
        self.accumulator_from(&self.values(seed, count))
    }

    pub(super) fn accumulator_from(&self, values: &[f64]) -> Result<B::Accumulator> {
        let mut accumulator = self.backend.accumulator(values.len())?;
        let values: Vec<B::Element> = values.iter().map(|&x| B::Element::from_f64(x)).collect();
        self.backend.write_accumulator(&mut accumulator, 0, &values);
        Ok(accumulator)
    }

    /// A weight of `count` elements.
    pub(super) fn weight(&self, kept: Kept, seed: u64, count: usize) -> Result<Held<B>> {
        self.weight_from(kept, &self.values(seed, count))
    }

    pub(super) fn weight_from(&self, kept: Kept, values: &[f64]) -> Result<Held<B>> {
        match kept {
            Kept::Trainable => Ok(Held::Trainable(self.parameters_from(values)?)),
            Kept::Frozen(storage) => Ok(Held::Frozen(self.frozen_from(values, storage)?)),
        }
    }

    /// Trainable elements, from [`START`] on.
    pub(super) fn parameters_from(&self, values: &[f64]) -> Result<B::Parameters> {
        let mut parameters = self.backend.parameters(START + values.len() + 1)?;
        let bytes = f64_bytes(values);
        let tensor = HostTensor { number: NumberType::F64, bytes: &bytes };
        self.backend.write_parameters(&mut parameters, START, tensor);
        Ok(parameters)
    }

    /// A frozen weight of two parts, of different types, whose border lies inside a block.
    pub(super) fn frozen_from(&self, values: &[f64], storage: Storage) -> Result<B::Frozen> {
        let (first, second) = values.split_at(values.len() / 3);
        let first = f64_bytes(first);
        let second: Vec<u8> = second.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        let parts = [
            HostTensor { number: NumberType::F64, bytes: &first },
            HostTensor { number: NumberType::F32, bytes: &second },
        ];
        self.backend.frozen(&parts, storage)
    }

    /// Uploads one sequence without a past.
    pub(super) fn upload(&self, tokens: &[u32]) -> Result<B::Inputs> {
        self.backend.upload(&one_sequence(tokens, &mut [Segment::default()]))
    }

    pub(super) fn read(&self, activation: &B::Activation, count: usize) -> Vec<f64> {
        let elements = self.backend.read_activation(activation, count);
        elements.into_iter().map(Element::to_f64).collect()
    }

    pub(super) fn read_accumulator(&self, accumulator: &B::Accumulator, count: usize) -> Vec<f64> {
        let elements = self.backend.read_accumulator(accumulator, 0..count);
        elements.into_iter().map(Element::to_f64).collect()
    }
}
