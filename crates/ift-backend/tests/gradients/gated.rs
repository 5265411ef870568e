//! The gated product.

use super::difference::{check, dot, wave};
use ift_backend::{Backend, GateFunction, Gated, Reference};

#[test]
fn gradients_of_the_gated_product() {
    for function in [GateFunction::Silu, GateFunction::GeluTanh] {
        let gated = Gated { tokens: 4, width: 9, function };
        let size = gated.tokens * gated.width;
        let gate_up: Vec<f64> = wave(2 * size, 0.7).iter().map(|x| 3.0 * x).collect();
        let d_out = wave(size, 0.41);
        let loss = |gate_up: &[f64]| {
            let mut out = Reference.activation(size).unwrap();
            Reference.gated(gated, &gate_up.to_vec(), &mut out);
            dot(&out, &d_out)
        };
        let mut d_gate_up = Reference.activation(2 * size).unwrap();
        Reference.gated_backward(gated, &gate_up, &d_out, &mut d_gate_up);
        check(&format!("{function:?}"), &d_gate_up, &vec![0.0; 2 * size], &gate_up, loss);
    }
}

/// Values of the published formulas.
#[test]
fn gates_at_known_points() {
    for (function, x, expected) in [
        (GateFunction::Silu, 0.0, 0.0),
        (GateFunction::Silu, 1.0, 1.0 / (1.0 + (-1.0f64).exp())),
        (GateFunction::Silu, -2.0, -2.0 / (1.0 + 2.0f64.exp())),
        (GateFunction::GeluTanh, 0.0, 0.0),
        (GateFunction::GeluTanh, 1.0, 0.841_191_990_608),
        (GateFunction::GeluTanh, -1.0, -0.158_808_009_392),
    ] {
        let mut out = Reference.activation(1).unwrap();
        Reference.gated(Gated { tokens: 1, width: 1, function }, &vec![x, 2.0], &mut out);
        assert!((out[0] - 2.0 * expected).abs() < 1e-11, "{function:?} at {x}: {out:?}");
    }
}
