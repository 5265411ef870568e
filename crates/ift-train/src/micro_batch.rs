//! Rows, cut into prompts and continuations and packed end to end.
//!
//! A target at position `t` is predicted by the hidden state at `t - 1`, so a row needs no input from its last target on.
//! Hidden states before the first target are the same whatever is mixed into the targets: they are the row's *prompt*,
//! computed once, and the rest its *continuation*.

use ift_data::Row;
use ift_model::Sequences;
use std::ops::Range;

/// A row that cannot be trained on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RowError {
    /// Nothing in the row is learned.
    #[error(
        "record {record} has no target after its first token, expected at least one label other than -100"
    )]
    NoTarget {
        /// Line or record, from 1.
        record: u64,
    },
    /// A token the model does not have.
    #[error(
        "record {record} has token {token}, but the model's vocabulary has {vocabulary} entries; do tokenizer and model \
         belong together?"
    )]
    Token {
        /// Line or record, from 1.
        record: u64,
        /// The token id.
        token: u32,
        /// Entries of the model's vocabulary.
        vocabulary: usize,
    },
}

/// One row's targets and where their predictions lie.
pub(crate) struct RowTargets {
    /// Positions of the targets in the row, increasing, the first at least 1.
    pub positions: Vec<usize>,
    /// For each target its index among the scores of the micro-batch.
    pub scores: Vec<usize>,
    /// For each target the packed index in the continuation where it is an input, if it is one.
    pub inputs: Vec<Option<usize>>,
}

/// Packed rows.
#[derive(Default)]
pub(crate) struct MicroBatch {
    /// Whole rows, or only prompts if there are continuations.
    pub prompts: Sequences,
    /// What follows the prompts; empty unless asked for.
    pub continuations: Sequences,
    /// Packed indices in `prompts` that predict targets; their scores come first.
    pub prompt_positions: Vec<usize>,
    /// Packed indices in `continuations` that predict targets.
    pub continuation_positions: Vec<usize>,
    /// The targets in the order of their scores.
    pub targets: Vec<u32>,
    /// One entry for each row.
    pub rows: Vec<RowTargets>,
}

impl MicroBatch {
    /// Packs rows; with `split` the part after each prompt becomes a continuation.
    pub fn new(rows: &[&Row], vocabulary: usize, split: bool) -> Result<Self, RowError> {
        let mut batch = Self::default();
        let mut continuation_targets = Vec::new();
        for row in rows {
            let positions = scored_positions(row, vocabulary)?;
            let (first, last) = (positions[0], positions[positions.len() - 1]);
            let cut = if split { first } else { last };
            let prompt_start = batch.prompts.tokens.len();
            let start = batch.continuations.tokens.len();
            batch.prompts.push(&row.tokens[..cut]);
            if split {
                batch.continuations.push_after(&row.tokens[cut..last], prompt_start, cut);
            }
            let mut targets = RowTargets { scores: Vec::new(), inputs: Vec::new(), positions };
            for &t in &targets.positions {
                // Scores of continuations are numbered from 0 here and shifted below, behind the prompts'.
                let (list, wanted, at) = if t > cut {
                    (&mut batch.continuation_positions, &mut continuation_targets, start + t - 1 - cut)
                } else {
                    (&mut batch.prompt_positions, &mut batch.targets, prompt_start + t - 1)
                };
                targets.scores.push(list.len());
                list.push(at);
                wanted.push(row.tokens[t]);
                targets.inputs.push((split && t < last).then(|| start + t - cut));
            }
            batch.rows.push(targets);
        }
        let shift = batch.prompt_positions.len();
        for (row, targets) in rows.iter().zip(&mut batch.rows) {
            let cut = if split { targets.positions[0] } else { row.tokens.len() };
            for (t, score) in targets.positions.iter().zip(&mut targets.scores) {
                *score += if *t > cut { shift } else { 0 };
            }
        }
        batch.targets.extend(continuation_targets);
        Ok(batch)
    }

    /// Values in the order of the scores, for each row in the order of its targets.
    pub fn by_row<T: Copy>(&self, values: &[T]) -> Vec<Vec<T>> {
        self.rows.iter().map(|row| row.scores.iter().map(|&i| values[i]).collect()).collect()
    }

