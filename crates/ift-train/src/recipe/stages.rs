//! A recipe of several stages: what each changes of the tables above, and the recipe it becomes.

use std::borrow::Cow;
use std::path::Path;

use ift_data::DataConfig;
use ift_methods::Method;
use ift_model::Adapter;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{CheckpointTable, EvalTable, GenerateTable, Recipe, ReferenceTable, TrainTable};
use crate::error::TrainError;
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;

/// One stage of a run: tables that take the place of the recipe's own, field by field (`method` and
/// `optimizer` as a whole).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageTable(Table);

/// What a stage may hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct StageForm {
    /// Its folder's name; left out, the method's.
    #[serde(default)]
    name: Option<String>,
    /// The training method and its settings, chosen by `name`.
    #[serde(default)]
    method: Option<Method>,
    /// What to train on, and what to hold out.
    #[serde(default)]
    data: Option<DataConfig>,
    /// The model that a method compares the policy with.
    #[serde(default)]
    reference: Option<ReferenceTable>,
    /// Trains an adapter in place of the weights.
    #[serde(default)]
    adapter: Option<Adapter>,
    /// The optimizer and its settings, chosen by `name`.
    #[serde(default)]
    optimizer: Option<Optimizer>,
    /// How the learning rate moves over the steps.
    #[serde(default)]
    schedule: Option<Schedule>,
    /// How long to train, on how much at a time, and how it is computed.
    #[serde(default)]
    train: Option<TrainTable>,
    /// When to measure the loss on held-out rows.
    #[serde(default)]
    eval: Option<EvalTable>,
    /// When to save, and what to keep.
    #[serde(default)]
    checkpoint: Option<CheckpointTable>,
    /// Prompts to answer before and after training.
    #[serde(default)]
    generate: Option<GenerateTable>,
}

impl JsonSchema for StageTable {
    fn schema_name() -> Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        StageForm::json_schema(generator)
    }
}

/// Fields of a table of which only one may be set: a stage that sets one drops what the recipe says
/// of the other.
const EXCLUSIVE: [(&str, [&str; 2]); 3] = [
    ("data", ["eval", "eval_fraction"]),
    ("train", ["epochs", "steps"]),
    ("schedule", ["warmup_steps", "warmup_ratio"]),
];

/// A stage as a run of its own.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The name of its folder in `stages/`: its number from 1 and its name.
    pub folder: String,
    /// What it does. Its model is the one before's, its output a folder below the run's.
    pub recipe: Recipe,
}

impl Recipe {
    /// The stages as recipes of their own, in order; empty for a recipe without stages.
    ///
    /// # Errors
    /// If a stage has a name that is no folder's, or its tables do not make a recipe.
    pub fn stages(&self) -> Result<Vec<Stage>, TrainError> {
        let whole = Self { stage: Vec::new(), ..self.clone() };
        let broken = |i: usize, problem: String| {
            TrainError::recipe("stage", format!("{}: {problem}", i + 1))
        };
        let base = Table::try_from(&whole).map_err(|e| TrainError::Syntax(e.to_string()))?;
        let mut stages: Vec<Stage> = Vec::with_capacity(self.stage.len());
        for (i, StageTable(changes)) in self.stage.iter().enumerate() {
            let mut table = base.clone();
            let mut name = None;
            for (key, value) in changes {
                match (key.as_str(), value) {
                    ("name", Value::String(text)) => name = Some(text.clone()),
                    _ => replace(&mut table, key, value),
                }
            }
            let mut recipe: Self = Value::Table(table)
                .try_into()
                .map_err(|e: toml::de::Error| broken(i, e.to_string()))?;
            let name = name.unwrap_or_else(|| method_name(&recipe.method));
            if name.is_empty()
                || Path::new(&name).file_name().is_none_or(|file| file != name.as_str())
            {
                return Err(broken(
                    i,
                    format!("`name` is {name:?}, expected the name of a folder"),
                ));
            }
            let folder = format!("{}-{name}", i + 1);
            recipe.output.dir = self.output.dir.join("stages").join(&folder);
            if let Some(before) = stages.last() {
                recipe.model.path = before.recipe.output.dir.join("model");
            }
            stages.push(Stage { folder, recipe });
        }
        Ok(stages)
    }
}

/// Puts a stage's value in its place: a table that is chosen by `name` as a whole, other tables
/// field by field.
fn replace(table: &mut Table, key: &str, value: &Value) {
    match (table.get_mut(key), value) {
        (Some(Value::Table(old)), Value::Table(new)) if !new.contains_key("name") => {
            for (name, pair) in EXCLUSIVE {
                if name == key && pair.iter().any(|field| new.contains_key(*field)) {
                    old.retain(|field, _| pair.iter().all(|one| *one != field));
                }
            }
            old.extend(new.clone());
        }
        _ => drop(table.insert(key.to_owned(), value.clone())),
    }
}

/// The `name` of a method, as recipes write it.
fn method_name(method: &Method) -> String {
    let name = Table::try_from(method)
        .ok()
        .and_then(|table| Some(table.get("name")?.as_str()?.to_owned()));
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "model.path = 'm'\noutput.dir = 'o'\n[data]\n\
        train = 'chats.jsonl'\nmax_length = 99\n\
        eval_fraction = 0.1\n[train]\nsteps = 7\nseed = 3\n[optimizer]\nname = 'adamw'\nlr = 1e-3\n\
        [[stage]]\nmethod.name = 'sft'\n\
        [[stage]]\nname = 'pairs'\nmethod = { name = 'dpo', beta = 0.2 }\ntrain.epochs = 2\n\
        data = { train = 'pairs.jsonl', eval = 'held.jsonl' }\noptimizer.name = 'rmsprop'";

    #[test]
    fn stages_change_what_they_name_and_follow_each_other() {
        let recipe = Recipe::from_toml(TWO).unwrap();
        recipe.validate().unwrap();
        let stages = recipe.stages().unwrap();
        let [first, second] = &stages[..] else { panic!("two stages") };
        assert_eq!((first.folder.as_str(), second.folder.as_str()), ("1-sft", "2-pairs"));
        assert_eq!(first.recipe.model.path, Path::new("m"));
        assert_eq!(second.recipe.model.path, Path::new("o/stages/1-sft/model"));
        assert_eq!(
            (first.recipe.train.steps, first.recipe.data.eval_fraction),
            (Some(7), Some(0.1))
        );
        let train = &second.recipe.train;
        assert_eq!((train.steps, train.epochs, train.seed), (None, 2, 3));
        let data = &second.recipe.data;
        assert_eq!((data.max_length, data.eval_fraction, data.eval.len()), (99, None, 1));
        assert_eq!((first.recipe.optimizer.lr(), second.recipe.optimizer.lr()), (1e-3, 5e-7));
        let again = Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap();
        assert_eq!(format!("{recipe:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_stage_at_fault_is_named() {
        let check = |stage: &str| {
            let text =
                format!("model.path = 'm'\noutput.dir = 'o'\ndata.train = 'd'\n[[stage]]\n{stage}");
            Recipe::from_toml(&text).unwrap().validate().unwrap_err().to_string()
        };
        let message = check("method = { name = 'dpo', beta = -1.0 }");
        assert!(message.contains("1 (`1-dpo`)") && message.contains("method.beta"), "{message}");
        let message = check("name = '../x'");
        assert!(message.contains("the name of a folder"), "{message}");
        let message = check("method = { name = 'dpo', bata = 1.0 }");
        assert!(message.contains("bata"), "{message}");
    }
}
