//! RMS norm.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{dot, dot_offset};
use crate::number::Number;
use crate::profile::Kind;
use crate::scalar::Scalar;
use crate::simd::Simd;
use crate::threads::Cut;
use ift_backend::{BackendError, Norm, Weight};

type Result<T> = std::result::Result<T, BackendError>;

/// Rows that share one partial sum of a weight's gradient.
pub(crate) const ROWS_PER_SUM: usize = 64;

/// `1/√(mean(x²) + eps)`.
#[inline(always)]
pub(crate) fn inverse_rms<S: Simd, N: Scalar>(x: &[N], eps: f64) -> f32 {
    1.0 / (dot::<S, N, N>(x, x) / x.len() as f32 + eps as f32).sqrt()
}

kernel! {
    /// `out = x·r·(w + offset)`, with `r` the inverse root mean square of the row.
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
        let rows =
            x.chunks_exact(width).zip(d_out.chunks_exact(width)).zip(d_x.chunks_exact_mut(width));
        for ((x, d_out), d_x) in rows {
            let r = inverse_rms::<S, N>(x, norm.eps);
            let along_x = dot_offset::<S, N, N>(d_out, weight, offset, x);
            let along_x = along_x / width as f32 * r * r * r;
            for (((d_x, x), d), w) in d_x.iter_mut().zip(x).zip(d_out).zip(weight) {
                let change = r * d.widen() * (*w + offset) - along_x * x.widen();
                *d_x = N::round(d_x.widen() + change);
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
        rows: usize,
        norm: Norm,
        x: &[N],
        weight: Weight<Self>,
        out: &mut [N],
    ) -> Result<()> {
        let width = norm.width;
        let _timer = self.meter.start(Kind::Elementwise, 4 * (rows * width) as u64);
        let weight = self.weight_values(weight, width)?;
        self.threads.rows(rows, 2 * width, Cut(out, width), |rows, out| {
            forward(self.set, &x[rows.start * width..rows.end * width], &weight, norm, out);
        });
        Ok(())
    }

    pub(crate) fn norm_gradients(
        &self,
        rows: usize,
        norm: Norm,
        (x, weight): (&[N], Weight<Self>),
        d_out: &[N],
        d_x: &mut [N],
        d_weight: Option<&mut [f32]>,
    ) -> Result<()> {
        let width = norm.width;
        let _timer = self.meter.start(Kind::Elementwise, 14 * (rows * width) as u64);
        let weight = self.weight_values(weight, width)?;
        let blocks = rows.div_ceil(ROWS_PER_SUM);
        let len = blocks.saturating_mul(width);
        let mut partial = self.arena.take::<f32>("partial gradients of a norm", len)?;
        let d_x = &mut d_x[..rows.saturating_mul(width)];
        let outputs = (Cut(d_x, ROWS_PER_SUM * width), Cut(&mut partial, width));
        self.threads.split(blocks, outputs, |block, (d_x, d_weight)| {
            let first = block * ROWS_PER_SUM;
            let own = first * width..rows.min(first + ROWS_PER_SUM) * width;
            backward(self.set, &x[own.clone()], &weight, norm, &d_out[own], d_x, d_weight);
        });
        if let Some(d_weight) = d_weight {
            add_partial(&mut d_weight[..width], &partial);
        }
        Ok(())
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
