//! The backward pass against finite differences, through pasts, windows, biases and norms.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise"
)]

use ift_backend::{Backend, Choice, NumberType, Reference};
use ift_model::{Continues, Gradients, Keep, Model, PastOf, Sequences, random};
use serde_json::{Value, json};
use std::sync::Arc;

fn model(changes: &Value) -> (tempfile::TempDir, Model<Reference>) {
    let mut config = json!({"model_type": "llama", "vocab_size": 19, "hidden_size": 12, "intermediate_size": 10,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "initializer_range": 0.3, "tie_word_embeddings": true});
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    random::create(config.as_object().unwrap().clone(), 11, NumberType::F64, folder.path()).unwrap();
    let mut model = Model::load(folder.path(), Arc::new(Reference)).unwrap();
    // Biases and norms away from their neutral start.
    for i in 0..model.parameters().len() {
        let len = model.parameters()[i].len;
        if len <= 64 {
            let weight = model.weight(i).clone();
            let moved: Vec<f64> =
                weight.iter().enumerate().map(|(j, w)| w + 0.1 * (j as f64).sin()).collect();
            model.write_weight(i, &moved);
        }
    }
    (folder, model)
}

const TARGETS: [u32; 4] = [3, 4, 18, 0];
const FACTORS: [f64; 4] = [0.7, -0.3, 1.1, 0.4];

/// Two prompts, of which the second is continued twice: `Σ factor·log_prob` at four places, and its gradients.
fn run(model: &Model<Reference>, keep: Keep) -> (f64, Option<Gradients<Reference>>) {
    let mut prompts = Sequences::default();
    prompts.push(&[1, 2, 3]);
    prompts.push(&[5, 6, 7, 8]);
    let mut rest = Sequences::default();
    rest.push_after(&[9, 10, 11], 3, 4);
    rest.push_after(&[12, 13], 3, 4);
    let first = model.forward(&prompts, None, &PastOf::Nothing, keep);
    let second = model.forward(&rest, None, &PastOf::Pass(&first), keep);
    let (on_first, on_second): ([usize; 2], [usize; 2]) = ([1, 6], [2, 4]);
    let pieces = [(&first, &on_first[..]), (&second, &on_second[..])];
    let scored = model.score(&pieces, &TARGETS, Choice::Nothing, true);
    let loss = scored.scores.log_probs.iter().zip(FACTORS).map(|(l, f)| l * f).sum();
    if keep == Keep::KeysAndValues {
        return (loss, None);
    }
    let mut gradients = model.gradients(true);
    let d = model.score_backward(scored, &FACTORS, &mut gradients);
    let d_first = model.hidden_gradient(&d, 0, &first, &on_first);
    let d_second = model.hidden_gradient(&d, 2, &second, &on_second);
    let mut collected = model.past_gradient(&first);
    let continues = Continues { pass: &first, gradient: &mut collected };
    model.backward(second, d_second, Some(continues), None, &mut gradients);
    model.backward(first, d_first, None, Some(collected), &mut gradients);
    (loss, Some(gradients))
}

#[test]
fn gradients_match_finite_differences() {
    for changes in [
        json!({"attention_bias": true, "mlp_bias": true}),
        json!({"model_type": "mistral", "sliding_window": 3, "tie_word_embeddings": false}),
        json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 2, "max_window_layers": 1}),
        json!({"model_type": "qwen3", "head_dim": 6}),
        json!({"model_type": "gemma", "hidden_act": "gelu"}),
    ] {
        let (_folder, mut model) = model(&changes);
        for keep in [Keep::Everything, Keep::BlockInputs] {
            let gradients = run(&model, keep).1.unwrap();
            for i in 0..model.parameters().len() {
                let found = gradients.accumulators[i].as_ref().unwrap();
                let len = model.parameters()[i].len;
                for at in (0..len).step_by(1 + len / 7) {
                    let step = 1e-5;
                    let mut at_offset = |offset: f64| {
                        let before = model.weight(i).clone();
                        let mut moved = before.clone();
                        moved[at] += offset;
                        model.write_weight(i, &moved);
                        let loss = run(&model, Keep::KeysAndValues).0;
                        model.write_weight(i, &before);
                        loss
                    };
                    let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                    let name = &model.parameters()[i].tensors[0].name;
                    let error = (found[at] - expected).abs();
                    assert!(
                        error < 1e-7 * (1.0 + expected.abs()),
                        "{changes} {name}[{at}]: {} {expected}",
                        found[at]
                    );
                }
            }
        }
    }
}

#[test]
fn an_untied_table_is_constant_when_inputs_do_not_train() {
    let (_folder, model) = model(&json!({"tie_word_embeddings": false}));
    assert!(model.gradients(false).accumulators[0].is_none());
    assert!(model.gradients(true).accumulators.iter().all(Option::is_some));
    assert_eq!(model.backend().read_weight(model.weight(0), 0..1).len(), 1);
}
