//! Turns that call tools or reason: against what transformers makes of them
//! (`data/make_turn_fixtures.py`), and one by one.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use common::{copy, data, learned, runs, settings, tokenizer, with_template};
use ift_data::{ChatTokenizer, Conversation, Message, Sequence, Targets};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Fixture {
    conversations: Vec<Talk>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Talk {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Value>,
}

impl From<Talk> for Conversation {
    fn from(Talk { messages, tools }: Talk) -> Self {
        Self { messages, tools, arguments: Map::new() }
    }
}

#[derive(Deserialize)]
struct Case {
    template: String,
    tokenizer: String,
    results: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Refused { refused: String },
    Rendered { ids: Vec<u32>, targets: Vec<[usize; 2]> },
}

/// The tokenizer of a template of the fixtures.
fn fixture_tokenizer(name: &str, template: &str) -> ChatTokenizer {
    tokenizer(name, data().join(format!("templates/{template}.jinja")).to_str())
}

fn think_tools() -> ChatTokenizer {
    fixture_tokenizer("bytelevel", "think_tools")
}

/// The first record of a file of cases.
fn case(name: &str) -> Conversation {
    let text = std::fs::read_to_string(data().join(format!("cases/{name}.jsonl"))).unwrap();
    serde_json::from_str::<Talk>(&text).unwrap().into()
}

/// A conversation from JSON.
fn talk(messages: &Value) -> Conversation {
    Conversation::from(serde_json::from_value::<Vec<Message>>(messages.clone()).unwrap())
}

#[test]
fn ids_and_targets_equal_those_of_transformers() {
    let text = std::fs::read_to_string(data().join("turns.json")).unwrap();
    let Fixture { conversations, cases } = serde_json::from_str(&text).unwrap();
    let conversations: Vec<Conversation> = conversations.into_iter().map(Into::into).collect();
    let mut compared = 0;
    for Case { template, tokenizer, results } in cases {
        let tokenizer = fixture_tokenizer(&tokenizer, &template);
        for (conversation, expected) in conversations.iter().zip(results) {
            let at = format!("{template} {:?}", conversation.messages);
            let got = tokenizer.encode_with_targets(conversation, Targets::Assistant);
            match expected {
                Expected::Refused { refused } => {
                    let error = got.unwrap_err().to_string();
                    assert!(error.contains(&refused), "{at}: {error}, not {refused}");
                }
                Expected::Rendered { ids, targets } => {
                    let inside = |i: usize| targets.iter().any(|&[a, b]| (a..b).contains(&i));
                    let mask: Vec<bool> = (0..ids.len()).map(inside).collect();
                    if template == "think_tools"
                        && conversation.messages[1].content.as_deref() == Some("One.")
                    {
                        // Before the next answer, it would stand with an empty `<think>`.
                        let error = got.unwrap_err().to_string();
                        assert!(error.contains("rewrites message 2 (assistant)"), "{error}");
                        continue;
                    }
                    let got = got.unwrap_or_else(|e| panic!("{at}: {e}"));
                    let texts = runs(&tokenizer, got.tokens(), &common::mask(&got));
                    assert_eq!(got, Sequence::masked(ids, &mask), "{at}: {texts:?}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 57);
}

#[test]
fn calls_of_tools_are_learned_with_their_end_and_the_prompt_has_the_tools() {
    let tokenizer = think_tools();
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n\
                </tool_call><|im_end|>";
    let answer = "<think>\n\n</think>\n\n18 degrees.<|im_end|>";
    for name in ["toolcalls_empty", "toolcalls_null", "toolcalls_absent"] {
        let case = case(name);
        assert_eq!(learned(&tokenizer, &case, Targets::Assistant), [call, answer], "{name}");
        assert_eq!(learned(&tokenizer, &case, Targets::Last), [answer], "{name}");
        let text = tokenizer.render(&case, false).unwrap();
        assert!(text.contains("# Tools") && text.contains("\"required\": [\"city\"]"), "{text}");
    }
    let case = case("tools_column");
    assert!(tokenizer.render(&case, true).unwrap().contains("# Tools"));
    assert_eq!(learned(&tokenizer, &case, Targets::Assistant), [answer]);
}

#[test]
fn reasoning_is_learned_where_the_template_writes_it() {
    let tokenizer = think_tools();
    let reasoning = learned(&tokenizer, &case("reasoning"), Targets::Assistant);
    assert_eq!(reasoning, ["<think>\nLet me think.\n</think>\n\n18 degrees.<|im_end|>"]);
    let twice = learned(&tokenizer, &case("think2"), Targets::Assistant);
    assert_eq!(twice, ["4<|im_end|>", "<think>\nadd again\n</think>\n\n6<|im_end|>"]);
    let developer = learned(&tokenizer, &case("developer"), Targets::Assistant);
    assert_eq!(developer, ["<think>\n\n</think>\n\nYo<|im_end|>"]);
}

#[test]
fn what_the_generation_prompt_writes_is_not_learned() {
    let tokenizer = think_tools();
    let mut conversation = case("developer");
    conversation.arguments.insert("enable_thinking".to_owned(), false.into());
    assert_eq!(learned(&tokenizer, &conversation, Targets::Assistant), ["Yo<|im_end|>"]);
}

#[test]
fn a_weight_of_a_turn_is_that_of_its_targets() {
    let tokenizer = think_tools();
    let mut conversation = case("openai_weight");
    for (message, weight) in
        conversation.messages.iter_mut().zip([None, Some(0.0), None, Some(0.5)])
    {
        message.fields.clear();
        message.weight = weight;
    }
    let learn = "<think>\n\n</think>\n\n18 degrees.<|im_end|>";
    assert_eq!(learned(&tokenizer, &conversation, Targets::Assistant), [learn]);
    let sequence = tokenizer.encode_with_targets(&conversation, Targets::Last).unwrap();
    assert!(sequence.targets().all(|(_, weight)| weight == 0.5));
    conversation.messages[3].weight = Some(0.0);
    assert!(learned(&tokenizer, &conversation, Targets::Last).is_empty());
}

#[test]
fn tools_that_the_template_never_reads_are_refused_by_name() {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let refused = |conversation: &Conversation| {
        tokenizer.encode_with_targets(conversation, Targets::Last).unwrap_err().to_string()
    };
    let mut case = case("toolcalls_empty");
    let error = refused(&case);
    assert!(error.contains("field `tools`: found 1 tool,"), "{error}");
    assert!(error.contains("data.ignore = [\"tools\"]"), "{error}");
    case.tools.clear();
    let error = refused(&case);
    assert!(error.contains("field `tool_calls`: found 1 tool call,"), "{error}");
    assert!(error.contains("data.ignore = [\"messages.tool_calls\"]"), "{error}");
    assert!(tokenizer.encode_chat(&case, false).is_err());
}

#[test]
fn a_call_may_end_with_a_token_of_its_own() {
    let folder = copy("bytelevel");
    let added = r#"{"eos_token": "<|im_end|>", "additional_special_tokens": ["<|call|>"]}"#;
    common::file(folder.path(), "tokenizer_config.json", added);
    let source = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}\
                  {% if m.tool_calls %}{{ m.tool_calls | tojson + '<|call|>' }}\
                  {% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    common::file(folder.path(), "chat_template.jinja", source);
    let tokenizer = ChatTokenizer::from_folder(folder.path(), &settings(None)).unwrap();
    let calls = json!([{ "function": { "name": "f", "arguments": { "x": "<|call|>" } } }]);
    let conversation = talk(&json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "tool_calls": calls },
        { "role": "tool", "content": "1<|call|>" },
        { "role": "assistant", "content": "b" },
    ]));
    let call = "[{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": \"<|call|>\"}}}]<|call|>";
    assert_eq!(learned(&tokenizer, &conversation, Targets::Assistant), [call, "b<|im_end|>"]);
    let ends = tokenizer.end_of_turn().unwrap();
    assert_eq!(tokenizer.decode(&ends, false).unwrap(), "<|im_end|><|call|>");
}

#[test]
fn refusals_say_which_turn_what_the_template_did_and_what_helps() {
    let chatml = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let each = |body: &str| {
        format!(
            "{{% for m in messages %}}{{{{ '<|im_start|>' + m.role + '\n' }}}}{body}{{% endfor %}}\
             {chatml}"
        )
    };
    let last_only = "with `targets = \"last\"` this conversation can be used";
    let no_help = "`targets = \"last\"` does not help here";
    let talk = talk(&json!([
        { "role": "user", "content": "one x" },
        { "role": "assistant", "content": "two" },
        { "role": "assistant", "content": "three" },
        { "role": "user", "content": "four" },
        { "role": "assistant", "content": "five" },
    ]));
    for (body, parts) in [
        // An earlier message is shortened.
        (
            "{{ (m.content[:4] if m.role == 'user' and messages | length > 3 else m.content) \
              + '<|im_end|>\n' }}",
            vec!["message 2 ", "drops text of message 1 (user)", "\"x<|im_end|>", last_only],
        ),
        // Two messages become one.
        (
            "{{ m.content }}{% if loop.nextitem is undefined or loop.nextitem.role != m.role %}\
             {{ '<|im_end|>\n' }}{% endif %}",
            vec!["message 2 ", "merges it with the assistant's message after it", last_only],
        ),
        // A message of the assistant before another one is left out.
        (
            "{{ (m.content if loop.last or loop.nextitem.role != m.role else '') \
              + '<|im_end|>\n' }}",
            vec!["message 2 ", "drops it", last_only],
        ),
        (
            "{{ m.content + (m.content if loop.index == 2 and messages | length > 3 else '') \
               + '<|im_end|>\n' }}",
            vec!["message 2 ", "writes its content 2 times", last_only],
        ),
        // The last question has a mark that it has not when messages follow.
        (
            "{{ m.content + (' now' if loop.last and m.role == 'user' else '') + '<|im_end|>\n' }}",
            vec!["message 2 ", "rewrites message 1 (user)", "\" now<|im_end|>", no_help],
        ),
        (
            "{{ ('B: ' if m.role == 'assistant' else '') + m.content + '<|im_end|>\n' }}\
             {% if loop.last and add_generation_prompt %}{{ 'A: ' }}{% endif %}",
            vec!["message 2 ", "the generation prompt is not how", "\"A: <|im", no_help],
        ),
        (
            "{% if loop.index == 2 and loop.last and messages[0].content == 'one x' %}\
             {{ raise_exception('too short') }}{% endif %}{{ m.content + '<|im_end|>\n' }}",
            vec![
                "message 3 ",
                "raises an error for the messages before it",
                "too short",
                last_only,
            ],
        ),
    ] {
        let tokenizer = with_template("bytelevel", &each(body));
        let got = tokenizer.encode_with_targets(&talk, Targets::Assistant);
        let error = got.map(|_| body).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{body}: {error}\nhas no {part}");
        }
        let last = tokenizer.encode_with_targets(&talk, Targets::Last);
        assert_eq!(last.is_ok(), error.contains(last_only), "{body}");
    }
}
