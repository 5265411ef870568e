//! `ift schema`: prints the JSON schema of a recipe.

use anyhow::Result;
use ift_train::Recipe;
use schemars::schema_for;

use super::new::NewRecipe;
use crate::arguments::{RecipeOf, SchemaArguments};
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(arguments: &SchemaArguments, output: Output) -> Result<()> {
    let schema = match arguments.of {
        RecipeOf::Train => schema_for!(Recipe),
        RecipeOf::New => schema_for!(NewRecipe),
        RecipeOf::Lake => schema_for!(ift_lake::StudySettings),
    };
    output.result(&serde_json::to_string_pretty(&schema)?)?;
    Ok(())
}
