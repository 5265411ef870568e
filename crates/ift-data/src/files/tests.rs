//! Files of every kind to values.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Place, open, resolve};
use crate::config::Source;
use crate::error::DataError;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// The records of a file with their places, or the first error.
fn read(path: &Path) -> Result<Vec<(Place, Value)>, DataError> {
    let records = open(path)?.map(|record| {
        let record = record?;
        let place = record.place;
        Ok((place, record.into_value().map_err(|e| e.in_record(path, place))?))
    });
    records.collect()
}

fn values(path: &Path) -> Vec<Value> {
    read(path).unwrap().into_iter().map(|(_, value)| value).collect()
}

/// The values and their numbers, of content in a file of this name.
fn content(name: &str, content: impl AsRef<[u8]>) -> Vec<(u64, Value)> {
    let folder = tempfile::tempdir().unwrap();
    let read = read(&file(folder.path(), name, content)).unwrap();
    read.into_iter().map(|(place, value)| (place.number(), value)).collect()
}

/// The error of content in a file of this name, which it must name.
fn error(name: &str, content: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&file(folder.path(), name, content)).unwrap_err().to_string();
    assert!(error.contains(&format!("{name}`")), "{name}: {error}");
    error
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn json_lies_in_lines_in_values_or_in_an_array() {
    let (a, b) = (json!({"a": "x]},{", "b": [1, {"c": "\"\\"}]}), json!({"a": "ü😀"}));
    let both = [(1, a.clone()), (2, b.clone())];
    let pretty = |value| serde_json::to_string_pretty(value).unwrap();
    let all = json!([a, b]);
    for (layout, text) in [
        ("lines", format!("{a}\n{b}\n")),
        ("lines without an end", format!("\u{feff}{a}\r\n{b}")),
        ("values", format!("{}\n{}\n", pretty(&a), pretty(&b))),
        ("values on one line", format!("{a} {b}")),
        ("array on one line", all.to_string()),
        ("array", format!("\n\u{20}{}\n\n", pretty(&all))),
        ("array with a record a line", format!("[\r\n{a},\r\n{b}\r\n]\r\n")),
    ] {
        assert_eq!(content("a.json", &text), both, "{layout}");
        assert_eq!(content("a.json.gz", gzip(&text)), both, "{layout}, compressed");
    }
    let spaced = content("a.jsonl", format!("\n{a}\n\n  \n{b}"));
    assert_eq!(spaced, [(2, a.clone()), (5, b.clone())], "blank lines");
    let long = json!({"a": "x".repeat(200_000)});
    assert_eq!(content("a.jsonl", format!("{long}\n{b}\n")), [(1, long.clone()), (2, b.clone())]);
    assert_eq!(content("a.json", format!("[{long},{b}]")), [(1, long), (2, b)]);
}

#[test]
fn lists_of_messages_are_records_and_other_lists_hold_records() {
    assert_eq!(values(&data("cases/listlines.jsonl")).len(), 4);
    let talk = json!([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]);
    let other = json!([{"from": "human", "value": "Q"}]);
    let one = |value: &Value| vec![(1, value.clone())];
    assert_eq!(content("one.json", talk.to_string()), one(&talk));
    assert_eq!(content("pretty.json", serde_json::to_string_pretty(&talk).unwrap()), one(&talk));
    assert_eq!(content("a.jsonl", format!("{talk}\n{other}\n"))[1], (2, other.clone()));
    assert_eq!(content("a.jsonl", format!("[]\n{talk}\n")), [(1, json!([])), (2, talk.clone())]);
    assert_eq!(content("array.json", json!([talk, other]).to_string())[1], (2, other));
    let long = json!([{"content": "x".repeat(100_000), "role": "user"}]);
    assert_eq!(content("long.jsonl", format!("{long}\n{talk}\n"))[1], (2, talk));
    let record = json!({"role": "a column", "prompt": "Q", "completion": "A"});
    assert_eq!(content("array.json", json!([record]).to_string()), one(&record));
}

