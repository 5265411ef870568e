//! `ift new`: creates a complete model folder or none.

use serde_json::json;

use crate::common::Folder;

const FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

#[test]
fn a_folder_is_created() {
    let folder = Folder::new();
    let said = folder.ift(&["new", "new.toml"]).done();
    let config = folder.json("base/config.json");
    assert_eq!(folder.names("base"), FILES);
    assert_eq!(
        said,
        format!(
            "created base: 0.01M parameters, {} tokens in the vocabulary\n",
            config["vocab_size"]
        )
    );
    for (field, value) in [
        ("model_type", json!("llama")),
        ("architectures", json!(["LlamaForCausalLM"])),
        ("hidden_size", json!(16)),
        ("num_hidden_layers", json!(2)),
        ("pad_token_id", json!(0)),
        ("bos_token_id", json!(1)),
        ("eos_token_id", json!(2)),
        ("torch_dtype", json!("float32")),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    let tokenizer = folder.json("base/tokenizer_config.json");
    assert!(tokenizer["chat_template"].as_str().unwrap().contains("add_generation_prompt"));
    // No other files are left.
    assert_eq!(folder.names(""), ["base", "new.toml", "text.txt"]);
}

#[test]
fn the_same_seed_gives_the_same_folder() {
    let folder = Folder::with_model();
    folder.ift(&["new", "new.toml", "--set", "output=again"]).done();
    folder.ift(&["new", "new.toml", "--set", "output=other", "--set", "seed=4"]).done();
    for name in FILES {
        let first = folder.bytes(&format!("base/{name}"));
        assert_eq!(first, folder.bytes(&format!("again/{name}")), "{name}");
        let same = first == folder.bytes(&format!("other/{name}"));
        assert_eq!(same, name != "model.safetensors", "{name}");
    }
}

#[test]
fn results_as_json_and_deep_folders() {
    let folder = Folder::new();
    let created = folder.ift(&["new", "new.toml", "--json", "--set", "output=a/b/c"]).json();
    assert_eq!(
        (&created["folder"], &created["vocabulary"]),
        (&json!("a/b/c"), &folder.json("a/b/c/config.json")["vocab_size"])
    );
    // Weights are f32, four bytes each, after a header.
    let bytes = folder.bytes("a/b/c/model.safetensors").len() as u64;
    let weights = 4 * created["parameters"].as_u64().unwrap();
    assert!((weights..weights + 4096).contains(&bytes), "{bytes} {weights}");
}

#[test]
fn an_existing_output_is_left_alone() {
    let folder = Folder::new();
    folder.write("base", "mine");
    let said = folder.ift(&["new", "new.toml"]).refused(1);
    assert!(said.contains("`base` exists already"), "{said}");
    assert_eq!(folder.text("base"), "mine");
}

#[test]
fn faulty_recipes_are_refused_and_leave_nothing() {
    let folder = Folder::new();
    for (set, code, named) in [
        ("seeed=3", 2, "unknown field `seeed`\n  help: did you mean `seed`?"),
        ("tokenizer.vocab_sise=300", 2, "did you mean `vocab_size`?"),
        ("seed=-1", 2, "`seed` is the whole number -1"),
        ("number=f8", 2, "`number` is the string \"f8\""),
        ("model.hidden_size=0", 2, "`model.hidden_size`"),
        ("model.head_dim=7", 2, "`model.head_dim`: is 7, expected a positive even number"),
        (
            "model.num_key_value_heads=3",
            2,
            "`model.num_key_value_heads`: 3 does not divide the 2 query heads",
        ),
        ("model.num_hidden_layers=two", 2, "`model.num_hidden_layers`"),
        (
            "model.model_type=gpt2",
            2,
            "`gpt2` is not a supported architecture, expected one of llama",
        ),
        ("model={hidden_size=16}", 2, "`model.model_type`: is missing; set it to the model family"),
        ("tokenizer.vocab_size=20", 1, "vocab_size"),
        ("tokenizer.template=zephir", 1, "`tokenizer.template`"),
        ("text=['none.txt']", 1, "`none.txt`"),
        ("text=[]", 2, "`[tokenizer]` needs `text`"),
    ] {
        let said = folder.ift(&["new", "new.toml", "--set", set]).refused(code);
        assert!(said.starts_with("error: ") && said.contains(named), "{set}: {said}");
        assert_eq!(folder.names(""), ["new.toml", "text.txt"], "{set}");
    }
    let said = folder.ift(&["new", "none.toml"]).refused(2);
    assert!(said.contains("cannot read the recipe `none.toml`"), "{said}");
}

#[test]
fn a_vocabulary_smaller_than_the_tokenizers_is_refused() {
    let folder = Folder::new();
    let said = folder.ift(&["new", "new.toml", "--set", "model.vocab_size=200"]).refused(2);
    assert!(said.contains("`model.vocab_size`: is 200"), "{said}");
    assert_eq!(folder.names(""), ["new.toml", "text.txt"]);
}

#[cfg(unix)]
#[test]
fn weights_are_as_readable_as_the_other_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with_model();
    let [weights, config] = ["model.safetensors", "config.json"].map(|name| {
        std::fs::metadata(folder.path("base").join(name)).unwrap().permissions().mode()
    });
    assert_eq!(weights, config);
}
