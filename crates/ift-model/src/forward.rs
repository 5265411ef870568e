//! The passes over a model: forward and backward through all blocks.

use crate::block::{self, LayerPass, PastKeys};
use crate::linear::PassContext;
use crate::pass::{Continues, Keep, Pass, PastGradient, PastOf, Sequences};
use crate::{Gradients, Model, ModelError};
use ift_backend::{Backend, Embedding, LookAheadInputs, PassInputs, PastBlocks, Slot};

/// The part of the model that noise on the embeddings is drawn for; the others are indices of
/// parameters.
const NOISE: u64 = u64::MAX;

impl<B: Backend> Model<B> {
    fn embedding(&self) -> Embedding {
        let config = &self.config;
        Embedding {
            vocabulary: config.vocabulary,
            width: config.hidden,
            scale: config.embedding.scale,
        }
    }

    fn context<'a>(
        &'a self,
        sequences: &Sequences,
        inputs: &'a B::Inputs,
        rotary: &'a [B::Accumulator],
    ) -> PassContext<'a, B> {
        PassContext {
            model: self,
            inputs,
            rotary,
            tokens: sequences.tokens.len(),
            adapters_off: sequences.adapters_off,
            random: !sequences.streams.is_empty(),
        }
    }

    /// Runs packed sequences through all blocks; `past` holds what they continue.
    ///
    /// Token ids must be below the vocabulary's size, and `streams` and `noise` as long as the
    /// tokens or empty; callers check that.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn forward(
        &self,
        sequences: &Sequences,
        look_ahead: Option<LookAheadInputs<B::Scores>>,
        past: &PastOf<B>,
        keep: Keep,
    ) -> Result<Pass<B>, ModelError> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let blocks = sequences.past_blocks.as_ref();
        let inputs = backend.upload(&PassInputs {
            tokens: &sequences.tokens,
            segments: &sequences.segments,
            streams: &sequences.streams,
            noise: &sequences.noise,
            look_ahead,
            past_blocks: blocks.map(|b| PastBlocks { size: b.size, table: &b.table }),
        })?;
        let tables = self.frequencies.iter().map(|table| backend.rotary(&inputs, table));
        let rotary = tables.collect::<Result<Vec<_>, _>>()?;
        let mut x = backend.activation(sequences.tokens.len() * width)?;
        backend.embed(self.embedding(), &inputs, self.weight(self.map.embedding), &mut x)?;
        if !sequences.noise.is_empty() {
            backend.add_noise(width, NOISE, &inputs, &mut x);
        }
        let context = self.context(sequences, &inputs, &rotary);
        let mut layers = Vec::with_capacity(self.config.layers());
        for layer in 0..self.config.layers() {
            let of_layer = LayerPass::new(&context, layer);
            let (saved, next) = block::forward(&of_layer, past.keys_and_values(layer), x, keep)?;
            layers.push(saved);
            x = next;
        }
        Ok(Pass { sequences: sequences.clone(), inputs, rotary, layers, hidden: x })
    }

    /// The backward pass of [`Model::forward`]: `d_hidden` (`[n, hidden]`) is the gradient of the
    /// pass's hidden states.
    ///
    /// `continues` is the past's pass with the gradient that its keys and values collect;
    /// `collected` is the gradient that the continuations of this pass have collected for it. Adds
    /// to `gradients`. Layers are freed as they are done.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn backward(
        &self,
        pass: Pass<B>,
        d_hidden: B::Activation,
        mut continues: Option<Continues<B>>,
        mut collected: Option<PastGradient<B>>,
        gradients: &mut Gradients<B>,
    ) -> Result<(), ModelError> {
        let Pass { sequences, inputs, rotary, layers, hidden } = pass;
        drop(hidden);
        let mut d = d_hidden;
        let context = self.context(&sequences, &inputs, &rotary);
        for (layer, saved) in layers.into_iter().enumerate().rev() {
            let past = PastKeys {
                past: continues.as_mut().map(|c| {
                    let kv = c.pass.layers[layer].kv.as_ref();
                    (kv, &mut c.gradient.layers[layer])
                }),
                // The last entry is this layer's, because the loop runs from the last layer to the
                // first.
                from_continuations: collected.as_mut().and_then(|c| c.layers.pop()),
            };
            block::backward(&LayerPass::new(&context, layer), saved, past, &mut d, gradients)?;
        }
        if let Some(start) = self.start_of(self.map.embedding).filter(|_| self.input_embeddings) {
            let d_table = Slot { buffer: &mut gradients.sums, start };
            self.backend.embed_backward(self.embedding(), &inputs, &d, d_table)?;
        }
        Ok(())
    }

    /// Zero gradients for the keys and values of a pass that others continue.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn past_gradient(&self, pass: &Pass<B>) -> Result<PastGradient<B>, ModelError> {
        let tokens = pass.sequences.tokens.len();
        let layers = (0..self.config.layers()).map(|layer| {
            self.backend.accumulator(tokens * self.config.attention(layer).kv_width())
        });
        Ok(PastGradient { layers: layers.collect::<Result<_, _>>()? })
    }
}
