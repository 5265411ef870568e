//! Rows that own what a method is given of them.

use ift_methods::RowScores;

/// A row with all that any method reads.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub logps: Vec<f64>,
    pub positions: Vec<usize>,
    pub reference: Vec<f64>,
    pub target_weights: Vec<f64>,
    pub divergence: Vec<f64>,
    pub entropy: Vec<f64>,
    pub chosen: bool,
}

impl Row {
    pub fn scores(&self) -> RowScores<'_> {
        RowScores {
            logps: &self.logps,
            positions: &self.positions,
            reference: &self.reference,
            target_weights: &self.target_weights,
            divergence: &self.divergence,
            entropy: &self.entropy,
            chosen: self.chosen,
        }
    }
}

/// What a method is given of rows.
pub fn scores(rows: &[Row]) -> Vec<RowScores<'_>> {
    rows.iter().map(Row::scores).collect()
}
