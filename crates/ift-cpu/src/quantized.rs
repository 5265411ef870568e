//! Elements of eight or four bits, in blocks that share a scale.

use crate::instructions::kernel;
use crate::math::max;
use crate::scalar::{Scalar, round_all};
use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use ift_backend::Storage;
use ift_backend::quantize::{NF4, int8_code, int8_value, nf4_code};

/// Elements of a block.
pub(crate) const BLOCK: usize = Storage::BLOCK;

/// Consecutive elements that share a scale. The functions are parts of kernels.
pub(crate) trait QuantizedBlock: Pod + Send + Sync {
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

impl QuantizedBlock for Int8 {
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

/// A block of [`Storage::Nf4`]: element `i` is the low half of byte `i`, and element
/// `BLOCK / 2 + i` its high half.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Nf4 {
    scale: f32,
    codes: [u8; BLOCK / 2],
}

impl QuantizedBlock for Nf4 {
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
            // SAFETY: a kernel runs where its instructions were detected; all three slices hold
            // `LANES` elements.
            unsafe {
                let found = S::lookup(&NF4, codes.as_ptr());
                S::store(low.as_mut_ptr(), found[0]);
                S::store(high.as_mut_ptr(), found[1]);
            }
        }
        values.map(|x| x * self.scale)
    }
}

kernel! {
    /// Encodes consecutive elements; the last block is filled up with zeros.
    pub(crate) fn encode<S, B: QuantizedBlock>(values: &[f32], blocks: &mut [B]) {
        for (values, block) in values.chunks(BLOCK).zip(blocks) {
            let mut whole = [0.0; BLOCK];
            whole[..values.len()].copy_from_slice(values);
            *block = B::encode(&whole);
        }
    }
}

kernel! {
    /// Decodes the elements from `first` on, rounded to `T`.
    pub(crate) fn decode<S, B: QuantizedBlock, T: Scalar>(
        blocks: &[B],
        first: usize,
        to: &mut [T],
    ) {
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
