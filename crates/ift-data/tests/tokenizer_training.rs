//! New tokenizers: they give back any text, are the same every time, and refuse settings that make
//! no sense.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};

use ift_data::{
    ChatTokenizer, Conversation, Message, Targets, TemplateSettings, TokenizerSettings,
    train_tokenizer,
};
use proptest::prelude::*;

const STORY: &str = "The baker bakes bread. The miller brings flour to the baker.\n\n\
                     The baker's dog eats bread, and the miller's cat drinks milk. On Monday the \
                     baker sings; on \
                     Tuesday the miller sings.\n";

fn story(folder: &Path) -> PathBuf {
    let path = folder.join("story.txt");
    fs::write(&path, STORY.repeat(3)).unwrap();
    path
}

fn settings(vocab_size: usize) -> TokenizerSettings {
    TokenizerSettings { vocab_size, ..TokenizerSettings::default() }
}

/// What training on `text` in a file called `name` says.
fn refusal(name: &str, text: &str, settings: &TokenizerSettings) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let out = folder.path().join("out");
    let error = train_tokenizer(&[path], settings, &out).unwrap_err().to_string();
    assert!(!out.exists(), "nothing is written");
    error
}

#[test]
fn a_tokenizer_has_the_size_asked_for_and_a_working_chat_template() {
    for template in ["zephyr", "chatml", "llama3"] {
        let folder = tempfile::tempdir().unwrap();
        let text = story(folder.path());
        let settings = TokenizerSettings { template: template.to_owned(), ..settings(300) };
        assert_eq!(train_tokenizer(&[text], &settings, folder.path()).unwrap(), 300);
        let tokenizer =
            ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 300);
        assert_eq!(
            (tokenizer.pad_id(), tokenizer.bos_id(), tokenizer.eos_id()),
            (Some(0), Some(1), Some(2))
        );
        assert_eq!(tokenizer.template_origin().unwrap(), "`tokenizer_config.json`");
        let chat =
            vec![Message::new("user", "Who bakes?"), Message::new("assistant", "The baker.")];
        let chat = Conversation::from(chat);
        let sequence = tokenizer.encode_with_targets(&chat, Targets::Assistant).unwrap();
        let learned: Vec<u32> = sequence.targets().map(|(i, _)| sequence.tokens()[i]).collect();
        assert_eq!(tokenizer.decode(&learned, true).unwrap().trim(), "The baker.");
        let generation = fs::read_to_string(folder.path().join("generation_config.json")).unwrap();
        let generation: serde_json::Value = serde_json::from_str(&generation).unwrap();
        assert_eq!(generation["eos_token_id"], serde_json::json!(tokenizer.end_of_turn().unwrap()));
        assert!(tokenizer.end_of_turn().unwrap().contains(learned.last().unwrap()));
    }
}

#[test]
fn the_same_text_gives_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let text = story(folder.path());
    let files = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
    ];
    let read = |dir: &Path| files.map(|name| fs::read(dir.join(name)).unwrap());
    let first = folder.path().join("first");
    train_tokenizer(std::slice::from_ref(&text), &settings(330), &first).unwrap();
    for i in 0..8 {
        let again = folder.path().join(format!("again-{i}"));
        train_tokenizer(std::slice::from_ref(&text), &settings(330), &again).unwrap();
        assert!(read(&first) == read(&again), "run {i} differs");
    }
}

#[test]
fn records_and_plain_text_train_the_same_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let plain = story(folder.path());
    let records = folder.path().join("story.jsonl");
    let line = serde_json::json!({"text": STORY, "source": "invented"}).to_string();
    fs::write(&records, format!("{line}\n{line}\n{line}\n")).unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    train_tokenizer(&[plain], &settings(320), &a).unwrap();
    train_tokenizer(&[records], &settings(320), &b).unwrap();
    assert!(
        fs::read(a.join("tokenizer.json")).unwrap() == fs::read(b.join("tokenizer.json")).unwrap()
    );
}

