//! Embeddings, and the noise on them.

use super::inputs::Inputs;
use crate::Embedding;
use ift_random::uniform;

/// `out[t] = scale · E[token t]`, or a mix of two rows of `E`.
pub(super) fn forward(embedding: Embedding, inputs: &Inputs, table: &[f64], out: &mut [f64]) {
    let Embedding { width, scale, .. } = embedding;
    embedding.check(inputs.embedded());
    let row = |token: u32| &table[token as usize * width..][..width];
    for (t, &token) in inputs.tokens.iter().enumerate() {
        let mixed = inputs.mix.as_ref().and_then(|m| m.selected[t].map(|s| (m.lambda, s)));
        for (c, out) in out[t * width..][..width].iter_mut().enumerate() {
            *out = scale
                * match mixed {
                    Some((lambda, selected)) => {
                        (1.0 - lambda) * row(token)[c] + lambda * row(selected)[c]
                    }
                    None => row(token)[c],
                };
        }
    }
}

/// `d_table[token t] += scale · d_out[t]`.
pub(super) fn backward(embedding: Embedding, inputs: &Inputs, d_out: &[f64], d_table: &mut [f64]) {
    let Embedding { width, scale, .. } = embedding;
    embedding.check(inputs.embedded());
    assert!(inputs.mix.is_none(), "mixed embeddings have no gradient");
    for (&token, d_out) in inputs.tokens.iter().zip(d_out.chunks_exact(width)) {
        for (d, g) in d_table[token as usize * width..][..width].iter_mut().zip(d_out) {
            *d += scale * g;
        }
    }
}

/// `x[t][c] += noise[t]·(2·u - 1)`.
pub(super) fn add_noise(width: usize, part: u64, inputs: &Inputs, x: &mut [f64]) {
    for (t, magnitude) in inputs.noise.iter().enumerate() {
        let stream = inputs.stream(t, part);
        for c in 0..width {
            x[t * width + c] += magnitude * (2.0 * uniform(stream, c as u32) - 1.0);
        }
    }
}
