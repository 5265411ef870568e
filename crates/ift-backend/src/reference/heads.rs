//! Rotary angles, and the split of the fused projection into heads.

use super::buffers::{Reference, elements};
use super::inputs::Inputs;
use super::memory::{Result, collected, copied, filled, size};
use super::norm::{norm_row, norm_row_backward};
use crate::{HeadNormStarts, HeadNorms, Heads, Weight};

/// `[tokens, 2·frequencies]`, cosines then sines.
pub(super) fn rotary(inputs: &Inputs, inverse_frequencies: &[f64]) -> Result<Vec<f64>> {
    let len = size(&[inputs.tokens.len(), 2, inverse_frequencies.len()]);
    let angles = |p: usize| inverse_frequencies.iter().map(move |f| p as f64 * f);
    let rows = inputs.positions();
    let values = rows.flat_map(|p| angles(p).map(f64::cos).chain(angles(p).map(f64::sin)));
    collected("rotary angles", len, values)
}

/// What a head of the projection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Key,
    Value,
}

/// Where a head lies in the row of the projection, and in the row of queries or of keys and values.
#[derive(Clone, Copy)]
struct Place {
    kind: Kind,
    fused: usize,
    split: usize,
}

/// All heads of token `t`.
fn places<'a>(heads: &'a Heads<Reference>, t: usize) -> impl Iterator<Item = Place> + 'a {
    let a = heads.attention;
    (0..a.heads + 2 * a.kv_heads).map(move |h| {
        let fused = t * a.qkv_width() + h * a.head_dim;
        if h < a.heads {
            let split = t * a.q_width() + h * a.head_dim;
            return Place { kind: Kind::Query, fused, split };
        }
        let kind = if h < a.heads + a.kv_heads { Kind::Key } else { Kind::Value };
        Place { kind, fused, split: t * a.kv_width() + (h - a.heads) * a.head_dim }
    })
}

/// Rotates a head by the angles of token `t`, forwards (1) or back (-1).
fn rotate(head: &mut [f64], rotary: Option<&Vec<f64>>, t: usize, direction: f64) {
    let Some(rotary) = rotary else { return };
    let half = head.len() / 2;
    let (cos, sin) = rotary[t * 2 * half..][..2 * half].split_at(half);
    for c in 0..half {
        let (a, b) = (head[c], head[half + c]);
        head[c] = a * cos[c] - direction * b * sin[c];
        head[half + c] = b * cos[c] + direction * a * sin[c];
    }
}

/// The weight of the norm of a head.
fn weight<'a>(norms: &HeadNorms<'a, Reference>, kind: Kind) -> Weight<'a, Reference> {
    if kind == Kind::Query { norms.q } else { norms.k }
}

/// Queries, keys and values out of the fused projection.
pub(super) fn split(heads: &Heads<Reference>, qkv: &[f64], q: &mut [f64], kv: &mut [f64]) {
    let d = heads.attention.head_dim;
    for t in 0..heads.tokens {
        for Place { kind, fused, split } in places(heads, t) {
            let source = &qkv[fused..][..d];
            let target =
                if kind == Kind::Query { &mut q[split..][..d] } else { &mut kv[split..][..d] };
            match &heads.norms {
                Some(norms) if kind != Kind::Value => {
                    norm_row(source, elements(weight(norms, kind)), norms.norm, target);
                }
                _ => target.copy_from_slice(source),
            }
            if kind != Kind::Value {
                rotate(target, heads.rotary, t, 1.0);
            }
        }
    }
}

/// The rotation's transpose, then the norms' backward pass.
pub(super) fn split_backward(
    heads: &Heads<Reference>,
    qkv: Option<&Vec<f64>>,
    d_q: &[f64],
    d_kv: &[f64],
    d_qkv: &mut [f64],
    mut d_norms: Option<(HeadNormStarts, &mut Vec<f64>)>,
) -> Result<()> {
    let d = heads.attention.head_dim;
    for t in 0..heads.tokens {
        for Place { kind, fused, split } in places(heads, t) {
            let source = if kind == Kind::Query { &d_q[split..][..d] } else { &d_kv[split..][..d] };
            let mut gradient = copied("the gradient of a head", source)?;
            if kind != Kind::Value {
                rotate(&mut gradient, heads.rotary, t, -1.0);
                if let Some((norms, qkv)) = heads.norms.as_ref().zip(qkv) {
                    let mut d_x = filled("the gradient of a head", d, 0.0)?;
                    let d_weight = d_norms.as_mut().map(|(starts, gradients)| {
                        let start = if kind == Kind::Query { starts.q } else { starts.k };
                        &mut gradients[start..][..d]
                    });
                    norm_row_backward(
                        &qkv[fused..][..d],
                        elements(weight(norms, kind)),
                        norms.norm,
                        &gradient,
                        &mut d_x,
                        d_weight,
                    )?;
                    gradient = d_x;
                }
            }
            d_qkv[fused..][..d].copy_from_slice(&gradient);
        }
    }
    Ok(())
}
