//! The KV cache: keys and values of growing sequences, in blocks of tokens.
//!
//! A block holds [`Cache::BLOCK`] tokens in every layer. A sequence owns a list of blocks and gets
//! another when the last is full, so that sequences of any length join and leave without a gap in
//! between. Which rows of a pass go where, and where attention finds them, is one list for all
//! layers; the width of a row differs between layers.

use crate::{BlockTable, Model, ModelError, Pass, PastOf, Sequences};
use ift_backend::{Backend, BackendError, RowMap};

/// The tokens that a cache holds of one sequence, and where they lie.
///
/// It belongs to the cache that filled it; [`Cache::release`] frees its blocks.
#[derive(Debug, Default)]
pub struct CachedSequence {
    blocks: Vec<u32>,
    len: usize,
}

impl CachedSequence {
    /// Tokens whose keys and values are in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is in the cache.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Tokens in a block; a power of two.
const BLOCK: usize = 32;

/// Keys and values of growing sequences.
///
/// Memory is taken when sequences need it, up to the limit, and kept.
pub struct Cache<B: Backend> {
    /// For each layer `[blocks·BLOCK, 2·kv_heads·head_dim]`: rotated keys, then values.
    layers: Vec<B::Activation>,
    /// For each layer the elements of a row.
    widths: Vec<usize>,
    pool: BlockPool,
}

impl<B: Backend> Cache<B> {
    /// Tokens in a block.
    pub const BLOCK: usize = BLOCK;

    /// An empty cache for at most `tokens` tokens of all sequences together, rounded up to whole
    /// blocks.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(model: &Model<B>, tokens: usize) -> Result<Self, ModelError> {
        let config = model.config();
        let widths: Vec<usize> =
            (0..config.layers()).map(|layer| config.attention(layer).kv_width()).collect();
        let layers = widths
            .iter()
            .map(|_| model.backend().activation(0))
            .collect::<Result<Vec<_>, BackendError>>()?;
        Ok(Self { layers, widths, pool: BlockPool::new(tokens.div_ceil(BLOCK)) })
    }

    /// Most tokens of all sequences together.
    pub fn limit(&self) -> usize {
        self.pool.limit.saturating_mul(BLOCK)
    }

    /// Tokens that fit into the blocks that no sequence holds.
    pub fn free(&self) -> usize {
        self.pool.available().saturating_mul(BLOCK)
    }

    /// Ensures that a sequence has room for `tokens` tokens in all. Returns `false` and changes
    /// nothing if too few blocks are free.
    ///
    /// # Errors
    /// If memory runs out; nothing has changed then.
    pub fn reserve(
        &mut self,
        model: &Model<B>,
        sequence: &mut CachedSequence,
        tokens: usize,
    ) -> Result<bool, ModelError> {
        let wanted = tokens.div_ceil(BLOCK).saturating_sub(sequence.blocks.len());
        if wanted > self.pool.available() {
            return Ok(false);
        }
        if let Some(blocks) = self.pool.growth(wanted) {
            self.grow(model, blocks)?;
        }
        sequence.blocks.extend(self.pool.take(wanted));
        Ok(true)
    }

    /// Makes every layer as large as `blocks` blocks and keeps what is in it.
    fn grow(&mut self, model: &Model<B>, blocks: usize) -> Result<(), ModelError> {
        let backend = model.backend();
        let too_large = || BackendError::OutOfMemory { what: "the KV cache", bytes: u64::MAX };
        let rows = blocks.checked_mul(BLOCK).filter(|rows| u32::try_from(*rows).is_ok());
        let rows = rows.ok_or_else(too_large)?;
        let all = RowMap::gather(0..self.pool.allocated * BLOCK, 0);
        for (layer, &width) in self.layers.iter_mut().zip(&self.widths) {
            let mut larger = backend.activation(rows.checked_mul(width).ok_or_else(too_large)?)?;
            backend.copy_rows(width, &all, layer, &mut larger);
            *layer = larger;
        }
        self.pool.add(blocks);
        Ok(())
    }

