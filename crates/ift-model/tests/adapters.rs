//! Adapters on a frozen base: gradients against finite differences, merging, and what must not
//! change.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{Backend, NumberType, Reference, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_cpu::{CpuBf16, CpuF32};
use ift_model::{
    Adapter, BaseStorage, Keep, Model, PastOf, Sequences, Target, TrainableTensor, Trained,
};
use serde_json::json;
use std::sync::Arc;
use tiny::{
    How, adapted, by_name, create, families, load, load_adapted, load_frozen, log_probs, loss,
    moved, run, same, settings,
};

/// The kinds that are computed differently.
fn kinds() -> Vec<Adapter> {
    let dropout = 0.4;
    let some = vec![Target::KProj, Target::VProj, Target::UpProj, Target::DownProj];
    vec![
        settings(),
        Adapter { rslora: true, dropout, ..settings() },
        Adapter { dora: true, ..settings() },
        Adapter { dora: true, dropout, ..settings() },
        Adapter { dora: true, dropout, targets: some.clone(), ..settings() },
        Adapter { targets: some, ..settings() },
    ]
}

#[test]
fn gradients_match_finite_differences() {
    let how = How { streams: true, noise: true, ..How::default() };
    let tolerance = Tolerance { absolute: 1e-7, relative: 1e-7, ..Tolerance::EXACT };
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        for adapter in kinds() {
            let mut model = adapted(folder.path(), &adapter);
            let gradients = run(&model, how, Keep::Everything).1.unwrap();
            let found = by_name(&model, &gradients);
            let mut comparison = Comparison::new(format!("{family} {adapter:?}"), tolerance);
            for tensor in model.trainable().tensors().to_vec() {
                // The rows' norms are constants of the gradient, so they are renewed for magnitudes
                // alone, whose factors depend on them.
                let magnitude = tensor.name.ends_with("lora_magnitude_vector");
                for at in (0..tensor.range.len()).step_by(1 + tensor.range.len() / 4) {
                    let (step, start) = (1e-5, tensor.range.start + at);
                    let before = model.read(start..start + 1)[0];
                    let mut at_offset = |offset: f64| {
                        model.write(start, &[before + offset]);
                        if magnitude {
                            model.adapters_changed().unwrap();
                        }
                        loss(&model, how)
                    };
                    let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                    at_offset(0.0);
                    let name = format!("{}[{at}]", tensor.name);
                    comparison.value(&name, found[&tensor.name][at], expected);
                }
            }
            comparison.finish();
        }
    }
}

#[test]
fn recomputed_blocks_draw_the_same() {
    let how = How { streams: true, noise: true, ..How::default() };
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        for adapter in kinds() {
            let model = adapted(folder.path(), &adapter);
            let (kept, again) =
                (run(&model, how, Keep::Everything), run(&model, how, Keep::BlockInputs));
            let gradients = |run: &(Vec<f64>, Option<_>)| by_name(&model, run.1.as_ref().unwrap());
            let mut comparison = Comparison::new(format!("{family} {adapter:?}"), Tolerance::EXACT);
            comparison.values("log-probabilities", &again.0, &kept.0);
            comparison.tensors(&gradients(&again), &gradients(&kept));
            comparison.finish();
        }
    }
}

