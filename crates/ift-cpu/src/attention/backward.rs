//! The backward pass. With `P` the probabilities, recomputed from the log-sum-exp, and
//! `D = rowsum(dO ⊙ O)`: `dV = Pᵀ·dO`, `dS = P ⊙ (dO·Vᵀ - D)`, `dQ = scale·dS·K`,
//! `dK = scale·dSᵀ·Q`.
//!
//! A task is a chunk of a segment's queries and one key-value head. It owns its part of `dQ`, and
//! sums `dK` and `dV` of the keys it sees in memory of its own. These sums are then added up in the
//! order of segments and chunks: no atomics, no locks, and the same bits every time, also where
//! several segments continue the same past.

use super::blocks::{KEYS, Part, QueryBlock, SCRATCH, Sizes, Source, Span, load_rows};
use super::pack::{Packed, Packing};
use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{dot, exp};
use crate::number::Number;
use crate::scalar::round_all;
use crate::simd::Simd;
use crate::threads::Shared;
use crate::tile::{PackedProduct, Tiles, multiply_packed};
use crate::words::Plain;
use ift_backend::{BackendError, Segment};

/// Chunks that a segment is cut into, at most.
pub(crate) const CHUNKS: usize = 8;

/// Consecutive queries of a segment and the local keys that they see.
struct Chunk<'a> {
    span: &'a Span,
    queries: (usize, usize),
    keys: (usize, usize),
    /// The sum of the key counts of the chunks before.
    before: usize,
}

impl Chunk<'_> {
    fn key_count(&self) -> usize {
        self.keys.1 - self.keys.0
    }

    /// The first row of a head's sums among all, in rows of `padded_dim`: `dK`, then `dV`.
    fn sums_at(&self, kv_heads: usize, head: usize) -> usize {
        2 * (self.before * kv_heads + head * self.key_count())
    }
}

/// What a call reads.
pub(super) struct GradientCall<'a, N> {
    pub sizes: Sizes,
    pub source: Source<'a, N>,
    pub q: &'a [N],
    pub out: &'a [N],
    pub lse: &'a [f32],
    pub d_out: &'a [N],
}

/// Packed keys and values, and where the gradient of the queries goes.
struct Operands<'a, N> {
    keys_transposed: Packed,
    values_transposed: Packed,
    keys: Packed,
    d_q: Shared<'a, N>,
}

/// Matrices of one block of queries: rows of `padded_dim` or of `KEYS` elements.
struct Matrices<'a> {
    q: &'a mut [f32],
    d_out: &'a mut [f32],
    d_q: &'a mut [f32],
    p: &'a mut [f32],
    d_s: &'a mut [f32],
    lse: &'a mut [f32],
    mean: &'a mut [f32],
}

impl<'a> Matrices<'a> {
    fn new(memory: &'a mut Vec<f32>, rows: usize, width: usize, slack: usize) -> Self {
        let need = rows * (3 * width + 2 * KEYS + 2) + 2 * slack;
        memory.resize(memory.len().max(need), 0.0);
        let (q, rest) = memory.split_at_mut(rows * width);
        let (d_out, rest) = rest.split_at_mut(rows * width);
        let (d_q, rest) = rest.split_at_mut(rows * width);
        // A tile of transposed scores may reach over the end of the last row.
        let (p, rest) = rest.split_at_mut(rows * KEYS + slack);
        let (d_s, rest) = rest.split_at_mut(rows * KEYS + slack);
        let (lse, rest) = rest.split_at_mut(rows);
        Self { q, d_out, d_q, p, d_s, lse, mean: &mut rest[..rows] }
    }
}

/// Computes `P` and `dS` of one row: scores become probabilities, `d_p` becomes `P ⊙ (dP - D)`;
/// zeros outside the visible keys.
#[inline(always)]
fn probabilities_row<S: Simd>(
    p: &mut [f32],
    d_p: &mut [f32],
    visible: (usize, usize),
    lse: f32,
    mean: f32,
) {
    let (first, last) = visible;
    for x in [&mut *p, &mut *d_p] {
        x[..first].fill(0.0);
        x[last..].fill(0.0);
    }
    for (p, d_p) in p[first..last].iter_mut().zip(&mut d_p[first..last]) {
        *p = exp::<S>(*p - lse);
        *d_p = *p * (*d_p - mean);
    }
}

