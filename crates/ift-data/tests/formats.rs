//! Every layout of records, in every kind of file, and what is said about those that do not fit.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::Path;

use common::{answers, file, tokenizer};
use ift_data::{DataConfig, DataError, Dataset, Format, Source, load};
use ift_methods::RowKind;
use serde_json::{Value, json};

fn read(path: &Path, kind: RowKind) -> Result<Dataset, DataError> {
    let config = DataConfig { train: vec![Source::new(path)], ..DataConfig::default() };
    load(&config, &tokenizer("bytelevel", Some("chatml")), kind).map(|(train, _)| train)
}

fn lines(records: &[Value]) -> String {
    records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
}

/// The text of a data set's rows.
fn texts(set: &Dataset) -> Vec<String> {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    set.rows.iter().map(|row| tokenizer.decode(row.answer().tokens(), false).unwrap()).collect()
}

/// The texts of one record, read as JSON lines.
fn one(record: &Value) -> Result<(String, String, String), DataError> {
    let folder = tempfile::tempdir().unwrap();
    let set = read(
        &file(folder.path(), "a.jsonl", lines(std::slice::from_ref(record))),
        RowKind::Demonstration,
    )?;
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let learned = answers(&tokenizer, set.rows[0].answer());
    Ok((set.report.files[0].format.clone(), texts(&set).remove(0), learned))
}

#[test]
fn every_layout_is_recognised() {
    let asked = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n";
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let talk = json!([message("user", "Q"), message("assistant", "A")]);
    let worse = json!([message("user", "Q"), message("assistant", "B")]);
    for (record, format) in [
        (json!({"messages": talk, "id": 5, "tools": null}), "messages"),
        (json!({"prompt": "Q", "prompt_id": "x", "messages": talk}), "messages"),
        (
            json!({"messages": [
                {"role": "user", "content": [{"type": "text", "text": "Q"}], "name": "x"},
                {"role": "assistant",
                 "content": [{"type": "text", "text": ""}, {"type": "text", "text": "A"}]},
            ]}),
            "messages",
        ),
        (json!({"prompt": "Q", "completion": "A"}), "prompt_completion"),
        (
            json!({"prompt": [message("user", "Q")], "completion": [message("assistant", "A")]}),
            "prompt_completion",
        ),
        (
            json!({"conversations": [
                {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}),
            "sharegpt",
        ),
        (
            json!({"conversations": [
                {"from": "User", "value": "Q"}, {"from": "chatgpt", "value": "A"}]}),
            "sharegpt",
        ),
        (json!({"instruction": "Q", "input": "", "output": "A"}), "alpaca"),
        (json!({"instruction": "Q", "input": null, "output": "A"}), "alpaca"),
        (json!({"instruction": "Q", "output": "A", "text": "whole"}), "alpaca"),
        (
            json!({"prompt": "Q", "chosen": talk, "rejected": worse, "messages": talk,
                   "score_chosen": 8.5}),
            "preference",
        ),
        (json!({"prompt": "Q", "chosen": "A", "rejected": "B"}), "preference"),
        (
            json!({
                "prompt": [message("user", "Q")],
                "chosen": [message("assistant", "A")],
                "rejected": [message("assistant", "B")],
            }),
            "preference",
        ),
    ] {
        let (found, text, learned) = one(&record).unwrap();
        assert_eq!(
            (found.as_str(), text.as_str(), learned.as_str()),
            (format, asked, "A<|im_end|>"),
            "{record}"
        );
    }
    let (_, text, _) =
        one(&json!({"instruction": "Add.", "input": "1 + 1", "output": "2"})).unwrap();
    assert!(text.contains("user\nAdd.\n\n1 + 1<|im_end|>"));
    let turns = json!({"conversations": [
        {"from": "system", "value": "S"}, {"from": "human", "value": "Q"},
        {"from": "gpt", "value": "A"}
    ]});
    assert!(one(&turns).unwrap().1.starts_with("<|im_start|>system\nS<|im_end|>\n"));
}

#[test]
fn faults_of_a_record_name_file_place_and_field() {
    for (record, reasons) in [
        (json!({"foo": 1, "bar": 2}), vec!["`foo`, `bar`", "`messages`"]),
        (json!({}), vec!["found fields none"]),
        (json!([1]), vec!["`messages[0]`", "a number", "an object"]),
        (json!("x"), vec!["found a string", "expected an object"]),
        (json!({"messages": []}), vec!["`messages`", "an empty list"]),
        (json!({"messages": [5]}), vec!["`messages[0]`", "a number", "an object"]),
        (
            json!({"messages": [{"content": "x"}]}),
            vec!["`messages[0].role`", "nothing", "a string"],
        ),
        (
            json!({"messages": [
                {"role": "user", "content": "x"}, {"role": "assistant", "content": null}]}),
            vec!["`messages[1].content`", "null"],
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}),
            vec!["`messages[0].content[0]`", "type \"image\"", "\"text\""],
        ),
        (
            json!({"conversations": [{"from": "alien", "value": "x"}]}),
            vec!["`conversations[0].from`", "\"alien\"", "\"human\""],
        ),
        (
            json!({"conversations": [{"from": "human", "value": 5}]}),
            vec!["`conversations[0].value`", "a number"],
        ),
        (
            json!({"prompt": 5, "completion": "x"}),
            vec!["`prompt`", "a number", "a string or a list"],
        ),
        (json!({"instruction": "x", "output": false}), vec!["`output`", "a boolean", "a string"]),
        (json!({"chosen": [], "rejected": "x"}), vec!["`chosen`", "an empty list"]),
        (json!({"text": "plain"}), vec!["plain `text`", "method `lm`"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error =
            read(&file(folder.path(), "a.jsonl", format!("\n{record}\n")), RowKind::Demonstration);
        // On its own, such a file would be of another kind, so the record comes second there.
        let error = if record.is_array() || record.is_string() {
            let good = json!({"messages": [{"role": "user", "content": "Q"}]});
            read(
                &file(folder.path(), "a.jsonl", format!("{good}\n{record}\n")),
                RowKind::Demonstration,
            )
        } else {
            error
        };
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a.jsonl`, line 2: "), "{record}: {error}");
        for reason in reasons {
            assert!(error.contains(reason), "{record}: {error}, without {reason}");
        }
    }
}

#[test]
fn a_given_format_is_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let both =
        json!({"messages": [{"role": "user", "content": "M"}], "instruction": "I", "output": "O"});
    let path = file(folder.path(), "a.jsonl", lines(&[both]));
    let config = |format| DataConfig {
        train: vec![Source { format: Some(format), ..Source::new(&path) }],
        ..DataConfig::default()
    };
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let (set, _) = load(&config(Format::Alpaca), &tokenizer, RowKind::Demonstration).unwrap();
    assert!(texts(&set)[0].contains("O<|im_end|>"));
    let error = load(&config(Format::Sharegpt), &tokenizer, RowKind::Demonstration)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 1: field `conversations`: found nothing (the record has `messages`"),
        "{error}"
    );
}

#[test]
fn a_later_record_of_another_layout_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let records = [json!({"prompt": "Q", "completion": "A"}), json!({"text": "x"})];
    let error = read(&file(folder.path(), "a.jsonl", lines(&records)), RowKind::Demonstration)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2: field `prompt`"), "{error}");
}
