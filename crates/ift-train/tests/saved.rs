//! What written folders say about how they were trained.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod tiny;

use ift_backend::NumberType;
use ift_data::{ChatTokenizer, TemplateSettings};
use ift_train::{Observer, Recipe, Stops, merged_card};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tiny::{TWO_STEPS, Tiny, Told, json, metrics, run, watch};

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).unwrap();
}

/// Gives a special token the id of a byte that no text of the tests has.
fn add_special(folder: &Path, text: &str) {
    let path = folder.join("tokenizer.json");
    let mut tokenizer = json(&path);
    let special = json!({"id": 200, "content": text, "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false});
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|_, id| *id != 200);
    vocabulary.insert(text.to_owned(), json!(200));
    tokenizer["added_tokens"].as_array_mut().unwrap().push(special);
    write(&path, &tokenizer);
}

fn with_template(mut recipe: Recipe, template: &str) -> Recipe {
    recipe.data.template = Some(template.to_owned());
    recipe
}

/// The template of the run takes the place of the base's, wherever readers look, and further
/// templates stay.
#[test]
fn the_template_in_use_is_written_everywhere() {
    let tiny = Tiny::new();
    let own = "{{ messages[0].content }}{{ eos_token }}";
    let named =
        json!([{"name": "tool_use", "template": "T"}, {"name": "default", "template": own}]);
    let config = json!({"eos_token": "</s>", "bos_token": "<s>", "chat_template": named,
        "model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast"});
    write(&tiny.path("m/tokenizer_config.json"), &config);
    let recipe = with_template(tiny.recipe("out", TWO_STEPS), "zephyr");
    run(&recipe, false).unwrap();
    let output = &recipe.output.dir;
    for folder in [output.join("model"), output.join("checkpoints/step-2")] {
        let template = fs::read_to_string(folder.join("chat_template.jinja")).unwrap();
        assert!(template.contains("<|assistant|>"), "{template}");
        let config = json(&folder.join("tokenizer_config.json"));
        assert_eq!(config["chat_template"][0], named[0]);
        assert_eq!(config["chat_template"][1]["template"], json!(template));
        assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
        let same = |name: &str| {
            fs::read(folder.join(name)).unwrap() == fs::read(tiny.path("m").join(name)).unwrap()
        };
        assert!(same("tokenizer.json"));
        let generation = json(&folder.join("generation_config.json"));
        assert_eq!(generation, json!({"bos_token_id": 256, "eos_token_id": 257}));
        assert!(fs::read_to_string(folder.join("README.md")).unwrap().contains("# out"));
    }
    // A run from it uses the same template.
    let mut next = tiny.recipe("next", TWO_STEPS);
    next.model.path = output.join("model");
    run(&next, false).unwrap();
    let read = |output: &Path| fs::read(output.join("model/chat_template.jinja")).unwrap();
    assert_eq!(read(output), read(&next.output.dir));
}

/// Plain text needs no template: the base's files are copied as they are.
#[test]
fn plain_text_leaves_the_base_s_files() {
    let tiny = Tiny::new();
    write(&tiny.path("m/generation_config.json"), &json!({"eos_token_id": 3, "top_p": 0.9}));
    for name in ["train.jsonl", "eval.jsonl"] {
        fs::write(tiny.path(name), "{\"text\": \"one two three\"}\n").unwrap();
    }
    let recipe = tiny.recipe("out", &format!("method.name = 'lm'\n{TWO_STEPS}"));
    run(&recipe, false).unwrap();
    let folder = recipe.output.dir.join("model");
    assert!(!folder.join("chat_template.jinja").exists());
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("--raw") && !card.contains("apply_chat_template"), "{card}");
    for name in ["generation_config.json", "tokenizer_config.json", "tokenizer.json"] {
        let [from, to] = [tiny.path("m"), folder.clone()].map(|f| fs::read(f.join(name)).unwrap());
        assert_eq!(from, to, "{name}");
    }
}

