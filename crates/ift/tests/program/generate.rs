//! `ift generate`: reproducible answers, prompts and templates, wrong usage.

use serde_json::Value;

use crate::common::Folder;

const ASK: [&str; 5] = ["generate", "--model", "base", "--max-tokens", "12"];

fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ASK[..], more].concat()
}

/// Answers as JSON, one in each line.
#[track_caller]
fn answers(folder: &Folder, more: &[&str]) -> Vec<Value> {
    let said = folder.ift(&ask(&[&["--json"], more].concat())).done();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn greedy_answers_are_always_the_same() {
    let folder = Folder::with_model();
    let first = answers(&folder, &["--prompt", "Who?"]);
    assert_eq!(first[0]["prompt"], "Who?");
    let (tokens, finish) = (first[0]["tokens"].as_array().unwrap().len(), &first[0]["finish"]);
    assert!(tokens == 12 && finish == "length" || tokens < 12 && finish == "stop", "{}", first[0]);
    assert_eq!(answers(&folder, &["--prompt", "Who?"]), first);
    assert_eq!(answers(&folder, &["--prompt", "Who?", "--seed", "5"]), first);
    let text = folder.ift(&ask(&["--prompt", "Who?"])).done();
    assert_eq!(text, format!("{}\n", first[0]["text"].as_str().unwrap()));
    let double = answers(&folder, &["--prompt", "Who?", "--precision", "f64"]);
    assert_eq!(double, first);
}

#[test]
fn sampled_answers_depend_on_the_seed() {
    let folder = Folder::with_model();
    let draw = |more: &[&str]| {
        answers(&folder, &[&["--prompt", "Who?", "--temperature", "1.5"], more].concat())
    };
    let first = draw(&["--seed", "1"]);
    assert_eq!(draw(&["--seed", "1"]), first);
    assert_ne!(draw(&["--seed", "2"]), first);
    assert_eq!(draw(&["--seed", "1", "--top-p", "1"]), first);
    // A nucleus this small holds one token: the most probable.
    assert_eq!(draw(&["--seed", "1", "--top-p", "1e-6"]), answers(&folder, &["--prompt", "Who?"]));
}

#[test]
fn prompts_together_get_the_answers_they_get_alone() {
    let folder = Folder::with_model();
    let prompts = ["Who?", "What does the baker make, and where does the miller live?", ""];
    for more in [&[][..], &["--system", "Be brief."]] {
        let alone: Vec<_> = prompts
            .iter()
            .flat_map(|p| answers(&folder, &[&["--prompt", p], more].concat()))
            .collect();
        let together = prompts.iter().flat_map(|p| ["--prompt", p]).chain(more.iter().copied());
        assert_eq!(answers(&folder, &together.collect::<Vec<_>>()), alone);
    }
}

#[test]
fn raw_prompts_are_continued_without_the_template() {
    let folder = Folder::with_model();
    let raw = answers(&folder, &["--raw", "--prompt", "The miller lives"]);
    assert_ne!(raw[0]["tokens"], answers(&folder, &["--prompt", "The miller lives"])[0]["tokens"]);
    // The text that the template renders gives the same answer.
    let chat = answers(&folder, &["--prompt", "Who?"]);
    let written = answers(&folder, &["--raw", "--prompt", "<|user|>\nWho?</s>\n<|assistant|>\n"]);
    assert_eq!(written[0]["tokens"], chat[0]["tokens"]);
    // A turn may be empty; a text to continue may not.
    let said = folder.ift(&ask(&["--raw", "--prompt", ""])).refused(1);
    assert!(said.contains("has no tokens; expected at least one"), "{said}");
}

#[test]
fn a_template_that_is_not_the_models_is_noted() {
    let folder = Folder::with_model();
    let noted = |more: &[&str]| {
        let answer = folder.ift(&ask(&[&["--prompt", "Who?"], more].concat()));
        let stderr = answer.stderr.clone();
        answer.done();
        stderr
    };
    assert_eq!(noted(&[]), "");
    std::fs::remove_file(folder.path("base/chat_template.jinja")).unwrap_or_default();
    let mut config = folder.json("base/tokenizer_config.json");
    config.as_object_mut().unwrap().remove("chat_template");
    folder.write("base/tokenizer_config.json", &config.to_string());
    let said = noted(&[]);
    let words = "note: the chat template is built-in `zephyr`, because the tokenizer has none; if";
    assert!(said.starts_with(words) && said.lines().count() == 1, "{said}");
    for more in [&["--template", "zephyr"][..], &["--raw"], &["--quiet"]] {
        assert_eq!(noted(more), "", "{more:?}");
    }
}

#[test]
fn a_bos_token_stands_where_it_is_wanted() {
    let folder = Folder::with_model();
    let tokens = |more: &[&str]| answers(&folder, more)[0]["tokens"].clone();
    // The tokenizer of this model puts none before a text, so that it can be written.
    let raw = |text: &str, bos: &str| tokens(&["--raw", "--bos", bos, "--prompt", text]);
    assert_eq!(raw("The miller", "always"), raw("<s>The miller", "auto"));
    assert_eq!(raw("The miller", "never"), raw("The miller", "auto"));
    assert_ne!(raw("The miller", "always"), raw("The miller", "never"));
    let chat = |bos: &str| tokens(&["--bos", bos, "--prompt", "Who?"]);
    assert_eq!(chat("always"), raw("<s><|user|>\nWho?</s>\n<|assistant|>\n", "auto"));
    assert_eq!(chat("never"), raw("<|user|>\nWho?</s>\n<|assistant|>\n", "auto"));
    assert_ne!(chat("always"), chat("never"));
}

#[test]
fn wrong_usage_is_refused() {
    let folder = Folder::with_model();
    for (more, code, words) in [
        (
            &["--prompt", "a", "--raw", "--system", "b"][..],
            2,
            "'--raw' cannot be used with '--system",
        ),
        (&["--prompt", "a", "--top-p", "0"], 2, "above 0 and up to 1"),
        (&["--prompt", "a", "--top-p", "1.5"], 2, "above 0 and up to 1"),
        (&["--prompt", "a", "--temperature=-1"], 2, "at least 0"),
        (&["--prompt", "a", "--temperature", "nan"], 2, "at least 0"),
        (&[], 2, "--prompt"),
        (&["--prompt", "a", "--template", "none"], 2, "`none` is neither a built-in template"),
    ] {
        let said = folder.ift(&ask(more)).refused(code);
        assert!(said.contains(words), "{more:?}: {said}");
    }
    let said = folder.ift(&["generate", "--model", "none", "--prompt", "a"]).refused(1);
    assert!(said.contains("`none/"), "{said}");
}

#[test]
fn answers_may_be_allowed_any_length() {
    let folder = Folder::with_model();
    let more = ["--prompt", "a", "--max-tokens", "100000000000000"];
    folder.ift(&[&["generate", "--model", "base"], &more[..]].concat()).done();
}
