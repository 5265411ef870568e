//! Look-ahead at the inputs, and divergences between models: values and gradients.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{Divergence, LookAheadInputs, Reference, Residual, Select};
use ift_compare::{Comparison, Tolerance};
use ift_model::{Keep, Model, ModelError, Pass, PastOf, ScoredDivergence, Sequences};
use serde_json::json;
use std::collections::BTreeMap;
use tiny::{by_name, create, load, load_frozen};

const TOKENS: [u32; 6] = [1, 5, 9, 2, 7, 3];
const POSITIONS: [usize; 5] = [0, 1, 2, 3, 4];

fn sequences(tokens: &[u32]) -> Sequences {
    let mut sequences = Sequences::default();
    sequences.push(tokens);
    sequences
}

fn plain(model: &Model<Reference>, tokens: &[u32]) -> Pass<Reference> {
    model.forward(&sequences(tokens), None, &PastOf::Nothing, Keep::Everything).unwrap()
}

/// Gradients of the sum of all log-probabilities after a pass.
fn gradients(model: &Model<Reference>, pass: Pass<Reference>) -> BTreeMap<String, Vec<f64>> {
    let pieces = [(&pass, &POSITIONS[..])];
    let scored = model.score(&pieces, &TOKENS[1..], Select::Nothing, true).unwrap();
    let mut gradients = model.gradients().unwrap();
    let ones = [1.0; POSITIONS.len()];
    let d = model.score_backward(scored, &ones, None, &mut gradients).unwrap();
    let d = model.hidden_gradient(&d, &pass, &[(0, &POSITIONS)]).unwrap();
    model.backward(pass, d, None, None, &mut gradients).unwrap();
    by_name(model, &gradients)
}

#[test]
fn selected_tokens_enter_the_inputs() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "gemma", "hidden_act": "gelu"}), folder.path());
    let model = load(folder.path());
    let first = plain(&model, &TOKENS);
    let pieces = [(&first, &POSITIONS[..])];
    let scored = model.score(&pieces, &TOKENS[1..], Select::Argmax, false).unwrap();
    let selected = model.read_scores(&scored).selected;
    // Token 2 meets what was selected before it, token 4 too; the others stay.
    let index = [None, None, Some(1), None, Some(3), None];
    let mut replaced = TOKENS;
    (replaced[2], replaced[4]) = (selected[1], selected[3]);
    assert_ne!(replaced, TOKENS);
    let after = |how| {
        let look_ahead = LookAheadInputs { scores: scored.scores(), index: &index, how };
        let sequences = sequences(&TOKENS);
        model.forward(&sequences, Some(look_ahead), &PastOf::Nothing, Keep::Everything).unwrap()
    };
    let logits = |pass: &Pass<Reference>| model.logits(pass, &POSITIONS).unwrap();
    let mut comparison = Comparison::new("look-ahead", Tolerance::EXACT);
    let (of_plain, of_replaced) =
        (logits(&plain(&model, &TOKENS)), logits(&plain(&model, &replaced)));
    assert_ne!(of_plain, of_replaced);
    comparison.values("λ = 0", &logits(&after(Residual::Mix { lambda: 0.0 })), &of_plain);
    comparison.values("λ = 1", &logits(&after(Residual::Mix { lambda: 1.0 })), &of_replaced);
    comparison.values("replaced", &logits(&after(Residual::Replace)), &of_replaced);
    // A replaced token's gradient is that of the token in its place.
    let found = gradients(&model, after(Residual::Replace));
    comparison.tensors(&found, &gradients(&model, plain(&model, &replaced)));
    comparison.finish();
    let half = logits(&after(Residual::Mix { lambda: 0.5 }));
    assert!(half != of_plain && half != of_replaced);
}

