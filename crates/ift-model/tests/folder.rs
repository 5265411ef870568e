//! What is wrong with a model folder is said by name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise"
)]

use ift_backend::{NumberType, Reference};
use ift_model::{Model, random};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

fn create(folder: &Path) {
    let config = json!({"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true});
    random::create(config.as_object().unwrap().clone(), 1, NumberType::F32, folder).unwrap();
}

fn error(folder: &Path) -> String {
    Model::load(folder, Arc::new(Reference)).err().expect("the folder is broken").to_string()
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
    Model::load(path, Arc::new(Reference)).unwrap();

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
    Model::load(folder.path(), Arc::new(Reference)).unwrap();
}
