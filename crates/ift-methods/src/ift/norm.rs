//! The weights `W = n·V/ΣV`, `V = f(C)`, of the relations `C` of a row, and their gradient.
//!
//! | norm      | left         | right          |
//! |-----------|--------------|----------------|
//! | `L1`      | `C`          | `1/C`          |
//! | `L2`      | `C²`         | `1/C²`         |
//! | `softmax` | `exp(C)`     | `exp(1/C)`     |
//! | `log`     | `log(1+C)`   | `1/log(1+C)`   |
//!
//! A constant factor of `V` cancels in `W`. So the softmax needs no denominator and no masked
//! positions, and every `V` is computed relative to the largest one: nothing overflows, and the
//! largest `V` is exactly 1.

use super::settings::{Norm, Side};

/// The relations of a row under a norm.
pub(super) struct NormalizedWeights {
    norm: Norm,
    side: Side,
    /// `C`, all above 0 for [`Side::Right`]. `[targets]`
    relations: Vec<f64>,
    /// The relation with the largest `V`: the largest on the left, the smallest on the right.
    extreme: f64,
    /// `V` over the largest `V`. `[targets]`
    values: Vec<f64>,
    /// Sum of `values`.
    total: f64,
}

impl NormalizedWeights {
    /// For a row of at least one target with a relation above 0.
    pub(super) fn new(norm: Norm, side: Side, relations: Vec<f64>) -> Self {
        let extreme = match side {
            Side::Left => relations.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Side::Right => relations.iter().copied().fold(f64::INFINITY, f64::min),
        };
        let values: Vec<_> =
            relations.iter().map(|&relation| value(norm, side, relation, extreme)).collect();
        let total = values.iter().sum();
        Self { norm, side, relations, extreme, values, total }
    }

    /// `W[t] = n·V[t]/ΣV`. `[targets]`
    pub(super) fn weights(&self) -> Vec<f64> {
        let n = self.values.len() as f64;
        self.values.iter().map(|value| n * value / self.total).collect()
    }

    /// `dL/dC[t] = (n/divisor)·(l[t] - Σ V·l/ΣV)·V'(C[t])/ΣV` of `L = Σ W[t]·l[t]/divisor`, the
    /// losses `l` outside the weights (each times its target's weight in the data) held constant.
    /// `[targets]`
    pub(super) fn gradient(&self, losses: &[f64], divisor: f64) -> Vec<f64> {
        let weighted: f64 = self.values.iter().zip(losses).map(|(value, loss)| value * loss).sum();
        let mean = weighted / self.total;
        let scale = losses.len() as f64 / (divisor * self.total);
        self.relations
            .iter()
            .zip(&self.values)
            .zip(losses)
            .map(|((&relation, &value), loss)| {
                scale * self.derivative(relation, value, loss - mean)
            })
            .collect()
    }

    /// `excess·V'(C)`, with `V` relative to the largest `V`. The excess of a loss is small if `C`
    /// is, so the two are divided first, which avoids overflow.
    fn derivative(&self, c: f64, value: f64, excess: f64) -> f64 {
        let extreme = self.extreme;
        match (self.side, self.norm) {
            (Side::Left, Norm::L1) => excess / extreme,
            (Side::Left, Norm::L2) => 2.0 * (c / extreme) * (excess / extreme),
            (Side::Left, Norm::Softmax) => excess * value,
            (Side::Left, Norm::Log) => excess / extreme.ln_1p() / (1.0 + c),
            (Side::Right, Norm::L1) => -value * (excess / c),
            (Side::Right, Norm::L2) => -2.0 * value * (excess / c),
            (Side::Right, Norm::Softmax) => -value * (excess / c) / c,
            (Side::Right, Norm::Log) => -value * (excess / c.ln_1p()) / (1.0 + c),
        }
    }
}

/// `V(c)/V(extreme)`, between 0 and 1.
fn value(norm: Norm, side: Side, c: f64, extreme: f64) -> f64 {
    match (side, norm) {
        (Side::Left, Norm::L1) => c / extreme,
        (Side::Left, Norm::L2) => (c / extreme).powi(2),
        (Side::Left, Norm::Softmax) => (c - extreme).exp(),
        (Side::Left, Norm::Log) => c.ln_1p() / extreme.ln_1p(),
        (Side::Right, Norm::L1) => extreme / c,
        (Side::Right, Norm::L2) => (extreme / c).powi(2),
        // exp(1/c - 1/extreme), without the cancellation of two large values.
        (Side::Right, Norm::Softmax) => ((extreme - c) / extreme / c).exp(),
        (Side::Right, Norm::Log) => extreme.ln_1p() / c.ln_1p(),
    }
}
