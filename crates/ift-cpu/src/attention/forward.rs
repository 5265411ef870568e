//! The forward pass: one task for each block of queries of a key-value head.

use super::blocks::{KEYS, Part, QueryBlock, SCRATCH, Sizes, Source, Span, load_rows};
use super::pack::{Packed, Packing};
use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{exp, exp_in_place, max};
use crate::number::Number;
use crate::simd::Simd;
use crate::threads::Shared;
use crate::tile::{PackedProduct, Tiles, multiply_packed};
use crate::words::Plain;
use ift_backend::{BackendError, Segment};

/// Segments of at most this many queries do without packing.
pub(super) const UNPACKED_QUERIES: usize = 2;

/// What every task of a call reads and writes. Segments do not overlap, and no position of `q` and
/// `out` overflows.
pub(super) struct Call<'a, N> {
    pub sizes: Sizes,
    pub source: Source<'a, N>,
    pub q: &'a [N],
    pub out: Shared<'a, N>,
    pub lse: Shared<'a, f32>,
}

/// Packed keys and values.
struct Operands {
    keys: Packed,
    values: Packed,
}

/// Turns the scores of the visible keys into `exp(s - m)` with `m` the largest score so far, all
/// others into zeros. `state` is `[m, Σ exp]`. Returns the factor for what was summed under the old
/// maximum.
#[inline(always)]
fn softmax_row<S: Simd>(scores: &mut [f32], visible: (usize, usize), state: &mut [f32; 2]) -> f32 {
    let (first, last) = visible;
    scores[..first].fill(0.0);
    scores[last..].fill(0.0);
    let scores = &mut scores[first..last];
    if scores.is_empty() {
        return 1.0;
    }
    let [before, sum] = *state;
    let largest = max(scores).max(before);
    let factor = if largest > before { exp::<S>(before - largest) } else { 1.0 };
    *state = [largest, sum * factor + exp_in_place::<S>(scores, largest)];
    factor
}

