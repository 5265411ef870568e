//! Why scoring or generating failed.

use crate::{PackError, RequestError};
use ift_model::ModelError;

/// A failure of [`crate::score`] or [`crate::generate`].
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A prompt that cannot be continued as asked.
    #[error("prompt {}: {fault}", prompt + 1)]
    Prompt {
        /// Index of the prompt.
        prompt: usize,
        /// What is wrong with it.
        fault: RequestError,
    },
    /// An answer that cannot be scored.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The model failed, for example because memory ran out.
    #[error(transparent)]
    Model(#[from] ModelError),
}
