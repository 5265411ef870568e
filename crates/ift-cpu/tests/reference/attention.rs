//! Attention: pasts, shared pasts, windows, grouped heads, rows of any length.

use super::{Case, accumulator, activation, numbers, read, read_accumulator};
use ift_backend::{AttentionRow, AttentionShape, Backend, Past};

struct Attention {
    shape: AttentionShape,
    rows: Vec<AttentionRow>,
    past_tokens: usize,
}

impl Case for Attention {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { shape, rows, past_tokens } = self;
        let n: usize = rows.iter().map(|row| row.len).sum();
        let (q_size, kv_size) = (n * shape.q_width(), n * shape.kv_width());
        let past_size = past_tokens * shape.kv_width();
        // Large enough queries that the probabilities are far from uniform.
        let q = b.activation_from(&numbers(1, q_size).iter().map(|x| 8.0 * x).collect::<Vec<_>>());
        let kv = activation(b, 2, kv_size);
        let past = activation(b, 3, past_size);
        let given = || (*past_tokens > 0).then_some(Past { kv: &past });
        let (mut out, mut lse) =
            (activation(b, 4, q_size + 1), accumulator(b, 5, n * shape.heads + 1));
        b.attention(shape, rows, &q, &kv, given(), &mut out, &mut lse);
        let d_out = activation(b, 6, q_size);
        let (mut d_q, mut d_kv) = (activation(b, 7, q_size + 1), activation(b, 8, kv_size + 1));
        let mut d_past = accumulator(b, 9, past_size);
        let d_past_wanted = (*past_tokens > 0).then_some(&mut d_past);
        b.attention_backward(
            shape,
            rows,
            &q,
            &kv,
            given(),
            &out,
            &lse,
            &d_out,
            &mut d_q,
            &mut d_kv,
            d_past_wanted,
        );
        vec![
            ("out", read(b, &out, q_size + 1)),
            ("lse", read_accumulator(b, &lse, n * shape.heads + 1)),
            ("d_q", read(b, &d_q, q_size + 1)),
            ("d_kv", read(b, &d_kv, kv_size + 1)),
            ("d_past", read_accumulator(b, &d_past, past_size)),
        ]
    }
}

/// Rows end to end, `(own tokens, first past token, past tokens)`.
fn rows(lengths: &[(usize, usize, usize)]) -> Vec<AttentionRow> {
    let mut start = 0;
    lengths
        .iter()
        .map(|&(len, past_start, past_len)| {
            let row = AttentionRow { start, len, past_start, past_len };
            start += len;
            row
        })
        .collect()
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f64).sqrt(), window }
}

fn check(shape: AttentionShape, lengths: &[(usize, usize, usize)]) {
    let past_tokens = lengths.iter().map(|&(_, start, len)| start + len).max().unwrap_or(0);
    Attention { shape, rows: rows(lengths), past_tokens }
        .check(&format!("{shape:?} {lengths:?}"), 1e-5);
}

const LENGTHS: [&[(usize, usize, usize)]; 8] = [
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

#[test]
fn grouped_heads_and_head_sizes() {
    for (heads, kv_heads, head_dim) in
        [(1, 1, 2), (3, 1, 24), (8, 1, 16), (4, 4, 64), (6, 2, 96), (3, 3, 128)]
    {
        for lengths in LENGTHS {
            check(shape(heads, kv_heads, head_dim, None), lengths);
        }
    }
}

#[test]
fn sliding_windows() {
    for window in [1, 2, 17, 64, 100, 5000] {
        for lengths in LENGTHS {
            check(shape(3, 1, 24, Some(window)), lengths);
        }
    }
}

#[test]
fn many_heads_for_one_key_head() {
    check(shape(70, 1, 8, None), &[(31, 0, 40), (1, 0, 40)]);
}

#[test]
fn long_rows_in_several_chunks() {
    check(shape(3, 1, 16, None), &[(1025, 0, 0)]);
    check(shape(2, 2, 16, Some(200)), &[(700, 0, 333), (500, 0, 333)]);
}

#[test]
fn a_large_head() {
    check(shape(2, 1, 256, None), &[(70, 0, 70)]);
}
