//! Every method's gradient through a whole model is the slope of its loss: at the weights, and of
//! the terms that a method holds constant (weights, the reference, KTO's KL point) held constant.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod numbers;

use ift_backend::{Reference as Exact, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_data::Row;
use ift_methods::{Method, RowKind};
use ift_model::{Adapter, Model, Trained};
use ift_train::{AnswerDetail, ReferenceSource, StepContext};
use numbers::{folder, json, sequences, step, weighted};
use serde_json::json;
use std::sync::Arc;

const METHODS: [&str; 18] = [
    "lm",
    "sft",
    "ift",
    "dpo",
    "ipo",
    "orpo",
    "simpo",
    "tdpo1",
    "tdpo2",
    "kto",
    "dft",
    "asft",
    "asft reverse",
    "eaft",
    "iw_sft",
    "psft",
    "scheduled_sampling",
    "dpo reference_free",
];

fn method(name: &str) -> Method {
    let settings = match name {
        "asft reverse" => json!({"name": "asft", "direction": "reverse", "lambda": 2.0}),
        "asft" => json!({"name": "asft", "lambda": 2.0}),
        "scheduled_sampling" => json!({"name": name, "lambda": 0.5}),
        "dpo reference_free" => json!({"name": "dpo", "reference_free": true}),
        _ => json!({ "name": name }),
    };
    serde_json::from_value(settings).unwrap()
}

fn rows(kind: RowKind) -> Vec<Row> {
    let batch = &json("batches.json")["pref"];
    let [chosen, rejected, kl] = ["chosen", "rejected", "kl"].map(|side| sequences(&batch[side]));
    let row = |(i, ((chosen, rejected), kl))| {
        let row = match kind {
            RowKind::Text => Row::text(weighted(&chosen)),
            RowKind::Demonstration => Row::demonstration(weighted(&chosen)),
            RowKind::Pair => Row::pair(chosen, rejected),
            RowKind::Judged => Row::judged(chosen, kl, i != 1),
        };
        row.at(0, i as u64 + 1)
    };
    chosen.into_iter().zip(rejected).zip(kl).enumerate().map(row).collect()
}

/// `Σ slope·value` over everything that the loss depends on, with the slopes of the unmoved model.
fn linear(slopes: &[AnswerDetail], at: &[AnswerDetail]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(slopes.len(), at.len());
    let both = slopes.iter().zip(at);
    both.map(|(s, a)| {
        dot(&s.loss.gradient, &a.log_probs) + dot(&s.loss.divergence_gradient, &a.divergence)
    })
    .sum()
}

fn check(
    name: &str,
    mut model: Model<Exact>,
    reference: &dyn Fn(&Method) -> ReferenceSource<'static, Exact>,
    noise: f64,
) {
    let method = method(name);
    let rows = rows(method.needs().rows);
    let rows: Vec<&Row> = rows.iter().collect();
    let context = StepContext {
        lambda: method.lambda_at(0, 0, 0),
        noise,
        seed: 4,
        ..StepContext::plain(&method, 60)
    };
    let reference = reference(&method);
    let (_, details, gradients) = step(&model, &reference, &rows, &context);
    let count = accumulated_count(&details);
    let (mut checked, mut comparison) = (0, Comparison::new(name, Tolerance::EXACT));
    for tensor in model.trainable().tensors().to_vec() {
        // IFT's table is a constant at the inputs: its slope is not what moving it shows.
        if tensor.name.ends_with("embed_tokens.weight") && !method.trains_input_embeddings() {
            continue;
        }
        let len = tensor.range.len();
        let index = (len / 2 + 1) % len;
        let at = tensor.range.start + index;
        let before = model.read(at..at + 1)[0];
        let mut at_offset = |offset: f64| {
            model.write(at, &[before + offset]);
            model.adapters_changed().unwrap();
            let (_, moved, _) = step(&model, &reference, &rows, &context);
            model.write(at, &[before]);
            model.adapters_changed().unwrap();
            assert_eq!(details.len(), moved.len());
            assert!(details.iter().zip(&moved).all(|(a, b)| a.look_ahead == b.look_ahead));
            linear(&details, &moved)
        };
        let offset = 1e-5;
        let expected = (at_offset(offset) - at_offset(-offset)) / (2.0 * offset);
        let found = gradients[&tensor.name][index] * count;
        let allowed = Tolerance { absolute: 2e-7, relative: 2e-7, ..Tolerance::EXACT };
        let what = format!("{}[{index}]", tensor.name);
        comparison.values_within(&what, &[found], &[expected], allowed);
        checked += 1;
    }
    comparison.finish();
    assert!(checked >= 4, "{name}: {checked}");
}

/// What the sums of a step are divided by.
fn accumulated_count(details: &[AnswerDetail]) -> f64 {
    details.iter().map(|detail| detail.loss.count).sum()
}

/// Leaks the model, so that the tests' closures need no lifetimes.
fn other() -> &'static Model<Exact> {
    let folder = folder("llama").join("ref");
    let trained = Trained::Nothing { storage: Storage::Exact };
    Box::leak(Box::new(Model::load(&folder, Arc::new(Exact), trained).unwrap()))
}

#[test]
fn of_every_method() {
    let other = other();
    let reference = |method: &Method| {
        if method.needs().reference { ReferenceSource::Model(other) } else { ReferenceSource::None }
    };
    for name in METHODS {
        let input_embeddings = method(name).trains_input_embeddings();
        let trained = Trained::All { input_embeddings };
        let model = Model::load(&folder("llama"), Arc::new(Exact), trained).unwrap();
        check(name, model, &reference, 0.0);
    }
}

/// Adapters with dropout and noise at the inputs: the draws are the same whatever the weights.
#[test]
fn of_adapters_and_noise() {
    for name in ["ift", "dpo", "tdpo1", "asft", "kto"] {
        let reference = |method: &Method| {
            if method.needs().reference { ReferenceSource::Base } else { ReferenceSource::None }
        };
        let adapter = Adapter { rank: 2, dropout: 0.2, ..Adapter::default() };
        let trained = Trained::Adapters { adapter: &adapter, seed: 3 };
        let mut model = Model::load(&folder("qwen3"), Arc::new(Exact), trained).unwrap();
        // Fresh adapters change nothing, and half of their slopes are zero.
        for tensor in model.trainable().tensors().to_vec() {
            let weights = model.read(tensor.range.clone()).into_iter().enumerate();
            let moved: Vec<f64> = weights.map(|(j, w)| w + 0.05 * (j as f64).sin()).collect();
            model.write(tensor.range.start, &moved);
        }
        model.adapters_changed().unwrap();
        check(name, model, &reference, 3.0);
    }
}
