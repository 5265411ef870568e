//! Judged answers: their layouts, their order and the mismatched answer of each.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::path::Path;

use common::{answers, data, jsonl, mask, tokenizer};
use ift_data::{
    ChatTokenizer, DataConfig, DataError, Dataset, Format, OverLength, Row, Sequence, Source, load,
    rows_from_jsonl,
};
use ift_methods::RowKind;
use serde_json::{Value, json};

fn chatml() -> ChatTokenizer {
    tokenizer("bytelevel", Some("chatml"))
}

fn config(path: &Path) -> DataConfig {
    DataConfig { train: vec![Source::new(path)], ..DataConfig::default() }
}

fn judged(config: &DataConfig) -> Result<Dataset, DataError> {
    load(config, &chatml(), RowKind::Judged).map(|(train, _)| train)
}

fn verdict(row: &Row) -> (bool, &Sequence) {
    assert_eq!(row.kind(), RowKind::Judged);
    (row.is_desirable(), row.mismatched().unwrap())
}

/// Verdict, question, answer and mismatched answer of every row; questions and answers are single
/// words.
fn contents(set: &Dataset) -> Vec<(bool, String, String, String)> {
    let tokenizer = chatml();
    let learned = |sequence: &Sequence| {
        let text = answers(&tokenizer, sequence);
        text.strip_suffix("<|im_end|>").unwrap().to_owned()
    };
    let question = |tokens: &[u32]| {
        let text = tokenizer.decode(tokens, false).unwrap();
        text.split("user\n").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    let row = |row: &Row| {
        let (desirable, mismatched) = verdict(row);
        let asked = question(row.answer().tokens());
        assert_eq!(question(mismatched.tokens()), asked);
        (desirable, asked, learned(row.answer()), learned(mismatched))
    };
    set.rows.iter().map(row).collect()
}

fn tuple(desirable: bool, texts: [&str; 3]) -> (bool, String, String, String) {
    let [question, answer, mismatched] = texts.map(str::to_owned);
    (desirable, question, answer, mismatched)
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A pair with the question `Q{i}`.
fn pair(i: usize) -> Value {
    json!({
        "prompt": format!("Q{i}"), "chosen": format!("A{i}"), "rejected": format!("B{i}"),
    })
}

/// The rows of the project's golden batches: three pairs and the sequences for KTO's divergence.
#[test]
fn mismatched_answers_are_those_of_the_golden_batches() {
    let golden: Value =
        serde_json::from_str(&std::fs::read_to_string(data().join("mismatched.json")).unwrap())
            .unwrap();
    let side =
        |name: &str, i: usize| (golden[name][i]["ids"].clone(), golden[name][i]["labels"].clone());
    let folder = tempfile::tempdir().unwrap();
    let pair = |i: usize| {
        let ((chosen_ids, chosen_labels), (rejected_ids, rejected_labels)) =
            (side("chosen", i), side("rejected", i));
        json!({
            "chosen_ids": chosen_ids, "chosen_labels": chosen_labels,
            "rejected_ids": rejected_ids, "rejected_labels": rejected_labels,
        })
    };
    let path = jsonl(&folder, &[pair(0), pair(1), pair(2)]);
    let rows = rows_from_jsonl(&path, RowKind::Judged).unwrap();
    let places: Vec<_> = rows.iter().map(|row| (verdict(row).0, row.record)).collect();
    assert_eq!(places, [(true, 1), (true, 2), (true, 3), (false, 1), (false, 2), (false, 3)]);
    for (i, row) in rows.iter().enumerate() {
        let name = if i < 3 { "chosen" } else { "rejected" };
        let mismatched = verdict(row).1;
        for (sequence, (ids, labels)) in
            [(row.answer(), side(name, i % 3)), (mismatched, side("kl", i))]
        {
            assert_eq!(json!(sequence.tokens()), ids, "row {i}");
            let found: Vec<i64> = (sequence.tokens().iter().zip(mask(sequence)))
                .map(|(&token, target)| if target { token.into() } else { -100 })
                .collect();
            assert_eq!(json!(found), labels, "row {i}");
        }
    }
    // The same rows, judged one by one.
    let alone = |name: &str, i| {
        let (ids, labels) = side(name, i);
        json!({"input_ids": ids, "labels": labels, "desirable": name == "chosen"})
    };
    let order = [
        ("chosen", 0),
        ("rejected", 0),
        ("chosen", 1),
        ("chosen", 2),
        ("rejected", 1),
        ("rejected", 2),
    ];
    let path = jsonl(&folder, &order.map(|(name, i)| alone(name, i)));
    let again = rows_from_jsonl(&path, RowKind::Judged).unwrap();
    let contents =
        |rows: &[Row]| -> Vec<Row> { rows.iter().map(|row| row.clone().at(0, 0)).collect() };
    assert_eq!(contents(&again), contents(&rows));
}

#[test]
fn every_layout_of_a_judged_answer() {
    let asked = [message("user", "Q1")];
    let talk = [message("user", "Q2"), message("assistant", "A2")];
    let folder = tempfile::tempdir().unwrap();
    let expected = [tuple(true, ["Q1", "A1", "A2"]), tuple(false, ["Q2", "A2", "A1"])];
    let second = json!({"messages": talk, "label": false, "prompt": "Q2"});
    for first in [
        json!({"prompt": "Q1", "completion": "A1", "label": true}),
        json!({"prompt": asked, "completion": [message("assistant", "A1")], "label": true}),
        json!({"prompt": asked, "completion": "A1", "label": true, "completion_id": null}),
    ] {
        let set = judged(&config(&jsonl(&folder, &[first.clone(), second.clone()]))).unwrap();
        assert_eq!(contents(&set), expected, "{first}");
        assert_eq!(set.report.files[0].format, "judged");
        let tokens: usize = set.rows.iter().map(|row| row.answer().len()).sum();
        assert_eq!(
            set.report.files[0].tokens, tokens as u64,
            "mismatched answers are not trained on"
        );
    }
}

#[test]
fn a_pair_is_a_desirable_and_an_undesirable_answer() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = judged(&config(&jsonl(&folder, &[pair(1), pair(2)]))).unwrap();
    let expected = [
        tuple(true, ["Q1", "A1", "B2"]),
        tuple(true, ["Q2", "A2", "A1"]),
        tuple(false, ["Q1", "B1", "A2"]),
        tuple(false, ["Q2", "B2", "B1"]),
    ];
    assert_eq!(contents(&pairs), expected);
    let file = &pairs.report.files[0];
    assert_eq!((file.records, file.rows, file.format.as_str()), (2, 4, "preference"));
    let one = |i, kind: &str, label: bool| {
        let completion = format!("{kind}{i}");
        json!({"prompt": format!("Q{i}"), "completion": completion, "label": label})
    };
    let records = [one(1, "A", true), one(1, "B", false), one(2, "A", true), one(2, "B", false)];
    let single = judged(&config(&jsonl(&folder, &records))).unwrap();
    assert_eq!(single.identity, pairs.identity);
    let same = json!({"prompt": "Q3", "chosen": "A", "rejected": "A"});
    let set = judged(&config(&jsonl(&folder, &[pair(1), same]))).unwrap();
    assert_eq!((set.rows.len(), set.report.files[0].dropped_identical), (2, 1));
}

#[test]
fn a_mismatched_answer_is_cut_at_the_longest_row() {
    let folder = tempfile::tempdir().unwrap();
    let records = [
        json!({"prompt": "x ".repeat(20), "completion": "A", "label": true}),
        json!({"prompt": "Q", "completion": "b ".repeat(20), "label": false}),
    ];
    let path = jsonl(&folder, &records);
    let whole = judged(&config(&path)).unwrap();
    let longest = whole.rows.iter().map(|row| row.answer().len()).max().unwrap();
    assert!(verdict(&whole.rows[0]).1.len() > longest);
    let strict =
        DataConfig { max_length: longest, over_length: OverLength::Error, ..config(&path) };
    let set = judged(&strict).unwrap();
    for (row, whole) in set.rows.iter().zip(&whole.rows) {
        let (found, expected) = (verdict(row).1, verdict(whole).1);
        let length = expected.len().min(longest);
        assert_eq!(found.tokens(), &expected.tokens()[..length]);
        assert_eq!(mask(found), mask(expected)[..length]);
        assert!(found.target_count() > 0);
    }
}

#[test]
fn held_out_rows_are_mismatched_among_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = jsonl(&folder, &(0..20).map(pair).collect::<Vec<_>>());
    let config = DataConfig { eval_fraction: Some(0.25), ..config(&path) };
    let (train, eval) = load(&config, &chatml(), RowKind::Judged).unwrap();
    let eval = eval.unwrap();
    assert_eq!((train.rows.len(), eval.rows.len()), (30, 10));
    for set in [&train, &eval] {
        let rows = contents(set);
        let answers: Vec<_> = rows.iter().map(|row| row.2.clone()).collect();
        let mut expected = answers.clone();
        expected.rotate_right(1);
        assert_eq!(rows.iter().map(|row| row.3.clone()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"prompt": "Q", "completion": "A", "label": true});
    let read = |records: &[Value], format: Option<Format>| {
        let source = Source { format, ..Source::new(jsonl(&folder, records)) };
        judged(&DataConfig { train: vec![source], ..DataConfig::default() })
            .unwrap_err()
            .to_string()
    };
    let unlabelled = json!({"prompt": "Q", "completion": "A"});
    for (error, reasons) in [
        (
            read(std::slice::from_ref(&good), None),
            vec!["only one judged row is left to train on", "judged"],
        ),
        (
            read(std::slice::from_ref(&unlabelled), None),
            vec![
                "line 1: not a judged answer: found fields `prompt`, `completion`;",
                "`label` (true or false, also 1 or 0)",
            ],
        ),
        (
            read(std::slice::from_ref(&unlabelled), Some(Format::PromptCompletion)),
            vec!["line 1: not a judged answer"],
        ),
        (read(&[good.clone(), unlabelled], None), vec!["line 2: field `label`: found nothing"]),
        (
            read(&[json!({"prompt": "Q", "completion": "A", "label": 2})], Some(Format::Judged)),
            vec!["line 1: field `label`: found 2, expected true or false"],
        ),
        (
            read(&[json!({"prompt": "Q", "label": true})], Some(Format::Judged)),
            vec!["line 1: field `messages`: found nothing"],
        ),
    ] {
        for reason in reasons {
            assert!(error.contains(reason), "{error}, without {reason}");
        }
    }
}

#[test]
fn undesirable_answers_are_not_imitated() {
    let folder = tempfile::tempdir().unwrap();
    let one = |text: &str, label: bool| json!({"prompt": "Q", "completion": text, "label": label});
    let records = [one("A", true), one("B", false), one("C", true)];
    let config = config(&jsonl(&folder, &records));
    for kind in [RowKind::Demonstration, RowKind::Text] {
        let (set, _) = load(&config, &chatml(), kind).unwrap();
        assert_eq!(set.rows.iter().map(|row| row.record).collect::<Vec<_>>(), [1, 3]);
        assert!(set.rows.iter().all(|row| row.kind() == kind));
        assert_eq!(set.report.files[0].dropped_undesirable, 1);
        assert!(set.report.to_string().contains("undesirable"));
    }
    // Where the layout is given, `label` is a field like any other.
    let source = Source { format: Some(Format::PromptCompletion), ..config.train[0].clone() };
    let config = DataConfig { train: vec![source], ..config };
    assert_eq!(load(&config, &chatml(), RowKind::Demonstration).unwrap().0.rows.len(), 3);
}
