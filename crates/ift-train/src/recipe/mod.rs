//! The recipe: everything a run is made of, as TOML.

mod reference;
mod stages;
mod tables;

use std::path::Path;

use ift_data::DataConfig;
use ift_methods::{Ift, Method};
use ift_model::Adapter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;
pub use reference::{ReferenceStorage, ReferenceTable};
pub use stages::{Stage, StageTable};
pub use tables::{
    CheckpointTable, EvalTable, GenerateTable, ModelTable, OutputTable, Precision, SaveAs,
    TrainTable,
};

/// A training run. Paths are relative to the working directory. A run is a pure function of its
/// recipe and its data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model to start from.
    pub model: ModelTable,
    /// What to train on, and what to hold out.
    #[serde(default)]
    pub data: DataConfig,
    /// The training method and its settings, chosen by `name`.
    #[serde(default = "intuitive_fine_tuning")]
    pub method: Method,
    /// The model that DPO and similar methods compare the policy with: `"start"` for the weights
    /// that training starts from, `"precomputed"` for those too, but gone from memory once
    /// their log-probabilities are known, or a table.
    #[serde(default)]
    pub reference: ReferenceTable,
    /// Trains a low-rank adapter in place of the weights, which stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The optimizer and its settings, chosen by `name`.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate moves over the steps.
    #[serde(default)]
    pub schedule: Schedule,
    /// How long to train, on how much at a time, and how it is computed.
    #[serde(default)]
    pub train: TrainTable,
    /// When to measure the loss on held-out rows.
    #[serde(default)]
    pub eval: EvalTable,
    /// When to save, and what to keep.
    #[serde(default)]
    pub checkpoint: CheckpointTable,
    /// Prompts to answer before and after training, to see what changed.
    #[serde(default)]
    pub generate: GenerateTable,
    /// Where everything goes.
    pub output: OutputTable,
    /// Stages that follow each other, such as SFT and then DPO: each starts from the model of the
    /// one before, and says what differs from the tables above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<StageTable>,
}

fn intuitive_fine_tuning() -> Method {
    Method::Ift(Ift::default())
}

impl Recipe {
    /// Reads a recipe from TOML text.
    ///
    /// ```
    /// let text = "model.path = 'm'\ndata.train = 'd.jsonl'\noutput.dir = 'o'";
    /// let recipe = ift_train::Recipe::from_toml(text)?;
    /// recipe.validate()?;
    /// assert_eq!((recipe.train.epochs, recipe.train.rows_per_step), (3, 512));
    ///
    /// let typo = ift_train::Recipe::from_toml("model.pat = 'm'").unwrap_err().to_string();
    /// assert!(typo.contains("unknown field `pat`"));
    /// # Ok::<(), ift_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// If the text is not TOML, or a field is unknown, missing or of the wrong type; the message
    /// points at it. Values are checked by [`Recipe::validate`].
    pub fn from_toml(text: &str) -> Result<Self, TrainError> {
        toml::from_str(text)
            .map_err(|e: toml::de::Error| TrainError::Syntax(e.to_string().trim_end().to_owned()))
    }

