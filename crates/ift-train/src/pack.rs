//! Rows as groups of answers, packed for a pass.

use std::slice;

use ift_data::{Row, Sequence};
use ift_engine::{Answer, PackError, PackFault, Packed};
use ift_methods::RowKind;

/// A row that cannot be trained on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RowError {
    /// The row has no target.
    #[error(
        "record {record} has no target after its first token, expected at least one label other \
         than -100"
    )]
    NoTarget {
        /// Line or record, from 1.
        record: u64,
    },
    /// A token that the model does not have.
    #[error(
        "record {record} has token {token}, but the model's vocabulary has {vocabulary} entries; \
         do tokenizer and model belong together?"
    )]
    Token {
        /// Line or record, from 1.
        record: u64,
        /// The token id.
        token: u32,
        /// Entries of the model's vocabulary.
        vocabulary: usize,
    },
    /// A target outside of its sequence.
    #[error(
        "record {record} has a target at position {position} of {tokens} tokens, expected \
         increasing positions from 1 on"
    )]
    Position {
        /// Line or record, from 1.
        record: u64,
        /// Position of the target.
        position: usize,
        /// Length of the sequence.
        tokens: usize,
    },
    /// The row lacks what the method compares its answer with.
    #[error("record {record} has no {missing}, which the method compares its answer with")]
    NothingToCompare {
        /// Line or record, from 1.
        record: u64,
        /// `rejected answer` or `mismatched answer`.
        missing: &'static str,
    },
    /// A target has a weight other than 1, but whole answers are compared.
    #[error(
        "record {record} has a target of weight {weight}, but the method compares whole answers, \
         whose targets have no weights; expected weight 1, or a method that learns from \
         demonstrations"
    )]
    Weighted {
        /// Line or record, from 1.
        record: u64,
        /// The weight.
        weight: String,
    },
    /// A target has a weight that no loss can be multiplied by.
    #[error("record {record} has a target of weight {weight}, expected a finite number above 0")]
    Weight {
        /// Line or record, from 1.
        record: u64,
        /// The weight.
        weight: String,
    },
}

impl RowError {
    /// The error of a row that could not be packed.
    pub(crate) fn of_fault(record: u64, fault: &PackFault) -> Self {
        match *fault {
            PackFault::NoTarget => Self::NoTarget { record },
            PackFault::Position { position, tokens } => Self::Position { record, position, tokens },
            PackFault::Token { token, vocabulary } => Self::Token { record, token, vocabulary },
        }
    }
}

/// Which sequences of each row are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The answers that a method on rows of this kind computes a loss on.
    Answers(RowKind),
    /// The prompt with another row's answer.
    Mismatched,
}

impl Part {
    /// How many sequences of a row are packed.
    pub fn answers(self) -> usize {
        match self {
            Self::Answers(kind) => kind.answers(),
            Self::Mismatched => 1,
        }
    }

    /// The sequences of a row.
    pub fn of(self, row: &Row) -> Result<&[Sequence], RowError> {
        let (sequences, missing) = match self {
            Self::Answers(kind) => (row.answers().get(..kind.answers()), "rejected answer"),
            Self::Mismatched => (row.mismatched().map(slice::from_ref), "mismatched answer"),
        };
        sequences.ok_or(RowError::NothingToCompare { record: row.record, missing })
    }

    /// Whether the sequences are compared as a whole, so that their targets have no weights.
    fn compares(self) -> bool {
        match self {
            Self::Answers(kind) => kind.compares(),
            Self::Mismatched => true,
        }
    }

    /// Tokens of the sequences that are packed; 0 for what a row does not have.
    pub fn tokens(self, row: &Row) -> usize {
        self.of(row).map_or(0, |sequences| sequences.iter().map(Sequence::len).sum())
    }
}

/// The answers of a row, which share its prompt.
pub(crate) fn group_of(row: &Row, part: Part) -> Result<Vec<Answer<'_>>, RowError> {
    let sequences = part.of(row)?;
    for sequence in sequences {
        check_weights(row.record, sequence, part.compares())?;
    }
    let targets = |sequence: &Sequence| sequence.targets().map(|(position, _)| position).collect();
    let answer =
        |sequence| Answer { tokens: Sequence::tokens(sequence), targets: targets(sequence) };
    Ok(sequences.iter().map(answer).collect())
}

/// Checks the weights of targets, which all are 1 in sequences that are compared as a whole.
fn check_weights(record: u64, sequence: &Sequence, whole: bool) -> Result<(), RowError> {
    for (_, weight) in sequence.targets() {
        if !(weight.is_finite() && weight > 0.0) {
            return Err(RowError::Weight { record, weight: weight.to_string() });
        }
        if whole && weight != 1.0 {
            return Err(RowError::Weighted { record, weight: weight.to_string() });
        }
    }
    Ok(())
}

