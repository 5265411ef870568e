//! Which chat template a tokenizer folder has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::built_in::BUILT_IN_TEMPLATES;
use crate::error::DataError;

/// The template that was found.
pub(super) struct Found {
    /// The Jinja text.
    pub source: String,
    /// Where it comes from, for messages.
    pub origin: String,
    /// Whether it is the tokenizer's own.
    pub own: bool,
}

/// Finds the template: a built-in name or the path of a file if one is wanted, else
/// `chat_template.jinja` and the files of `additional_chat_templates`, else `chat_template` in
/// `tokenizer_config.json`, else the built-in `zephyr`.
///
/// # Errors
/// When a file cannot be read, the wanted template does not exist, or there are several templates
/// without a `default` one.
pub(super) fn find(
    dir: &Path,
    config: &Map<String, Value>,
    wanted: Option<&str>,
) -> Result<Found, DataError> {
    if let Some(name) = wanted {
        return by_name(name);
    }
    let from_files = own_files(dir)?;
    if !from_files.is_empty() {
        return join(from_files, "`chat_template.jinja`");
    }
    let from_config = match config.get("chat_template") {
        Some(Value::String(source)) => BTreeMap::from([("default".to_owned(), source.clone())]),
        Some(Value::Array(list)) => list.iter().filter_map(named).collect(),
        _ => BTreeMap::new(),
    };
    if !from_config.is_empty() {
        return join(from_config, "`tokenizer_config.json`");
    }
    let found = by_name("zephyr")?;
    Ok(Found { origin: format!("{}, because the tokenizer has none", found.origin), ..found })
}

fn by_name(name: &str) -> Result<Found, DataError> {
    if let Some((_, source)) = BUILT_IN_TEMPLATES.iter().find(|(known, _)| *known == name) {
        let origin = format!("built-in `{name}`");
        return Ok(Found { source: (*source).to_owned(), origin, own: false });
    }
    let path = Path::new(name);
    if !path.is_file() {
        let names: Vec<_> = BUILT_IN_TEMPLATES.iter().map(|(n, _)| format!("`{n}`")).collect();
        let names = names.join(", ");
        let problem = format!("`{name}` is neither a built-in template ({names}) nor a file");
        return Err(DataError::Config { field: "template", problem });
    }
    Ok(Found { source: read(path)?, origin: format!("`{name}`"), own: false })
}

fn read(path: &Path) -> Result<String, DataError> {
    fs::read_to_string(path).map_err(DataError::read(path))
}

/// The templates of the folder's own files, by name.
fn own_files(dir: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let mut found = BTreeMap::new();
    let path = dir.join("chat_template.jinja");
    if path.is_file() {
        found.insert("default".to_owned(), read(&path)?);
    }
    let further = dir.join("additional_chat_templates");
    if further.is_dir() {
        for entry in fs::read_dir(&further).map_err(DataError::read(&further))? {
            let path = entry.map_err(DataError::read(&further))?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "jinja")) {
                found.insert(name.to_owned(), read(&path)?);
            }
        }
    }
    Ok(found)
}

/// An entry of a list of templates.
fn named(entry: &Value) -> Option<(String, String)> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((text("name")?, text("template")?))
}

/// One template out of several: `tool_use` for a conversation with tools, else `default`, as
/// transformers chooses.
fn join(mut templates: BTreeMap<String, String>, origin: &str) -> Result<Found, DataError> {
    let Some(default) = templates.remove("default") else {
        let names: Vec<String> = templates.keys().map(|name| format!("`{name}`")).collect();
        let problem = format!(
            "found {}, but no template called `default`; name one in `data.template`",
            names.join(", ")
        );
        return Err(DataError::Template { origin: origin.to_owned(), problem });
    };
    let source = match templates.remove("tool_use") {
        None => default,
        Some(tool_use) => {
            let [tool_use, default] = [&tool_use, &default].map(|text| without_last_line_end(text));
            format!("{{% if tools %}}\n{tool_use}{{% else %}}\n{default}{{% endif %}}")
        }
    };
    Ok(Found { source, origin: origin.to_owned(), own: true })
}

/// Jinja drops the line end at the end of a template.
fn without_last_line_end(source: &str) -> &str {
    let source = source.strip_suffix('\n').unwrap_or(source);
    source.strip_suffix('\r').unwrap_or(source)
}
