//! One decoder block: attention and gated MLP, each after a norm and inside a residual connection;
//! forward and backward.
//!
//! ```text
//! middle = x + output(attention(heads(qkv(norm(x)))))
//! next   = middle + down(function(gate) ⊙ up),  gate, up = gate_up(norm(middle))
//! ```
//! The norms' outputs and the gated product are computed again in the backward pass rather than
//! stored.

use crate::linear::{self, PassContext};
use crate::parameter_map::BlockIds;
use crate::pass::{Inner, Keep, LayerSaved};
use crate::{Block, Gradients, Model, ModelError, NormLayer};
use ift_backend::{AttentionSaved, Backend, Gated, HeadNormStarts, HeadNorms, Heads, Slot};

type Result<T> = std::result::Result<T, ModelError>;

/// One layer of a pass.
pub(crate) struct LayerPass<'a, B: Backend> {
    context: &'a PassContext<'a, B>,
    block: &'a Block,
    ids: &'a BlockIds,
}

impl<'a, B: Backend> LayerPass<'a, B> {
    pub fn new(context: &'a PassContext<'a, B>, layer: usize) -> Self {
        let Model { config, map, .. } = context.model;
        Self { context, block: &config.blocks[layer], ids: &map.blocks[layer] }
    }

    fn backend(&self) -> &'a B {
        self.context.model.backend()
    }

    fn norm(&self, layer: &NormLayer, weight: usize, x: &B::Activation) -> Result<B::Activation> {
        let n = self.context.tokens;
        let mut out = self.backend().activation(n * layer.norm.width)?;
        self.backend().norm(n, layer.norm, x, self.context.model.weight(weight), &mut out)?;
        Ok(out)
    }

    /// Adds the gradient of a norm's input to `d_x`, and its weight's to the gradients.
    fn norm_backward(
        &self,
        layer: &NormLayer,
        weight: usize,
        x: &B::Activation,
        d_out: &B::Activation,
        d_x: &mut B::Activation,
        gradients: &mut Gradients<B>,
    ) -> Result<()> {
        let model = self.context.model;
        let start = model.start_of(weight);
        let d_weight = start.map(|start| Slot { buffer: &mut gradients.sums, start });
        let n = self.context.tokens;
        let weight = model.weight(weight);
        Ok(self.backend().norm_backward(n, layer.norm, x, weight, d_out, d_x, d_weight)?)
    }

    fn heads(&self) -> Heads<'a, B> {
        let (model, attention) = (self.context.model, &self.block.attention);
        let norms = self.ids.head_norms.zip(attention.head_norms.as_ref());
        Heads {
            tokens: self.context.tokens,
            attention: &attention.shape,
            rotary: attention.rotary.map(|table| &self.context.rotary[table]),
            norms: norms.map(|([q, k], [layer, _])| HeadNorms {
                q: model.weight(q),
                k: model.weight(k),
                norm: layer.norm,
            }),
        }
    }

    fn gated(&self) -> Gated {
        let mlp = &self.block.mlp;
        Gated { tokens: self.context.tokens, width: mlp.width, function: mlp.function }
    }

    fn activated(&self, gate_up: &B::Activation) -> Result<B::Activation> {
        let gated = self.gated();
        let mut out = self.backend().activation(gated.tokens * gated.width)?;
        self.backend().gated(gated, gate_up, &mut out);
        Ok(out)
    }

    /// The forward pass of attention and of the MLP's first product. Returns the keys and values
    /// and the inner activations that the backward pass reads.
    fn forward_inner(
        &self,
        past: Option<&B::Activation>,
        x: &B::Activation,
    ) -> Result<(B::Activation, Inner<B>)> {
        let (backend, context, ids, n) =
            (self.backend(), self.context, self.ids, self.context.tokens);
        let shape = &self.block.attention.shape;
        let normed = self.norm(&self.block.attention_norm, ids.attention_norm, x)?;
        let qkv = linear::forward(context, &ids.qkv, &normed, None)?;
        drop(normed);
        let mut q = backend.activation(n * shape.q_width())?;
        let mut kv = backend.activation(n * shape.kv_width())?;
        backend.split_heads(&self.heads(), &qkv, &mut q, &mut kv)?;
        let qkv = ids.head_norms.is_some().then_some(qkv);
        let mut attention = backend.activation(n * shape.q_width())?;
        let mut lse = backend.accumulator(n * shape.heads)?;
        backend.attention(shape, context.inputs, &q, &kv, past, &mut attention, &mut lse)?;
        let middle = linear::forward(context, &ids.output, &attention, Some(x))?;
        let normed = self.norm(&self.block.mlp_norm, ids.mlp_norm, &middle)?;
        let gate_up = linear::forward(context, &ids.gate_up, &normed, None)?;
        Ok((kv, Inner { qkv, q, attention, lse, middle, gate_up }))
    }

    /// `d`, the gradient of the block's output, becomes that of `middle`.
    fn mlp_backward(
        &self,
        inner: &Inner<B>,
        d: &mut B::Activation,
        gradients: &mut Gradients<B>,
    ) -> Result<()> {
        let (context, ids, gated) = (self.context, self.ids, self.gated());
        let activated = self.activated(&inner.gate_up)?;
        let d_activated = linear::backward(context, &ids.down, &activated, d, gradients)?;
        drop(activated);
        let mut d_gate_up = self.backend().activation(gated.tokens * 2 * gated.width)?;
        self.backend().gated_backward(gated, &inner.gate_up, &d_activated, &mut d_gate_up);
        let normed = self.norm(&self.block.mlp_norm, ids.mlp_norm, &inner.middle)?;
        let d_normed = linear::backward(context, &ids.gate_up, &normed, &d_gate_up, gradients)?;
        let (layer, weight) = (&self.block.mlp_norm, ids.mlp_norm);
        self.norm_backward(layer, weight, &inner.middle, &d_normed, d, gradients)
    }

    /// `d`, the gradient of `middle`, becomes that of the block's input.
    fn attention_backward(
        &self,
        x: &B::Activation,
        kv: &B::Activation,
        inner: &Inner<B>,
        past: PastKeys<B>,
        d: &mut B::Activation,
        gradients: &mut Gradients<B>,
    ) -> Result<()> {
        let (backend, context, ids) = (self.backend(), self.context, self.ids);
        let (n, shape) = (context.tokens, &self.block.attention.shape);
        let d_attention = linear::backward(context, &ids.output, &inner.attention, d, gradients)?;
        let mut d_q = backend.activation(n * shape.q_width())?;
        let mut d_kv = backend.activation(n * shape.kv_width())?;
        let (past_kv, d_past) = past.past.map_or((None, None), |(kv, d)| (kv, Some(d)));
        let saved = AttentionSaved {
            q: &inner.q,
            kv,
            past: past_kv,
            out: &inner.attention,
            lse: &inner.lse,
        };
        let inputs = context.inputs;
        backend.attention_backward(
            shape,
            inputs,
            saved,
            &d_attention,
            &mut d_q,
            &mut d_kv,
            d_past,
        )?;
        if let Some(collected) = &past.from_continuations {
            backend.add(n * shape.kv_width(), collected, &mut d_kv);
        }
        let d_qkv = self.split_backward(inner, &d_q, &d_kv, gradients)?;
        let normed = self.norm(&self.block.attention_norm, ids.attention_norm, x)?;
        let d_normed = linear::backward(context, &ids.qkv, &normed, &d_qkv, gradients)?;
        let (layer, weight) = (&self.block.attention_norm, ids.attention_norm);
        self.norm_backward(layer, weight, x, &d_normed, d, gradients)
    }

    fn split_backward(
        &self,
        inner: &Inner<B>,
        d_q: &B::Activation,
        d_kv: &B::Activation,
        gradients: &mut Gradients<B>,
    ) -> Result<B::Activation> {
        let model = self.context.model;
        let width = self.block.attention.shape.qkv_width();
        let mut d_qkv = self.backend().activation(self.context.tokens * width)?;
        let norms = self.ids.head_norms.and_then(|[q, k]| {
            Some(HeadNormStarts { q: model.start_of(q)?, k: model.start_of(k)? })
        });
        let d_norms = norms.map(|starts| (starts, &mut gradients.sums));
        let qkv = inner.qkv.as_ref();
        self.backend().split_heads_backward(&self.heads(), qkv, d_q, d_kv, &mut d_qkv, d_norms)?;
        Ok(d_qkv)
    }
}

