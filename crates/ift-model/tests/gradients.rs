//! The backward pass against finite differences, through pasts, windows, biases and norms.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{Backend, Reference};
use ift_model::{Keep, Model};
use serde_json::json;
use std::sync::Arc;
use tiny::{How, create, families, loss, run};

#[test]
fn gradients_match_finite_differences() {
    let how = How::default();
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        let mut model = Model::load(folder.path(), Arc::new(Reference)).unwrap();
        for keep in [Keep::Everything, Keep::BlockInputs] {
            let gradients = run(&model, how, keep).1.unwrap();
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
                        let loss = loss(&model, how);
                        model.write_weight(i, &before);
                        loss
                    };
                    let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                    let name = &model.parameters()[i].tensors[0].name;
                    let error = (found[at] - expected).abs();
                    assert!(
                        error < 1e-7 * (1.0 + expected.abs()),
                        "{family} {name}[{at}]: {} {expected}",
                        found[at]
                    );
                }
            }
        }
    }
}

#[test]
fn an_untied_table_is_constant_when_inputs_do_not_train() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"tie_word_embeddings": false}), folder.path());
    let model = Model::load(folder.path(), Arc::new(Reference)).unwrap();
    assert!(model.gradients(false).accumulators[0].is_none());
    assert!(model.gradients(true).accumulators.iter().all(Option::is_some));
    assert_eq!(model.backend().read_weight(model.weight(0), 0..1).len(), 1);
}
