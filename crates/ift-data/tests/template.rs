//! The template of a run: which one, its BOS and its arguments.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::fs;

use common::{chat, copy, with_template};
use ift_data::{Bos, ChatTokenizer, Conversation, DataError, TemplateSettings};
use serde_json::{Map, Value, json};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A tokenizer of the fixtures whose own template is `own`, with settings.
fn open(name: &str, own: &str, settings: &TemplateSettings) -> Result<ChatTokenizer, DataError> {
    let folder = copy(name);
    fs::write(folder.path().join("chat_template.jinja"), own).unwrap();
    ChatTokenizer::from_folder(folder.path(), settings)
}

fn hello() -> Conversation {
    chat(&[("user", "Hello"), ("assistant", "Hi")])
}

const OWN: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";

#[test]
fn a_bos_stands_first_exactly_where_it_is_wanted() {
    let with = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}";
    let first =
        "{% for m in messages %}{{ (bos_token if loop.first else '') + m.content }}{% endfor %}";
    let built_in = |name: &str| Some(name.to_owned());
    for (tokenizer, own, template, bos, expected) in [
        // The tokenizer's own template is left as it is.
        ("llama2", OWN, None, Bos::Auto, false),
        ("llama2", with, None, Bos::Auto, true),
        // A built-in one gets what plain text gets, once.
        ("llama2", OWN, built_in("zephyr"), Bos::Auto, true),
        ("llama2", OWN, built_in("chatml"), Bos::Auto, true),
        ("gemma", OWN, built_in("zephyr"), Bos::Auto, true),
        ("llama3", OWN, built_in("llama3"), Bos::Auto, true),
        ("llama2", OWN, built_in("zephyr"), Bos::Never, false),
        ("llama3", OWN, built_in("llama3"), Bos::Never, false),
        ("llama2", OWN, None, Bos::Always, true),
        ("llama2", with, None, Bos::Always, true),
        ("llama2", with, None, Bos::Never, false),
        ("llama2", first, None, Bos::Always, true),
        ("llama2", first, None, Bos::Never, false),
        ("bytelevel", OWN, built_in("zephyr"), Bos::Auto, false),
        ("bytelevel", OWN, built_in("zephyr"), Bos::Never, false),
    ] {
        let settings = TemplateSettings { template, bos, ..TemplateSettings::default() };
        let at = format!("{tokenizer} {settings:?}");
        let tokenizer = open(tokenizer, own, &settings).unwrap();
        let tokens = tokenizer.encode_chat(&hello(), false).unwrap();
        let bos = tokenizer.bos_id();
        let begins = bos.is_some() && tokens.first().copied() == bos;
        assert_eq!(begins, expected, "{at}");
        // The text that is saved with the model gives the same, whoever reads it.
        let source = tokenizer.template_source().unwrap();
        let name = at.split(' ').next().unwrap();
        let again = open(name, source, &TemplateSettings::default()).unwrap();
        assert_eq!(again.encode_chat(&hello(), false).unwrap(), tokens, "{at}");
    }
}

#[test]
fn a_bos_before_a_template_does_not_change_its_white_space() {
    let own = "  {% if true %}a{% endif %}\n b {{ messages[0].content }}";
    for bos in [Bos::Auto, Bos::Always] {
        let settings = TemplateSettings { bos, ..TemplateSettings::default() };
        let tokenizer = open("llama2", own, &settings).unwrap();
        let text = tokenizer.render(&hello(), false).unwrap();
        assert_eq!(text.trim_start_matches("<s>"), "a b Hello");
    }
}

#[test]
fn a_bos_that_cannot_be_added_or_left_out_is_an_error() {
    let error = |tokenizer, own, bos| {
        let settings = TemplateSettings { bos, ..TemplateSettings::default() };
        open(tokenizer, own, &settings).unwrap_err().to_string()
    };
    let text = error("bytelevel", OWN, Bos::Always);
    assert!(text.contains("`data.bos`") && text.contains("has no `bos_token`"), "{text}");
    let text = error("llama2", "<s>{{ messages[0].content }}", Bos::Never);
    assert!(text.contains("still writes `<s>` first"), "{text}");
    let system = "{% if messages[0].role == 'system' %}<s>{% endif %}{{ messages[0].content }}";
    let text = error("llama2", system, Bos::Always);
    assert!(text.contains("does not always write `<s>` first"), "{text}");
}