#[test]
fn faults_of_json_are_named() {
    let good = r#"{"a": 1}"#;
    for (second, reason) in [
        (r#"{"a": NaN}"#, "line 2: not valid JSON at line 2 column 7: JSON has no NaN; write null"),
        (r#"{"ü": [-Infinity]}"#, "column 9: JSON has no Infinity"),
        (r#"{"a": "\ud83d"}"#, "\\ud83d is half of a character"),
        (r#"{"a": "\ud83d\ud83d"}"#, "\\ud83d is half of a character"),
        (r#"{"a": "\ude00"}"#, "\\ude00 is half of a character"),
        (r#"{"a": 1, "a": 2}"#, "the key `a` occurs twice in an object"),
        (r#"{"b": [{"a": 1, "a": 1}]}"#, "the key `a` occurs twice in an object"),
        (r#"{"a": 1,}"#, "a comma before `}`"),
        (r#"{"a": [1,]}"#, "a comma before `}` or `]`"),
        (r#"{"a": True}"#, "found True as in Python, expected true"),
        (r"{'a': 1}", "found a single quotation mark as in Python"),
        (r#"{"a": 1} {"a": 2}"#, "column 10: found more text after the value"),
        (r#"{"a": "#, "EOF while parsing a value; expected one JSON value per line"),
        ("\u{feff}{}", "found a byte order mark within the file"),
        ("{\"a\": \"\t\"}", "control character"),
    ] {
        let text = error("a.jsonl", format!("{good}\n{second}\n{good}"));
        assert!(text.contains(reason), "{second}: {text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = error("a.jsonl", format!("{good}\n{{\"a\": {deep}}}\n"));
    assert!(nested.contains("nested more than 127 deep"), "{nested}");
    for (text, reason) in [
        (
            "[{\"a\": 1},\n {\"a\": NaN}]",
            "record 2: not valid JSON at line 2 column 8: JSON has no NaN",
        ),
        ("[{\"a\": 1},\n]", "not valid JSON at line 1 column 11: a comma before `]`"),
        (
            "[{\"a\": 1}\n{\"a\": 1}]",
            "record 1: not valid JSON at line 2 column 1: found more text",
        ),
        ("[{\"a\": 1}", "ends within an array that is not closed"),
        ("[{\"a\": 1},", "ends within an array that is not closed"),
        ("[{\"a\": 1}]\n[{\"a\": 2}]", "text after the end of its array, at line 2 column 1"),
        ("[]", "is an empty array"),
        (
            "{\n\"a\": 1,\n\"b\": nan\n}",
            "record 1: not valid JSON at line 3 column 7: JSON has no nan",
        ),
        ("{\n\"a\": 1\n", "record 1: not valid JSON at line 3 column 1: EOF"),
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("hello", "is neither JSON lines"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    ] {
        let found = error("a.json", text);
        assert!(found.contains(reason), "{text}: {found}");
    }
    for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}"] {
        assert!(error("a.json", bytes).contains("is UTF-16 text; convert it to UTF-8"));
    }
    let bytes = [good.as_bytes(), b"\n{\"a\": \"\xff\"}\n"].concat();
    assert!(error("a.jsonl", bytes).contains("line 2: not valid UTF-8 at byte 7"));
    assert!(read(&data("cases/nan.jsonl")).unwrap_err().to_string().contains("JSON has no NaN"));
    let half = read(&data("cases/surrogate.jsonl")).unwrap_err().to_string();
    assert!(
        half.contains("line 1: not valid JSON at line 1 column 1") && half.contains("\\ud83d is")
    );
}

#[test]
fn compressed_files_are_read_to_their_end() {
    let lines: String = (0..2000).map(|i| json!({"a": i}).to_string() + "\n").collect();
    let expected = content("a.jsonl", &lines);
    let (first, second) = lines.split_at(5000);
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    let members = [gzip(first), gzip(second)].concat();
    assert_eq!(content("a.jsonl.gz", &members), expected);
    assert_eq!(content("a.jsonl", &members), expected, "the name does not matter");
    let frames = [zstd(first), zstd(second)].concat();
    assert_eq!(content("a.jsonl.zst", &frames), expected);
    for (name, bytes) in [("a.jsonl.gz", members), ("a.jsonl.zst", frames)] {
        for cut in [1, 5, bytes.len() / 2] {
            let cut = error(name, &bytes[..bytes.len() - cut]);
            assert!(cut.contains("data is damaged or cut short"), "{cut}");
        }
    }
    assert!(error("a.jsonl.bz2", "BZh91AY").contains("decompress it (`bunzip2`)"));
    let parquet = fs::read(data("parquet/alpaca.none.parquet")).unwrap();
    assert!(error("a.parquet.gz", gzip(parquet)).contains("is a compressed Parquet file"));
}

#[test]
fn tables_have_a_line_of_names() {
    let csv = "\u{feff}prompt,completion,\r\n\"a, \"\"b\"\"\nc\",Ünï,1\r\n\r\nx,,2\r\n";
    let expected = [
        (2, json!({"prompt": "a, \"b\"\nc", "completion": "Ünï", "Unnamed: 2": "1"})),
        (5, json!({"prompt": "x", "completion": null, "Unnamed: 2": "2"})),
    ];
    assert_eq!(content("a.csv", csv), expected);
    assert_eq!(content("a.CSV.gz", gzip(csv)), expected);
    let tsv = content("a.tsv", "p\tc\na,b\t\"[1]\"\n");
    assert_eq!(tsv, [(2, json!({"p": "a,b", "c": "[1]"}))]);
    for (text, reason) in [
        ("a,b\n1,2\n3\n", "line 3: found 1 cells, expected 2"),
        ("a,b\n1,2\n3,4,5\n", "line 3: found 3 cells, expected 2"),
        ("a,b\n1,\"2\n3,4\n", "line 2: a quotation mark that opens a cell is never closed"),
        (
            "a,b\n1,2\n\n3,\"4\"5\n",
            "line 4: found text after the quotation mark that closes a cell",
        ),
        ("a,b,a\n1,2,3\n", "names the column `a` twice"),
        ("a,b\n", "no record below them"),
        ("", "is empty"),
    ] {
        let found = error("a.csv", text);
        assert!(found.contains(reason), "{text}: {found}");
    }
    assert!(error("a.csv", b"a,b\n1,\xff\n").contains("line 2: not valid UTF-8"));
}

/// The first of the two rows of `types.*`; `arrow` is what Parquet does not keep.
fn types(arrow: bool) -> Value {
    json!({
        "bool": true, "i8": -1, "u64": u64::MAX, "f16": 1.5, "f32": 0.1, "f64": 0.1,
        "decimal": "-12.30", "date": "2024-02-29", "time": "01:02:03.500",
        "local": "2024-01-01T12:30:00", "utc": "2024-01-01T12:30:00Z", "duration": 2000,
        "string": "ü", "large": "l", "view": "a view of more than twelve bytes",
        "dictionary": "d", "binary": "Ü", "bytes": {"bytes that are not UTF-8 text": null},
        "fixed": "abcd", "list": [1, null], "large_list": ["x"], "fixed_list": [1, 2],
        "struct": {"a": 1}, "map": {"k": 1}, "null": null,
        "run": if arrow { json!({"a column type without a JSON form": null}) } else { Value::Null },
    })
}

#[test]
fn columns_of_every_type() {
    for (name, arrow) in [("types.parquet", false), ("types.stream.arrow", true)] {
        let read = values(&data("tables").join(name));
        assert_eq!(read.len(), 2, "{name}");
        let Value::Object(mut expected) = types(arrow) else { unreachable!() };
        if !arrow {
            expected.remove("run");
        }
        for (column, value) in &expected {
            assert_eq!(read[0][column], *value, "{name}: {column}");
            let second = match column.as_str() {
                "list" => json!([]),
                "run" => value.clone(),
                _ => Value::Null,
            };
            assert_eq!(read[1][column], second, "{name}: {column}");
        }
        assert_eq!(read[0].as_object().unwrap().len(), expected.len());
    }
}

#[test]
fn arrow_streams_and_files() {
    let pairs = [
        json!({"prompt": "Q1", "completion": "A1", "score": 0.5}),
        json!({"prompt": "Q2", "completion": "Ünï", "score": null}),
    ];
    for kind in ["file", "lz4", "zstd"] {
        assert_eq!(values(&data(&format!("tables/pairs.{kind}.arrow"))), pairs, "{kind}");
        let whole = fs::read(data(&format!("tables/pairs.{kind}.arrow"))).unwrap();
        let cut = error("cut.arrow", &whole[..whole.len() / 2]);
        assert!(cut.contains("not readable as Arrow: it ends without its end mark"), "{cut}");
    }
    for kind in ["lz4", "zstd"] {
        let long = json!([{"prompt": "Q1".repeat(500), "completion": "A1".repeat(500)}]);
        assert_eq!(json!(values(&data(&format!("tables/long.{kind}.arrow")))), long, "{kind}");
    }
    let part = fs::read(data("tables/saved/train/data-00001-of-00002.arrow")).unwrap();
    assert_eq!(content("a.arrow", &part), [(1, pairs[1].clone())]);
    assert_eq!(content("a.arrow.gz", gzip(&part)), [(1, pairs[1].clone())]);
    let open_end = error("a.arrow", &part[..part.len() - 8]);
    assert!(open_end.contains("record 2: not readable as Arrow: it ends without"), "{open_end}");
}

/// The names of the files of a split, or the error.
fn split(folder: &Path, split: &str) -> Result<Vec<String>, String> {
    let split = Some(split.to_owned()).filter(|split| !split.is_empty());
    let files = resolve(&Source { split, ..Source::new(folder) }).map_err(|e| e.to_string())?;
    let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().display().to_string();
    Ok(files.iter().map(name).collect())
}

#[test]
fn a_split_of_a_folder_is_found_by_names() {
    for (names, wanted, expected) in [
        (vec!["train.jsonl.gz", "test.jsonl.gz"], "train", vec!["train.jsonl.gz"]),
        (vec!["data/train-1.CSV", "data/training-1.csv"], "train", vec!["data/train-1.CSV"]),
        (
            vec!["train/0001.parquet", "train/0000.parquet"],
            "train",
            vec!["train/0000.parquet", "train/0001.parquet"],
        ),
        (
            vec!["data/train-00001-of-00002-x.parquet", "data/train-00000-of-00002-y.parquet"],
            "train",
            vec!["data/train-00000-of-00002-y.parquet", "data/train-00001-of-00002-x.parquet"],
        ),
        (vec!["train_sft.json", "train.json"], "train_sft", vec!["train_sft.json"]),
        (vec!["train.txt", "train.ndjson.zst"], "train", vec!["train.ndjson.zst"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            file(folder.path(), name, "");
        }
        assert_eq!(split(folder.path(), wanted).unwrap(), expected, "{names:?}");
    }
    for (names, wanted, reason) in [
        (vec!["test.jsonl"], "train", "found `test.jsonl`"),
        (vec!["a.txt"], "train", "found no data file"),
        (vec!["train.jsonl", "train.jsonl.gz"], "train", "in several forms"),
        (vec!["train.csv", "data/train-0.parquet"], "train", "in several forms"),
        (
            vec!["train-00000-of-00003.json", "train-00002-of-00003.json"],
            "train",
            "train-00001-of-00003…`, a part of split `train`",
        ),
        (vec!["a.jsonl", "b.csv"], "", "or add `split`; it has `a.jsonl`, `b.csv`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            file(folder.path(), name, "");
        }
        let found = split(folder.path(), wanted).unwrap_err();
        assert!(found.contains(reason), "{names:?}: {found}");
    }
}

#[test]
fn a_saved_data_set_lists_its_files() {
    let saved = data("tables/saved");
    let train = ["train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"];
    assert_eq!(split(&saved, "train").unwrap(), train);
    assert_eq!(split(&saved.join("test"), "").unwrap(), ["data-00000-of-00001.arrow"]);
    assert_eq!(split(&saved.join("test"), "test").unwrap(), ["data-00000-of-00001.arrow"]);
    let found = split(&saved, "dev").unwrap_err();
    assert!(found.contains("has no split `dev`; it has `train`, `test`"), "{found}");
    let found = split(&saved, "").unwrap_err();
    assert!(found.contains("or add `split`; it has `train`, `test`"), "{found}");

    let folder = tempfile::tempdir().unwrap();
    for (state, reason) in [
        (json!({"_data_files": [{"filename": "a"}], "_split": "test"}), "is the split `test`"),
        (json!({"_data_files": [], "_split": null}), "lists no file"),
        (json!({"files": []}), "is not the list of files that `datasets` saves"),
        (
            json!({"_data_files": [{"filename": "a"}], "_split": null,
                "_indices_data_files": [{"filename": "b"}]}),
            "selects records by an index file",
        ),
    ] {
        file(folder.path(), "state.json", state.to_string());
        let found = split(folder.path(), "train").unwrap_err();
        assert!(found.contains(reason), "{state}: {found}");
    }
}
