//! Messages of `ift train` when it cannot start.

use std::fs::{self, File};

use crate::common::{CHATS, Folder};

/// Checks exit code and message of a refused run, and that it leaves no folder of a run.
#[track_caller]
fn refused(folder: &Folder, sets: &[&str], code: i32, words: &[&str]) {
    let mut arguments = vec!["train", "recipe.toml"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let said = folder.ift(&arguments).refused(code);
    assert!(said.starts_with("error: "), "{sets:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{sets:?}: expected {word}: {said}");
    }
    assert!(!folder.exists("run"), "{sets:?}");
}

#[test]
fn typos_and_unusable_values() {
    let folder = Folder::ready_to_train();
    for (set, words) in [
        ("train.stpes=3", "unknown field `train.stpes`\n  help: did you mean `steps`?"),
        ("trian.steps=3", "unknown field `trian`\n  help: did you mean `train`?"),
        ("method.lamda=0.3", "unknown field `method.lamda`\n  help: did you mean `lambda`?"),
        ("method.name=itf", "did you mean \"ift\"?"),
        ("schedule.name=cosin", "did you mean \"cosine\"?"),
        ("method.lambda=1.5", "`method.lambda` is the number 1.5"),
        ("optimizer.lr=-1", "`optimizer.lr` is the whole number -1"),
        ("train.steps=0", "`train.steps`"),
        ("data.train=[]", "`data.train`"),
        ("data.eval=[]", "`eval.every` is 3, but there is nothing to evaluate on"),
        ("train.steps", "expected `section.key=value`, found no `=`"),
    ] {
        refused(&folder, &[set], 2, &[words]);
    }
    // Errors of an override name the argument.
    refused(&folder, &["train.stpes=3"], 2, &["error: `--set train.stpes=3`: "]);
    let recipe = folder.text("recipe.toml");
    folder.write("recipe.toml", &recipe.replace("rows_per_step", "rows_per_stop"));
    refused(
        &folder,
        &[],
        2,
        &["recipe.toml:17:1: unknown field `train.rows_per_stop`", "`rows_per_step`"],
    );
    folder.write("recipe.toml", "[model\n");
    refused(&folder, &[], 2, &["recipe.toml:1:"]);
    fs::remove_file(folder.path("recipe.toml")).unwrap();
    refused(&folder, &[], 2, &["cannot read the recipe `recipe.toml`"]);
}

#[test]
fn unusable_data() {
    let folder = Folder::ready_to_train();
    folder.write("empty.jsonl", "");
    folder.write("broken.jsonl", &format!("{CHATS}{{\"messages\": [\n"));
    folder.write("other.jsonl", &format!("{CHATS}{{\"question\": \"?\"}}\n"));
    folder.write(
        "typed.jsonl",
        &format!("{CHATS}{{\"messages\": [{{\"role\": \"user\", \"content\": 3}}]}}\n"),
    );
    fs::write(
        folder.path("bytes.jsonl"),
        [CHATS.as_bytes(), b"{\"messages\": \"\xff\"}\n"].concat(),
    )
    .unwrap();
    for (set, words) in [
        ("data.train=none.jsonl", ["`none.jsonl`", "cannot be read"]),
        ("data.eval=none.jsonl", ["`none.jsonl`", "cannot be read"]),
        ("data.train=empty.jsonl", ["`empty.jsonl`", "is empty"]),
        ("data.train=broken.jsonl", ["`broken.jsonl`, line 5", "not valid JSON"]),
        ("data.train=other.jsonl", ["`other.jsonl`, line 5", "`question`"]),
        ("data.train=typed.jsonl", ["`typed.jsonl`, line 5", "`messages[0].content`"]),
        ("data.train=bytes.jsonl", ["`bytes.jsonl`, line 5", "UTF-8"]),
        ("data.max_length=4", ["no row is left to train on", "chats.jsonl"]),
    ] {
        refused(&folder, &[set], 1, &words);
    }
}

#[test]
fn unusable_models() {
    let folder = Folder::ready_to_train();
    let copy = |name: &str| folder.copy("base", name);
    copy("cut");
    let file = File::options().write(true).open(folder.path("cut/model.safetensors")).unwrap();
    file.set_len(30_000).unwrap();
    copy("noise");
    folder.write("noise/model.safetensors", &"noise".repeat(1000));
    copy("weightless");
    fs::remove_file(folder.path("weightless/model.safetensors")).unwrap();
    copy("unsaid");
    folder.write("unsaid/config.json", "{}");
    copy("other");
    folder.write(
        "other/config.json",
        &folder
            .text("base/config.json")
            .replace("\"intermediate_size\": 32", "\"intermediate_size\": 64"),
    );
    copy("speechless");
    fs::remove_file(folder.path("speechless/tokenizer.json")).unwrap();
    for (set, words) in [
        ("model.path=none", ["`none/config.json`", "No such file"]),
        ("model.path=cut", ["`cut/model.safetensors`", "cut off or damaged"]),
        ("model.path=noise", ["`noise/model.safetensors`", "cut off or damaged"]),
        ("model.path=weightless", ["`weightless", "safetensors"]),
        ("model.path=unsaid", ["`unsaid/config.json`", "`model_type`"]),
        ("model.path=other", ["mlp", "64"]),
        ("model.path=speechless", ["`speechless/tokenizer.json`", "no such file"]),
    ] {
        refused(&folder, &[set], 1, &words);
    }
}

#[test]
fn a_tokenizer_of_another_model_is_found_before_the_first_step() {
    let folder = Folder::ready_to_train();
    let sets = ["--set", "output=small", "--set", "tokenizer.vocab_size=264"];
    folder.ift(&[&["new", "new.toml"], &sets[..]].concat()).done();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(folder.path("base").join(name), folder.path("small").join(name)).unwrap();
    }
    refused(
        &folder,
        &["model.path=small"],
        1,
        &["record 1", "the model's vocabulary has 264 entries"],
    );
}

#[test]
fn diverging_training_stops_and_names_the_step() {
    let folder = Folder::ready_to_train();
    let said = folder
        .ift(&[
            "train",
            "recipe.toml",
            "--quiet",
            "--set",
            "optimizer.lr=1e30",
            "--set",
            "schedule.warmup_ratio=0",
        ])
        .refused(1);
    assert!(said.contains("was not applied: ") && said.contains("lower `optimizer.lr`"), "{said}");
    assert!(said.starts_with("error: step "), "{said}");
}
