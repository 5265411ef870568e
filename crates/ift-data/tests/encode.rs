//! Records that are far too long, documents and their ends, and what the report counts of them.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::Path;

use common::{answers, copy, data, jsonl, settings, tokenizer};
use ift_data::{
    Bos, ChatTokenizer, DataConfig, DataError, Dataset, OverLength, Source, Targets, load,
};
use ift_methods::RowKind;
use serde_json::{Value, json};

fn config(path: &Path, max_length: usize) -> DataConfig {
    DataConfig { train: vec![Source::new(path)], max_length, ..DataConfig::default() }
}

/// The rows of these records.
fn rows(
    tokenizer: &ChatTokenizer,
    kind: RowKind,
    records: &[Value],
    change: impl Fn(DataConfig) -> DataConfig,
) -> Result<Dataset, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let config = change(config(&jsonl(&folder, records), 1024));
    load(&config, tokenizer, kind).map(|(train, _)| train)
}

fn think_tools() -> ChatTokenizer {
    tokenizer("bytelevel", data().join("templates/think_tools.jinja").to_str())
}

#[test]
fn a_record_far_too_long_is_dropped_without_being_rendered() {
    // The template raises an error if it sees the long record.
    let folder = copy("bytelevel");
    let source = "{% for m in messages %}{% if m.content | length > 100000 %}\
                  {{ raise_exception('rendered') }}{% endif %}\
                  {{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    common::file(folder.path(), "chat_template.jinja", source);
    let tokenizer = ChatTokenizer::from_folder(folder.path(), &settings(None)).unwrap();
    let words = "the capital ".repeat(20_000);
    let tokens = tokenizer.encode_plain(&words, false).unwrap().len() as f64;
    let records =
        [json!({"prompt": "Q", "completion": words}), json!({"prompt": "Q", "completion": "A"})];
    let short = |config| DataConfig { max_length: 64, ..config };
    let set = rows(&tokenizer, RowKind::Demonstration, &records, short).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.records, file.rows, file.dropped_over_length, file.estimated), (2, 1, 1, 1));
    let lost = file.tokens_lost as f64;
    assert!((lost / tokens - 1.0).abs() < 0.05, "{lost} tokens, not {tokens}");
    let report = set.report.to_string();
    assert!(report.contains("1 record is far longer than `max_length`; the tokens"), "{report}");
    assert!(report.contains("1 record longer than `max_length`, dropped: record 1"), "{report}");
    let error = rows(&tokenizer, RowKind::Demonstration, &records, |config| DataConfig {
        over_length: OverLength::Error,
        ..short(config)
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("line 1: about ") && error.contains("tokens, but"), "{error}");
}

#[test]
fn the_beginning_of_a_record_far_too_long_is_what_the_whole_begins_with() {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let words = "the capital of France ".repeat(20_000);
    for completion in [words.clone(), format!("A {words}")] {
        let record = json!({"messages": [
            {"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"},
            {"role": "user", "content": "Q"}, {"role": "assistant", "content": completion},
        ]});
        let cut =
            |config| DataConfig { max_length: 100, over_length: OverLength::Truncate, ..config };
        let set =
            rows(&tokenizer, RowKind::Demonstration, std::slice::from_ref(&record), cut).unwrap();
        let file = &set.report.files[0];
        assert_eq!((file.truncated, file.estimated, set.rows.len()), (1, 1, 1));
        let messages = serde_json::from_value::<Vec<_>>(record["messages"].clone()).unwrap();
        let whole = tokenizer.encode_with_targets(&messages.into(), Targets::Assistant).unwrap();
        let row = set.rows[0].answer();
        assert_eq!(row.tokens(), &whole.tokens()[..100]);
        assert!(row.targets().eq(whole.targets().filter(|&(position, _)| position < 100)));
        let read = file.tokens_read as f64 / whole.len() as f64;
        assert!((read - 1.0).abs() < 0.05, "{read}");
    }
}

#[test]
fn the_report_counts_text_that_the_template_left_out() {
    let think = |text: &str| json!({"role": "assistant", "content": text});
    let records = [
        json!({"messages": [
            {"role": "user", "content": "2+2?"}, think("<think>\nadd\n</think>\n\n4"),
            {"role": "user", "content": "3+3?"}, think("<think>\nadd again\n</think>\n\n6"),
        ]}),
        json!({"messages": [{"role": "user", "content": "3+3?"}, think("<think>a</think>6")]}),
    ];
    let set = rows(&think_tools(), RowKind::Demonstration, &records, |config| config).unwrap();
    assert_eq!(set.report.files[0].template_removed, 1);
    let report = set.report.to_string();
    assert!(report.contains("left out text of 1 record,"), "{report}");
}

