//! `state.json`: where a run stands and what it is made of, and whether another recipe may go on
//! from there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Position, Recipe, TrainError};

/// Raised when an older program could not read what a newer one writes.
const FORMAT: u64 = 1;

/// Everything of the trainer's state that is not a tensor. The order of rows, noisy λ and sampled
/// look-aheads are pure functions of the seed and the step, so there is no random stream to save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format of the checkpoint.
    pub format: u64,
    /// Version of the program that wrote it.
    pub version: String,
    /// Steps done.
    pub step: u64,
    /// All steps of the run.
    pub steps: u64,
    /// Where the next step's rows begin.
    pub position: Position,
    /// Seed of the run.
    pub seed: u64,
    /// The time, in seconds since 1970, that a chat template with a date writes.
    pub clock: i64,
    /// Identity of the training rows.
    pub data: String,
    /// The recipe.
    pub recipe: Value,
}

impl State {
    /// The state after `step` steps.
    pub(crate) fn new(
        recipe: &Recipe,
        clock: i64,
        data: &str,
        step: u64,
        steps: u64,
        position: Position,
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            step,
            steps,
            position,
            seed: recipe.train.seed,
            clock,
            data: data.to_owned(),
            recipe: as_read(recipe),
        }
    }

    pub(super) fn check_format(&self) -> Result<(), String> {
        if self.format == FORMAT {
            return Ok(());
        }
        Err(format!(
            "`state.json` has format {}, expected {FORMAT}: use version {}",
            self.format, self.version
        ))
    }

    /// Checks that a run with this recipe and these rows may go on from here; returns what to tell
    /// the user.
    ///
    /// Fields that change what is learned must be as they were: all of `method`, `optimizer`,
    /// `schedule` and `adapter`, the seed, rows per step, shuffling, precision, noise, the
    /// reference, and the length of the run. The length may change where no step depends on it:
    /// with a constant schedule whose warm-up is given in steps. `micro_batch_tokens` and
    /// `recompute` may change, and with them the last bits. Everything else may change.
    ///
    /// # Errors
    /// Lists the recipe's differences, or tells the data's.
    pub fn check(
        &self,
        at: &Path,
        recipe: &Recipe,
        data: &str,
        accept_other_data: bool,
    ) -> Result<Vec<String>, TrainError> {
        let changed = changes(&self.recipe, recipe, at)?;
        let mut notices: Vec<String> = changed
            .iter()
            .filter(|(field, _)| ROUNDING.contains(&field.as_str()))
            .map(|(_, text)| format!("{text}: the resumed run is the same up to rounding"))
            .collect();
        if self.data != data {
            if !accept_other_data {
                let (found, expected) = (self.data.clone(), data.to_owned());
                return Err(TrainError::OtherData { path: at.to_owned(), found, expected });
            }
            notices.push(
                "the training rows differ from those of the checkpoint, as accepted".to_owned(),
            );
        }
        Ok(notices)
    }
}

/// The fields in which a recipe differs from an earlier one's, each with a text that says how; an
/// error where they change what is learned.
fn changes(then: &Value, now: &Recipe, at: &Path) -> Result<Vec<(String, String)>, TrainError> {
    let earlier: Option<Recipe> = serde_json::from_value(then.clone()).ok();
    let open_ended = |r: &Recipe| r.schedule.is_open_ended();
    let length_is_free = open_ended(now) && earlier.as_ref().is_some_and(open_ended);
    let changed = differences(then, &as_read(now));
    let fixed = |field: &str| {
        let meaning = MEANING.iter().any(|t| in_table(field, t));
        let length = ["train.epochs", "train.steps"].contains(&field) && !length_is_free;
        meaning || length || FIXED.contains(&field)
    };
    let broken: Vec<String> =
        changed.iter().filter(|(field, _)| fixed(field)).map(|(_, text)| text.clone()).collect();
    if broken.is_empty() {
        Ok(changed)
    } else {
        Err(TrainError::OtherRecipe { path: at.to_owned(), differences: broken })
    }
}

/// Checks that what was made with one recipe may count as made with another.
///
/// # Errors
/// Lists the differences that change what is learned.
pub(crate) fn check_recipe(then: &Recipe, now: &Recipe, at: &Path) -> Result<(), TrainError> {
    changes(&as_read(then), now, at).map(drop)
}

/// Tables of which every field changes what is learned.
const MEANING: [&str; 4] = ["method", "optimizer", "schedule", "adapter"];
/// Other fields that do.
const FIXED: [&str; 8] = [
    "train.seed",
    "train.rows_per_step",
    "train.shuffle",
    "train.precision",
    "train.neftune_alpha",
    "train.ema_decay",
    "reference.path",
    "reference.storage",
];
/// Fields of `[train]` that change the order of additions.
const ROUNDING: [&str; 2] = ["train.micro_batch_tokens", "train.recompute"];

