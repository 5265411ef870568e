//! Templates that would hang or end the program are refused with the limit that they exceed.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::fs;

use common::{chat, copy, with_template};
use ift_data::{ChatTokenizer, Conversation, Message, TemplateSettings};

/// The error of a template, when it is read or rendered.
fn error(template: &str) -> String {
    let folder = copy("llama2");
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let tokenizer = ChatTokenizer::from_folder(folder.path(), &TemplateSettings::default());
    let rendered = tokenizer.and_then(|tokenizer| tokenizer.render(&chat(&[("user", "Hi")]), true));
    rendered.map(|text| text.len()).unwrap_err().to_string()
}

#[test]
fn work_without_end_is_refused() {
    let twice = |operator: &str| {
        format!(
            "{{% set ns = namespace(s='xxxxxxxx') %}}{{% for i in range(60) %}}\
             {{% set ns.s = ns.s {operator} ns.s %}}{{% endfor %}}{{{{ ns.s }}}}"
        )
    };
    let nested = |use_of: &str| {
        format!(
            "{{% set ns = namespace(s=[1]) %}}{{% for i in range(60) %}}\
             {{% set ns.s = [ns.s, ns.s] %}}{{% endfor %}}{{{{ {use_of} }}}}"
        )
    };
    for template in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% set s %}{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}{% endset %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set a = namespace(s=1) %}{% set a.s = a %}{{ a }}",
        "{{ 'a\\nb' | indent(10**10) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ ('{0:>9999}' * 30000).format('a') }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ '\\t'.expandtabs(10**10) }}",
        "{{ ('x' * 100000).replace('', 'y' * 100000) }}",
        "{{ ('x' * 100000) | replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000).join('y' * 100000) }}",
        "{{ ([1] * 100000) | join('x' * 100000) }}",
        "{{ [1] | batch(10**10, 0) | list }}",
        "{{ [1] | slice(10**10) | list }}",
        "{{ [1] | tojson(indent=10**9) }}",
        "{{ ([1] * 100000) | tojson(separators=('x' * 100000, 'y')) }}",
        "{{ strftime_now('%A' * 1000000) }}",
        "{{ strftime_now('%999999999d') }}",
        &twice("~"),
        &twice("+"),
        &nested("ns.s"),
        &nested("ns.s | tojson"),
        &nested("ns.s | string"),
        &nested("raise_exception(ns.s)"),
    ] {
        let text = error(template);
        assert!(text.contains("limit: "), "{template}: {text}");
    }
    for template in ["{{ range(10**10) | list }}", "{{ 'x' * 10**10 }}", "{{ 9**9**9 }}"] {
        error(template);
    }
}

#[test]
fn deep_values_do_not_exhaust_the_stack() {
    for value in ["[ns.s]", "(ns.s,)", "{'a': ns.s}", "namespace(s=ns.s)"] {
        let template = format!(
            "{{% set ns = namespace(s=1) %}}{{% for i in range(30000) %}}\
             {{% set ns.s = {value} %}}{{% endfor %}}{{{{ ns.s }}}}"
        );
        let text = error(&template);
        assert!(text.contains("limit: "), "{template}: {text}");
    }
}

