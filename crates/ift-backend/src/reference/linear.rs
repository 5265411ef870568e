//! Linear layers.

use crate::{Linear, LinearStarts, Out};

/// What is added to the result of a product at `at`.
fn base(to: Out<Vec<f64>>, out: &[f64], at: usize) -> f64 {
    match to {
        Out::Set => 0.0,
        Out::Add => out[at],
        Out::Plus(other) => other[at],
    }
}

/// `out = x·Wᵀ + b`.
pub(super) fn forward(
    linear: Linear,
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    to: Out<Vec<f64>>,
    out: &mut [f64],
) {
    let Linear { tokens, inputs, outputs } = linear;
    for t in 0..tokens {
        for o in 0..outputs {
            let mut sum = bias.map_or(0.0, |b| b[o]);
            for i in 0..inputs {
                sum += x[t * inputs + i] * weight[o * inputs + i];
            }
            out[t * outputs + o] = base(to, out, t * outputs + o) + sum;
        }
    }
}

/// `d_x = d_out·W`.
pub(super) fn backward_input(
    linear: Linear,
    d_out: &[f64],
    weight: &[f64],
    to: Out<Vec<f64>>,
    d_x: &mut [f64],
) {
    let Linear { tokens, inputs, outputs } = linear;
    for t in 0..tokens {
        for i in 0..inputs {
            let mut sum = 0.0;
            for o in 0..outputs {
                sum += d_out[t * outputs + o] * weight[o * inputs + i];
            }
            d_x[t * inputs + i] = base(to, d_x, t * inputs + i) + sum;
        }
    }
}

/// `d_W += d_outᵀ·x`, `d_b += Σ_t d_out[t]`.
pub(super) fn backward_weight(
    linear: Linear,
    x: &[f64],
    d_out: &[f64],
    starts: LinearStarts,
    gradients: &mut [f64],
) {
    let Linear { tokens, inputs, outputs } = linear;
    for t in 0..tokens {
        for o in 0..outputs {
            let g = d_out[t * outputs + o];
            if let Some(bias) = starts.bias {
                gradients[bias + o] += g;
            }
            if let Some(weight) = starts.weight {
                for i in 0..inputs {
                    gradients[weight + o * inputs + i] += g * x[t * inputs + i];
                }
            }
        }
    }
}
