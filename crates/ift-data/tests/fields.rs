//! Fields of records: listed, ignored, renamed or empty; and the first records of a source.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use common::{file, jsonl, tokenizer};
use ift_data::{ChatTokenizer, DataConfig, DataError, Dataset, Source, load};
use ift_methods::RowKind;
use serde_json::{Value, json};

fn chatml() -> ChatTokenizer {
    tokenizer("bytelevel", Some("chatml"))
}

fn read(config: &DataConfig) -> Result<Dataset, DataError> {
    load(config, &chatml(), RowKind::Demonstration).map(|(train, _)| train)
}

#[test]
fn fields_without_meaning_are_listed_once() {
    let folder = tempfile::tempdir().unwrap();
    let record =
        |id: u32| json!({"id": id, "prompt": "Q", "completion": "A", "source": "x", "score": null});
    let named = json!({"prompt": [{"role": "user", "content": "Q", "name": "Ann"}],
                       "completion": "A", "more": true});
    let path = jsonl(&folder, &[record(1), record(2), named]);
    let set =
        read(&DataConfig { train: vec![Source::new(&path)], ..DataConfig::default() }).unwrap();
    let file = &set.report.files[0];
    assert_eq!(file.unused_fields, ["id", "source", "more", "messages.name"]);
    let report = set.report.to_string();
    let line = "fields without meaning here: `id`, `source`, `more`, `messages.name`";
    assert!(report.contains(line), "{report}");
    let ignore = ["id", "source", "more", "messages.name", "tolos"];
    let config = DataConfig {
        train: vec![Source::new(&path)],
        ignore: ignore.map(str::to_owned).to_vec(),
        ..DataConfig::default()
    };
    let set = read(&config).unwrap();
    assert!(set.report.files[0].unused_fields.is_empty());
    assert_eq!(set.report.unseen_ignored, ["tolos"]);
    let report = set.report.to_string();
    assert!(report.contains("no record read has the fields `tolos`"), "{report}");
}

#[test]
fn empty_records_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"id": 3, "prompt": "Q", "completion": "A"});
    let records = [
        json!({"prompt": null, "completion": null, "id": null}),
        json!({"prompt": null, "completion": null, "id": 2}),
        good.clone(),
    ];
    let source = |records: &[Value]| DataConfig {
        train: vec![Source::new(jsonl(&folder, records))],
        ..DataConfig::default()
    };
    let set = read(&source(&records)).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.records, file.empty, file.first_empty), (3, 2, Some(1)));
    assert_eq!((set.rows[0].record, file.format.as_str()), (3, "prompt_completion"));
    assert!(set.report.to_string().contains("2 empty records, the first is record 1"));
    let error = read(&source(&records[..2])).unwrap_err().to_string();
    assert!(error.contains("no row is left") && error.contains("2 empty records"), "{error}");
    let half = json!({"prompt": "Q", "completion": null});
    let error = read(&source(&[good, half])).unwrap_err().to_string();
    assert!(error.contains("line 2: field `completion`: found nothing"), "{error}");
}

#[test]
fn columns_of_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = jsonl(&folder, &[json!({"ask": "Q", "reply": "A", "id": 1})]);
    let columns = |names: &[(&str, &str)]| {
        names.iter().map(|&(ours, theirs)| (ours.to_owned(), theirs.to_owned())).collect()
    };
    let names = [("prompt", "ask"), ("completion", "reply")];
    let config = |all: &[(&str, &str)], own: &[(&str, &str)]| DataConfig {
        train: vec![Source { columns: columns(own), ..Source::new(&path) }],
        columns: columns(all),
        ..DataConfig::default()
    };
    let plain = read(&config(&names, &[])).unwrap();
    assert_eq!(plain.report.files[0].unused_fields, ["id"]);
    for (all, own) in [
        (vec![], names.to_vec()),
        (vec![names[0]], vec![names[1]]),
        (vec![names[0], ("completion", "other")], vec![names[1]]),
    ] {
        assert_eq!(read(&config(&all, &own)).unwrap().identity, plain.identity);
    }
    for (config, reasons) in [
        (config(&[("promt", "ask")], &[]), vec!["`data.columns`", "did you mean `prompt`?"]),
        (config(&[], &[("answer", "ask")]), vec!["`data.train`", "`answer`", "`completion`"]),
        (
            config(&names, &[("prompt", "question")]),
            vec!["a.jsonl`", "no field `question`", "`prompt`", "found `ask`, `id`, `reply`"],
        ),
    ] {
        let error = read(&config).unwrap_err().to_string();
        for reason in reasons {
            assert!(error.contains(reason), "{error}, without {reason}");
        }
    }
}

