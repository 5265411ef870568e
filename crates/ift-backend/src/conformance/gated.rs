//! The gated product of an MLP.

use super::fixture::{Fixture, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, GateFunction, Gated};

/// The gated product, forward and backward.
#[derive(Debug)]
pub(super) struct GatedCase(Gated);

impl Operation for GatedCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-6)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let size = self.0.tokens * self.0.width;
        // Some far out, where the gate is flat.
        let far = |(i, x): (usize, f64)| x * [1.0, 8.0, 128.0][i % 3];
        let gate_up: Vec<f64> = f.values(1, 2 * size).into_iter().enumerate().map(far).collect();
        let gate_up = f.backend.activation_from(&gate_up)?;
        let mut out = f.activation(2, size + 1)?;
        f.backend.gated(self.0, &gate_up, &mut out);
        let mut d_gate_up = f.activation(3, 2 * size + 1)?;
        f.backend.gated_backward(self.0, &gate_up, &f.activation(4, size)?, &mut d_gate_up);
        let mut results = Results::default();
        results.near("out", f.read(&out, size + 1));
        results.near("d_gate_up", f.read(&d_gate_up, 2 * size + 1));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<GatedCase> {
    let mut cases = Vec::new();
    for width in [1, 3, 24, 65, 576] {
        for tokens in [0, 1, 7, 130] {
            for function in [GateFunction::Silu, GateFunction::GeluTanh] {
                cases.push(GatedCase(Gated { tokens, width, function }));
            }
        }
    }
    cases
}
