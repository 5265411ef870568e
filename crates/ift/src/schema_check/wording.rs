//! Words for values, types and names in findings.

use serde_json::Value as Schema;
use toml::Value;

/// Describes a value of a recipe.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(_) => format!("the string {value}"),
        Value::Integer(_) => format!("the whole number {value}"),
        Value::Float(_) => format!("the number {value}"),
        Value::Boolean(_) => value.to_string(),
        Value::Datetime(_) => format!("the date {value}"),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Describes the values that at least one of the schemas allows. `$ref`s point into `root`.
pub(super) fn expected(schemas: &[&Schema], root: &Schema) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for kind in schemas.iter().flat_map(|schema| kinds_of(schema, root)) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() { "a value".to_owned() } else { kinds.join(" or ") }
}

/// Describes each kind of value that a schema allows.
fn kinds_of(schema: &Schema, root: &Schema) -> Vec<String> {
    let schema = target(schema, root).unwrap_or(schema);
    let alternatives =
        ["oneOf", "anyOf"].iter().find_map(|keyword| schema.get(keyword)?.as_array());
    if let Some(names) = constants(schema) {
        return vec![listed(&names, '"')];
    }
    if let Some(alternatives) = alternatives {
        let names: Option<Vec<_>> = alternatives.iter().map(constants).collect();
        return match names {
            Some(names) => vec![listed(&names.concat(), '"')],
            None => alternatives.iter().flat_map(|schema| kinds_of(schema, root)).collect(),
        };
    }
    let types = match schema.get("type") {
        Some(Schema::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    types.iter().filter_map(|name| type_name(name.as_str()?, schema)).collect()
}

/// The schema that a `$ref` points to.
pub(super) fn target<'a>(schema: &Schema, root: &'a Schema) -> Option<&'a Schema> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// The strings that a schema allows, if it lists them.
pub(super) fn constants(schema: &Schema) -> Option<Vec<&str>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(name), _) => Some(vec![name.as_str()?]),
        (None, Some(names)) => {
            // An optional value may be null, which TOML does not have.
            names.as_array()?.iter().filter(|name| !name.is_null()).map(Schema::as_str).collect()
        }
        (None, None) => None,
    }
}

/// Names as `a`, `b` or `c`, each in the given quotes.
pub(super) fn listed(names: &[&str], quote: char) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The name that is most similar to `text`, if one is similar enough.
pub(super) fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let similar = |name: &str| {
        let edits =
            strsim::normalized_damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase());
        // The beginning of a word is a likely abbreviation, however short.
        let shortened = text.len() > 1 && name.split('_').any(|word| word.starts_with(text));
        if shortened { edits.max(0.6) } else { edits }
    };
    names
        .iter()
        .map(|name| (similar(name), *name))
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn type_name(name: &str, schema: &Schema) -> Option<String> {
    let noun = match name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "a table",
        _ => return None,
    };
    let bound = |keyword: &str| bound(schema, keyword).filter(|_| noun.ends_with("number"));
    let limits: Vec<_> = [
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    ]
    .into_iter()
    .filter_map(|(keyword, word)| Some(format!("{word} {}", bound(keyword)?)))
    .collect();
    Some(if limits.is_empty() {
        noun.to_owned()
    } else {
        format!("{noun}, {}", limits.join(" and "))
    })
}

/// A limit of a number: from the schema itself, or of a 32-bit type, for which `schemars` writes
/// only `format`.
pub(super) fn bound(schema: &Schema, keyword: &str) -> Option<f64> {
    let format = schema.get("format").and_then(Schema::as_str);
    let own = schema.get(keyword).and_then(Schema::as_f64);
    own.or(match (keyword, format) {
        ("maximum", Some("uint32")) => Some(u32::MAX.into()),
        ("minimum", Some("int32")) => Some(i32::MIN.into()),
        ("maximum", Some("int32")) => Some(i32::MAX.into()),
        _ => None,
    })
}
