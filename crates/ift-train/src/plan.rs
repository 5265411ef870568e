//! Which rows form which step: a pure function of the recipe and the number of rows, so there is
//! nothing to save.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::TrainTable;

/// The rows of every optimizer step.
///
/// An epoch is a permutation of all rows that depends on the seed and the epoch's number alone, cut
/// into steps of `rows_per_step`. Its last step takes what is left, which may be fewer; every row
/// is seen once an epoch.
#[derive(Debug)]
pub struct Plan {
    rows: usize,
    rows_per_step: usize,
    steps: u64,
    seed: u64,
    shuffle: bool,
    /// The epoch whose order is at hand, and the order.
    order: Option<(u64, Vec<usize>)>,
}

/// Where a run stands in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs behind it.
    pub epoch: u64,
    /// Rows of the current epoch behind it.
    pub row: u64,
}

impl Plan {
    /// The plan for `rows` training rows, at least one.
    pub fn new(rows: usize, table: &TrainTable) -> Self {
        let rows_per_step = table.rows_per_step.clamp(1, rows.max(1));
        let steps_per_epoch = rows.div_ceil(rows_per_step) as u64;
        let steps = table.steps.unwrap_or_else(|| table.epochs.saturating_mul(steps_per_epoch));
        Self { rows, rows_per_step, steps, seed: table.seed, shuffle: table.shuffle, order: None }
    }

    /// All optimizer steps of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Optimizer steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_step) as u64
    }

    /// Where the run stands before a step counted from 0.
    pub fn position(&self, step: u64) -> Position {
        let per_epoch = self.steps_per_epoch().max(1);
        Position { epoch: step / per_epoch, row: step % per_epoch * self.rows_per_step as u64 }
    }

    /// Epochs behind a step counted from 0, with the fraction of the current one.
    pub fn epochs_done(&self, step: u64) -> f64 {
        let Position { epoch, row } = self.position(step);
        epoch as f64 + row as f64 / self.rows.max(1) as f64
    }

    /// Indices of the rows of a step counted from 0.
    pub fn rows_of(&mut self, step: u64) -> &[usize] {
        let Position { epoch, row } = self.position(step);
        let order = match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => self.order_of(epoch),
        };
        let (_, order) = self.order.insert((epoch, order));
        let start = row as usize;
        &order[start..(start + self.rows_per_step).min(self.rows)]
    }

    /// Fisher and Yates's shuffle. It is written out because the bits must not change with a
    /// library's version.
    fn order_of(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows).collect();
        if self.shuffle {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(epoch);
            for last in (1..self.rows).rev() {
                // The upper half of the product is uniform on 0..=last, up to a bias of 2⁻⁶⁴·last.
                let choice = (u128::from(random.next_u64()) * (last as u128 + 1)) >> 64;
                order.swap(last, choice as usize);
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: usize, rows_per_step: usize, seed: u64) -> Plan {
        Plan::new(rows, &TrainTable { rows_per_step, seed, epochs: 2, ..TrainTable::default() })
    }

    fn all(plan: &mut Plan) -> Vec<Vec<usize>> {
        (0..plan.steps()).map(|step| plan.rows_of(step).to_vec()).collect()
    }

    #[test]
    fn every_epoch_has_every_row_once_and_its_own_order() {
        let mut plan = plan(10, 4, 7);
        let steps = all(&mut plan);
        assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2]);
        let epoch = |n: usize| steps[3 * n..3 * n + 3].concat();
        for n in 0..2 {
            let mut sorted = epoch(n);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epoch(0), epoch(1));
        assert_ne!(all(&mut self::plan(10, 4, 8)), steps);
    }

    /// A change here would make every run of an earlier version resume on other rows.
    #[test]
    fn the_order_is_pinned() {
        assert_eq!(plan(10, 10, 7).rows_of(0), [4, 6, 2, 0, 8, 3, 7, 5, 9, 1]);
        assert_eq!(plan(10, 10, 7).rows_of(1), [7, 1, 6, 4, 2, 8, 3, 5, 0, 9]);
    }

    #[test]
    fn a_step_is_the_same_asked_alone_or_in_turn() {
        let steps = all(&mut plan(23, 5, 1));
        for step in (0..10).rev() {
            assert_eq!(plan(23, 5, 1).rows_of(step), steps[step as usize]);
        }
    }

    #[test]
    fn steps_override_epochs_and_positions_follow() {
        let table = TrainTable {
            rows_per_step: 4,
            steps: Some(5),
            shuffle: false,
            ..TrainTable::default()
        };
        let mut plan = Plan::new(10, &table);
        assert_eq!((plan.steps(), plan.steps_per_epoch()), (5, 3));
        assert_eq!(plan.rows_of(2), [8, 9]);
        assert_eq!(plan.rows_of(3), [0, 1, 2, 3]);
        assert_eq!(plan.position(4), Position { epoch: 1, row: 4 });
        assert!((plan.epochs_done(4) - 1.4).abs() < 1e-15);
        assert_eq!(plan.epochs_done(3), 1.0);
    }

    #[test]
    fn a_step_larger_than_the_data_is_an_epoch() {
        let plan = plan(3, 512, 0);
        assert_eq!((plan.steps(), plan.steps_per_epoch()), (2, 1));
        assert_eq!(plan.position(1), Position { epoch: 1, row: 0 });
    }
}
