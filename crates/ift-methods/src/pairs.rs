//! Methods that compare answers: [`Dpo`], [`Ipo`], [`Tdpo1`], [`Tdpo2`], [`Orpo`] and [`Simpo`] on
//! pairs, [`Kto`] on judged answers.
//!
//! They all see an answer as a whole, through a few sums over its targets ([`Answer`]), and return
//! the slopes of the loss with respect to those sums ([`Slopes`]). What turns rows into sums and
//! slopes into per-token gradients stands here, once.

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
