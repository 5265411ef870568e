//! Intuitive Fine-Tuning (arXiv 2405.11870): settings, weights and their gradient.
//!
//! With `l[t] = -ℓ'[t]` the token losses of the second pass, `n` targets in the row and `v[t]` the
//! weights of the targets in the data (1 where it has none), the loss is
//! `L = (1/n)·Σ v[t]·W[t]·l[t]`. The weights `W` (dynamic relation propagation, eq. 21 with decay)
//! do not depend on `v`. They are computed in three steps:
//!
//! 1. a source value `a[t]` for each target: `l[t]/n` (`loss`), `l[t]` (`logps`) or 1 (`mask`);
//! 2. the relations, decayed sums over the positions of the row: `C[t] = a[t] + γ·C[t+1]` (left) or
//!    `C[t] = a[t] + γ·C[t-1]` (right), see `propagation`;
//! 3. a norm `V = f(C)` and the weights `W = n·V/ΣV`, see `norm`.
//!
//! The gradient includes all three steps unless `detach_weights` is set. The cost is linear in the
//! number of targets: the backward pass of a decayed sum is a decayed sum in the other direction.
//!
//! These are the weights of [`Formula::Code`]. Those of the other formulas depend on positions
//! alone, so they are constants in the gradient; see [`Formula`].

mod norm;
mod propagation;
mod settings;

pub use settings::{Formula, Ift, LookAheadKind, Minimum, Norm, Side, Source};

use crate::{
    error::MethodError,
    needs::{Coupling, LookAhead},
    objective::Objective,
    row::{Reduction, RowLoss, RowScores},
};
use norm::NormalizedWeights;
use propagation::{decays, propagate, smallest_positive, sum_to_the_last};

impl Objective for Ift {
    /// `sum = Σ v[t]·W[t]·l[t]` (over `n` under [`crate::Reduction::Sequence`]) of each row.
    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        let together = match self.coupling() {
            Coupling::Row => 1,
            Coupling::Batch => rows.len().max(1),
        };
        rows.chunks(together).flat_map(|rows| self.coupled_losses(rows)).collect()
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Rows are coupled only by the smallest relation of the batch. With `mask` it is 1 in every
    /// row (at the first target), so it does not couple them.
    fn coupling(&self) -> Coupling {
        let shares = self.inverts()
            && self.minimum == Minimum::Batch
            && self.source != Source::Mask
            && self.gamma != 0.0;
        if shares { Coupling::Batch } else { Coupling::Row }
    }

    fn look_ahead(&self) -> Option<LookAhead> {
        Some(self.first_pass())
    }

    fn lambda_at(&self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        self.schedule().at(step, warmup_steps, seed)
    }

    fn trains_input_embeddings(&self) -> bool {
        false
    }

    fn validate(&self) -> Result<(), MethodError> {
        self.validate_settings()
    }
}

impl Ift {
    /// Losses of rows with a common smallest relation, if the side needs one.
    fn coupled_losses(&self, rows: &[RowScores]) -> Vec<RowLoss> {
        let losses: Vec<_> = rows.iter().map(RowScores::token_losses).collect();
        let decays: Vec<_> = rows.iter().map(|row| decays(row.positions, self.gamma)).collect();
        let sums: Vec<_> = losses
            .iter()
            .zip(&decays)
            .map(|(losses, decays)| self.relations(losses, decays))
            .collect();
        // The right side inverts the relations. The smallest is added to all of them to avoid a
        // division by zero.
        let floor = if self.inverts() { smallest_positive(&sums) } else { 0.0 };
        let weights: Vec<_> = losses
            .iter()
            .zip(&sums)
            .map(|(losses, sums)| {
                self.weights(losses, sums.iter().map(|sum| sum + floor).collect())
            })
            .collect();

        let mut results: Vec<_> = rows
            .iter()
            .zip(&weights)
            .map(|(row, weights)| RowLoss::weighted(row, weights.values(), self.reduction))
            .collect();
        if self.differentiates_weights() {
            let mut gradients: Vec<_> = losses
                .iter()
                .zip(rows)
                .zip(weights)
                .map(|((losses, row), weights)| match weights {
                    Weights::Constant(_) => vec![0.0; losses.len()],
                    Weights::Normalized(weights) => {
                        let divisor = self.reduction.divisor(losses.len());
                        weights.gradient(&row.weigh(losses.clone()), divisor)
                    }
                })
                .collect();
            if self.inverts() {
                add_to_smallest(&sums, floor, &mut gradients);
            }
            for ((result, gradients), decays) in results.iter_mut().zip(gradients).zip(&decays) {
                let sources = propagate(&gradients, decays, self.side.opposite());
                let scale = self.source.source_scale(sources.len());
                for (gradient, source) in result.gradient.iter_mut().zip(sources) {
                    *gradient -= source * scale;
                }
            }
        }
        results
    }

