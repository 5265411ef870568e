//! Blocks of logits.

use crate::elements::Elements;
use crate::number::Number;
use crate::{Buffer, Cpu};
use ift_backend::{BackendError, Linear, Out};

/// Vocabulary entries in a block, at most; a multiple of every tile width.
pub(crate) const ENTRIES: usize = 2048;
/// Rows whose logits exist at a time, at most: with `ENTRIES`, 32 MiB.
pub(crate) const ROWS: usize = 4096;
/// Elements of logits that may be kept for the backward pass (256 MiB).
pub(crate) const KEPT: usize = 64 << 20;

/// Entries of the vocabulary, `first` the first of them.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub first: usize,
    pub size: usize,
}

/// The blocks of a vocabulary.
pub(super) fn blocks(vocabulary: usize) -> impl Iterator<Item = Block> {
    let size = move |first: usize| ENTRIES.min(vocabulary - first);
    (0..vocabulary).step_by(ENTRIES).map(move |first| Block { first, size: size(first) })
}

/// Hidden states, `[rows, width]`, and the weight that makes them logits, `[vocabulary, width]`.
#[derive(Clone, Copy)]
pub(super) struct States<'a, N> {
    pub width: usize,
    pub x: &'a [N],
    pub weight: Elements<'a, N>,
}

impl<N: Number> Cpu<N> {
    /// The logits of a block for `n` rows from `start` on, `[n, size]`.
    pub(super) fn logits_block(
        &self,
        states: &States<N>,
        start: usize,
        n: usize,
        block: Block,
        logits: &mut [f32],
    ) -> Result<(), BackendError> {
        let States { width, x, weight } = *states;
        let x = &x[start * width..(start + n) * width];
        let linear = Linear { tokens: n, inputs: width, outputs: block.size };
        let weight = weight.skip(block.first * width);
        self.linear_product(linear, x, weight, None, Out::Set, logits)
    }

    /// Room for a block of logits of `rows` rows, at most [`ROWS`] at a time.
    pub(super) fn logits_buffer(
        &self,
        rows: usize,
        vocabulary: usize,
    ) -> Result<Buffer<f32>, BackendError> {
        self.arena.take("a block of logits", rows.min(ROWS) * ENTRIES.min(vocabulary))
    }
}
