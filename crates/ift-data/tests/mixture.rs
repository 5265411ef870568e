//! Files mixed by weight.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{file, tokenizer};
use ift_data::{ChatTokenizer, DataConfig, Dataset, Source, load};
use ift_methods::RowKind;
use serde_json::json;

fn chatml() -> ChatTokenizer {
    tokenizer("bytelevel", Some("chatml"))
}

fn questions(folder: &tempfile::TempDir, name: &str, count: usize) -> PathBuf {
    let line = |i| json!({"prompt": format!("{name} {i}"), "completion": "a"}).to_string();
    file(folder.path(), name, (0..count).map(line).collect::<Vec<_>>().join("\n"))
}

fn weighted(path: &Path, weight: f64) -> Source {
    Source { weight: Some(weight), ..Source::new(path) }
}

fn train(sources: &[Source]) -> Dataset {
    let config = DataConfig { train: sources.to_vec(), ..DataConfig::default() };
    load(&config, &chatml(), RowKind::Demonstration).unwrap().0
}

/// How often each record of a file occurs.
fn times(set: &Dataset, source: u32) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for row in set.rows.iter().filter(|row| row.source == source) {
        *times.entry(row.record).or_default() += 1;
    }
    times
}

#[test]
fn a_weight_below_one_takes_the_same_share_of_the_records_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 100);
    let whole = train(&[Source::new(&path)]);
    let half = train(&[weighted(&path, 0.5)]);
    let records: Vec<u64> = times(&half, 0).into_keys().collect();
    assert_eq!((half.rows.len(), records.len()), (50, 50));
    assert!(half.rows.is_sorted_by_key(|row| row.record));
    let gaps = records.windows(2).filter(|w| w[1] != w[0] + 1).count();
    assert!(gaps > 10, "spread over the file, not {records:?}");
    assert_eq!(train(&[weighted(&path, 0.5)]).identity, half.identity);
    assert_ne!(half.identity, whole.identity);
    let quarter = train(&[weighted(&path, 0.25)]);
    assert_eq!(quarter.rows.len(), 25);
    assert!(
        quarter.rows.iter().all(|row| half.rows.contains(row)),
        "a smaller share is part of a larger one"
    );
    assert_eq!(train(&[weighted(&path, 0.001)]).rows.len(), 1, "something remains");
    let counted = &half.report.files[0];
    assert_eq!(
        (counted.records, counted.rows, counted.left_out, counted.repeated),
        (100, 50, 50, 0)
    );
    let tokens: usize = half.rows.iter().map(|row| row.answer().len()).sum();
    assert_eq!((counted.tokens, counted.share_lost()), (tokens as u64, 0.0));
}

#[test]
fn a_weight_above_one_repeats_the_file_and_then_a_share_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (questions(&folder, "a.jsonl", 10), questions(&folder, "b.jsonl", 4));
    let set = train(&[weighted(&a, 2.5), Source::new(&b)]);
    assert_eq!(
        (set.rows.len(), times(&set, 1).into_values().collect::<Vec<_>>()),
        (29, vec![1; 4])
    );
    let whole = train(&[Source::new(&a), Source::new(&b)]);
    assert_eq!(set.rows[..10], whole.rows[..10]);
    assert_eq!(set.rows[10..20], whole.rows[..10]);
    assert_eq!(set.rows[25..], whole.rows[10..], "the next file follows");
    let half = train(&[weighted(&a, 0.5)]);
    assert_eq!(set.rows[20..25], half.rows[..]);
    let counted = &set.report.files[0];
    assert_eq!(
        (counted.records, counted.rows, counted.repeated, counted.left_out),
        (10, 25, 15, 0)
    );
    let one = train(&[weighted(&a, 1.0), Source::new(&b)]);
    assert_eq!(one.identity, whole.identity);

    let report = set.report.to_string();
    let cells: Vec<Vec<&str>> =
        report.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0][..6], ["file", "format", "records", "rows", "weight", "repeated"]);
    assert_eq!(cells[1][2..6], ["10", "25", "2.5", "15"]);
    assert_eq!(cells[2][2..6], ["4", "4", "-", "0"]);
    assert_eq!(cells[3][2..6], ["14", "29", "-", "15"]);
}

#[test]
fn weights_apply_to_training_rows_after_the_held_out_share_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 40);
    let read = |weight| {
        let train = vec![Source { weight, ..Source::new(&path) }];
        let config = DataConfig { train, eval_fraction: Some(0.25), ..DataConfig::default() };
        let (train, eval) = load(&config, &chatml(), RowKind::Demonstration).unwrap();
        (train, eval.unwrap())
    };
    let (plain, plain_held) = read(None);
    let (twice, held) = read(Some(2.0));
    assert_eq!(held.identity, plain_held.identity);
    assert_eq!((plain.rows.len(), twice.rows.len(), held.rows.len()), (30, 60, 10));
    assert_eq!((twice.report.files[0].repeated, held.report.files[0].repeated), (30, 0));
    let (half, _) = read(Some(0.5));
    assert_eq!((half.rows.len(), half.report.files[0].left_out), (15, 15));
    assert!(half.rows.iter().all(|row| plain.rows.contains(row)));
}

#[test]
fn all_rows_of_a_record_stay_together() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |i| json!({"prompt": format!("Q{i}"), "chosen": "A", "rejected": "B"}).to_string();
    let path = file(folder.path(), "a.jsonl", (0..8).map(pair).collect::<Vec<_>>().join("\n"));
    let config = DataConfig { train: vec![weighted(&path, 1.5)], ..DataConfig::default() };
    let (set, _) = load(&config, &chatml(), RowKind::Judged).unwrap();
    assert_eq!((set.rows.len(), set.report.files[0].repeated), (24, 8));
    assert!(times(&set, 0).into_values().all(|n| n == 2 || n == 4));
    assert!(
        set.rows[..12]
            .iter()
            .zip(&set.rows[12..])
            .all(|(better, worse)| better.record == worse.record)
    );
}

#[test]
fn weights_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = questions(&folder, "a.jsonl", 3);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1000.5] {
        let config = DataConfig { train: vec![weighted(&path, weight)], ..DataConfig::default() };
        let error = load(&config, &chatml(), RowKind::Demonstration).unwrap_err().to_string();
        assert!(
            error.contains("`data.train`: ") && error.contains("a.jsonl` has `weight = "),
            "{error}"
        );
    }
    let config = DataConfig {
        train: vec![Source::new(&path)],
        eval: vec![weighted(&path, 2.0)],
        ..DataConfig::default()
    };
    let error = load(&config, &chatml(), RowKind::Demonstration).unwrap_err().to_string();
    assert!(error.contains("`data.eval`: ") && error.contains("`weight`"), "{error}");
}
