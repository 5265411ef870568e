//! Records as people have them, each with the conversation that it means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ift_methods::RowKind;
use serde_json::{Value, json};

use super::{Columns, Layout, Reading, detect, parse_arguments, read};
use crate::conversation::{Conversation, Example, Message};
use crate::error::DataError;

fn reading(record: &Value, kind: RowKind, columns: &Columns) -> Result<Reading, DataError> {
    let format = detect(record.clone(), columns, kind)?.unwrap();
    read(record.clone(), Layout { format, named: false }, columns, kind)
}

fn example(record: &Value, kind: RowKind) -> Result<Example, DataError> {
    reading(record, kind, &Columns::default()).map(|reading| reading.example.unwrap())
}

/// The error of a record.
fn fault(record: &Value, kind: RowKind) -> String {
    match reading(record, kind, &Columns::default()) {
        Ok(reading) => panic!("{record} was read: {:?}", reading.example),
        Err(error) => error.to_string(),
    }
}

fn conversation(record: &Value) -> Conversation {
    match example(record, RowKind::Demonstration).unwrap() {
        Example::Chat(conversation) => conversation,
        other => panic!("{other:?}"),
    }
}

/// The records of a handed case.
fn case(name: &str) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/cases");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Roles and texts.
fn turns(conversation: &Conversation) -> Vec<(&str, &str)> {
    conversation.messages.iter().map(|m| (m.role.as_str(), m.text())).collect()
}

/// The last answers of a pair, and its prompt, which both sides share.
fn sides(record: &Value) -> (Vec<Message>, String, String) {
    let Example::Pair { mut chosen, mut rejected } = example(record, RowKind::Pair).unwrap() else {
        panic!("not a pair: {record}");
    };
    let answers = [&mut chosen, &mut rejected].map(|side| side.messages.pop().unwrap());
    assert_eq!(chosen, rejected, "{record}");
    let [better, worse] = answers.map(|answer| answer.content.unwrap());
    (chosen.messages, better, worse)
}

fn user(text: &str) -> Message {
    Message::new("user", text)
}

fn system(text: &str) -> Message {
    Message::new("system", text)
}