kernel! {
    /// `sums`: `dK` then `dV` of the chunk's keys, `[keys, padded_dim]` each.
    fn chunk<S: Tiles, N: Number>(
        call: &GradientCall<N>,
        operands: &Operands<N>,
        chunk: &Chunk,
        head: usize,
        sums: &mut [f32],
        memory: &mut Vec<f32>,
    ) {
        let Sizes { attention, group, padded_dim, queries, .. } = call.sizes;
        let d = attention.head_dim;
        let span = chunk.span;
        sums.fill(0.0);
        let (d_keys, d_values) = sums.split_at_mut(chunk.key_count() * padded_dim);
        let padded = call.sizes.padded_rows();
        let scratch = Matrices::new(memory, padded, padded_dim, S::TILE_ROWS);
        for first_query in (chunk.queries.0..chunk.queries.1).step_by(queries) {
            let count = queries.min(chunk.queries.1 - first_query);
            let m = count * group;
            let token = span.segment.start + first_query;
            let block = QueryBlock { first_token: token, queries: count, head };
            load_rows(&call.sizes, call.q, block, attention.scale as f32, scratch.q);
            load_rows(&call.sizes, call.d_out, block, 1.0, scratch.d_out);
            scratch.d_q[..m * padded_dim].fill(0.0);
            for r in 0..m {
                let (token, h) = (token + r / group, head * group + r % group);
                let at = token * attention.q_width() + h * d;
                scratch.lse[r] = call.lse[token * attention.heads + h];
                scratch.mean[r] = dot::<S, N, N>(&call.out[at..at + d], &call.d_out[at..at + d]);
            }
            let begin = span.visible(&attention, first_query).0 / KEYS * KEYS;
            let end = span.visible(&attention, first_query + count - 1).1;
            for from in (begin..end).step_by(KEYS) {
                let keys = KEYS.min(end - from);
                let columns = keys.next_multiple_of(S::TILE_COLUMNS);
                let rows_by_keys = |a: &[f32], panels: &[f32], c: &mut [f32]| {
                    assert!(panels.len() >= columns * d);
                    // SAFETY: `a` has `padded ≥ m` rows of `padded_dim ≥ d`, the panels are whole
                    // tiles (asserted), `c` has `padded` rows of `KEYS ≥ columns`.
                    unsafe {
                        multiply_packed::<S, Plain>(&PackedProduct {
                            m,
                            n: columns,
                            k: d,
                            a: a.as_ptr(),
                            a_panel: S::TILE_ROWS * padded_dim,
                            a_row: padded_dim,
                            a_step: 1,
                            b: panels.as_ptr(),
                            b_panel: S::TILE_COLUMNS * d,
                            b_step: S::TILE_COLUMNS,
                            c: c.as_mut_ptr(),
                            c_row: KEYS,
                            base: std::ptr::null(),
                            bias: std::ptr::null(),
                        });
                    }
                };
                rows_by_keys(scratch.q, operands.keys_transposed.at(span, head, from), scratch.p);
                rows_by_keys(
                    scratch.d_out,
                    operands.values_transposed.at(span, head, from),
                    scratch.d_s,
                );
                let rows = scratch
                    .p
                    .chunks_exact_mut(KEYS)
                    .zip(scratch.d_s.chunks_exact_mut(KEYS))
                    .take(m);
                for (r, (p, d_s)) in rows.enumerate() {
                    let (first, last) = span.visible(&attention, first_query + r / group);
                    let last = last.clamp(from, from + keys) - from;
                    let first = (first.clamp(from, from + keys) - from).min(last);
                    let (p, d_s) = (&mut p[..keys], &mut d_s[..keys]);
                    probabilities_row::<S>(p, d_s, (first, last), scratch.lse[r], scratch.mean[r]);
                }
                // `sums += scoresᵀ·x` over the rows of the block.
                let keys_by_rows = |scores: &[f32], x: &[f32], sums: &mut [f32]| {
                    let sums = sums[(from - chunk.keys.0) * padded_dim..][..keys * padded_dim]
                        .as_mut_ptr();
                    // SAFETY: column `j` of the scores is row `j` here; whole tiles of them end at
                    // most `TILE_ROWS` elements after the last row, for which `Matrices` has room.
                    // `x` has `m` rows of `padded_dim`, `sums` has `keys`.
                    unsafe {
                        multiply_packed::<S, Plain>(&PackedProduct {
                            m: keys,
                            n: padded_dim,
                            k: m,
                            a: scores.as_ptr(),
                            a_panel: S::TILE_ROWS,
                            a_row: 1,
                            a_step: KEYS,
                            b: x.as_ptr(),
                            b_panel: S::TILE_COLUMNS,
                            b_step: padded_dim,
                            c: sums,
                            c_row: padded_dim,
                            base: sums,
                            bias: std::ptr::null(),
                        });
                    }
                };
                keys_by_rows(scratch.p, scratch.d_out, d_values);
                keys_by_rows(scratch.d_s, scratch.q, d_keys);
                let keys_rows = operands.keys.at(span, head, from);
                assert!(keys_rows.len() >= keys * padded_dim);
                let d_q = scratch.d_q.as_mut_ptr();
                // SAFETY: `d_s` has `padded` rows of `KEYS ≥ keys`, the keys are `keys` rows of
                // `padded_dim` (asserted), `d_q` has `padded ≥ m` of them.
                unsafe {
                    multiply_packed::<S, Plain>(&PackedProduct {
                        m,
                        n: padded_dim,
                        k: keys,
                        a: scratch.d_s.as_ptr(),
                        a_panel: S::TILE_ROWS * KEYS,
                        a_row: KEYS,
                        a_step: 1,
                        b: keys_rows.as_ptr(),
                        b_panel: S::TILE_COLUMNS,
                        b_step: padded_dim,
                        c: d_q,
                        c_row: padded_dim,
                        base: d_q,
                        bias: std::ptr::null(),
                    });
                }
            }
            for (i, d_q) in scratch.d_q.chunks_exact(group * padded_dim).enumerate().take(count) {
                let at = (token + i) * attention.q_width() + head * group * d;
                // SAFETY: a task has its own tokens and heads.
                let to = unsafe { operands.d_q.range(at..at + group * d) };
                for (to, d_q) in to.chunks_exact_mut(d).zip(d_q.chunks_exact(padded_dim)) {
                    to.iter_mut()
                        .zip(d_q)
                        .for_each(|(to, x)| *to = N::round(attention.scale as f32 * *x));
                }
            }
        }
    }
}

