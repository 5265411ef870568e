//! Ids and targets against what transformers made of the same conversations
//! (`data/make_fixtures.py`).
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

use std::path::PathBuf;

mod common;

use ift_data::{ChatTokenizer, Conversation, Message, Sequence, Targets};
use serde::Deserialize;

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

#[derive(Deserialize)]
struct Fixture {
    conversations: Vec<Vec<Message>>,
    tokenizers: Vec<TokenizerCase>,
}

#[derive(Deserialize)]
struct TokenizerCase {
    tokenizer: String,
    cases: Vec<TemplateCase>,
    plain: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

#[derive(Deserialize)]
struct TemplateCase {
    template: String,
    results: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Refused { refused: String },
    Rendered { ids: Vec<u32>, targets: Vec<[usize; 2]>, prompt: Option<Vec<u32>> },
}

fn fixture() -> Fixture {
    serde_json::from_str(&std::fs::read_to_string(data().join("parity.json")).unwrap()).unwrap()
}

fn mask(length: usize, spans: &[[usize; 2]]) -> Vec<bool> {
    (0..length).map(|i| spans.iter().any(|&[a, b]| a <= i && i < b)).collect()
}

#[test]
fn ids_and_targets_equal_those_of_transformers() {
    let fixture = fixture();
    assert!(fixture.conversations.len() >= 20);
    let (mut compared, mut masks, mut refused) = (0, 0, 0);
    for case in &fixture.tokenizers {
        for TemplateCase { template, results } in &case.cases {
            let path = data().join("templates").join(format!("{template}.jinja"));
            let source = std::fs::read_to_string(path).unwrap();
            let tokenizer = common::with_template(&case.tokenizer, &source);
            for (messages, expected) in fixture.conversations.iter().zip(results) {
                let messages = &Conversation::from(messages.clone());
                let at = format!("{} {template} {messages:?}", case.tokenizer);
                let got = tokenizer.encode_chat(messages, false);
                match expected {
                    Expected::Refused { refused: reason } => {
                        let error = got.unwrap_err().to_string();
                        assert!(error.contains(reason.as_str()), "{at}: {error}, not {reason}");
                        refused += 1;
                    }
                    Expected::Rendered { ids, targets, prompt } => {
                        assert_eq!(&got.unwrap(), ids, "{at}");
                        if let Some(prompt) = prompt {
                            let whole = tokenizer.encode_chat(messages, true).unwrap();
                            assert!(
                                whole == [ids.as_slice(), prompt].concat() || whole == *prompt,
                                "{at}"
                            );
                        }
                        compared += 1;
                        if template == "python" {
                            continue; // its generation prompt is made to differ from its turns
                        }
                        let sequence =
                            tokenizer.encode_with_targets(messages, Targets::Assistant).unwrap();
                        assert_eq!(sequence.tokens(), ids, "{at}");
                        assert_eq!(
                            sequence,
                            Sequence::masked(ids.clone(), &mask(ids.len(), targets)),
                            "{at} {}",
                            tokenizer.render(messages, false).unwrap()
                        );
                        masks += 1;
                    }
                }
            }
        }
    }
    assert_eq!((compared, masks, refused), (271, 215, 9));
}

#[test]
fn plain_text_equals_transformers() {
    let fixture = fixture();
    for case in &fixture.tokenizers {
        let folder = data().join("tokenizers").join(&case.tokenizer);
        let tokenizer = ChatTokenizer::from_folder_plain(&folder).unwrap();
        for ((messages, ids), decoded) in
            fixture.conversations.iter().zip(&case.plain).zip(&case.decoded)
        {
            let text = messages.last().unwrap().content.as_deref().unwrap();
            assert_eq!(
                &tokenizer.encode_plain(text, true).unwrap(),
                ids,
                "{} {text:?}",
                case.tokenizer
            );
            assert_eq!(
                &tokenizer.decode(ids, true).unwrap(),
                decoded,
                "{} {text:?}",
                case.tokenizer
            );
        }
    }
}
