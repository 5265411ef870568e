//! The scores of a call of the head.

/// What [`crate::Backend::head`] computes, each list `[targets]` or empty.
#[derive(Debug)]
pub struct Scores {
    /// The target token ids.
    pub(super) targets: Vec<u32>,
    pub(super) log_probs: Vec<f64>,
    /// Log of the sum of the exponentials of all logits.
    pub(super) log_normalizers: Vec<f64>,
    /// Selected token ids.
    pub(super) selected: Vec<u32>,
    pub(super) entropies: Vec<f64>,
    pub(super) divergences: Vec<f64>,
}
