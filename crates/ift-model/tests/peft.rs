//! Adapter folders as PEFT writes them: what is read, what is refused by name, and how their base
//! is found.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod tiny;

use ift_backend::{NumberType, Reference, Storage};
use ift_model::{
    Adapter, Model, PendingTensor, Target, base_folder, tokenizer_folder, write_tensors,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tiny::{
    How, adapted, create, load_adapted, load_frozen, log_probs, moved, same, settings, try_load,
};

/// A base in `base`, and next to it an adapter in `adapter` that is no longer fresh.
fn folders(adapter: &Adapter) -> (TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (base, own) = (root.path().join("base"), root.path().join("adapter"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&own).unwrap();
    create(&json!({"model_type": "qwen3"}), &base);
    adapted(&base, adapter).save_adapter(&own, NumberType::F64).unwrap();
    (root, base, own)
}

fn load(folder: &Path) -> Result<Model<Reference>, String> {
    try_load(folder).map_err(|e| e.to_string())
}

fn error(folder: &Path) -> String {
    load(folder).err().unwrap()
}

fn read_config(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("adapter_config.json")).unwrap()).unwrap()
}

fn set(folder: &Path, field: &str, value: &Value) {
    let mut config = read_config(folder);
    config[field] = value.clone();
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

/// Writes the adapter's tensors again, changed by `change`: name, shape, bytes.
fn rewrite(folder: &Path, change: impl Fn(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) {
    let path = folder.join("adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<_> = tensors
        .iter()
        .map(|(name, v)| (name.to_owned(), v.shape().to_vec(), v.data().to_vec()))
        .collect();
    change(&mut list);
    let tensors = list.iter().map(|(name, shape, bytes)| {
        let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
        let values = move || bytes.chunks_exact(8).map(number).collect::<Vec<f64>>();
        (name.clone(), PendingTensor::new(shape.clone(), NumberType::F64, values))
    });
    write_tensors(tensors, &path).unwrap();
}

#[test]
fn the_files_are_peft_s() {
    let targets = vec![Target::QProj, Target::DownProj];
    let (_root, base, own) =
        folders(&Adapter { rslora: true, dora: true, dropout: 0.1, targets, ..settings() });
    let config = read_config(&own);
    let base = base.to_string_lossy();
    for (field, value) in [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("base_model_name_or_path", json!(base)),
        ("r", json!(3)),
        ("lora_alpha", json!(5)),
        ("lora_dropout", json!(0.1)),
        ("target_modules", json!(["q_proj", "down_proj"])),
        ("use_rslora", json!(true)),
        ("use_dora", json!(true)),
        ("bias", json!("none")),
        ("fan_in_fan_out", json!(false)),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    let bytes = fs::read(own.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| {
        tensors.tensor(&format!("base_model.model.model.layers.1.{name}")).unwrap().shape().to_vec()
    };
    assert_eq!(tensors.len(), 2 * 2 * 3);
    assert_eq!(shape("self_attn.q_proj.lora_A.weight"), [3, 12]);
    assert_eq!(shape("self_attn.q_proj.lora_B.weight"), [16, 3]);
    assert_eq!(shape("self_attn.q_proj.lora_magnitude_vector"), [16]);
    assert_eq!(shape("mlp.down_proj.lora_A.weight"), [3, 10]);
}

#[test]
fn what_is_not_supported_is_named() {
    let (_root, _, own) = folders(&settings());
    let good = fs::read(own.join("adapter_config.json")).unwrap();
    for (field, value, expected) in [
        ("peft_type", json!("IA3"), "`peft_type`: is `IA3`"),
        ("bias", json!("lora_only"), "`bias`: is `lora_only`"),
        ("rank_pattern", json!({"q_proj": 4}), "`rank_pattern`"),
        ("alpha_pattern", json!({"q_proj": 4}), "`alpha_pattern`"),
        ("modules_to_save", json!(["lm_head"]), "`modules_to_save`: is `[\"lm_head\"]`"),
        ("layers_to_transform", json!([0]), "`layers_to_transform`"),
        ("layers_to_transform", json!(1), "`layers_to_transform`"),
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out`"),
        ("init_lora_weights", json!("pissa_niter_16"), "`init_lora_weights`: is `pissa_niter_16`"),
        ("target_modules", json!(".*_proj"), "`target_modules`: is the pattern `.*_proj`"),
        ("target_modules", json!(["q_proj", "lm_head"]), "`target_modules`: names \"lm_head\""),
        ("target_modules", json!(null), "`target_modules`: is missing"),
        ("target_modules", json!([]), "`target_modules`: names nothing"),
        ("r", json!(null), "`r`: is missing"),
        ("lora_alpha", json!(0), "`lora_alpha`: is 0"),
        ("lora_dropout", json!(1), "`lora_dropout`: is 1"),
        ("base_model_name_or_path", json!(null), "`base_model_name_or_path`: is missing"),
    ] {
        set(&own, field, &value);
        let message = error(&own);
        assert!(message.contains(expected) && message.contains("adapter_config.json"), "{message}");
        fs::write(own.join("adapter_config.json"), &good).unwrap();
    }
    for (field, value) in [
        ("modules_to_save", json!([])),
        ("layer_replication", json!(null)),
        ("use_qalora", json!(false)),
        ("init_lora_weights", json!("gaussian")),
        ("megatron_core", json!("megatron.core")),
        ("a_later_field", json!(1)),
    ] {
        set(&own, field, &value);
        load(&own).unwrap();
    }
    fs::write(own.join("adapter_config.json"), "{").unwrap();
    assert!(error(&own).contains("not a JSON object"), "{}", error(&own));
}

#[test]
fn broken_tensors_are_refused_by_name() {
    let (_root, base, own) = folders(&settings());
    let file = own.join("adapter_model.safetensors");
    let good = fs::read(&file).unwrap();
    let name = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight";
    let both = |expected: &str| {
        let adapter = Adapter { path: Some(own.clone()), ..settings() };
        let onward = load_adapted(&base, &adapter, 0).err().unwrap().to_string();
        for message in [error(&own), onward] {
            assert!(message.contains(expected), "{message}");
        }
        fs::write(&file, &good).unwrap();
    };
    rewrite(&own, |list| list.retain(|(n, ..)| n != name));
    both(&format!("tensor `{name}`: is missing"));
    rewrite(&own, |list| {
        list.push(("base_model.model.lm_head.lora_A.weight".into(), vec![1], vec![0; 8]));
    });
    both("tensor `base_model.model.lm_head.lora_A.weight`: is not part");
    rewrite(&own, |list| list.iter_mut().find(|(n, ..)| n == name).unwrap().1 = vec![3, 10]);
    both("has shape [3, 10], expected [10, 3]");
    fs::write(&file, &good[..100]).unwrap();
    both("adapter_model.safetensors");
    fs::remove_file(&file).unwrap();
    both("adapter_model.safetensors");
}

#[test]
fn a_base_is_found_from_the_adapter_s_folder() {
    let (root, base, own) = folders(&settings());
    let expected = log_probs(&load(&own).unwrap(), How::default());
    set(&own, "base_model_name_or_path", &json!("../base"));
    assert_eq!(log_probs(&load(&own).unwrap(), How::default()), expected);
    assert_eq!(
        base_folder(&own).unwrap().unwrap().canonicalize().unwrap(),
        base.canonicalize().unwrap()
    );
    assert_eq!(base_folder(&base).unwrap(), None);
    set(&own, "base_model_name_or_path", &json!("someone/some-model"));
    let message = error(&own);
    let tried = own.join("someone/some-model");
    assert!(message.contains(&format!("`{}`", tried.display())), "{message}");
    assert!(message.contains("nor in `someone/some-model`"), "{message}");
    // Nor is it in the cache of the Hub.
    assert!(message.contains("models--someone--some-model/snapshots/main`"), "{message}");
    // An adapter that is its own base leads nowhere.
    set(&own, "base_model_name_or_path", &json!(own));
    assert!(error(&own).contains("expected a base model"), "{}", error(&own));
    drop(root);
}

/// A base in another cache of the Hub than the one that is searched is written by its path, so that
/// it is found again.
#[test]
fn a_base_in_another_cache_is_found_again() {
    let (root, base, own) = folders(&settings());
    let snapshot = root.path().join("models--org--small/snapshots/0123abc");
    fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    fs::rename(&base, &snapshot).unwrap();
    adapted(&snapshot, &settings()).save_adapter(&own, NumberType::F64).unwrap();
    let config = read_config(&own);
    assert_eq!(
        (&config["base_model_name_or_path"], &config["revision"]),
        (&json!(snapshot), &Value::Null)
    );
    assert_eq!(base_folder(&own).unwrap(), Some(snapshot));
}

/// PEFT writes whole names where it was told `all-linear`, and so may an adapter of some layers.
#[test]
fn whole_names_place_adapters_on_some_layers() {
    let (_root, base, own) =
        folders(&Adapter { targets: vec![Target::VProj, Target::UpProj], ..settings() });
    let expected = log_probs(&load(&own).unwrap(), How::default());
    let modules: Vec<String> = ["self_attn.v_proj", "mlp.up_proj"]
        .iter()
        .flat_map(|module| (0..2).map(move |layer| format!("model.layers.{layer}.{module}")))
        .collect();
    set(&own, "target_modules", &json!(modules));
    assert_eq!(log_probs(&load(&own).unwrap(), How::default()), expected);

    set(&own, "target_modules", &json!(modules[1..]));
    assert!(
        error(&own).contains("layers.0.self_attn.v_proj.lora_A.weight`: is not part"),
        "{}",
        error(&own)
    );
    rewrite(&own, |list| list.retain(|(name, ..)| !name.contains("layers.0.self_attn.v_proj")));
    let merged = load(&own).unwrap();
    let moved = moved(&log_probs(&merged, How::default()), &expected);
    assert!(moved > 1e-4, "{moved}");
    let adapter = Adapter { path: Some(own.clone()), base: settings().base, ..Adapter::default() };
    let model = load_adapted(&base, &adapter, 0).unwrap();
    assert_eq!(model.adapter().unwrap().targets, [Target::VProj, Target::UpProj]);
    assert_eq!(model.adapter().unwrap().rank, 3);
    let found = log_probs(&model, How::default());
    same("merged", &found, &log_probs(&merged, How::default()));
    let again = own.join("again");
    fs::create_dir(&again).unwrap();
    model.save_adapter(&again, NumberType::F64).unwrap();
    assert_eq!(
        log_probs(&load(&again).unwrap(), How::default()),
        log_probs(&merged, How::default())
    );
}

/// An adapter on a merged adapter: all are found again from the last.
#[test]
fn adapters_stack() {
    let (root, base, first) = folders(&settings());
    fs::write(base.join("tokenizer.json"), "base").unwrap();
    fs::write(base.join("LICENSE"), "base").unwrap();
    fs::write(first.join("tokenizer.json"), "first").unwrap();
    let model = adapted(&first, &Adapter { dora: true, ..settings() });
    let expected = log_probs(&model, How::default());
    let off = log_probs(&model, How { adapters_off: true, ..How::default() });
    same("base", &off, &log_probs(&load(&first).unwrap(), How::default()));
    let second = root.path().join("second");
    fs::create_dir(&second).unwrap();
    model.save_adapter(&second, NumberType::F64).unwrap();
    assert_eq!(fs::read_to_string(second.join("tokenizer.json")).unwrap(), "first");
    assert_eq!(fs::read_to_string(second.join("LICENSE")).unwrap(), "base");
    let found = log_probs(&load(&second).unwrap(), How::default());
    same("merged", &found, &expected);
    fs::remove_file(second.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer_folder(&second).unwrap(), first);

    // Quantised after it was merged.
    let frozen = load_frozen(&second, Storage::Bf16);
    let moved = moved(&log_probs(&frozen, How::default()), &expected);
    assert!(moved > 0.0 && moved < 0.05, "{moved}");
}

#[test]
fn what_has_no_adapters_is_not_saved_as_one() {
    let folder = tempfile::tempdir().unwrap();
    create(&json!({}), folder.path());
    let error =
        load(folder.path()).unwrap().save_adapter(folder.path(), NumberType::F32).err().unwrap();
    assert!(error.to_string().contains("has no adapters"), "{error}");
    let adapter = Adapter { rank: 0, ..settings() };
    let error = load_adapted(folder.path(), &adapter, 0).err().unwrap();
    assert!(error.to_string().contains("adapter setting `rank`: is 0"), "{error}");
}
