//! Dropout.

use super::inputs::Inputs;
use crate::Dropout;
use ift_random::uniform;

/// 0 where a draw is below the rate, else `x / (1 - rate)`.
pub(super) fn dropout(dropout: Dropout, inputs: &Inputs, x: &[f64], out: &mut [f64]) {
    let Dropout { width, rate, part } = dropout;
    for t in 0..inputs.tokens.len() {
        let stream = inputs.stream(t, part);
        for c in 0..width {
            let keeps = uniform(stream, c as u32) >= rate;
            out[t * width + c] = if keeps { x[t * width + c] / (1.0 - rate) } else { 0.0 };
        }
    }
}
