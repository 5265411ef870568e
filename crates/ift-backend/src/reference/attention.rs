//! Attention and the split into heads, as the formulas read.

use super::norm::{norm_row, norm_row_backward};
use crate::{AttentionRow, AttentionShape, Norm};

/// The keys and values one row sees: its past, then its own.
#[derive(Clone, Copy)]
struct Keys<'a> {
    row: AttentionRow,
    shape: AttentionShape,
    past: &'a [f64],
    own: &'a [f64],
}

/// Where a number of a key (`part` 0) or value (1) of absolute position `j` lies.
fn kv_index(
    shape: &AttentionShape,
    row: &AttentionRow,
    j: usize,
    part: usize,
    head: usize,
) -> (bool, usize) {
    let (in_past, token) = if j < row.past_len {
        (true, row.past_start + j)
    } else {
        (false, row.start + j - row.past_len)
    };
    (in_past, token * shape.kv_width() + (part * shape.kv_heads + head) * shape.head_dim)
}

impl Keys<'_> {
    fn get(&self, j: usize, part: usize, head: usize) -> &[f64] {
        let (in_past, at) = kv_index(&self.shape, &self.row, j, part, head);
        let buffer = if in_past { self.past } else { self.own };
        &buffer[at..at + self.shape.head_dim]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `out = softmax(scale · q·Kᵀ)·V` over the visible keys; `lse` is the log of the softmax's
/// denominator.
pub(super) fn forward(
    shape: &AttentionShape,
    rows: &[AttentionRow],
    q: &[f64],
    kv: &[f64],
    past: &[f64],
    out: &mut [f64],
    lse: &mut [f64],
) {
    let d = shape.head_dim;
    for &row in rows {
        let keys = Keys { row, shape: *shape, past, own: kv };
        for i in 0..row.len {
            for h in 0..shape.heads {
                let kv_head = h / (shape.heads / shape.kv_heads);
                let at = (row.start + i) * shape.q_width() + h * d;
                let query = &q[at..at + d];
                let visible = shape.visible(row.past_len + i);
                let scores: Vec<f64> = visible
                    .clone()
                    .map(|j| shape.scale * dot(query, keys.get(j, 0, kv_head)))
                    .collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                lse[(row.start + i) * shape.heads + h] = max + sum.ln();
                let out = &mut out[at..at + d];
                out.fill(0.0);
                for (j, score) in visible.zip(&scores) {
                    let p = (score - max).exp() / sum;
                    for (o, v) in out.iter_mut().zip(keys.get(j, 1, kv_head)) {
                        *o += p * v;
                    }
                }
            }
        }
    }
}

/// With `P` the probabilities: `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = P ⊙ (dP - rowsum(dO ⊙ O))`, `dQ =
/// scale·dS·K`, `dK = scale·dSᵀ·Q`.
pub(super) fn backward(
    shape: &AttentionShape,
    rows: &[AttentionRow],
    q: &[f64],
    kv: &[f64],
    past: &[f64],
    out: &[f64],
    lse: &[f64],
    d_out: &[f64],
    d_q: &mut [f64],
    d_kv: &mut [f64],
    d_past: &mut [f64],
) {
    let d = shape.head_dim;
    for &row in rows {
        let own = row.start * shape.kv_width()..(row.start + row.len) * shape.kv_width();
        d_kv[own].fill(0.0);
        let keys = Keys { row, shape: *shape, past, own: kv };
        for i in 0..row.len {
            for h in 0..shape.heads {
                let kv_head = h / (shape.heads / shape.kv_heads);
                let at = (row.start + i) * shape.q_width() + h * d;
                let (query, d_o) = (&q[at..at + d], &d_out[at..at + d]);
                let lse = lse[(row.start + i) * shape.heads + h];
                let mean = dot(d_o, &out[at..at + d]);
                let mut d_query = vec![0.0; d];
                for j in shape.visible(row.past_len + i) {
                    let (key, value) = (keys.get(j, 0, kv_head), keys.get(j, 1, kv_head));
                    let p = (shape.scale * dot(query, key) - lse).exp();
                    let d_s = shape.scale * p * (dot(d_o, value) - mean);
                    for c in 0..d {
                        d_query[c] += d_s * key[c];
                    }
                    for (part, factor, source) in [(0, d_s, query), (1, p, d_o)] {
                        let (in_past, at) = kv_index(shape, &row, j, part, kv_head);
                        let target = if in_past { &mut *d_past } else { &mut *d_kv };
                        for c in 0..d {
                            target[at + c] += factor * source[c];
                        }
                    }
                }
                d_q[at..at + d].copy_from_slice(&d_query);
            }
        }
    }
}

/// The weights of the per-head norms.
pub(super) struct HeadWeights<'a> {
    pub q: &'a [f64],
    pub k: &'a [f64],
    pub norm: Norm,
}

