//! Adapters on a frozen base: gradients against finite differences, merging, and what must not
//! change.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{Backend, Element, NumberType, Reference, Storage};
use ift_cpu::{CpuBf16, CpuF32};
use ift_model::{Adapter, BaseStorage, Keep, Model, PastOf, Sequences, Target};
use serde_json::json;
use std::sync::Arc;
use tiny::{How, adapted, create, difference, families, log_probs, loss, run, settings};

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
    for family in families() {
        let folder = tempfile::tempdir().unwrap();
        create(&family, folder.path());
        for adapter in kinds() {
            let mut model = adapted(folder.path(), &adapter);
            let gradients = run(&model, how, Keep::Everything).1.unwrap();
            for i in 0..model.parameters().len() {
                assert_eq!(gradients.accumulators[i].is_some(), model.trains(i));
                let Some(found) = &gradients.accumulators[i] else { continue };
                let name = model.parameters()[i].tensors[0].name.clone();
                // The rows' norms are constants of the gradient, so they are renewed for magnitudes
                // alone, whose factors depend on them.
                let magnitude = name.ends_with("lora_magnitude_vector");
                for at in (0..found.len()).step_by(1 + found.len() / 4) {
                    let step = 1e-5;
                    let before = model.weight(i).clone();
                    let mut at_offset = |offset: f64| {
                        let mut moved = before.clone();
                        moved[at] += offset;
                        model.write_weight(i, &moved);
                        if magnitude {
                            model.adapters_changed();
                        }
                        loss(&model, how)
                    };
                    let expected = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                    at_offset(0.0);
                    let error = (found[at] - expected).abs();
                    assert!(
                        error < 1e-7 * (1.0 + expected.abs()),
                        "{family} {adapter:?} {name}[{at}]: {} {expected}",
                        found[at]
                    );
                }
            }
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
            assert_eq!(kept.0, again.0);
            assert_eq!(
                kept.1.unwrap().accumulators,
                again.1.unwrap().accumulators,
                "{family} {adapter:?}"
            );
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
            let load = |folder: &tempfile::TempDir| {
                Model::load(folder.path(), Arc::new(Reference)).unwrap()
            };
            for merged in [load(&plain), load(&own)] {
                assert!(!merged.is_adapted() && merged.trains(0));
                assert_eq!(merged.parameters().len(), load(&base).parameters().len());
                let found = log_probs(&merged, How::default());
                assert!(
                    difference(&found, &expected) < 1e-12,
                    "{family} {adapter:?} {found:?} {expected:?}"
                );
            }
            // Everything but dropout and storage comes from the folder.
            let path = Some(own.path().to_owned());
            let (dropout, base_storage) = (adapter.dropout, adapter.base);
            let onward = Adapter { path, dropout, base: base_storage, ..Adapter::default() };
            let again = Model::load_adapted(base.path(), Arc::new(Reference), &onward, 9).unwrap();
            assert!(again.is_adapted());
            assert_eq!(again.parameters(), model.parameters());
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
    let base = Model::load(folder.path(), Arc::new(Reference)).unwrap();
    let expected = log_probs(&base, How::default());
    let load = |adapter: &Adapter, seed| {
        Model::load_adapted(folder.path(), Arc::new(Reference), adapter, seed).unwrap()
    };
    for dora in [false, true] {
        let model = load(&Adapter { dora, ..settings() }, 1);
        let found = log_probs(&model, How::default());
        assert!(difference(&found, &expected) < 1e-12, "{found:?} {expected:?}");
    }
    // Draws lie in ±1/√inputs and fill that range; a tensor's do not depend on the others.
    let whole = load(&settings(), 1);
    let part = load(&Adapter { targets: vec![Target::DownProj], ..settings() }, 1);
    let named = |model: &Model<Reference>, name: &str| {
        let at = model.parameters().iter().position(|p| p.tensors[0].name == name).unwrap();
        model.weight(at).clone()
    };
    let name = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    let drawn = named(&whole, name);
    let bound = 1.0 / 10.0f64.sqrt();
    assert!(drawn.iter().all(|a| a.abs() <= bound) && drawn.iter().any(|a| a.abs() > 0.8 * bound));
    assert_eq!(drawn, named(&part, name));
    assert_eq!(drawn, named(&load(&settings(), 1), name));
    assert_ne!(drawn, named(&load(&settings(), 2), name));
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
        let base = Model::load(folder.path(), Arc::new(Reference)).unwrap();
        let expected = log_probs(&base, How::default());
        for adapter in kinds() {
            let model = adapted(folder.path(), &adapter);
            let off =
                log_probs(&model, How { adapters_off: true, streams: true, ..How::default() });
            assert_eq!(off, expected, "{family} {adapter:?}");
            assert!(difference(&log_probs(&model, How::default()), &expected) > 1e-3);
        }
    }
}

