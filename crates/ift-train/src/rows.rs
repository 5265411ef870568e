//! Where the rows of a step come from.

use ift_data::Row;

use crate::plan::{Plan, PlanStart, Position};
use crate::recipe::TrainTable;

/// The rows of one step.
pub(crate) struct StepRows<'a> {
    /// The number of each row, by which it is known during the whole run.
    pub numbers: Vec<usize>,
    /// The rows, in the same order.
    pub rows: Vec<&'a Row>,
}

/// A source of rows. Steps are counted from 0, and may be asked for in any order.
pub(crate) trait RowSource {
    /// All optimizer steps of the run.
    fn steps(&self) -> u64;
    /// Optimizer steps of an epoch.
    fn steps_per_epoch(&self) -> u64;
    /// Where the rows of a step begin.
    fn position(&self, step: u64) -> Position;
    /// Epochs before a step, with the fraction of the current one.
    fn epochs_done(&self, step: u64) -> f64;
    /// The rows of a step.
    fn rows_of(&mut self, step: u64) -> StepRows<'_>;
}

/// The rows of a data set, in the order of a plan.
pub(crate) struct DataRows<'a> {
    rows: &'a [Row],
    plan: Plan,
}

impl<'a> DataRows<'a> {
    /// The rows of a data set, as a recipe's `[train]` table divides them into steps from `start`
    /// on.
    pub fn new(rows: &'a [Row], table: &TrainTable, start: PlanStart) -> Self {
        Self { rows, plan: Plan::new(rows.len(), table, start) }
    }

    /// All rows, in the order of their numbers.
    pub fn all(&self) -> &'a [Row] {
        self.rows
    }
}

impl RowSource for DataRows<'_> {
    fn steps(&self) -> u64 {
        self.plan.steps()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    fn position(&self, step: u64) -> Position {
        self.plan.position(step)
    }

    fn epochs_done(&self, step: u64) -> f64 {
        self.plan.epochs_done(step)
    }

    fn rows_of(&mut self, step: u64) -> StepRows<'_> {
        let numbers = self.plan.rows_of(step).to_vec();
        let rows = numbers.iter().map(|&number| &self.rows[number]).collect();
        StepRows { numbers, rows }
    }
}
