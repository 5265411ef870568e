//! One field of a JSON file changed, and every other byte kept: numbers that no type here can hold
//! stay as they are.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::durable;
use crate::error::TrainError;

/// The value of a field of the JSON object in a file.
pub(super) fn field(path: &Path, name: &str) -> Result<Option<Value>, TrainError> {
    let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let mut fields = fields(path, &text)?;
    let value = fields.remove(name).map(|value| serde_json::from_str(value.get()));
    value.transpose().map_err(|e| not_an_object(path, &e))
}

/// Sets a field of the JSON object in a file; the file is not written if the field has that value.
pub(super) fn set(path: &Path, name: &str, value: &Value) -> Result<(), TrainError> {
    let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let fields = fields(path, &text)?;
    let new = if let Some(old) = fields.get(name) {
        let same = serde_json::from_str::<Value>(old.get()).is_ok_and(|old| old == *value);
        if same {
            return Ok(());
        }
        // The value is a part of the text.
        let start = old.get().as_ptr() as usize - text.as_ptr() as usize;
        let (before, after) = (&text[..start], &text[start + old.get().len()..]);
        format!("{before}{value}{after}")
    } else {
        let end = text.rfind('}').unwrap_or(text.len());
        let before = text[..end].trim_end();
        let comma = if fields.is_empty() { "" } else { "," };
        format!("{before}{comma}\n  {}: {value}\n}}\n", Value::from(name))
    };
    durable::write_file(path, new.as_bytes())
}

fn fields<'a>(path: &Path, text: &'a str) -> Result<HashMap<String, &'a RawValue>, TrainError> {
    serde_json::from_str(text).map_err(|e| not_an_object(path, &e))
}

fn not_an_object(path: &Path, error: &serde_json::Error) -> TrainError {
    TrainError::file(path, format!("is not a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_other_bytes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let changed = |before: &str, name: &str, value: Value| {
            fs::write(&path, before).unwrap();
            set(&path, name, &value).unwrap();
            assert_eq!(field(&path, name).unwrap(), Some(value));
            fs::read_to_string(&path).unwrap()
        };
        let text =
            "{\n \"max\": 1000000000000000019884624838656,\n \"t\" :  [1, 2] , \"f\":0.10}\n";
        assert_eq!(changed(text, "t", json!([1, 2])), text);
        assert_eq!(changed(text, "t", json!("a\n")), text.replace("[1, 2]", "\"a\\n\""));
        assert_eq!(changed(text, "n", json!(null)), text.replace('}', ",\n  \"n\": null\n}"));
        assert_eq!(changed("{}", "n", json!([3])), "{\n  \"n\": [3]\n}\n");
        assert_eq!(changed("{\"n\": {\"n\": 1}}", "n", json!(2)), "{\"n\": 2}");
        assert_eq!(field(&path, "other").unwrap(), None);
        fs::write(&path, "[]").unwrap();
        let error = set(&path, "n", &json!(1)).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains("not a JSON object"), "{error}");
    }
}
