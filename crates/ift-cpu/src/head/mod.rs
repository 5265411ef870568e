//! The output head by blocks of the vocabulary: a block of logits is computed, used and forgotten,
//! or kept where all of them fit a budget.

mod backward;
mod blocks;
mod divergence;
mod forward;
mod row_state;
mod scores;

pub(crate) use blocks::{ENTRIES, KEPT, ROWS};
pub use scores::Scores;
