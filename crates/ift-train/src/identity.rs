//! What the results of a run depend on: the recipe, the contents of every file that it reads, and
//! the program.
//!
//! A run may be resumed only if these are unchanged. Whatever is not on the short list of free
//! fields belongs to its identity, so a new field of the recipe does without anybody thinking of
//! it. Paths are not compared, but what lies there: a moved folder is the same folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ift_data::Dataset;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::arithmetic;
use crate::change::{CONTENTS, Change};
use crate::data::{Data, tokenizer_folder};
use crate::error::TrainError;
use crate::hash;
use crate::recipe::{Recipe, ReferenceStorage};

/// Raised whenever a change of the program changes the results of a recipe.
pub(crate) const RESULTS: u32 = 2;

/// Fields that do not change what is learned: where results go, and how often to measure, sample
/// and save.
const FREE: [&str; 11] = [
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.number",
    "eval.after",
    "eval.before",
    "eval.every",
    "generate.max_tokens",
    "generate.prompts",
    "output.dir",
    "train.check_gradients",
    "train.threads",
];

/// Fields that are not compared themselves, because the contents they lead to are, each with the
/// name of those contents.
const BY_CONTENTS: [(&str, &str); 6] = [
    ("adapter.path", "adapter"),
    ("data.eval", "held_out"),
    ("data.template", "template"),
    ("data.train", "data"),
    ("model.path", "model"),
    ("reference.path", "reference"),
];

/// Everything that a run's results depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The resolved recipe.
    recipe: Value,
    /// Fingerprints of contents, by name.
    contents: BTreeMap<String, String>,
}

impl Identity {
    /// The identity of a run of `recipe` on `data`. Reads every file of the models.
    pub fn of(recipe: &Recipe, data: &Data) -> Result<Self, TrainError> {
        let mut contents = BTreeMap::from([
            ("version".to_owned(), RESULTS.to_string()),
            ("instructions".to_owned(), arithmetic(recipe.train.precision).to_owned()),
            ("model".to_owned(), model(&recipe.model.path)?),
            ("tokenizer".to_owned(), tokenizer(&tokenizer_folder(recipe)?)?),
            ("data".to_owned(), rows(&data.train)),
        ]);
        if let Some(template) = data.tokenizer.template_source() {
            contents.insert("template".to_owned(), hash::of_bytes(template.as_bytes()));
        }
        if let Some(held_out) = &data.held_out {
            contents.insert("held_out".to_owned(), rows(held_out));
        }
        if let Some(path) = recipe.adapter.as_ref().and_then(|adapter| adapter.path.as_ref()) {
            contents.insert("adapter".to_owned(), model(path)?);
        }
        if let Some(reference) = reference(recipe, &contents["model"])? {
            contents.insert("reference".to_owned(), reference);
        }
        Ok(Self { recipe: as_read(recipe), contents })
    }

    /// The fingerprint of contents, or nothing where the run has none of that name.
    pub fn contents(&self, name: &str) -> &str {
        self.contents.get(name).map_or("", String::as_str)
    }

    /// Every difference that counts, by field.
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let counts = |field: &str| {
            !FREE.contains(&field) && !BY_CONTENTS.iter().any(|(path, _)| *path == field)
        };
        let text = |value: &Value| value.to_string();
        let fields = differences(&leaves(&self.recipe), &leaves(&now.recipe), text);
        let short = |fingerprint: &String| fingerprint.chars().take(12).collect();
        let contents = differences(&self.contents, &now.contents, short);
        let mut changes: Vec<Change> =
            fields.into_iter().filter(|change| counts(&change.field)).chain(contents).collect();
        if changes.iter().any(|change| change.field == "train.precision") {
            // Another precision is computed with other instructions; the one change says it all.
            changes.retain(|change| change.field != "instructions");
        }
        changes
    }

    /// The difference in the number type that models are saved in. It is free, except where another
    /// stage starts from the model.
    pub fn change_of_saved_number(&self, now: &Self) -> Option<Change> {
        let (then, now) = (leaves(&self.recipe), leaves(&now.recipe));
        let changes = differences(&then, &now, Value::to_string);
        changes.into_iter().find(|change| change.field == "checkpoint.number")
    }

    /// Whether there is a field or there are contents of that name.
    pub fn has(&self, name: &str) -> bool {
        CONTENTS.iter().any(|(known, _)| *known == name) || leaves(&self.recipe).contains_key(name)
    }
}

