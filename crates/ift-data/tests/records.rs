//! Records whose fields leave open what is meant: what is read, listed or refused of them.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::path::Path;

use common::{answers, data, file, jsonl, tokenizer, with_template};
use ift_data::{ChatTokenizer, DataConfig, Dataset, Format, Source, load};
use ift_methods::RowKind;
use serde_json::{Value, json};

/// A template that writes the name of any role, and the reasoning.
const THINKS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
    {% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
    {{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn config(path: &Path) -> DataConfig {
    DataConfig { train: vec![Source::new(path)], ..DataConfig::default() }
}

/// Records of one file.
fn read_all(
    records: &[Value],
    kind: RowKind,
    change: impl Fn(&mut DataConfig),
) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&jsonl(&folder, records));
    change(&mut config);
    let tokenizer = with_template("bytelevel", THINKS);
    load(&config, &tokenizer, kind).map(|(set, _)| set).map_err(|e| e.to_string())
}

fn read(record: &Value, kind: RowKind) -> Result<Dataset, String> {
    read_all(std::slice::from_ref(record), kind, |_| {})
}

/// The text and the learned text of each answer of the first row; the marks of turns are shorter.
fn texts(set: &Dataset) -> Vec<(String, String)> {
    let tokenizer = with_template("bytelevel", THINKS);
    let short = |text: String| {
        text.replace("<|im_start|>", "<").replace("<|im_end|>\n", "|").replace("<|im_end|>", "|")
    };
    let sequences = set.rows[0].answers().iter();
    let texts = sequences.map(|sequence| {
        let text = tokenizer.decode(sequence.tokens(), false).unwrap();
        (short(text), short(answers(&tokenizer, sequence)))
    });
    texts.collect()
}

/// What is learned of a record, whose text as a whole is this.
#[track_caller]
fn learns(record: &Value, text: &str, learned: &str) {
    let set = read(record, RowKind::Demonstration).unwrap();
    assert_eq!(texts(&set), [(text.to_owned(), learned.to_owned())], "{record}");
}

/// The two sides of a pair, which follow the same text.
#[track_caller]
fn compares(record: &Value, prompt: &str) {
    let set = read(record, RowKind::Pair).unwrap();
    let side = |answer: &str| (format!("{prompt}<assistant\n{answer}|"), format!("{answer}|"));
    assert_eq!(texts(&set), [side("A"), side("B")], "{record}");
}

#[track_caller]
fn refused(record: &Value, kind: RowKind, reasons: &[&str]) {
    let error = read(record, kind).map(|set| texts(&set)).unwrap_err();
    for reason in reasons {
        assert!(error.contains(reason), "{record}: {error}, without {reason}");
    }
}

const DEMO: RowKind = RowKind::Demonstration;

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn the_fields_that_columns_name_count() {
    let record = json!({"messages": [
        {"speaker": "user", "says": "Q", "role": "captain", "content": "x"},
        {"speaker": "assistant", "says": "A", "content": "raw"}]});
    let names = [("role", "speaker"), ("content", "says")];
    let columns = |config: &mut DataConfig| {
        let names = names.iter().map(|&(ours, theirs)| (ours.to_owned(), theirs.to_owned()));
        config.columns = names.collect();
    };
    let set = read_all(&[record], DEMO, columns).unwrap();
    assert_eq!(texts(&set)[0], ("<user\nQ|<assistant\nA|".to_owned(), "A|".to_owned()));
    assert_eq!(set.report.files[0].unused_fields, ["messages.role", "messages.content"]);
    let other = |content: &str| {
        json!({"conversations": [{"from": "human", "value": "Q"},
        {"from": "gpt", "value": "A", "content": content}]})
    };
    learns(&other("A"), "<user\nQ|<assistant\nA|", "A|");
    refused(&other("B"), DEMO, &["`conversations[1].content`", "`value`", "\"messages.content\""]);
}

#[test]
fn a_reasoning_of_the_record_belongs_to_its_answer() {
    let thought = ("<user\n2+2?|<assistant\n<think>add</think>4|", "<think>add</think>4|");
    for name in ["reasoning", "thinking", "reasoning_content"] {
        for (asked, answered) in [("question", "answer"), ("instruction", "output")] {
            let record = json!({asked: "2+2?", name: "add", answered: "4"});
            learns(&record, thought.0, thought.1);
        }
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "dd"}]);
        learns(&json!({"prompt": "2+2?", name: parts, "completion": "4"}), thought.0, thought.1);
        for (value, found) in [(json!("on"), "whether to think"), (json!(true), "a boolean")] {
            let record = json!({"prompt": "2+2?", name: value, "completion": "4"});
            refused(&record, DEMO, &[&format!("`{name}`"), found, "data.ignore"]);
        }
        let talk = [message("user", "Q"), message("assistant", "A")];
        let hint = format!("data.ignore = [\"{name}\"]");
        refused(&json!({"messages": talk, name: "x"}), DEMO, &[&hint]);
        let pair = json!({"prompt": "Q", "chosen": "A", "rejected": "B", name: "x"});
        refused(&pair, RowKind::Pair, &[&hint]);
    }
    for name in ["tool_calls", "function_call"] {
        let record = json!({"prompt": "Q", "completion": "A", name: [{"name": "x"}]});
        refused(&record, DEMO, &[&format!("`{name}`"), "data.ignore"]);
    }
    let list = json!(["a", "b"]);
    let turn = json!({"role": "assistant", "content": "A", "reasoning_content": list});
    let reasons = ["`messages[1].reasoning_content`", "text parts", "data.ignore"];
    refused(&json!({"messages": [message("user", "Q"), turn]}), DEMO, &reasons);
}

