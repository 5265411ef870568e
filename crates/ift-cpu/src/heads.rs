//! The fused projection split into queries, keys and values, with per-head norms and rotation, and
//! its backward pass.

use crate::Cpu;
use crate::arena::Buffer;
use crate::inputs::Inputs;
use crate::instructions::kernel;
use crate::math::dot_offset;
use crate::norm::{ROWS_PER_SUM, add_partial, inverse_rms};
use crate::number::Number;
use crate::parameters::Values;
use crate::profile::Kind;
use crate::scalar::{round_all, widen_all};
use crate::threads::Cut;
use ift_backend::{Attention, BackendError, HeadNormStarts, Heads, Norm};

type Result<T> = std::result::Result<T, BackendError>;

/// The weights of the per-head norms, `[head_dim]` each.
struct NormWeights<'a> {
    q: Values<'a>,
    k: Values<'a>,
    norm: Norm,
}

/// What the kernels read in addition to the projection: of some tokens where it is per token.
struct Setup<'a> {
    attention: &'a Attention,
    /// `[tokens, head_dim]` cosines, then sines; empty for none.
    angles: &'a [f32],
    weights: Option<&'a NormWeights<'a>>,
}

impl<'a> Setup<'a> {
    /// The angles of token `t`, where there are angles.
    #[inline(always)]
    fn angles(&self, t: usize) -> Option<&'a [f32]> {
        let d = self.attention.head_dim;
        (!self.angles.is_empty()).then(|| &self.angles[t * d..(t + 1) * d])
    }
}

/// Rotates a head by the angles, if there are any; `direction` -1 rotates back.
#[inline(always)]
fn rotate(head: &mut [f32], angles: Option<&[f32]>, direction: f32) {
    let Some(angles) = angles else { return };
    let half = head.len() / 2;
    let (a, b) = head.split_at_mut(half);
    let (cos, sin) = angles.split_at(half);
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        let sin = direction * *sin;
        (*a, *b) = (*a * *cos - *b * sin, *b * *cos + *a * sin);
    }
}

kernel! {
    /// Splits the projections of some tokens.
    fn forward<S, N: Number>(setup: &Setup, qkv: &[N], q: &mut [N], kv: &mut [N]) {
        let Setup { attention, weights, .. } = *setup;
        let d = attention.head_dim;
        let mut head = vec![0.0f32; d];
        let tokens = qkv.chunks_exact(attention.qkv_width());
        let q = q.chunks_exact_mut(attention.q_width());
        let outputs = q.zip(kv.chunks_exact_mut(attention.kv_width()));
        for (t, (qkv, (q, kv))) in tokens.zip(outputs).enumerate() {
            let angles = setup.angles(t);
            let (qk, v) = qkv.split_at((attention.heads + attention.kv_heads) * d);
            let (k, values) = kv.split_at_mut(attention.kv_heads * d);
            values.copy_from_slice(v);
            let heads = q.chunks_exact_mut(d).chain(k.chunks_exact_mut(d)).zip(qk.chunks_exact(d));
            for (h, (to, from)) in heads.enumerate() {
                widen_all(from, &mut head);
                if let Some(w) = weights {
                    let (r, offset) = (inverse_rms::<S, N>(from, w.norm.eps), w.norm.offset as f32);
                    let weight = if h < attention.heads { &w.q } else { &w.k };
                    head.iter_mut().zip(&weight[..]).for_each(|(x, w)| *x = *x * r * (*w + offset));
                }
                rotate(&mut head, angles, 1.0);
                round_all(&head, to);
            }
        }
    }
}

kernel! {
    /// The gradient of the projections `qkv`, and in `d_weights`, `[2·head_dim]`, those of the
    /// weights of the query norm and the key norm, summed over these tokens.
    fn backward<S, N: Number>(
        setup: &Setup,
        qkv: &[N],
        d_heads: (&[N], &[N]),
        d_qkv: &mut [N],
        d_weights: &mut [f32],
    ) {
        let Setup { attention, weights, .. } = *setup;
        let d = attention.head_dim;
        let mut gradient = vec![0.0f32; d];
        d_weights.fill(0.0);
        let (d_q, d_kv) = d_heads;
        let d_q = d_q.chunks_exact(attention.q_width());
        let sources = d_q.zip(d_kv.chunks_exact(attention.kv_width()));
        let tokens = sources.zip(d_qkv.chunks_exact_mut(attention.qkv_width()));
        for (t, ((d_q, d_kv), d_qkv)) in tokens.enumerate() {
            let angles = setup.angles(t);
            let (d_k, d_v) = d_kv.split_at(attention.kv_heads * d);
            let (own_qk, own_v) = d_qkv.split_at_mut((attention.heads + attention.kv_heads) * d);
            own_v.copy_from_slice(d_v);
            let heads =
                d_q.chunks_exact(d).chain(d_k.chunks_exact(d)).zip(own_qk.chunks_exact_mut(d));
            for (h, (from, to)) in heads.enumerate() {
                widen_all(from, &mut gradient);
                rotate(&mut gradient, angles, -1.0);
                if let Some(w) = weights {
                    let x = &qkv[t * attention.qkv_width() + h * d..][..d];
                    let (weight, d_weight) = if h < attention.heads {
                        (&w.q[..], &mut d_weights[..d])
                    } else {
                        (&w.k[..], &mut d_weights[d..])
                    };
                    let (r, offset) = (inverse_rms::<S, N>(x, w.norm.eps), w.norm.offset as f32);
                    let along_x = dot_offset::<S, f32, N>(&gradient, weight, offset, x);
                    let along_x = along_x / d as f32 * r * r * r;
                    for (((g, x), w), d_w) in gradient.iter_mut().zip(x).zip(weight).zip(d_weight) {
                        *d_w = S::mul_add(*g * r, x.widen(), *d_w);
                        *g = r * *g * (*w + offset) - along_x * x.widen();
                    }
                }
                round_all(&gradient, to);
            }
        }
    }
}

