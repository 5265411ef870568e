//! Attention: with and without a window and a past.

use super::difference::{check, dot, upload, wave};
use ift_backend::{Attention, AttentionSaved, Backend, PassInputs, PastBlocks, Reference, Segment};

const PAST: usize = 4;

/// Own tokens, first past token, past tokens: a past, one that shares a part of it, none.
const LENGTHS: [(usize, usize, usize); 4] = [(3, 0, 4), (2, 1, 3), (0, 0, 0), (4, 0, 0)];
const TOKENS: usize = 9;

fn attention(window: Option<usize>) -> Attention {
    Attention { heads: 4, kv_heads: 2, head_dim: 3, scale: 0.6, window }
}

#[test]
fn gradients_of_attention() {
    for window in [None, Some(1), Some(3)] {
        for with_past in [false, true] {
            let attention = attention(window);
            let lengths = LENGTHS
                .map(|(len, start, past)| if with_past { (len, start, past) } else { (len, 0, 0) });
            let inputs = upload(&[0; TOKENS], &lengths);
            let q: Vec<f64> =
                wave(TOKENS * attention.q_width(), 0.7).iter().map(|x| 2.0 * x).collect();
            let kv = wave(TOKENS * attention.kv_width(), 1.3);
            let past = wave(PAST * attention.kv_width(), 1.7);
            let d_out = wave(q.len(), 0.41);
            let run = |q: &[f64], kv: &[f64], past: &[f64]| {
                let (q, kv, past) = (q.to_vec(), kv.to_vec(), past.to_vec());
                let past = with_past.then_some(&past);
                let mut out = Reference.activation(q.len()).unwrap();
                let mut lse = Reference.accumulator(TOKENS * attention.heads).unwrap();
                Reference
                    .attention(&attention, &inputs, &q, &kv, past, &mut out, &mut lse)
                    .unwrap();
                (out, lse)
            };
            let loss = |q: &[f64], kv: &[f64], past: &[f64]| dot(&run(q, kv, past).0, &d_out);
            let (out, lse) = run(&q, &kv, &past);
            let saved = AttentionSaved {
                q: &q,
                kv: &kv,
                past: with_past.then_some(&past),
                out: &out,
                lse: &lse,
            };
            let mut d_q = Reference.activation(q.len()).unwrap();
            let mut d_kv = Reference.activation(kv.len()).unwrap();
            let before = wave(past.len(), 0.2);
            let mut d_past = before.clone();
            let to = with_past.then_some(&mut d_past);
            Reference
                .attention_backward(&attention, &inputs, saved, &d_out, &mut d_q, &mut d_kv, to)
                .unwrap();
            let name = format!("window {window:?}, past {with_past}");
            // A query that sees one key has no gradient.
            if window != Some(1) {
                check(&format!("{name}: d_q"), &d_q, &vec![0.0; q.len()], &q, |q| {
                    loss(q, &kv, &past)
                });
            }
            check(&format!("{name}: d_kv"), &d_kv, &vec![0.0; kv.len()], &kv, |kv| {
                loss(&q, kv, &past)
            });
            if with_past && window != Some(1) {
                check(&format!("{name}: d_past"), &d_past, &before, &past, |past| {
                    loss(&q, &kv, past)
                });
            } else {
                assert_eq!(d_past, before);
            }
        }
    }
}

/// The formula, written out for one query at a time.
#[test]
fn outputs_are_means_of_the_visible_values() {
    for window in [None, Some(1), Some(3)] {
        let attention = Attention { heads: 1, kv_heads: 1, head_dim: 1, scale: 0.6, window };
        let inputs = upload(&[0; 3], &[(3, 1, 2)]);
        let (q, kv, past) = (wave(3, 0.7), wave(6, 1.3), wave(6, 1.7));
        let (mut out, mut lse) = (vec![f64::NAN; 3], vec![f64::NAN; 3]);
        Reference.attention(&attention, &inputs, &q, &kv, Some(&past), &mut out, &mut lse).unwrap();
        // Keys and values of all five positions.
        let all: Vec<&[f64]> = past[2..].chunks(2).chain(kv.chunks(2)).collect();
        for i in 0..3 {
            let first = window.map_or(0, |window| (i + 3usize).saturating_sub(window));
            let visible = &all[first..i + 3];
            let sum: f64 = visible.iter().map(|row| (0.6 * q[i] * row[0]).exp()).sum();
            let mean: f64 =
                visible.iter().map(|row| (0.6 * q[i] * row[0]).exp() / sum * row[1]).sum();
            assert!((out[i] - mean).abs() < 1e-14 && (lse[i] - sum.ln()).abs() < 1e-14);
        }
    }
}

#[test]
fn a_past_in_blocks_is_the_same_past() {
    let attention = attention(Some(5));
    let width = attention.kv_width();
    let (q, kv) = (wave(TOKENS * attention.q_width(), 0.7), wave(TOKENS * width, 1.3));
    let past = wave(PAST * width, 1.7);
    let run = |inputs, past: &Vec<f64>| {
        let mut out = Reference.activation(q.len()).unwrap();
        let mut lse = Reference.accumulator(TOKENS * attention.heads).unwrap();
        Reference.attention(&attention, &inputs, &q, &kv, Some(past), &mut out, &mut lse).unwrap();
        (out, lse)
    };
    let expected = run(upload(&[0; TOKENS], &LENGTHS), &past);
    // Blocks of two tokens: the first sequence's are 5 and 0, the second's 3 and 2.
    let (size, table) = (2, [5, 0, 3, 2]);
    let mut cache = vec![f64::NAN; 6 * size * width];
    for (row, from) in [(10, 0), (11, 1), (0, 2), (1, 3), (6, 1), (7, 2), (4, 3)] {
        cache[row * width..][..width].copy_from_slice(&past[from * width..][..width]);
    }
    let segment = |start, len, past_start, past_len| Segment { start, len, past_start, past_len };
    let segments =
        [segment(0, 3, 0, 4), segment(3, 2, 2, 3), segment(5, 0, 0, 0), segment(5, 4, 0, 0)];
    let inputs = Reference
        .upload(&PassInputs {
            tokens: &[0; TOKENS],
            segments: &segments,
            streams: &[],
            noise: &[],
            look_ahead: None,
            past_blocks: Some(PastBlocks { size, table: &table }),
        })
        .unwrap();
    assert_eq!(run(inputs, &cache), expected);
}
