//! What a method asks of the trainer: the kind of rows, a reference, a divergence, an entropy, a
//! first pass, and which rows belong together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a method learns from, and so how the sequences of a row are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Plain text: one sequence, every token a target.
    Text,
    /// A demonstration: one sequence, a conversation whose assistant turns are targets.
    Demonstration,
    /// Two answers to one prompt: the chosen sequence, then the rejected one.
    Pair,
    /// An answer judged desirable or undesirable, then a mismatched sequence: its prompt with the
    /// answer of another row, for [`crate::Method::kl_point`].
    Judged,
}

impl RowKind {
    /// Number of sequences of a row that have a loss. The mismatched sequence of a judged row has
    /// none.
    pub fn answers(self) -> usize {
        match self {
            Self::Text | Self::Demonstration | Self::Judged => 1,
            Self::Pair => 2,
        }
    }

    /// Whether answers are compared with each other or have a binary label.
    pub fn compares(self) -> bool {
        matches!(self, Self::Pair | Self::Judged)
    }
}

/// The direction of a Kullback–Leibler divergence between the reference `r` and the policy `p`,
/// both over the full vocabulary at one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlDirection {
    /// `KL(reference ‖ policy) = Σ r·(log r - log p)`: the policy must cover what the reference
    /// covers.
    Forward,
    /// `KL(policy ‖ reference) = Σ p·(log p - log r)`: the policy must stay where the reference is.
    Reverse,
}

/// What a method needs in addition to the policy's log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// What it learns from.
    pub rows: RowKind,
    /// Whether a reference is needed: [`crate::RowScores::reference`] or
    /// [`crate::RowScores::divergence`] is read.
    pub reference: bool,
    /// The reference is an earlier state of the policy: its weights at the last step whose number
    /// is a multiple of this one. `None`: the reference is a fixed model.
    pub old_policy: Option<u64>,
    /// Direction of the divergence in [`crate::RowScores::divergence`]; `None` if it is not read.
    pub divergence: Option<KlDirection>,
    /// Number of most probable tokens that [`crate::RowScores::entropy`] is taken over; `None` if
    /// it is not read.
    pub entropy: Option<usize>,
}

impl Needs {
    /// Rows and nothing else.
    pub(crate) fn only(rows: RowKind) -> Self {
        Self { rows, reference: false, old_policy: None, divergence: None, entropy: None }
    }

    /// Rows and a reference model's log-probabilities.
    pub(crate) fn with_reference(rows: RowKind) -> Self {
        Self { reference: true, ..Self::only(rows) }
    }

    /// Rows, a reference model and the divergence from it.
    pub(crate) fn with_divergence(rows: RowKind, direction: KlDirection) -> Self {
        Self { divergence: Some(direction), ..Self::with_reference(rows) }
    }
}

/// Which rows must be given to [`crate::Method::losses`] together. The two answers of a pair always
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// The loss of a row does not depend on other rows: any split of a batch gives the same sums
    /// and gradients.
    Row,
    /// The loss of a row depends on the other rows of its optimizer step: all of them belong in one
    /// call.
    Batch,
}

/// How the first pass selects a token at each target, from the distribution that predicts the
/// target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LookAhead {
    /// The most probable token.
    Greedy,
    /// The `k`-th most probable token, `k` counted from 1.
    TopK {
        /// Rank of the token, at least 1.
        k: usize,
    },
    /// A draw from the softmax of the logits divided by a temperature.
    Sample {
        /// The temperature, above 0.
        temperature: f64,
    },
}