#[test]
fn pairs_with_two_prompts_are_counted_and_the_first_is_named() {
    let side = |question: &str, answer: &str| {
        let turn = |role: &str, text: &str| json!({"role": role, "content": text});
        json!([turn("user", question), turn("assistant", answer)])
    };
    let records = [
        json!({"chosen": side("Q", "\nA"), "rejected": side("Q", "B")}),
        json!({"chosen": side("Q", "A"), "rejected": side("q", "B")}),
        json!({"chosen": side("Q", "A"), "rejected": side("other", "B")}),
    ];
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let set = rows(&tokenizer, RowKind::Pair, &records, |config| config).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.prompts_differ, file.first_prompts_differ, file.rows), (2, Some(2), 3));
    let report = set.report.to_string();
    assert!(report.contains("2 pairs whose two answers follow different prompts"), "{report}");
}

#[test]
fn compared_answers_have_no_weights() {
    let record = |weight: f64| {
        json!({"label": true, "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": "A", "weight": weight},
        ]})
    };
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let read = |weight: f64| {
        rows(&tokenizer, RowKind::Judged, &[record(1.0), record(1.0), record(weight)], |c| c)
    };
    let error = read(0.5).unwrap_err().to_string();
    assert!(error.contains("line 3: field `weight`: found 0.5, expected 0 or 1"), "{error}");
    let set = read(0.0).unwrap();
    assert_eq!((set.rows.len(), set.report.files[0].dropped_without_targets), (2, 1));
}

#[test]
fn documents_end_with_one_end_token_unless_told_otherwise() {
    let tokenizer = tokenizer("llama3", None);
    let (bos, eos) = (tokenizer.bos_id().unwrap(), tokenizer.eos_id().unwrap());
    let text = tokenizer.encode_plain("Paris is", false).unwrap();
    let with = |before: &[u32], after: &[u32]| [before, &text, after].concat();
    let encode = |text, bos, end| tokenizer.encode_document(text, bos, end).unwrap();
    assert_eq!(encode("Paris is", Bos::Auto, true), with(&[bos], &[eos]));
    assert_eq!(encode("Paris is<|end_of_text|>", Bos::Auto, true), with(&[bos], &[eos]));
    assert_eq!(encode("Paris is", Bos::Auto, false), with(&[bos], &[]));
    assert_eq!(encode("Paris is", Bos::Always, false), with(&[bos], &[]));
    assert_eq!(encode("Paris is", Bos::Never, false), with(&[], &[]));
    let set = |change: fn(DataConfig) -> DataConfig| {
        let records = [json!({"text": "Paris is"}), json!({"text": ""})];
        rows(&tokenizer, RowKind::Text, &records, change).unwrap()
    };
    let ended = set(|config| config);
    assert_eq!(ended.rows[0].answer().tokens(), with(&[bos], &[eos]));
    assert_eq!(ended.report.files[0].dropped_without_targets, 1, "the empty text");
    assert!(answers(&tokenizer, ended.rows[0].answer()).ends_with("is<|end_of_text|>"));
    let open = set(|config| DataConfig { end_of_text: false, bos: Bos::Never, ..config });
    assert_eq!(open.rows[0].answer().tokens(), text);
}

#[test]
fn a_document_without_a_wanted_token_is_an_error_that_names_the_setting() {
    let folder = copy("bytelevel");
    common::file(folder.path(), "tokenizer_config.json", "{}");
    let tokenizer = ChatTokenizer::from_folder_plain(folder.path()).unwrap();
    let error = |bos, end| tokenizer.encode_document("a", bos, end).unwrap_err().to_string();
    let no_end = error(Bos::Auto, true);
    assert!(no_end.contains("`data.end_of_text`") && no_end.contains("`eos_token`"), "{no_end}");
    assert!(error(Bos::Always, false).contains("`data.bos`"));
    // A BOS token that the post-processor does not add.
    let set = r#"{"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}"#;
    common::file(folder.path(), "tokenizer_config.json", set);
    let tokenizer = ChatTokenizer::from_folder_plain(folder.path()).unwrap();
    let tokens = tokenizer.encode_document("a", Bos::Always, true).unwrap();
    assert_eq!(tokenizer.decode(&tokens, false).unwrap(), "<|endoftext|>a<|im_end|>");
}

#[test]
fn a_word_that_would_take_much_memory_names_its_line() {
    let tokenizer = tokenizer("bytelevel", None);
    let records = [json!({"text": "a"}), json!({"text": "x".repeat(5 << 20)})];
    let error = rows(&tokenizer, RowKind::Text, &records, |config| config).unwrap_err().to_string();
    assert!(error.contains("a.jsonl`, line 2: a text with 5242880 bytes without"), "{error}");
    // A conversation is cut or dropped before.
    let records = [
        json!({"prompt": "Q", "completion": "A"}),
        json!({"prompt": "Q", "completion": "x".repeat(5 << 20)}),
    ];
    for over_length in [OverLength::Drop, OverLength::Truncate] {
        let change = |config| DataConfig { over_length, ..config };
        let set = rows(&tokenizer, RowKind::Demonstration, &records, change).unwrap();
        assert_eq!(set.report.files[0].records, 2);
    }
}