#[test]
fn an_answer_beside_the_messages() {
    let all = "<user\nQ|<assistant\nA|<user\nR|<assistant\nB|";
    let talk = [message("user", "Q"), message("assistant", "A"), message("user", "R")];
    for name in ["completion", "response", "output", "answer"] {
        learns(&json!({"messages": talk, name: "B"}), all, "A|B|");
        let set = read(&json!({"messages": talk[..2], name: " A\n"}), DEMO).unwrap();
        assert_eq!(set.report.files[0].unused_fields, [name]);
        let other = json!({"messages": talk[..2], name: "C"});
        let hint = format!("data.ignore = [\"{name}\"]");
        refused(&other, DEMO, &[&format!("`{name}`"), "another answer", &hint]);
    }
    let record = json!({"messages": talk, "completion": "B", "label": true});
    let set = read(&record, DEMO).unwrap();
    assert_eq!(texts(&set)[0].0, all);
}

#[test]
fn a_pair_follows_its_whole_prompt() {
    let pair = |prompt: &[&Value], asked: &[&Value]| {
        let side = |answer: &str| json!([asked, &[&message("assistant", answer)]].concat());
        let (better, worse) = (side("A"), side("B"));
        json!({"prompt": prompt, "chosen": better, "rejected": worse})
    };
    let (system, user) = (&message("system", "S"), &message("user", "Q"));
    let told = "<system\nS|<user\nQ|";
    compares(&pair(&[system], &[user]), told);
    compares(&pair(&[system, user], &[system, user]), told);
    compares(&pair(&[user], &[system, user]), told);
    let (call, result) = (&message("assistant", "look"), &message("tool", "1"));
    let called = "<user\nQ|<assistant\nlook|<tool\n1|";
    compares(&pair(&[user, call], &[result]), called);
    // The prompt is one of several questions.
    let mut talk = pair(&[], &[user, call, &message("user", "R")]);
    talk["prompt"] = json!("R");
    compares(&talk, "<user\nQ|<assistant\nlook|<user\nR|");
    talk["prompt"] = json!("Something else");
    refused(&talk, RowKind::Pair, &["`prompt`", "`chosen`", "data.ignore = [\"prompt\"]"]);
    talk["prompt"] = json!("");
    assert!(read(&talk, RowKind::Pair).is_ok());
    let empty = json!({"prompt": "", "chosen": "A", "rejected": "B"});
    refused(&empty, RowKind::Pair, &["without a prompt"]);
}