#[test]
fn merged_is_adapted_and_saved_is_loaded() {
    for family in families() {
        let (base, plain, own) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
        let (base, plain, own) = (base.unwrap(), plain.unwrap(), own.unwrap());
        create(&family, base.path());
        std::fs::write(base.path().join("tokenizer.json"), "{}").unwrap();
        for adapter in kinds() {
            let model = adapted(base.path(), &adapter);
            let expected = log_probs(&model, How::default());
            model.save(plain.path(), NumberType::F64).unwrap();
            model.save_adapter(own.path(), NumberType::F64).unwrap();
            for merged in [load(plain.path()), load(own.path())] {
                assert!(!merged.is_adapted());
                assert_eq!(merged.trainable(), load(base.path()).trainable());
                let found = log_probs(&merged, How::default());
                same(&format!("{family} {adapter:?}"), &found, &expected);
            }
            // Everything but dropout and storage comes from the folder.
            let path = Some(own.path().to_owned());
            let (dropout, base_storage) = (adapter.dropout, adapter.base);
            let onward = Adapter { path, dropout, base: base_storage, ..Adapter::default() };
            let again = load_adapted(base.path(), &onward, 9).unwrap();
            assert!(again.is_adapted());
            assert_eq!(again.trainable(), model.trainable());
            let how = How { streams: true, ..How::default() };
            assert_eq!(log_probs(&again, how), log_probs(&model, how), "{family} {adapter:?}");
            assert!(own.path().join("tokenizer.json").is_file());
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_follows_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "qwen3"}), folder.path());
    let base = load(folder.path());
    let expected = log_probs(&base, How::default());
    let fresh = |adapter: &Adapter, seed| load_adapted(folder.path(), adapter, seed).unwrap();
    for dora in [false, true] {
        let model = fresh(&Adapter { dora, ..settings() }, 1);
        same("fresh adapter", &log_probs(&model, How::default()), &expected);
    }
    // Draws lie in ±1/√inputs and fill that range; a tensor's do not depend on the others.
    let whole = fresh(&settings(), 1);
    let part = fresh(&Adapter { targets: vec![Target::DownProj], ..settings() }, 1);
    let named = |model: &Model<Reference>, name: &str| model.read_tensor(name).unwrap();
    let name = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    let drawn = named(&whole, name);
    let bound = 1.0 / 10.0f64.sqrt();
    assert!(drawn.iter().all(|a| a.abs() <= bound) && drawn.iter().any(|a| a.abs() > 0.8 * bound));
    assert_eq!(drawn, named(&part, name));
    assert_eq!(drawn, named(&fresh(&settings(), 1), name));
    assert_ne!(drawn, named(&fresh(&settings(), 2), name));
    assert_ne!(drawn, named(&whole, &name.replace("layers.1", "layers.0")));
    assert!(named(&whole, &name.replace("lora_A", "lora_B")).iter().all(|b| *b == 0.0));
}

/// The base alone, whatever the adapters and their dropout are: the reference model of what is
/// adapted.
#[test]
fn adapters_that_are_off_leave_the_base() {
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        let base = load(folder.path());
        let expected = log_probs(&base, How::default());
        for adapter in kinds() {
            let model = adapted(folder.path(), &adapter);
            let off =
                log_probs(&model, How { adapters_off: true, streams: true, ..How::default() });
            assert_eq!(off, expected, "{family} {adapter:?}");
            assert!(moved(&log_probs(&model, How::default()), &expected) > 1e-3);
        }
    }
}

#[test]
fn nothing_frozen_has_a_gradient() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "qwen3", "tie_word_embeddings": false}), folder.path());
    let plain = load(folder.path());
    let frozen = load_frozen(folder.path(), Storage::Exact);
    assert!(frozen.trainable().is_empty() && frozen.trainable().tensors().is_empty());
    assert_eq!(frozen.element_count(), plain.trainable().element_count());
    assert_eq!(log_probs(&frozen, How::default()), log_probs(&plain, How::default()));
    // Going back through it anyway adds nothing anywhere.
    let gradients = run(&frozen, How::default(), Keep::Everything).1.unwrap();
    assert!(by_name(&frozen, &gradients).is_empty());

    let adapter = Adapter { dora: true, ..settings() };
    let model = adapted(folder.path(), &adapter);
    let tensors = model.trainable().tensors();
    assert_eq!(tensors.len(), 2 * 7 * 3);
    assert!(tensors.iter().all(|tensor| tensor.name.contains(".lora_")));
}

