//! The names that a source has for our fields, and the fields that it ignores.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::DataError;

use super::values::decoded;

/// How the names of one source are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// Our name to theirs.
    renamed: BTreeMap<String, String>,
    ignored: Vec<String>,
}

impl Columns {
    /// The names of a source: those of `data.columns`, and its own over them.
    pub fn new(
        all: &BTreeMap<String, String>,
        own: &BTreeMap<String, String>,
        ignored: &[String],
    ) -> Self {
        let mut renamed = all.clone();
        renamed.extend(own.clone());
        renamed.retain(|ours, theirs| ours != theirs);
        Self { renamed, ignored: ignored.to_vec() }
    }

    /// Our names and theirs.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_record = |ours: &&str| !OF_MESSAGES.contains(ours);
        let names = self.renamed.iter().map(|(ours, theirs)| (ours.as_str(), theirs.as_str()));
        names.filter(move |(ours, _)| of_record(ours))
    }

    /// The name that the source has for ours.
    pub fn theirs<'n>(&'n self, ours: &'n str) -> &'n str {
        self.renamed.get(ours).map_or(ours, String::as_str)
    }

    /// Whether a field of a record is ignored.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored == name)
    }

    /// Whether a field of messages is ignored: `data.ignore` has it as `messages.NAME`.
    pub fn ignores_in_messages(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored.strip_prefix(OF_MESSAGE) == Some(name))
    }

    /// The names in `data.ignore` that a record has.
    pub fn ignored_in(&self, record: &Value) -> Vec<String> {
        // A record that is a list is the list of messages.
        let fields = record.as_object();
        let in_message = |value: &Value, name: &str| match decoded(value.clone(), "") {
            Ok(Value::Array(list)) => list.iter().any(|message| message.get(name).is_some()),
            Ok(other) => other.get(name).is_some(),
            Err(_) => false,
        };
        let holds = |name: &&String| match name.strip_prefix(OF_MESSAGE) {
            None => fields.is_some_and(|fields| fields.contains_key(*name)),
            Some(inner) => match fields {
                Some(fields) => fields.values().any(|value| in_message(value, inner)),
                None => in_message(record, inner),
            },
        };
        self.ignored.iter().filter(holds).cloned().collect()
    }

    /// The fields of messages that have our names, but that the recipe replaces by others, as
    /// `messages.NAME`.
    pub fn replaced_in_messages(&self, record: &Map<String, Value>) -> Vec<String> {
        let replaced = |ours: &&str| {
            let theirs = self.theirs(ours);
            let both =
                |message: &Value| message.get(*ours).is_some() && message.get(theirs).is_some();
            let holds = |value: &Value| match decoded(value.clone(), "") {
                Ok(Value::Array(list)) => list.iter().any(both),
                Ok(other) => both(&other),
                Err(_) => false,
            };
            theirs != *ours && record.values().any(holds)
        };
        OF_MESSAGES
            .iter()
            .filter(|ours| replaced(ours))
            .map(|ours| format!("{OF_MESSAGE}{ours}"))
            .collect()
    }

    /// An error with the source's name of the field.
    pub fn name_theirs(&self, error: DataError) -> DataError {
        let DataError::Field { field, found, expected } = error else { return error };
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (root, rest) = field.split_at(end);
        DataError::Field { field: format!("{}{rest}", self.theirs(root)), found, expected }
    }
}

/// Beginning of the name of a field of messages in `data.ignore`.
const OF_MESSAGE: &str = "messages.";

/// Our names that are of messages, not of records.
const OF_MESSAGES: [&str; 2] = ["role", "content"];