/// Whether a field may change freely, or which contents stand for it.
pub(crate) fn not_compared(field: &str) -> Option<String> {
    if FREE.contains(&field) {
        return Some("may change freely".to_owned());
    }
    let (_, contents) = BY_CONTENTS.iter().find(|(path, _)| *path == field)?;
    Some(format!("may change freely, only the contents count (`--accept {contents}`)"))
}

/// A model folder's configuration and weights, those of an adapter's base too.
fn model(path: &Path) -> Result<String, TrainError> {
    hash::of_files(&ift_model::weight_files(path)?)
}

/// What the method compares the policy with, given the fingerprint of the policy's model. An old
/// policy is part of the run itself.
fn reference(recipe: &Recipe, policy: &str) -> Result<Option<String>, TrainError> {
    let (needs, table) = (recipe.method.needs(), &recipe.reference);
    if !needs.reference || needs.old_policy.is_some() {
        return Ok(None);
    }
    let files = match &table.path {
        Some(path) => model(path)?,
        None => policy.to_owned(),
    };
    let storage = match (&recipe.adapter, &table.path, table.storage) {
        (Some(adapter), None, _) => format!("{:?}", adapter.base.storage()),
        (_, _, ReferenceStorage::Bf16) => "Bf16".to_owned(),
        (_, _, ReferenceStorage::Exact) => "Exact".to_owned(),
    };
    Ok(Some(hash::of_bytes(format!("{storage} {files}").as_bytes())))
}

/// The files that the tokenizer is read from. A chat template has a fingerprint of its own.
fn tokenizer(folder: &Path) -> Result<String, TrainError> {
    let mut each = vec![hash::of_file(&folder.join("tokenizer.json"))?];
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let text = std::fs::read(&path).map_err(TrainError::io("read", &path))?;
        let mut fields: Value = serde_json::from_slice(&text)
            .map_err(|e| TrainError::file(&path, format!("is not JSON: {e}")))?;
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("chat_template");
        }
        each.push(hash::of_bytes(fields.to_string().as_bytes()));
    }
    Ok(hash::of_bytes(each.join(" ").as_bytes()))
}

/// Rows and the places they come from, which name the streams of their random draws.
fn rows(set: &Dataset) -> String {
    let mut bytes = set.identity.clone().into_bytes();
    for row in &set.rows {
        bytes.extend(row.source.to_le_bytes());
        bytes.extend(row.record.to_le_bytes());
    }
    hash::of_bytes(&bytes)
}

/// A recipe as it would be read back from a file, so that rounding of decimals cannot make a
/// difference.
fn as_read(recipe: &Recipe) -> Value {
    let text = serde_json::to_string(recipe).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// Entries that differ; `unset` stands for an entry that only the other side has.
fn differences<V: PartialEq>(
    then: &BTreeMap<String, V>,
    now: &BTreeMap<String, V>,
    text: impl Fn(&V) -> String,
) -> Vec<Change> {
    let fields: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let text = |value: Option<&V>| value.map_or_else(|| "unset".to_owned(), &text);
    let changed = fields.into_iter().filter(|field| then.get(*field) != now.get(*field));
    changed
        .map(|field| Change {
            field: field.clone(),
            was: text(then.get(field)),
            is: text(now.get(field)),
        })
        .collect()
}

/// The values of all fields by dotted name; a list is one value.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, prefix: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
                map.iter().for_each(|(key, value)| walk(value, &format!("{prefix}{key}"), out));
            }
            leaf => {
                out.insert(prefix.to_owned(), leaf.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
}

#[cfg(test)]
mod tests;
