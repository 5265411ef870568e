//! A decoder from a Hugging Face folder: configuration, weights, forward, backward, saving.
//!
//! One description covers Llama, Mistral, Qwen2, Qwen3 and Gemma ([`Config`]); what differs between
//! them is data (biases, per-head norms, windows, offsets), not code. The decoder is written once
//! over [`ift_backend::Backend`].
//!
//! There is one forward: *these sequences, after that past*. [`Model::forward`] runs packed
//! sequences, perhaps continuing the sequences of an earlier [`Pass`] (a prompt) or of a [`Cache`]
//! (generation), and returns a [`Pass`] that holds what it was asked to keep ([`Keep`]).
//! [`Model::backward`] consumes a pass; a continuation's backward adds to the past's
//! [`PastGradient`], which the prompt's own backward then takes. The output head works on gathered
//! positions only ([`Model::score`]).
//!
//! A model learns whole ([`Model::load`]), by adapters on a frozen base ([`Model::load_adapted`]),
//! or not at all ([`Model::load_frozen`]). The tensors of adapters are parameters like all others;
//! what does not learn has no gradient.

mod adapter;
mod block;
mod cache;
mod config;
mod error;
mod fields;
mod folder;
mod layout;
mod load;
pub mod memory;
mod merge;
mod model;
mod pass;
mod peft;
mod project;
pub mod random;
mod rope;
mod save;
mod score;
mod tensor_file;

pub use adapter::{Adapter, BaseStorage, Target};
pub use cache::Cache;
pub use config::{Architecture, Config};
pub use error::ModelError;
pub use layout::{Parameter, Tensor};
pub use model::{Gradients, Model};
pub use pass::{Continues, Keep, Pass, PastGradient, PastOf, Sequences};
pub use peft::{base_folder, config_of, number_of, tokenizer_folder, weight_files};
pub use rope::{Rope, RopeScaling};
pub use score::{ScoreGradient, Scored, ScoredDivergence};
pub use tensor_file::write_tensors;
