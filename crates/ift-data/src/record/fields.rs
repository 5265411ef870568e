//! The fields of a record while it is read: what is not taken has no meaning here.

use serde_json::{Map, Value};

use crate::error::DataError;

use super::columns::Columns;

/// The fields of one record that are not null, under our names.
pub(super) struct Fields<'a> {
    pub columns: &'a Columns,
    left: Map<String, Value>,
    taken: Vec<String>,
    /// Names of further fields without a meaning, such as columns whose name is ours, but which the
    /// recipe replaces by another.
    replaced: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The fields of a record: renamed, and without nulls and ignored ones.
    pub fn new(columns: &'a Columns, mut record: Map<String, Value>) -> Self {
        record.retain(|name, value| !value.is_null() && !columns.ignores(name));
        let mut replaced = Vec::new();
        let mut moved = Vec::new();
        for (ours, theirs) in columns.renamed() {
            moved.extend(record.shift_remove(theirs).map(|value| (ours, value)));
        }
        for (ours, _) in columns.renamed() {
            if record.shift_remove(ours).is_some() {
                replaced.push(ours.to_owned());
            }
        }
        for (ours, value) in moved {
            record.insert(ours.to_owned(), value);
        }
        Self { columns, left: record, taken: Vec::new(), replaced }
    }

    /// A field that was not taken yet.
    pub fn peek(&self, name: &str) -> Option<&Value> {
        self.left.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// The first of these names that the record has.
    pub fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.left.shift_remove(name)?;
        self.taken.push(name.to_owned());
        Some(value)
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// When it is missing; the message lists what the record has.
    pub fn need(&mut self, name: &str) -> Result<Value, DataError> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// The field of one meaning that goes by several names.
    ///
    /// # Errors
    /// When the record has two of them with different values.
    pub fn one_of<'n>(&mut self, names: &[&'n str]) -> Result<Option<(&'n str, Value)>, DataError> {
        let Some(first) = self.first(names) else { return Ok(None) };
        let Some(value) = self.take(first) else { return Ok(None) };
        for &name in names {
            if self.peek(name).is_some_and(|other| *other != value) {
                let (first, name) = (self.columns.theirs(first), self.columns.theirs(name));
                return Err(DataError::Malformed(format!(
                    "found `{first}` and `{name}`, which have the same meaning and differ; \
                     expected one of them: list the other in `data.ignore`"
                )));
            }
            self.take(name);
        }
        Ok(Some((first, value)))
    }

    /// Lists a field as one without a meaning, although it was taken.
    pub fn list(&mut self, name: &str) {
        self.replaced.push(self.columns.theirs(name).to_owned());
    }

    /// The error for a field that is missing.
    pub fn missing(&self, name: &str) -> DataError {
        let found = format!("nothing (the record has {})", self.names());
        DataError::field(name, found, "a value")
    }

    /// The names that the record has, for messages.
    pub fn names(&self) -> String {
        let names = self.taken.iter().chain(self.left.keys());
        let names = names.map(|name| self.columns.theirs(name)).chain(self.replaced());
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn replaced(&self) -> impl Iterator<Item = &str> {
        self.replaced.iter().map(String::as_str)
    }

    /// What was not taken, and the names of columns that others replace.
    pub fn rest(&self) -> (impl Iterator<Item = (&String, &Value)>, impl Iterator<Item = &str>) {
        (self.left.iter(), self.replaced())
    }
}
