//! Attention, as the formulas read.

use super::buffers::Reference;
use super::inputs::Inputs;
use super::memory::{Result, collected, filled};
use crate::{Attention, AttentionSaved, Segment};

/// A part of a row of keys and values.
const KEY: usize = 0;
const VALUE: usize = 1;

/// The keys and values that a segment sees: its past, then its own.
#[derive(Clone, Copy)]
struct Keys<'a> {
    attention: &'a Attention,
    inputs: &'a Inputs,
    segment: Segment,
    past: &'a [f64],
    own: &'a [f64],
}

impl Keys<'_> {
    /// Whether position `j` lies in the past, and where there (or among the segment's own tokens)
    /// its key or value begins.
    fn place(&self, j: usize, part: usize, head: usize) -> (bool, usize) {
        let Segment { start, past_len, .. } = self.segment;
        let in_past = j < past_len;
        let row =
            if in_past { self.inputs.past_row(&self.segment, j) } else { start + j - past_len };
        let Attention { kv_heads, head_dim, .. } = *self.attention;
        (in_past, row * self.attention.kv_width() + (part * kv_heads + head) * head_dim)
    }

    fn get(&self, j: usize, part: usize, head: usize) -> &[f64] {
        let (in_past, at) = self.place(j, part, head);
        let buffer = if in_past { self.past } else { self.own };
        &buffer[at..][..self.attention.head_dim]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `out = softmax(scale · q·Kᵀ)·V` over the visible keys; `lse` is the log of the softmax's
/// denominator.
pub(super) fn forward(
    attention: &Attention,
    inputs: &Inputs,
    q: &[f64],
    kv: &[f64],
    past: Option<&Vec<f64>>,
    out: &mut [f64],
    lse: &mut [f64],
) -> Result<()> {
    let Attention { heads, kv_heads, head_dim: d, scale, .. } = *attention;
    let past = past.map_or(&[][..], Vec::as_slice);
    for &segment in &inputs.segments {
        let keys = Keys { attention, inputs, segment, past, own: kv };
        for i in 0..segment.len {
            for h in 0..heads {
                let kv_head = h / (heads / kv_heads);
                let at = (segment.start + i) * attention.q_width() + h * d;
                let query = &q[at..at + d];
                let visible = attention.visible(segment.past_len + i);
                let scores = visible.clone().map(|j| scale * dot(query, keys.get(j, KEY, kv_head)));
                let scores = collected("the scores of a query", visible.len(), scores)?;
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                lse[(segment.start + i) * heads + h] = max + sum.ln();
                let out = &mut out[at..at + d];
                out.fill(0.0);
                for (j, score) in visible.zip(&scores) {
                    let p = (score - max).exp() / sum;
                    for (o, v) in out.iter_mut().zip(keys.get(j, VALUE, kv_head)) {
                        *o += p * v;
                    }
                }
            }
        }
    }
    Ok(())
}

/// With `P` the probabilities: `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = P ⊙ (dP - rowsum(dO ⊙ O))`,
/// `dQ = scale·dS·K`, `dK = scale·dSᵀ·Q`.
pub(super) fn backward(
    attention: &Attention,
    inputs: &Inputs,
    saved: AttentionSaved<Reference>,
    d_out: &[f64],
    d_q: &mut [f64],
    d_kv: &mut [f64],
    mut d_past: Option<&mut Vec<f64>>,
) -> Result<()> {
    assert!(!inputs.has_past_blocks(), "a past in blocks has no gradient");
    let AttentionSaved { q, kv, past, out, lse } = saved;
    let Attention { heads, kv_heads, head_dim: d, scale, .. } = *attention;
    let past = past.map_or(&[][..], Vec::as_slice);
    for &segment in &inputs.segments {
        let width = attention.kv_width();
        d_kv[segment.start * width..][..segment.len * width].fill(0.0);
        let keys = Keys { attention, inputs, segment, past, own: kv };
        for i in 0..segment.len {
            for h in 0..heads {
                let kv_head = h / (heads / kv_heads);
                let at = (segment.start + i) * attention.q_width() + h * d;
                let (query, d_o) = (&q[at..at + d], &d_out[at..at + d]);
                let lse = lse[(segment.start + i) * heads + h];
                let mean = dot(d_o, &out[at..at + d]);
                let mut d_query = filled("the gradient of a query", d, 0.0)?;
                for j in attention.visible(segment.past_len + i) {
                    let (key, value) = (keys.get(j, KEY, kv_head), keys.get(j, VALUE, kv_head));
                    let p = (scale * dot(query, key) - lse).exp();
                    let d_s = scale * p * (dot(d_o, value) - mean);
                    for c in 0..d {
                        d_query[c] += d_s * key[c];
                    }
                    for (part, factor, source) in [(KEY, d_s, query), (VALUE, p, d_o)] {
                        let (in_past, at) = keys.place(j, part, kv_head);
                        let target = match &mut d_past {
                            Some(d_past) if in_past => d_past.as_mut_slice(),
                            // Nobody asks for the gradient of this past.
                            None if in_past => continue,
                            _ => &mut *d_kv,
                        };
                        for c in 0..d {
                            target[at + c] += factor * source[c];
                        }
                    }
                }
                d_q[at..at + d].copy_from_slice(&d_query);
            }
        }
    }
    Ok(())
}
