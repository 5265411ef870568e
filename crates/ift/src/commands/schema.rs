//! `ift schema`: the JSON schema of a recipe.

use anyhow::Result;
use ift_train::Recipe;

use crate::output::Output;

/// Runs the command.
pub(crate) fn run(output: Output) -> Result<()> {
    let schema = schemars::schema_for!(Recipe);
    output.result(&serde_json::to_string_pretty(&schema)?)?;
    Ok(())
}
