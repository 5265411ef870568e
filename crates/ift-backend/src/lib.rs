//! The operations a decoder needs, at the grain of a layer, each with its backward pass.
//!
//! [`Backend`] is the only thing the model code knows of hardware. [`Reference`] implements it in
//! f64 with plain loops that read like the formulas: it is the executable specification. Every
//! other backend is tested against it by [`conformance`], and it against finite differences and
//! golden numbers.
//!
//! Everything is *sequences end to end*: an activation is `[tokens, width]` row-major, where the
//! tokens of all sequences of a micro-batch follow each other without padding. Only the attention
//! operations know where a sequence begins ([`Segment`]), and that it may continue a *past* (the
//! keys and values of a prompt computed before).

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