#[test]
fn nothing_frozen_has_a_gradient() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "qwen3", "tie_word_embeddings": false}), folder.path());
    let plain = Model::load(folder.path(), Arc::new(Reference)).unwrap();
    assert!((0..plain.parameters().len()).all(|i| plain.trains(i)));
    let frozen = Model::load_frozen(folder.path(), Arc::new(Reference), Storage::Exact).unwrap();
    assert!(frozen.gradients(true).accumulators.iter().all(Option::is_none));
    assert_eq!(log_probs(&frozen, How::default()), log_probs(&plain, How::default()));
    // Going back through it anyway adds nothing anywhere.
    assert!(
        run(&frozen, How::default(), Keep::Everything)
            .1
            .unwrap()
            .accumulators
            .iter()
            .all(Option::is_none)
    );

    let adapter = Adapter { dora: true, ..settings() };
    let model = adapted(folder.path(), &adapter);
    let gradients = model.gradients(true).accumulators;
    for (parameter, gradient) in model.parameters().iter().zip(gradients) {
        let own = parameter.tensors[0].name.contains(".lora_");
        assert_eq!(gradient.is_some(), own, "{}", parameter.tensors[0].name);
    }
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
        let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing);
        model.logits(&pass, &[0, 1, 2, 3])
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
        let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing);
        model.logits(&pass, &[2])
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
    let off = difference(&mean, &plain.iter().map(|&p| f64::from(p)).collect::<Vec<_>>());
    assert!(spread > 0.0 && off < spread / 5.0, "{off} {spread}");
}

/// A frozen model is the model of the numbers that are left after rounding.
#[test]
fn frozen_models_compute_with_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({"model_type": "qwen2", "tie_word_embeddings": false}), folder.path());
    let exact = Model::load(folder.path(), Arc::new(Reference)).unwrap();
    for storage in [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4] {
        let frozen = Model::load_frozen(folder.path(), Arc::new(Reference), storage).unwrap();
        let mut rounded = Model::load(folder.path(), Arc::new(Reference)).unwrap();
        for (i, parameter) in exact.parameters().iter().enumerate() {
            let stored = frozen.backend().read_weight(frozen.weight(i), 0..parameter.len);
            let name = &parameter.tensors[0].name;
            let expected = match storage {
                _ if parameter.tensors[0].shape.len() == 1 => exact.weight(i).clone(),
                Storage::Int8 if name.contains("_proj") => eight_bits(exact.weight(i)),
                Storage::Nf4 if name.contains("_proj") => stored.clone(),
                Storage::Exact => exact.weight(i).clone(),
                _ => exact
                    .weight(i)
                    .iter()
                    .map(|&w| half::bf16::from_f32(w as f32).to_f64())
                    .collect(),
            };
            assert!(difference(&stored, &expected) < 1e-7, "{storage:?} {name}");
            rounded.write_weight(i, &stored);
        }
        let found = log_probs(&frozen, How::default());
        assert_eq!(found, log_probs(&rounded, How::default()), "{storage:?}");
        let moved = difference(&found, &log_probs(&exact, How::default()));
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
            let frozen = Model::load_frozen(folder.path(), Arc::new(Reference), storage).unwrap();
            let off = How { adapters_off: true, ..How::default() };
            assert_eq!(log_probs(&model, off), log_probs(&frozen, How::default()));
            model.save(plain.path(), NumberType::F64).unwrap();
            let merged = Model::load(plain.path(), Arc::new(Reference)).unwrap();
            let (found, expected) =
                (log_probs(&merged, How::default()), log_probs(&model, How::default()));
            assert!(difference(&found, &expected) < 1e-12, "{storage:?}");
        }
    }
}

/// The same adapter on a backend's own numbers: log-probabilities, and every gradient by its
/// direction and length.
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
                let model =
                    Model::load_adapted(folder.path(), Arc::clone(&backend), &adapter, 0).unwrap();
                let (expected, found) =
                    (run(&reference, how, Keep::Everything), run(&model, how, Keep::Everything));
                let what = format!("{family} {base:?} {adapter:?}");
                let moved = difference(&found.0, &expected.0);
                assert!(moved < off, "{what}: {moved}");
                let (expected, found) = (expected.1.unwrap(), found.1.unwrap());
                for (i, expected) in expected.accumulators.iter().enumerate() {
                    let (Some(expected), Some(found)) = (expected, &found.accumulators[i]) else {
                        continue;
                    };
                    let found = backend.read_accumulator(found, 0..expected.len());
                    let found: Vec<f64> = found.into_iter().map(Element::to_f64).collect();
                    let dot =
                        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                    let lengths = (dot(&found, &found).sqrt(), dot(expected, expected).sqrt());
                    let cosine = dot(&found, expected) / (lengths.0 * lengths.1);
                    let name = &model.parameters()[i].tensors[0].name;
                    assert!(cosine > 1.0 - turned, "{what} {name}: {cosine}");
                    assert!(
                        (lengths.0 / lengths.1 - 1.0).abs() < off,
                        "{what} {name}: {lengths:?}"
                    );
                }
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
