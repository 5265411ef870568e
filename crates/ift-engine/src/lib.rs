//! A model at work: packs sequences, scores answers and generates text.
//!
//! * [`Packed`] lays groups of answers end to end, without padding; what the answers of a group
//!   have in common, their prompt, is there once. Training runs its passes over it.
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
//! the cache could not hold alone is refused, the oldest always goes on and nothing deadlocks.
//!
//! In which parts a prompt is run depends on its length and the budget alone, and a token that was
//! generated is always run by itself, also after preemption. Operations give a row the same bits
//! whatever the other rows are, and every request has a random stream of its own, so a text is a
//! function of its request.

mod engine;
mod error;
mod generate;
mod pack;
mod request;
mod sampling;
mod score;
mod sequence;

pub use engine::{Engine, EngineSettings};
pub use error::EngineError;
pub use generate::{Generated, GenerationSettings, generate};
pub use pack::{Answer, PackError, PackFault, Packed, PackedAnswer, runs};
pub use request::{Event, Finish, Request, RequestError, RequestId};
pub use sampling::Sampling;
pub use score::{AnswerScores, ScoreSettings, score, score_packed};
