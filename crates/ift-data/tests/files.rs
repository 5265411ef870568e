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
