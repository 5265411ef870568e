//! Adapters: training, generating and merging.

use crate::common::{CHATS, Folder, RECIPE, close, number};

/// Overrides for a run that trains an adapter.
const ADAPTER: [&str; 3] = ["adapter.rank=4", "optimizer.lr=3e-2", "adapter.base=exact"];

fn answer(folder: &Folder, model: &str) -> String {
    let prompt = "What does the baker make?";
    folder.ift(&["generate", "--model", model, "--prompt", prompt, "--max-tokens", "8"]).done()
}

#[test]
fn an_adapter_is_trained_used_and_merged() {
    let folder = Folder::ready_to_train();
    folder.train(&ADAPTER);
    let names = folder.names("run/model");
    assert!(names.contains(&"adapter_model.safetensors".to_owned()), "{names:?}");
    assert!(
        names.contains(&"tokenizer.json".to_owned())
            && !names.contains(&"model.safetensors".to_owned())
    );
    let config = folder.json("run/model/adapter_config.json");
    assert_eq!((&config["r"], &config["peft_type"]), (&4.into(), &"LORA".into()));
    let lines = folder.metrics("run");
    let evals: Vec<f64> =
        lines.iter().filter(|l| l["kind"] == "eval").map(|l| l["loss"].as_f64().unwrap()).collect();
    assert!(evals[evals.len() - 1] < 0.9 * evals[0], "{evals:?}");

    // The adapter's folder and the merged model give the answer that the run reported.
    let sample = lines.iter().rfind(|l| l["kind"] == "sample" && l["prompt"] != "Who?").unwrap();
    let said = answer(&folder, "run/model");
    assert_eq!(said.trim_end(), sample["answer"].as_str().unwrap().trim_end());
    let merge = ["merge", "--adapter", "run/model", "--output", "merged"];
    assert_eq!(folder.ift(&merge).done(), "the merged model is in merged\n");
    assert_eq!(answer(&folder, "merged"), said);
    assert_eq!(folder.names("merged"), folder.names_of_written());
    assert!(folder.ift(&merge).refused(1).contains("exists already"));
    let said = folder.ift(&["merge", "--adapter", "base", "--output", "other"]).refused(1);
    assert!(said.contains("is not an adapter"), "{said}");

    // A second run starts from the merged model, which is also the reference of DPO.
    let next =
        ["model.path=run/model", "output.dir=next", "method.name=dpo", "data.train=pairs.jsonl"];
    folder.train(&[&ADAPTER[..], &next, &["data.eval=pairs.jsonl"]].concat());
    let first = &folder.metrics("next")[0];
    close("method_loss", number(first, "method_loss"), 2f64.ln(), 1e-6);
    close("loss", number(first, "loss"), evals[evals.len() - 1], 1e-3);
}

/// A base in bfloat16 holds little of the change that a small learning rate makes.
#[test]
fn merging_says_what_rounding_loses() {
    let folder = Folder::new();
    for (i, (number, lr)) in
        [("bf16", "1e-5"), ("bf16", "1e-1"), ("f16", "1e-5"), ("f32", "1e-5")].iter().enumerate()
    {
        let name = |what: &str| format!("{what}{i}");
        let (base, run) = (name("base"), name("run"));
        let sets = [&format!("number='{number}'"), &format!("output='{base}'")];
        folder.ift(&["new", "new.toml", "--set", sets[0], "--set", sets[1]]).done();
        folder.write("chats.jsonl", CHATS);
        folder.write("recipe.toml", RECIPE);
        let [path, dir, lr] = [("model.path", &*base), ("output.dir", &*run), ("optimizer.lr", lr)]
            .map(|(field, value)| format!("{field}={value}"));
        folder.train(&["adapter.rank=4", &path, &dir, &lr]);
        let adapter = format!("{run}/model");
        let merge = |output: &str, more: &[&str]| {
            folder.ift(&[&["merge", "--adapter", &adapter, "--output", output][..], more].concat())
        };
        let answer = merge(&name("exact"), &["--json"]).json();
        if *number == "f32" {
            assert!(answer.get("rounding_loses").is_none(), "{answer}");
            assert!(merge(&name("again"), &[]).stderr.is_empty());
            continue;
        }
        let lost = crate::common::number(&answer, "rounding_loses");
        // The same base, read as training reads it.
        let stored = merge(&name("stored"), &["--base", "bf16", "--json"]).json();
        if *number == "bf16" {
            close("stored", crate::common::number(&stored, "rounding_loses"), lost, 1e-4);
            assert_eq!(lr.ends_with("1e-5"), lost > 0.2, "{lr} {lost}");
        }
        let said = merge(&name("said"), &[]).stderr;
        assert!(said.starts_with(&format!("rounding to {number} loses {:.1} %", 100.0 * lost)));
        assert_eq!(said.contains("`--number f32` keeps it"), lost > 0.05, "{said}");
        let wide = merge(&name("wide"), &["--number", "f32", "--json"]).json();
        assert!(wide.get("rounding_loses").is_none(), "{wide}");
    }
}

#[test]
fn quantised_bases_train_and_merge() {
    let folder = Folder::ready_to_train();
    for base in ["bf16", "int8", "nf4"] {
        let (set, output) = (format!("adapter.base={base}"), format!("output.dir={base}"));
        folder.train(&["adapter.dora=true", "optimizer.lr=3e-2", &set, &output]);
        let sample =
            folder.metrics(base).into_iter().rfind(|l| l["prompt"] == "What does the baker make?");
        let (adapter, merged) = (format!("{base}/model"), format!("{base}-merged"));
        folder.ift(&["merge", "--adapter", &adapter, "--base", base, "--output", &merged]).done();
        assert_eq!(
            answer(&folder, &merged).trim_end(),
            sample.unwrap()["answer"].as_str().unwrap().trim_end()
        );
        // Beside the weights are the adapter's files, not those of the base.
        for name in ["chat_template.jinja", "generation_config.json"] {
            let [own, new] = [&adapter, &merged].map(|folder| folder.to_owned() + "/" + name);
            assert_eq!(folder.text(&own), folder.text(&new), "{name}");
        }
    }
}

#[test]
fn unusable_adapters_are_refused() {
    let folder = Folder::ready_to_train();
    for (set, code, words) in [
        ("adapter.rank=0", 2, "adapter.rank"),
        ("adapter.targets=['q']", 2, "q_proj"),
        ("adapter.dropout=1.5", 2, "adapter.dropout"),
        ("adapter.path=nowhere", 1, "nowhere"),
        ("train.ema_decay=1.0", 2, "train.ema_decay"),
        ("train.neftune_alpha=-1.0", 2, "train.neftune_alpha"),
    ] {
        let said = folder.ift(&["train", "recipe.toml", "--set", set]).refused(code);
        assert!(said.contains(words), "{set}: {said}");
    }
}
