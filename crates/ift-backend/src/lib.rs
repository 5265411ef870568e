//! The operations a decoder needs, at the grain of a layer, each with its backward pass, and who
//! computes them.
//!
//! [`Backend`] is the only thing the model code knows of hardware. Two backends exist:
//!
//! * [`Reference`]: f64 and plain loops that read like the formulas. It is the executable
//!   specification: every other backend is tested against it, and it against finite differences and
//!   the golden numbers.
//! * `ift_cpu::Cpu`: threads and SIMD, activations in f32 or bf16.
//!
//! Everything is *rows end to end*: an activation is `[tokens, width]` row-major, where the tokens
//! of all sequences of a micro-batch follow each other without padding. Only the attention
//! operations know where a sequence begins ([`AttentionRow`]), and that a sequence may continue a
//! *past* (the keys and values of a prompt computed before).

mod backend;
mod element;
mod optimizer;
pub mod quantize;
mod reference;
mod shapes;

pub use backend::{Backend, Out};
pub use element::{Element, HostTensor, NumberType};
pub use optimizer::Update;
pub use reference::Reference;
pub use shapes::{
    Activation, AttentionRow, AttentionShape, Choice, Distributions, Divergence,
    DivergenceGradient, HeadNorms, HeadScores, Mix, Norm, Past, Profile, ProfileEntry, Storage,
};
