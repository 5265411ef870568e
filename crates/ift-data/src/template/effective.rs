//! The template of a run: the one that was found, with its BOS and its arguments written into its
//! text, so that the saved model has them too.

use std::fmt::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::compiled::{Template, template_value};
use super::source::{Found, find};
use crate::config::{Bos, TemplateSettings};
use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::special::SpecialTokens;

/// What a template depends on beside its settings.
pub(crate) struct Surroundings<'a> {
    /// The folder of the tokenizer.
    pub dir: &'a Path,
    /// Its `tokenizer_config.json`.
    pub config: &'a Map<String, Value>,
    pub special: &'a SpecialTokens,
    /// Whether the tokenizer puts a BOS token before plain text.
    pub adds_bos: bool,
    /// The time that `strftime_now` writes.
    pub now: Timestamp,
}

/// The template of a tokenizer folder with the settings of a run.
///
/// # Errors
/// When no template is found, it does not compile, it never reads an argument, or a BOS token
/// cannot be added or left out.
pub(crate) fn template_of_folder(
    settings: &TemplateSettings,
    around: &Surroundings<'_>,
) -> Result<Template, DataError> {
    let mut found = find(around.dir, around.config, settings.template.as_deref())?;
    let plain = compile(&found, around)?;
    for name in settings.arguments.keys() {
        plain
            .check_argument(name)
            .map_err(|problem| DataError::Config { field: "template_arguments", problem })?;
    }
    let defaults = settings.arguments.iter().map(|(name, value)| {
        let value = literal(value);
        format!("{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n")
    });
    let defaults: String = defaults.collect();
    found.source.insert_str(0, &defaults);
    let plain = if defaults.is_empty() { plain } else { compile(&found, around)? };
    with_bos(plain, found, settings.bos, around)
}

fn compile(found: &Found, around: &Surroundings<'_>) -> Result<Template, DataError> {
    let Found { source, origin, own } = found;
    let mut template = Template::compile(source, origin, around.special, around.now)?;
    template.own = *own;
    Ok(template)
}

/// The template with its BOS token added or left out.
fn with_bos(
    plain: Template,
    mut found: Found,
    wanted: Bos,
    around: &Surroundings<'_>,
) -> Result<Template, DataError> {
    let fault = |problem: String| DataError::Config { field: "bos", problem };
    let add = match wanted {
        Bos::Auto if found.own || !around.adds_bos => return Ok(plain),
        Bos::Auto | Bos::Always => true,
        Bos::Never => false,
    };
    let bos = match around.special.get("bos_token").filter(|bos| !bos.is_empty()) {
        Some(bos) => bos,
        None if add => {
            let problem = "found \"always\", but the tokenizer has no `bos_token`; name one in \
                           `tokenizer_config.json`, or choose \"auto\" or \"never\"";
            return Err(fault(problem.to_owned()));
        }
        None => return Ok(plain),
    };
    let wrong = |first: bool| {
        let (found, origin) = (if add { "always" } else { "never" }, &found.origin);
        let what = if first { "still writes" } else { "does not always write" };
        fault(format!(
            "found \"{found}\", but the chat template ({origin}) {what} `{bos}` first, whether or \
             not the conversation begins with a system message; correct the template"
        ))
    };
    let (some, all) = begins_with(&plain, bos)?;
    if if add { all } else { !some } {
        return Ok(plain);
    }
    if add && some {
        return Err(wrong(false));
    }
    found.source.insert_str(
        0,
        // The line end after a block tag is not written, and keeps the template at the beginning
        // of a line, where white space before a tag is removed.
        if add {
            "{% if bos_token %}{{ bos_token }}{% endif %}\n"
        } else {
            "{% set bos_token = '' %}\n"
        },
    );
    let changed = compile(&found, around)?;
    let (some, all) = begins_with(&changed, bos)?;
    match (add, some, all) {
        (true, _, true) | (false, false, _) => Ok(changed),
        (true, ..) => Err(wrong(false)),
        (false, ..) => Err(wrong(true)),
    }
}

/// Whether some, and whether all, of a few short conversations begin with a text. Conversations
/// that the template refuses do not count.
fn begins_with(template: &Template, text: &str) -> Result<(bool, bool), DataError> {
    let turns = ["system", "user", "assistant"].map(|role| Message::new(role, "hello"));
    let turns = turns.map(|message| template_value(&message));
    let nothing = Conversation::default();
    let rendered = [
        template.render(&turns[1..], &nothing, false),
        template.render(&turns[1..2], &nothing, true),
        template.render(&turns, &nothing, false),
    ];
    let (mut some, mut all) = (false, true);
    let mut first_error = None;
    let mut any = false;
    for result in rendered {
        match result {
            Ok(rendered) => {
                any = true;
                let begins = rendered.starts_with(text);
                some |= begins;
                all &= begins;
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if !any => Err(error),
        _ => Ok((some, all)),
    }
}

/// A value as an expression of Jinja.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(fields) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), literal(value));
            let fields: Vec<String> = fields.iter().map(pair).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A string literal. Signs that begin or end tags are escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '{' | '}' | '%' | '#' | '\u{0}'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn arguments_are_written_as_expressions() {
        let value = serde_json::json!({"a": [1, -2.5, true, null], "b'": "\\ \n {% é"});
        let text = r"{'a': [1, -2.5, true, none], 'b\'': '\\ \u000a \u007b\u0025 é'}";
        assert_eq!(literal(&value), text);
    }
}