/// A recipe as it would be read back from a file, so that rounding of decimals cannot make a
/// difference.
fn as_read(recipe: &Recipe) -> Value {
    let text = serde_json::to_string(recipe).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn in_table(field: &str, table: &str) -> bool {
    field.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// Dotted fields whose values differ, each with a text that says how.
fn differences(then: &Value, now: &Value) -> Vec<(String, String)> {
    let (then, now) = (leaves(then), leaves(now));
    let fields: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let text =
        |value: Option<&&Value>| value.map_or_else(|| "unset".to_owned(), ToString::to_string);
    fields
        .into_iter()
        .filter(|field| then.get(*field) != now.get(*field))
        .map(|field| {
            let (then, now) = (text(then.get(field)), text(now.get(field)));
            (field.clone(), format!("`{field}` was {then}, is {now}"))
        })
        .collect()
}

fn leaves(value: &Value) -> BTreeMap<String, &Value> {
    fn walk<'v>(value: &'v Value, prefix: &str, out: &mut BTreeMap<String, &'v Value>) {
        match value {
            Value::Object(map) => {
                let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
                map.iter().for_each(|(key, value)| walk(value, &format!("{prefix}{key}"), out));
            }
            leaf => {
                out.insert(prefix.to_owned(), leaf);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "model.path = 'm'\ndata.train = 'd.jsonl'\noutput.dir = 'o'\n";

    fn recipe(lines: &str) -> Recipe {
        Recipe::from_toml(&format!("{BASE}{lines}")).unwrap()
    }

    fn state(lines: &str) -> State {
        let position = Position { epoch: 1, row: 0 };
        let state = State::new(&recipe(lines), 2, "abc", 4, 8, position);
        serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap()
    }

    fn check(then: &str, now: &str) -> Result<Vec<String>, String> {
        let checked = state(then).check(Path::new("c"), &recipe(now), "abc", false);
        checked.map_err(|e| e.to_string())
    }

    #[test]
    fn the_same_recipe_goes_on() {
        for lines in ["", "optimizer = { name = 'adamw', lr = 1.2345678901234567e-5, beta2 = 0.1 }"]
        {
            assert_eq!(check(lines, lines).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn what_changes_the_meaning_is_listed() {
        let message = check(
            "optimizer = { name = 'rmsprop', lr = 0.125 }\nmethod = { name = 'ift', lambda = 0.3 }",
            "optimizer = { name = 'adamw', lr = 0.25 }\ntrain.seed = 3",
        )
        .unwrap_err();
        for part in [
            "`optimizer.name` was \"rmsprop\", is \"adamw\"",
            "`optimizer.lr` was 0.125, is 0.25",
            "`optimizer.alpha` was 0.99, is unset",
            "`method.lambda` was 0.3, is 0.2",
            "`train.seed` was 0, is 3",
        ] {
            assert!(message.contains(part), "{message}");
        }
        for now in ["train.rows_per_step = 4", "train.shuffle = false", "train.precision = 'f64'"] {
            assert!(check("", now).is_err(), "{now}");
        }
    }

    #[test]
    fn harmless_fields_may_change() {
        let harmless = "eval.before = false\ncheckpoint = { every = 3, keep = 9, number = 'f32' }\n\
                        generate.prompts = ['a']\nmodel.path = 'elsewhere'\ntrain.check_gradients = false";
        let text = format!("{harmless}\n").replace("model.path = 'elsewhere'\n", "");
        assert!(check("", &text).unwrap().is_empty());
        let notices = check("", "train = { micro_batch_tokens = 9, recompute = true }").unwrap();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].contains("`train.micro_batch_tokens` was 4096, is 9"), "{notices:?}");
    }

    #[test]
    fn the_length_may_change_where_no_step_depends_on_it() {
        let constant = |steps| {
            format!("schedule = {{ name = 'constant', warmup_steps = 2 }}\ntrain.steps = {steps}")
        };
        assert!(check(&constant(8), &constant(12)).is_ok());
        let message = check("train.steps = 8", "train.steps = 12").unwrap_err();
        assert!(message.contains("`train.steps` was 8, is 12"), "{message}");
        let ratio = |steps| format!("schedule.name = 'constant'\ntrain.steps = {steps}");
        assert!(check(&ratio(8), &ratio(12)).is_err());
    }

    #[test]
    fn other_data_needs_a_word() {
        let checked = |accept| state("").check(Path::new("c"), &recipe(""), "xyz", accept);
        let message = checked(false).unwrap_err().to_string();
        assert!(message.contains("--accept-other-data") && message.contains("abc"), "{message}");
        assert_eq!(checked(true).unwrap().len(), 1);
    }
}
