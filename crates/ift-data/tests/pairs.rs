//! Pairs: every layout, long ones, pairs that teach nothing, and what is said about records that
//! are none.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::Path;

use common::{answers, data, jsonl, mask, tokenizer};
use ift_data::{
    ChatTokenizer, DataConfig, DataError, Dataset, Format, OverLength, Row, Sequence, Source,
    Targets, load,
};
use ift_methods::RowKind;
use serde_json::{Value, json};

fn chatml() -> ChatTokenizer {
    tokenizer("bytelevel", Some("chatml"))
}

fn config(path: &Path) -> DataConfig {
    DataConfig { train: vec![Source::new(path)], ..DataConfig::default() }
}

fn pairs(config: &DataConfig) -> Result<Dataset, DataError> {
    load(config, &chatml(), RowKind::Pair).map(|(train, _)| train)
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn rejected(row: &Row) -> &Sequence {
    &row.answers()[1]
}

/// Text and learned text of both sides.
fn sides(row: &Row) -> [(String, String); 2] {
    let tokenizer = chatml();
    [row.answer(), rejected(row)].map(|sequence| {
        let text = tokenizer.decode(sequence.tokens(), false).unwrap();
        (text, answers(&tokenizer, sequence))
    })
}

/// A record of `UltraFeedback`-binarized.
fn ultrafeedback(prompt: &str, better: &str, worse: &str) -> Value {
    let talk = |answer: &str| json!([message("user", prompt), message("assistant", answer)]);
    json!({
        "prompt": prompt, "prompt_id": "0a", "chosen": talk(better), "rejected": talk(worse),
        "messages": talk(better), "score_chosen": 8.5, "score_rejected": 1.0,
    })
}

#[test]
fn every_layout_of_a_pair() {
    let asked = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n";
    let question = [message("user", "Q")];
    let (better, worse) = ([message("assistant", "A")], [message("assistant", "B")]);
    for record in [
        ultrafeedback("Q", "A", "B"),
        json!({"prompt": "Q", "chosen": "A", "rejected": "B"}),
        json!({"prompt": question, "chosen": "A", "rejected": "B"}),
        json!({"prompt": question, "chosen": better, "rejected": worse}),
        json!({"prompt": "Q", "chosen": better, "rejected": "B"}),
        json!({
            "chosen": [message("user", "Q"), message("assistant", "A")],
            "rejected": [message("user", "Q"), message("assistant", "B")],
        }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let set = pairs(&config(&jsonl(&folder, std::slice::from_ref(&record)))).unwrap();
        assert_eq!((set.rows.len(), set.report.files[0].format.as_str()), (1, "preference"));
        let expected =
            ["A", "B"].map(|x| (format!("{asked}{x}<|im_end|>\n"), format!("{x}<|im_end|>")));
        assert_eq!(sides(&set.rows[0]), expected, "{record}");
    }
}

#[test]
fn only_the_last_answer_is_learned_and_prompts_may_differ() {
    let folder = tempfile::tempdir().unwrap();
    let talk = |first: &str, last: &str| {
        json!([
            message("user", "hello"),
            message("assistant", first),
            message("user", "Q"),
            message("assistant", last)
        ])
    };
    let records = [
        json!({"chosen": talk("hi", "A"), "rejected": talk("hi", "B")}),
        json!({"chosen": talk("hi", "A"), "rejected": talk("hi there", "B")}),
    ];
    let config = DataConfig { targets: Targets::Assistant, ..config(&jsonl(&folder, &records)) };
    let set = pairs(&config).unwrap();
    for row in &set.rows {
        let [(_, better), (_, worse)] = sides(row);
        assert_eq!((better.as_str(), worse.as_str()), ("A<|im_end|>", "B<|im_end|>"));
    }
    assert!(sides(&set.rows[1])[1].0.contains("assistant\nhi there<"));
    let places: Vec<_> = set.rows.iter().map(|row| (row.source, row.record)).collect();
    assert_eq!(places, [(0, 1), (0, 2)]);
}

#[test]
fn parquet_and_lines_hold_the_same_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let records = [ultrafeedback("1 + 1", "2", "3"), ultrafeedback("the capital", "Paris", "Rome")];
    let from_lines = pairs(&config(&jsonl(&folder, &records))).unwrap();
    let from_parquet = pairs(&config(&data().join("parquet/ultrafeedback.gzip.parquet"))).unwrap();
    assert_eq!(from_parquet.rows, from_lines.rows);
    assert_eq!(from_parquet.identity, from_lines.identity);
    assert!(sides(&from_parquet.rows[1])[1].0.ends_with("assistant\nRome<|im_end|>\n"));
}

#[test]
fn the_report_counts_both_sides_and_demonstrations_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let path =
        jsonl(&folder, &[ultrafeedback("Q", "A", "much longer"), ultrafeedback("R", "C", "D")]);
    let set = pairs(&config(&path)).unwrap();
    let (better, worse): (Vec<_>, Vec<_>) =
        set.rows.iter().map(|row| (row.answer().len(), rejected(row).len())).unzip();
    let all: usize = better.iter().chain(&worse).sum();
    let targets: usize =
        set.rows.iter().map(|row| row.answer().target_count() + rejected(row).target_count()).sum();
    let counted = &set.report.files[0];
    assert_eq!((counted.tokens, counted.targets, counted.rows), (all as u64, targets as u64, 2));
    assert_eq!(set.rows.iter().map(Row::len_tokens).sum::<usize>(), all);

    let (imitated, _) = load(&config(&path), &chatml(), RowKind::Demonstration).unwrap();
    assert_eq!(imitated.report.files[0].tokens, better.iter().sum::<usize>() as u64);
    for (row, pair) in imitated.rows.iter().zip(&set.rows) {
        assert_eq!(row.kind(), RowKind::Demonstration);
        assert_eq!(row.answers(), &pair.answers()[..1]);
    }
    assert_ne!(imitated.identity, set.identity);
}