fn rotate(head: &mut [f64], cos: &[f64], sin: &[f64], direction: f64) {
    let half = head.len() / 2;
    for c in 0..half {
        let (a, b) = (head[c], head[half + c]);
        head[c] = a * cos[c] - direction * b * sin[c];
        head[half + c] = b * cos[c] + direction * a * sin[c];
    }
}

/// Queries, keys and values out of the fused projection.
pub(super) fn split_heads(
    n: usize,
    shape: &AttentionShape,
    qkv: &[f64],
    rotary: &[f64],
    norms: Option<&HeadWeights>,
    q: &mut [f64],
    kv: &mut [f64],
) {
    let d = shape.head_dim;
    for t in 0..n {
        let (cos, sin) = rotary[t * d..(t + 1) * d].split_at(d / 2);
        for h in 0..shape.heads + 2 * shape.kv_heads {
            let at = t * shape.qkv_width() + h * d;
            let source = &qkv[at..at + d];
            let target = if h < shape.heads {
                &mut q[t * shape.q_width() + h * d..][..d]
            } else {
                &mut kv[t * shape.kv_width() + (h - shape.heads) * d..][..d]
            };
            if h >= shape.heads + shape.kv_heads {
                target.copy_from_slice(source);
                continue;
            }
            match norms {
                Some(w) => {
                    norm_row(source, if h < shape.heads { w.q } else { w.k }, w.norm, target)
                }
                None => target.copy_from_slice(source),
            }
            rotate(target, cos, sin, 1.0);
        }
    }
}

/// Backward of [`split_heads`]: the rotation's transpose, then the norms' backward.
pub(super) fn split_heads_backward(
    n: usize,
    shape: &AttentionShape,
    qkv: &[f64],
    rotary: &[f64],
    norms: Option<&HeadWeights>,
    d_q: &[f64],
    d_kv: &[f64],
    d_qkv: &mut [f64],
    mut d_norms: Option<(&mut [f64], &mut [f64])>,
) {
    let d = shape.head_dim;
    for t in 0..n {
        let (cos, sin) = rotary[t * d..(t + 1) * d].split_at(d / 2);
        for h in 0..shape.heads + 2 * shape.kv_heads {
            let is_query = h < shape.heads;
            let mut gradient = if is_query {
                d_q[t * shape.q_width() + h * d..][..d].to_vec()
            } else {
                d_kv[t * shape.kv_width() + (h - shape.heads) * d..][..d].to_vec()
            };
            let at = t * shape.qkv_width() + h * d;
            if h < shape.heads + shape.kv_heads {
                rotate(&mut gradient, cos, sin, -1.0);
                if let Some(w) = norms {
                    let mut d_x = vec![0.0; d];
                    let weight = if is_query { w.q } else { w.k };
                    let d_weight =
                        d_norms.as_mut().map(|(q, k)| if is_query { &mut **q } else { &mut **k });
                    norm_row_backward(
                        &qkv[at..at + d],
                        weight,
                        w.norm,
                        &gradient,
                        &mut d_x,
                        d_weight,
                    );
                    gradient = d_x;
                }
            }
            d_qkv[at..at + d].copy_from_slice(&gradient);
        }
    }
}
