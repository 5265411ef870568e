//! The decoder: weights on a backend, and the passes over them.

use crate::block::{self, BlockGradient};
use crate::layout::Layout;
use crate::load::Adapted;
use crate::pass::{Continues, Keep, Pass, PastGradient, PastOf, Sequences};
use crate::{Adapter, Config, Parameter};
use ift_backend::{Backend, Mix, NumberType, Update};
use std::path::PathBuf;
use std::sync::Arc;

/// A decoder loaded on a backend.
pub struct Model<B: Backend> {
    pub(crate) config: Config,
    pub(crate) backend: Arc<B>,
    pub(crate) layout: Layout,
    pub(crate) weights: Vec<B::Weight>,
    /// The folder it was loaded from, and those that this one rests on.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) number: NumberType,
    pub(crate) frequencies: Vec<f64>,
    pub(crate) learns: Learns,
    pub(crate) adapted: Option<Adapted>,
}

/// Which parameters of a model learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learns {
    Everything,
    Adapters,
    Nothing,
}

/// The part of the model that noise on the embeddings is drawn for; the others are indices of
/// parameters.
const NOISE: u64 = u64::MAX;

/// Gradients of a model's parameters, as sums; `None` for a parameter that cannot learn.
pub struct Gradients<B: Backend> {
    /// Indexed like [`Model::parameters`].
    pub accumulators: Vec<Option<B::Accumulator>>,
    /// Whether the embedding table learns through the inputs.
    pub(crate) input_embeddings: bool,
}

impl<B: Backend> Gradients<B> {
    pub(crate) fn of(&mut self, parameter: usize) -> Option<&mut B::Accumulator> {
        self.accumulators[parameter].as_mut()
    }

    /// Sets every gradient to zero.
    pub fn clear(&mut self, backend: &B) {
        self.accumulators.iter_mut().flatten().for_each(|a| backend.clear(a));
    }
}

impl<B: Backend> Model<B> {
    /// The shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who computes.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The number type of the files it was loaded from.
    pub fn number(&self) -> NumberType {
        self.number
    }

    /// All weights: those of the model folder, then those of its adapters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.layout.parameters
    }

    /// Whether it has adapters on a frozen base.
    pub fn is_adapted(&self) -> bool {
        self.adapted.is_some()
    }

    /// The adapter, with all that was read from [`Adapter::path`].
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapted.as_ref().map(|adapted| &adapted.placed.settings)
    }

    /// Whether a parameter learns: in an adapted model those of the adapters, in a frozen one none,
    /// else all.
    pub fn trains(&self, parameter: usize) -> bool {
        match self.learns {
            Learns::Everything => true,
            Learns::Adapters => parameter >= self.layout.base,
            Learns::Nothing => false,
        }
    }

    /// The weight of a parameter.
    pub fn weight(&self, parameter: usize) -> &B::Weight {
        &self.weights[parameter]
    }

    /// One optimizer step for one parameter; see [`Backend::update`].
    pub fn update(
        &mut self,
        parameter: usize,
        gradient: &B::Accumulator,
        states: &mut [B::Accumulator],
        rule: &Update,
        gradient_scale: f64,
    ) {
        self.backend.update(&mut self.weights[parameter], gradient, states, rule, gradient_scale);
    }

    /// Overwrites a parameter with exact values.
    pub fn write_weight(&mut self, parameter: usize, values: &[B::Element]) {
        self.backend.write_weight(&mut self.weights[parameter], values);
    }

    /// Zero gradients of what learns ([`Model::trains`]). With `input_embeddings` off the table is
    /// a constant at the inputs (IFT): untied, it has no gradient at all; tied, it still has
    /// the output head's.
    pub fn gradients(&self, input_embeddings: bool) -> Gradients<B> {
        let constant =
            |i: usize| i == self.layout.embedding && !input_embeddings && !self.config.tied;
        let learns = |i: usize| self.trains(i) && !constant(i);
        let accumulators = self.layout.parameters.iter().enumerate();
        let accumulators =
            accumulators.map(|(i, p)| learns(i).then(|| self.backend.accumulator(p.len))).collect();
        Gradients { accumulators, input_embeddings }
    }

    /// Runs packed sequences through all layers; `past` holds what they continue.
    ///
    /// Token ids must be below the vocabulary size, and `streams` and `noise` as long as the tokens
    /// or empty; the callers check that.
    pub fn forward(
        &self,
        sequences: &Sequences,
        mix: Option<Mix>,
        past: &PastOf<B>,
        keep: Keep,
    ) -> Pass<B> {
        let (backend, n) = (self.backend(), sequences.tokens.len());
        let rotary = backend.rotary(&sequences.positions(), &self.frequencies);
        let mut x = backend.activation(n * self.config.hidden);
        let table = &self.weights[self.layout.embedding];
        let scale = self.config.embedding_scale;
        backend.embed(table, self.config.hidden, &sequences.tokens, mix, scale, &mut x);
        if !sequences.noise.is_empty() {
            let streams = sequences.streams_of(NOISE);
            backend.add_noise(n, self.config.hidden, &sequences.noise, &streams, &mut x);
        }
        let mut layers = Vec::with_capacity(self.layout.layers.len());
        for layer in 0..self.layout.layers.len() {
            let past = past.keys_and_values(layer);
            let (saved, next) = block::forward(self, layer, sequences, &rotary, past, x, keep);
            layers.push(saved);
            x = next;
        }
        Pass { sequences: sequences.clone(), rotary, layers, hidden: x }
    }

    /// The backward pass of [`Model::forward`]: `d_hidden` (`[n, hidden]`) is the gradient of the
    /// pass's hidden states.
    ///
    /// `continues` is the past's pass with the gradient that its keys and values collect;
    /// `collected` is what this pass's own continuations have collected for it. Adds to
    /// `gradients`. Layers are freed as they are done.
    pub fn backward(
        &self,
        pass: Pass<B>,
        d_hidden: B::Activation,
        mut continues: Option<Continues<B>>,
        mut collected: Option<PastGradient<B>>,
        gradients: &mut Gradients<B>,
    ) {
        let Pass { sequences, rotary, layers, hidden, .. } = pass;
        drop(hidden);
        let mut d = d_hidden;
        for (layer, saved) in layers.into_iter().enumerate().rev() {
            let past = continues.as_mut().map(|c| {
                let kv = c.pass.layers[layer].kv.as_ref();
                (kv, &mut c.gradient.layers[layer])
            });
            let from_continuations = collected.as_mut().and_then(|c| c.layers.pop());
            let context =
                BlockGradient { sequences: &sequences, rotary: &rotary, past, from_continuations };
            block::backward(self, layer, saved, context, &mut d, gradients);
        }
        if gradients.input_embeddings {
            let (width, scale) = (self.config.hidden, self.config.embedding_scale);
            if let Some(table) = gradients.of(self.layout.embedding) {
                self.backend.embed_backward(width, &sequences.tokens, scale, &d, table);
            }
        }
    }

    /// Zero gradients for the keys and values of a pass that others continue.
    pub fn past_gradient(&self, pass: &Pass<B>) -> PastGradient<B> {
        let len = pass.sequences.tokens.len() * self.config.attention(0).kv_width();
        PastGradient {
            layers: (0..self.config.layers()).map(|_| self.backend.accumulator(len)).collect(),
        }
    }
}
