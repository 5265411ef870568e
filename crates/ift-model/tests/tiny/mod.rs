//! Tiny models of several families, and what they say of prompts and continuations.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise; no test uses all of it"
)]

use ift_backend::{Backend, Choice, NumberType, Reference};
use ift_model::{
    Adapter, BaseStorage, Continues, Gradients, Keep, Model, PastOf, Sequences, random,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Families that differ in biases, head norms, windows, embeddings and ties.
pub fn families() -> [Value; 5] {
    [
        json!({"attention_bias": true, "mlp_bias": true}),
        json!({"model_type": "mistral", "sliding_window": 3, "tie_word_embeddings": false}),
        json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 2, "max_window_layers": 1}),
        json!({"model_type": "qwen3", "head_dim": 6}),
        json!({"model_type": "gemma", "hidden_act": "gelu"}),
    ]
}

/// Writes a model, in f64, whose biases and norms are away from their neutral start.
pub fn create(changes: &Value, folder: &Path) {
    let mut config = json!({"model_type": "llama", "vocab_size": 19, "hidden_size": 12, "intermediate_size": 10,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "initializer_range": 0.3, "tie_word_embeddings": true});
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    random::create(config.as_object().unwrap().clone(), 11, NumberType::F64, folder).unwrap();
    let mut model = Model::load(folder, Arc::new(Reference)).unwrap();
    for i in 0..model.parameters().len() {
        if model.parameters()[i].tensors[0].shape.len() == 1 {
            shift(&mut model, i, 0.1);
        }
    }
    model.save(folder, NumberType::F64).unwrap();
}

/// Moves every number of a parameter, each in its own way.
fn shift(model: &mut Model<Reference>, parameter: usize, by: f64) {
    let weight = model.weight(parameter).iter().enumerate();
    let moved: Vec<f64> =
        weight.map(|(j, w)| w + by * ((j + 3 * parameter) as f64).sin()).collect();
    model.write_weight(parameter, &moved);
}

/// An adapter that is exact but for what the test is about.
pub fn settings() -> Adapter {
    Adapter { rank: 3, alpha: 5.0, base: BaseStorage::Exact, ..Adapter::default() }
}

/// A model with adapters that have learnt something.
pub fn adapted(folder: &Path, adapter: &Adapter) -> Model<Reference> {
    let mut model = Model::load_adapted(folder, Arc::new(Reference), adapter, 5).unwrap();
    for i in 0..model.parameters().len() {
        if model.trains(i) {
            shift(&mut model, i, 0.2);
        }
    }
    model.adapters_changed();
    model
}

pub const TARGETS: [u32; 4] = [3, 4, 18, 0];
const FACTORS: [f64; 4] = [0.7, -0.3, 1.1, 0.4];

/// How sequences are run.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub adapters_off: bool,
    /// With dropout, where the adapter has some.
    pub streams: bool,
    pub noise: bool,
}

impl How {
    fn set(self, sequences: &mut Sequences, seed: u64) {
        let n = sequences.tokens.len() as u64;
        sequences.adapters_off = self.adapters_off;
        if self.streams || self.noise {
            sequences.streams = (0..n).map(|i| seed + i).collect();
        }
        if self.noise {
            sequences.noise = (0..n).map(|i| 0.1 + i as f64 / 20.0).collect();
        }
    }
}

/// Two prompts, of which the second is continued twice: log-probabilities at four places, and the
/// gradients of `Σ factor·log_prob` unless only keys and values are kept.
pub fn run<B: Backend>(model: &Model<B>, how: How, keep: Keep) -> (Vec<f64>, Option<Gradients<B>>) {
    let mut prompts = Sequences::default();
    prompts.push(&[1, 2, 3]);
    prompts.push(&[5, 6, 7, 8]);
    how.set(&mut prompts, 100);
    let mut rest = Sequences::default();
    rest.push_after(&[9, 10, 11], 3, 4);
    rest.push_after(&[12, 13], 3, 4);
    how.set(&mut rest, 200);
    let first = model.forward(&prompts, None, &PastOf::Nothing, keep);
    let second = model.forward(&rest, None, &PastOf::Pass(&first), keep);
    let (on_first, on_second): ([usize; 2], [usize; 2]) = ([1, 6], [2, 4]);
    let pieces = [(&first, &on_first[..]), (&second, &on_second[..])];
    let scored = model.score(&pieces, &TARGETS, Choice::Nothing, true);
    let log_probs = scored.scores.log_probs.clone();
    if keep == Keep::KeysAndValues {
        return (log_probs, None);
    }
    let mut gradients = model.gradients(true);
    let d = model.score_backward(scored, &FACTORS, None, &mut gradients);
    let d_first = model.hidden_gradient(&d, &first, &[(0, &on_first[..])]);
    let d_second = model.hidden_gradient(&d, &second, &[(2, &on_second[..])]);
    let mut collected = model.past_gradient(&first);
    let continues = Continues { pass: &first, gradient: &mut collected };
    model.backward(second, d_second, Some(continues), None, &mut gradients);
    model.backward(first, d_first, None, Some(collected), &mut gradients);
    (log_probs, Some(gradients))
}

/// The log-probabilities alone.
pub fn log_probs<B: Backend>(model: &Model<B>, how: How) -> Vec<f64> {
    run(model, how, Keep::KeysAndValues).0
}

/// What [`run`] differentiates.
pub fn loss(model: &Model<Reference>, how: How) -> f64 {
    log_probs(model, how).iter().zip(FACTORS).map(|(l, f)| l * f).sum()
}

/// The largest difference between two lists.
pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
