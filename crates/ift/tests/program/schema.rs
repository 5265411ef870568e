//! `ift schema`, and the schemas in `schema/` that editors read.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::Folder;

/// Collects fields without a description, except the tags of tables, which the variants describe.
fn undocumented(at: &str, schema: &Value, found: &mut Vec<String>, fields: &mut usize) {
    match schema {
        Value::Object(map) => {
            for (name, field) in
                map.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                *fields += 1;
                if field.get("const").is_none() && !field["description"].is_string() {
                    found.push(format!("{at}.{name}"));
                }
            }
            for (key, value) in map {
                undocumented(&format!("{at}.{key}"), value, found, fields);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| undocumented(at, value, found, fields)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    for (arguments, required, least) in [
        (&["schema"][..], serde_json::json!(["model", "output"]), 120),
        (&["schema", "train"], serde_json::json!(["model", "output"]), 120),
        (&["schema", "new"], serde_json::json!(["output", "model"]), 8),
        (&["schema", "lake"], serde_json::Value::Null, 100),
    ] {
        let schema = Folder::new().ift(arguments).json();
        assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"));
        assert_eq!(schema["required"], required, "{arguments:?}");
        let (mut found, mut fields) = (Vec::new(), 0);
        undocumented("", &schema, &mut found, &mut fields);
        assert_eq!(found, Vec::<String>::new(), "{arguments:?}");
        assert!(fields > least, "{arguments:?}: {fields}");
    }
}

#[test]
fn the_schemas_in_the_repository_are_current() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema");
    for of in ["train", "new", "lake"] {
        let current = Folder::new().ift(&["schema", of]).done();
        let stored = fs::read_to_string(schemas.join(format!("{of}.json"))).unwrap_or_default();
        assert!(
            stored == current,
            "`schema/{of}.json` is not current; renew it with\n  \
             cargo run -- schema {of} > schema/{of}.json"
        );
    }
}