#[test]
fn a_namespace_cannot_hold_itself() {
    let two = "{% set a = namespace(n=0) %}{% set b = namespace(n=1) %}";
    for (set, used) in [
        ("{% set a.s = a %}{% set b.s = b %}", "a == b"),
        ("{% set a.s = a %}{% set b.s = b %}", "a in [b]"),
        ("{% set a.s = a %}{% set b.s = b %}", "[a, b] | sort"),
        ("{% set a.s = a %}", "a ~ ''"),
        ("{% set a.s = a %}", "a | upper"),
        ("{% set a.s = a %}", "{a: 1}"),
        ("{% set a.s = a %}", "a | tojson"),
        ("{% set a.s = a %}", "a"),
        ("{% set a.s = [{'b': (a,)}] %}", "a ~ ''"),
        ("{% set a.s = b %}{% set b.s = a %}", "a ~ ''"),
        ("{% set a.s = b %}{% set a.s.t = a %}", "a ~ ''"),
        ("{% set (a.s, b.s) = (b, a) %}", "a ~ ''"),
        ("{% set a.s | default(a, true) %}{% endset %}", "a ~ ''"),
        ("{% set ns = a %}{% set ns.s = a %}", "a ~ ''"),
    ] {
        let text = error(&format!("{two}{set}{{{{ {used} }}}}"));
        assert!(text.contains("a namespace would hold itself"), "{set}: {text}");
    }
    // One that holds another one is fine.
    let template = "{% set a = namespace(n=0) %}{% set b = namespace(n=1) %}{% set a.s = [b] %}\
                    {% set b.s = a.n %}{% set a.n = a.s[0].n %}{{ a.n }}{{ a.s[0].s }}";
    let rendered = with_template("llama2", template).render(&chat(&[("user", "Hi")]), false);
    assert_eq!(rendered.unwrap(), "10");
}

#[test]
fn values_that_share_others_many_times_are_refused() {
    let twice = |name: &str, i: usize| {
        let before = format!("{name}{}", i - 1);
        format!("{{% set {name}{i} = [{before}, {before}] %}}")
    };
    let sets: String = (1..41).flat_map(|i| [twice("a", i), twice("b", i)]).collect();
    let shared = format!("{{% set a0 = [1] %}}{{% set b0 = [1] %}}{sets}");
    for used in ["a40", "a40 | tojson", "a40 == b40", "a40 in [b40]", "a40 ~ ''", "{a40: 1}"] {
        let text = error(&format!("{shared}{{{{ {used} }}}}"));
        assert!(text.contains("limit: it needs more than"), "{used}: {text}");
    }
}

#[test]
fn nesting_in_the_source_is_refused() {
    let n = 20_000;
    let around =
        |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n));
    let after = |more: &str| format!("{{{{ 1{} }}}}", more.repeat(n));
    let tags = |open: &str, close: &str| [open.repeat(n), close.repeat(n)].concat();
    for template in [
        around("(", ")"),
        around("[", "]"),
        around("not ", ""),
        around("-", ""),
        around("f(", ")"),
        after("+1"),
        after("~1"),
        after(" and 1"),
        after("|string"),
        after(".a"),
        after("[0]"),
        after("()"),
        after(" if 1 else 1"),
        after("**1"),
        after(" is defined"),
        tags("{% if 1 %}", "{% endif %}"),
        tags("{% for i in [1] %}", "{% endfor %}"),
        tags("{% generation %}", "{% endgeneration %}"),
        ["{% if 0 %}", &"{% elif 0 %}".repeat(n), "{% endif %}"].concat(),
        "x".repeat(2 << 20),
    ] {
        let text = error(&template);
        assert!(text.contains("limit: "), "{}: {text}", &template[..40]);
    }
}

#[test]
fn escapes_that_would_be_read_otherwise_are_refused() {
    let text = error("a\n{{ '\\U0001F600' }}");
    assert!(text.contains("`\\\\U` is not supported (line 2"), "{text}");
    // A backslash that is itself escaped begins no escape.
    let text = error("{{ 'C:\\\\Users' }}{{ raise_exception('C:\\\\New') }}");
    assert!(text.contains(r"C:\New"), "{text}");
}

#[test]
fn long_conversations_are_within_the_limits() {
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content | trim | replace('a', 'b') }}\n\
                  {% if m.content.split('x')[-1].strip() and loop.index0 < messages | length %}.\
                  {% endif %}{% endfor %}";
    let tokenizer = with_template("llama2", source);
    let message = |i: usize| Message::new(["user", "assistant"][i % 2], "a ");
    let many: Conversation = (0..5000).map(message).collect::<Vec<_>>().into();
    assert_eq!(tokenizer.render(&many, false).unwrap().matches(": b").count(), 5000);
    let long = chat(&[("user", &"a".repeat(10_000_000)), ("assistant", "Hi")]);
    assert!(tokenizer.render(&long, false).unwrap().len() > 10_000_000);
}
