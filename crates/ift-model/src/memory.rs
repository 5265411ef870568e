//! How much memory training needs: the formulas, so that a plan can be made before anything is
//! allocated.
//!
//! Below, `P`, `C` and `T` are a micro-batch's prompt tokens, continuation tokens and targets
//! ([`Batch`]); `hidden` is the model's width; of a layer, `intermediate` is the width of its MLP,
//! `heads` its query heads, `q = heads·head_dim`, `kv = 2·kv_heads·head_dim`, `qkv = q + kv`; `a`
//! and `e` are the bytes of an element of an activation and of an accumulator ([`Footprint`]).

use crate::adapter::ResolvedAdapter;
use crate::parameter_map::{Location, Parameter, ParameterMap, Tensor, Trainable, TrainedParts};
use crate::{Adapter, Block, Config};
use ift_backend::{Footprint, Storage};
use std::iter::Sum;

/// Bytes, about, of the program itself: its code, its libraries' tables, the threads' scratch
/// memory. Measured.
const PROGRAM: usize = 16 << 20;

/// Elements of all weights.
pub fn weight_count(config: &Config) -> usize {
    ParameterMap::new(config, TrainedParts::Nothing(Storage::Exact)).element_count()
}

/// The size of a micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of the prompts' pass: the prompts of rows that are split (rows of two-pass methods,
    /// and pairs), whole rows otherwise.
    pub prompts: usize,
    /// Tokens of the continuations' pass: the inputs of split rows after their prompts.
    pub continuations: usize,
    /// Targets.
    pub targets: usize,
}

impl Sum for Batch {
    fn sum<I: Iterator<Item = Self>>(batches: I) -> Self {
        batches.fold(Self::default(), |a, b| Self {
            prompts: a.prompts + b.prompts,
            continuations: a.continuations + b.continuations,
            targets: a.targets + b.targets,
        })
    }
}

/// Bytes of all weights of a model that is never trained ([`crate::Trained::Nothing`]).
pub fn frozen_bytes(config: &Config, footprint: Footprint, storage: Storage) -> usize {
    weight_bytes(&ParameterMap::new(config, TrainedParts::Nothing(storage)), footprint)
}

/// Bytes of all weights: of the flat range of trainable elements, and of what is frozen.
fn weight_bytes(map: &ParameterMap, footprint: Footprint) -> usize {
    let frozen = |parameter: &Parameter| match parameter.place {
        Location::Trainable { .. } => 0,
        Location::Frozen(storage) => storage.bytes(parameter.len, footprint.weight),
    };
    let trainable = bytes(footprint.weight, Trainable::new(map).len());
    trainable.saturating_add(map.parameters.iter().map(frozen).sum())
}

/// Settings of a recipe that change how much memory is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// Optimizer states of an element.
    pub states: usize,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// Whether the embedding table is trained through the inputs; see [`crate::Trained::All`].
    pub input_embeddings: bool,
    /// The adapter that is trained, on a frozen base; `None` if the whole model is.
    pub adapter: Option<&'a Adapter>,
    /// A reference model that is in memory in addition to the one that is trained.
    pub reference: Option<Resident<'a>>,
}

/// A frozen model in memory.
#[derive(Clone, Copy, Debug)]
pub struct Resident<'a> {
    /// Its blocks.
    pub config: &'a Config,
    /// How it is stored.
    pub storage: Storage,
}