    /// The recipe with every default written out, as TOML.
    ///
    /// # Errors
    /// If a path is not Unicode.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string(self)
            .map_err(|e| TrainError::Syntax(format!("cannot be written as TOML: {e}")))
    }

    /// Checks every value that can be checked without reading data or model.
    ///
    /// # Errors
    /// Names the first field that cannot be used, what was found and what was expected.
    pub fn validate(&self) -> Result<(), TrainError> {
        for (i, stage) in self.stages()?.iter().enumerate() {
            stage.recipe.validate().map_err(|e| match e {
                TrainError::Recipe { field, problem } => {
                    let problem = format!("{} (`{}`): `{field}` {problem}", i + 1, stage.folder);
                    TrainError::recipe("stage", problem)
                }
                other => other,
            })?;
        }
        if self.stage.is_empty() { self.validate_run() } else { Ok(()) }
    }

    fn validate_run(&self) -> Result<(), TrainError> {
        let method = self.method.validate();
        method.map_err(|e| {
            TrainError::recipe(format!("method.{}", e.field()), format!("cannot be used: {e}"))
        })?;
        if self.data.train.is_empty() {
            return Err(TrainError::recipe("data.train", "is missing, expected at least one file"));
        }
        self.validate_reference()?;
        if let Some(adapter) = &self.adapter {
            let field = |(field, problem)| TrainError::recipe(format!("adapter.{field}"), problem);
            adapter.validate().map_err(field)?;
            self.validate_frozen_inputs()?;
        }
        self.optimizer.validate()?;
        self.validate_rounded_weights()?;
        self.schedule.validate()?;
        self.train.validate()?;
        let held_out = !self.data.eval.is_empty() || self.data.eval_fraction.is_some();
        if self.eval.every > 0 && !held_out {
            let problem = format!(
                "is {}, but there is nothing to evaluate on; set `data.eval` or \
                    `data.eval_fraction`",
                self.eval.every
            );
            return Err(TrainError::recipe("eval.every", problem));
        }
        if self.checkpoint.keep == 0 {
            return Err(TrainError::recipe("checkpoint.keep", "is 0, expected at least 1"));
        }
        if !self.generate.prompts.is_empty() && self.generate.max_tokens == 0 {
            return Err(TrainError::recipe("generate.max_tokens", "is 0, expected at least 1"));
        }
        if self.output.dir == Path::new("") {
            return Err(TrainError::recipe("output.dir", "is empty, expected a folder"));
        }
        Ok(())
    }
}

impl Recipe {
    /// With an adapter, input embeddings are constants whatever the method.
    fn validate_frozen_inputs(&self) -> Result<(), TrainError> {
        if matches!(&self.method, Method::Sft(sft) if sft.freeze_input_embeddings) {
            let problem = "is true, which has no effect with an `[adapter]`: it never trains the \
                           input embeddings; remove it";
            return Err(TrainError::recipe("method.freeze_input_embeddings", problem));
        }
        Ok(())
    }

    /// An optimizer that rounds the weights trains the weights themselves, and no average of them.
    fn validate_rounded_weights(&self) -> Result<(), TrainError> {
        if self.optimizer.rounds_to().is_none() {
            return Ok(());
        }
        let what = match (&self.adapter, self.train.ema_decay) {
            (Some(_), _) => "an `[adapter]`, whose weights are f32",
            (None, Some(_)) => "`train.ema_decay`, whose average is f32",
            (None, None) => return Ok(()),
        };
        let problem = format!(
            "is `rmsprop_bf16`, which keeps all weights in bfloat16 and cannot be used with \
             {what}; expected `rmsprop`, or a recipe without it"
        );
        Err(TrainError::recipe("optimizer.name", problem))
    }

