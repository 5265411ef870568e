//! How far the results of a backend may be from those of the reference.

use crate::NumberType;
use ift_compare::Tolerance;

/// What the precision of a backend does to its results. Each case of the suite states the largest
/// difference that f32 arithmetic may make, as a share of the largest element of a result; this
/// widens it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// The type that all elements given to the backend are exact in, so that it reads what the
    /// reference reads.
    pub inputs: NumberType,
    /// Factor of the difference that a case allows.
    pub factor: f64,
    /// The relative error of storing an element of an activation.
    pub rounding: f64,
    /// The least difference allowed where a result is computed from activations that were stored
    /// in between once, as a share of its largest element.
    pub intermediate: f64,
}

impl Tolerances {
    /// Activations in f32, sums in f32 or better.
    pub const F32: Self =
        Self { inputs: NumberType::F32, factor: 1.0, rounding: 0.0, intermediate: 0.0 };

    /// Activations in bf16, sums in f32 or better.
    pub const BF16: Self =
        Self { inputs: NumberType::Bf16, factor: 1.0, rounding: 1.0 / 256.0, intermediate: 5e-3 };

    /// The difference allowed in a case.
    pub(super) fn of(&self, case: CaseTolerance) -> Tolerance {
        let CaseTolerance { of_largest, stored } = case;
        let least = stored * self.intermediate;
        Tolerance {
            relative: self.rounding,
            of_largest: (of_largest * self.factor).max(least),
            ..Tolerance::EXACT
        }
    }
}

/// The difference that a case allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseTolerance {
    /// In f32 arithmetic, as a share of the largest element of a result.
    pub(super) of_largest: f64,
    /// How often results are computed from activations that were stored in between.
    pub(super) stored: f64,
}

impl CaseTolerance {
    /// For results that are computed from the inputs in one go.
    pub(super) const fn direct(of_largest: f64) -> Self {
        Self { of_largest, stored: 0.0 }
    }

    /// For results that are computed from activations that were stored in between.
    pub(super) const fn stored_between(of_largest: f64) -> Self {
        Self { of_largest, stored: 1.0 }
    }
}
