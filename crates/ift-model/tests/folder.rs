//! Errors about a model folder name the file, tensor or field.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise"
)]

use ift_backend::{NumberType, Reference};
use ift_model::{Model, ModelError, Trained, random};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

fn create(folder: &Path) {
    let config = json!({"model_type": "llama", "vocab_size": 40, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "tie_word_embeddings": true});
    random::create(config.as_object().unwrap().clone(), 1, NumberType::F32, folder).unwrap();
}

fn load(folder: &Path) -> Result<Model<Reference>, ModelError> {
    Model::load(folder, Arc::new(Reference), Trained::All { input_embeddings: true })
}

fn error(folder: &Path) -> String {
    load(folder).err().expect("the folder is broken").to_string()
}

/// Writes the folder's tensors again, changed by `change`: name, shape, bytes.
fn rewrite(folder: &Path, change: impl Fn(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<_> = tensors
        .iter()
        .map(|(name, v)| (name.to_owned(), v.shape().to_vec(), v.data().to_vec()))
        .collect();
    change(&mut list);
    let views = list
        .iter()
        .map(|(n, s, b)| (n.clone(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

#[test]
fn broken_folders_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(error(path).contains("config.json"));
    create(path);
    load(path).unwrap();

    rewrite(path, |list| list.retain(|(name, ..)| name != "model.norm.weight"));
    assert!(error(path).contains("tensor `model.norm.weight`: is missing"), "{}", error(path));

    create(path);
    rewrite(path, |list| list.push(("model.layers.0.extra.weight".into(), vec![1], vec![0; 4])));
    assert!(
        error(path).contains("tensor `model.layers.0.extra.weight`: is not part"),
        "{}",
        error(path)
    );

    create(path);
    rewrite(path, |list| {
        let table = list.iter_mut().find(|(name, ..)| name == "model.embed_tokens.weight").unwrap();
        table.1 = vec![16, 40];
    });
    assert!(error(path).contains("has shape [16, 40], expected [40, 16]"), "{}", error(path));

    create(path);
    let file = path.join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for cut in [0, 4, 100, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        let message = error(path);
        assert!(message.contains("model.safetensors"), "cut at {cut}: {message}");
    }

    std::fs::remove_file(&file).unwrap();
    assert!(error(path).contains("holds neither"), "{}", error(path));
    std::fs::write(path.join("pytorch_model.bin"), "").unwrap();
    assert!(error(path).contains("save the model as safetensors"), "{}", error(path));
    std::fs::write(path.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../b"}}"#)
        .unwrap();
    assert!(error(path).contains("`../b`"), "{}", error(path));
}

/// A tied model may store its head a second time, and old files their rotary frequencies.
#[test]
fn what_is_known_to_be_superfluous_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    rewrite(folder.path(), |list| {
        list.push(("lm_head.weight".into(), vec![40, 16], vec![0; 40 * 16 * 4]));
        list.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![2], vec![0; 8]));
    });
    load(folder.path()).unwrap();
}

/// A configuration that asks for far more than its files hold is refused before any memory is taken
/// for it.
#[test]
fn a_model_that_is_larger_than_its_files_is_refused_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    let path = folder.path().join("config.json");
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value, tensor) in [
        ("vocab_size", 16_000_000, "model.embed_tokens.weight"),
        ("intermediate_size", 16_000_000, "model.layers.0.mlp.gate_proj.weight"),
        ("num_hidden_layers", 4096, "model.layers.1.input_layernorm.weight"),
    ] {
        let mut changed = config.clone();
        changed[field] = value.into();
        std::fs::write(&path, changed.to_string()).unwrap();
        let message = error(folder.path());
        assert!(message.contains(&format!("tensor `{tensor}`")), "{message}");
    }
}

/// Two files of one model must not both hold a tensor: which of them counts would be chance.
#[test]
fn a_tensor_in_two_files_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    let from = folder.path().join("model.safetensors");
    std::fs::copy(&from, folder.path().join("a.safetensors")).unwrap();
    std::fs::rename(&from, folder.path().join("b.safetensors")).unwrap();
    let map = json!({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}});
    std::fs::write(folder.path().join("model.safetensors.index.json"), map.to_string()).unwrap();
    let message = error(folder.path());
    assert!(
        message.contains("b.safetensors") && message.contains("a.safetensors` too"),
        "{message}"
    );
}

/// The files that a model is known by are those that loading reads, and no others.
#[test]
fn the_files_of_a_model_are_those_that_loading_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let names = || -> Vec<String> {
        let files = ift_model::weight_files(path).unwrap();
        files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    create(path);
    std::fs::write(path.join("stray.safetensors"), "not read").unwrap();
    assert_eq!(names(), ["config.json", "model.safetensors"]);

    std::fs::rename(path.join("model.safetensors"), path.join("a.safetensors")).unwrap();
    std::fs::copy(path.join("a.safetensors"), path.join("b.safetensors")).unwrap();
    let index = |shard: &str| {
        let index = json!({"weight_map": {"model.norm.weight": shard}});
        std::fs::write(path.join("model.safetensors.index.json"), index.to_string()).unwrap();
    };
    for shard in ["a.safetensors", "b.safetensors"] {
        index(shard);
        assert_eq!(names(), ["config.json", "model.safetensors.index.json", shard]);
    }
    load(path).unwrap();
}
