//! Inference with continuous batching: packs sequences, scores answers and generates text.
//!
//! * [`Packed`] concatenates groups of answers, without padding; the prompt that the answers of a
//!   group share is in it once. Training runs its passes over it.
//! * [`score`] finds the log-probabilities of given answers within a budget of tokens.
//! * [`Engine`] generates: requests are [submitted](Engine::submit) and
//!   [cancelled](Engine::cancel) between any two [steps](Engine::step), and each step reports new
//!   tokens and ends. [`generate`] is a loop over it for a list of prompts.
//!
//! # How the engine schedules
//!
//! Keys and values lie in a [cache of blocks](ift_model::Cache) that grows up to a limit. Each
//! step admits waiting requests in the order of their arrival while there is room for their
//! prompts, then makes one pass: a token for each request that is past its prompt, and parts of
//! prompts within a budget of tokens, so that long prompts do not stop the others. A request that
//! finds no free block preempts the youngest one, which is run again later. Since a request that
//! the cache could not hold alone is refused, the oldest always makes progress: no deadlock.
//!
//! A text is a function of its request and the budget for prompts. In which parts a prompt is run
//! depends on its length and the budget alone, a generated token is always run by itself, also
//! after preemption, and every request has a random stream of its own. What is left is how the
//! backend rounds: `Reference` gives a row the same bits whatever the other rows of a pass are.
//! `ift_cpu` does so among passes of up to 12 rows and among longer ones, but sums their products
//! in different orders; a text can therefore change where two tokens are equally probable within
//! rounding.

mod answer;
mod engine;
mod error;
mod generate;
mod pack;
mod request;
mod sampling;
mod score;
mod sequence;

pub use answer::{Answer, PackError, PackFault};
pub use engine::{Engine, EngineSettings};
pub use error::EngineError;
pub use generate::{Generated, GenerationSettings, generate};
pub use pack::{Packed, PackedAnswer, runs};
pub use request::{Event, Finish, Request, RequestError, RequestId};
pub use sampling::Sampling;
pub use score::{AnswerScores, ScoreSettings, score, score_packed};
