//! A method from `--method` and `--set method.…`.

use anyhow::{Context, Result};
use ift_methods::Method;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe_file::RecipeFile;

/// The one table that these overrides may speak of.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MethodOnly {
    method: Method,
}

/// The method called `name`, with the overrides applied.
///
/// # Errors
/// If there is no such method, a field is unknown or a value unusable.
pub(crate) fn method(name: &str, sets: &[String]) -> Result<Method> {
    let mut overrides = vec![format!("method.name={name:?}")];
    overrides.extend_from_slice(sets);
    let file = RecipeFile::parse("--method", "", &overrides)?;
    let method = file.resolve::<MethodOnly>()?.method;
    let checked = method.validate().map_err(|e| file.invalid(&format!("method.{}", e.field()), &e));
    checked.context("the method's settings do not go together")?;
    Ok(method)
}
