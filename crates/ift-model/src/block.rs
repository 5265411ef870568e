//! One decoder block: attention and gated MLP, each after a norm and inside a residual; forward and
//! backward.
//!
//! ```text
//! middle = x + output(attention(heads(qkv(norm(x)))))        next = middle + down(act(gate) ⊙ up),  gate, up = gate_up(norm(middle))
//! ```
//! The norms' outputs and the gated product are computed again in the backward pass rather than
//! stored.

use crate::layout::LayerIds;
use crate::pass::{Inner, Keep, LayerSaved, Sequences};
use crate::{Gradients, Model, project};
use ift_backend::{AttentionShape, Backend, HeadNorms, Norm, Past};

fn norm<B: Backend>(model: &Model<B>, n: usize, x: &B::Activation, weight: usize) -> B::Activation {
    let mut out = model.backend.activation(n * model.config.hidden);
    model.backend.norm(n, x, &model.weights[weight], model.config.norm(), &mut out);
    out
}

fn head_norms<'m, B: Backend>(
    model: &'m Model<B>,
    ids: &LayerIds,
) -> Option<HeadNorms<'m, B::Weight>> {
    let norm: Norm = model.config.head_norm();
    ids.head_norms.map(|(q, k)| HeadNorms { q: &model.weights[q], k: &model.weights[k], norm })
}

/// Up to the keys and values, and the rest of a block's inner activations.
fn attend<B: Backend>(
    model: &Model<B>,
    layer: usize,
    sequences: &Sequences,
    rotary: &B::Accumulator,
    past: Option<&B::Activation>,
    x: &B::Activation,
) -> (B::Activation, Inner<B>) {
    let (backend, config, ids) = (model.backend(), &model.config, &model.layout.layers[layer]);
    let n = sequences.tokens.len();
    let shape = config.attention(layer);
    let normed = norm(model, n, x, ids.attention_norm);
    let qkv = project::forward(model, sequences, &ids.qkv, &normed, None);
    drop(normed);
    let mut q = backend.activation(n * shape.q_width());
    let mut kv = backend.activation(n * shape.kv_width());
    backend.split_heads(n, &shape, &qkv, rotary, head_norms(model, ids), &mut q, &mut kv);
    let qkv = ids.head_norms.is_some().then_some(qkv);
    let mut attention = backend.activation(n * shape.q_width());
    let mut lse = backend.accumulator(n * shape.heads);
    let past = past.map(|kv| Past { kv });
    backend.attention(&shape, &sequences.rows, &q, &kv, past, &mut attention, &mut lse);
    let middle = project::forward(model, sequences, &ids.output, &attention, Some(x));
    let normed = norm(model, n, &middle, ids.mlp_norm);
    let gate_up = project::forward(model, sequences, &ids.gate_up, &normed, None);
    (kv, Inner { qkv, q, attention, lse, middle, gate_up })
}

fn gated<B: Backend>(model: &Model<B>, n: usize, gate_up: &B::Activation) -> B::Activation {
    let width = model.config.intermediate;
    let mut out = model.backend.activation(n * width);
    model.backend.gated(n, width, model.config.activation, gate_up, &mut out);
    out
}

/// Runs a block over `x` and returns what is kept, and the next block's input.
pub(crate) fn forward<B: Backend>(
    model: &Model<B>,
    layer: usize,
    sequences: &Sequences,
    rotary: &B::Accumulator,
    past: Option<&B::Activation>,
    x: B::Activation,
    keep: Keep,
) -> (LayerSaved<B>, B::Activation) {
    let (kv, inner) = attend(model, layer, sequences, rotary, past, &x);
    let activated = gated(model, sequences.tokens.len(), &inner.gate_up);
    let down = &model.layout.layers[layer].down;
    let next = project::forward(model, sequences, down, &activated, Some(&inner.middle));
    let saved = LayerSaved {
        x: matches!(keep, Keep::BlockInputs | Keep::Everything).then_some(x),
        kv: (keep != Keep::Nothing).then_some(kv),
        inner: (keep == Keep::Everything).then_some(inner),
    };
    (saved, next)
}

/// What a block's backward pass reads besides its own activations.
pub(crate) struct BlockGradient<'a, B: Backend> {
    pub sequences: &'a Sequences,
    pub rotary: &'a B::Accumulator,
    /// The past's keys and values, and their gradient to add to.
    pub past: Option<(Option<&'a B::Activation>, &'a mut B::Accumulator)>,
    /// What continuations collected for this block's keys and values.
    pub from_continuations: Option<B::Accumulator>,
}

