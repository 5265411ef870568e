//! Text out of a trained model: batched generation with a KV cache.

mod generate;
mod sampling;

pub use generate::{EvalError, Finish, Generated, GenerationSettings, generate};
pub use sampling::Sampling;
