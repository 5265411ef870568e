//! Methods that compare answers: [`Dpo`], [`Ipo`], [`Tdpo1`], [`Tdpo2`], [`Orpo`] and [`Simpo`] on
//! pairs, [`Kto`] on judged answers.
//!
//! Their losses depend on a few sums over the targets of an answer. `answer` computes the sums, and
//! the gradient of each target from the derivatives of the loss by the sums.

mod answer;
mod dpo;
mod ipo;
mod kto;
mod orpo;
mod simpo;
mod tdpo;

pub use dpo::Dpo;
pub use ipo::Ipo;
pub use kto::Kto;
pub use orpo::Orpo;
pub use simpo::Simpo;
pub use tdpo::{Tdpo1, Tdpo2};
