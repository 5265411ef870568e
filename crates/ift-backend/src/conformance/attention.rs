//! Attention: pasts, shared pasts, pasts in blocks, windows, grouped heads, sequences of any
//! length.

use super::fixture::{Fixture, Result, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Attention, AttentionSaved, Backend, PassInputs, PastBlocks, Segment};

/// A sequence: own tokens, first past token, past tokens.
type Length = (usize, usize, usize);

/// Attention, forward and backward.
#[derive(Debug)]
pub(super) struct AttentionCase {
    attention: Attention,
    lengths: &'static [Length],
}

/// A past cut into blocks that lie in another order in a cache.
struct Blocks {
    segments: Vec<Segment>,
    size: usize,
    table: Vec<u32>,
    /// Rows of the cache. Rows that belong to no token are NaN, as memory may be that was never
    /// written.
    rows: Vec<f64>,
}

impl Blocks {
    fn of(segments: &[Segment], past: &[f64], width: usize, size: usize) -> Self {
        let counts = segments.iter().map(|s| s.past_len.div_ceil(size));
        let count: usize = counts.clone().sum();
        // Every block once, backwards, and two that are not used.
        let table: Vec<u32> = (0..count).map(|i| (count - i) as u32).collect();
        let mut rows = vec![f64::NAN; (count + 2) * size * width];
        let mut first = 0;
        let mut moved = Vec::new();
        for (segment, count) in segments.iter().zip(counts) {
            for position in 0..segment.past_len {
                let from = (segment.past_start + position) * width;
                let to = PastBlocks { size, table: &table }.row(first, position) * width;
                rows[to..to + width].copy_from_slice(&past[from..from + width]);
            }
            moved.push(Segment { past_start: first, ..*segment });
            first += count;
        }
        Self { segments: moved, size, table, rows }
    }
}

impl Operation for AttentionCase {
    fn tolerance(&self) -> CaseTolerance {
        // The output is stored, and its error is multiplied by large queries in the backward pass.
        CaseTolerance { of_largest: 1e-5, stored: 2.0 }
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, attention) = (f.backend, &self.attention);
        let segments = segments(self.lengths);
        let n: usize = segments.iter().map(|segment| segment.len).sum();
        let past_tokens = self.lengths.iter().map(|&(_, start, len)| start + len).max();
        let past_size = past_tokens.unwrap_or(0) * attention.kv_width();
        let (q_size, kv_size) = (n * attention.q_width(), n * attention.kv_width());
        let lse_size = n * attention.heads;
        let ids = tokens(10, n, 37);
        let pass = PassInputs {
            tokens: &ids,
            segments: &segments,
            streams: &[],
            noise: &[],
            look_ahead: None,
            past_blocks: None,
        };
        let inputs = b.upload(&pass)?;
        // Large enough queries that the probabilities are far from uniform.
        let q = b.activation_from(&f.scaled(1, q_size, 8.0))?;
        let kv = f.activation(2, kv_size)?;
        let past_values = f.values(3, past_size);
        let past = b.activation_from(&past_values)?;
        let given = (past_size > 0).then_some(&past);
        let mut out = f.activation(4, q_size + 1)?;
        let mut lse = f.accumulator(5, lse_size + 1)?;
        b.attention(attention, &inputs, &q, &kv, given, &mut out, &mut lse)?;
        let mut results = Results::default();
        results.near("out", f.read(&out, q_size + 1));
        results.near("lse", f.read_accumulator(&lse, lse_size + 1));

        let saved = AttentionSaved { q: &q, kv: &kv, past: given, out: &out, lse: &lse };
        let d_out = f.activation(6, q_size)?;
        let mut d_q = f.activation(7, q_size + 1)?;
        let mut d_kv = f.activation(8, kv_size + 1)?;
        let mut d_past = f.accumulator(9, past_size)?;
        let wanted = (past_size > 0).then_some(&mut d_past);
        b.attention_backward(attention, &inputs, saved, &d_out, &mut d_q, &mut d_kv, wanted)?;
        results.near("d_q", f.read(&d_q, q_size + 1));
        results.near("d_kv", f.read(&d_kv, kv_size + 1));
        results.near("d_past", f.read_accumulator(&d_past, past_size));

        if past_size > 0 {
            for size in [1, 4, 64] {
                let blocks = Blocks::of(&segments, &past_values, attention.kv_width(), size);
                let past_blocks = Some(PastBlocks { size: blocks.size, table: &blocks.table });
                let inputs = PassInputs { segments: &blocks.segments, past_blocks, ..pass };
                let inputs = b.upload(&inputs)?;
                let past = b.activation_from(&blocks.rows)?;
                let mut out = f.activation(4, q_size + 1)?;
                let mut lse = f.accumulator(5, lse_size + 1)?;
                b.attention(attention, &inputs, &q, &kv, Some(&past), &mut out, &mut lse)?;
                results.near(format!("out, blocks of {size}"), f.read(&out, q_size + 1));
                let lse = f.read_accumulator(&lse, lse_size + 1);
                results.near(format!("lse, blocks of {size}"), lse);
            }
        }
        Ok(results)
    }
}

/// Concatenated sequences.
fn segments(lengths: &[Length]) -> Vec<Segment> {
    let mut start = 0;
    let segment = |&(len, past_start, past_len): &Length| {
        let segment = Segment { start, len, past_start, past_len };
        start += len;
        segment
    };
    lengths.iter().map(segment).collect()
}

const LENGTHS: [&[Length]; 8] = [
    &[],
    &[(0, 0, 0)],
    &[(1, 0, 0)],
    &[(7, 0, 0), (0, 0, 0), (33, 0, 0), (2, 0, 0), (1, 0, 0)],
    &[(130, 0, 0), (65, 0, 0)],
    // One past each; two that share one; one that continues a part of another's.
    &[(5, 0, 70), (64, 70, 1), (1, 71, 200)],
    &[(40, 3, 129), (1, 3, 129), (2, 3, 129), (0, 3, 129), (97, 3, 129), (20, 60, 72), (9, 0, 0)],
    &[(300, 0, 100), (3, 0, 100)],
];

pub(super) fn cases() -> Vec<AttentionCase> {
    let attention = |heads, kv_heads, head_dim: usize, window| Attention {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f64).sqrt(),
        window,
    };
    let mut cases = Vec::new();
    for lengths in LENGTHS {
        for (heads, kv_heads, head_dim) in
            [(1, 1, 2), (3, 1, 24), (8, 1, 16), (4, 4, 64), (6, 2, 96), (3, 3, 128)]
        {
            let attention = attention(heads, kv_heads, head_dim, None);
            cases.push(AttentionCase { attention, lengths });
        }
        for window in [1, 2, 17, 64, 100, 5000] {
            let attention = attention(3, 1, 24, Some(window));
            cases.push(AttentionCase { attention, lengths });
        }
    }
    // Many heads that share keys; sequences in several chunks; a large head.
    for (attention, lengths) in [
        (attention(70, 1, 8, None), &[(31, 0, 40), (1, 0, 40)][..]),
        (attention(3, 1, 16, None), &[(1025, 0, 0)]),
        (attention(2, 2, 16, Some(200)), &[(700, 0, 333), (500, 0, 333)]),
        (attention(2, 1, 256, None), &[(70, 0, 70)]),
    ] {
        cases.push(AttentionCase { attention, lengths });
    }
    cases
}