    /// The inverse of [`MicroBatch::by_row`].
    pub fn by_score<'a>(&self, rows: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
        let mut flat = vec![0.0; self.targets.len()];
        for (row, values) in self.rows.iter().zip(rows) {
            for (&i, value) in row.scores.iter().zip(values) {
                flat[i] = *value;
            }
        }
        flat
    }
}

/// Positions of the targets that have something before them.
fn scored_positions(row: &Row, vocabulary: usize) -> Result<Vec<usize>, RowError> {
    if let Some(&token) = row.tokens.iter().find(|&&t| t as usize >= vocabulary) {
        return Err(RowError::Token { record: row.record, token, vocabulary });
    }
    let targets = row.targets.iter().take(row.tokens.len()).enumerate().skip(1);
    let positions: Vec<usize> = targets.filter(|(_, target)| **target).map(|(t, _)| t).collect();
    if positions.is_empty() {
        return Err(RowError::NoTarget { record: row.record });
    }
    Ok(positions)
}

/// Cuts rows, in their order, into runs of at most `budget` tokens; a longer row is a run of its own.
pub(crate) fn runs(rows: &[&Row], budget: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, row) in rows.iter().enumerate() {
        tokens += row.tokens.len();
        match runs.last_mut() {
            Some(run) if tokens <= budget => run.end = i + 1,
            _ => {
                runs.push(i..i + 1);
                tokens = row.tokens.len();
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tokens: &[u32], targets: &[usize]) -> Row {
        let targets = (0..tokens.len()).map(|t| targets.contains(&t)).collect();
        Row { tokens: tokens.to_vec(), targets, source: 0, record: 7 }
    }

    #[test]
    fn a_row_is_cut_before_its_first_target_and_ends_before_its_last() {
        let rows = [row(&[1, 2, 3, 4, 5, 6, 7], &[2, 3, 5]), row(&[8, 9], &[0, 1])];
        let batch = MicroBatch::new(&rows.iter().collect::<Vec<_>>(), 10, true).unwrap();
        assert_eq!(batch.prompts.tokens, [1, 2, 8]);
        assert_eq!(batch.continuations.tokens, [3, 4, 5]);
        assert_eq!(batch.prompt_positions, [1, 2]);
        assert_eq!(batch.continuation_positions, [0, 2]);
        assert_eq!(batch.targets, [3, 9, 4, 6]);
        assert_eq!(batch.rows[0].positions, [2, 3, 5]);
        assert_eq!(batch.rows[0].scores, [0, 2, 3]);
        assert_eq!(batch.rows[0].inputs, [Some(0), Some(1), None]);
        assert_eq!((&batch.rows[1].scores[..], &batch.rows[1].inputs[..]), (&[1][..], &[None][..]));
        let values = batch.by_row(&[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(values, [vec![0.0, 2.0, 3.0], vec![1.0]]);
        assert_eq!(batch.by_score(values.iter().map(Vec::as_slice)), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn unsplit_rows_are_prompts() {
        let rows = [row(&[1, 2, 3, 4, 5], &[1, 3])];
        let batch = MicroBatch::new(&[&rows[0]], 10, false).unwrap();
        assert_eq!(batch.prompts.tokens, [1, 2, 3]);
        assert_eq!(batch.prompt_positions, [0, 2]);
        assert_eq!(batch.targets, [2, 4]);
        assert!(batch.continuations.tokens.is_empty() && batch.continuation_positions.is_empty());
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_named() {
        let bad = row(&[1, 2, 3], &[0]);
        let error = MicroBatch::new(&[&bad], 10, false).err().unwrap();
        assert!(error.to_string().starts_with("record 7 has no target after its first token"), "{error}");
        let error = MicroBatch::new(&[&row(&[1, 10], &[1])], 10, false).err().unwrap().to_string();
        assert!(error.contains("token 10") && error.contains("10 entries"), "{error}");
    }

    #[test]
    fn runs_respect_the_budget() {
        let rows: Vec<Row> = [3, 3, 3, 9, 1].iter().map(|&n| row(&vec![1; n], &[1])).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(runs(&rows, 6), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(runs(&rows, 100).first(), Some(&(0..5)));
        assert!(runs(&[], 6).is_empty());
    }
}
