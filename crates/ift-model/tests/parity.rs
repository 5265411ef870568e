//! Adapters that PEFT 0.21.2 wrote, against its log-probabilities and gradients in float64 (torch
//! 2.8, transformers 5.24 with its casts to float32 turned into float64). `tests/data/peft`: a tiny
//! Qwen2 (biases), rsLoRA on `all-linear` and `DoRA` on some layers, with random numbers in all
//! adapter tensors; `expected.safetensors` holds log-probabilities of the tokens after the first,
//! and the gradients of their sum, without dropout and with masks of rate 0.4 that were drawn as
//! here.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::{Backend, Element, Reference, Select};
use ift_compare::{Comparison, Tolerance};
use ift_model::{Adapter, BaseStorage, Keep, Model, PastOf, Sequences, TensorFiles, Trained};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const TOKENS: [u32; 10] = [5, 17, 3, 9, 12, 7, 4, 0, 11, 2];

/// The expected tensors by name.
fn expected(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let files = TensorFiles::open(vec![path.to_owned()]).unwrap();
    let tensors = files.tensors().unwrap();
    let values = |name: &str| {
        let shape = tensors.shape(name).unwrap();
        let tensor = tensors.read(name, shape, "the file").unwrap();
        let mut values = vec![0.0; tensor.len()];
        tensor.convert_into(&mut values);
        values
    };
    tensors.names().map(|name| (name.to_owned(), values(name))).collect()
}

/// Log-probabilities, and the gradients of what is trained.
fn check(
    model: &Model<Reference>,
    streams: &[u64],
    expected: &BTreeMap<String, Vec<f64>>,
    prefix: &str,
) {
    let tolerance = Tolerance { absolute: 1e-10, relative: 1e-10, ..Tolerance::EXACT };
    let mut comparison = Comparison::new(prefix, tolerance);
    let mut sequences = Sequences::default();
    sequences.push(&TOKENS);
    sequences.streams = streams.to_vec();
    let positions: Vec<usize> = (0..TOKENS.len() - 1).collect();
    let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Everything).unwrap();
    let pieces = [(&pass, &positions[..])];
    let scored = model.score(&pieces, &TOKENS[1..], Select::Nothing, false).unwrap();
    let tight = Tolerance { absolute: 1e-12, relative: 1e-12, ..Tolerance::EXACT };
    let log_probs = model.read_scores(&scored).log_probs;
    let name = format!("{prefix}.log_probs");
    comparison.values_within(&name, &log_probs, &expected[&name], tight);
    if model.is_adapted() {
        let mut gradients = model.gradients().unwrap();
        let ones = vec![1.0; positions.len()];
        let d = model.score_backward(scored, &ones, None, &mut gradients).unwrap();
        let d = model.hidden_gradient(&d, &pass, &[(0, &positions[..])]).unwrap();
        model.backward(pass, d, None, None, &mut gradients).unwrap();
        let gradient = |range| {
            let values = model.backend().read_accumulator(&gradients.sums, range);
            values.into_iter().map(Element::to_f64).collect::<Vec<_>>()
        };
        let found =
            model.trainable().tensors().iter().map(|tensor| {
                (format!("{prefix}.{}", tensor.name), gradient(tensor.range.clone()))
            });
        let of_base = format!("{prefix}.base_model.");
        let expected = expected.iter().filter(|(name, _)| name.starts_with(&of_base));
        let expected = expected.map(|(name, values)| (name.clone(), values.clone()));
        comparison.tensors(&found.collect(), &expected.collect());
    }
    comparison.finish();
}

#[test]
fn adapters_of_peft_have_its_scores_and_gradients() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/peft");
    let expected = expected(&data.join("expected.safetensors"));
    for kind in ["rslora", "dora"] {
        let path = data.join(kind);
        let all = Trained::All { input_embeddings: true };
        let merged = Model::load(&path, Arc::new(Reference), all).unwrap();
        check(&merged, &[], &expected, kind);
        let adapter = Adapter {
            path: Some(path),
            base: BaseStorage::Exact,
            dropout: 0.4,
            ..Adapter::default()
        };
        let trained = Trained::Adapters { adapter: &adapter, seed: 0 };
        let model = Model::load(&data.join("base"), Arc::new(Reference), trained).unwrap();
        check(&model, &[], &expected, kind);
        let streams: Vec<u64> = (1000..1010).collect();
        check(&model, &streams, &expected, &format!("{kind}.dropped"));
    }
}
