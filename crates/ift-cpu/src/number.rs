//! The types that activations and the compute copies of weights are stored in.

use crate::scalar::Scalar;
use crate::words::{Format, Pairs, Plain};
use half::bf16;

/// The type of an element of an activation: `f32`, or `bf16` for half the memory. Implemented for
/// these two only.
pub trait Number: Scalar {
    /// How products pack this type where the machine multiplies it without widening.
    type Narrow: Format<Self>;
}

impl Number for f32 {
    type Narrow = Plain;
}

impl Number for bf16 {
    type Narrow = Pairs;
}
