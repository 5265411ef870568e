//! Lengths, held-out rows, plain text, the report, and rows that were tokenised elsewhere.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::PathBuf;

use common::{chat, file, mask, tokenizer};
use ift_data::{ChatTokenizer, DataConfig, Dataset, OverLength, Source, Targets, load};
use ift_methods::RowKind;
use serde_json::json;

/// A file of questions and answers of growing length.
fn questions(folder: &tempfile::TempDir, name: &str, count: usize) -> PathBuf {
    let line = |i| {
        json!({"prompt": format!("question {i}"), "completion": "a ".repeat(i + 1)}).to_string()
    };
    file(folder.path(), name, (0..count).map(line).collect::<Vec<_>>().join("\n"))
}

fn chatml() -> ChatTokenizer {
    tokenizer("bytelevel", Some("chatml"))
}

fn config(path: &std::path::Path) -> DataConfig {
    DataConfig { train: vec![Source::new(path)], ..DataConfig::default() }
}

fn train(config: &DataConfig) -> Dataset {
    load(config, &chatml(), RowKind::Demonstration).unwrap().0
}

#[test]
fn rows_that_are_too_long_are_dropped_cut_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 40);
    let all = train(&config(&path));
    let tokens: usize = all.rows.iter().map(|row| row.answer().len()).sum();
    let limit = all.rows[19].answer().len();
    let longer = all.rows.iter().filter(|row| row.answer().len() > limit).count();
    assert!(longer > 5);

    let kept = train(&DataConfig { max_length: limit, ..config(&path) });
    let file = &kept.report.files[0];
    assert_eq!(
        (file.records, file.rows, file.dropped_over_length),
        (40, (40 - longer) as u64, longer as u64)
    );
    assert_eq!(file.tokens + file.tokens_lost, tokens as u64);
    assert!(kept.rows.iter().all(|row| row.answer().len() <= limit));

    let cut = train(&DataConfig {
        max_length: limit,
        over_length: OverLength::Truncate,
        ..config(&path)
    });
    let file = &cut.report.files[0];
    assert_eq!((file.rows, file.truncated, file.dropped_over_length), (40, longer as u64, 0));
    let first = all.rows.iter().position(|row| row.answer().len() > limit).unwrap() as u64 + 1;
    assert_eq!(file.first_truncated, Some(first));
    let note = format!("{longer} records longer than `max_length`, cut, the first is record");
    assert!(cut.report.to_string().contains(&format!("{note} {first}")), "{}", cut.report);
    assert_eq!(file.tokens + file.tokens_lost, tokens as u64);
    for (cut, whole) in cut.rows.iter().zip(&all.rows) {
        let length = whole.answer().len().min(limit);
        assert_eq!(cut.answer().tokens(), &whole.answer().tokens()[..length]);
        assert_eq!(mask(cut.answer()), mask(whole.answer())[..length]);
    }

    let error = DataConfig { max_length: limit, over_length: OverLength::Error, ..config(&path) };
    let error = load(&error, &chatml(), RowKind::Demonstration).unwrap_err().to_string();
    let first = all.rows.iter().position(|row| row.answer().len() > limit).unwrap() + 1;
    assert!(
        error.contains(&format!("line {first}: ")) && error.contains(&format!("is {limit} and")),
        "{error}"
    );
}