#[test]
fn the_first_records_of_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |from: usize, to: usize| -> String {
        let line = |i| format!("{{\"prompt\": \"Q{i}\", \"completion\": \"A\"}}\n");
        (from..to).map(line).collect()
    };
    for (i, (from, to)) in [(0, 1500), (1500, 1510), (1510, 1520)].into_iter().enumerate() {
        file(folder.path(), &format!("train-{i}.jsonl"), lines(from, to));
    }
    let other = file(folder.path(), "other.jsonl", lines(0, 4));
    let config = |max: Option<u64>, eval_fraction| DataConfig {
        train: vec![
            Source {
                split: Some("train".to_owned()),
                max_records: max,
                ..Source::new(folder.path())
            },
            Source::new(&other),
        ],
        eval_fraction,
        ..DataConfig::default()
    };
    let all = read(&config(None, None)).unwrap();
    for (max, read_of) in [(3, [3, 0, 0]), (1500, [1500, 0, 0]), (1505, [1500, 5, 0])] {
        let set = read(&config(Some(max), None)).unwrap();
        let records: Vec<_> = set.report.files.iter().map(|file| file.records).collect();
        assert_eq!(records, [&read_of[..], &[4]].concat());
        let max = usize::try_from(max).unwrap();
        assert_eq!(set.rows[..max], all.rows[..max]);
        assert_eq!(set.rows.len(), max + 4);
        assert!(!set.report.stopped_early);
    }
    let report = read(&config(Some(1505), None)).unwrap().report.to_string();
    assert!(report.contains("train-1.jsonl`: only its first 5 records were read"), "{report}");
    let report = read(&config(Some(1500), None)).unwrap().report.to_string();
    for name in ["train-1.jsonl", "train-2.jsonl"] {
        let note = format!("{name}`: none of its records were read (`max_records`)");
        assert!(report.contains(&note), "{report}");
    }
    let (train, eval) =
        load(&config(Some(6), Some(0.5)), &chatml(), RowKind::Demonstration).unwrap();
    assert_eq!((train.rows.len(), eval.unwrap().rows.len()), (5, 5));
    let error = read(&config(Some(0), None)).unwrap_err().to_string();
    assert!(error.contains("`max_records = 0`"), "{error}");
}

#[test]
fn weights_of_turns_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let talk = |first: Value, last: Value| {
        json!({"messages": [
            {"role": "user", "content": "Q", "weight": 0},
            {"role": "assistant", "content": "A", "weight": first},
            {"role": "user", "content": "R"},
            {"role": "assistant", "content": "B", "weight": last},
        ]})
    };
    let records =
        [talk(json!(0), json!(1)), talk(json!(0), Value::Null), talk(json!(0.5), json!(1))];
    let path = jsonl(&folder, &records);
    let config = DataConfig { train: vec![Source::new(&path)], ..DataConfig::default() };
    let set = read(&config).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.turns_unlearned, file.turns_weighted), (2, 1));
    let targets: Vec<_> = set.rows.iter().map(|row| row.answer().target_count()).collect();
    assert_eq!(targets, [2, 2, 4]);
    let report = set.report.to_string();
    assert!(report.contains("2 turns of the assistant of weight 0"), "{report}");
    assert!(report.contains("1 turn of the assistant of a weight other"), "{report}");
}

