//! RMS norm of rows.

use super::memory::{Result, collected};
use crate::Norm;

/// The norm of `rows` rows.
pub(super) fn forward(rows: usize, norm: Norm, x: &[f64], weight: &[f64], out: &mut [f64]) {
    for t in 0..rows {
        let row = t * norm.width..(t + 1) * norm.width;
        norm_row(&x[row.clone()], weight, norm, &mut out[row]);
    }
}

/// Adds to the gradients of `rows` rows and of the weight.
pub(super) fn backward(
    rows: usize,
    norm: Norm,
    x: &[f64],
    weight: &[f64],
    d_out: &[f64],
    d_x: &mut [f64],
    mut d_weight: Option<&mut [f64]>,
) -> Result<()> {
    for t in 0..rows {
        let row = t * norm.width..(t + 1) * norm.width;
        let (x, d_out) = (&x[row.clone()], &d_out[row.clone()]);
        norm_row_backward(x, weight, norm, d_out, &mut d_x[row], d_weight.as_deref_mut())?;
    }
    Ok(())
}

/// `1/√(mean(x²) + eps)`.
fn inverse_rms(x: &[f64], norm: Norm) -> f64 {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    1.0 / (mean + norm.eps).sqrt()
}

/// `out = x·r·(w + offset)` with `r` the inverse root mean square.
pub(super) fn norm_row(x: &[f64], weight: &[f64], norm: Norm, out: &mut [f64]) {
    let r = inverse_rms(x, norm);
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = x * r * (w + norm.offset);
    }
}

/// With `g = d_out ⊙ (w + offset)`: `d_x += r·(g - x·r²·mean(g ⊙ x))`, `d_w += d_out ⊙ x·r`.
pub(super) fn norm_row_backward(
    x: &[f64],
    weight: &[f64],
    norm: Norm,
    d_out: &[f64],
    d_x: &mut [f64],
    d_weight: Option<&mut [f64]>,
) -> Result<()> {
    let r = inverse_rms(x, norm);
    let g = d_out.iter().zip(weight).map(|(d, w)| d * (w + norm.offset));
    let g = collected("the gradient of a norm", d_out.len(), g)?;
    let mean = g.iter().zip(x).map(|(g, x)| g * x).sum::<f64>() / x.len() as f64;
    for ((d_x, g), x) in d_x.iter_mut().zip(&g).zip(x) {
        *d_x += r * (g - x * r * r * mean);
    }
    if let Some(d_weight) = d_weight {
        for ((d_w, d), x) in d_weight.iter_mut().zip(d_out).zip(x) {
            *d_w += d * x * r;
        }
    }
    Ok(())
}