impl<N: Number> Cpu<N> {
    /// `[tokens, 2·frequencies]`: cosines, then sines.
    pub(crate) fn rotary_angles(
        &self,
        inputs: &Inputs,
        inverse_frequencies: &[f64],
    ) -> Result<Buffer<f32>> {
        let half = inverse_frequencies.len();
        let len = inputs.len().saturating_mul(2 * half);
        let mut angles = self.arena.take("rotary angles", len)?;
        let rows = angles.chunks_exact_mut((2 * half).max(1));
        for (row, &position) in rows.zip(&inputs.positions) {
            let (cos, sin) = row.split_at_mut(half);
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
                let (s, c) = (f64::from(position) * frequency).sin_cos();
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
        Ok(angles)
    }

    fn norm_weights<'a>(&self, heads: &Heads<'a, Self>) -> Result<Option<NormWeights<'a>>> {
        let Some(norms) = &heads.norms else { return Ok(None) };
        let width = norms.norm.width;
        let q = self.weight_values(norms.q, width)?;
        let k = self.weight_values(norms.k, width)?;
        Ok(Some(NormWeights { q, k, norm: norms.norm }))
    }

    pub(crate) fn split_forward(
        &self,
        heads: &Heads<Self>,
        qkv: &[N],
        q: &mut [N],
        kv: &mut [N],
    ) -> Result<()> {
        let Heads { tokens, attention, .. } = *heads;
        let flops = 6 * (tokens * attention.q_width()) as u64;
        let _timer = self.meter.start(Kind::Elementwise, flops);
        let weights = self.norm_weights(heads)?;
        let (width, d) = (attention.qkv_width(), attention.head_dim);
        let outputs = (Cut(q, attention.q_width()), Cut(kv, attention.kv_width()));
        self.threads.rows(tokens, 2 * width, outputs, |rows, (q, kv)| {
            let angles = heads.rotary.map_or(&[][..], |x| &x[rows.start * d..rows.end * d]);
            let setup = Setup { attention, angles, weights: weights.as_ref() };
            forward(self.set, &setup, &qkv[rows.start * width..rows.end * width], q, kv);
        });
        Ok(())
    }

    pub(crate) fn split_gradients(
        &self,
        heads: &Heads<Self>,
        qkv: Option<&Buffer<N>>,
        (d_q, d_kv): (&[N], &[N]),
        d_qkv: &mut [N],
        d_norms: Option<(HeadNormStarts, &mut Buffer<f32>)>,
    ) -> Result<()> {
        let Heads { tokens, attention, .. } = *heads;
        let flops = 6 * (tokens * attention.q_width()) as u64;
        let _timer = self.meter.start(Kind::Elementwise, flops);
        let weights = self.norm_weights(heads)?;
        let (width, d) = (attention.qkv_width(), attention.head_dim);
        let (q_width, kv_width) = (attention.q_width(), attention.kv_width());
        let blocks = tokens.div_ceil(ROWS_PER_SUM);
        let len = blocks.saturating_mul(2 * d);
        let mut partial = self.arena.take::<f32>("partial gradients of head norms", len)?;
        let d_qkv = &mut d_qkv[..tokens.saturating_mul(width)];
        let outputs = (Cut(d_qkv, ROWS_PER_SUM * width), Cut(&mut partial, 2 * d));
        self.threads.split(blocks, outputs, |block, (d_qkv, d_weights)| {
            let first = block * ROWS_PER_SUM;
            let rows = first..tokens.min(first + ROWS_PER_SUM);
            let of = |width: usize| rows.start * width..rows.end * width;
            let setup = Setup {
                attention,
                angles: heads.rotary.map_or(&[][..], |x| &x[of(d)]),
                weights: weights.as_ref(),
            };
            let qkv = qkv.map_or(&[][..], |x| &x[of(width)]);
            let d_heads = (&d_q[of(q_width)], &d_kv[of(kv_width)]);
            backward(self.set, &setup, qkv, d_heads, d_qkv, d_weights);
        });
        if let Some((starts, gradients)) = d_norms {
            for partial in partial.chunks_exact(2 * d) {
                add_partial(&mut gradients[starts.q..starts.q + d], &partial[..d]);
                add_partial(&mut gradients[starts.k..starts.k + d], &partial[d..]);
            }
        }
        Ok(())
    }
}