/// What training needs, by part, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// All weights: [`Footprint::weight`] for each trainable or exact element. Those of an
    /// adapter's base: the linear layers as [`Adapter::base`] says, the tables at least in two
    /// bytes, norms and biases exact.
    pub weights: usize,
    /// The weights of a resident reference model, as those of a base. (Its passes keep only the
    /// gathered hidden states of the targets and their scores, and need less than the backward
    /// pass of the model that is trained.)
    pub reference: usize,
    /// `e` for each element of the flat range of trainable ones.
    pub gradients: usize,
    /// `e·states` for each of them.
    pub states: usize,
    /// What the passes keep for the backward pass: for each token and layer
    /// `a·(2·hidden + 2·q + kv + 2·intermediate) + e·heads`, and `a·qkv` more where heads are
    /// normalised; with recompute `a·(hidden + kv)`. And for each token `a·hidden`, the last
    /// hidden state, and `e·head_dim` for each rotary embedding, the angles.
    pub activations: usize,
    /// Scoring the targets: `a·3·hidden·T`, sums `e·hidden·rows`, and the logits in `f32`: all
    /// `T·vocabulary`, if these are few enough to keep them, else a block of `rows` times
    /// [`Footprint::logits_entries`]; `rows` is `T`, at most [`Footprint::logits_rows`]. And a
    /// packed operand.
    pub head: usize,
    /// The most that a block's backward pass holds at once, in the layer that holds most: of the
    /// `n` tokens of a pass that see `keys` keys
    /// `a·n·(3·intermediate + 2·hidden)` (MLP), `a·n·(2·q + kv) + e·kv·(1.5·keys + sums)`
    /// (attention, `sums` the keys that each chunk of a sequence's queries sees, with `c` chunks
    /// ([`Footprint::attention_chunks`]) at most `c·past + (c + 1)/2·n`) or
    /// `a·n·(2·q + kv + qkv + 2·hidden)` (projections), whichever is most. With recompute also
    /// what a layer keeps without it. And the prompts' gradient `a·hidden·P`, and a packed operand,
    /// at most [`Footprint::packed`]. Adapters add the part of a product's gradient that is
    /// theirs, with dropout the dropped input and its gradient, with `DoRA` the gradient
    /// of the unnormalised output, and with both its difference to the output's gradient.
    pub working: usize,
    /// What continuations collect for their prompts: `e·kv` for each prompt token and layer.
    pub past_gradients: usize,
    /// The program itself, a constant; what the data takes is not counted.
    pub program: usize,
    /// Saving: the largest tensor twice, as exact elements, while it is written.
    pub saving: usize,
}

impl Need {
    /// What all steps need at most. The head and the blocks' backward pass follow each other, so
    /// only the larger counts; memory is not given back to the system before something is
    /// saved, so that adds up.
    pub fn total(&self) -> usize {
        self.step().saturating_add(self.saving)
    }

    /// The same without saving anything.
    pub fn step(&self) -> usize {
        let moment = self.head.max(self.working.saturating_add(self.past_gradients));
        let models = [self.weights, self.gradients, self.states, self.reference];
        let all = models.into_iter().chain([self.activations, moment]);
        all.fold(self.program, usize::saturating_add)
    }
}

/// The formulas for one model, backend and recipe.
pub struct Formula<'a> {
    config: &'a Config,
    footprint: Footprint,
    settings: Settings<'a>,
    /// Bytes of all weights.
    weights: usize,
    /// Elements of the flat range.
    trainable: usize,
    /// Elements of the largest tensor that is saved.
    largest: usize,
}

impl<'a> Formula<'a> {
    /// Counts the weights.
    pub fn new(config: &'a Config, footprint: Footprint, settings: Settings<'a>) -> Self {
        let placed = settings.adapter.map(|adapter| ResolvedAdapter::all_layers(adapter.clone()));
        let trained = placed.as_ref().map_or(
            TrainedParts::All { input_embeddings: settings.input_embeddings },
            TrainedParts::Adapters,
        );
        let map = ParameterMap::new(config, trained);
        let largest = if settings.adapter.is_some() {
            map.adapter_tensors().map(Tensor::len).max()
        } else {
            map.tensors().map(Tensor::len).max()
        };
        Self {
            config,
            footprint,
            settings,
            weights: weight_bytes(&map, footprint),
            trainable: Trainable::new(&map).len(),
            largest: largest.unwrap_or(0),
        }
    }

    /// What training needs whose most demanding micro-batch is `batch`.
    pub fn need(&self, batch: Batch) -> Need {
        let Footprint { exact, activation, attention_chunks: chunks, .. } = self.footprint;
        let Batch { prompts, continuations, targets } = batch;
        let (blocks, hidden) = (&self.config.blocks, self.config.hidden);
        let angles: usize = self.config.rotary.iter().map(|rope| rope.head_dim).sum();
        let kept: usize = blocks.iter().map(|block| self.kept(block)).sum();
        let of_token = kept + activation * hidden + exact * angles;
        // Tokens that nothing precedes, in chunks that see themselves and the chunks before.
        let own_sums = |n: usize| n * (chunks + 1) / 2;
        let mut working = self.backward(prompts, prompts, own_sums(prompts));
        let mut past_gradients = 0;
        if continuations > 0 {
            let (keys, sums) =
                (prompts + continuations, chunks * prompts + own_sums(continuations));
            let waiting = bytes(activation * hidden, prompts);
            working = working.max(self.backward(continuations, keys, sums).saturating_add(waiting));
            let widths: usize = blocks.iter().map(|b| b.attention.shape.kv_width()).sum();
            past_gradients = bytes(exact * widths, prompts);
        }
        let reference = self.settings.reference;
        Need {
            weights: self.weights,
            reference: reference.map_or(0, |r| frozen_bytes(r.config, self.footprint, r.storage)),
            gradients: bytes(exact, self.trainable),
            states: bytes(exact * self.settings.states, self.trainable),
            activations: bytes(of_token, prompts + continuations),
            head: self.head(targets),
            working,
            past_gradients,
            program: PROGRAM,
            saving: bytes(2 * exact, self.largest),
        }
    }

