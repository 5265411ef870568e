//! The fused projection split into queries, keys and values: per-head norms and rotation, and the
//! way back.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::dot_offset;
use crate::norm::{BLOCK, add_partial, inverse_rms};
use crate::number::{Number, round_all, widen_all};
use crate::threads::Cut;
use crate::weight::Values;
use ift_backend::{AttentionShape, Norm};

/// The weights of the per-head norms, `[head_dim]` each.
pub(crate) struct Weights<'a> {
    pub q: Values<'a>,
    pub k: Values<'a>,
    pub norm: Norm,
}

/// Rotates a head by the angles; `direction` -1 rotates back.
#[inline(always)]
fn rotate(head: &mut [f32], angles: &[f32], direction: f32) {
    let half = head.len() / 2;
    let (a, b) = head.split_at_mut(half);
    let (cos, sin) = angles.split_at(half);
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        let sin = direction * *sin;
        (*a, *b) = (*a * *cos - *b * sin, *b * *cos + *a * sin);
    }
}

kernel! {
    fn forward<S, N: Number>(
        shape: &AttentionShape,
        qkv: &[N],
        rotary: &[f32],
        weights: Option<&Weights>,
        q: &mut [N],
        kv: &mut [N],
    ) {
        let d = shape.head_dim;
        let mut head = vec![0.0f32; d];
        let tokens = qkv.chunks_exact(shape.qkv_width()).zip(rotary.chunks_exact(d));
        let outputs = q.chunks_exact_mut(shape.q_width()).zip(kv.chunks_exact_mut(shape.kv_width()));
        for ((qkv, angles), (q, kv)) in tokens.zip(outputs) {
            let (qk, v) = qkv.split_at((shape.heads + shape.kv_heads) * d);
            let (k, values) = kv.split_at_mut(shape.kv_heads * d);
            values.copy_from_slice(v);
            let heads = q.chunks_exact_mut(d).chain(k.chunks_exact_mut(d)).zip(qk.chunks_exact(d));
            for (h, (to, from)) in heads.enumerate() {
                widen_all(from, &mut head);
                if let Some(w) = weights {
                    let (r, offset) = (inverse_rms::<S, N>(from, w.norm.eps), w.norm.offset as f32);
                    let weight = if h < shape.heads { &w.q } else { &w.k };
                    head.iter_mut().zip(&weight[..]).for_each(|(x, w)| *x = *x * r * (*w + offset));
                }
                rotate(&mut head, angles, 1.0);
                round_all(&head, to);
            }
        }
    }
}

kernel! {
    /// `d_weights`: `[2·head_dim]`, the gradients of the query norm's weight and the key norm's over these tokens.
    fn backward<S, N: Number>(
        shape: &AttentionShape,
        qkv: &[N],
        rotary: &[f32],
        weights: Option<&Weights>,
        d_q: &[N],
        d_kv: &[N],
        d_qkv: &mut [N],
        d_weights: &mut [f32],
    ) {
        let d = shape.head_dim;
        let mut gradient = vec![0.0f32; d];
        d_weights.fill(0.0);
        let sources = d_q.chunks_exact(shape.q_width()).zip(d_kv.chunks_exact(shape.kv_width()));
        let tokens = d_qkv.chunks_exact_mut(shape.qkv_width()).zip(rotary.chunks_exact(d));
        for (t, ((d_q, d_kv), (d_qkv, angles))) in sources.zip(tokens).enumerate() {
            let (d_k, d_v) = d_kv.split_at(shape.kv_heads * d);
            let (own_qk, own_v) = d_qkv.split_at_mut((shape.heads + shape.kv_heads) * d);
            own_v.copy_from_slice(d_v);
            let heads = d_q.chunks_exact(d).chain(d_k.chunks_exact(d)).zip(own_qk.chunks_exact_mut(d));
            for (h, (from, to)) in heads.enumerate() {
                widen_all(from, &mut gradient);
                rotate(&mut gradient, angles, -1.0);
                if let Some(w) = weights {
                    let x = &qkv[t * shape.qkv_width() + h * d..][..d];
                    let (weight, d_weight) = if h < shape.heads {
                        (&w.q[..], &mut d_weights[..d])
                    } else {
                        (&w.k[..], &mut d_weights[d..])
                    };
                    let (r, offset) = (inverse_rms::<S, N>(x, w.norm.eps), w.norm.offset as f32);
                    let slope = dot_offset::<S, f32, N>(&gradient, weight, offset, x) / d as f32 * r * r * r;
                    for (((g, x), w), d_w) in gradient.iter_mut().zip(x).zip(weight).zip(d_weight) {
                        *d_w = S::mul_add(*g * r, x.widen(), *d_w);
                        *g = r * *g * (*w + offset) - slope * x.widen();
                    }
                }
                round_all(&gradient, to);
            }
        }
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn split_forward(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: &[N],
        rotary: &[f32],
        weights: Option<&Weights>,
        q: &mut [N],
        kv: &mut [N],
    ) {
        let (width, d) = (shape.qkv_width(), shape.head_dim);
        let outputs = (Cut(q, shape.q_width()), Cut(kv, shape.kv_width()));
        self.threads.rows(n, 2 * width, outputs, |rows, (q, kv)| {
            let qkv = &qkv[rows.start * width..rows.end * width];
            forward(self.set, shape, qkv, &rotary[rows.start * d..rows.end * d], weights, q, kv);
        });
    }

    pub(crate) fn split_gradients(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: Option<&[N]>,
        rotary: &[f32],
        weights: Option<&Weights>,
        d_q: &[N],
        d_kv: &[N],
        d_qkv: &mut [N],
        d_norms: Option<(&mut [f32], &mut [f32])>,
    ) {
        let (width, d) = (shape.qkv_width(), shape.head_dim);
        let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
        let blocks = n.div_ceil(BLOCK);
        let mut partial = self.pool.take::<f32>(blocks * 2 * d);
        let outputs = (Cut(&mut d_qkv[..n * width], BLOCK * width), Cut(&mut partial, 2 * d));
        self.threads.split(blocks, outputs, |block, (d_qkv, d_weights)| {
            let (first, last) = (block * BLOCK, n.min((block + 1) * BLOCK));
            let qkv = qkv.map_or(&[][..], |x| &x[first * width..last * width]);
            let rotary = &rotary[first * d..last * d];
            let d_q = &d_q[first * q_width..last * q_width];
            let d_kv = &d_kv[first * kv_width..last * kv_width];
            backward(self.set, shape, qkv, rotary, weights, d_q, d_kv, d_qkv, d_weights);
        });
        if let Some((q, k)) = d_norms {
            for partial in partial.chunks_exact(2 * d) {
                add_partial(&mut q[..d], &partial[..d]);
                add_partial(&mut k[..d], &partial[d..]);
            }
        }
    }
}