    fn validate_reference(&self) -> Result<(), TrainError> {
        let needs = self.method.needs();
        let compares = needs.reference && needs.old_policy.is_none();
        if !compares && self.reference != ReferenceTable::default() {
            let problem = "has no effect: the method needs no reference model; remove it";
            return Err(TrainError::recipe("reference", problem));
        }
        if needs.divergence.is_some() && self.reference.precomputed {
            let problem = "is true, but the method needs the reference's whole distributions, not \
                only its \
                           log-probabilities; set it to false";
            return Err(TrainError::recipe("reference.precomputed", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "model.path = 'm'\ndata.train = 'd.jsonl'\noutput.dir = 'o'\n";

    #[test]
    fn a_short_recipe_has_the_papers_settings() {
        let recipe = Recipe::from_toml(SHORT).unwrap();
        recipe.validate().unwrap();
        assert_eq!(recipe.method, Method::Ift(Ift::default()));
        assert_eq!(
            (recipe.train.epochs, recipe.train.rows_per_step, recipe.train.seed),
            (3, 512, 0)
        );
        assert_eq!((recipe.optimizer.lr(), recipe.optimizer.clip()), (5e-7, 10.0));
        assert_eq!(recipe.schedule.warmup_steps(1000), 100);
    }

    #[test]
    fn a_resolved_recipe_reads_back() {
        let text = format!(
            "{SHORT}data.eval_fraction = 0.1\n[method]\nname = 'ift'\nlambda_schedule = 'noisy'\n\
             [optimizer]\nname = 'adamw'\nbeta2 = 0.95\n[schedule]\nname = 'linear'\n\
             warmup_steps = 4\n\
             [train]\nsteps = 9\nprecision = 'f64'\n[checkpoint]\n\
             number = 'bf16'\n[generate]\nprompts = ['a']"
        );
        let first = Recipe::from_toml(&text).unwrap();
        let second = Recipe::from_toml(&first.to_toml().unwrap()).unwrap();
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        let json = serde_json::to_value(&first).unwrap();
        let third: Recipe = serde_json::from_value(json).unwrap();
        assert_eq!(format!("{first:?}"), format!("{third:?}"));
    }

    #[test]
    fn typos_are_refused() {
        for (line, unknown) in [
            ("train.epoch = 2", "`epoch`"),
            ("trian.epochs = 2", "`trian`"),
            ("optimizer = { name = 'rmsprop', alhpa = 1 }", "`alhpa`"),
            ("optimizer = { name = 'adam', lr = 1 }", "`adam`"),
            ("method = { name = 'ift', lamda = 0.1 }", "`lamda`"),
            ("data.max_len = 5", "`max_len`"),
            ("schedule.name = 'cosin'", "`cosin`"),
            ("checkpoint.number = 'bf18'", "`bf18`"),
        ] {
            let message = Recipe::from_toml(&format!("{SHORT}{line}")).unwrap_err().to_string();
            assert!(
                message.contains(&format!("unknown field {unknown}"))
                    || message.contains(&format!("unknown variant {unknown}")),
                "{line}: {message}"
            );
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (line, field) in [
            ("method = { name = 'ift', lambda = 2.0 }", "method.lambda"),
            ("optimizer = { name = 'rmsprop', lr = -1.0 }", "optimizer.lr"),
            ("optimizer = { name = 'adamw', beta1 = 1.0 }", "optimizer.beta1"),
            ("optimizer = { name = 'sgd', clip = nan }", "optimizer.clip"),
            ("optimizer.name = 'rmsprop_bf16'\ntrain.ema_decay = 0.9", "optimizer.name"),
            ("optimizer.name = 'rmsprop_bf16'\nadapter.rank = 2", "optimizer.name"),
            ("optimizer = { name = 'rmsprop_bf16', eps = 0.0 }", "optimizer.eps"),
            ("schedule = { warmup_steps = 1, warmup_ratio = 0.1 }", "schedule.warmup_ratio"),
            ("schedule = { warmup_ratio = 1.5 }", "schedule.warmup_ratio"),
            ("schedule = { name = 'constant', final_ratio = 0.5 }", "schedule.final_ratio"),
            ("train.rows_per_step = 0", "train.rows_per_step"),
            ("train.epochs = 0", "train.epochs"),
            ("train.steps = 0", "train.steps"),
            ("train.micro_batch_tokens = 0", "train.micro_batch_tokens"),
            (
                "method = { name = 'sft', freeze_input_embeddings = true }\nadapter.rank = 2",
                "method.freeze_input_embeddings",
            ),
            ("eval.every = 5", "eval.every"),
            ("checkpoint.keep = 0", "checkpoint.keep"),
            ("generate = { prompts = ['x'], max_tokens = 0 }", "generate.max_tokens"),
        ] {
            let recipe = Recipe::from_toml(&format!("{SHORT}{line}")).unwrap();
            let message = recipe.validate().unwrap_err().to_string();
            assert!(message.contains(&format!("`{field}`")), "{line}: {message}");
        }
    }

    #[test]
    fn the_schema_documents_every_field() {
        fn check(at: &str, schema: &serde_json::Value, fields: &mut usize) {
            if let Some(properties) = schema["properties"].as_object() {
                for (name, field) in properties {
                    let tag = field.get("const").is_some();
                    assert!(tag || field["description"].is_string(), "{at}.{name}");
                    *fields += 1;
                }
            }
            if let Some(map) = schema.as_object() {
                map.iter().for_each(|(key, value)| check(&format!("{at}.{key}"), value, fields));
            }
            if let Some(list) = schema.as_array() {
                for value in list {
                    check(at, value, fields);
                }
            }
        }
        let schema = serde_json::to_value(schemars::schema_for!(Recipe)).unwrap();
        let mut fields = 0;
        check("recipe", &schema, &mut fields);
        assert!(fields > 60, "{fields}");
        assert_eq!(schema["additionalProperties"], false);
    }
}