#[test]
fn both_sides_of_a_pair_are_looked_at() {
    let answer = json!({"role": "assistant", "content": "A", "name": "x"});
    let worse = json!({"role": "assistant", "content": "B", "thinking": "Hm."});
    let chatml = tokenizer("bytelevel", Some("chatml"));
    let folder = tempfile::tempdir().unwrap();
    for sides in [[&answer, &worse], [&worse, &answer]] {
        let record = json!({"prompt": "Q", "chosen": [sides[0]], "rejected": [sides[1]]});
        let path = jsonl(&folder, &[record]);
        let error = load(&config(&path), &chatml, RowKind::Pair).unwrap_err().to_string();
        assert!(error.contains("messages[1].thinking`"), "{error}");
    }
    let plain = message("assistant", "B");
    let record = json!({"prompt": "Q", "chosen": [plain], "rejected": [answer]});
    let (set, _) = load(&config(&jsonl(&folder, &[record])), &chatml, RowKind::Pair).unwrap();
    assert_eq!(set.report.files[0].unused_fields, ["messages.name"]);
}

#[test]
fn a_turn_that_the_template_leaves_out_is_refused() {
    const KNOWN: &str = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}\
        <|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let folder = tempfile::tempdir().unwrap();
    let read = |role: &str| {
        let talk = [message(role, "Be brief."), message("user", "Q"), message("assistant", "A")];
        let path = jsonl(&folder, &[json!({"messages": talk})]);
        load(&config(&path), &with_template("bytelevel", KNOWN), DEMO).map_err(|e| e.to_string())
    };
    for role in ["tool", "assistent"] {
        let error = read(role).unwrap_err();
        assert!(error.contains("`messages[0]`") && error.contains(role), "{error}");
    }
    for role in ["system", "developer"] {
        let report = read(role).unwrap().0.report.to_string();
        let note = format!("left out text of 1 record, of messages of `{role}`");
        assert!(report.contains(&note), "{report}");
    }
}

#[test]
fn a_verdict_in_a_later_record_is_refused() {
    let first = json!({"prompt": "a", "completion": "b"});
    let talk = [message("user", "Q"), message("assistant", "A")];
    for (first, later, name) in [
        (&first, json!({"prompt": "c", "completion": "bad", "label": false}), "label"),
        (&first, json!({"prompt": "c", "completion": "bad", "kto_tag": 0}), "kto_tag"),
        (
            &json!({"messages": talk}),
            json!({"messages": talk, "chosen": "x", "rejected": "y"}),
            "chosen",
        ),
    ] {
        let records = [first.clone(), later];
        let error = read_all(&records, DEMO, |_| {}).unwrap_err();
        for reason in ["line 2", &format!("`{name}`"), "`format`", "data.ignore"] {
            assert!(error.contains(reason), "{error}, without {reason}");
        }
        let format = if name == "chosen" { Format::Messages } else { Format::PromptCompletion };
        let named = |config: &mut DataConfig| config.train[0].format = Some(format);
        assert_eq!(read_all(&records, DEMO, named).unwrap().rows.len(), 2);
    }
}

#[test]
fn earlier_turns_and_inputs_beside_messages() {
    let history = json!([["q", "a"]]);
    let (system, user) = (message("system", "S"), message("user", "Q"));
    let talk = json!([system, user, message("assistant", "A")]);
    let all = "<system\nS|<user\nq|<assistant\na|<user\nQ|<assistant\nA|";
    learns(&json!({"messages": talk, "history": history}), all, "a|A|");
    let prompt = json!([system, user]);
    learns(&json!({"prompt": prompt, "completion": "A", "history": history}), all, "a|A|");
    let before = "<system\nS|<user\nq|<assistant\na|<user\nQ|";
    let worse = json!([system, user, message("assistant", "B")]);
    compares(&json!({"chosen": talk, "rejected": worse, "history": history}), before);
    let record = json!({"prompt": prompt, "input": "TEXT", "completion": "A"});
    refused(&record, DEMO, &["`input`", "prompt of messages", "data.ignore = [\"input\"]"]);
    learns(
        &json!({"instruction": "", "input": "Q", "output": "A"}),
        "<user\nQ|<assistant\nA|",
        "A|",
    );
}

#[test]
fn weights_with_a_method_on_text() {
    let turn = |weight: f64| json!({"role": "assistant", "content": "A", "weight": weight});
    let record = |weight| json!({"messages": [message("user", "Q"), turn(weight)]});
    refused(&record(0.0), RowKind::Text, &["`messages[1].weight`", "`lm`", "messages.weight"]);
    refused(&record(0.5), RowKind::Text, &["`messages[1].weight`"]);
    assert!(read(&record(1.0), RowKind::Text).is_ok());
}

