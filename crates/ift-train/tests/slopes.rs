//! Every method's gradient through a whole model is the slope of its loss: at the weights, and of
//! the terms that a method holds constant (weights, the reference, KTO's KL point) held constant.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod numbers;

use ift_backend::{Reference as Exact, Storage};
use ift_data::Row;
use ift_methods::{Method, RowKind};
use ift_model::{Adapter, Model};
use ift_train::{AnswerDetail, ReferenceSource, StepContext, accumulate_with};
use numbers::{folder, json, sequences};
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
            RowKind::Text => Row::text(chosen),
            RowKind::Demonstration => Row::demonstration(chosen),
            RowKind::Pair => Row::pair(chosen, rejected),
            RowKind::Judged => Row::judged(chosen, kl, i != 1),
        };
        row.at(0, i as u64 + 1)
    };
    chosen.into_iter().zip(rejected).zip(kl).enumerate().map(row).collect()
}

/// What a step over the rows says, and the gradients of every parameter.
fn run(
    model: &Model<Exact>,
    reference: &ReferenceSource<Exact>,
    rows: &[&Row],
    context: &StepContext,
) -> (Vec<AnswerDetail>, Vec<Option<Vec<f64>>>) {
    let mut gradients = model.gradients(context.method.trains_input_embeddings());
    let mut details = Vec::new();
    let mut show = |answers: &[AnswerDetail]| details.extend_from_slice(answers);
    accumulate_with(model, reference, &mut gradients, rows, context, &mut show).unwrap();
    (details, gradients.accumulators)
}

/// `Σ slope·value` over everything that the loss depends on, with the slopes of the unmoved model.
fn linear(slopes: &[AnswerDetail], at: &[AnswerDetail]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
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
    let (details, gradients) = run(&model, &reference, &rows, &context);
    let mut checked = 0;
    for (i, gradient) in gradients.iter().enumerate() {
        // IFT's table is a constant at the inputs: its slope is not what moving it shows.
        let Some(gradient) =
            gradient.as_ref().filter(|_| i > 0 || method.trains_input_embeddings())
        else {
            continue;
        };
        let len = gradient.len();
        let at = (len / 2 + 1) % len;
        let before = model.weight(i).clone();
        let mut at_offset = |offset: f64| {
            let mut moved = before.clone();
            moved[at] += offset;
            model.write_weight(i, &moved);
            model.adapters_changed();
            let moved = run(&model, &reference, &rows, &context).0;
            model.write_weight(i, &before);
            model.adapters_changed();
            assert!(details.iter().zip(&moved).all(|(a, b)| a.choices == b.choices));
            linear(&details, &moved)
        };
        let step = 1e-5;
        let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
        let error = (gradient[at] - expected).abs();
        let tensor = &model.parameters()[i].tensors[0].name;
        assert!(
            error < 2e-7 * (1.0 + expected.abs()),
            "{name} {tensor}[{at}]: {} {expected}",
            gradient[at]
        );
        checked += 1;
    }
    assert!(checked >= 4, "{name}: {checked}");
}

/// Leaks the model, so that the tests' closures need no lifetimes.
fn other() -> &'static Model<Exact> {
    let folder = folder("llama").join("ref");
    Box::leak(Box::new(Model::load_frozen(&folder, Arc::new(Exact), Storage::Exact).unwrap()))
}

#[test]
fn of_every_method() {
    let other = other();
    let reference = |method: &Method| {
        if method.needs().reference { ReferenceSource::Model(other) } else { ReferenceSource::None }
    };
    for name in METHODS {
        let model = Model::load(&folder("llama"), Arc::new(Exact)).unwrap();
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
        let mut model =
            Model::load_adapted(&folder("qwen3"), Arc::new(Exact), &adapter, 3).unwrap();
        // Fresh adapters change nothing, and half of their slopes are zero.
        for i in 0..model.parameters().len() {
            if model.trains(i) {
                let moved: Vec<f64> = model
                    .weight(i)
                    .iter()
                    .enumerate()
                    .map(|(j, w)| w + 0.05 * (j as f64).sin())
                    .collect();
                model.write_weight(i, &moved);
            }
        }
        model.adapters_changed();
        check(name, model, &reference, 3.0);
    }
}