    /// What a pass over one token keeps in one block for its backward pass.
    fn kept(&self, block: &Block) -> usize {
        let width = self.config.hidden + block.attention.shape.kv_width();
        let outer = self.footprint.activation * width;
        if self.settings.recompute { outer } else { outer + self.inner(block) }
    }

    /// The part of it that recompute computes again.
    fn inner(&self, block: &Block) -> usize {
        let shape = &block.attention.shape;
        let raw = if block.attention.head_norms.is_some() { shape.qkv_width() } else { 0 };
        let inner = self.config.hidden + 2 * shape.q_width() + 2 * block.mlp.width + raw;
        self.footprint.activation * inner + self.footprint.exact * shape.heads
    }

    /// The most that the backward pass of a block holds at once over `n` tokens, in addition to
    /// what is kept; see [`Need::working`].
    fn backward(&self, n: usize, keys: usize, sums: usize) -> usize {
        let blocks = self.config.blocks.iter();
        blocks.map(|block| self.block_backward(block, n, keys, sums)).max().unwrap_or(0)
    }

    fn block_backward(&self, block: &Block, n: usize, keys: usize, sums: usize) -> usize {
        let Footprint { exact, activation, packed, .. } = self.footprint;
        let shape = &block.attention.shape;
        let (q, kv, qkv) = (shape.q_width(), shape.kv_width(), shape.qkv_width());
        let (hidden, intermediate) = (self.config.hidden, block.mlp.width);
        let (of_gate_up, of_qkv) =
            (self.adapter(2 * intermediate, intermediate), self.adapter(qkv, q.max(kv / 2)));
        let mlp = bytes(activation * (3 * intermediate + 2 * hidden + of_gate_up), n);
        let attention = bytes(activation * (2 * q + kv), n)
            .saturating_add(bytes(exact * kv, 3 * keys / 2 + sums));
        let projections = bytes(activation * (2 * q + kv + qkv + 2 * hidden + of_qkv), n);
        let again = if self.settings.recompute { bytes(self.inner(block), n) } else { 0 };
        let operand = (2 * intermediate * hidden).max(bytes(intermediate, n));
        let operand = bytes(operand, size_of::<f32>()).min(packed);
        mlp.max(attention).max(projections).saturating_add(again).saturating_add(operand)
    }

    /// Elements for each token that an adapter of a product of `outputs`, whose widest tensor has
    /// `widest`, adds to the backward pass.
    fn adapter(&self, outputs: usize, widest: usize) -> usize {
        let Some(adapter) = self.settings.adapter else { return 0 };
        let drops = usize::from(adapter.dropout > 0.0);
        let unnormalised = if adapter.dora { (1 + drops) * outputs } else { 0 };
        widest + 2 * adapter.rank + drops * 2 * self.config.hidden + unnormalised
    }

    /// See [`Need::head`].
    fn head(&self, targets: usize) -> usize {
        let Footprint { exact, activation, packed, .. } = self.footprint;
        let (vocabulary, hidden) = (self.config.vocabulary, self.config.hidden);
        let rows = targets.min(self.footprint.logits_rows);
        let block = vocabulary.min(self.footprint.logits_entries);
        let keeps = rows == targets && bytes(targets, vocabulary) <= self.footprint.kept_logits;
        let logits = rows * if keeps { vocabulary } else { block };
        let operand = block.max(rows) * hidden * size_of::<f32>();
        let fixed = exact * rows * hidden + logits * size_of::<f32>() + operand.min(packed);
        bytes(activation * 3 * hidden, targets).saturating_add(fixed)
    }
}

/// A product that stays at its largest value where it would overflow: more memory than there is.
fn bytes(each: usize, count: usize) -> usize {
    each.saturating_mul(count)
}

#[cfg(test)]
mod tests;
