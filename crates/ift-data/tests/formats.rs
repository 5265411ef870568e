//! Every layout of records, in every kind of file, and what is said about those that do not fit.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::Path;

use common::{answers, data, file, tokenizer};
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

#[test]
fn files_of_every_kind_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let records =
        [json!({"prompt": "ü", "completion": "日本"}), json!({"prompt": "b", "completion": "c"})];
    let plain =
        read(&file(folder.path(), "a.jsonl", lines(&records)), RowKind::Demonstration).unwrap();
    let numbers = |set: &Dataset| set.rows.iter().map(|row| row.record).collect::<Vec<_>>();
    assert_eq!(numbers(&plain), [1, 2]);
    let array = serde_json::to_string_pretty(&records).unwrap();
    let spaced = format!("\u{feff}{}\r\n\r\n  \n{}", records[0], records[1]);
    for (name, text, expected) in [("a.json", array, [1, 2]), ("b.jsonl", spaced, [1, 4])] {
        let set = read(&file(folder.path(), name, text), RowKind::Demonstration).unwrap();
        assert_eq!(set.identity, plain.identity, "{name}");
        assert_eq!(numbers(&set), expected, "{name}");
    }
}

#[test]
fn parquet_files_with_nested_columns() {
    let at = |name: &str| data().join("parquet").join(name);
    let snappy = read(&at("ultrachat.snappy.parquet"), RowKind::Demonstration).unwrap();
    let zstd = read(&at("ultrachat.zstd.parquet"), RowKind::Demonstration).unwrap();
    assert_eq!((snappy.rows.len(), snappy.report.files[0].format.as_str()), (8, "messages"));
    assert_eq!(snappy.identity, zstd.identity);
    assert_eq!(snappy.rows.last().unwrap().record, 8);
    assert!(texts(&snappy)[4].contains("🎉 sure 👩‍👩‍👧‍👦 and 🏳️‍🌈!<|im_end|>"));
    let pairs = read(&at("ultrafeedback.gzip.parquet"), RowKind::Demonstration).unwrap();
    assert_eq!(pairs.report.files[0].format, "preference");
    assert!(texts(&pairs)[1].ends_with("assistant\nParis<|im_end|>\n"));
    let alpaca = read(&at("alpaca.none.parquet"), RowKind::Demonstration).unwrap();
    assert!(texts(&alpaca)[0].contains("Add.\n\n1 + 1"));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let good = lines(&[json!({"prompt": "Q", "completion": "A"})]);
    let mut broken = good.clone().into_bytes();
    broken.extend(b"{\"prompt\": \"\xff\", \"completion\": \"x\"}\n");
    let parquet = std::fs::read(data().join("parquet/alpaca.none.parquet")).unwrap();
    for (name, content, reasons) in [
        ("empty.jsonl", b"".to_vec(), vec!["is empty"]),
        ("blank.jsonl", b" \n\n".to_vec(), vec!["is empty"]),
        ("none.json", b"[]".to_vec(), vec!["an empty array"]),
        ("half.json", b"[{\"prompt\": 1".to_vec(), vec!["not valid JSON"]),
        (
            "half.jsonl",
            format!("{good}{{\"prompt\": \"x\"\n").into_bytes(),
            vec!["line 2: not valid JSON"],
        ),
        (
            "pretty.json",
            b"{\n  \"prompt\": \"x\"\n}".to_vec(),
            vec!["line 1: not valid JSON", "one JSON object per line"],
        ),
        ("bytes.jsonl", broken, vec!["line 2: not valid UTF-8 at byte 12"]),
        ("words.txt", b"hello".to_vec(), vec!["neither JSON lines"]),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00".to_vec(), vec!["gzip-compressed"]),
        ("cut.parquet", parquet[..parquet.len() / 2].to_vec(), vec!["not readable as Parquet"]),
    ] {
        let error = read(&file(folder.path(), name, content), RowKind::Demonstration)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{name}: {error}");
        for reason in reasons {
            assert!(error.contains(reason), "{name}: {error}, without {reason}");
        }
    }
    let error =
        read(&folder.path().join("missing.jsonl"), RowKind::Demonstration).unwrap_err().to_string();
    assert!(error.contains("missing.jsonl`: cannot be read"), "{error}");
    let error = read(folder.path(), RowKind::Demonstration).unwrap_err().to_string();
    assert!(error.contains("is a folder") && error.contains("`split`"), "{error}");
}

#[test]
fn a_split_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let record = |text: &str| lines(&[json!({"prompt": text, "completion": "x"})]);
    file(folder.path(), "data/train-00001.jsonl", record("second"));
    file(folder.path(), "data/train-00000.jsonl", record("first"));
    file(folder.path(), "data/training.jsonl", record("other"));
    file(folder.path(), "data/test.json", record("third"));
    let source = |split: &str| Source { split: Some(split.into()), ..Source::new(folder.path()) };
    let config =
        DataConfig { train: vec![source("train"), source("test")], ..DataConfig::default() };
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let (set, _) = load(&config, &tokenizer, RowKind::Demonstration).unwrap();
    let texts = texts(&set);
    assert!(
        texts[0].contains("first") && texts[1].contains("second") && texts[2].contains("third")
    );
    assert_eq!(set.rows.iter().map(|row| row.source).collect::<Vec<_>>(), [0, 1, 2]);
    let config = DataConfig { train: vec![source("dev")], ..DataConfig::default() };
    let error = load(&config, &tokenizer, RowKind::Demonstration).unwrap_err().to_string();
    assert!(
        error.contains("no file of split `dev`") && error.contains("train-00000.jsonl"),
        "{error}"
    );
    let wrong = Source { split: Some("train".into()), ..Source::new("a.jsonl") };
    let config = DataConfig { train: vec![wrong], ..DataConfig::default() };
    assert!(
        load(&config, &tokenizer, RowKind::Demonstration)
            .unwrap_err()
            .to_string()
            .contains("is not a folder, which `split")
    );
}
