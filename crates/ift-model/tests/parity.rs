//! Adapters that PEFT 0.21.2 wrote, against its log-probabilities and gradients in float64 (torch
//! 2.8, transformers 5.24 with its casts to float32 turned into float64). `tests/data/peft`: a tiny
//! Qwen2 (biases), rsLoRA on `all-linear` and `DoRA` on some layers, with random numbers in all
//! adapter tensors; `expected.safetensors` holds log-probabilities of the tokens after the first,
//! and the gradients of their sum, without dropout and with masks of rate 0.4 that were drawn as
//! here.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::{Choice, Reference};
use ift_model::{Adapter, BaseStorage, Keep, Model, PastOf, Sequences};
use safetensors::SafeTensors;
use std::path::Path;
use std::sync::Arc;

const TOKENS: [u32; 10] = [5, 17, 3, 9, 12, 7, 4, 0, 11, 2];

fn expected(tensors: &SafeTensors, name: &str) -> Vec<f64> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

fn close(found: &[f64], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < bound * (1.0 + e.abs()), "{what}: {f} {e}");
    }
}

/// Log-probabilities, and the gradients of what learns.
fn check(model: &Model<Reference>, streams: &[u64], tensors: &SafeTensors, prefix: &str) {
    let mut sequences = Sequences::default();
    sequences.push(&TOKENS);
    sequences.streams = streams.to_vec();
    let positions: Vec<usize> = (0..TOKENS.len() - 1).collect();
    let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Everything);
    let scored = model.score(&[(&pass, &positions[..])], &TOKENS[1..], Choice::Nothing, false);
    let log_probs = expected(tensors, &format!("{prefix}.log_probs"));
    close(&scored.scores.log_probs, &log_probs, 1e-12, prefix);
    if !model.is_adapted() {
        return;
    }
    let mut gradients = model.gradients(true);
    let d = model.score_backward(scored, &vec![1.0; positions.len()], None, &mut gradients);
    let d = model.hidden_gradient(&d, &pass, &[(0, &positions[..])]);
    model.backward(pass, d, None, None, &mut gradients);
    let learning = model.parameters().iter().zip(&gradients.accumulators);
    let learning: Vec<_> = learning.filter_map(|(p, g)| Some((p, g.as_ref()?))).collect();
    let count =
        tensors.names().iter().filter(|name| name.starts_with(&format!("{prefix}.base"))).count();
    assert_eq!(learning.len(), count);
    for (parameter, gradient) in learning {
        let name = format!("{prefix}.{}", parameter.tensors[0].name);
        close(gradient, &expected(tensors, &name), 1e-10, &name);
    }
}

#[test]
fn peft_s_adapters_say_what_they_say_there() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/peft");
    let bytes = std::fs::read(data.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for kind in ["rslora", "dora"] {
        let path = data.join(kind);
        let merged = Model::load(&path, Arc::new(Reference)).unwrap();
        check(&merged, &[], &tensors, kind);
        let adapter = Adapter {
            path: Some(path),
            base: BaseStorage::Exact,
            dropout: 0.4,
            ..Adapter::default()
        };
        let model =
            Model::load_adapted(&data.join("base"), Arc::new(Reference), &adapter, 0).unwrap();
        check(&model, &[], &tensors, kind);
        let streams: Vec<u64> = (1000..1010).collect();
        check(&model, &streams, &tensors, &format!("{kind}.dropped"));
    }
}
