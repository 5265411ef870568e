//! Element types of tensors in files and in a backend's memory.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// An element type of tensors in safetensors files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// IEEE 754 double precision.
    F64,
    /// IEEE 754 single precision.
    F32,
    /// bfloat16: f32 with the mantissa cut to 7 bits.
    Bf16,
    /// IEEE 754 half precision.
    F16,
}

impl NumberType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A tensor in host memory, such as a piece of a file: elements as little-endian bytes, not
/// necessarily aligned.
#[derive(Clone, Copy, Debug)]
pub struct HostTensor<'a> {
    /// The type of the elements.
    pub number: NumberType,
    /// `len × number.size()` bytes.
    pub bytes: &'a [u8],
}

impl HostTensor<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.number.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Converts the elements into `out`; stops at the shorter of the two.
    pub fn convert_into<E: Element>(&self, out: &mut [E]) {
        fn each<E, const N: usize>(bytes: &[u8], out: &mut [E], read: impl Fn([u8; N]) -> E) {
            for (slot, chunk) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *slot = read(*chunk);
            }
        }
        match self.number {
            NumberType::F64 => each(self.bytes, out, |b| E::from_f64(f64::from_le_bytes(b))),
            NumberType::F32 => each(self.bytes, out, |b| E::from_f32(f32::from_le_bytes(b))),
            NumberType::Bf16 => {
                each(self.bytes, out, |b| E::from_f32(bf16::from_le_bytes(b).to_f32()));
            }
            NumberType::F16 => {
                each(self.bytes, out, |b| E::from_f32(f16::from_le_bytes(b).to_f32()));
            }
        }
    }
}

/// The type in which weights, gradients and optimizer states are exact on the host. A checkpoint
/// stores it, so that a resumed run continues with the same bits.
pub trait Element:
    Pod + Zeroable + PartialEq + PartialOrd + Send + Sync + std::fmt::Debug + 'static
{
    /// The type's name in files.
    const NUMBER: NumberType;
    /// Rounds to this type.
    fn from_f64(value: f64) -> Self;
    /// Rounds to this type (exact for `f32` and `f64`).
    fn from_f32(value: f32) -> Self;
    /// Widens exactly.
    fn to_f64(self) -> f64;
    /// Rounds to f32 (exact for `f32`).
    fn to_f32(self) -> f32;
}

impl Element for f64 {
    const NUMBER: NumberType = NumberType::F64;
    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
}

impl Element for f32 {
    const NUMBER: NumberType = NumberType::F32;
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn to_f32(self) -> f32 {
        self
    }
}
