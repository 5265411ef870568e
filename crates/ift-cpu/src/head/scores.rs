//! What a call of the head leaves for later operations.

use crate::Buffer;
use ift_backend::HeadScores;

/// Logits kept for the backward pass, one buffer for each block of the vocabulary: several buffers
/// find room where one of their size would not.
pub(super) type Kept = Vec<Buffer<f32>>;

/// Scores of some targets, and what the backward pass needs of them.
#[derive(Debug)]
pub struct Scores {
    /// `[targets]` token ids.
    pub(super) targets: Vec<u32>,
    /// `[targets]` log-sum-exp of the logits.
    pub(super) log_normalizers: Vec<f64>,
    pub(super) host: HeadScores,
    pub(super) kept: Option<Kept>,
}

impl Scores {
    /// `[targets]` selected token ids, or empty.
    pub(crate) fn selected(&self) -> &[u32] {
        &self.host.selected
    }

    /// The scores without the logits.
    pub(crate) fn host(&self) -> &HeadScores {
        &self.host
    }
}