#[test]
fn a_row_without_a_target_is_counted_and_none_at_all_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let unanswered = json!({"messages": [{"role": "user", "content": "hello"}]});
    let answered = json!({"messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]});
    let set =
        train(&config(&file(folder.path(), "a.jsonl", format!("{unanswered}\n{answered}\n"))));
    assert_eq!((set.rows.len(), set.report.files[0].dropped_without_targets), (1, 1));
    assert_eq!(set.rows[0].record, 2);
    let path = file(folder.path(), "b.jsonl", format!("{unanswered}\n"));
    let error = load(&config(&path), &chatml(), RowKind::Demonstration).unwrap_err().to_string();
    assert!(error.contains("no row is left to train on") && error.contains("no target"), "{error}");
    // Cut before its answer: nothing is left to learn.
    let path = questions(&folder, "c.jsonl", 3);
    let short = DataConfig { max_length: 4, over_length: OverLength::Truncate, ..config(&path) };
    let error = load(&short, &chatml(), RowKind::Demonstration).unwrap_err().to_string();
    assert!(error.contains("no row is left"), "{error}");
}

#[test]
fn several_files_follow_each_other_and_batches_keep_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let lines = (0..2500).map(|i| json!({"prompt": i.to_string(), "completion": "x"}).to_string());
    let many = lines.collect::<Vec<_>>().join("\n");
    let (a, b) = (file(folder.path(), "a.jsonl", many), questions(&folder, "b.jsonl", 5));
    let config =
        DataConfig { train: vec![Source::new(&a), Source::new(&b)], ..DataConfig::default() };
    let set = train(&config);
    let places: Vec<_> = set.rows.iter().map(|row| (row.source, row.record)).collect();
    let expected: Vec<_> = (1..=2500).map(|i| (0, i)).chain((1..=5).map(|i| (1, i))).collect();
    assert_eq!(places, expected);
    assert!(
        chatml().decode(set.rows[1999].answer().tokens(), false).unwrap().contains("user\n1999<")
    );
    assert_eq!(train(&config).identity, set.identity);
    let swapped =
        DataConfig { train: vec![Source::new(&b), Source::new(&a)], ..DataConfig::default() };
    assert_ne!(train(&swapped).identity, set.identity);
    let last = DataConfig { targets: Targets::Last, ..config.clone() };
    assert_eq!(train(&last).identity, set.identity, "one answer each: the same targets");

    let some = train(&DataConfig { max_rows: Some(2501), ..config.clone() });
    assert_eq!(some.rows[..], set.rows[..2501]);
    assert!(some.report.stopped_early);
    let few = train(&DataConfig { max_rows: Some(3), ..config });
    assert_eq!((few.rows.len(), few.report.files[0].records, few.report.files.len()), (3, 3, 2));
    assert!(few.report.to_string().contains("stopped at `max_rows`"));
}

#[test]
fn a_held_out_share_is_the_same_every_time_and_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 50);
    let whole = train(&config(&path));
    let config = DataConfig { eval_fraction: Some(0.2), ..config(&path) };
    let (train, eval) = load(&config, &chatml(), RowKind::Demonstration).unwrap();
    let eval = eval.unwrap();
    assert_eq!((train.rows.len(), eval.rows.len()), (40, 10));
    let mut places: Vec<_> = train.rows.iter().chain(&eval.rows).map(|row| row.record).collect();
    let held: Vec<_> = eval.rows.iter().map(|row| row.record).collect();
    assert!(held.windows(2).any(|w| w[1] != w[0] + 1), "spread over the file, not {held:?}");
    places.sort_unstable();
    assert_eq!(places, (1..=50).collect::<Vec<_>>());
    let (again, _) = load(&config, &chatml(), RowKind::Demonstration).unwrap();
    assert_eq!(again.identity, train.identity);
    let (t, e, w) = (&train.report.files[0], &eval.report.files[0], &whole.report.files[0]);
    assert_eq!((t.rows, t.held_out, e.records, e.rows), (40, 10, 10, 10));
    assert_eq!((t.tokens + e.tokens, t.targets + e.targets), (w.tokens, w.targets));
    let little = DataConfig { eval_fraction: Some(0.001), ..config };
    assert_eq!(load(&little, &chatml(), RowKind::Demonstration).unwrap().1.unwrap().rows.len(), 1);
}

#[test]
fn evaluation_files_are_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (questions(&folder, "a.jsonl", 5), questions(&folder, "b.jsonl", 3));
    let config = DataConfig { eval: vec![Source::new(b)], max_rows: Some(2), ..config(&a) };
    let (train, eval) = load(&config, &chatml(), RowKind::Demonstration).unwrap();
    assert_eq!((train.rows.len(), eval.unwrap().rows.len()), (2, 3));
}