#[test]
fn a_long_pair_is_dropped_cut_or_an_error_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a ".repeat(30);
    let records = [
        ultrafeedback("Q", "A", "B"),
        ultrafeedback("Q", &long, "B"),
        ultrafeedback("Q", "A", &long),
    ];
    let path = jsonl(&folder, &records);
    let whole = pairs(&config(&path)).unwrap();
    let limit = 30;
    assert!(whole.rows[0].answer().len() < limit && whole.rows[1].answer().len() > limit);
    let total = whole.report.files[0].tokens;

    let kept = pairs(&DataConfig { max_length: limit, ..config(&path) }).unwrap();
    let counted = &kept.report.files[0];
    assert_eq!((counted.records, counted.rows, counted.dropped_over_length), (3, 1, 2));
    assert_eq!(counted.tokens + counted.tokens_lost, total);
    assert_eq!(kept.rows[..], whole.rows[..1]);

    let cut = DataConfig { max_length: limit, over_length: OverLength::Truncate, ..config(&path) };
    let cut = pairs(&cut).unwrap();
    let counted = &cut.report.files[0];
    assert_eq!((counted.rows, counted.truncated, counted.dropped_over_length), (3, 2, 0));
    assert_eq!(counted.tokens + counted.tokens_lost, total);
    for (cut, whole) in cut.rows.iter().zip(&whole.rows) {
        let upto = |length: usize| length.min(limit);
        for (cut, whole) in cut.answers().iter().zip(whole.answers()) {
            let length = upto(whole.len());
            assert_eq!(cut.tokens(), &whole.tokens()[..length]);
            assert_eq!(mask(cut), mask(whole)[..length]);
        }
    }

    let strict = DataConfig { max_length: limit, over_length: OverLength::Error, ..config(&path) };
    let error = pairs(&strict).unwrap_err().to_string();
    assert!(error.contains("line 2: ") && error.contains("is 30 and"), "{error}");
}

