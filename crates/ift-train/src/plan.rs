//! Which rows form which step: a pure function of the recipe and the number of rows, so there is
//! nothing to save.

use serde::{Deserialize, Serialize};

use crate::recipe::TrainTable;

/// The rows of every optimizer step.
///
/// An epoch is a permutation of all rows that depends on the seed and the epoch's number alone, cut
/// into steps of `rows_per_step`. Its last step takes what is left, which may be fewer; every row
/// is seen once an epoch.
#[derive(Debug)]
pub(crate) struct Plan {
    rows: usize,
    rows_per_step: usize,
    steps: u64,
    seed: u64,
    shuffle: bool,
    start: PlanStart,
    /// The most recently used order of rows, with its epoch.
    order: Option<(u64, Vec<usize>)>,
}

/// A place in the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Whole epochs before it.
    pub epoch: u64,
    /// Rows of the current epoch before it.
    pub row: u64,
}

/// The step from which a plan holds, and where in the data it begins. It is the beginning of the
/// run unless the number of rows in a step, or the rows, were changed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanStart {
    /// Steps before it.
    pub step: u64,
    /// Where the first step's rows begin.
    pub position: Position,
}

impl Plan {
    /// The plan for `rows` training rows, at least one, that holds from `start` on.
    pub fn new(rows: usize, table: &TrainTable, start: PlanStart) -> Self {
        let rows = rows.max(1);
        let rows_per_step = table.rows_per_step.clamp(1, rows);
        let mut this = Self {
            rows,
            rows_per_step,
            steps: 0,
            seed: table.seed,
            shuffle: table.shuffle,
            start,
            order: None,
        };
        this.steps = table.steps.unwrap_or_else(|| this.steps_of(table.epochs));
        this
    }

    /// Steps until so many epochs are done.
    fn steps_of(&self, epochs: u64) -> u64 {
        let PlanStart { step, position } = self.start;
        let Some(whole) = epochs.checked_sub(position.epoch + 1) else { return step };
        let rest = self.steps_left(position);
        whole.saturating_mul(self.steps_per_epoch()).saturating_add(rest).saturating_add(step)
    }

    /// Steps from a position to the end of its epoch.
    fn steps_left(&self, position: Position) -> u64 {
        (self.rows as u64).saturating_sub(position.row).div_ceil(self.rows_per_step as u64)
    }

    /// All optimizer steps of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Optimizer steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_step) as u64
    }

    /// Where the rows of a step begin, counted from 0. Steps before the plan's start are not known
    /// any more.
    pub fn position(&self, step: u64) -> Position {
        let Position { epoch, row } = self.start.position;
        let (done, first) =
            (step.saturating_sub(self.start.step), self.steps_left(self.start.position));
        if done < first {
            return Position { epoch, row: row + done * self.rows_per_step as u64 };
        }
        let (done, per_epoch) = (done - first, self.steps_per_epoch());
        Position {
            epoch: epoch + 1 + done / per_epoch,
            row: done % per_epoch * self.rows_per_step as u64,
        }
    }

    /// Epochs before a step counted from 0, with the fraction of the current one.
    pub fn epochs_done(&self, step: u64) -> f64 {
        let Position { epoch, row } = self.position(step);
        epoch as f64 + row as f64 / self.rows as f64
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

    fn order_of(&self, epoch: u64) -> Vec<usize> {
        if self.shuffle {
            ift_random::permutation(self.rows, &mut ift_random::generator(self.seed, epoch))
        } else {
            (0..self.rows).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: usize, rows_per_step: usize, seed: u64) -> Plan {
        let table = TrainTable { rows_per_step, seed, epochs: 2, ..TrainTable::default() };
        Plan::new(rows, &table, PlanStart::default())
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
        let mut plan = Plan::new(10, &table, PlanStart::default());
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

    /// With another number of rows per step, the epoch continues where it was; no row is left out
    /// or seen twice.
    #[test]
    fn a_plan_goes_on_where_another_one_ended() {
        let mut before = plan(10, 4, 7);
        let start = PlanStart { step: 4, position: before.position(4) };
        assert_eq!(start.position, Position { epoch: 1, row: 4 });
        let table = TrainTable { rows_per_step: 5, seed: 7, epochs: 3, ..TrainTable::default() };
        let mut after = Plan::new(10, &table, start);
        // Two steps for the six rows that are left, two for the third epoch.
        assert_eq!(after.steps(), 8);
        let mut seen = before.rows_of(3).to_vec();
        seen.extend((4..6).flat_map(|step| after.rows_of(step).to_vec()));
        assert_eq!(seen, before.order_of(1));
        assert_eq!(after.position(6), Position { epoch: 2, row: 0 });
        assert_eq!(after.rows_of(6).len() + after.rows_of(7).len(), 10);
        assert!((after.epochs_done(5) - 1.9).abs() < 1e-15);
    }

    #[test]
    fn a_plan_can_begin_behind_its_end() {
        let table = TrainTable { rows_per_step: 4, epochs: 2, ..TrainTable::default() };
        let start = PlanStart { step: 6, position: Position { epoch: 2, row: 0 } };
        assert_eq!(Plan::new(10, &table, start).steps(), 6);
        let more = TrainTable { epochs: 3, ..table };
        let mut plan = Plan::new(10, &more, start);
        assert_eq!((plan.steps(), plan.rows_of(6).len()), (9, 4));
    }
}
