//! Linear layers and their gradients. An f32 sum of `k` products of elements below 1 is off by
//! about `√k·2⁻²⁴` of them; the largest result grows as `√k`, so the relative difference stays
//! about 1e-6 at any size.

use super::fixture::{Fixture, Kept, Result, START};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Linear, LinearStarts, Out};

/// What the result becomes; see [`Out`].
#[derive(Clone, Copy, Debug)]
enum To {
    Set,
    Add,
    Plus,
}

/// A linear layer, forward and backward.
#[derive(Debug)]
pub(super) struct LinearCase {
    linear: Linear,
    bias: bool,
    to: To,
    kept: Kept,
}

impl Operation for LinearCase {
    fn tolerance(&self) -> CaseTolerance {
        match self.kept {
            // Products of bf16 are exact in f32, and a result is rounded once.
            Kept::Trainable => CaseTolerance::direct(2e-6),
            Kept::Frozen(_) => CaseTolerance::stored_between(2e-5),
        }
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, Linear { tokens, inputs, outputs }) = (f.backend, self.linear);
        let x = f.activation(1, tokens * inputs)?;
        let w = f.weight(self.kept, 2, outputs * inputs)?;
        let bias = f.weight(self.kept, 3, outputs)?;
        let given = self.bias.then(|| bias.weight());
        // One element more than needed: buffers may be longer.
        let mut out = f.activation(4, tokens * outputs + 1)?;
        let other_out = f.activation(9, tokens * outputs)?;
        let other_x = f.activation(10, tokens * inputs)?;
        let (out_to, x_to) = match self.to {
            To::Set => (Out::Set, Out::Set),
            To::Add => (Out::Add, Out::Add),
            To::Plus => (Out::Plus(&other_out), Out::Plus(&other_x)),
        };
        b.linear(self.linear, &x, w.weight(), given, out_to, &mut out)?;
        let d_out = f.activation(5, tokens * outputs + 1)?;
        let mut d_x = f.activation(6, tokens * inputs + 1)?;
        b.linear_backward_input(self.linear, &d_out, w.weight(), x_to, &mut d_x)?;

        // The weight, a gap, the bias, a gap.
        let bias_start = START + outputs * inputs + 2;
        let len = bias_start + outputs + 1;
        let mut results = Results::default();
        let starts = LinearStarts { weight: Some(START), bias: self.bias.then_some(bias_start) };
        let mut gradients = f.accumulator(7, len)?;
        b.linear_backward_weight(self.linear, &x, &d_out, starts, &mut gradients)?;
        results.near("gradients", f.read_accumulator(&gradients, len));
        if self.bias {
            let starts = LinearStarts { weight: None, bias: Some(START) };
            let mut gradients = f.accumulator(8, START + outputs + 1)?;
            b.linear_backward_weight(self.linear, &x, &d_out, starts, &mut gradients)?;
            let gradients = f.read_accumulator(&gradients, START + outputs + 1);
            results.near("the bias's gradient alone", gradients);
        }
        results.near("out", f.read(&out, tokens * outputs + 1));
        results.near("d_x", f.read(&d_x, tokens * inputs + 1));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<LinearCase> {
    let mut cases = Vec::new();
    for tokens in [0, 1, 7, 13, 130] {
        for inputs in [1, 3, 24, 65] {
            for outputs in [1, 3, 24, 65, 97] {
                let to = [To::Set, To::Add, To::Plus][cases.len() % 3];
                let linear = Linear { tokens, inputs, outputs };
                let bias = (tokens + outputs) % 2 == 0;
                cases.push(LinearCase { linear, bias, to, kept: Kept::Trainable });
            }
        }
    }
    // Over several blocks in each direction.
    for (tokens, inputs, outputs) in [
        (1, 576, 1025),
        (7, 2049, 65),
        (130, 641, 333),
        (1025, 323, 65),
        (331, 65, 1030),
        (45, 1024, 33),
        (150, 2048, 24),
    ] {
        for (bias, to) in [(true, To::Set), (false, To::Add), (true, To::Plus)] {
            let linear = Linear { tokens, inputs, outputs };
            cases.push(LinearCase { linear, bias, to, kept: Kept::Trainable });
        }
    }
    // An inner size of which a backend may not pack everything at once.
    let linear = Linear { tokens: 17, inputs: 40_000, outputs: 230 };
    cases.push(LinearCase { linear, bias: true, to: To::Add, kept: Kept::Trainable });
    for kept in Kept::ALL.into_iter().filter(|&kept| kept != Kept::Trainable) {
        for tokens in [1, 7, 130] {
            for (inputs, outputs) in [(1, 3), (3, 24), (24, 97), (65, 65), (641, 33), (128, 130)] {
                let linear = Linear { tokens, inputs, outputs };
                cases.push(LinearCase { linear, bias: true, to: To::Add, kept });
            }
        }
    }
    cases
}