fn chunks<'a>(sizes: &Sizes, spans: &'a [Span]) -> Vec<Chunk<'a>> {
    let mut before = 0;
    let mut chunks = Vec::new();
    for span in spans {
        let length = span.segment.len.div_ceil(CHUNKS).next_multiple_of(sizes.queries);
        for first in (0..span.segment.len).step_by(length) {
            let queries = (first, span.segment.len.min(first + length));
            let begin = span.visible(&sizes.attention, queries.0).0 / KEYS * KEYS;
            let keys = (begin, span.visible(&sizes.attention, queries.1 - 1).1);
            chunks.push(Chunk { span, queries, keys, before });
            before += keys.1 - keys.0;
        }
    }
    chunks
}

impl<N: Number> Cpu<N> {
    pub(super) fn attention_gradients(
        &self,
        call: &GradientCall<N>,
        segments: &[Segment],
        d_q: &mut [N],
        d_kv: &mut [N],
        d_past: Option<&mut [f32]>,
    ) -> Result<(), BackendError> {
        let sizes = &call.sizes;
        let spans = sizes.spans(segments, |segment| segment.len > 0);
        let pack = |part, transposed| {
            self.pack_heads(sizes, &call.source, &spans, Packing { part, transposed })
        };
        let operands = Operands {
            keys_transposed: pack(Part::Keys, true)?,
            values_transposed: pack(Part::Values, true)?,
            keys: pack(Part::Keys, false)?,
            d_q: Shared::new(d_q),
        };
        let chunks = chunks(sizes, &spans);
        let (kv_heads, width) = (sizes.attention.kv_heads, sizes.padded_dim);
        let total = chunks.last().map_or(0, |c| c.before + c.key_count());
        let len = (2 * total).saturating_mul(kv_heads).saturating_mul(width);
        let mut sums = self.arena.take::<f32>("gradients of keys and values", len)?;
        let shared = Shared::new(&mut sums);
        let mut order: Vec<&Chunk> = chunks.iter().collect();
        // The longest first, so that no thread is left with one at the end.
        order.sort_by_key(|c| std::cmp::Reverse((c.queries.1 - c.queries.0) * c.key_count()));
        self.threads.each(order.len() * kv_heads, |task| {
            let (own, head) = (order[task / kv_heads], task % kv_heads);
            let at = own.sums_at(kv_heads, head) * width;
            // SAFETY: every chunk and head has its own sums.
            let sums = unsafe { shared.range(at..at + 2 * own.key_count() * width) };
            SCRATCH.with_borrow_mut(|memory| {
                chunk(self.set, call, &operands, own, head, sums, memory);
            });
        });
        self.add_own(sizes, &chunks, &sums, d_kv);
        if let Some(d_past) = d_past {
            self.add_past(sizes, &chunks, &sums, d_past);
        }
        Ok(())
    }

