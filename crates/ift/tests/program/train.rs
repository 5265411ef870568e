//! `ift train`: whole runs, their files, and that the loss falls.

use crate::common::{Folder, RECIPE, close};

#[test]
fn a_run_learns_and_writes_all_files() {
    let folder = Folder::ready_to_train();
    let answer = folder.ift(&["train", "recipe.toml"]);
    let said = answer.stderr.clone();
    assert_eq!(answer.done(), "the trained model is in run/model\n");
    for part in [
        "training rows",
        "held-out rows",
        "step 8/8",
        "held-out loss",
        "prompt  Who?",
        "before",
        "after",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    let kinds = |kind: &str| -> Vec<_> {
        let lines = folder.metrics("run").into_iter();
        lines
            .filter(|line| line["kind"] == kind)
            .map(|line| line["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(kinds("step"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(kinds("eval"), [0, 3, 6, 8]);
    assert_eq!(kinds("sample"), [0, 0, 8, 8]);
    let lines = folder.lines("run/metrics.jsonl");
    let evals: Vec<_> =
        lines.iter().filter(|l| l["kind"] == "eval").map(|l| l["loss"].as_f64().unwrap()).collect();
    assert!(evals[3] < evals[2] && evals[2] < evals[0] && evals[3] < 0.9 * evals[0], "{evals:?}");
    let first = lines.iter().find(|l| l["kind"] == "step").unwrap();
    for field in
        ["loss", "first_pass_loss", "lambda", "lr", "grad_norm", "seconds", "tokens_per_second"]
    {
        assert!(first[field].is_number(), "{field}: {first}");
    }

    assert_eq!(folder.names("run/checkpoints"), ["step-6", "step-8"]);
    let resolved = folder.text("run/recipe.toml");
    assert!(resolved.contains("gamma = 0.95") && resolved.contains("steps = 8"), "{resolved}");
    let events = folder.names("run/tensorboard");
    assert_eq!(events.len(), 1);
    assert!(folder.bytes(&format!("run/tensorboard/{}", events[0])).len() > 500);
    assert_eq!(folder.names("run/model"), folder.names_of_written());
    assert_eq!(folder.bytes("run/model/tokenizer.json"), folder.bytes("base/tokenizer.json"));
    assert_eq!(
        folder.bytes("run/model/model.safetensors"),
        folder.bytes("run/checkpoints/step-8/model.safetensors")
    );

    // `ift generate` gives the answer that the run reported.
    let prompt = "What does the baker make?";
    let sample = lines.iter().rfind(|l| l["prompt"] == prompt).unwrap();
    let said = folder
        .ift(&[
            "generate",
            "--model",
            "run/model",
            "--prompt",
            prompt,
            "--max-tokens",
            "8",
            "--json",
        ])
        .json();
    assert_eq!(said["text"], sample["answer"]);
}

#[test]
fn a_second_run_needs_resume_or_overwrite() {
    let folder = Folder::ready_to_train();
    folder.ift(&["train", "recipe.toml", "--quiet"]).done();
    let (metrics, model) = (folder.metrics("run"), folder.bytes("run/model/model.safetensors"));
    let said = folder.ift(&["train", "recipe.toml"]).refused(1);
    assert!(
        said.contains("`run`") && said.contains("--resume") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(folder.metrics("run"), metrics);

    // The same run in the same folder and in another one.
    for how in [["--overwrite", "--quiet"], ["--set", "output.dir=beside"]] {
        folder.ift(&[&["train", "recipe.toml"], &how[..]].concat()).done();
        let run = if how[0] == "--set" { "beside" } else { "run" };
        assert_eq!(folder.metrics(run), metrics);
        assert_eq!(folder.bytes(&format!("{run}/model/model.safetensors")), model);
    }

    // The resolved recipe of a run gives the same run.
    folder.ift(&["train", "run/recipe.toml", "--set", "output.dir=resolved", "--quiet"]).done();
    assert_eq!(folder.bytes("resolved/model/model.safetensors"), model);

    // Resuming a finished run changes nothing.
    folder.ift(&["train", "recipe.toml", "--resume", "--quiet"]).done();
    assert_eq!(
        (folder.metrics("run"), folder.bytes("run/model/model.safetensors")),
        (metrics, model)
    );
    // It cannot become a different run.
    let said =
        folder.ift(&["train", "recipe.toml", "--resume", "--set", "optimizer.lr=1"]).refused(1);
    assert!(
        said.contains("`optimizer.lr` was 0.01, is 1") && said.contains("`--accept optimizer.lr`"),
        "{said}"
    );
    folder.write("chats.jsonl", folder.text("chats.jsonl").lines().next().unwrap());
    let said = folder.ift(&["train", "recipe.toml", "--resume"]).refused(1);
    assert!(said.contains("`data` (the training rows)"), "{said}");
    let accepted = ["--accept", "data", "--accept", "held_out", "--accept", "train.steps"];
    let more = ["train", "recipe.toml", "--resume", "--set", "train.steps=10"];
    let answer = folder.ift(&[&more[..], &accepted[..]].concat());
    let said = answer.stderr.clone();
    answer.done();
    assert!(said.contains("note: accepted after step 8: `train.steps` was 8, is 10"), "{said}");
    assert!(said.contains("step 10/10"), "{said}");
}

#[test]
fn overrides_and_json_results() {
    let folder = Folder::ready_to_train();
    let sets = ["--set", "train.steps=2", "--set", "method.name=sft", "--set", "output.dir=a/b"];
    let answer = folder.ift(&[&["train", "recipe.toml", "--json", "--quiet"], &sets[..]].concat());
    assert_eq!(answer.stderr, "");
    let result = answer.json();
    assert_eq!((&result["outcome"], &result["model"]), (&"finished".into(), &"a/b/model".into()));
    let steps: Vec<_> = folder.metrics("a/b").into_iter().filter(|l| l["kind"] == "step").collect();
    assert_eq!(steps.len(), 2);
    assert!(steps[0].get("lambda").is_none(), "{}", steps[0]);
    assert!(!folder.exists("run"));
}

#[test]
fn threads_micro_batches_and_recompute_do_not_change_the_result() {
    let folder = Folder::ready_to_train();
    let train = |run: &str, set: &str| {
        let output = format!("output.dir={run}");
        folder.ift(&["train", "recipe.toml", "--quiet", "--set", set, "--set", &output]).done();
        folder.bytes(&format!("{run}/model/model.safetensors"))
    };
    let one = train("one", "train.threads=1");
    assert!(one == train("three", "train.threads=3"));
    assert!(one == train("recompute", "train.recompute=true"));
    train("small", "train.micro_batch_tokens=1");
    let loss = |run: &str| {
        folder.metrics(run).into_iter().rfind(|l| l["kind"] == "eval").unwrap()["loss"].clone()
    };
    let [whole, split] = ["one", "small"].map(|run| loss(run).as_f64().unwrap());
    close("loss of small micro-batches", split, whole, 1e-4);
}

#[test]
fn lm_trains_on_text() {
    let folder = Folder::ready_to_train();
    folder.write(
        "texts.jsonl",
        "{\"text\":\"The baker makes bread.\"}\n{\"text\":\"The miller grinds corn.\"}\n",
    );
    let recipe = RECIPE.replace("chats.jsonl", "texts.jsonl").replace("'ift'", "'lm'");
    folder.write("recipe.toml", &recipe);
    folder.ift(&["train", "recipe.toml", "--quiet"]).done();
    let evals: Vec<_> = folder.metrics("run").into_iter().filter(|l| l["kind"] == "eval").collect();
    assert!(evals[3]["loss"].as_f64() < evals[0]["loss"].as_f64(), "{evals:?}");
}

#[test]
fn overwrite_deletes_only_when_the_new_run_can_start() {
    let folder = Folder::ready_to_train();
    folder.ift(&["train", "recipe.toml", "--quiet"]).done();
    let model = folder.bytes("run/model/model.safetensors");
    for (set, code) in
        [("data.train=typo.jsonl", 1), ("model.path=typo", 1), ("model.path=run/model", 2)]
    {
        let answer = folder.ift(&["train", "recipe.toml", "--overwrite", "--quiet", "--set", set]);
        answer.refused(code);
        assert!(folder.bytes("run/model/model.safetensors") == model, "{set}");
    }
}
