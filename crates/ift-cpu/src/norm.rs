//! RMS norm.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{dot, dot_offset};
use crate::number::Number;
use crate::simd::Simd;
use crate::threads::Cut;
use ift_backend::Norm;

/// Rows that share one partial sum of a weight's gradient.
pub(crate) const BLOCK: usize = 64;

/// `1/√(mean(x²) + eps)`.
#[inline(always)]
pub(crate) fn inverse_rms<S: Simd, N: Number>(x: &[N], eps: f64) -> f32 {
    1.0 / (dot::<S, N, N>(x, x) / x.len() as f32 + eps as f32).sqrt()
}

kernel! {
    /// `out = x·r·(w + offset)`, with `r` the inverse root mean square.
    fn forward<S, N: Number>(x: &[N], weight: &[f32], norm: Norm, out: &mut [N]) {
        let offset = norm.offset as f32;
        for (x, out) in x.chunks_exact(norm.width).zip(out.chunks_exact_mut(norm.width)) {
            let r = inverse_rms::<S, N>(x, norm.eps);
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                *out = N::round(x.widen() * r * (*w + offset));
            }
        }
    }
}

kernel! {
    /// With `g = d_out ⊙ (w + offset)`: `d_x += r·(g - x·r²·mean(g ⊙ x))`, `d_w += d_out ⊙ x·r`.
    fn backward<S, N: Number>(
        x: &[N],
        weight: &[f32],
        norm: Norm,
        d_out: &[N],
        d_x: &mut [N],
        d_weight: &mut [f32],
    ) {
        let width = norm.width;
        let offset = norm.offset as f32;
        d_weight.fill(0.0);
        let rows = x.chunks_exact(width).zip(d_out.chunks_exact(width)).zip(d_x.chunks_exact_mut(width));
        for ((x, d_out), d_x) in rows {
            let r = inverse_rms::<S, N>(x, norm.eps);
            let slope = dot_offset::<S, N, N>(d_out, weight, offset, x) / width as f32 * r * r * r;
            for (((d_x, x), d), w) in d_x.iter_mut().zip(x).zip(d_out).zip(weight) {
                *d_x = N::round(d_x.widen() + (r * d.widen() * (*w + offset) - slope * x.widen()));
            }
            for ((d_w, x), d) in d_weight.iter_mut().zip(x).zip(d_out) {
                *d_w = S::mul_add(d.widen() * r, x.widen(), *d_w);
            }
        }
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn norm_forward(
        &self,
        n: usize,
        x: &[N],
        weight: &[f32],
        norm: Norm,
        out: &mut [N],
    ) {
        let width = norm.width;
        self.threads.rows(n, 2 * width, Cut(out, width), |rows, out| {
            forward(
                self.set,
                &x[rows.start * width..rows.end * width],
                &weight[..width],
                norm,
                out,
            );
        });
    }

    pub(crate) fn norm_gradients(
        &self,
        n: usize,
        x: &[N],
        weight: &[f32],
        norm: Norm,
        d_out: &[N],
        d_x: &mut [N],
        d_weight: Option<&mut [f32]>,
    ) {
        let width = norm.width;
        let blocks = n.div_ceil(BLOCK);
        let mut partial = self.pool.take::<f32>(blocks * width);
        let outputs = (Cut(&mut d_x[..n * width], BLOCK * width), Cut(&mut partial, width));
        self.threads.split(blocks, outputs, |block, (d_x, d_weight)| {
            let numbers = block * BLOCK * width..n.min((block + 1) * BLOCK) * width;
            backward(
                self.set,
                &x[numbers.clone()],
                &weight[..width],
                norm,
                &d_out[numbers],
                d_x,
                d_weight,
            );
        });
        if let Some(d_weight) = d_weight {
            add_partial(&mut d_weight[..width], &partial);
        }
    }
}

/// Adds the partial sums up in their order.
pub(crate) fn add_partial(to: &mut [f32], partial: &[f32]) {
    for block in partial.chunks_exact(to.len()) {
        for (to, x) in to.iter_mut().zip(block) {
            *to += x;
        }
    }
}
