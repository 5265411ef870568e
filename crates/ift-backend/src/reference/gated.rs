//! The gated product of an MLP.

use crate::{GateFunction, Gated};
use std::f64::consts::PI;

/// The gate's function and its derivative.
fn gate(function: GateFunction, x: f64) -> (f64, f64) {
    match function {
        GateFunction::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        GateFunction::GeluTanh => {
            let c = (2.0 / PI).sqrt();
            let t = (c * (x + 0.044_715 * x * x * x)).tanh();
            let d_inner = c * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * d_inner)
        }
    }
}

/// `out = act(gate) ⊙ up`.
pub(super) fn forward(gated: Gated, gate_up: &[f64], out: &mut [f64]) {
    let Gated { tokens, width, function } = gated;
    for t in 0..tokens {
        for c in 0..width {
            let (at, up_at) = (t * 2 * width + c, t * 2 * width + width + c);
            out[t * width + c] = gate(function, gate_up[at]).0 * gate_up[up_at];
        }
    }
}

/// `d_gate = d_out ⊙ up ⊙ act'(gate)`, `d_up = d_out ⊙ act(gate)`.
pub(super) fn backward(gated: Gated, gate_up: &[f64], d_out: &[f64], d_gate_up: &mut [f64]) {
    let Gated { tokens, width, function } = gated;
    for t in 0..tokens {
        for c in 0..width {
            let (at, up_at) = (t * 2 * width + c, t * 2 * width + width + c);
            let (value, derivative) = gate(function, gate_up[at]);
            d_gate_up[at] = d_out[t * width + c] * gate_up[up_at] * derivative;
            d_gate_up[up_at] = d_out[t * width + c] * value;
        }
    }
}
