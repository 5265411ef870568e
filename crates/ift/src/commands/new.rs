//! `ift new`: creates a model folder with random weights and, if text is given, a tokenizer.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use ift_backend::NumberType;
use ift_data::{ChatTokenizer, TokenizerSettings, train_tokenizer};
use ift_model::{Config, ModelError};
use ift_train::{SaveAs, write_folder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::arguments::NewArguments;
use crate::output::Output;
use crate::recipe_file::RecipeFile;

/// A new model with random weights. Paths are relative to the working directory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecipe {
    /// The folder to create; it must not exist.
    output: PathBuf,
    /// Seed of the random weights.
    #[serde(default)]
    seed: u64,
    /// Data type of the weights.
    #[serde(default = "bf16")]
    number: SaveAs,
    /// The fields of `config.json`: `model_type`, `hidden_size`, … as in Hugging Face folders.
    /// `vocab_size` and the ids of special tokens come from the tokenizer when there is one.
    model: Map<String, Value>,
    /// Files to train the tokenizer on: plain text, or JSONL or Parquet with a `text` column.
    #[serde(default)]
    text: Vec<PathBuf>,
    /// The settings of the tokenizer; they need `text`.
    #[serde(default)]
    tokenizer: Option<TokenizerSettings>,
}

fn bf16() -> SaveAs {
    SaveAs::Bf16
}

/// Runs the command.
pub(crate) fn run(arguments: &NewArguments, output: Output) -> Result<()> {
    let file = RecipeFile::read(&arguments.recipe, &arguments.set)?;
    let recipe: NewRecipe = file.resolve()?;
    if recipe.output.exists() {
        bail!("`{}` exists already; choose another `output` or remove it", recipe.output.display());
    }
    if recipe.text.is_empty() && recipe.tokenizer.is_some() {
        return Err(file
            .invalid("tokenizer", "`[tokenizer]` needs `text`, the files to train it on")
            .into());
    }
    let mut summary = Value::Null;
    write_folder(&recipe.output, |folder| {
        summary = make(&recipe, &file, folder)?;
        Ok::<_, anyhow::Error>(())
    })?;
    if output.json() {
        output.result(&summary.to_string())?;
    } else {
        output.result(&format!(
            "created {}: {:.2}M parameters, {} tokens in the vocabulary",
            recipe.output.display(),
            summary["parameters"].as_f64().unwrap_or(0.0) / 1e6,
            summary["vocabulary"]
        ))?;
    }
    Ok(())
}

fn make(recipe: &NewRecipe, file: &RecipeFile, folder: &Path) -> Result<Value> {
    let mut config = recipe.model.clone();
    if !recipe.text.is_empty() {
        let settings = recipe.tokenizer.clone().unwrap_or_default();
        let size = train_tokenizer(&recipe.text, &settings, folder)?;
        let tokenizer = ChatTokenizer::from_folder_plain(folder)?;
        let given = config.entry("vocab_size").or_insert(size.into());
        if given.as_u64().is_some_and(|given| given < size as u64) {
            let problem = format!(
                "is {given}, but the tokenizer has {size} tokens; remove the field or raise it"
            );
            return Err(at_fault(file, "vocab_size", &problem));
        }
        for (field, id) in [
            ("bos_token_id", tokenizer.bos_id()),
            ("eos_token_id", tokenizer.eos_id()),
            ("pad_token_id", tokenizer.pad_id()),
        ] {
            config.entry(field).or_insert(id.into());
        }
    }
    let Some(Value::String(family)) = config.get("model_type") else {
        return Err(at_fault(
            file,
            "model_type",
            "is missing; set it to the model family, such as \"llama\"",
        ));
    };
    // Other programs choose the class of the model by this field.
    let class = architecture(family);
    config.entry("architectures").or_insert(json!([class]));
    // Errors found here are reported at the recipe's field; `config.json` does not exist yet.
    if let Err(ModelError::Field { field, reason, .. }) = Config::from_json(config.clone(), folder)
    {
        return Err(at_fault(file, &field, &reason));
    }
    let number = recipe.number.number(NumberType::Bf16);
    let config = ift_model::random::create(config, recipe.seed, number, folder)
        .with_context(|| format!("cannot create `{}`", recipe.output.display()))?;
    Ok(json!({
        "folder": recipe.output,
        "parameters": ift_model::memory::weight_count(&config),
        "vocabulary": config.vocabulary,
    }))
}

/// An error in the `[model]` table of the recipe.
fn at_fault(file: &RecipeFile, field: &str, problem: &str) -> Error {
    file.invalid(&format!("model.{field}"), format!("`model.{field}`: {problem}")).into()
}

/// The class name of a family in Hugging Face files: `qwen2` → `Qwen2ForCausalLM`.
fn architecture(family: &str) -> String {
    let mut letters = family.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain("ForCausalLM".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::architecture;

    #[test]
    fn classes_are_named_as_in_hugging_face_files() {
        assert_eq!(architecture("llama"), "LlamaForCausalLM");
        assert_eq!(architecture("qwen3"), "Qwen3ForCausalLM");
    }
}
