//! The recipes that come with the program can be read.

use std::fs;
use std::path::Path;

use ift_train::Recipe;

use crate::common::Folder;

/// Makes a model instead of training one.
const FRESH: &str = "quickstart-model.toml";

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

#[test]
fn every_recipe_is_valid() {
    let mut trained = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") && !path.ends_with(FRESH) {
            let recipe: Recipe =
                ift::load_recipe(&path, &[]).unwrap_or_else(|e| panic!("{}", ift::report(&e.into())));
            recipe.validate().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            trained += 1;
        }
    }
    assert!(trained >= 3, "{trained}");
}

#[test]
fn the_fresh_model_can_be_made() {
    let here = Folder::new();
    // Its text is made by a program of its own; a little of another does for its shape.
    fs::create_dir_all(here.path("data/quickstart")).unwrap();
    here.write("data/quickstart/pretrain.jsonl", "{\"text\":\"The baker makes bread.\"}\n");
    let path = folder().join(FRESH);
    let sets = ["--set", "model.num_hidden_layers=1", "--set", "tokenizer.vocab_size=264"];
    here.ift(&[&["new", path.to_str().unwrap()], &sets[..]].concat()).done();
    assert_eq!(here.json("runs/quickstart-model/config.json")["hidden_size"], 160);
}
