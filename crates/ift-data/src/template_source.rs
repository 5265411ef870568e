//! Where the chat template of a tokenizer comes from.

use std::fs;
use std::path::Path;

use serde_json::Map;

use crate::error::DataError;
use crate::template::BUILT_IN_TEMPLATES;

/// The source text of the template, and where it comes from, for messages.
pub(crate) fn find_template(
    dir: &Path,
    config: &Map<String, serde_json::Value>,
    wanted: Option<&str>,
) -> Result<(String, String), DataError> {
    let built_in = |name: &str| {
        BUILT_IN_TEMPLATES.iter().find(|(n, _)| *n == name).map(|(_, s)| (*s).to_owned())
    };
    if let Some(name) = wanted {
        if let Some(source) = built_in(name) {
            return Ok((source, format!("built-in `{name}`")));
        }
        if !Path::new(name).is_file() {
            let names: Vec<_> = BUILT_IN_TEMPLATES.iter().map(|(n, _)| format!("`{n}`")).collect();
            let problem = format!(
                "`{name}` is neither a built-in template ({}) nor a file",
                names.join(", ")
            );
            return Err(DataError::Config { field: "template", problem });
        }
        let source = fs::read_to_string(name).map_err(DataError::read(Path::new(name)))?;
        return Ok((source, format!("`{name}`")));
    }
    let path = dir.join("chat_template.jinja");
    if path.is_file() {
        let source = fs::read_to_string(&path).map_err(DataError::read(&path))?;
        return Ok((source, "`chat_template.jinja`".to_owned()));
    }
    let own = match config.get("chat_template") {
        Some(serde_json::Value::String(source)) => Some(source.as_str()),
        Some(serde_json::Value::Array(named)) => named
            .iter()
            .find(|entry| entry.get("name").and_then(|n| n.as_str()) == Some("default"))
            .and_then(|entry| entry.get("template").and_then(|t| t.as_str())),
        _ => None,
    };
    if let Some(source) = own {
        return Ok((source.to_owned(), "`tokenizer_config.json`".to_owned()));
    }
    let source = built_in("zephyr").unwrap_or_default();
    Ok((source, "built-in `zephyr`, because the tokenizer has none".to_owned()))
}