#[test]
fn a_column_that_comes_late_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vec![json!({"prompt": "Q", "completion": "A"}); 1500];
    let columns = [("system".to_owned(), "sys".to_owned())];
    let read = |records: &[Value]| {
        let path = jsonl(&folder, records);
        let train = vec![Source::new(path)];
        read(&DataConfig { train, columns: columns.clone().into(), ..DataConfig::default() })
    };
    let error = read(&records).unwrap_err().to_string();
    assert!(error.contains("no field `sys`") && error.contains("`prompt`"), "{error}");
    records.push(json!({"prompt": "Q", "completion": "A", "sys": "S"}));
    let set = read(&records).unwrap();
    assert_eq!(set.rows.len(), 1501);
    assert!(set.rows[1500].len_tokens() > set.rows[0].len_tokens());
}

#[test]
fn ignored_fields_of_records_that_are_lists_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let answer = json!({"role": "assistant", "content": "A", "weight": 0});
    let path = jsonl(&folder, &[json!([{"role": "user", "content": "Q"}, answer])]);
    let ignore = vec!["messages.weight".to_owned()];
    let config = DataConfig { train: vec![Source::new(path)], ignore, ..DataConfig::default() };
    let set = read(&config).unwrap();
    assert_eq!((set.rows.len(), set.report.unseen_ignored.len()), (1, 0));
}

#[test]
fn a_reasoning_that_the_template_never_reads_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let answer = json!({"role": "assistant", "content": "A", "thinking": "Hm."});
    let record = json!({"messages": [{"role": "user", "content": "Q"}, answer]});
    let mut config =
        DataConfig { train: vec![Source::new(jsonl(&folder, &[record]))], ..DataConfig::default() };
    let error = read(&config).unwrap_err().to_string();
    for reason in ["line 1: field `messages[1].thinking`", "3 characters", "messages.thinking"] {
        assert!(error.contains(reason), "{error}, without {reason}");
    }
    config.ignore = vec!["messages.thinking".to_owned()];
    assert_eq!(read(&config).unwrap().rows.len(), 1);
}

#[test]
fn of_many_fields_the_first_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut record = json!({"prompt": "Q", "completion": "A"});
    (0..50_000).for_each(|i| record[format!("f{i}")] = json!(i));
    let path = jsonl(&folder, &[record.clone(), record]);
    let set =
        read(&DataConfig { train: vec![Source::new(path)], ..DataConfig::default() }).unwrap();
    assert_eq!(set.report.files[0].unused_fields.len(), 50_000);
    assert!(set.report.to_string().ends_with("`f28`, `f29` and 49970 more"));
}

#[test]
fn answers_without_text_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let talk = |answers: [Value; 2]| {
        let [first, last] = answers;
        json!({"messages": [{"role": "user", "content": "Q"}, first,
                            {"role": "user", "content": "R"}, last]})
    };
    let answer = |text: &str| json!({"role": "assistant", "content": text});
    let unlearned = json!({"role": "assistant", "content": "", "weight": 0});
    let records = [
        talk([answer("A"), answer("B")]),
        talk([unlearned, answer("B")]),
        talk([answer(""), answer(" \n")]),
        talk([answer(""), answer("B")]),
    ];
    let config =
        DataConfig { train: vec![Source::new(jsonl(&folder, &records))], ..DataConfig::default() };
    let report = read(&config).unwrap().report;
    let file = &report.files[0];
    assert_eq!((file.rows, file.answers_empty, file.first_answers_empty), (4, 3, Some(3)));
    let note = "3 answers without text, of which only the end is learned, the first is record 3";
    assert!(report.to_string().contains(note), "{report}");
    let last = DataConfig { targets: ift_data::Targets::Last, ..config };
    assert_eq!(read(&last).unwrap().report.files[0].answers_empty, 1);
}
