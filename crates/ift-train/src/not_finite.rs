//! Where the values of a step cease to be finite.

use std::fmt;

use ift_backend::{Backend, Element};
use ift_model::Model;

/// The first thing of a step that is NaN or infinite, in the order of computation: weights, then
/// log-probabilities, then the loss, then gradients.
#[derive(Clone, Debug, PartialEq)]
pub enum NotFinite {
    /// A weight, before the step.
    Weight {
        /// The tensor.
        tensor: String,
    },
    /// The log-probabilities of a row, though all trainable weights are finite.
    LogProbs {
        /// Index of the row's file among the data's files.
        source: u32,
        /// Line or record in it, from 1.
        record: u64,
    },
    /// The reference model's log-probabilities of a row, or the divergence from it.
    Reference {
        /// Index of the row's file among the data's files.
        source: u32,
        /// Line or record in it, from 1.
        record: u64,
    },
    /// Scores of a row of another process of the run, which names the row.
    OtherProcess,
    /// The loss, though all log-probabilities are finite.
    Loss {
        /// The loss.
        loss: f64,
    },
    /// A gradient, though the loss is finite.
    Gradient {
        /// First such tensor, in the model's order.
        tensor: String,
    },
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Weight { tensor } => {
                write!(f, "the weight `{tensor}` is not finite before it (NaN or infinite)")
            }
            Self::LogProbs { source, record } => write!(
                f,
                "the model's log-probabilities of record {record} of data file {} are not finite, \
                 though all trainable weights are",
                source + 1
            ),
            Self::Reference { source, record } => write!(
                f,
                "the reference model's scores of record {record} of data file {} are not finite",
                source + 1
            ),
            Self::OtherProcess => {
                write!(f, "scores of a row of another process of the run are not finite")
            }
            Self::Loss { loss } => {
                write!(f, "the loss is {loss}, though all log-probabilities are finite")
            }
            Self::Gradient { tensor } => {
                write!(f, "the gradient of `{tensor}` is not finite, though the loss is")
            }
        }
    }
}

impl NotFinite {
    /// What to do about it at a step, counted from 1.
    pub(crate) fn advice(&self, step: u64) -> &'static str {
        match self {
            Self::Weight { .. } if step == 1 => {
                "it was read so from the model's files, which may be damaged"
            }
            Self::Weight { .. } => {
                "an earlier step, or a checkpoint, made it so: resume from an earlier checkpoint, \
                 with a lower `optimizer.lr` (`--accept optimizer.lr`)"
            }
            Self::LogProbs { .. } if step == 1 => {
                "look at that row, at frozen weights, and at `rope_theta`, `rope_scaling` and \
                 `rms_norm_eps` in the model's `config.json`"
            }
            Self::LogProbs { .. } => {
                "earlier steps may have made weights so large that activations overflow: start \
                 again, or resume from an earlier checkpoint, with a lower `optimizer.lr`; \
                 otherwise look at that row"
            }
            Self::Reference { .. } => "look at that row and at the reference model",
            Self::OtherProcess => "the message of that process names the row",
            Self::Loss { .. } => "look at the settings of `method` and at the rows of this step",
            Self::Gradient { .. } => {
                "values overflow in the backward pass: look at the rows of this step, or resume \
                 from an earlier checkpoint with a lower `optimizer.lr`"
            }
        }
    }
}

/// The first trainable tensor with a weight that is not finite.
pub(crate) fn weight<B: Backend>(model: &Model<B>) -> Option<NotFinite> {
    let found = model.trainable().tensors().iter().find(|tensor| {
        model.read(tensor.range.clone()).iter().any(|weight| !weight.to_f64().is_finite())
    });
    found.map(|tensor| NotFinite::Weight { tensor: tensor.name.clone() })
}
