//! The split of the fused projection into heads.

use super::difference::{check, dot, parameters, upload, wave, weight};
use ift_backend::{Attention, Backend, HeadNormStarts, HeadNorms, Heads, Norm, Reference};

const ATTENTION: Attention =
    Attention { heads: 3, kv_heads: 1, head_dim: 4, scale: 1.0, window: None };
const TOKENS: usize = 3;

fn split(
    qkv: &[f64],
    norms: Option<(&[f64], &[f64])>,
    rotary: Option<&Vec<f64>>,
) -> (Vec<f64>, Vec<f64>) {
    let (q_norm, k_norm) = norms.unwrap_or_default();
    let (q_norm, k_norm) = (parameters(q_norm), parameters(k_norm));
    let norm = Norm { width: 4, eps: 0.01, offset: 1.0 };
    let weights = HeadNorms { q: weight(&q_norm), k: weight(&k_norm), norm };
    let norms = norms.map(|_| weights);
    let heads = Heads { tokens: TOKENS, attention: &ATTENTION, rotary, norms };
    let mut q = Reference.activation(TOKENS * ATTENTION.q_width()).unwrap();
    let mut kv = Reference.activation(TOKENS * ATTENTION.kv_width()).unwrap();
    Reference.split_heads(&heads, &qkv.to_vec(), &mut q, &mut kv).unwrap();
    (q, kv)
}

#[test]
fn gradients_of_the_split_into_heads() {
    let inputs = upload(&[0; TOKENS], &[(2, 0, 7), (1, 0, 0)]);
    let angles = Reference.rotary(&inputs, &[1.0, 0.1]).unwrap();
    let qkv = wave(TOKENS * ATTENTION.qkv_width(), 0.7);
    let (q_norm, k_norm) = (wave(4, 1.3), wave(4, 1.9));
    let d_q = wave(TOKENS * ATTENTION.q_width(), 0.41);
    let d_kv = wave(TOKENS * ATTENTION.kv_width(), 0.31);
    for rotary in [None, Some(&angles)] {
        for with_norms in [false, true] {
            let name = format!("rotary {}, norms {with_norms}", rotary.is_some());
            let loss = |qkv: &[f64], q_norm: &[f64], k_norm: &[f64]| {
                let (q, kv) = split(qkv, with_norms.then_some((q_norm, k_norm)), rotary);
                dot(&q, &d_q) + dot(&kv, &d_kv)
            };
            let stored = (parameters(&q_norm), parameters(&k_norm));
            let norm = Norm { width: 4, eps: 0.01, offset: 1.0 };
            let norms = HeadNorms { q: weight(&stored.0), k: weight(&stored.1), norm };
            let norms = with_norms.then_some(norms);
            let heads = Heads { tokens: TOKENS, attention: &ATTENTION, rotary, norms };
            let mut d_qkv = Reference.activation(qkv.len()).unwrap();
            let before = wave(10, 0.2);
            let mut d_norms = before.clone();
            let starts = HeadNormStarts { q: 6, k: 1 };
            let given = with_norms.then_some(&qkv);
            let to = with_norms.then_some((starts, &mut d_norms));
            Reference.split_heads_backward(&heads, given, &d_q, &d_kv, &mut d_qkv, to).unwrap();
            let nothing = vec![0.0; qkv.len()];
            check(&name, &d_qkv, &nothing, &qkv, |qkv| loss(qkv, &q_norm, &k_norm));
            if with_norms {
                let loss_q = |q_norm: &[f64]| loss(&qkv, q_norm, &k_norm);
                check(&format!("{name}: q"), &d_norms[6..10], &before[6..10], &q_norm, loss_q);
                let loss_k = |k_norm: &[f64]| loss(&qkv, &q_norm, k_norm);
                check(&format!("{name}: k"), &d_norms[1..5], &before[1..5], &k_norm, loss_k);
            }
        }
    }
}

/// Without angles heads are as they are where all angles are 0.
#[test]
fn no_rotation_is_a_rotation_by_nothing() {
    let inputs = upload(&[0; TOKENS], &[(3, 0, 5)]);
    let still = Reference.rotary(&inputs, &[0.0, 0.0]).unwrap();
    let qkv = wave(TOKENS * ATTENTION.qkv_width(), 0.7);
    let norms = (wave(4, 1.3), wave(4, 1.9));
    for norms in [None, Some((&norms.0[..], &norms.1[..]))] {
        assert_eq!(split(&qkv, norms, None), split(&qkv, norms, Some(&still)));
    }
    let (q, kv) = split(&qkv, None, None);
    let row = [&q[..12], &kv[..8]].concat();
    assert_eq!(row, qkv[..20], "queries, keys, values");
}

/// A rotation by the angle of the position, which keeps lengths.
#[test]
fn heads_are_rotated_by_their_positions() {
    let inputs = upload(&[0; TOKENS], &[(1, 0, 2), (2, 0, 0)]);
    let rotary = Reference.rotary(&inputs, &[0.5, 0.25]).unwrap();
    let angles = [1.0, 0.5, 0.0, 0.0, 0.5, 0.25f64];
    for (t, angles) in angles.chunks(2).enumerate() {
        let expected = [angles[0].cos(), angles[1].cos(), angles[0].sin(), angles[1].sin()];
        assert_eq!(rotary[4 * t..4 * t + 4], expected);
    }
    let (q, _) = split(&[vec![1.0, 0.0, 0.0, 0.0], vec![0.0; 56]].concat(), None, Some(&rotary));
    assert_eq!(q[..4], [1.0f64.cos(), 0.0, 1.0f64.sin(), 0.0]);
}