#[test]
fn answers_that_are_refused_in_every_form() {
    let talk = json!([message("user", "Q"), message("assistant", "A")]);
    for (name, value) in [
        ("document", json!("x")),
        ("chosen_2", json!("x")),
        ("rejected_3", json!("x")),
        ("chosen_more", talk.clone()),
    ] {
        let mut record = json!({"prompt": "Q", "chosen": "A", "rejected": "B"});
        record[name] = value;
        refused(&record, RowKind::Pair, &[&format!("data.ignore = [\"{name}\"]")]);
    }
    let twice = "[{\"role\": \"user\", \"content\": \"a\", \"content\": \"b\"}]";
    for record in [
        json!({"messages": twice}),
        json!({"messages": talk, "tools": "[{\"a\": 1, \"a\": 2}]"}),
        json!({"messages": talk, "chat_template_kwargs": "{\"a\": 1, \"a\": 2}"}),
    ] {
        refused(&record, DEMO, &["line 1", "occurs twice", "each key once"]);
    }
}

#[test]
fn dialogues_with_an_empty_answer_have_no_target() {
    let whole = "\n\nHuman: Q\n\nAssistant: A";
    let empty = "\n\nHuman: Q\n\nAssistant:";
    let records = [
        json!({"chosen": whole, "rejected": "\n\nHuman: Q\n\nAssistant: B"}),
        json!({"chosen": whole, "rejected": empty}),
        json!({"chosen": empty, "rejected": whole}),
    ];
    let set = read_all(&records, RowKind::Pair, |_| {}).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.records, file.rows, file.dropped_without_targets), (3, 1, 2));
    assert_eq!(file.first_without_targets, Some(2));
    let note = "2 records without a target, dropped, the first is record 2";
    assert!(set.report.to_string().contains(note), "{}", set.report);
    // For methods that imitate the better answer, only that counts.
    let set = read_all(&records, DEMO, |_| {}).unwrap();
    let file = &set.report.files[0];
    assert_eq!((file.records, file.rows, file.dropped_without_targets), (3, 2, 1));
}

#[test]
fn messages_of_llama_factory() {
    let part = |kind: &str, text: &str| json!({"type": kind, "value": text});
    let turn = |role: &str, weight: f64, parts: &[Value]| {
        let weight = json!(weight);
        json!({"role": role, "content": parts, "loss_weight": weight})
    };
    let side = |answer: &str| {
        let user = turn("user", 0.0, &[part("text", "Q")]);
        json!([user, turn("assistant", 1.0, &[part("text", answer)])])
    };
    learns(&json!({"messages": side("A")}), "<user\nQ|<assistant\nA|", "A|");
    compares(&json!({"chosen_messages": side("A"), "rejected_messages": side("B")}), "<user\nQ|");
    let mut record = json!({"messages": side("A")});
    record["messages"][1]["loss_weight"] = json!(0);
    let error = read(&record, DEMO).unwrap_err();
    assert!(error.contains("no row is left"), "{error}");
    let answer = [part("reasoning", "Hm."), part("text", "A")];
    let record = json!({"messages": [message("user", "Q"), turn("assistant", 1.0, &answer)]});
    let learned = "<think>Hm.</think>A|";
    learns(&record, &format!("<user\nQ|<assistant\n{learned}"), learned);
    for (role, parts, found) in [
        ("user", vec![part("reasoning", "x")], "\"reasoning\""),
        ("assistant", vec![part("text", "A"), part("reasoning", "x")], "\"reasoning\""),
        ("assistant", vec![part("tools", "[]")], "\"tools\""),
        (
            "assistant",
            vec![json!({"type": "text", "text": "A", "loss_weight": 0.5})],
            "loss_weight",
        ),
    ] {
        let record = json!({"messages": [message("user", "Q"), turn(role, 0.0, &parts)]});
        refused(&record, DEMO, &["`messages[1].content[", found]);
    }
}

/// The learned text of calls, with the template of a folder.
fn calls(template: &str, turn: &Value) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let record = json!({"messages": [message("user", "Q"), turn]});
    let tokenizer = with_template("bytelevel", template);
    let loaded = load(&config(&jsonl(&folder, &[record])), &tokenizer, DEMO);
    loaded.map(|(set, _)| answers(&tokenizer, set.rows[0].answer())).map_err(|e| e.to_string())
}