/// The ends of turns are those of the base and of the template; where an end is spelled in several
/// tokens, its text is written, and the run warns.
#[test]
fn every_end_of_a_turn_is_written() {
    let tiny = Tiny::new();
    let base = json!({"eos_token_id": [3, 257], "temperature": 0.7, "stop_strings": "STOP"});
    write(&tiny.path("m/generation_config.json"), &base);
    let recipe = with_template(tiny.recipe("out", TWO_STEPS), "chatml");
    let mut told = Told::default();
    watch(&recipe, false, &mut told).unwrap();
    let warning = told.notices.iter().find(|notice| notice.contains("<|im_end|>")).unwrap();
    assert!(warning.contains("stop_strings") && warning.contains("data.template"), "{warning}");
    let folder = recipe.output.dir.join("model");
    let generation = json(&folder.join("generation_config.json"));
    let expected = json!({"eos_token_id": [3, 257], "temperature": 0.7,
        "stop_strings": ["STOP", "<|im_end|>"]});
    assert_eq!(generation, expected);
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("tokenizer=tokenizer"), "{card}");

    // Another end of turn than the end of sequence, as one token.
    add_special(&tiny.path("m"), "<|im_end|>");
    write(&tiny.path("m/generation_config.json"), &json!({"eos_token_id": 3}));
    let recipe = with_template(tiny.recipe("one", TWO_STEPS), "chatml");
    let mut told = Told::default();
    watch(&recipe, false, &mut told).unwrap();
    assert!(!told.notices.iter().any(|n| n.contains("<|im_end|>")), "{:?}", told.notices);
    let generation = json(&recipe.output.dir.join("model/generation_config.json"));
    assert_eq!(generation, json!({"eos_token_id": [3, 200, 257]}));
}

/// The text of an end of turn that is spelled in several tokens ends an answer, and is neither part
/// of it nor shown while it is generated.
#[test]
fn a_text_that_ends_a_turn_is_cut_off() {
    let tiny = Tiny::new();
    let folder = tiny.path("m");
    write(&folder.join("generation_config.json"), &json!({"stop_strings": ["STOP"]}));
    let settings = TemplateSettings { template: Some("chatml".into()), ..Default::default() };
    let tokenizer = ChatTokenizer::from_folder(&folder, &settings).unwrap();
    let stops = Stops::of_chat(&tokenizer, &folder).unwrap();
    assert_eq!(stops.ids(), [257]);
    for (generated, expected) in
        [("yes \u{e9}<|im_end|>", "yes \u{e9}"), ("a <|im_ b ST STOP", "a <|im_ b ST ")]
    {
        let mut watch = stops.watch(&tokenizer, 1);
        let tokens = tokenizer.encode_plain(generated, false).unwrap();
        for (i, token) in tokens.iter().enumerate() {
            assert_eq!(watch.ends(0, *token), i + 1 == tokens.len(), "{generated} {i}");
            let shown = watch.shown(0).unwrap();
            assert!(expected.starts_with(&shown), "{generated}: {shown}");
        }
        assert_eq!(watch.finish().unwrap(), [expected]);
    }
    // Special tokens are a part of what ends a text, and of no text that is shown.
    add_special(&folder, "<|im_end|>");
    let texts = json!(["<|im_end|>", "[END]</s>", "STOP"]);
    write(&folder.join("generation_config.json"), &json!({"stop_strings": texts}));
    let tokenizer = ChatTokenizer::from_folder_plain(&folder).unwrap();
    let stops = Stops::of_text(&tokenizer, &folder).unwrap();
    for (generated, expected) in [
        ("yes \u{e9}<|im_end|>", "yes \u{e9}"),
        ("a [END] b [END]</s>", "a [END] b "),
        ("<s>a<s>\u{e9} ST<s>STOP", "a\u{e9} ST"),
    ] {
        let mut watch = stops.watch(&tokenizer, 1);
        let tokens = tokenizer.encode_plain(generated, false).unwrap();
        for (i, token) in tokens.iter().enumerate() {
            assert_eq!(watch.ends(0, *token), i + 1 == tokens.len(), "{generated} {i}");
            let shown = watch.shown(0).unwrap();
            assert!(expected.starts_with(&shown), "{generated}: {shown}");
        }
        assert_eq!(watch.finish().unwrap(), [expected]);
    }
    write(&folder.join("generation_config.json"), &json!({"eos_token_id": [7, "x"]}));
    let error = Stops::of_chat(&tokenizer, &folder).unwrap_err().to_string();
    assert!(error.contains("`eos_token_id`: holds \"x\""), "{error}");
}