/// Turns `d`, the gradient of the block's output, into that of its input, and adds to the weights'
/// gradients.
pub(crate) fn backward<B: Backend>(
    model: &Model<B>,
    layer: usize,
    saved: LayerSaved<B>,
    mut context: BlockGradient<B>,
    d: &mut B::Activation,
    gradients: &mut Gradients<B>,
) {
    let LayerSaved { x: Some(x), kv: Some(kv), inner } = saved else {
        unreachable!("a pass that goes back keeps its block inputs")
    };
    let inner = inner.unwrap_or_else(|| {
        let past = context.past.as_ref().and_then(|(kv, _)| *kv);
        attend(model, layer, context.sequences, context.rotary, past, &x).1
    });
    mlp_backward(model, layer, context.sequences, &inner, d, gradients);
    attention_backward(model, layer, &x, &kv, &inner, &mut context, d, gradients);
}

/// `d` becomes the gradient of `middle`.
fn mlp_backward<B: Backend>(
    model: &Model<B>,
    layer: usize,
    sequences: &Sequences,
    inner: &Inner<B>,
    d: &mut B::Activation,
    gradients: &mut Gradients<B>,
) {
    let (backend, config, ids) = (model.backend(), &model.config, &model.layout.layers[layer]);
    let (n, width) = (sequences.tokens.len(), config.intermediate);
    let activated = gated(model, n, &inner.gate_up);
    let d_activated = project::backward(model, sequences, &ids.down, &activated, d, gradients);
    drop(activated);
    let mut d_gate_up = backend.activation(n * 2 * width);
    backend.gated_backward(
        n,
        width,
        config.activation,
        &inner.gate_up,
        &d_activated,
        &mut d_gate_up,
    );
    let normed = norm(model, n, &inner.middle, ids.mlp_norm);
    let d_normed =
        project::backward(model, sequences, &ids.gate_up, &normed, &d_gate_up, gradients);
    let weight = &model.weights[ids.mlp_norm];
    let d_weight = gradients.of(ids.mlp_norm);
    backend.norm_backward(n, &inner.middle, weight, config.norm(), &d_normed, d, d_weight);
}

/// `d`, the gradient of `middle`, becomes that of the block's input.
fn attention_backward<B: Backend>(
    model: &Model<B>,
    layer: usize,
    x: &B::Activation,
    kv: &B::Activation,
    inner: &Inner<B>,
    context: &mut BlockGradient<B>,
    d: &mut B::Activation,
    gradients: &mut Gradients<B>,
) {
    let (backend, config, ids) = (model.backend(), &model.config, &model.layout.layers[layer]);
    let sequences = context.sequences;
    let n = sequences.tokens.len();
    let shape = config.attention(layer);
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let d_attention =
        project::backward(model, sequences, &ids.output, &inner.attention, d, gradients);
    let mut d_q = backend.activation(n * q_width);
    let mut d_kv = backend.activation(n * kv_width);
    let (past, d_past) = match &mut context.past {
        Some((kv, gradient)) => (kv.map(|kv| Past { kv }), Some(&mut **gradient)),
        None => (None, None),
    };
    backend.attention_backward(
        &shape,
        &sequences.rows,
        &inner.q,
        kv,
        past,
        &inner.attention,
        &inner.lse,
        &d_attention,
        &mut d_q,
        &mut d_kv,
        d_past,
    );
    if let Some(collected) = &context.from_continuations {
        backend.add(n * kv_width, collected, &mut d_kv);
    }
    let d_qkv = split_backward(model, ids, &shape, n, inner, context, &d_q, &d_kv, gradients);
    let normed = norm(model, n, x, ids.attention_norm);
    let d_normed = project::backward(model, sequences, &ids.qkv, &normed, &d_qkv, gradients);
    let weight = &model.weights[ids.attention_norm];
    let d_weight = gradients.of(ids.attention_norm);
    backend.norm_backward(n, x, weight, config.norm(), &d_normed, d, d_weight);
}

fn split_backward<B: Backend>(
    model: &Model<B>,
    ids: &LayerIds,
    shape: &AttentionShape,
    n: usize,
    inner: &Inner<B>,
    context: &BlockGradient<B>,
    d_q: &B::Activation,
    d_kv: &B::Activation,
    gradients: &mut Gradients<B>,
) -> B::Activation {
    let mut d_qkv = model.backend.activation(n * shape.qkv_width());
    // Taken out while both are borrowed, and put back.
    let mut d_norms = ids
        .head_norms
        .map(|(q, k)| (gradients.accumulators[q].take(), gradients.accumulators[k].take()));
    let both = match &mut d_norms {
        Some((Some(q), Some(k))) => Some((q, k)),
        _ => None,
    };
    model.backend.split_heads_backward(
        n,
        shape,
        inner.qkv.as_ref(),
        context.rotary,
        head_norms(model, ids),
        d_q,
        d_kv,
        &mut d_qkv,
        both,
    );
    if let (Some((q, k)), Some((d_norm_q, d_norm_k))) = (ids.head_norms, d_norms) {
        gradients.accumulators[q] = d_norm_q;
        gradients.accumulators[k] = d_norm_k;
    }
    d_qkv
}
