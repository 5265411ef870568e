//! The KV cache of generation.

use crate::{Model, Pass, Sequences};
use ift_backend::Backend;

/// Keys and values of several growing sequences, each with room for the same number of tokens.
pub struct Cache<B: Backend> {
    /// For each layer `[sequences·capacity, 2·kv_heads·head_dim]`.
    pub(crate) layers: Vec<B::Activation>,
    lengths: Vec<usize>,
    capacity: usize,
}

impl<B: Backend> Cache<B> {
    /// An empty cache for `sequences` sequences of at most `capacity` tokens.
    pub fn new(model: &Model<B>, sequences: usize, capacity: usize) -> Self {
        let len = sequences * capacity * model.config().attention(0).kv_width();
        let layers =
            (0..model.config().layers()).map(|_| model.backend().activation(len)).collect();
        Self { layers, lengths: vec![0; sequences], capacity }
    }

    /// Tokens held of a sequence.
    pub fn len(&self, sequence: usize) -> usize {
        self.lengths[sequence]
    }

    /// Whether no sequence holds any token.
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&n| n == 0)
    }

    /// Packs the next tokens of some sequences: `(sequence, tokens)`.
    pub fn next(&self, parts: &[(usize, &[u32])]) -> Sequences {
        let mut sequences = Sequences::default();
        for (sequence, tokens) in parts {
            sequences.push_after(tokens, sequence * self.capacity, self.lengths[*sequence]);
        }
        sequences
    }

    /// Takes in the keys and values of a pass over [`Cache::next`] of the same parts.
    ///
    /// # Panics
    /// If a sequence outgrows the capacity.
    pub fn extend(&mut self, model: &Model<B>, pass: &Pass<B>, parts: &[(usize, &[u32])]) {
        let width = model.config().attention(0).kv_width();
        for ((sequence, _), row) in parts.iter().zip(&pass.sequences().rows) {
            assert!(
                self.lengths[*sequence] + row.len <= self.capacity,
                "the sequence outgrows its cache"
            );
            let index: Vec<usize> = (row.start..row.start + row.len).collect();
            let to = sequence * self.capacity + self.lengths[*sequence];
            for (layer, cache) in self.layers.iter_mut().enumerate() {
                if let Some(kv) = pass.keys_and_values(layer) {
                    model.backend().gather(width, kv, &index, cache, to);
                }
            }
            self.lengths[*sequence] += row.len;
        }
    }
}
