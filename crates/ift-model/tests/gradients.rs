//! The backward pass against finite differences, through pasts, windows, biases and norms.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{Reference, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_model::{Keep, Model, Trained};
use serde_json::json;
use std::sync::Arc;
use tiny::{How, by_name, create, families, load, loss, run};

#[test]
fn gradients_match_finite_differences() {
    let how = How::default();
    let tolerance = Tolerance { absolute: 1e-7, relative: 1e-7, ..Tolerance::EXACT };
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        let mut model = load(folder.path());
        let mut comparison = Comparison::new(family.to_string(), tolerance);
        for keep in [Keep::Everything, Keep::BlockInputs] {
            let gradients = run(&model, how, keep).1.unwrap();
            let found = by_name(&model, &gradients);
            for tensor in model.trainable().tensors().to_vec() {
                for at in (0..tensor.range.len()).step_by(1 + tensor.range.len() / 7) {
                    let (step, start) = (1e-5, tensor.range.start + at);
                    let before = model.read(start..start + 1)[0];
                    let mut at_offset = |offset: f64| {
                        model.write(start, &[before + offset]);
                        let loss = loss(&model, how);
                        model.write(start, &[before]);
                        loss
                    };
                    let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                    let name = format!("{}[{at}]", tensor.name);
                    comparison.value(&name, found[&tensor.name][at], expected);
                }
            }
        }
        comparison.finish();
    }
}

#[test]
fn a_table_that_is_constant_at_the_inputs_has_the_head_s_gradient_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let table = "model.embed_tokens.weight";
    let load = |input_embeddings| {
        let trained = Trained::All { input_embeddings };
        Model::load(folder.path(), Arc::new(Reference), trained).unwrap()
    };
    let gradient = |model: &Model<Reference>| {
        by_name(model, &run(model, How::default(), Keep::Everything).1.unwrap())
    };
    create(&json!({"tie_word_embeddings": false}), folder.path());
    let (constant, whole) = (load(false), load(true));
    let (of_constant, mut of_whole) = (gradient(&constant), gradient(&whole));
    assert!(of_whole.remove(table).unwrap().iter().any(|g| *g != 0.0));
    assert_eq!(of_constant, of_whole);
    assert_eq!(constant.read_tensor(table), whole.read_tensor(table));
    assert_eq!(constant.element_count(), whole.element_count());
    assert_eq!(constant.trainable().element_count() + 19 * 12, whole.element_count());

    create(&json!({"tie_word_embeddings": true}), folder.path());
    let (of_constant, of_whole) = (gradient(&load(false)), gradient(&load(true)));
    assert_ne!(of_constant[table], of_whole[table]);
    assert!(of_constant[table].iter().all(|g| g.is_finite() && *g != 0.0));
}

#[test]
fn weights_and_their_mean_are_exchanged_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({}), folder.path());
    let mut model = load(folder.path());
    let all = 0..model.trainable().len();
    let before = model.read(all.clone());
    let mut mean = model.gradients().unwrap().sums;
    model.average(0.75, &mut mean);
    let averaged: Vec<f64> = before.iter().map(|w| 0.75 * 0.0 + 0.25 * w).collect();
    model.exchange_average(&mut mean).unwrap();
    assert_eq!(model.read(all.clone()), averaged);
    model.exchange_average(&mut mean).unwrap();
    assert_eq!(model.read(all), before);
    assert_eq!(tiny::load_frozen(folder.path(), Storage::Exact).trainable().len(), 0);
}
