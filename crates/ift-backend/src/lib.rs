//! The interface between the model and the device: the operations of a decoder, each with its
//! backward pass.
//!
//! * [`Backend`] is the trait, with one method per operation of a layer. The model code knows
//!   nothing else of the hardware.
//! * [`Reference`] implements it in f64 with plain loops that follow the formulas. It is the
//!   executable specification, itself tested against finite differences and golden numbers.
//! * [`conformance`] tests any backend against it.
//!
//! Sequences are *packed*: an activation is `[tokens, width]`, row-major, and the tokens of all
//! sequences of a micro-batch follow each other without padding. Only attention and positions
//! depend on where a sequence begins ([`Segment`]), and a sequence may continue a *past*: the keys
//! and values of tokens that were computed before.
//!
//! ```
//! use ift_backend::{
//!     Backend, BackendError, Embedding, Head, HeadTargets, HostTensor, Norm, NumberType,
//!     PassInputs, Reference, Segment, Select, Weight,
//! };
//!
//! /// Log-probabilities of the next tokens under a model without layers: embedding, norm, head.
//! fn forward<B: Backend>(
//!     backend: &B,
//!     tokens: &[u32],
//!     next: &[u32],
//! ) -> Result<Vec<f64>, BackendError> {
//!     let (width, vocabulary) = (2, 3);
//!     // A norm's weight [2], then a table of embeddings [3, 2] that is the head's weight too.
//!     let elements = [1.0f64, 1.0, 3.0, 0.0, 0.0, 3.0, -2.0, -2.0];
//!     let bytes: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
//!     let mut parameters = backend.parameters(elements.len())?;
//!     let tensor = HostTensor { number: NumberType::F64, bytes: &bytes };
//!     backend.write_parameters(&mut parameters, 0, tensor);
//!     let norm_weight = Weight::Trainable { parameters: &parameters, start: 0 };
//!     let table = Weight::Trainable { parameters: &parameters, start: width };
//!
//!     let inputs = backend.upload(&PassInputs {
//!         tokens,
//!         segments: &[Segment { len: tokens.len(), ..Segment::default() }],
//!         streams: &[],
//!         noise: &[],
//!         look_ahead: None,
//!         past_blocks: None,
//!     })?;
//!     let mut embedded = backend.activation(tokens.len() * width)?;
//!     let mut normed = backend.activation(tokens.len() * width)?;
//!     backend.embed(Embedding { vocabulary, width, scale: 1.0 }, &inputs, table, &mut embedded)?;
//!     let norm = Norm { width, eps: 1e-6, offset: 0.0 };
//!     backend.norm(tokens.len(), norm, &embedded, norm_weight, &mut normed)?;
//!     let targets = HeadTargets { ids: next, select: Select::Argmax, keep_logits: false };
//!     let scores = backend.head(Head { width, vocabulary }, &normed, table, &targets)?;
//!     Ok(backend.read_scores(&scores).log_probs)
//! }
//!
//! let log_probs = forward(&Reference, &[0, 1, 2], &[0, 1, 1])?;
//! // The logits of the first token are 3√2, 0 and -2√2.
//! let expected = -(1.0 + (-18.0f64.sqrt()).exp() + (-50.0f64.sqrt()).exp()).ln();
//! assert!((log_probs[0] - expected).abs() < 1e-6);
//! assert!(log_probs[2] < -5.0); // and those of the last are far from token 1
//! # Ok::<(), BackendError>(())
//! ```

mod backend;
mod buffers;
pub mod conformance;
mod descriptors;
mod element;
mod error;
mod inputs;
mod measure;
mod operands;
pub mod quantize;
mod reference;
mod scores;
mod storage;
mod update;

pub use backend::Backend;
pub use buffers::Buffers;
pub use descriptors::{
    Attention, AttentionSaved, Columns, Dropout, Embedding, GateFunction, Gated, Head, HeadNorms,
    Heads, Linear, LowRank, Norm,
};
pub use element::{Element, HostTensor, NumberType};
pub use error::BackendError;
pub use inputs::{LookAheadInputs, PassInputs, PastBlocks, Residual, RowMap, Segment};
pub use measure::{Footprint, Profile, ProfileEntry};
pub use operands::{HeadNormStarts, LinearStarts, Out, RangeUpdate, Slot, Weight};
pub use reference::Reference;
pub use scores::{
    Distributions, Divergence, DivergenceGradient, HeadGradient, HeadScores, HeadTargets, Select,
};
pub use storage::Storage;
pub use update::Update;
