//! What a method must be given beside the policy's log-probabilities.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a method learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Demonstrations: one answer to a prompt, each by itself.
    Single,
    /// Two answers to one prompt, given alternately: chosen, rejected, chosen, rejected …
    Pairs,
    /// Answers judged desirable or not ([`crate::RowScores::chosen`]), each with a mismatched
    /// sequence (its prompt with another row's answer) for [`crate::Method::kl_point`].
    Judged,
}

/// Which way a Kullback–Leibler divergence between the reference and the policy runs, both over the
/// full vocabulary at one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// `KL(reference ‖ policy) = Σ r·(log r - log p)`: the policy must cover what the reference
    /// does.
    Forward,
    /// `KL(policy ‖ reference) = Σ p·(log p - log r)`: the policy must stay where the reference is.
    Reverse,
}

/// What a method must be given beside the policy's log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// What it learns from.
    pub rows: Rows,
    /// Whether a reference model is needed: [`crate::RowScores::reference`] is read, or a
    /// divergence from it.
    pub reference: bool,
    /// The reference is no model of its own, but the policy as it was after the last number of
    /// steps that this divides.
    pub old_policy: Option<u64>,
    /// The divergence from the reference to give in [`crate::RowScores::divergence`], if any.
    pub divergence: Option<Divergence>,
    /// How many of the most probable tokens [`crate::RowScores::entropy`] is taken over, if it is
    /// read.
    pub entropy: Option<usize>,
}

impl Needs {
    /// Rows and nothing else.
    pub(crate) fn only(rows: Rows) -> Self {
        Self { rows, reference: false, old_policy: None, divergence: None, entropy: None }
    }

    /// Rows and a reference model's log-probabilities.
    pub(crate) fn with_reference(rows: Rows) -> Self {
        Self { reference: true, ..Self::only(rows) }
    }

    /// Rows, a reference model and the divergence from it.
    pub(crate) fn with_divergence(rows: Rows, divergence: Divergence) -> Self {
        Self { divergence: Some(divergence), ..Self::with_reference(rows) }
    }
}
