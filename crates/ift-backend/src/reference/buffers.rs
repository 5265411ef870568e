//! The types of [`Reference`]: everything is a vector of f64.

use super::inputs::Inputs;
use super::scores::Scores;
use crate::{Buffers, Weight};

/// The f64 backend, one thread, plain loops that read like the formulas. Slow and right: the
/// specification of every other backend.
///
/// A fresh activation is filled with NaN, so that an element that is read before it is written
/// shows in the results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Buffers for Reference {
    type Element = f64;
    type Activation = Vec<f64>;
    type Accumulator = Vec<f64>;
    type Parameters = Vec<f64>;
    type Frozen = Vec<f64>;
    type Inputs = Inputs;
    type Scores = Scores;
}

/// The elements from a weight's first on.
pub(super) fn elements(weight: Weight<'_, Reference>) -> &[f64] {
    match weight {
        Weight::Trainable { parameters, start } => &parameters[start..],
        Weight::Frozen(elements) => elements,
    }
}