/// A template that writes calls.
fn with_calls(arguments: &str) -> String {
    format!(
        "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}\
         {{% for c in m.tool_calls %}}{{% set a = c.function.arguments %}}\
         {{{{ c.function.name }}}} {arguments}{{% endfor %}}<|im_end|>\n{{% endfor %}}\
         {{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
    )
}

#[test]
fn arguments_that_are_text_are_read_where_the_template_does_not_write_text() {
    let turn = |arguments: Value| {
        let call = json!({"type": "function", "function": {"name": "x", "arguments": arguments}});
        json!({"role": "assistant", "content": "", "tool_calls": [call]})
    };
    let json_only = with_calls("{{ a | tojson }}");
    let either = with_calls("{% if a is string %}{{ a }}{% else %}{{ a | tojson }}{% endif %}");
    let text_only = with_calls("{{ '' + a }}");
    let (as_text, as_value) = (json!("{\"a\":1}"), json!({"a": 1}));
    for (template, arguments, learned) in [
        (&json_only, &as_text, "x {\"a\": 1}"),
        (&json_only, &as_value, "x {\"a\": 1}"),
        (&either, &as_text, "x {\"a\":1}"),
        (&either, &as_value, "x {\"a\": 1}"),
        (&text_only, &as_text, "x {\"a\":1}"),
    ] {
        let found = calls(template, &turn(arguments.clone())).unwrap();
        assert_eq!(found, format!("{learned}<|im_end|>"), "{template}");
    }
    let error = calls(&json_only, &turn(json!("{\"a\": 1, \"a\": 2}"))).unwrap_err();
    assert!(error.contains("`messages[1].tool_calls[0].function.arguments`"), "{error}");
    let parts = json!([{"type": "tool_call", "value": "{\"name\": \"x\", \"arguments\": {}}"}]);
    let turn = json!({"role": "assistant", "content": parts});
    let think_tools = std::fs::read_to_string(data().join("templates/think_tools.jinja")).unwrap();
    let learned = calls(&think_tools, &turn).unwrap();
    assert!(learned.contains("{\"name\": \"x\", \"arguments\": {}}"), "{learned}");
}

#[test]
fn numbers_are_written_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let template = with_calls("{{ a | tojson }}");
    let read = |number: &str, at: &str| {
        let call = "{\"function\": {\"name\": \"x\", \"arguments\": {\"a\": NUMBER}}}";
        let line = format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Q\"}}, {{\"role\": \
             \"assistant\", \"content\": \"\", \"tool_calls\": [{call}]}}], \"id\": ID}}\n"
        );
        let line = if at == "id" {
            line.replace("NUMBER", "1").replace("ID", number)
        } else {
            line.replace("NUMBER", number).replace("ID", "1")
        };
        let path = file(folder.path(), "a.jsonl", line);
        let tokenizer: ChatTokenizer = with_template("bytelevel", &template);
        let loaded = load(&config(&path), &tokenizer, DEMO);
        loaded.map(|(set, _)| answers(&tokenizer, set.rows[0].answer())).map_err(|e| e.to_string())
    };
    for number in ["111.18248007596868", "18446744073709551615", "-9223372036854775808"] {
        let learned = read(number, "call").unwrap();
        assert_eq!(learned, format!("x {{\"a\": {number}}}<|im_end|>"));
    }
    let huge = "123456789012345678901";
    let error = read(huge, "call").unwrap_err();
    for reason in ["line 1", "tool_calls[0].function", "arguments.a`", "beyond 64 bits", "string"] {
        assert!(error.contains(reason), "{error}, without {reason}");
    }
    assert!(read(huge, "id").is_ok());
}

#[test]
fn variables_that_the_template_never_reads_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let given = json!({"enable_thinking": false, "style": "x"});
    let talk = [message("user", "Q"), message("assistant", "A")];
    let record = json!({"messages": talk, "chat_template_kwargs": given});
    let template = format!("{{% if style %}}{{{{ style }}}}:{{% endif %}}{THINKS}");
    let tokenizer = with_template("bytelevel", &template);
    let path = jsonl(&folder, &[record.clone(), record]);
    let (set, _) = load(&config(&path), &tokenizer, DEMO).unwrap();
    let text = tokenizer.decode(set.rows[0].answer().tokens(), false).unwrap();
    assert!(text.starts_with("x:<|im_start|>user"), "{text}");
    assert_eq!(set.report.files[0].unused_fields, ["chat_template_kwargs.enable_thinking"]);
}
