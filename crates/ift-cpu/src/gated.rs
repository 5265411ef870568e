//! The gated MLP's elementwise part.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::sigmoid;
use crate::number::Number;
use crate::profile::Kind;
use crate::simd::Simd;
use crate::threads::Cut;
use ift_backend::{GateFunction, Gated};

/// `√(2/π)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// The function of a gate, with its derivative: `(value, derivative)`.
trait Gate {
    fn value<S: Simd>(x: f32) -> f32;
    fn value_and_derivative<S: Simd>(x: f32) -> (f32, f32);
}

/// `x·σ(x)`.
struct Silu;

impl Gate for Silu {
    #[inline(always)]
    fn value<S: Simd>(x: f32) -> f32 {
        x * sigmoid::<S>(x)
    }
    #[inline(always)]
    fn value_and_derivative<S: Simd>(x: f32) -> (f32, f32) {
        let s = sigmoid::<S>(x);
        (x * s, s * (1.0 + x * (1.0 - s)))
    }
}

/// `x/2·(1 + tanh u)` with `u = √(2/π)·(x + 0.044715·x³)`, as `x·σ(2u)`.
struct GeluTanh;

impl Gate for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(x: f32) -> f32 {
        x * sigmoid::<S>(2.0 * GELU_SCALE * (x + GELU_CUBIC * x * x * x))
    }
    #[inline(always)]
    fn value_and_derivative<S: Simd>(x: f32) -> (f32, f32) {
        let s = sigmoid::<S>(2.0 * GELU_SCALE * (x + GELU_CUBIC * x * x * x));
        let inner = 2.0 * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x);
        (x * s, s + x * s * (1.0 - s) * inner)
    }
}

#[inline(always)]
fn forward<S: Simd, N: Number, G: Gate>(width: usize, gate_up: &[N], out: &mut [N]) {
    for (gate_up, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        let (gate, up) = gate_up.split_at(width);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = N::round(G::value::<S>(gate.widen()) * up.widen());
        }
    }
}

#[inline(always)]
fn backward<S: Simd, N: Number, G: Gate>(
    width: usize,
    gate_up: &[N],
    d_out: &[N],
    d_gate_up: &mut [N],
) {
    let rows = gate_up.chunks_exact(2 * width).zip(d_out.chunks_exact(width));
    for ((gate_up, d_out), d_gate_up) in rows.zip(d_gate_up.chunks_exact_mut(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        let (d_gate, d_up) = d_gate_up.split_at_mut(width);
        let inputs = gate.iter().zip(up).zip(d_out);
        for (((gate, up), d), (d_gate, d_up)) in inputs.zip(d_gate.iter_mut().zip(d_up)) {
            let (value, derivative) = G::value_and_derivative::<S>(gate.widen());
            *d_gate = N::round(d.widen() * up.widen() * derivative);
            *d_up = N::round(d.widen() * value);
        }
    }
}

kernel! {
    /// `out = act(gate) ⊙ up`.
    fn any_forward<S, N: Number>(
        width: usize,
        function: GateFunction,
        gate_up: &[N],
        out: &mut [N],
    ) {
        match function {
            GateFunction::Silu => forward::<S, N, Silu>(width, gate_up, out),
            GateFunction::GeluTanh => forward::<S, N, GeluTanh>(width, gate_up, out),
        }
    }
}

kernel! {
    /// The gradients of gate and up.
    fn any_backward<S, N: Number>(
        width: usize,
        function: GateFunction,
        gate_up: &[N],
        d_out: &[N],
        d_gate_up: &mut [N],
    ) {
        match function {
            GateFunction::Silu => backward::<S, N, Silu>(width, gate_up, d_out, d_gate_up),
            GateFunction::GeluTanh => backward::<S, N, GeluTanh>(width, gate_up, d_out, d_gate_up),
        }
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn gated_forward(&self, gated: Gated, gate_up: &[N], out: &mut [N]) {
        let Gated { tokens, width, function } = gated;
        let _timer = self.meter.start(Kind::Elementwise, 4 * (tokens * width) as u64);
        self.threads.rows(tokens, 3 * width, Cut(out, width), |rows, out| {
            let gate_up = &gate_up[rows.start * 2 * width..rows.end * 2 * width];
            any_forward(self.set, width, function, gate_up, out);
        });
    }

    pub(crate) fn gated_gradients(
        &self,
        gated: Gated,
        gate_up: &[N],
        d_out: &[N],
        d_gate_up: &mut [N],
    ) {
        let Gated { tokens, width, function } = gated;
        let _timer = self.meter.start(Kind::Elementwise, 10 * (tokens * width) as u64);
        self.threads.rows(tokens, 5 * width, Cut(d_gate_up, 2 * width), |rows, d_gate_up| {
            let gate_up = &gate_up[rows.start * 2 * width..rows.end * 2 * width];
            let d_out = &d_out[rows.start * width..rows.end * width];
            any_backward(self.set, width, function, gate_up, d_out, d_gate_up);
        });
    }
}
