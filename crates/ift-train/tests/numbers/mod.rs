//! The golden numbers in `tests/golden/`, and what a step over their rows gives.

#![allow(dead_code, reason = "each test file uses its part")]

use ift_backend::{Backend, Element};
use ift_data::{Row, Sequence};
use ift_methods::Method;
use ift_model::Model;
use ift_train::{AnswerDetail, ReferenceSource, StepContext, Sums, accumulate_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Gradients by tensor name, divided by the count, with `None` where the tensor cannot learn.
pub type ByName = BTreeMap<String, Option<Vec<f64>>>;

pub fn run<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    rows: &[Row],
    method: &Method,
    micro_batch_tokens: usize,
    recompute: bool,
) -> (Sums, Vec<AnswerDetail>, ByName) {
    let mut gradients = model.gradients(method.trains_input_embeddings());
    let lambda = method.lambda_at(0, 0, 0);
    let context =
        StepContext { lambda, recompute, ..StepContext::plain(method, micro_batch_tokens) };
    let mut details = Vec::new();
    let rows: Vec<&Row> = rows.iter().collect();
    let mut show = |answers: &[AnswerDetail]| details.extend_from_slice(answers);
    let sums =
        accumulate_with(model, reference, &mut gradients, &rows, &context, &mut show).unwrap();
    let mut by_name = ByName::new();
    for (parameter, gradient) in model.parameters().iter().zip(&gradients.accumulators) {
        for tensor in &parameter.tensors {
            let values =
                gradient.as_ref().map(|g| model.backend().read_accumulator(g, tensor.range()));
            let values = values.map(|v| v.into_iter().map(|x| x.to_f64() / sums.count).collect());
            by_name.insert(tensor.name.clone(), values);
        }
    }
    (sums, details, by_name)
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

pub fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1e-12);
    assert!(error <= tolerance, "{what}: {found} instead of {expected}, off by {error:.1e}");
}

pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (norm(a) * norm(b)).max(1e-300)
}

pub fn largest_difference(a: &ByName, b: &ByName) -> f64 {
    let mut worst: f64 = 0.0;
    for (name, a) in a {
        let (Some(a), Some(b)) = (a, &b[name]) else { continue };
        let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        worst = worst.max(norm(&difference) / norm(a).max(1e-30));
    }
    worst
}

/// Compares every gradient's norm, and where they are stored its sums with two cosines as weights,
/// which see the direction that a norm does not. Returns how many of the latter there were.
pub fn check_gradients(what: &str, case: &Value, gradients: &ByName, tolerance: f64) -> usize {
    let mut projected = 0;
    for (tensor, expected) in case["norms"].as_object().unwrap() {
        let none = Vec::new();
        let found = gradients[tensor].as_ref().unwrap_or(&none);
        let expected = expected.as_f64().unwrap();
        close(&format!("{what} {tensor}"), norm(found), expected, tolerance);
        let Some(sums) = case["projections"].get(tensor) else { continue };
        for (frequency, sum) in [0.7, 2.3].into_iter().zip(sums.as_array().unwrap()) {
            let weighted = found.iter().enumerate().map(|(i, g)| g * (frequency * i as f64).cos());
            let (found, sum) = (weighted.sum::<f64>(), sum.as_f64().unwrap());
            let error = (found - sum).abs() / expected.max(1e-12);
            assert!(error <= tolerance, "{what} {tensor}: projection {found} instead of {sum}");
            projected += 1;
        }
    }
    projected
}
