//! Intuitive Fine-Tuning (arXiv 2405.11870): settings, weights and their gradient.
//!
//! With `l[t] = -ℓ'[t]` the losses of the second pass and `n` targets in the row, the loss is
//! `L = (1/n)·Σ W[t]·l[t]`. The weights (dynamic relation propagation, eq. 21 with decay) come in
//! three steps:
//!
//! 1. an item per target: `loss` `l[t]/n`, `logps` `l[t]`, `mask` 1;
//! 2. decayed sums of the items over the positions of the row, `C[t] = a[t] + γ·C[t+1]` (left) or
//!    `C[t] = a[t] + γ·C[t-1]` (right) — see `propagation`;
//! 3. a norm `V = f(C)` and the scale `W = n·V/ΣV` — see `norm`.
//!
//! The gradient flows through all three unless `detach_weights` is set. Everything is linear in the
//! number of targets: the backward pass of a decayed sum is the decayed sum in the other direction.

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
use norm::Weighing;
use propagation::{decays, propagate, smallest_positive};

impl Objective for Ift {
    /// `sum = Σ W[t]·l[t]` (over `n` under [`crate::Reduction::Sequence`]) of each row.
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

    /// Rows know each other only through the batch's smallest relation. That of `mask` is 1 in
    /// every row (its first target's), so sharing it couples nothing.
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
        self.residual().at(step, warmup_steps, seed)
    }

    fn trains_input_embeddings(&self) -> bool {
        false
    }

    fn validate(&self) -> Result<(), MethodError> {
        self.validate_settings()
    }
}

impl Ift {
    /// Losses of rows that share a smallest relation, where the side has one.
    fn coupled_losses(&self, rows: &[RowScores]) -> Vec<RowLoss> {
        let losses: Vec<_> = rows.iter().map(RowScores::token_losses).collect();
        let decays: Vec<_> = rows.iter().map(|row| decays(row.positions, self.gamma)).collect();
        let sums: Vec<_> = losses
            .iter()
            .zip(&decays)
            .map(|(losses, decays)| self.relations(losses, decays))
            .collect();
        // The relations of the past are inverted: the smallest is added to all so that none divides
        // by zero.
        let floor = if self.inverts() { smallest_positive(&sums) } else { 0.0 };
        let weighings: Vec<_> = losses
            .iter()
            .zip(&sums)
            .map(|(losses, sums)| self.weigh(losses, sums.iter().map(|sum| sum + floor).collect()))
            .collect();

        let mut results: Vec<_> = losses
            .iter()
            .zip(&weighings)
            .map(|(losses, weighing)| {
                let weights =
                    weighing.as_ref().map_or_else(|| vec![1.0; losses.len()], Weighing::weights);
                RowLoss::weighted(losses, weights, self.reduction)
            })
            .collect();
        if self.differentiates_weights() {
            let mut slopes: Vec<_> = losses
                .iter()
                .zip(weighings)
                .map(|(losses, weighing)| {
                    let divisor = self.reduction.divisor(losses.len());
                    weighing.map_or_else(
                        || vec![0.0; losses.len()],
                        |weighing| weighing.slopes(losses, divisor),
                    )
                })
                .collect();
            if self.inverts() {
                give_to_smallest(&sums, floor, &mut slopes);
            }
            for ((result, slopes), decays) in results.iter_mut().zip(slopes).zip(&decays) {
                let items = propagate(&slopes, decays, self.side.opposite());
                let scale = self.source.item_scale(items.len());
                for (gradient, item) in result.gradient.iter_mut().zip(items) {
                    *gradient -= item * scale;
                }
            }
        }
        results
    }

    /// `C` of one row, before the smallest relation is added. `[targets]`
    fn relations(&self, losses: &[f64], decays: &[f64]) -> Vec<f64> {
        match (self.formula, self.source) {
            // L = Σ_n Σ_{i≥n} γ^(i-n)·l[i] weighs l[i] by Σ_{n≤i} γ^(i-n).
            (Formula::Paper, _) => propagate(&vec![1.0; losses.len()], decays, Side::Right),
            (Formula::Code, Source::Mask) => propagate(&vec![1.0; losses.len()], decays, self.side),
            (Formula::Code, Source::Loss | Source::Logps) => {
                let scale = self.source.item_scale(losses.len());
                let items: Vec<_> = losses.iter().map(|loss| loss * scale).collect();
                propagate(&items, decays, self.side)
            }
        }
    }

    /// The norm over one row's relations; `None` where all weights are 1 whatever the relations
    /// are.
    fn weigh(&self, losses: &[f64], relations: Vec<f64>) -> Option<Weighing> {
        if self.gamma == 0.0 || losses.iter().all(|&loss| loss == 0.0) {
            return None;
        }
        Some(match self.formula {
            Formula::Paper => Weighing::new(Norm::L1, Side::Left, relations),
            Formula::Code => Weighing::new(self.norm, self.side, relations),
        })
    }

    /// Whether the weights are made of the inverse of the relations.
    fn inverts(&self) -> bool {
        self.formula == Formula::Code && self.side == Side::Right
    }

    /// Whether the weights depend on the model and the gradient is to know it.
    fn differentiates_weights(&self) -> bool {
        !self.detach_weights
            && self.gamma != 0.0
            && self.formula == Formula::Code
            && self.source != Source::Mask
    }
}

impl Source {
    /// `d item / d loss` of a row with `targets` targets.
    fn item_scale(self, targets: usize) -> f64 {
        match self {
            Self::Loss => 1.0 / targets.max(1) as f64,
            Self::Logps => 1.0,
            Self::Mask => 0.0,
        }
    }
}

/// The backward pass of adding the smallest relation to all: its slope is the sum of all slopes,
/// shared evenly where several relations are equally small.
fn give_to_smallest(sums: &[Vec<f64>], smallest: f64, slopes: &mut [Vec<f64>]) {
    let total: f64 = slopes.iter().flatten().sum();
    let ties = sums.iter().flatten().filter(|&&sum| sum == smallest).count();
    for (slope, sum) in slopes.iter_mut().flatten().zip(sums.iter().flatten()) {
        if *sum == smallest {
            *slope += total / ties as f64;
        }
    }
}