/// The weights of the targets of a row's sequence; empty if all are 1.
pub(crate) fn target_weights(row: &Row, part: Part, side: usize) -> Vec<f64> {
    let Some(sequence) = part.of(row).ok().and_then(|sequences| sequences.get(side)) else {
        return Vec::new();
    };
    if sequence.targets().all(|(_, weight)| weight == 1.0) {
        return Vec::new();
    }
    sequence.targets().map(|(_, weight)| f64::from(weight)).collect()
}

/// Packs rows; see [`Packed::new`].
pub(crate) fn pack(
    rows: &[&Row],
    vocabulary: usize,
    part: Part,
    split: bool,
) -> Result<Packed, RowError> {
    let groups = rows.iter().map(|row| group_of(row, part)).collect::<Result<Vec<_>, _>>()?;
    let named = |PackError { group, fault, .. }| RowError::of_fault(rows[group].record, &fault);
    Packed::new(&groups, vocabulary, split).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: &[u32], targets: &[usize]) -> Sequence {
        let targets: Vec<bool> = (0..tokens.len()).map(|t| targets.contains(&t)).collect();
        Sequence::masked(tokens.to_vec(), &targets)
    }

    #[test]
    fn rows_become_groups() {
        let rows = [
            Row::demonstration(sequence(&[1, 2, 3, 4, 5], &[0, 1, 3])),
            Row::pair(sequence(&[1, 2, 3], &[2]), sequence(&[1, 2, 4, 5], &[2, 3])),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let packed = pack(&rows[..1], 10, Part::Answers(RowKind::Demonstration), false).unwrap();
        // A target without a token before it is not scored, and nothing follows the last one.
        assert_eq!(
            (&packed.prompts.tokens[..], &packed.targets[..]),
            (&[1, 2, 3][..], &[2, 4][..])
        );
        let part = Part::Answers(RowKind::Pair);
        let packed = pack(&rows[1..], 10, part, false).unwrap();
        assert_eq!(
            (&packed.prompts.tokens[..], &packed.targets[..]),
            (&[1, 2][..], &[3, 4, 5][..])
        );
        assert_eq!((part.tokens(rows[0]), part.tokens(rows[1])), (0, 7));
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_named() {
        let message = |row: Row, part| {
            let row = row.at(0, 7);
            pack(&[&row], 10, part, false).err().unwrap().to_string()
        };
        let own = Part::Answers(RowKind::Demonstration);
        let error = message(Row::demonstration(sequence(&[1, 2, 3], &[0])), own);
        assert!(error.starts_with("record 7 has no target after its first token"), "{error}");
        let error = message(Row::demonstration(sequence(&[1, 10], &[1])), own);
        assert!(error.contains("token 10") && error.contains("10 entries"), "{error}");
        let row = || Row::demonstration(sequence(&[1, 2], &[1]));
        let error = message(row(), Part::Answers(RowKind::Pair));
        assert!(error.contains("record 7 has no rejected answer"), "{error}");
        let error = message(row(), Part::Mismatched);
        assert!(error.contains("record 7 has no mismatched answer"), "{error}");
    }

    #[test]
    fn weights_of_targets_are_read_and_checked() {
        let error = |weight, part| {
            let weighted = Sequence::weighted(vec![1, 2, 3], &[0.0, 1.0, weight]);
            let row = Row::judged(weighted.clone(), weighted, true).at(0, 7);
            pack(&[&row], 10, part, false).err().map(|error| error.to_string())
        };
        let own = Part::Answers(RowKind::Demonstration);
        assert_eq!(error(0.5, own), None);
        for weight in [-0.5, f32::INFINITY, f32::NAN] {
            let error = error(weight, own).unwrap();
            assert!(
                error.contains(&format!("record 7 has a target of weight {weight}")),
                "{error}"
            );
        }
        for part in [Part::Answers(RowKind::Judged), Part::Mismatched] {
            assert_eq!(error(1.0, part), None);
            let error = error(0.5, part).unwrap();
            assert!(error.contains("compares whole answers"), "{error}");
        }
        let weights = |weights: &[f32]| {
            let row = Row::demonstration(Sequence::weighted(vec![1, 2, 3, 4], weights));
            target_weights(&row, own, 0)
        };
        // The first token is not scored, and a weight of 0 makes no target.
        assert_eq!(weights(&[2.0, 0.5, 0.0, 3.0]), [0.5, 3.0]);
        assert_eq!(weights(&[2.0, 1.0, 0.0, 1.0]), [0.0; 0]);
    }
}