#[test]
fn a_text_that_is_too_small_gives_fewer_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.txt");
    fs::write(&path, "aa bb").unwrap();
    assert_eq!(train_tokenizer(&[path], &settings(1000), folder.path()).unwrap(), 256 + 6);
}

#[test]
fn bos_is_added_to_plain_text_only_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let text = story(folder.path());
    for add_bos in [false, true] {
        let settings = TokenizerSettings { add_bos, ..settings(300) };
        train_tokenizer(std::slice::from_ref(&text), &settings, folder.path()).unwrap();
        let tokenizer =
            ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default()).unwrap();
        let tokens = tokenizer.encode_plain("bread", true).unwrap();
        assert_eq!(tokens.first() == Some(&1), add_bos);
        assert_eq!(tokenizer.decode(&tokens, true).unwrap(), "bread");
        let chat = Conversation::from(vec![Message::new("user", "bread")]);
        assert_ne!(tokenizer.encode_chat(&chat, true).unwrap().first(), Some(&1));
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_name() {
    let ok = settings(300);
    let says = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "`{word}` is missing in: {error}");
        }
    };
    says(refusal("a.txt", STORY, &settings(261)), &["tokenizer.vocab_size", "261", "at least 262"]);
    says(refusal("a.txt", " \n\n", &ok), &["no text in", "a.txt"]);
    says(
        refusal("a.jsonl", "{\"text\": \"x\"}\n{\"story\": 1}\n", &ok),
        &["a.jsonl", "line 2", "`text`"],
    );
    says(
        refusal("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 1}\n", &ok),
        &["line 2", "found a number"],
    );
    let unknown = TokenizerSettings { template: "zefyr".to_owned(), ..ok.clone() };
    says(refusal("a.txt", STORY, &unknown), &["`zefyr`", "`zephyr`", "`chatml`"]);
    let twice = TokenizerSettings { special_tokens: Some(vec!["<s>".to_owned()]), ..ok.clone() };
    says(refusal("a.txt", STORY, &twice), &["special_tokens[0]", "`<s>`", "already"]);
    for bad in ["", "a", "a b", "<é>"] {
        let settings = TokenizerSettings { eos_token: bad.to_owned(), ..ok.clone() };
        says(refusal("a.txt", STORY, &settings), &["eos_token", "printable ASCII"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let missing =
        train_tokenizer(&[folder.path().join("none.txt")], &ok, folder.path()).unwrap_err();
    says(missing.to_string(), &["none.txt", "cannot be read"]);
    says(train_tokenizer(&[], &ok, folder.path()).unwrap_err().to_string(), &["no file"]);
    fs::write(folder.path().join("latin.txt"), b"caf\xe9").unwrap();
    let latin =
        train_tokenizer(&[folder.path().join("latin.txt")], &ok, folder.path()).unwrap_err();
    says(latin.to_string(), &["latin.txt", "UTF-8"]);
    let text = story(folder.path());
    let in_the_way = train_tokenizer(std::slice::from_ref(&text), &ok, &text).unwrap_err();
    says(in_the_way.to_string(), &["story.txt", "cannot be written"]);
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            any::<char>().prop_map(String::from),
            "[ -~]{0,12}".prop_map(String::from),
            "\\PC{0,6}".prop_map(String::from),
            prop::sample::select(vec![
                "<s>",
                "</s>",
                "<|user|>",
                "\n\n",
                " \t",
                "the baker",
                "👩‍🌾",
                "\0"
            ])
            .prop_map(str::to_owned),
        ],
        0..20,
    )
    .prop_map(|parts| parts.concat())
}

#[test]
fn any_text_comes_back_from_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let text = story(folder.path());
    train_tokenizer(&[text], &settings(320), folder.path()).unwrap();
    let tokenizer = ChatTokenizer::from_folder_plain(folder.path()).unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in any_text())| {
        let tokens = tokenizer.encode_plain(&text, false).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokens, false).unwrap(), text);
    });
}