    /// The relations `C` of one row, before the smallest one is added. `[targets]`
    fn relations(&self, losses: &[f64], decays: &[f64]) -> Vec<f64> {
        let ones = || vec![1.0; losses.len()];
        match (self.formula, self.source) {
            (Formula::Paper | Formula::Equation, _) => propagate(&ones(), decays, Side::Right),
            (Formula::Algorithm, _) => sum_to_the_last(decays),
            (Formula::Code, Source::Mask) => propagate(&ones(), decays, self.side),
            (Formula::Code, Source::Loss | Source::Logps) => {
                let scale = self.source.source_scale(losses.len());
                let sources: Vec<_> = losses.iter().map(|loss| loss * scale).collect();
                propagate(&sources, decays, self.side)
            }
        }
    }

    /// The weights of one row, from its relations.
    fn weights(&self, losses: &[f64], relations: Vec<f64>) -> Weights {
        let ones = || Weights::Constant(vec![1.0; losses.len()]);
        let normalize = |norm, side, relations| {
            // The relations of a row without loss are 0 or tell nothing.
            if losses.iter().all(|&loss| loss == 0.0) {
                return ones();
            }
            Weights::Normalized(NormalizedWeights::new(norm, side, relations))
        };
        match self.formula {
            _ if self.gamma == 0.0 => ones(),
            Formula::Code => normalize(self.norm, self.side, relations),
            Formula::Paper => normalize(Norm::L1, Side::Left, relations),
            Formula::Equation | Formula::Algorithm => Weights::Constant(relations),
        }
    }

    /// Whether the weights are computed from inverted relations.
    fn inverts(&self) -> bool {
        self.formula == Formula::Code && self.side == Side::Right
    }

    /// Whether the gradient includes the dependence of the weights on the losses.
    fn differentiates_weights(&self) -> bool {
        !self.detach_weights
            && self.gamma != 0.0
            && self.formula == Formula::Code
            && self.source != Source::Mask
    }
}

/// The weights `W` of a row.
enum Weights {
    /// Weights that do not depend on the losses. `[targets]`
    Constant(Vec<f64>),
    /// Relations scaled to sum to the number of targets.
    Normalized(NormalizedWeights),
}

impl Weights {
    /// The weight of each target. `[targets]`
    fn values(&self) -> Vec<f64> {
        match self {
            Self::Constant(weights) => weights.clone(),
            Self::Normalized(weights) => weights.weights(),
        }
    }
}

impl Source {
    /// Derivative of the source value by the token loss, for a row with `targets` targets.
    fn source_scale(self, targets: usize) -> f64 {
        match self {
            Self::Loss => 1.0 / targets.max(1) as f64,
            Self::Logps => 1.0,
            Self::Mask => 0.0,
        }
    }
}

/// The backward pass of adding the smallest relation to all: its gradient is the sum of all
/// gradients, divided evenly among relations that are equally small.
fn add_to_smallest(sums: &[Vec<f64>], smallest: f64, gradients: &mut [Vec<f64>]) {
    let total: f64 = gradients.iter().flatten().sum();
    let ties = sums.iter().flatten().filter(|&&sum| sum == smallest).count();
    for (gradient, sum) in gradients.iter_mut().flatten().zip(sums.iter().flatten()) {
        if *sum == smallest {
            *gradient += total / ties as f64;
        }
    }
}
