//! Embeddings, with and without a look-ahead.

use super::difference::{START, check, dot, parameters, wave, weight};
use ift_backend::{
    Backend, Embedding, Head, HeadTargets, LookAheadInputs, PassInputs, Reference, Residual,
    Segment, Select, Slot,
};

const VOCABULARY: usize = 5;
const EMBEDDING: Embedding = Embedding { vocabulary: VOCABULARY, width: 3, scale: 1.5 };
const TOKENS: [u32; 4] = [2, 0, 2, 4];
/// Token 3 is selected by the first score, token 1 by the second.
const INDEX: [Option<u32>; 4] = [Some(1), None, Some(0), Some(1)];

/// Embeds the tokens with a look-ahead; the table's gradient is asked for where there can be one.
fn embed(
    table: &[f64],
    how: Option<Residual>,
    d_table: Option<(&[f64], &mut Vec<f64>)>,
) -> Vec<f64> {
    let head = Head { width: 1, vocabulary: VOCABULARY };
    let logits = parameters(&[0.0, -1.0, 0.5, 1.0, 0.0]);
    let targets = HeadTargets { ids: &[0, 0], select: Select::Argmax, keep_logits: false };
    let scores = Reference.head(head, &vec![1.0, -1.0], weight(&logits), &targets).unwrap();
    assert_eq!(Reference.read_scores(&scores).selected, [3, 1]);
    let inputs = Reference
        .upload(&PassInputs {
            tokens: &TOKENS,
            segments: &[Segment { len: 4, ..Segment::default() }],
            streams: &[],
            noise: &[],
            look_ahead: how.map(|how| LookAheadInputs { scores: &scores, index: &INDEX, how }),
            past_blocks: None,
        })
        .unwrap();
    let mut out = Reference.activation(4 * EMBEDDING.width).unwrap();
    let table = parameters(table);
    Reference.embed(EMBEDDING, &inputs, weight(&table), &mut out).unwrap();
    if let Some((d_out, buffer)) = d_table {
        let slot = Slot { buffer, start: START };
        Reference.embed_backward(EMBEDDING, &inputs, &d_out.to_vec(), slot).unwrap();
    }
    out
}

#[test]
fn gradients_of_embeddings() {
    let table = wave(VOCABULARY * EMBEDDING.width, 0.7);
    let d_out = wave(4 * EMBEDDING.width, 0.41);
    for how in [None, Some(Residual::Replace)] {
        let before = wave(START + table.len(), 0.2);
        let mut d_table = before.clone();
        embed(&table, how, Some((&d_out, &mut d_table)));
        let loss = |table: &[f64]| dot(&embed(table, how, None), &d_out);
        check(&format!("{how:?}"), &d_table[START..], &before[START..], &table, loss);
    }
}

#[test]
fn selected_tokens_are_mixed_in_or_take_the_place() {
    let table = wave(VOCABULARY * EMBEDDING.width, 0.7);
    let row = |id: u32, factor: f64| {
        let row = table[id as usize * 3..][..3].iter();
        row.map(move |x| factor * x).collect::<Vec<f64>>()
    };
    let replaced: Vec<f64> = [1, 0, 3, 1].iter().flat_map(|&id| row(id, 1.5)).collect();
    assert_eq!(embed(&table, Some(Residual::Replace), None), replaced);
    let plain: Vec<f64> = TOKENS.iter().flat_map(|&id| row(id, 1.5)).collect();
    assert_eq!(embed(&table, None, None), plain);
    let mixed = embed(&table, Some(Residual::Mix { lambda: 0.25 }), None);
    for (i, mixed) in mixed.iter().enumerate() {
        let expected = match INDEX[i / 3] {
            Some(_) => 0.75 * plain[i] + 0.25 * replaced[i],
            None => plain[i],
        };
        assert!((mixed - expected).abs() < 1e-15, "{mixed} for {expected}");
    }
}

#[test]
#[should_panic(expected = "mixed embeddings have no gradient")]
fn a_mix_has_no_gradient() {
    let mut d_table = vec![0.0; START + VOCABULARY * 3];
    let table = wave(VOCABULARY * 3, 0.7);
    let how = Some(Residual::Mix { lambda: 0.5 });
    embed(&table, how, Some((&[0.0; 12], &mut d_table)));
}