#[test]
fn tools_and_their_calls() {
    let tools = case("toolcalls_empty")[0]["tools"].clone();
    let call = json!([{"id": "call_12345", "type": "function",
                       "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]);
    for (name, content) in
        [("toolcalls_empty", Some("")), ("toolcalls_null", None), ("toolcalls_absent", None)]
    {
        let talk = conversation(&case(name)[0]);
        assert_eq!(json!(talk.tools), tools, "{name}");
        assert_eq!(talk.messages[1].content.as_deref(), content, "{name}");
        assert_eq!(talk.messages[1].fields["tool_calls"], call, "{name}");
        assert_eq!(talk.messages[3], Message::new("assistant", "18 degrees."), "{name}");
    }
    let answer = &conversation(&case("toolcalls_empty")[0]).messages[2];
    assert_eq!(answer.fields["tool_call_id"], "call_12345");
    assert_eq!(answer.fields["name"], "get_weather");
    assert_eq!(json!(conversation(&case("tools_column")[0]).tools), tools);
    // As JSON text, as a whole or by element, and in the older form.
    let functions = json!([tools[0]["function"]]);
    for (name, value) in [
        ("tools", json!(tools.to_string())),
        ("tools", json!([tools[0].to_string()])),
        ("functions", functions.clone()),
        ("functions", json!(functions.to_string())),
    ] {
        let mut record = case("toolcalls_null")[0].clone();
        record.as_object_mut().unwrap().shift_remove("tools");
        record[name] = value;
        assert_eq!(json!(conversation(&record).tools), tools, "{record}");
    }
    // The template decides what a tool looks like.
    let mut record = case("toolcalls_null")[0].clone();
    record["tools"] = functions.clone();
    assert_eq!(json!(conversation(&record).tools), functions);
}

#[test]
fn calls_in_every_form() {
    let wanted = json!([{"type": "function", "function": {"name": "x", "arguments": {"a": null}}}]);
    let parsed = |mut talk: Conversation| {
        parse_arguments(&mut talk).unwrap();
        talk
    };
    let bare = json!({"name": "x", "arguments": {"a": null}});
    let as_text = json!({"name": "x", "arguments": "{\"a\": null}"});
    let message = |name: &str, value: Value| json!({"role": "assistant", name: value});
    for turn in [
        message("tool_calls", wanted.clone()),
        message("tool_calls", json!(wanted.to_string())),
        message("tool_calls", json!([{"type": "function", "function": as_text}])),
        message("tool_calls", json!([bare])),
        message("function_call", as_text.clone()),
        json!({"from": "function_call", "value": bare.to_string()}),
        json!({"from": "tool_call", "value": json!([as_text]).to_string()}),
        json!({"role": "tool_call", "content": bare.to_string()}),
    ] {
        let talk = json!({"messages": [{"role": "user", "content": "Q"}, turn]});
        let talk = parsed(conversation(&talk));
        let called = &talk.messages[1];
        assert_eq!(called.role, "assistant", "{turn}");
        assert_eq!((&called.fields["tool_calls"], &called.content), (&wanted, &None), "{turn}");
        assert_eq!(called.fields.len(), 1, "{turn}");
    }
    // Text that is not an object stays text, and no calls are none.
    let odd = json!([{"function": {"name": "x", "arguments": "not JSON"}}]);
    let talk = json!({"messages": [{"role": "assistant", "tool_calls": odd}]});
    let talk = parsed(conversation(&talk));
    assert_eq!(talk.messages[0].fields["tool_calls"], odd);
    let none = json!({"role": "assistant", "content": "A", "tool_calls": [], "name": null});
    let talk = conversation(&json!({"messages": [none]}));
    assert_eq!(talk.messages, [Message::new("assistant", "A")]);
    for (turn, reasons) in [
        (message("tool_calls", json!("x")), ["`messages[0].tool_calls`", "a string"]),
        (message("tool_calls", json!([5])), ["`messages[0].tool_calls[0]`", "a number"]),
        (message("tool_calls", json!([{"id": "x"}])), ["tool_calls[0].function`", "nothing"]),
        (
            message("tool_calls", json!([{"function": {"arguments": {}}}])),
            ["tool_calls[0].function.name`", "a string"],
        ),
        (
            json!({"role": "assistant", "tool_calls": [bare], "function_call": bare}),
            ["`messages[0].function_call`", "one of the two"],
        ),
        (json!({"from": "function_call", "value": "x"}), ["`messages[0].value`", "a string"]),
        (message("content", Value::Null), ["`messages[0].content`", "null"]),
    ] {
        let error = fault(&json!({"messages": [turn]}), RowKind::Demonstration);
        for reason in reasons {
            assert!(error.contains(reason), "{turn}: {error}");
        }
    }
}

#[test]
fn turns_of_sharegpt() {
    let talk = conversation(&case("sharegpt_tools")[0]);
    let call = json!([{"type": "function", "function": {"name": "x", "arguments": {}}}]);
    assert_eq!(
        turns(&talk),
        [("user", "Hi"), ("assistant", ""), ("tool", "1"), ("assistant", "Ahoy!")]
    );
    assert_eq!((&talk.messages[1].fields["tool_calls"], talk.tools.len()), (&call, 0));
    let talk = conversation(&case("sharegpt_system")[0]);
    assert_eq!(
        turns(&talk),
        [("system", "Talk like a pirate."), ("user", "Hi"), ("assistant", "Ahoy!")]
    );
}

#[test]
fn reasoning_roles_and_parts() {
    for name in ["reasoning_content", "reasoning", "thinking"] {
        let text = case("reasoning")[0].to_string().replace("reasoning_content", name);
        let talk = conversation(&serde_json::from_str(&text).unwrap());
        assert_eq!(talk.messages[1].fields[name], "Let me think.");
        assert_eq!(talk.messages[1].text(), "18 degrees.");
    }
    let talk = conversation(&case("developer")[0]);
    assert_eq!(turns(&talk)[0], ("developer", "Be brief."));
    let talk = conversation(&case("parts")[0]);
    assert_eq!(turns(&talk), [("user", "Hi there"), ("assistant", "Yo")]);
    let talk = json!({"messages": [{"role": "Human", "content": "Q"}, {"role": "gpt",
                      "content": "A"}, {"role": "function", "name": "x", "content": "1"},
                      {"role": "ipython", "content": "2"}]});
    let roles = ["user", "assistant", "tool", "ipython"];
    assert_eq!(conversation(&talk).messages.iter().map(|m| &m.role).collect::<Vec<_>>(), roles);
    let two = json!({"role": "assistant", "content": "A", "reasoning": "x", "thinking": "y"});
    let error = fault(&json!({"messages": [two]}), RowKind::Demonstration);
    assert!(error.contains("`messages[0].reasoning`"), "{error}");
    assert!(error.contains("differs from `thinking`"), "{error}");
}

#[test]
fn weights_of_turns() {
    let talk = conversation(&case("openai_weight")[0]);
    let weights: Vec<_> = talk.messages.iter().map(|message| message.weight).collect();
    assert_eq!(weights, [None, Some(0.0), None, Some(1.0)]);
    assert!(talk.messages.iter().all(|message| message.fields.is_empty()));
    let turn = |name: &str, value: Value| {
        json!({"messages": [{"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A", name: value}]})
    };
    for (name, value, weight) in [
        ("weight", json!(0.5), Some(0.5)),
        ("weight", json!(1000), Some(1000.0)),
        ("weight", Value::Null, None),
        ("train", json!(false), Some(0.0)),
        ("train", json!(true), Some(1.0)),
        ("loss", json!(false), Some(0.0)),
        ("training", json!(1), Some(1.0)),
    ] {
        assert_eq!(conversation(&turn(name, value)).messages[1].weight, weight, "{name}");
    }
    let asked = |weight: Value| {
        json!({"messages": [{"role": "user", "content": "Q",
        "weight": weight}, {"role": "assistant", "content": "A"}]})
    };
    assert_eq!(turns(&conversation(&asked(json!(0)))).len(), 2);
    let two = json!({"messages": [{"role": "assistant", "content": "A", "weight": 1,
                                   "train": false}]});
    for (record, reasons) in [
        (turn("weight", json!(-1)), vec!["`messages[1].weight`", "-1", "from 0 to 1000"]),
        (turn("weight", json!("1")), vec!["`messages[1].weight`", "a string"]),
        (turn("weight", json!(1e300)), vec!["`messages[1].weight`"]),
        (turn("loss_weight", json!(1001)), vec!["`messages[1].loss_weight`", "1001", "to 1000"]),
        (turn("mask", json!(1)), vec!["`messages[1].mask`", "data.ignore = [\"messages.mask\"]"]),
        (turn("refusal", json!("No.")), vec!["`messages[1].refusal`", "\"messages.refusal\""]),
        (asked(json!(1)), vec!["`messages[0]`", "`user`", "\"messages.weight\""]),
        (two, vec!["`messages[0].train`", "`weight`"]),
    ] {
        let error = fault(&record, RowKind::Demonstration);
        for reason in reasons {
            assert!(error.contains(reason), "{record}: {error}, without {reason}");
        }
    }
}

#[test]
fn systems_and_earlier_turns() {
    let talk = conversation(&case("alpaca_system_history")[0]);
    assert_eq!(
        turns(&talk),
        [
            ("system", "You are a geographer."),
            ("user", "Capital of France?"),
            ("assistant", "Paris."),
            ("user", "And of Italy?"),
            ("assistant", "Rome."),
        ]
    );
    let own = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]);
    for (value, count) in [(json!("S"), 2), (json!(""), 2), (Value::Null, 2)] {
        let talk = conversation(&json!({"messages": own, "system_prompt": value}));
        assert_eq!(talk.messages.len(), count);
    }
    for (record, reasons) in [
        (json!({"messages": own, "system": "T"}), ["`system`", "data.ignore = [\"system\"]"]),
        (
            json!({"messages": own, "system": "S", "system_prompt": "T"}),
            ["`system` and `system_prompt`", "differ"],
        ),
        (json!({"prompt": "Q", "completion": "A", "system": 5}), ["`system`", "a number"]),
        (
            json!({"prompt": "Q", "completion": "A", "history": [["x"]]}),
            ["`history[0]`", "a list of two"],
        ),
    ] {
        let error = fault(&record, RowKind::Demonstration);
        assert!(reasons.iter().all(|reason| error.contains(reason)), "{record}: {error}");
    }
}

#[test]
fn prompts_of_pairs_under_their_usual_names() {
    let asked = || vec![user("What is 2+2?")];
    let told = |text: &str| vec![system(text), user("What is 2+2?")];
    for (name, prompt) in [
        ("orca_dpo", told("You are an AI.")),
        ("lf_alpaca_pref", asked()),
        ("lf_sharegpt_pref", asked()),
        ("preferences_messages", asked()),
        ("prompt_system_pref", told("Be brief.")),
        ("hh_implicit", asked()),
    ] {
        let found = sides(&case(name)[0]);
        assert_eq!(found, (prompt, "4".to_owned(), "5".to_owned()), "{name}");
    }
    for prompt in ["prompt", "question", "query", "instruction", "input"] {
        let record = json!({prompt: "What is 2+2?", "chosen": "4", "rejected": "5", "id": 1});
        assert_eq!(sides(&record).0, asked(), "{prompt}");
    }
    let record = json!({"instruction": "Add.", "input": "2+2", "chosen": "4", "rejected": "5"});
    assert_eq!(sides(&record).0, [user("Add.\n\n2+2")]);
    let begun = json!({"prompt": "\n\nHuman: What is 2+2?\n\nAssistant:", "chosen": " 4",
                       "rejected": " 5"});
    assert_eq!(sides(&begun), (asked(), " 4".to_owned(), " 5".to_owned()));
    let mut whole = case("hh_implicit").remove(0);
    whole["prompt"] = begun["prompt"].clone();
    assert_eq!(sides(&whole), (asked(), "4".to_owned(), "5".to_owned()));
    let message = |role: &str, text: &str| json!({"role": role, "content": text});
    let begun = |answer: &str| {
        json!([message("assistant", "Hi"), message("user", "Q"), message("assistant", answer)])
    };
    let record = json!({"chosen": begun("A"), "rejected": begun("B")});
    assert_eq!(sides(&record).0, [Message::new("assistant", "Hi"), user("Q")]);
}

#[test]
fn pairs_without_a_prompt_are_refused() {
    let whole = json!([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]);
    for (record, reasons) in [
        (json!({"chosen": "A", "rejected": "B", "id": 5}), vec!["without a prompt", "`id`"]),
        (
            json!({"chosen": "\n\nHuman: x\n\nAssistant: 4", "rejected": "5"}),
            vec!["without a prompt"],
        ),
        (
            json!({"messages": whole, "chosen": "A", "rejected": "B"}),
            vec!["`messages`", "ends with an assistant's turn"],
        ),
        (
            json!({"prompt": "P", "question": "Q", "chosen": "A", "rejected": "B"}),
            vec!["`prompt` and `question`", "differ", "data.ignore"],
        ),
        (
            json!({"prompt": "Q", "chosen": whole, "rejected": whole, "chosen_2": whole}),
            vec!["`chosen_2`", "data.ignore = [\"chosen_2\"]"],
        ),
    ] {
        let error = fault(&record, RowKind::Pair);
        for reason in reasons {
            assert!(error.contains(reason), "{record}: {error}, without {reason}");
        }
    }
}

#[test]
fn labels_of_judged_answers() {
    let verdict = |record: &Value| match example(record, RowKind::Judged).unwrap() {
        Example::Judged { conversation, desirable } => (conversation.messages.len(), desirable),
        other => panic!("{other:?}"),
    };
    assert_eq!(case("kto_msgs").iter().map(verdict).collect::<Vec<_>>(), [(2, true), (2, false)]);
    for (label, desirable) in
        [(json!(true), true), (json!(0), false), (json!(1.0), true), (json!("False"), false)]
    {
        let record = json!({"prompt": "Q", "response": "A", "label": label});
        assert_eq!(verdict(&record), (2, desirable));
        let record = json!({"conversations": [{"from": "human", "value": "Q"},
            {"from": "gpt", "value": "A"}], "kto_tag": label});
        assert_eq!(verdict(&record), (2, desirable));
    }
    let error = fault(&json!({"prompt": "Q", "completion": "A", "label": 3}), RowKind::Judged);
    assert!(error.contains("found fields `prompt`, `completion`, `label`"), "{error}");
}

#[test]
fn conversations_and_answers_under_other_names() {
    for record in case("conv_role_content").iter().chain(&case("conversation_singular")) {
        assert_eq!(turns(&conversation(record)), [("user", "Hi"), ("assistant", "Yo")]);
    }
    for record in [
        case("response").remove(0),
        json!({"question": "Hi", "answer": "Yo"}),
        json!({"query": "Hi", "response": "Yo"}),
        json!({"input": "Hi", "output": "Yo"}),
        json!({"instruction": "Hi", "context": "", "response": "Yo"}),
    ] {
        assert_eq!(turns(&conversation(&record)), [("user", "Hi"), ("assistant", "Yo")]);
    }
    let talks: Vec<_> = case("listlines").iter().map(conversation).collect();
    assert_eq!(talks.iter().map(|talk| talk.messages.len()).collect::<Vec<_>>(), [3, 4, 2, 2]);
    let list = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]);
    let talk = conversation(&json!({"messages": list.to_string()}));
    assert_eq!(turns(&talk), [("user", "Hi"), ("assistant", "Yo")]);
    let dolly = json!({"instruction": "Sum up.", "context": "Text.", "response": "T.",
                       "category": "x"});
    assert_eq!(turns(&conversation(&dolly))[0], ("user", "Sum up.\n\nText."));
    let arguments = json!({"enable_thinking": false});
    for value in [arguments.clone(), json!(arguments.to_string())] {
        let talk = conversation(&json!({"messages": list, "chat_template_kwargs": value}));
        assert_eq!(json!(talk.arguments), arguments);
    }
}