#[test]
fn pairs_that_teach_nothing_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a ".repeat(30);
    let asks = |text: &str| json!([message("user", text)]);
    let records = [
        ultrafeedback("Q", "A", "B"),
        ultrafeedback("Q", "A", "A"),
        // The same once they are cut, and cut before the answer.
        ultrafeedback("Q", &format!("{long}x"), &format!("{long}y")),
        json!({"chosen": [message("user", &long), message("assistant", "A")],
               "rejected": asks("Q")}),
        json!({"chosen": [message("user", "Q"), message("assistant", "A")], "rejected": asks("Q")}),
    ];
    let config = config(&jsonl(&folder, &records));
    let config = DataConfig { max_length: 30, over_length: OverLength::Truncate, ..config };
    let set = pairs(&config).unwrap();
    let counted = &set.report.files[0];
    assert_eq!((counted.records, counted.rows), (5, 1));
    assert_eq!(
        (counted.dropped_identical, counted.dropped_without_targets, counted.truncated),
        (2, 2, 0)
    );
    let report = set.report.to_string();
    assert!(report.contains("identical") && report.contains("no target"), "{report}");

    let path = jsonl(&folder, &records[1..2]);
    let error =
        pairs(&DataConfig { train: vec![Source::new(path)], ..config }).unwrap_err().to_string();
    assert!(error.contains("no row is left to train on") && error.contains("identical"), "{error}");
}

#[test]
fn a_record_that_is_no_pair_is_named_with_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let talk = json!({"messages": [message("user", "Q"), message("assistant", "A")], "id": 5});
    let pair = ultrafeedback("Q", "A", "B");
    for (records, format, reasons) in [
        (
            vec![talk.clone()],
            None,
            vec!["line 1: not a pair", "`messages`, `id`", "`chosen` and `rejected`"],
        ),
        (
            vec![talk.clone()],
            Some(Format::Messages),
            vec!["line 1: not a pair", "`messages`, `id`"],
        ),
        (vec![pair.clone(), talk], None, vec!["line 2: ", "`chosen`", "`messages`, `id`"]),
        (vec![json!({"chosen": "A"})], None, vec!["line 1: not a pair: found fields `chosen`;"]),
        (vec![json!({"text": "x"})], None, vec!["line 1: not a pair: found fields `text`;"]),
        (
            vec![json!({"chosen": "A", "rejected": 5})],
            None,
            vec!["line 1: ", "`rejected`", "a number"],
        ),
        (
            vec![json!({"chosen": "A", "rejected": []})],
            None,
            vec!["line 1: ", "`rejected`", "an empty list"],
        ),
    ] {
        let path = jsonl(&folder, &records);
        let source = Source { format, ..Source::new(path) };
        let config = DataConfig { train: vec![source], ..DataConfig::default() };
        let error = pairs(&config).unwrap_err().to_string();
        assert!(error.contains("a.jsonl`"), "{error}");
        for reason in reasons {
            assert!(error.contains(reason), "{error}, without {reason}");
        }
    }
}

#[test]
fn both_sides_of_a_held_out_pair_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..20).map(|i| ultrafeedback(&format!("Q{i}"), "A", "B")).collect();
    let config = DataConfig { eval_fraction: Some(0.25), ..config(&jsonl(&folder, &records)) };
    let (train, eval) = load(&config, &chatml(), RowKind::Pair).unwrap();
    let eval = eval.unwrap();
    assert_eq!((train.rows.len(), eval.rows.len()), (15, 5));
    for (set, counted) in [(&train, &train.report.files[0]), (&eval, &eval.report.files[0])] {
        let tokens: usize = set.rows.iter().map(Row::len_tokens).sum();
        assert_eq!((counted.tokens, counted.rows), (tokens as u64, set.rows.len() as u64));
    }
}
