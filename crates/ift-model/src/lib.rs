//! A decoder from a Hugging Face folder: configuration, weights, forward, backward, saving.
//!
//! One description covers Llama, Mistral, Qwen2, Qwen3 and Gemma ([`Config`]); what differs between them is data
//! (biases, per-head norms, windows, offsets), not code. The decoder is written once over [`ift_backend::Backend`].
//!
//! There is one forward: *these sequences, after that past*. [`Model::forward`] runs packed sequences, perhaps continuing
//! the sequences of an earlier [`Pass`] (a prompt) or of a [`Cache`] (generation), and returns a [`Pass`] that holds what it was asked to keep
//! ([`Keep`]). [`Model::backward`] consumes a pass; a continuation's backward adds to the past's [`PastGradient`], which
//! the prompt's own backward then takes. The output head works on gathered positions only ([`Model::score`]).

mod block;
mod cache;
mod config;
mod error;
mod folder;
mod layout;
pub mod memory;
mod model;
mod pass;
pub mod random;
mod rope;
mod save;
mod score;
mod tensor_file;

pub use cache::Cache;
pub use config::{Architecture, Config};
pub use error::ModelError;
pub use layout::{Parameter, Tensor};
pub use model::{Gradients, Model};
pub use pass::{Continues, Keep, Pass, PastGradient, PastOf, Sequences};
pub use rope::{Rope, RopeScaling};
pub use score::{ScoreGradient, Scored};
pub use tensor_file::write_tensors;
