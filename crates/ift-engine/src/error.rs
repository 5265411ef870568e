//! Why scoring or generating failed.

use crate::{PackError, RequestError, RequestId};
use ift_model::ModelError;

/// A failure of [`crate::score`], [`crate::generate`] or [`crate::Engine`].
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
    /// Logits of a next token that are NaN or infinite, from which no token can be chosen.
    #[error(
        "request {request}: the logits after {position} tokens are not finite (token id {token} \
         has {logit}): the model's weights are damaged, or activations overflow"
    )]
    NotFinite {
        /// The request.
        request: RequestId,
        /// Tokens before the one that was to be chosen, those of the prompt included.
        position: usize,
        /// The first token id whose logit cannot be used.
        token: u32,
        /// Its logit.
        logit: f32,
    },
    /// An answer that cannot be scored.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The model failed, for example because memory ran out.
    #[error(transparent)]
    Model(#[from] ModelError),
}
