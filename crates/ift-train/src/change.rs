//! A difference between a run and its checkpoint.

use std::fmt;

use ift_methods::Method;
use serde::{Deserialize, Serialize};

/// Names of contents, each with what it stands for.
pub(crate) const CONTENTS: [(&str, &str); 9] = [
    ("adapter", "the files of `adapter.path`"),
    ("data", "the training rows"),
    ("held_out", "the held-out rows"),
    ("instructions", "the processor's instruction set, which decides the last bits"),
    ("model", "the files of `model.path`, and of its base if it is an adapter"),
    ("reference", "the files of the reference model, and how it is stored"),
    ("template", "the chat template"),
    ("tokenizer", "the tokenizer's files"),
    ("version", "the version of the program's results"),
];

/// Fields that decide which tensors a checkpoint holds: it cannot be resumed if one has changed.
pub(crate) const STRUCTURE: [&str; 4] =
    ["adapter.dora", "adapter.rank", "adapter.targets", "optimizer.name"];

/// A field of the recipe, or contents, that differ from those of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field, dotted, or the name of the contents.
    pub field: String,
    /// Its value in the earlier run.
    pub was: String,
    /// Its value now.
    pub is: String,
}

impl Change {
    /// Whether it is a change of contents, not of a field of the recipe.
    pub(crate) fn is_contents(&self) -> bool {
        CONTENTS.iter().any(|(name, _)| *name == self.field)
    }

    /// Whether a checkpoint cannot be resumed with it, because it decides which tensors there are.
    pub(crate) fn is_structure(&self) -> bool {
        let either = |test: &dyn Fn(&str) -> bool| test(&self.was) != test(&self.is);
        match self.field.as_str() {
            // Without momentum there is no buffer, without a decay no running mean.
            "optimizer.momentum" => either(&|value| value == "unset" || value.parse() == Ok(0.0)),
            "train.ema_decay" => either(&|value| value == "unset"),
            // Methods differ in whether they train the input embeddings.
            "method.name" => {
                let (was, is) = (embeddings(&self.was), embeddings(&self.is));
                was.is_some() && is.is_some() && was != is
            }
            "method.freeze_input_embeddings" => {
                [&self.was, &self.is].iter().all(|value| *value != "unset")
            }
            field => STRUCTURE.contains(&field),
        }
    }
}

/// Whether the method of a name, written as JSON, trains the input embeddings.
fn embeddings(name: &str) -> Option<bool> {
    let method: Method = serde_json::from_str(&format!("{{\"name\":{name}}}")).ok()?;
    Some(method.trains_input_embeddings())
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { field, was, is } = self;
        match CONTENTS.iter().find(|(name, _)| name == field) {
            Some((_, meaning)) => write!(f, "`{field}` ({meaning}) was {was}, is {is}"),
            None => write!(f, "`{field}` was {was}, is {is}"),
        }
    }
}
