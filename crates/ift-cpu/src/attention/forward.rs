//! The forward pass: one task for each block of queries of a key-value head.

use super::{KEYS, Packed, SCRATCH, Sizes, Source, Span, load_rows};
use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{exp, exp_in_place, max};
use crate::number::Number;
use crate::simd::Simd;
use crate::threads::Shared;
use crate::tile::{Block, Plain, run_block};
use ift_backend::{AttentionRow, AttentionShape};

/// Rows of at most this many queries do without packing.
const FEW: usize = 2;

/// What every task reads and writes.
struct Job<'a, N> {
    sizes: Sizes,
    q: &'a [N],
    keys: &'a Packed,
    values: &'a Packed,
    out: Shared<'a, N>,
    lse: Shared<'a, f32>,
}

/// Turns the scores of the visible keys into `exp(s - m)` with `m` the largest score so far, the
/// others into zeros. `state` is `[m, Σ exp]`. Returns the factor for everything that was summed
/// under the old maximum.
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
    fn queries<S, N: Number>(job: &Job<N>, span: &Span, head: usize, first_query: usize, scratch: &mut Vec<f32>) {
        let Sizes { shape, group, padded_dim, .. } = job.sizes;
        let count = job.sizes.queries.min(span.row.len - first_query);
        let (m, padded) = (count * group, job.sizes.padded_rows());
        scratch.resize(scratch.len().max(padded * (2 * padded_dim + KEYS + 2)), 0.0);
        let (q, rest) = scratch.split_at_mut(padded * padded_dim);
        let (out, rest) = rest.split_at_mut(padded * padded_dim);
        let (scores, rest) = rest.split_at_mut(padded * KEYS);
        let states = &mut rest.as_chunks_mut::<2>().0[..m];
        let token = span.row.start + first_query;
        load_rows::<N>(&job.sizes, job.q, token, count, head, shape.scale as f32, q);
        let out = &mut out[..m * padded_dim];
        out.fill(0.0);
        states.fill([f32::NEG_INFINITY, 0.0]);

        let begin = span.visible(&shape, first_query).0 / KEYS * KEYS;
        let end = span.visible(&shape, first_query + count - 1).1;
        for from in (begin..end).step_by(KEYS) {
            let keys = KEYS.min(end - from);
            let columns = keys.next_multiple_of(S::TILE_COLUMNS);
            let key_panels = job.keys.at(span, head, from);
            assert!(key_panels.len() >= columns * shape.head_dim);
            // SAFETY: `q` has `padded` rows of `padded_dim ≥ head_dim` numbers, the packed keys reach over whole tiles
            // (asserted), and `scores` has `m ≤ padded` rows of `KEYS ≥ columns` numbers.
            unsafe {
                run_block::<S, Plain>(&Block {
                    m,
                    n: columns,
                    k: shape.head_dim,
                    a: q.as_ptr(),
                    a_panel: S::TILE_ROWS * padded_dim,
                    a_row: padded_dim,
                    a_step: 1,
                    b: key_panels.as_ptr(),
                    b_panel: S::TILE_COLUMNS * shape.head_dim,
                    b_step: S::TILE_COLUMNS,
                    c: scores.as_mut_ptr(),
                    c_row: KEYS,
                    base: std::ptr::null(),
                    bias: std::ptr::null(),
                });
            }
            let rows = scores.chunks_exact_mut(KEYS).zip(out.chunks_exact_mut(padded_dim)).zip(states.iter_mut());
            for (r, ((scores, out), state)) in rows.enumerate() {
                let (first, last) = span.visible(&shape, first_query + r / group);
                let visible = (first.clamp(from, from + keys) - from, last.clamp(from, from + keys) - from);
                let factor = softmax_row::<S>(&mut scores[..keys], (visible.0.min(visible.1), visible.1), state);
                if factor != 1.0 {
                    for x in out {
                        *x *= factor;
                    }
                }
            }
            let values = job.values.at(span, head, from);
            assert!(values.len() >= keys * padded_dim);
            let sums = out.as_mut_ptr();
            // SAFETY: `scores` has `padded` rows of `KEYS ≥ keys` numbers, `values` `keys` rows of `padded_dim` (asserted;
            // a multiple of the tile width), `out` `m` of them.
            unsafe {
                run_block::<S, Plain>(&Block {
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
        let d = shape.head_dim;
        for (i, (out, states)) in out.chunks_exact(group * padded_dim).zip(states.chunks_exact(group)).enumerate() {
            let at = (token + i) * shape.q_width() + head * group * d;
            let lse_at = (token + i) * shape.heads + head * group;
            // SAFETY: a task has its own tokens and heads.
            let (to, lse) = unsafe {
                (job.out.range(at..at + group * d), job.lse.range(lse_at..lse_at + group))
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
    pub(crate) fn attend(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &[N],
        kv: &[N],
        past: &[N],
        out: &mut [N],
        lse: &mut [f32],
    ) {
        let sizes = self.attention_sizes(shape);
        let source = Source { shape: *shape, past, own: kv };
        let (out, lse) = (Shared::new(out), Shared::new(lse));
        let few: Vec<&AttentionRow> = rows.iter().filter(|r| (1..=FEW).contains(&r.len)).collect();
        self.threads.each(few.len() * shape.kv_heads, |task| {
            let (row, head) = (few[task / shape.kv_heads], task % shape.kv_heads);
            SCRATCH.with_borrow_mut(|scratch| {
                super::few::queries(self.set, &sizes, &source, row, head, q, &out, &lse, scratch);
            });
        });

        let spans = Self::spans(&sizes, rows, |row| row.len > FEW);
        let keys = self.pack_heads(&sizes, &source, &spans, 0, true);
        let values = self.pack_heads(&sizes, &source, &spans, 1, false);
        let job = Job { sizes, q, keys: &keys, values: &values, out, lse };
        let mut blocks: Vec<(&Span, usize)> = spans
            .iter()
            .flat_map(|span| {
                (0..span.row.len).step_by(sizes.queries).map(move |query| (span, query))
            })
            .collect();
        // The longest first, so that no thread is left with one at the end.
        blocks.sort_by_key(|(span, query)| std::cmp::Reverse(span.row.past_len + query));
        self.threads.each(blocks.len() * shape.kv_heads, |task| {
            let ((span, query), head) = (blocks[task / shape.kv_heads], task % shape.kv_heads);
            SCRATCH.with_borrow_mut(|scratch| queries(self.set, &job, span, head, query, scratch));
        });
    }
}
