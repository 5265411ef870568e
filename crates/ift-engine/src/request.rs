//! Requests: what is asked of the engine, and what it reports.

use crate::Sampling;
use std::fmt;

/// A prompt to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Most tokens to add; fewer where the model's context ends.
    pub max_tokens: usize,
    /// Tokens that end the text; they are not part of it.
    pub stop: Vec<u32>,
    /// Seed of the draws.
    pub seed: u64,
    /// Stream of the seed that the request draws from: requests of one seed with different streams
    /// draw independently of each other.
    pub stream: u64,
}

/// Names a request within its engine. Later requests have larger ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// `max_tokens`, or the end of the model's context.
    Length,
}

/// What happened to a request in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A token was added to its text.
    Token {
        /// The request.
        request: RequestId,
        /// The token id.
        token: u32,
    },
    /// Its text is complete; nothing more is reported of it.
    Finished {
        /// The request.
        request: RequestId,
        /// Why.
        finish: Finish,
    },
}

/// A request that cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// There is nothing to continue.
    #[error("the prompt has no tokens; expected at least one")]
    EmptyPrompt,
    /// There is no room for a text.
    #[error(
        "the prompt has {tokens} tokens, and the model's context (`max_position_embeddings`) is \
         {context}; expected fewer"
    )]
    TooLong {
        /// Length of the prompt.
        tokens: usize,
        /// The model's context, in tokens.
        context: usize,
    },
    /// A token that the model does not have.
    #[error(
        "the prompt has token {token}, but the model's vocabulary has {vocabulary} entries; do \
         tokenizer and model belong together?"
    )]
    Token {
        /// The token id.
        token: u32,
        /// Entries of the vocabulary.
        vocabulary: usize,
    },
    /// Sampling with an unusable value.
    #[error("`{field}` is {value}, expected {expected}")]
    Sampling {
        /// The field of [`Sampling`].
        field: &'static str,
        /// Its value.
        value: f64,
        /// What can be used.
        expected: &'static str,
    },
    /// The KV cache could not hold it even if it were alone.
    #[error(
        "prompt and text need {needed} tokens in the KV cache, which holds {limit}; expected a \
         shorter prompt, fewer `max_tokens` or a larger cache"
    )]
    Cache {
        /// Tokens of the prompt, and of the longest text but its last token.
        needed: usize,
        /// Most tokens that the cache can hold.
        limit: usize,
    },
}
