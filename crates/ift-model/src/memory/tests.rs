//! The formulas against the buffers that models and passes hold.

use super::*;
use crate::{BaseStorage, Keep, Model, PastOf, Sequences, Target, Trained, random};
use ift_backend::{Backend, NumberType, Reference};
use ift_cpu::{CpuBf16, CpuF32};
use std::sync::Arc;

fn config(family: &str) -> serde_json::Map<String, serde_json::Value> {
    let config = serde_json::json!({"model_type": family, "vocab_size": 30, "hidden_size": 12,
        "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 6, "tie_word_embeddings": false});
    config.as_object().unwrap().clone()
}

/// The formula against the buffers that a pass holds, whose lengths in elements `len` and
/// `exact_len` count.
fn compare<B: Backend>(
    backend: B,
    len: fn(&B::Activation) -> usize,
    exact_len: fn(&B::Accumulator) -> usize,
) {
    let footprint = backend.footprint();
    let backend = Arc::new(backend);
    for family in ["llama", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        random::create(config(family), 0, NumberType::F32, folder.path()).unwrap();
        let load = |input_embeddings| {
            let trained = Trained::All { input_embeddings };
            Model::load(folder.path(), Arc::clone(&backend), trained).unwrap()
        };
        let model = load(true);
        let mut sequences = Sequences::default();
        sequences.push(&[1, 2, 3, 4, 5, 6, 7]);
        for (keep, recompute) in [(Keep::Everything, false), (Keep::BlockInputs, true)] {
            let pass = model.forward(&sequences, None, &PastOf::Nothing, keep).unwrap();
            let mut activations = len(&pass.hidden);
            let mut exact: usize = pass.rotary.iter().map(exact_len).sum();
            for layer in &pass.layers {
                activations += [&layer.x, &layer.kv].into_iter().flatten().map(len).sum::<usize>();
                if let Some(i) = &layer.inner {
                    let inner = [&i.q, &i.attention, &i.middle, &i.gate_up];
                    activations += inner.into_iter().chain(&i.qkv).map(len).sum::<usize>();
                    exact += exact_len(&i.lse);
                }
            }
            let settings =
                Settings { states: 1, recompute, input_embeddings: true, ..Settings::default() };
            let batch = Batch { prompts: 7, continuations: 0, targets: 1 };
            let formula = Formula::new(model.config(), footprint, settings);
            let need = formula.need(batch);
            let held = activations * footprint.activation + exact * footprint.exact;
            assert_eq!(held, need.activations, "{family} {keep:?}");
            let collected: usize =
                model.past_gradient(&pass).unwrap().layers.iter().map(exact_len).sum();
            let continued = formula.need(Batch { continuations: 1, ..batch });
            let expected = (0, collected * footprint.exact);
            assert_eq!((need.past_gradients, continued.past_gradients), expected);
        }
        for input_embeddings in [false, true] {
            let model = load(input_embeddings);
            let held = exact_len(&model.gradients().unwrap().sums) * footprint.exact;
            let settings = Settings { states: 2, input_embeddings, ..Settings::default() };
            let need = Formula::new(model.config(), footprint, settings).need(Batch::default());
            assert_eq!((need.gradients, need.states), (held, 2 * held), "{family}");
            let table = if input_embeddings { 0 } else { 30 * 12 };
            let trainable = held / footprint.exact;
            assert_eq!(need.weights, footprint.weight * (trainable + table), "{family}");
        }
    }
}

#[test]
fn a_pass_keeps_what_the_formula_says() {
    compare(Reference, Vec::len, Vec::len);
    compare(CpuF32::new(1), |x| x.len(), |x| x.len());
    compare(CpuBf16::new(1), |x| x.len(), |x| x.len());
}

/// Of an adapted model only the adapters have gradients and states; its base and a reference take
/// what their storage takes.
#[test]
fn an_adapter_s_base_needs_its_storage_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = random::create(config("qwen3"), 0, NumberType::F32, folder.path()).unwrap();
    let adapter = Adapter {
        rank: 2,
        dora: true,
        targets: vec![Target::VProj, Target::DownProj],
        base: BaseStorage::Int8,
        ..Adapter::default()
    };
    let trained = Trained::Adapters { adapter: &adapter, seed: 0 };
    let model = Model::load(folder.path(), Arc::new(Reference), trained).unwrap();
    assert_eq!(model.trainable().element_count(), 3 * ((24 + 24 + 12) + (40 + 24 + 12)));
    // With every tensor's start rounded up to a multiple of 16.
    let trainable = 3 * ((32 + 32 + 16) + (48 + 32 + 16));
    assert_eq!(model.gradients().unwrap().sums.len(), trainable);
    let reference = Some(Resident { config: &config, storage: Storage::Bf16 });
    let settings =
        Settings { states: 2, adapter: Some(&adapter), reference, ..Settings::default() };
    let footprint = CpuBf16::new(1).footprint();
    let need = Formula::new(&config, footprint, settings).need(Batch::default());
    let vectors = 3 * (2 * 12 + 2 * 6) + 12;
    let linear = [12 * 48, 24 * 12, 12 * 40, 20 * 12];
    let blocks = 3 * linear.iter().map(|len: &usize| len.div_ceil(64) * 68).sum::<usize>();
    assert_eq!(need.weights, 2 * 2 * 30 * 12 + 6 * vectors + blocks + 6 * trainable);
    assert_eq!(need.reference, 2 * (weight_count(&config) - vectors) + 6 * vectors);
    let expected = (4 * trainable, 8 * trainable, 8 * 40);
    assert_eq!((need.gradients, need.states, need.saving), expected);
}

#[test]
fn bytes_of_an_element() {
    let bytes = |f: Footprint| (f.weight, f.exact, f.activation);
    assert_eq!(bytes(CpuF32::new(1).footprint()), (4, 4, 4));
    assert_eq!(bytes(CpuBf16::new(1).footprint()), (6, 4, 2));
    assert_eq!(bytes(Reference.footprint()), (8, 8, 8));
}

/// Logits are kept as long as they are few; then a block of them is held, however many targets
/// there are.
#[test]
fn the_head_is_bounded() {
    let config = Config::from_json(config("llama"), std::path::Path::new("config.json")).unwrap();
    let config = Config { vocabulary: 100_000, ..config };
    let settings = Settings { input_embeddings: true, ..Settings::default() };
    let footprint = CpuF32::new(1).footprint();
    let formula = Formula::new(&config, footprint, settings);
    let logits = |targets: usize| formula.head(targets) - targets * 4 * 4 * config.hidden;
    assert_eq!(logits(600), 4 * (600 * 100_000 + 2048 * config.hidden));
    assert_eq!(logits(700), 4 * (700 * 2048 + 2048 * config.hidden));
    assert!(logits(100_000) <= (32 << 20) + footprint.packed);
}

/// Absurd numbers of tokens need more than there is, rather than little by overflow.
#[test]
fn what_would_overflow_is_more_than_there_is() {
    let config = Config::from_json(config("llama"), std::path::Path::new("config.json")).unwrap();
    let formula = Formula::new(&config, Reference.footprint(), Settings::default());
    let (prompts, targets) = (1 << 58, 1 << 58);
    let need = formula.need(Batch { prompts, continuations: 0, targets });
    assert_eq!(need.total(), usize::MAX);
}