const THINKING: &str = "{%- if enable_thinking is defined and enable_thinking is false -%}\
    <no>{%- endif -%}{{ style or 'plain' }} {{ messages[0].content }}";

#[test]
fn arguments_are_variables_of_the_template_and_defaults_of_the_saved_one() {
    let arguments = object(&json!({"enable_thinking": false, "style": "a '{%}' \\ \n é"}));
    let settings = TemplateSettings { arguments, ..TemplateSettings::default() };
    let tokenizer = open("llama2", THINKING, &settings).unwrap();
    let text = "<no>a '{%}' \\ \n é Hello";
    assert_eq!(tokenizer.render(&hello(), false).unwrap(), text);
    let saved = with_template("llama2", tokenizer.template_source().unwrap());
    assert_eq!(saved.render(&hello(), false).unwrap(), text);

    // A conversation's own arguments count more.
    let arguments = object(&json!({"enable_thinking": true, "style": null}));
    let conversation = Conversation { arguments, ..hello() };
    assert_eq!(tokenizer.render(&conversation, false).unwrap(), "plain Hello");
    assert_eq!(saved.render(&conversation, false).unwrap(), "plain Hello");
}

#[test]
fn an_argument_that_has_no_effect_is_an_error() {
    let error = |name: &str| {
        let arguments = object(&json!({name: true}));
        let settings = TemplateSettings { arguments: arguments.clone(), ..Default::default() };
        let of_recipe = open("llama2", THINKING, &settings).unwrap_err().to_string();
        assert!(of_recipe.contains("`data.template_arguments`"), "{of_recipe}");
        let conversation = Conversation { arguments, ..hello() };
        let tokenizer = open("llama2", THINKING, &TemplateSettings::default()).unwrap();
        let of_record = tokenizer.render(&conversation, false).unwrap_err().to_string();
        assert!(of_record.contains("`chat_template_kwargs`"), "{of_record}");
        of_recipe
    };
    let text = error("enable_thinkin");
    assert!(text.contains("did you mean `enable_thinking`?"), "{text}");
    let text = error("zzz");
    assert!(text.contains("expected one of `enable_thinking`, `style`"), "{text}");
    for name in ["messages", "tools", "documents", "add_generation_prompt", "bos_token", "loop"] {
        let text = error(name);
        assert!(text.contains("sets itself"), "{text}");
    }
}

#[test]
fn a_conversation_with_tools_gets_the_template_for_tools() {
    let tools = "{% for m in messages %}{{ m.content }}{% endfor %} {{ tools | length }}\n";
    let list = json!([
        {"name": "tool_use", "template": tools},
        {"name": "default", "template": OWN},
        {"name": "rag", "template": "{{ documents }}"},
    ]);
    let folder = copy("llama2");
    let path = folder.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["chat_template"] = list;
    fs::write(&path, config.to_string()).unwrap();
    let of_config = ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default());

    let folder = copy("llama2");
    fs::write(folder.path().join("chat_template.jinja"), OWN).unwrap();
    let further = folder.path().join("additional_chat_templates");
    fs::create_dir(&further).unwrap();
    fs::write(further.join("tool_use.jinja"), tools).unwrap();
    let of_files = ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default());

    for tokenizer in [of_config.unwrap(), of_files.unwrap()] {
        assert_eq!(tokenizer.render(&hello(), false).unwrap(), "user: Hello\nassistant: Hi\n");
        let conversation = Conversation { tools: vec![json!({"name": "f"})], ..hello() };
        assert_eq!(tokenizer.render(&conversation, false).unwrap(), "HelloHi 1");
    }

    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let error = ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("found `tool_use`, but no template called `default`"), "{error}");
}

#[test]
fn templates_give_what_transformers_gives() {
    let path = common::data().join("expressions.json");
    let cases: Vec<(String, Option<String>)> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 700);
    let messages = chat(&[("user", "Hi"), ("assistant", "Yo")]);
    let folder = copy("mistral");
    for (template, expected) in cases {
        fs::write(folder.path().join("chat_template.jinja"), &template).unwrap();
        let tokenizer = ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default());
        let rendered = tokenizer.and_then(|tokenizer| tokenizer.render(&messages, false));
        assert_eq!(rendered.ok(), expected, "{template}");
    }
}
