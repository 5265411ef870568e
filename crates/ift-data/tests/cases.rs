//! Records as people have them, from the file to the row: what is seen and what is learned.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use common::{answers, data, with_template};
use ift_data::{DataConfig, Row, Source, load};
use ift_methods::RowKind;

/// The text before the first learned token, and the learned text, of each answer of each row. An
/// empty reasoning, which this template writes before the last answer, is `~`.
fn read(name: &str, kind: RowKind) -> Vec<(String, String)> {
    let template = data().join("templates/think_tools.jinja");
    let tokenizer = with_template("bytelevel", &std::fs::read_to_string(template).unwrap());
    let path = data().join("cases").join(format!("{name}.jsonl"));
    let config = DataConfig { train: vec![Source::new(path)], ..DataConfig::default() };
    let (set, _) = load(&config, &tokenizer, kind).unwrap();
    assert!(set.report.files[0].tokens_lost == 0, "{name}");
    let answer = |sequence: &ift_data::Sequence| {
        let first = sequence.targets().next().unwrap().0;
        let prompt = tokenizer.decode(&sequence.tokens()[..first], false).unwrap();
        let learned = answers(&tokenizer, sequence).replace("<think>\n\n</think>\n\n", "~");
        (prompt, learned.replace("<|im_end|>", "|"))
    };
    set.rows.iter().flat_map(Row::answers).map(answer).collect()
}

fn asked(turns: &[(&str, &str)]) -> String {
    let turn = |(role, text): &(&str, &str)| format!("<|im_start|>{role}\n{text}<|im_end|>\n");
    turns.iter().map(turn).collect::<String>() + "<|im_start|>assistant\n"
}

#[test]
fn conversations() {
    let weather = [("user", "What is the weather in Paris?")];
    let hi = [("user", "Hi")];
    for (name, turns, learned) in [
        ("openai_weight", &[][..], "~18 degrees.|"),
        ("reasoning", &weather, "<think>\nLet me think.\n</think>\n\n18 degrees.|"),
        ("developer", &[("developer", "Be brief."), hi[0]], "~Yo|"),
        ("sharegpt_system", &[("system", "Talk like a pirate."), hi[0]], "~Ahoy!|"),
        (
            "sharegpt_tools",
            &hi,
            "<tool_call>\n{\"name\": \"x\", \"arguments\": {}}\n</tool_call>|~Ahoy!|",
        ),
        ("parts", &[("user", "Hi there")], "~Yo|"),
        ("response", &hi, "~Yo|"),
        ("conv_role_content", &hi, "~Yo|"),
        ("conversation_singular", &hi, "~Yo|"),
        (
            "alpaca_system_history",
            &[("system", "You are a geographer."), ("user", "Capital of France?")],
            "Paris.|~Rome.|",
        ),
    ] {
        let rows = read(name, RowKind::Demonstration);
        assert_eq!((rows.len(), rows[0].1.as_str()), (1, learned), "{name}");
        // In the first, the answer of weight 0 comes before.
        assert!(turns.is_empty() || rows[0].0 == asked(turns), "{name}: {}", rows[0].0);
    }
    for name in ["toolcalls_empty", "toolcalls_null", "toolcalls_absent"] {
        let rows = read(name, RowKind::Demonstration);
        let called = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \
                      \"Paris\"}}\n</tool_call>|~18 degrees.|";
        assert_eq!(rows[0].1, called, "{name}");
        assert!(rows[0].0.starts_with("<|im_start|>system\n# Tools"), "{name}");
    }
    let rows = read("tools_column", RowKind::Demonstration);
    assert!(rows[0].0.starts_with("<|im_start|>system\n# Tools") && rows[0].1 == "~18 degrees.|");
}

#[test]
fn pairs_and_judged_answers() {
    let question = ("user", "What is 2+2?");
    let told = |text: &'static str| vec![("system", text), question];
    for (name, turns) in [
        ("orca_dpo", told("You are an AI.")),
        ("lf_alpaca_pref", vec![question]),
        ("lf_sharegpt_pref", vec![question]),
        ("preferences_messages", vec![question]),
        ("prompt_system_pref", told("Be brief.")),
        ("hh_implicit", vec![question]),
    ] {
        let prompt = asked(&turns);
        let expected = [(prompt.clone(), "~4|".to_owned()), (prompt, "~5|".to_owned())];
        assert_eq!(read(name, RowKind::Pair)[..2], expected, "{name}");
    }
    let learned: Vec<_> =
        read("kto_msgs", RowKind::Judged).into_iter().map(|(_, learned)| learned).collect();
    assert_eq!(learned, ["~a|", "~b|"]);
}
