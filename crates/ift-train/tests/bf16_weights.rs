//! Training with weights in bfloat16: they are such numbers from the first step to the last, and
//! small updates have no effect.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod numbers;

use std::sync::Arc;

use half::bf16;
use ift_backend::{Backend, Element, Reference as Exact};
use ift_cpu::{CpuBf16, CpuF32};
use ift_data::Row;
use ift_methods::{Ift, Method};
use ift_model::{Model, Trained};
use ift_train::{Learner, Optimizer, ReferenceSource, RmsProp, RmsPropBf16, StepContext};
use numbers::{folder, json, sequences};

/// The weights of a golden model before and after three steps.
fn train<B: Backend>(backend: B, optimizer: &Optimizer) -> [Vec<f64>; 3] {
    let sequences = sequences(&json("batches.json")["sft"]["b0"]).into_iter();
    let rows: Vec<Row> = sequences.map(Row::demonstration).collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let trained = Trained::All { input_embeddings: false };
    let model = Model::load(&folder("qwen3"), Arc::new(backend), trained).unwrap();
    let read = |model: &Model<B>| -> Vec<f64> {
        model.read(0..model.trainable().len()).into_iter().map(Element::to_f64).collect()
    };
    let loaded = read(&model);
    let mut learner = Learner::new(model, optimizer.clone(), None).unwrap();
    let start = read(learner.model());
    let method = Method::Ift(Ift::default());
    for step in 0..3 {
        let context = StepContext { step, lambda: 0.2, ..StepContext::plain(&method, 4096) };
        learner.step(&ReferenceSource::None, &rows, &context, optimizer.lr()).unwrap();
    }
    [loaded, start, read(learner.model())]
}

fn changed(before: &[f64], after: &[f64]) -> f64 {
    let changed = before.iter().zip(after).filter(|(a, b)| a != b).count();
    changed as f64 / before.len() as f64
}

fn check<B: Backend>(backend: impl Fn() -> B) {
    let narrow = |lr| Optimizer::RmspropBf16(RmsPropBf16 { lr, ..RmsPropBf16::default() });
    let [loaded, start, end] = train(backend(), &narrow(1e-3));
    let rounded: Vec<f64> = loaded.iter().map(|&x| bf16::from_f64(x).to_f64()).collect();
    assert!(start == rounded, "the weights at the start are not the rounded ones");
    assert!(end.iter().all(|&x| bf16::from_f64(x).to_f64() == x), "weights are not bfloat16");
    assert!(changed(&start, &end) > 0.5, "{}", changed(&start, &end));
    // With the paper's learning rate a few weights change, and without rounding nearly all do.
    let [_, start, end] = train(backend(), &narrow(5e-7));
    let few = changed(&start, &end);
    let wide = Optimizer::Rmsprop(RmsProp { lr: 5e-7, ..RmsProp::default() });
    let [_, start, end] = train(backend(), &wide);
    let most = changed(&start, &end);
    assert!(few > 0.0 && few < 0.1 && most > 0.9, "{few} {most}");
}

#[test]
fn weights_stay_bf16_on_every_backend() {
    check(|| Exact);
    check(|| CpuF32::new(2));
    check(|| CpuBf16::new(2));
}
