//! Files of every kind as streams of records.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::{Path, PathBuf};

use common::{answers, data, tokenizer};
use ift_data::{DataConfig, DataError, Dataset, Source, load};
use ift_methods::RowKind;

fn read(path: &Path) -> Result<Dataset, DataError> {
    read_source(Source::new(path))
}

fn read_source(source: Source) -> Result<Dataset, DataError> {
    let config = DataConfig { train: vec![source], ..DataConfig::default() };
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    load(&config, &tokenizer, RowKind::Demonstration).map(|(train, _)| train)
}

/// What is learned from each row.
fn learned(set: &Dataset) -> Vec<String> {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    set.rows.iter().map(|row| answers(&tokenizer, row.answer())).collect()
}

/// The text of a data set's rows.
fn texts(set: &Dataset) -> Vec<String> {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    set.rows.iter().map(|row| tokenizer.decode(row.answer().tokens(), false).unwrap()).collect()
}

fn case(name: &str) -> PathBuf {
    data().join("cases").join(name)
}

#[test]
fn parquet_cases_hold_the_same_conversations() {
    let expected = read(&case("parquet/legacy_nested.parquet")).unwrap();
    assert_eq!(learned(&expected)[..2], ["Max is a miller.<|im_end|>", "Ünï 😀<|im_end|>"]);
    for name in ["binary", "c_lz4", "c_brotli", "structoflists", "odd", "unionkeys"] {
        let set = read(&case(&format!("parquet/{name}.parquet"))).unwrap();
        assert_eq!(set.identity, expected.identity, "{name}");
    }
    for name in ["binary_c", "binary_pc"] {
        let set = read(&case(&format!("parquet/{name}.parquet"))).unwrap();
        assert_eq!(learned(&set), ["Max is a miller.<|im_end|>"], "{name}");
    }
}

#[test]
fn a_damaged_parquet_file_is_named() {
    let error = read(&case("parquet/panics.parquet")).unwrap_err().to_string();
    assert!(error.contains("panics.parquet`, record 1: not readable as Parquet: "), "{error}");
}

#[test]
fn parquet_files_with_nested_columns() {
    let at = |name: &str| data().join("parquet").join(name);
    let snappy = read(&at("ultrachat.snappy.parquet")).unwrap();
    let zstd = read(&at("ultrachat.zstd.parquet")).unwrap();
    assert_eq!((snappy.rows.len(), snappy.report.files[0].format.as_str()), (8, "messages"));
    assert_eq!(snappy.identity, zstd.identity);
    assert_eq!(snappy.rows.last().unwrap().record, 8);
    assert!(texts(&snappy)[4].contains("🎉 sure 👩‍👩‍👧‍👦 and 🏳️‍🌈!<|im_end|>"));
    let pairs = read(&at("ultrafeedback.gzip.parquet")).unwrap();
    assert_eq!(pairs.report.files[0].format, "preference");
    assert!(texts(&pairs)[1].ends_with("assistant\nParis<|im_end|>\n"));
    let alpaca = read(&at("alpaca.none.parquet")).unwrap();
    assert!(texts(&alpaca)[0].contains("Add.\n\n1 + 1"));
}

#[test]
fn the_files_of_a_split_follow_each_other() {
    let source = |split: &str| Source {
        split: Some(split.into()),
        ..Source::new(data().join("tables/saved"))
    };
    let config =
        DataConfig { train: vec![source("train"), source("test")], ..DataConfig::default() };
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let (set, _) = load(&config, &tokenizer, RowKind::Demonstration).unwrap();
    assert_eq!(learned(&set), ["A1<|im_end|>", "Ünï<|im_end|>", "A1<|im_end|>"]);
    assert_eq!(set.rows.iter().map(|row| row.source).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_file_that_is_missing_or_not_of_the_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |source| read_source(source).unwrap_err().to_string();
    let missing = error(Source::new(folder.path().join("missing.jsonl")));
    assert!(missing.contains("missing.jsonl`: cannot be read"), "{missing}");
    let folder = error(Source::new(folder.path()));
    assert!(folder.contains("is a folder") && folder.contains("`split`"), "{folder}");
    let split = error(Source { split: Some("train".into()), ..Source::new("a.jsonl") });
    assert!(split.contains("is not a folder, which `split"), "{split}");
}

#[test]
fn a_column_that_is_not_text_is_refused_where_text_is_needed() {
    let columns = [("text".to_owned(), "bytes".to_owned())];
    let source =
        Source { columns: columns.into(), ..Source::new(data().join("tables/types.parquet")) };
    let error = read_source(source).unwrap_err().to_string();
    assert!(error.contains("`bytes`: found bytes that are not UTF-8 text"), "{error}");
}