/// Runs a block over `x` and returns what is kept, and the next block's input.
pub(crate) fn forward<B: Backend>(
    layer: &LayerPass<B>,
    past: Option<&B::Activation>,
    x: B::Activation,
    keep: Keep,
) -> Result<(LayerSaved<B>, B::Activation)> {
    let (kv, inner) = layer.forward_inner(past, &x)?;
    let activated = layer.activated(&inner.gate_up)?;
    let down = &layer.ids.down;
    let next = linear::forward(layer.context, down, &activated, Some(&inner.middle))?;
    let saved = LayerSaved {
        x: matches!(keep, Keep::BlockInputs | Keep::Everything).then_some(x),
        kv: (keep != Keep::Nothing).then_some(kv),
        inner: (keep == Keep::Everything).then_some(inner),
    };
    Ok((saved, next))
}

/// What connects a block's backward pass to other passes: the past that this pass continues, and
/// the continuations of this pass.
pub(crate) struct PastKeys<'a, B: Backend> {
    /// Keys and values of the past, and the accumulator of their gradient.
    pub past: Option<(Option<&'a B::Activation>, &'a mut B::Accumulator)>,
    /// The gradient of this pass's keys and values that its continuations have collected.
    pub from_continuations: Option<B::Accumulator>,
}

/// Turns `d`, the gradient of the block's output, into that of its input, and adds to the weights'
/// gradients.
pub(crate) fn backward<B: Backend>(
    layer: &LayerPass<B>,
    saved: LayerSaved<B>,
    past: PastKeys<B>,
    d: &mut B::Activation,
    gradients: &mut Gradients<B>,
) -> Result<()> {
    let LayerSaved { x: Some(x), kv: Some(kv), inner } = saved else {
        return Err(ModelError::NotKept);
    };
    let inner = match inner {
        Some(inner) => inner,
        None => layer.forward_inner(past.past.as_ref().and_then(|(kv, _)| *kv), &x)?.1,
    };
    layer.mlp_backward(&inner, d, gradients)?;
    layer.attention_backward(&x, &kv, &inner, past, d, gradients)
}
