//! What can stop a step.

use ift_engine::EngineError;
use ift_model::ModelError;
use ift_parallel::CollectiveError;

use crate::error::TrainError;
use crate::pack::RowError;

/// Why a step was not computed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A row cannot be trained on.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The method does not go with the model.
    #[error("`{field}` {problem}")]
    Method {
        /// The field of the recipe, dotted.
        field: String,
        /// What was found, what was expected.
        problem: String,
    },
    /// The exchange with the other processes of the run failed.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// The model failed, for example because memory ran out.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Rows cannot be scored.
    #[error(transparent)]
    Engine(EngineError),
}

impl From<StepError> for TrainError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Row(error) => Self::Row(error),
            StepError::Method { field, problem } => Self::Recipe { field, problem },
            StepError::Collective(error) => Self::Collective(error),
            StepError::Engine(error) => Self::Prompt(error),
            StepError::Model(error) => Self::memory("the passes of a step")(error),
        }
    }
}