    /// Packs the next tokens of some sequences, in their order, to be run with [`Cache::past`].
    pub fn next<'a>(
        &self,
        parts: impl IntoIterator<Item = (&'a CachedSequence, &'a [u32])>,
    ) -> Sequences {
        let mut sequences = Sequences::default();
        let mut table = Vec::new();
        for (sequence, tokens) in parts {
            sequences.push_after(tokens, table.len(), sequence.len);
            table.extend(&sequence.blocks[..sequence.len.div_ceil(BLOCK)]);
        }
        sequences.past_blocks = Some(BlockTable { size: BLOCK, table });
        sequences
    }

    /// The cached keys and values, as the past of a pass.
    pub fn past(&self) -> PastOf<'_, B> {
        PastOf::Cache(&self.layers)
    }

    /// Takes in the keys and values of a pass over [`Cache::next`] of the same sequences.
    ///
    /// # Panics
    /// If there is no room for a sequence ([`Cache::reserve`] makes it), or the pass kept no keys
    /// and values.
    pub fn extend<'a>(
        &mut self,
        model: &Model<B>,
        pass: &Pass<B>,
        sequences: impl IntoIterator<Item = &'a mut CachedSequence>,
    ) {
        let mut pairs = Vec::with_capacity(pass.sequences().tokens.len());
        for (sequence, segment) in sequences.into_iter().zip(&pass.sequences().segments) {
            for i in 0..segment.len {
                let (from, to) = (segment.start + i, sequence.len + i);
                let to = sequence.blocks[to / BLOCK] as usize * BLOCK + to % BLOCK;
                pairs.push((from as u32, to as u32));
            }
            sequence.len += segment.len;
        }
        let map = RowMap::new(pairs);
        assert!(map.is_some(), "two sequences have a block of the cache in common");
        let map = map.unwrap_or_default();
        for (layer, (cache, &width)) in self.layers.iter_mut().zip(&self.widths).enumerate() {
            let kept = pass.keys_and_values(layer);
            assert!(kept.is_some(), "the pass kept no keys and values");
            if let Some(kept) = kept {
                model.backend().copy_rows(width, &map, kept, cache);
            }
        }
    }

    /// Gives the blocks of a sequence back; it is empty then.
    pub fn release(&mut self, sequence: &mut CachedSequence) {
        self.pool.give_back(&mut sequence.blocks);
        sequence.len = 0;
    }
}

/// Which blocks are free. Blocks are allocated when they are first needed, up to the limit.
#[derive(Debug)]
struct BlockPool {
    /// Most blocks there may be.
    limit: usize,
    /// Blocks that memory is allocated for.
    allocated: usize,
    /// Those of them that belong to no sequence.
    free: Vec<u32>,
}

impl BlockPool {
    fn new(limit: usize) -> Self {
        Self { limit, allocated: 0, free: Vec::new() }
    }

    /// Blocks that can be had, allocated or not.
    fn available(&self) -> usize {
        self.free.len() + (self.limit - self.allocated)
    }

    /// How many blocks must be allocated in all before `wanted` can be taken, if more than now: at
    /// least half as many again, so that growing costs little on average.
    fn growth(&self, wanted: usize) -> Option<usize> {
        let missing = wanted.saturating_sub(self.free.len());
        let ample = self.allocated + missing.max(self.allocated / 2);
        (missing > 0).then(|| ample.min(self.limit))
    }

    /// Blocks up to `allocated` have been allocated.
    fn add(&mut self, allocated: usize) {
        // Reversed, so that low blocks are used first.
        self.free.splice(0..0, (self.allocated as u32..allocated as u32).rev());
        self.allocated = allocated;
    }

    fn take(&mut self, count: usize) -> Vec<u32> {
        let rest = self.free.len() - count;
        self.free.drain(rest..).rev().collect()
    }

    fn give_back(&mut self, blocks: &mut Vec<u32>) {
        self.free.extend(blocks.drain(..).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes blocks as a cache does.
    fn take(pool: &mut BlockPool, count: usize) -> Option<Vec<u32>> {
        if count > pool.available() {
            return None;
        }
        if let Some(blocks) = pool.growth(count) {
            pool.add(blocks);
        }
        Some(pool.take(count))
    }

    #[test]
    fn blocks_are_allocated_when_needed_and_used_again() {
        let mut pool = BlockPool::new(7);
        let mut first = take(&mut pool, 2).unwrap();
        assert_eq!((first.as_slice(), pool.allocated, pool.available()), (&[0, 1][..], 2, 5));
        let mut second = take(&mut pool, 1).unwrap();
        assert_eq!((second.as_slice(), pool.allocated), (&[2][..], 3));
        pool.give_back(&mut first);
        assert!(first.is_empty());
        assert_eq!((take(&mut pool, 1).unwrap().as_slice(), pool.allocated), (&[0][..], 3));
        pool.give_back(&mut second);
        // Two are free; growing by half as much again gives one more.
        assert_eq!((take(&mut pool, 3).unwrap().len(), pool.allocated), (3, 4));
    }

    #[test]
    fn no_more_than_the_limit() {
        let mut pool = BlockPool::new(4);
        assert_eq!(take(&mut pool, 5), None);
        assert_eq!(pool.allocated, 0);
        let mut all = take(&mut pool, 4).unwrap();
        assert_eq!((take(&mut pool, 1), take(&mut pool, 0)), (None, Some(vec![])));
        pool.give_back(&mut all);
        let mut again = take(&mut pool, 4).unwrap();
        again.sort_unstable();
        assert_eq!((again, pool.allocated), (vec![0, 1, 2, 3], 4));
    }

    #[test]
    fn a_limit_without_bound_does_not_overflow() {
        let mut pool = BlockPool::new(usize::MAX);
        assert_eq!(take(&mut pool, 3).unwrap(), [0, 1, 2]);
        assert_eq!(pool.available(), usize::MAX - 3);
    }
}
