//! A decoder from a Hugging Face folder: configuration, weights, forward, backward, saving.
//!
//! A [`Config`] is a list of blocks. The families (`families/`) make it of `config.json`; what
//! differs between them is data (biases, norms, windows, offsets), not code. The decoder is written
//! once over [`ift_backend::Backend`].
//!
//! There is one forward: *these sequences, after that past*. [`Model::forward`] runs packed
//! sequences, perhaps continuing the sequences of an earlier [`Pass`] (a prompt) or of a [`Cache`]
//! (generation), and returns a [`Pass`] that holds what it was asked to keep ([`Keep`]).
//! [`Model::backward`] consumes a pass; a continuation's backward adds to the past's
//! [`PastGradient`], which the prompt's backward pass then takes. The output head works on gathered
//! positions only ([`Model::score`]).
//!
//! [`Trained`] says what of a model is trained: all of it, adapters on a frozen base, or nothing.
//! All trainable elements lie in one flat range ([`Trainable`]); gradients and optimizer states
//! have the same layout. What is not trained has no gradient.

mod adapted;
mod adapter;
mod block;
mod cache;
mod change_lost;
mod config;
mod error;
mod families;
mod fields;
mod folder;
mod forward;
mod hub;
mod linear;
mod load;
pub mod memory;
mod merge;
mod model;
mod parameter_map;
mod pass;
mod peft;
pub mod random;
mod rope;
mod save;
mod score;
mod tensor_files;

pub use adapter::{Adapter, BaseStorage, Target};
pub use cache::{Cache, CachedSequence};
pub use change_lost::ChangeLost;
pub use config::{
    AttentionLayer, Block, Config, EmbeddingLayer, LinearLayer, LinearPart, MlpLayer, NormLayer,
};
pub use error::ModelError;
pub use hub::HubModel;
pub use load::{Trained, merge_lost};
pub use model::{Gradients, Model};
pub use parameter_map::{Trainable, TrainableTensor};
pub use pass::{BlockTable, Continues, Keep, Pass, PastGradient, PastOf, Sequences};
pub use peft::{base_folder, config_of, find_file, number_of, tokenizer_folder, weight_files};
pub use rope::{Rope, RopeScaling};
pub use score::{ScoreGradient, Scored, ScoredDivergence};
pub use tensor_files::{
    NamedTensors, PendingTensor, TensorFiles, dtype, round_as_saved, write_tensors,
};
