//! Finite differences.

use ift_backend::{
    Backend, Buffers, HostTensor, NumberType, PassInputs, Reference, Segment, Weight,
};
use ift_compare::{Comparison, Tolerance};

/// Inputs of a pass of the reference.
pub type Inputs = <Reference as Buffers>::Inputs;

/// Elements that lie before a weight and its gradient.
pub const START: usize = 2;

/// `count` elements between -1 and 1.
pub fn wave(count: usize, pace: f64) -> Vec<f64> {
    (0..count).map(|i| (i as f64 * pace + 0.3).sin()).collect()
}

/// `Σ a·b`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Trainable elements, from [`START`] on.
pub fn parameters(values: &[f64]) -> Vec<f64> {
    let mut parameters = Reference.parameters(START + values.len()).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = HostTensor { number: NumberType::F64, bytes: &bytes };
    Reference.write_parameters(&mut parameters, START, tensor);
    parameters
}

/// The weight from [`START`] on.
pub fn weight(parameters: &Vec<f64>) -> Weight<'_, Reference> {
    Weight::Trainable { parameters, start: START }
}

/// Uploads sequences `(own tokens, first past token, past tokens)`.
pub fn upload(tokens: &[u32], lengths: &[(usize, usize, usize)]) -> Inputs {
    let mut start = 0;
    let segments: Vec<Segment> = lengths
        .iter()
        .map(|&(len, past_start, past_len)| {
            start += len;
            Segment { start: start - len, len, past_start, past_len }
        })
        .collect();
    let inputs = PassInputs {
        tokens,
        segments: &segments,
        streams: &[],
        noise: &[],
        look_ahead: None,
        past_blocks: None,
    };
    Reference.upload(&inputs).unwrap()
}

/// The gradient of a loss at `x`: central differences of two steps, extrapolated to none, so that
/// the error is of the fourth order.
fn differences(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let difference = |at: usize, step: f64| {
        let moved = |offset: f64| {
            let mut x = x.to_vec();
            x[at] += offset;
            loss(&x)
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    };
    let step = 1e-3;
    let extrapolated = |at| (4.0 * difference(at, step / 2.0) - difference(at, step)) / 3.0;
    (0..x.len()).map(extrapolated).collect()
}

/// Compares a gradient, from which `before` is taken off, with the differences of a loss.
pub fn check(name: &str, found: &[f64], before: &[f64], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
    let mut comparison = Comparison::new(name, Tolerance::absolute(1e-9));
    let expected = differences(x, loss);
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert!(largest > 1e-3, "{name}: the loss does not depend on what is moved");
    assert_eq!(found.len(), before.len(), "{name}");
    let added: Vec<f64> = found.iter().zip(before).map(|(a, b)| a - b).collect();
    comparison.values("gradient", &added, &expected);
    comparison.finish();
}