kernel! {
    /// A block of queries of a group of heads, over all keys that they see.
    fn queries<S: Tiles, N: Number>(
        call: &Call<N>,
        operands: &Operands,
        span: &Span,
        first_query: usize,
        head: usize,
        scratch: &mut Vec<f32>,
    ) {
        let Sizes { attention, group, padded_dim, .. } = call.sizes;
        let count = call.sizes.queries.min(span.segment.len - first_query);
        let (m, padded) = (count * group, call.sizes.padded_rows());
        scratch.resize(scratch.len().max(padded * (2 * padded_dim + KEYS + 2)), 0.0);
        let (q, rest) = scratch.split_at_mut(padded * padded_dim);
        let (out, rest) = rest.split_at_mut(padded * padded_dim);
        let (scores, rest) = rest.split_at_mut(padded * KEYS);
        let states = &mut rest.as_chunks_mut::<2>().0[..m];
        let token = span.segment.start + first_query;
        let block = QueryBlock { first_token: token, queries: count, head };
        load_rows(&call.sizes, call.q, block, attention.scale as f32, q);
        let out = &mut out[..m * padded_dim];
        out.fill(0.0);
        states.fill([f32::NEG_INFINITY, 0.0]);

        let begin = span.visible(&attention, first_query).0 / KEYS * KEYS;
        let end = span.visible(&attention, first_query + count - 1).1;
        for from in (begin..end).step_by(KEYS) {
            let keys = KEYS.min(end - from);
            let columns = keys.next_multiple_of(S::TILE_COLUMNS);
            let key_panels = operands.keys.at(span, head, from);
            assert!(key_panels.len() >= columns * attention.head_dim);
            // SAFETY: `q` has `padded` rows of `padded_dim ≥ head_dim` elements, the packed keys
            // are whole tiles (asserted), and `scores` has `m ≤ padded` rows of `KEYS ≥
            // columns` elements.
            unsafe {
                multiply_packed::<S, Plain>(&PackedProduct {
                    m,
                    n: columns,
                    k: attention.head_dim,
                    a: q.as_ptr(),
                    a_panel: S::TILE_ROWS * padded_dim,
                    a_row: padded_dim,
                    a_step: 1,
                    b: key_panels.as_ptr(),
                    b_panel: S::TILE_COLUMNS * attention.head_dim,
                    b_step: S::TILE_COLUMNS,
                    c: scores.as_mut_ptr(),
                    c_row: KEYS,
                    base: std::ptr::null(),
                    bias: std::ptr::null(),
                });
            }
            let rows = scores
                .chunks_exact_mut(KEYS)
                .zip(out.chunks_exact_mut(padded_dim))
                .zip(states.iter_mut());
            for (r, ((scores, out), state)) in rows.enumerate() {
                let (first, last) = span.visible(&attention, first_query + r / group);
                let visible =
                    (first.clamp(from, from + keys) - from, last.clamp(from, from + keys) - from);
                let factor = softmax_row::<S>(
                    &mut scores[..keys],
                    (visible.0.min(visible.1), visible.1),
                    state,
                );
                if factor != 1.0 {
                    for x in out {
                        *x *= factor;
                    }
                }
            }
            let values = operands.values.at(span, head, from);
            assert!(values.len() >= keys * padded_dim);
            let sums = out.as_mut_ptr();
            // SAFETY: `scores` has `padded` rows of `KEYS ≥ keys` elements, `values` has `keys`
            // rows of `padded_dim` (asserted; a multiple of the tile width), `out` has
            // `m` of them.
            unsafe {
                multiply_packed::<S, Plain>(&PackedProduct {
                    m,
                    n: padded_dim,
                    k: keys,
                    a: scores.as_ptr(),
                    a_panel: S::TILE_ROWS * KEYS,
                    a_row: KEYS,
                    a_step: 1,
                    b: values.as_ptr(),
                    b_panel: S::TILE_COLUMNS,
                    b_step: padded_dim,
                    c: sums,
                    c_row: padded_dim,
                    base: sums,
                    bias: std::ptr::null(),
                });
            }
        }
        let d = attention.head_dim;
        for (i, (out, states)) in
            out.chunks_exact(group * padded_dim).zip(states.chunks_exact(group)).enumerate()
        {
            let at = (token + i) * attention.q_width() + head * group * d;
            let lse_at = (token + i) * attention.heads + head * group;
            // SAFETY: a task has its own tokens and heads.
            let (to, lse) = unsafe {
                (call.out.range(at..at + group * d), call.lse.range(lse_at..lse_at + group))
            };
            let rows = out.chunks_exact(padded_dim).zip(to.chunks_exact_mut(d));
            for ((out, to), ([largest, sum], lse)) in rows.zip(states.iter().zip(lse)) {
                let factor = 1.0 / sum;
                to.iter_mut().zip(out).for_each(|(to, x)| *to = N::round(*x * factor));
                *lse = largest + sum.ln();
            }
        }
    }
}

impl<N: Number> Cpu<N> {
    /// All segments of more than [`UNPACKED_QUERIES`] queries.
    pub(super) fn attend_blocks(
        &self,
        call: &Call<N>,
        segments: &[Segment],
    ) -> Result<(), BackendError> {
        let kv_heads = call.sizes.attention.kv_heads;
        let spans = call.sizes.spans(segments, |segment| segment.len > UNPACKED_QUERIES);
        let pack = |packing| self.pack_heads(&call.sizes, &call.source, &spans, packing);
        let operands = Operands {
            keys: pack(Packing { part: Part::Keys, transposed: true })?,
            values: pack(Packing { part: Part::Values, transposed: false })?,
        };
        let mut blocks: Vec<(&Span, usize)> = spans
            .iter()
            .flat_map(|span| {
                (0..span.segment.len).step_by(call.sizes.queries).map(move |query| (span, query))
            })
            .collect();
        // The longest first, so that no thread is left with one at the end.
        blocks.sort_by_key(|(span, query)| std::cmp::Reverse(span.segment.past_len + query));
        self.threads.each(blocks.len() * kv_heads, |task| {
            let ((span, query), head) = (blocks[task / kv_heads], task % kv_heads);
            SCRATCH.with_borrow_mut(|scratch| {
                queries(self.set, call, &operands, span, query, head, scratch);
            });
        });
        Ok(())
    }
}
