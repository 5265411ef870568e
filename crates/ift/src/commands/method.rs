//! Method, adapter and reference model of `ift gradients` and `ift bench`, from `--method`, `--set`
//! and `--reference`.

use std::sync::Arc;

use anyhow::{Context, Result};
use ift_backend::{Backend, Storage};
use ift_methods::Method;
use ift_model::{Adapter, Model, Trained};
use ift_train::ReferenceSource;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::arguments::StepArguments;
use crate::recipe_file::RecipeFile;

/// The tables that overrides may set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodSettings {
    /// The method.
    pub(crate) method: Method,
    /// An adapter to train instead of the weights.
    #[serde(default)]
    pub(crate) adapter: Option<Adapter>,
}

impl MethodSettings {
    /// Reads the settings from the arguments.
    ///
    /// # Errors
    /// The method or a field is unknown, or a value is unusable.
    pub(crate) fn new(arguments: &StepArguments) -> Result<Self> {
        let mut overrides = vec![format!("method.name={:?}", arguments.method)];
        overrides.extend_from_slice(&arguments.set);
        let file = RecipeFile::parse("--method", "", &overrides)?;
        let settings: Self = file.resolve()?;
        let checked = settings
            .method
            .validate()
            .map_err(|e| file.invalid(&format!("method.{}", e.field()), &e));
        checked.context("the settings of the method contradict each other")?;
        if let Some(adapter) = &settings.adapter {
            let checked = adapter.validate();
            checked.map_err(|(field, problem)| {
                file.invalid(&format!("adapter.{field}"), format!("`adapter.{field}` {problem}"))
            })?;
        }
        Ok(settings)
    }

    /// Loads the model to train.
    pub(crate) fn load<B: Backend>(
        &self,
        arguments: &StepArguments,
        backend: Arc<B>,
    ) -> Result<Model<B>> {
        let trained = match &self.adapter {
            Some(adapter) => Trained::Adapters { adapter, seed: arguments.seed },
            None => Trained::All { input_embeddings: self.method.trains_input_embeddings() },
        };
        Ok(Model::load(&arguments.model, backend, trained)?)
    }
}

/// Loads the reference model, if the method needs one that is not the trained model itself.
///
/// # Errors
/// The model cannot be loaded.
pub(crate) fn load_reference<B: Backend>(
    settings: &MethodSettings,
    arguments: &StepArguments,
    backend: Arc<B>,
    storage: Storage,
    keeps_start: bool,
) -> Result<Option<Model<B>>> {
    let start = (keeps_start && settings.adapter.is_none()).then_some(&arguments.model);
    let folder = arguments.reference.as_ref().or(start);
    let folder = folder.filter(|_| settings.method.needs().reference);
    Ok(folder
        .map(|folder| Model::load(folder, backend, Trained::Nothing { storage }))
        .transpose()?)
}

/// The reference of a step: the loaded model, the base of an adapted model, or the model itself.
pub(crate) fn reference_of<'a, B: Backend>(
    settings: &MethodSettings,
    model: &'a Model<B>,
    loaded: Option<&'a Model<B>>,
) -> ReferenceSource<'a, B> {
    match loaded {
        _ if !settings.method.needs().reference => ReferenceSource::None,
        Some(reference) => ReferenceSource::Model(reference),
        None if settings.adapter.is_some() => ReferenceSource::Base,
        None => ReferenceSource::Model(model),
    }
}
