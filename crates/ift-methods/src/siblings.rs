//! Variants of SFT: like SFT and IFT they learn from demonstrations only. Each changes the loss of
//! SFT in one way:
//!
//! - weights that are constants in the gradient: DFT, EAFT, and iw-SFT, whose weights compare the
//!   policy with a reference;
//! - a reference: ASFT adds a divergence, PSFT clips the ratio of the probabilities;
//! - two passes: scheduled sampling.

mod asft;
mod dft;
mod eaft;
mod iw_sft;
mod psft;
mod scheduled_sampling;

pub use asft::Asft;
pub use dft::Dft;
pub use eaft::Eaft;
pub use iw_sft::{IwSft, Level};
pub use psft::Psft;
pub use scheduled_sampling::ScheduledSampling;