#[test]
fn divergences_and_their_gradients() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&json!({"tie_word_embeddings": false}), folder.path());
    // Another width, but the same vocabulary.
    create(&json!({"hidden_size": 20}), other.path());
    let mut model = load(folder.path());
    let reference = load_frozen(other.path(), ift_backend::Storage::Exact);
    let of_reference = plain(&reference, &TOKENS);
    let pieces = [(&of_reference, &POSITIONS[..])];
    let reference_scored = reference.score(&pieces, &TOKENS[1..], Select::Nothing, false).unwrap();
    let d_divergences = [0.3, -1.0, 0.5, 2.0, 0.7];
    for kind in [Divergence::Forward, Divergence::Reverse] {
        let scored = |model: &Model<Reference>, pass: &Pass<Reference>| {
            let pieces = [(pass, &POSITIONS[..])];
            let mut scored = model.score(&pieces, &TOKENS[1..], Select::Nothing, true).unwrap();
            model.divergence(&mut scored, &reference, &reference_scored, kind).unwrap();
            scored
        };
        let tolerance = Tolerance { absolute: 1e-6, relative: 1e-6, ..Tolerance::EXACT };
        let mut comparison = Comparison::new(format!("{kind:?}"), tolerance);
        let pass = plain(&model, &TOKENS);
        let own = scored(&model, &pass);
        let expected = by_hand(&model, &pass, &reference, &of_reference, kind);
        comparison.values("divergences", &model.read_scores(&own).divergences, &expected);

        let mut gradients = model.gradients().unwrap();
        let divergence = ScoredDivergence {
            reference: &reference,
            scored: &reference_scored,
            kind,
            d_divergences: &d_divergences,
        };
        let zeros = [0.0; POSITIONS.len()];
        let d = model.score_backward(own, &zeros, Some(divergence), &mut gradients).unwrap();
        let d = model.hidden_gradient(&d, &pass, &[(0, &POSITIONS)]).unwrap();
        model.backward(pass, d, None, None, &mut gradients).unwrap();
        let found = by_name(&model, &gradients);
        for tensor in model.trainable().tensors().to_vec() {
            let (step, start) = (1e-5, tensor.range.start);
            let before = model.read(start..start + 1)[0];
            let mut at_offset = |offset: f64| {
                model.write(start, &[before + offset]);
                let own = scored(&model, &plain(&model, &TOKENS));
                let divergences = model.read_scores(&own).divergences;
                model.write(start, &[before]);
                divergences
                    .iter()
                    .zip(d_divergences)
                    .map(|(kl, derivative)| kl * derivative)
                    .sum::<f64>()
            };
            let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
            comparison.value(&tensor.name, found[&tensor.name][0], expected);
        }
        comparison.finish();
    }
}

/// Divergences at all positions, of logits on the host.
fn by_hand(
    model: &Model<Reference>,
    pass: &Pass<Reference>,
    reference: &Model<Reference>,
    of_reference: &Pass<Reference>,
    kind: Divergence,
) -> Vec<f64> {
    let softmax = |logits: &[f32]| -> Vec<f64> {
        let all: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        logits.iter().map(|&l| f64::from(l).exp() / all).collect()
    };
    let rows = |model: &Model<Reference>, pass| -> Vec<Vec<f64>> {
        let logits = model.logits(pass, &POSITIONS).unwrap();
        logits.chunks(model.config().vocabulary).map(softmax).collect()
    };
    let both = rows(model, pass).into_iter().zip(rows(reference, of_reference));
    let divergence = |(own, other): (Vec<f64>, Vec<f64>)| -> f64 {
        let (from, to) = match kind {
            Divergence::Forward => (other, own),
            Divergence::Reverse => (own, other),
        };
        from.iter().zip(&to).map(|(a, b)| a * (a / b).ln()).sum()
    };
    both.map(divergence).collect()
}

#[test]
fn what_a_backward_pass_cannot_do_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({}), folder.path());
    let model = load(folder.path());
    let pass =
        model.forward(&sequences(&TOKENS), None, &PastOf::Nothing, Keep::KeysAndValues).unwrap();
    let scored = model.score(&[(&pass, &[1, 1])], &[3, 4], Select::Nothing, false).unwrap();
    let mut gradients = model.gradients().unwrap();
    let d = model.score_backward(scored, &[1.0, 1.0], None, &mut gradients).unwrap();
    let error = model.hidden_gradient(&d, &pass, &[(0, &[1, 1])]).err().unwrap();
    assert!(matches!(error, ModelError::RepeatedPosition { position: 1 }), "{error}");
    let d = model.hidden_gradient(&d, &pass, &[(0, &[1])]).unwrap();
    let error = model.backward(pass, d, None, None, &mut gradients).err().unwrap();
    assert!(matches!(error, ModelError::NotKept), "{error}");
}