    /// Sets the gradients of the segments' own keys and values.
    fn add_own(&self, sizes: &Sizes, chunks: &[Chunk], sums: &[f32], d_kv: &mut [N]) {
        let (attention, width) = (sizes.attention, sizes.padded_dim);
        let (d, kv_heads) = (attention.head_dim, attention.kv_heads);
        let d_kv = Shared::new(d_kv);
        let spans: Vec<&[Chunk]> = chunks.chunk_by(|a, b| std::ptr::eq(a.span, b.span)).collect();
        self.threads.each(spans.len() * 2 * kv_heads, |task| {
            let (chunks, slot) = (spans[task / (2 * kv_heads)], task % (2 * kv_heads));
            let (part, head) = (slot / kv_heads, slot % kv_heads);
            let span = chunks[0].span;
            let mut total = vec![0.0; d];
            for t in 0..span.segment.len {
                let key = span.segment.past_len + t - span.first;
                let at = (span.segment.start + t) * attention.kv_width() + slot * d;
                // SAFETY: a task has its own tokens and columns.
                let to = unsafe { d_kv.range(at..at + d) };
                total.fill(0.0);
                for chunk in chunks.iter().filter(|c| (c.keys.0..c.keys.1).contains(&key)) {
                    let row = chunk.sums_at(kv_heads, head) + part * chunk.key_count() + key
                        - chunk.keys.0;
                    total.iter_mut().zip(&sums[row * width..][..d]).for_each(|(to, x)| *to += x);
                }
                round_all(&total, to);
            }
        });
    }

    /// Adds to the gradients of the past's keys and values. One task sums those of a head, however
    /// many segments continue the past.
    fn add_past(&self, sizes: &Sizes, chunks: &[Chunk], sums: &[f32], d_past: &mut [f32]) {
        let (attention, width) = (sizes.attention, sizes.padded_dim);
        let (d, kv_heads) = (attention.head_dim, attention.kv_heads);
        let end = |chunk: &Chunk| {
            let Segment { past_start, past_len, .. } = chunk.span.segment;
            if past_len == 0 { 0 } else { past_start.saturating_add(past_len) }
        };
        let tokens = chunks.iter().map(end).max().unwrap_or(0);
        // A product that overflows is more than any buffer holds; from here on none does.
        let d_past = Shared::new(&mut d_past[..tokens.saturating_mul(attention.kv_width())]);
        self.threads.each(2 * kv_heads, |slot| {
            let (part, head) = (slot / kv_heads, slot % kv_heads);
            for chunk in chunks {
                let span = chunk.span;
                let first_row = chunk.sums_at(kv_heads, head) + part * chunk.key_count();
                for key in
                    chunk.keys.0..chunk.keys.1.min(span.segment.past_len.saturating_sub(span.first))
                {
                    let token = span.segment.past_start + span.first + key;
                    let at = token * attention.kv_width() + slot * d;
                    // SAFETY: a task has its own columns.
                    let to = unsafe { d_past.range(at..at + d) };
                    let row = first_row + key - chunk.keys.0;
                    to.iter_mut().zip(&sums[row * width..][..d]).for_each(|(to, x)| *to += x);
                }
            }
        });
    }
}
