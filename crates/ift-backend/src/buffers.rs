//! The types of what a backend keeps in its memory.

use crate::Element;

/// The types of a backend's buffers: what [`crate::Backend`] and its descriptors are written over.
///
/// Buffers are opaque: nothing outside a backend may assume that one is a slice of host memory. A
/// buffer may be longer than an operation needs; the operation uses the leading part and leaves the
/// rest as it is.
pub trait Buffers: Send + Sync {
    /// The type in which weights, gradients and optimizer states are exact.
    type Element: Element;
    /// Hidden states and their gradients, perhaps in a narrower type.
    type Activation: Send + Sync;
    /// Full precision whatever the activations are: gradients of weights, optimizer states,
    /// log-sum-exps, rotary angles, sums over several passes.
    type Accumulator: Send + Sync;
    /// All trainable elements of a model in one flat range, with the compute copy that products
    /// read where they run in a narrower type.
    type Parameters: Send + Sync;
    /// One weight that is never trained, in its [`crate::Storage`].
    type Frozen: Send + Sync;
    /// What a pass needs of the host, uploaded.
    type Inputs: Send + Sync;
    /// Scores of one call of [`crate::Backend::head`], and the logits it kept.
    type Scores: Send + Sync;
}