#[test]
fn the_card_says_how_the_model_was_trained() {
    let tiny = Tiny::new();
    let readme = "---\nlicense: apache-2.0\n---\n# Of the base\n";
    fs::write(tiny.path("m/README.md"), readme).unwrap();
    let recipe = tiny.recipe("out", TWO_STEPS);
    run(&recipe, false).unwrap();
    let card = fs::read_to_string(recipe.output.dir.join("model/README.md")).unwrap();
    for part in [
        "base_model: \"m\"\nbase_model_relation: finetune\nlicense: \"apache-2.0\"\n",
        "library_name: transformers\npipeline_tag: text-generation\ntags:\n- ift\n---\n",
        "| train.jsonl | messages | 10 | 10 |",
        "| eval.jsonl | messages | 3 | 3 |",
        "name = \"ift\"\n",
        "lambda = 0.2\n",
        "lr = 0.001\n",
        "| held-out loss before training | 0 |",
        "| held-out loss last | 2 |",
        "\nRounding: loss of held-out rows ",
        "AutoModelForCausalLM.from_pretrained(folder",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    // Names, no paths of this machine.
    assert!(!card.contains(tiny.path("m").to_str().unwrap()), "{card}");
    assert_eq!(fs::read_to_string(tiny.path("m/README.md")).unwrap(), readme);

    // A stage or a later run names the first base.
    let lines = format!("adapter.rank = 2\nmethod.name = 'sft'\n{TWO_STEPS}");
    let mut next = tiny.recipe("next", &lines);
    next.model.path = recipe.output.dir.join("model");
    run(&next, false).unwrap();
    let card = fs::read_to_string(next.output.dir.join("model/README.md")).unwrap();
    for part in [
        "base_model: \"m\"\nbase_model_relation: adapter\n",
        "library_name: peft\n",
        "A LoRA adapter for `out` (which comes from `m`)",
        "AutoPeftModelForCausalLM",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }

    // PEFT does not load an adapter on an adapter.
    let mut chained = tiny.recipe("chained", &lines);
    chained.model.path = next.output.dir.join("model");
    let mut told = Told::default();
    watch(&chained, false, &mut told).unwrap();
    let card = fs::read_to_string(chained.output.dir.join("model/README.md")).unwrap();
    assert!(card.contains("base_model: \"m\"") && card.contains("ift merge"), "{card}");
    assert!(told.notices.iter().any(|notice| notice.contains("ift merge")));
}

/// Held-out rows without a desirable answer have no likelihood: `null` in the log, which neither
/// checkpoints nor a resumed run stumble over.
#[test]
fn what_is_not_a_number_is_read_back() {
    let tiny = Tiny::new();
    let row = |n: usize, label: bool| {
        let prompt = format!("is {n} odd?");
        json!({"prompt": prompt, "completion": "yes", "label": label})
    };
    let rows: Vec<String> = (0..8).map(|n| format!("{}\n", row(n, n % 2 == 0))).collect();
    fs::write(tiny.path("train.jsonl"), rows.concat()).unwrap();
    fs::write(tiny.path("eval.jsonl"), format!("{}\n{}\n", row(9, false), row(8, false))).unwrap();
    let lines = format!("method.name = 'kto'\ncheckpoint.every = 1\n{TWO_STEPS}");
    let recipe = tiny.recipe("out", &lines);
    run(&recipe, false).unwrap();
    let lines = metrics(&recipe.output.dir);
    assert!(lines[0]["loss"].is_null() && lines[0]["method_loss"].is_number(), "{:?}", lines[0]);
    let card = fs::read_to_string(recipe.output.dir.join("model/README.md")).unwrap();
    assert!(card.contains("held-out loss of the method") && !card.contains("NaN"), "{card}");
    // A line that another version wrote.
    let path = recipe.output.dir.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap() + "{\"kind\": \"other\", \"step\": 2}\n";
    fs::write(&path, text).unwrap();
    fs::remove_dir_all(recipe.output.dir.join("model")).unwrap();
    run(&recipe, true).unwrap();
}

/// A file of the base that cannot be completed is found before the training.
#[test]
fn files_of_the_base_are_checked_first() {
    let tiny = Tiny::new();
    let recipe = tiny.recipe("out", TWO_STEPS);
    for (name, text, expected) in [
        ("generation_config.json", "{\"eos_token_id\": -1}", "`eos_token_id`: holds -1"),
        ("generation_config.json", "{\"stop_strings\": [\"\"]}", "`stop_strings`"),
        ("generation_config.json", "{\"top_p\": NaN}", "generation_config.json"),
        ("chat_template.json", "[]", "chat_template.json"),
    ] {
        fs::write(tiny.path("m").join(name), text).unwrap();
        let error = run(&recipe, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!recipe.output.dir.join("metrics.jsonl").exists(), "{error}");
        fs::remove_file(tiny.path("m").join(name)).unwrap();
    }
}

/// Ends of turns that the base names in `config.json` only are written beside those of the
/// template: that file is not read for them where there is a `generation_config.json`.
#[test]
fn ends_of_turns_in_config_json_are_not_lost() {
    let tiny = Tiny::new();
    let mut config = json(&tiny.path("m/config.json"));
    config["eos_token_id"] = json!([3, 257]);
    write(&tiny.path("m/config.json"), &config);
    write(&tiny.path("m/generation_config.json"), &json!({"temperature": 0.7}));
    let recipe = tiny.recipe("out", TWO_STEPS);
    run(&recipe, false).unwrap();
    let generation = json(&recipe.output.dir.join("model/generation_config.json"));
    assert_eq!(generation, json!({"temperature": 0.7, "eos_token_id": [3, 257]}));
}

/// An adapter that was trained with a template goes on with it, on whatever base.
#[test]
fn a_continued_adapter_keeps_its_template() {
    let tiny = Tiny::new();
    let lines = format!("adapter.rank = 2\nmethod.name = 'sft'\n{TWO_STEPS}");
    let first = with_template(tiny.recipe("first", &lines), "chatml");
    run(&first, false).unwrap();
    let adapter = first.output.dir.join("model");
    let card = merged_card(&adapter, &tiny.path("m"), NumberType::F32);
    assert!(card.contains("tokenizer=tokenizer"), "{card}");
    let lines =
        lines.replace("adapter.rank = 2", &format!("adapter.path = '{}'", adapter.display()));
    let next = tiny.recipe("next", &lines);
    let mut told = Told::default();
    watch(&next, false, &mut told).unwrap();
    assert!(told.notices.iter().any(|n| n.contains("own tokenizer")), "{:?}", told.notices);
    let written = next.output.dir.join("model");
    for name in ["chat_template.jinja", "generation_config.json"] {
        let [then, now] = [&adapter, &written].map(|f| fs::read_to_string(f.join(name)).unwrap());
        assert_eq!(then, now, "{name}");
    }
    let base = json(&written.join("adapter_config.json"))["base_model_name_or_path"].clone();
    assert_eq!(base, json!(tiny.path("m")));
}

/// An error after the last step leaves its checkpoint, and resuming does what is missing, once.
#[test]
fn the_last_step_is_saved_before_it_is_measured() {
    struct Dies(&'static str);
    impl Observer for Dies {
        fn evaluated(&mut self, metrics: &ift_train::EvalMetrics) {
            assert!(metrics.step < 2 || self.0 != "evaluation", "killed");
        }
        fn sampled(&mut self, sample: &ift_train::Sample) {
            assert!(sample.step < 2 || self.0 != "answer", "killed");
        }
    }
    let tiny = Tiny::new();
    let recipe = |name: &str| {
        tiny.recipe(
            name,
            &format!(
                "{TWO_STEPS}generate = {{ prompts = ['is 3 odd?', 'is 4 odd?'], max_tokens = 4 }}"
            ),
        )
    };
    run(&recipe("whole"), false).unwrap();
    let whole = metrics(&tiny.path("whole"));
    for when in ["evaluation", "answer"] {
        let cut = recipe(when);
        let killed = std::panic::AssertUnwindSafe(|| watch(&cut, false, &mut Dies(when)));
        assert!(std::panic::catch_unwind(killed).is_err());
        assert!(cut.output.dir.join("checkpoints/step-2/COMPLETE.json").exists());
        run(&cut, true).unwrap();
        assert_eq!(metrics(&cut.output.dir), whole, "{when}");
    }
}