#[test]
fn fields_are_listed_refused_ignored_or_renamed() {
    let columns = |renamed: &[(&str, &str)], ignored: &[&str]| {
        let renamed: BTreeMap<_, _> =
            renamed.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
        let ignored: Vec<_> = ignored.iter().map(|&name| name.to_owned()).collect();
        Columns::new(&renamed, &BTreeMap::new(), &ignored)
    };
    let read = |record: &Value, columns: &Columns| {
        reading(record, RowKind::Demonstration, columns).map(|reading| {
            let Some(Example::Chat(talk)) = reading.example else { panic!("{record}") };
            (talk, reading.unused)
        })
    };
    let plain = columns(&[], &[]);
    let record = json!({"id": 1, "prompt": "Q", "completion": "A", "weight": 1, "images": [],
                        "score": null});
    assert_eq!(read(&record, &plain).unwrap().1, ["id", "weight", "images"]);
    for (name, value) in [
        ("images", json!(["x.png"])),
        ("input_ids", json!([1])),
        ("weight", json!(2)),
        ("loss_mask", json!([0, 1])),
        ("masked", json!(true)),
        ("train", json!(false)),
    ] {
        let record = json!({"prompt": "Q", "completion": "A", name: value});
        let error = read(&record, &plain).unwrap_err().to_string();
        assert!(error.contains(&format!("data.ignore = [\"{name}\"]")), "{error}");
        let (talk, unused) = read(&record, &columns(&[], &[name])).unwrap();
        assert_eq!((talk.messages.len(), unused.len()), (2, 0));
    }
    let answer = json!({"role": "assistant", "content": "A", "attention_mask": [1]});
    let error = read(&json!({"messages": [answer]}), &plain).unwrap_err().to_string();
    assert!(error.contains("data.ignore = [\"messages.attention_mask\"]"), "{error}");
    let renamed = columns(&[("prompt", "ask"), ("completion", "reply")], &["system"]);
    let record = json!({"ask": "Q", "reply": "A", "prompt": "P", "system": "S"});
    let (talk, unused) = read(&record, &renamed).unwrap();
    assert_eq!(turns(&talk), [("user", "Q"), ("assistant", "A")]);
    assert_eq!(unused, ["prompt"]);
    let error = read(&json!({"ask": 5, "reply": "A"}), &renamed).unwrap_err().to_string();
    assert!(error.contains("field `ask`: found a number"), "{error}");
    let spoken = columns(&[("role", "speaker"), ("content", "says")], &["messages.mask"]);
    let record = json!({"messages": [{"speaker": "user", "says": "Q", "mask": 1},
                                     {"speaker": "assistant", "says": "A"}]});
    assert_eq!(turns(&read(&record, &spoken).unwrap().0), [("user", "Q"), ("assistant", "A")]);
}

#[test]
fn the_examples_of_the_documentation() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/DATA.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<&str> =
        page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for text in &examples {
        let record: Value = serde_json::from_str(text).unwrap();
        let reading = reading(&record, RowKind::Demonstration, &Columns::default()).unwrap();
        let example = reading.example.unwrap();
        let answer = example.conversation().unwrap().messages.last().unwrap();
        assert_eq!((answer.text(), reading.unused.len()), ("4", 0), "{text}");
    }
    assert_eq!(examples.len(), 9);
    for name in super::FIELDS {
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("{name} =")));
    }
}