#[test]
fn dropout_and_noise_come_from_the_streams() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({}), folder.path());
    let model = adapted(folder.path(), &Adapter { dropout: 0.5, ..settings() });
    let hidden = |changes: &dyn Fn(&mut Sequences)| {
        let mut sequences = Sequences::default();
        sequences.push(&[1, 2, 3, 4]);
        changes(&mut sequences);
        let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing).unwrap();
        model.logits(&pass, &[0, 1, 2, 3]).unwrap()
    };
    let plain = hidden(&|_| {});
    let dropped = hidden(&|s| s.streams = vec![1, 2, 3, 4]);
    assert_ne!(plain, dropped);
    assert_eq!(dropped, hidden(&|s| s.streams = vec![1, 2, 3, 4]));
    // A token's draws are its own: the first tokens are not moved by another stream of the last.
    let other = hidden(&|s| s.streams = vec![1, 2, 3, 5]);
    assert_eq!(dropped[..3 * 19], other[..3 * 19]);
    assert_ne!(dropped[3 * 19..], other[3 * 19..]);
    let noisy = hidden(&|s| (s.streams, s.noise) = (vec![1, 2, 3, 4], vec![0.0, 0.0, 0.0, 0.5]));
    assert_eq!(dropped[..3 * 19], noisy[..3 * 19]);
    assert_ne!(dropped[3 * 19..], noisy[3 * 19..]);
}

/// `E[dropout(x)] = x`: over many streams the mean of an adapted model's logits is near those
/// without dropout. A model of one layer whose output projection alone is adapted, so that nothing
/// but the head's norm is not linear in what is dropped.
#[test]
fn dropped_inputs_are_scaled_up() {
    let rate = 0.25;
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"num_hidden_layers": 1}), folder.path());
    let model = adapted(
        folder.path(),
        &Adapter { dropout: rate, targets: vec![Target::OProj], alpha: 0.01, ..settings() },
    );
    let logits = |stream: Option<u64>| {
        let mut sequences = Sequences::default();
        sequences.push(&[1, 2, 3]);
        sequences.streams = stream.into_iter().flat_map(|s| [s, s + 1, s + 2]).collect();
        let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing).unwrap();
        model.logits(&pass, &[2]).unwrap()
    };
    let plain = logits(None);
    let draws = 400;
    let mut mean = vec![0.0; plain.len()];
    let mut spread: f64 = 0.0;
    for draw in 0..draws {
        for ((mean, l), p) in mean.iter_mut().zip(logits(Some(3 * draw))).zip(&plain) {
            *mean += f64::from(l) / draws as f64;
            spread = spread.max(f64::from((l - p).abs()));
        }
    }
    let off = moved(&mean, &plain.iter().map(|&p| f64::from(p)).collect::<Vec<_>>());
    assert!(spread > 0.0 && off < spread / 5.0, "{off} {spread}");
}

/// A frozen model is the model of the elements that are left after rounding.
#[test]
fn frozen_models_compute_with_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "qwen2", "tie_word_embeddings": false}), folder.path());
    let exact = load(folder.path());
    for storage in [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4] {
        let frozen = load_frozen(folder.path(), storage);
        let mut rounded = load(folder.path());
        let mut comparison = Comparison::new(format!("{storage:?}"), Tolerance::absolute(1e-7));
        let groups: Vec<_> = exact.trainable().groups().map(<[_]>::to_vec).collect();
        for group in groups {
            let range = tiny::range_of(&group);
            let read = |tensor: &TrainableTensor| frozen.read_tensor(&tensor.name).unwrap();
            let stored: Vec<f64> = group.iter().flat_map(read).collect();
            let own = exact.read(range.clone());
            let name = &group[0].name;
            let expected = match storage {
                _ if !group[0].is_matrix() => own,
                Storage::Int8 if name.contains("_proj") => eight_bits(&own),
                Storage::Nf4 if name.contains("_proj") => stored.clone(),
                Storage::Exact => own,
                _ => own.iter().map(|&w| half::bf16::from_f32(w as f32).to_f64()).collect(),
            };
            comparison.values(name, &stored, &expected);
            rounded.write(range.start, &stored);
        }
        comparison.finish();
        let found = log_probs(&frozen, How::default());
        assert_eq!(found, log_probs(&rounded, How::default()), "{storage:?}");
        let moved = moved(&found, &log_probs(&exact, How::default()));
        let bounds = match storage {
            Storage::Exact => 0.0..=0.0,
            Storage::Bf16 => 1e-6..=0.05,
            Storage::Int8 => 1e-5..=0.1,
            Storage::Nf4 => 1e-3..=1.0,
        };
        assert!(bounds.contains(&moved), "{storage:?} {moved}");
    }
}