#[test]
fn contradictions_are_refused_by_field() {
    let path = PathBuf::from("a.jsonl");
    for (config, field) in [
        (DataConfig::default(), "data.train"),
        (DataConfig { max_length: 1, ..config(&path) }, "data.max_length"),
        (DataConfig { max_rows: Some(0), ..config(&path) }, "data.max_rows"),
        (DataConfig { eval_fraction: Some(0.0), ..config(&path) }, "data.eval_fraction"),
        (DataConfig { eval_fraction: Some(f64::NAN), ..config(&path) }, "data.eval_fraction"),
        (
            DataConfig { eval_fraction: Some(0.1), eval: vec![Source::new("b")], ..config(&path) },
            "data.eval_fraction",
        ),
    ] {
        let error = load(&config, &chatml(), RowKind::Demonstration).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn plain_text_is_learned_whole_and_cut_into_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(4);
    let lines = format!("{}\n{}\n", json!({"text": text, "messages": []}), json!({"text": ""}));
    let config = DataConfig { max_length: 10, ..config(&file(folder.path(), "a.jsonl", lines)) };
    let tokenizer = tokenizer("llama3", None);
    let (set, _) = load(&config, &tokenizer, RowKind::Text).unwrap();
    let mut whole = tokenizer.encode_plain(&text, true).unwrap();
    assert_eq!(whole[0], tokenizer.bos_id().unwrap());
    whole.push(tokenizer.eos_id().unwrap());
    let joined: Vec<u32> = set.rows.iter().flat_map(|row| row.answer().tokens().to_vec()).collect();
    assert!(set.rows.len() > 2 && joined.len() + 1 >= whole.len());
    assert_eq!(joined, whole[..joined.len()]);
    assert!(
        set.rows
            .iter()
            .all(|row| row.record == 1 && row.answer().target_count() == row.answer().len() - 1)
    );
    assert_eq!(set.rows[0].answer().target_count(), 9, "the first token has nothing before it");
    assert_eq!(
        set.report.files[0].dropped_without_targets, 1,
        "the empty text, of which only BOS remains"
    );
    let conversation = json!({"prompt": "Q", "completion": "A"}).to_string();
    let talk = common::file(folder.path(), "b.jsonl", conversation);
    let (set, _) = load(
        &DataConfig { train: vec![Source::new(talk)], ..DataConfig::default() },
        &tokenizer,
        RowKind::Text,
    )
    .unwrap();
    let expected =
        tokenizer.encode_chat(&chat(&[("user", "Q"), ("assistant", "A")]), false).unwrap();
    assert_eq!(set.rows[0].answer().tokens(), expected);
    let double =
        common::file(folder.path(), "c.jsonl", json!({"text": "<|begin_of_text|>hi"}).to_string());
    let double = DataConfig { train: vec![Source::new(double)], ..DataConfig::default() };
    let error = load(&double, &tokenizer, RowKind::Text).unwrap_err().to_string();
    assert!(
        error.contains("line 1: begins with two BOS tokens")
            && error.contains("the text begins with"),
        "{error}"
    );
}

#[test]
fn special_tokens_in_texts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        json!({"prompt": "what is <|im_end|>?", "completion": "x"}),
        json!({"prompt": "a", "completion": "b"}),
    ];
    let set =
        train(&config(&file(folder.path(), "a.jsonl", format!("{}\n{}\n", lines[0], lines[1]))));
    assert_eq!(set.report.files[0].special_in_text, 1);
    assert!(set.report.to_string().contains("1 record contains the text of special tokens"));
}

#[test]
fn the_report_is_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 6);
    let short = DataConfig { max_length: 20, ..config(&path) };
    let report = train(&short).report;
    let text = report.to_string().replace(&path.display().to_string(), "a.jsonl");
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["file", "format", "records", "rows", "too", "long", "tokens", "targets", "lost"]
    );
    let file = &report.files[0];
    assert_eq!(lines[1][..3], ["a.jsonl", "prompt_completion", "6"]);
    assert_eq!(lines[1][3..5], [file.rows.to_string(), file.dropped_over_length.to_string()]);
    assert!(file.dropped_over_length > 0 && (0.0..1.0).contains(&file.share_lost()));
    let notes =
        "\nchat template: built-in `chatml`\n`a.jsonl`: 2 records longer than `max_length`, ";
    assert!(text.contains(notes), "{text}");
}
