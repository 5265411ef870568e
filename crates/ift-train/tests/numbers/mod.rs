//! The golden numbers in `tests/golden/`, and what a step over their rows gives.

#![allow(dead_code, reason = "each test file uses its part")]

use ift_backend::{Backend, Element};
use ift_compare::{Comparison, Tolerance};
use ift_data::{Row, Sequence};
use ift_methods::Method;
use ift_model::{Model, TrainableTensor, Trained};
use ift_train::{AnswerDetail, ReferenceSource, StepContext, Sums, accumulate_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const FAMILIES: [&str; 6] = ["llama", "mistral", "qwen2", "qwen3", "gemma", "llama3rope"];

pub fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(family)
}

pub fn json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder(path)).unwrap()).unwrap()
}

/// The sequences of a padded batch.
pub fn sequences(batch: &Value) -> Vec<Sequence> {
    let lists =
        |name: &str| -> Vec<Vec<i64>> { serde_json::from_value(batch[name].clone()).unwrap() };
    let (ids, labels, mask) = (lists("input_ids"), lists("labels"), lists("attention_mask"));
    let sequence = |r: usize| {
        let length = mask[r].iter().filter(|&&m| m == 1).count();
        let tokens = ids[r][..length].iter().map(|&t| t as u32).collect();
        let targets: Vec<bool> = labels[r][..length].iter().map(|&l| l != -100).collect();
        Sequence::masked(tokens, &targets)
    };
    (0..ids.len()).map(sequence).collect()
}

/// A sequence whose targets have weights that differ from one to the next.
pub fn weighted(sequence: &Sequence) -> Sequence {
    let mut weights = vec![0.0; sequence.len()];
    for (position, weight) in sequence.targets() {
        weights[position] = weight * [0.5, 2.0, 1.0, 0.125][position % 4];
    }
    Sequence::weighted(sequence.tokens().to_vec(), &weights)
}

/// A model, loaded for methods that train the embedding table through the inputs and for those to
/// which it is a constant there.
pub struct Policy<B: Backend> {
    learning_inputs: Model<B>,
    constant_inputs: Model<B>,
}

impl<B: Backend> Policy<B> {
    pub fn load(folder: &Path, backend: &Arc<B>) -> Self {
        let [learning_inputs, constant_inputs] = [true, false].map(|input_embeddings| {
            let trained = Trained::All { input_embeddings };
            Model::load(folder, Arc::clone(backend), trained).unwrap()
        });
        Self { learning_inputs, constant_inputs }
    }

    /// The model that a method trains.
    pub fn of(&self, method: &Method) -> &Model<B> {
        if method.trains_input_embeddings() { &self.learning_inputs } else { &self.constant_inputs }
    }
}

/// Gradients by tensor name, divided by the count; what is not trained has none.
pub type ByName = BTreeMap<String, Vec<f64>>;

pub fn run<B: Backend>(
    policy: &Policy<B>,
    reference: &ReferenceSource<B>,
    rows: &[Row],
    method: &Method,
    micro_batch_tokens: usize,
    recompute: bool,
) -> (Sums, Vec<AnswerDetail>, ByName) {
    let model = policy.of(method);
    let lambda = method.lambda_at(0, 0, 0);
    let context =
        StepContext { lambda, recompute, ..StepContext::plain(method, micro_batch_tokens) };
    let rows: Vec<&Row> = rows.iter().collect();
    step(model, reference, &rows, &context)
}

/// The sums, details and gradients of a step.
pub fn step<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    rows: &[&Row],
    context: &StepContext,
) -> (Sums, Vec<AnswerDetail>, ByName) {
    let mut gradients = model.gradients().unwrap();
    let mut details = Vec::new();
    let mut show = |answers: &[AnswerDetail]| details.extend_from_slice(answers);
    let sums = accumulate_with(model, reference, &mut gradients, rows, context, &mut show).unwrap();
    let gradient = |tensor: &TrainableTensor| {
        let sum = model.backend().read_accumulator(&gradients.sums, tensor.range.clone());
        let mean = sum.into_iter().map(|x| x.to_f64() / sums.count).collect();
        (tensor.name.clone(), mean)
    };
    let by_name = model.trainable().tensors().iter().map(gradient).collect();
    (sums, details, by_name)
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// A share of the expected value, or of 1e-12 where that is smaller.
pub fn share(tolerance: f64) -> Tolerance {
    Tolerance { relative: tolerance, absolute: tolerance * 1e-12, ..Tolerance::EXACT }
}

pub fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let mut comparison = Comparison::new(what, share(tolerance));
    comparison.value(what, found, expected);
    comparison.finish();
}

/// Compares all gradients element by element, with a tolerance that is a share of each tensor's
/// largest element.
pub fn same_gradients(what: &str, found: &ByName, expected: &ByName, tolerance: f64) {
    let mut comparison = Comparison::new(what, Tolerance::of_largest(tolerance));
    comparison.tensors(found, expected);
    comparison.finish();
}

/// Compares the directions of all gradients; `least` names the least cosine of a tensor.
pub fn same_directions(what: &str, found: &ByName, expected: &ByName, least: impl Fn(&str) -> f64) {
    let mut comparison = Comparison::new(what, Tolerance::EXACT);
    assert!(found.keys().eq(expected.keys()), "{what}: other tensors");
    for (tensor, expected) in expected {
        comparison.direction(tensor, &found[tensor], expected, least(tensor));
    }
    comparison.finish();
}

/// Compares every gradient's norm, and where they are stored its sums with two cosines as weights,
/// which see the direction that a norm does not. Returns how many of the latter there were.
pub fn check_gradients(what: &str, case: &Value, gradients: &ByName, tolerance: f64) -> usize {
    let mut comparison = Comparison::new(what, share(tolerance));
    let expected: BTreeMap<String, f64> = serde_json::from_value(case["norms"].clone()).unwrap();
    let mut found: ByName = gradients.iter().map(|(n, g)| (n.clone(), vec![norm(g)])).collect();
    // What is not trained has a gradient of zero in the stored numbers.
    for name in expected.keys() {
        found.entry(name.clone()).or_insert_with(|| vec![0.0]);
    }
    let norms = expected.iter().map(|(name, norm)| (name.clone(), vec![*norm])).collect();
    comparison.tensors(&found, &norms);
    let mut projected = 0;
    for (tensor, norm) in &expected {
        let Some(sums) = case["projections"].get(tensor) else { continue };
        let gradient = gradients.get(tensor).map_or(&[][..], Vec::as_slice);
        let sums: Vec<f64> = serde_json::from_value(sums.clone()).unwrap();
        let found: Vec<f64> = [0.7, 2.3]
            .iter()
            .map(|f| gradient.iter().enumerate().map(|(i, g)| g * (f * i as f64).cos()).sum())
            .collect();
        let allowed = Tolerance::absolute(tolerance * norm.max(1e-12));
        comparison.values_within(&format!("{tensor} projected"), &found, &sums, allowed);
        projected += sums.len();
    }
    comparison.finish();
    projected
}
