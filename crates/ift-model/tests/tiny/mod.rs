//! Tiny models of several families, and their scores of prompts and continuations.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise; no test uses all of it"
)]

use ift_backend::{Backend, Element, NumberType, Reference, Select, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_model::{
    Adapter, BaseStorage, Continues, Gradients, Keep, Model, ModelError, PastOf, Sequences,
    TrainableTensor, Trained, random,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Families that differ in biases, head norms, windows, embeddings and ties.
pub fn families() -> [Value; 5] {
    [
        json!({"attention_bias": true, "mlp_bias": true}),
        json!({"model_type": "mistral", "sliding_window": 3, "tie_word_embeddings": false}),
        json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 2,
            "max_window_layers": 1}),
        json!({"model_type": "qwen3", "head_dim": 6}),
        json!({"model_type": "gemma", "hidden_act": "gelu"}),
    ]
}

/// Writes a model, in f64, whose biases and norms are away from their neutral start.
pub fn create(changes: &Value, folder: &Path) {
    let mut config = json!({"model_type": "llama", "vocab_size": 19, "hidden_size": 12,
        "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 4,
        "initializer_range": 0.3, "tie_word_embeddings": true});
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    random::create(config.as_object().unwrap().clone(), 11, NumberType::F64, folder).unwrap();
    let mut model = load(folder);
    let vectors = model.trainable().groups().enumerate().filter(|(_, g)| !g[0].is_matrix());
    for (group, range) in vectors.map(|(i, group)| (i, range_of(group))).collect::<Vec<_>>() {
        shift(&mut model, group, range, 0.1);
    }
    model.save(folder, NumberType::F64).unwrap();
}

/// Where the elements of a group of tensors lie.
pub fn range_of(group: &[TrainableTensor]) -> Range<usize> {
    group[0].range.start..group[group.len() - 1].range.end
}

/// Moves every element of a range, each in its own way.
fn shift(model: &mut Model<Reference>, group: usize, range: Range<usize>, by: f64) {
    let moved: Vec<f64> = model
        .read(range.clone())
        .into_iter()
        .enumerate()
        .map(|(j, w)| w + by * ((j + 3 * group) as f64).sin())
        .collect();
    model.write(range.start, &moved);
}

/// A model all of whose weights are trained.
pub fn try_load(folder: &Path) -> Result<Model<Reference>, ModelError> {
    Model::load(folder, Arc::new(Reference), Trained::All { input_embeddings: true })
}

/// The same, of a folder that is in order.
pub fn load(folder: &Path) -> Model<Reference> {
    try_load(folder).unwrap()
}

/// A model that is not trained.
pub fn load_frozen(folder: &Path, storage: Storage) -> Model<Reference> {
    Model::load(folder, Arc::new(Reference), Trained::Nothing { storage }).unwrap()
}

/// A model whose adapters are trained.
pub fn load_adapted(
    folder: &Path,
    adapter: &Adapter,
    seed: u64,
) -> Result<Model<Reference>, ModelError> {
    Model::load(folder, Arc::new(Reference), Trained::Adapters { adapter, seed })
}

/// An adapter that is exact but for what the test is about.
pub fn settings() -> Adapter {
    Adapter { rank: 3, alpha: 5.0, base: BaseStorage::Exact, ..Adapter::default() }
}

/// A model with adapters that are no longer fresh.
pub fn adapted(folder: &Path, adapter: &Adapter) -> Model<Reference> {
    let mut model = load_adapted(folder, adapter, 5).unwrap();
    let ranges: Vec<_> = model.trainable().groups().map(range_of).collect();
    let base = load(folder).trainable().groups().count();
    for (group, range) in ranges.into_iter().enumerate() {
        shift(&mut model, base + group, range, 0.2);
    }
    model.adapters_changed().unwrap();
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
    let first = model.forward(&prompts, None, &PastOf::Nothing, keep).unwrap();
    let second = model.forward(&rest, None, &PastOf::Pass(&first), keep).unwrap();
    let (on_first, on_second): ([usize; 2], [usize; 2]) = ([1, 6], [2, 4]);
    let pieces = [(&first, &on_first[..]), (&second, &on_second[..])];
    let scored = model.score(&pieces, &TARGETS, Select::Nothing, true).unwrap();
    let log_probs = model.read_scores(&scored).log_probs;
    if keep == Keep::KeysAndValues {
        return (log_probs, None);
    }
    let mut gradients = model.gradients().unwrap();
    let d = model.score_backward(scored, &FACTORS, None, &mut gradients).unwrap();
    let d_first = model.hidden_gradient(&d, &first, &[(0, &on_first[..])]).unwrap();
    let d_second = model.hidden_gradient(&d, &second, &[(2, &on_second[..])]).unwrap();
    let mut collected = model.past_gradient(&first).unwrap();
    let continues = Continues { pass: &first, gradient: &mut collected };
    model.backward(second, d_second, Some(continues), None, &mut gradients).unwrap();
    model.backward(first, d_first, None, Some(collected), &mut gradients).unwrap();
    (log_probs, Some(gradients))
}

/// The gradients of every trainable tensor by its name; all elements between tensors are zero.
pub fn by_name<B: Backend>(
    model: &Model<B>,
    gradients: &Gradients<B>,
) -> BTreeMap<String, Vec<f64>> {
    let trainable = model.trainable();
    let read = |range| model.backend().read_accumulator(&gradients.sums, range);
    let mut end = 0;
    for group in trainable.groups() {
        let range = range_of(group);
        assert!(range.start.is_multiple_of(16) && range.start >= end && range.start < end + 16);
        assert!(read(end..range.start).iter().all(|g| g.to_f64() == 0.0));
        end = range.end;
    }
    let tensor = |tensor: &TrainableTensor| {
        let values = read(tensor.range.clone()).into_iter().map(Element::to_f64);
        (tensor.name.clone(), values.collect())
    };
    trainable.tensors().iter().map(tensor).collect()
}

/// The log-probabilities alone.
pub fn log_probs<B: Backend>(model: &Model<B>, how: How) -> Vec<f64> {
    run(model, how, Keep::KeysAndValues).0
}

/// What [`run`] differentiates.
pub fn loss(model: &Model<Reference>, how: How) -> f64 {
    log_probs(model, how).iter().zip(FACTORS).map(|(l, f)| l * f).sum()
}

/// Fails unless two lists agree to rounding.
#[track_caller]
pub fn same(what: &str, found: &[f64], expected: &[f64]) {
    let mut comparison = Comparison::new(what, Tolerance::absolute(1e-12));
    comparison.values("elements", found, expected);
    comparison.finish();
}

/// How far two lists are apart at most; they must be finite and of one length.
#[track_caller]
pub fn moved(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()), "{a:?} {b:?}");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