/// `round(127·w / largest)·largest / 127` in blocks of 64.
fn eight_bits(weight: &[f64]) -> Vec<f64> {
    let of_block = |block: &[f64]| {
        let largest = block.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        block
            .iter()
            .map(move |w| (127.0 * w / largest).round() * largest / 127.0)
            .collect::<Vec<_>>()
    };
    weight.chunks(64).flat_map(of_block).collect()
}

/// What is merged and trained is the base as it is stored; `adapters_off` is that base too.
#[test]
fn a_quantised_base_is_the_one_that_is_adapted() {
    let (folder, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&json!({"model_type": "qwen2"}), folder.path());
    for (base, storage) in [(BaseStorage::Nf4, Storage::Nf4), (BaseStorage::Int8, Storage::Int8)] {
        for dora in [false, true] {
            let model = adapted(folder.path(), &Adapter { base, dora, ..settings() });
            let frozen = load_frozen(folder.path(), storage);
            let off = How { adapters_off: true, ..How::default() };
            assert_eq!(log_probs(&model, off), log_probs(&frozen, How::default()));
            model.save(plain.path(), NumberType::F64).unwrap();
            let merged = load(plain.path());
            let (found, expected) =
                (log_probs(&merged, How::default()), log_probs(&model, How::default()));
            same(&format!("{storage:?}"), &found, &expected);
        }
    }
}

/// The same adapter on another backend: log-probabilities, and every gradient by its direction and
/// length.
fn agrees<B: Backend>(backend: B, off: f64, turned: f64) {
    let backend = Arc::new(backend);
    let how = How { streams: true, noise: true, ..How::default() };
    for family in families() {
        let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        create(&family, folder.path());
        for base in [BaseStorage::Exact, BaseStorage::Bf16, BaseStorage::Int8, BaseStorage::Nf4] {
            for adapter in kinds() {
                let reference = adapted(folder.path(), &Adapter { base, ..adapter.clone() });
                reference.save_adapter(own.path(), NumberType::F64).unwrap();
                let path = Some(own.path().to_owned());
                let adapter =
                    Adapter { path, base, dropout: adapter.dropout, ..Adapter::default() };
                let trained = Trained::Adapters { adapter: &adapter, seed: 0 };
                let model = Model::load(folder.path(), Arc::clone(&backend), trained).unwrap();
                let (expected, found) =
                    (run(&reference, how, Keep::Everything), run(&model, how, Keep::Everything));
                let what = format!("{family} {base:?} {adapter:?}");
                let mut comparison = Comparison::new(what, Tolerance::absolute(off));
                comparison.values("log-probabilities", &found.0, &expected.0);
                let found = by_name(&model, &found.1.unwrap());
                for (name, expected) in by_name(&reference, &expected.1.unwrap()) {
                    let found = &found[&name];
                    comparison.direction(&name, found, &expected, 1.0 - turned);
                    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
                    comparison.value(&name, length(found) / length(&expected), 1.0);
                }
                comparison.finish();
            }
        }
    }
}

#[test]
fn the_cpu_agrees_with_the_reference() {
    agrees(CpuF32::new(2), 1e-4, 1e-6);
}

#[test]
fn the_cpu_agrees_in_bf16() {
    agrees(CpuBf16::new(2), 0.2, 0.02);
}
