//! Linear layers and their gradients. An f32 sum of k products of numbers below 1 is off by about
//! √k·2⁻²⁴ of them; the largest result grows as √k, so the relative difference stays about 1e-6 at
//! any size.

use super::{Case, accumulator, activation, read, read_accumulator, weight};
use ift_backend::{Backend, Out};

const TOLERANCE: f64 = 2e-6;

/// What the result becomes; see [`Out`].
#[derive(Clone, Copy)]
enum To {
    Set,
    Add,
    Plus,
}

struct Linear {
    n: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    to: To,
}

impl Case for Linear {
    // Products of bf16 are exact in f32, and a result is rounded once.
    const NARROW_TOLERANCE: f64 = TOLERANCE;

    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, inputs, outputs, to, .. } = *self;
        let x = activation(b, 1, n * inputs);
        let w = weight(b, 2, outputs * inputs);
        let bias = self.bias.then(|| weight(b, 3, outputs));
        // One number more than needed: buffers may be longer.
        let mut out = activation(b, 4, n * outputs + 1);
        let (other_out, other_x) = (activation(b, 9, n * outputs), activation(b, 10, n * inputs));
        let (out_to, x_to) = match to {
            To::Set => (Out::Set, Out::Set),
            To::Add => (Out::Add, Out::Add),
            To::Plus => (Out::Plus(&other_out), Out::Plus(&other_x)),
        };
        b.linear(n, inputs, outputs, &x, &w, bias.as_ref(), out_to, &mut out);
        let d_out = activation(b, 5, n * outputs + 1);
        let mut d_x = activation(b, 6, n * inputs + 1);
        b.linear_backward_input(n, inputs, outputs, &d_out, &w, x_to, &mut d_x);
        let mut d_w = accumulator(b, 7, outputs * inputs);
        let mut d_bias = accumulator(b, 8, outputs);
        let d_bias_wanted = self.bias.then_some(&mut d_bias);
        b.linear_backward_weight(n, inputs, outputs, &x, &d_out, &mut d_w, d_bias_wanted);
        vec![
            ("out", read(b, &out, n * outputs + 1)),
            ("d_x", read(b, &d_x, n * inputs + 1)),
            ("d_weight", read_accumulator(b, &d_w, outputs * inputs)),
            ("d_bias", read_accumulator(b, &d_bias, outputs)),
        ]
    }
}

#[test]
fn linear_on_odd_sizes() {
    let mut turn = 0;
    for n in [0, 1, 7, 13, 130] {
        for inputs in [1, 3, 24, 65] {
            for outputs in [1, 3, 24, 65, 97] {
                turn += 1;
                let to = [To::Set, To::Add, To::Plus][turn % 3];
                let case = Linear { n, inputs, outputs, bias: (n + outputs) % 2 == 0, to };
                case.check(&format!("linear {n} x {inputs} -> {outputs}"), TOLERANCE);
            }
        }
    }
}

#[test]
fn linear_over_several_cuts_and_blocks() {
    for (n, inputs, outputs) in [
        (1, 576, 1025),
        (7, 2049, 65),
        (130, 641, 333),
        (1025, 323, 65),
        (331, 65, 1030),
        (45, 1024, 33),
        (150, 2048, 24),
    ] {
        for (bias, to) in [(true, To::Set), (false, To::Add), (true, To::Plus)] {
            let case = Linear { n, inputs, outputs, bias, to };
            case.check(&format!("linear {n} x {inputs} -> {outputs}"), TOLERANCE);
        }
    }
}

/// So wide an inner size that `B` is packed in several groups of columns.
#[test]
fn linear_in_several_groups_of_columns() {
    Linear { n: 17, inputs: 40_000, outputs: 230, bias: true, to: To::Add }
        .check("wide", TOLERANCE);
}
