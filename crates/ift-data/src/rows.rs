//! Training rows: one conversation each, with what it is contrasted with.

use sha2::{Digest, Sha256};

use crate::report::Report;

/// Tokens and which are learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// Token ids, `[length]`.
    pub tokens: Vec<u32>,
    /// Whether each token is learned, `[length]`.
    pub targets: Vec<bool>,
}

impl Sequence {
    /// Number of targets that have a token before them; one at position 0 is never scored.
    pub fn target_count(&self) -> usize {
        count(&self.targets)
    }
}

/// One training row: a whole conversation after the chat template, or a piece of plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    /// Token ids of the demonstration, of the chosen answer or of the judged one, each with its
    /// prompt, `[length]`.
    pub tokens: Vec<u32>,
    /// Whether each token is learned, `[length]`.
    pub targets: Vec<bool>,
    /// What a method on pairs or on judged answers needs besides.
    pub contrast: Contrast,
    /// Index of the file in [`Report::files`].
    pub source: u32,
    /// Line or record in that file, from 1.
    pub record: u64,
}

/// What an answer is contrasted with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contrast {
    /// Nothing: the row is a demonstration.
    #[default]
    None,
    /// The row is the chosen side of a pair. This is the other one, with its prompt.
    Rejected(Sequence),
    /// The row's answer was judged on its own (KTO, arXiv 2402.01306).
    Judged {
        /// The verdict.
        desirable: bool,
        /// The row's prompt with another row's answer, for the divergence that rewards are
        /// compared with.
        mismatched: Sequence,
    },
}

impl Row {
    /// A demonstration; `source` and `record` are 0.
    pub(crate) fn demonstration(sequence: Sequence) -> Self {
        let Sequence { tokens, targets } = sequence;
        Self { tokens, targets, ..Self::default() }
    }

    /// A judged answer whose mismatched sequence is still to come.
    pub(crate) fn judged(sequence: Sequence, desirable: bool) -> Self {
        let contrast = Contrast::Judged { desirable, mismatched: Sequence::default() };
        Self { contrast, ..Self::demonstration(sequence) }
    }

    /// Number of targets that have a token before them, without those of the contrast; a target at
    /// position 0 is never scored.
    pub fn target_count(&self) -> usize {
        count(&self.targets)
    }

    /// Tokens of all sequences that the row trains on: both sides of a pair, but not a mismatched
    /// answer.
    pub fn len_tokens(&self) -> usize {
        self.tokens.len() + self.rejected().map_or(0, |rejected| rejected.tokens.len())
    }

    /// The rejected side of a pair.
    pub fn rejected(&self) -> Option<&Sequence> {
        match &self.contrast {
            Contrast::Rejected(rejected) => Some(rejected),
            Contrast::None | Contrast::Judged { .. } => None,
        }
    }

    /// Scored targets of all sequences that the row trains on.
    pub(crate) fn all_targets(&self) -> usize {
        self.target_count() + self.rejected().map_or(0, Sequence::target_count)
    }
}

fn count(targets: &[bool]) -> usize {
    targets.iter().skip(1).filter(|&&t| t).count()
}

/// Rows with the account of where they come from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows, in the order of the files; a weighted file's rows several times over, pass by
    /// pass. Judged rows come in two runs, each in this order: first the desirable ones, then
    /// the others.
    pub rows: Vec<Row>,
    /// What was read, kept and lost.
    pub report: Report,
    /// SHA-256 over the tokens, targets and contrasts of all rows, in order, as lower-case
    /// hexadecimal.
    pub identity: String,
}

/// Stands where a row's length would, before a contrast. No row is this long.
const REJECTED: u64 = u64::MAX;
const UNDESIRABLE: u64 = u64::MAX - 1;
const DESIRABLE: u64 = u64::MAX - 2;

impl Dataset {
    /// Rows and their report, with the identity computed.
    pub(crate) fn new(rows: Vec<Row>, report: Report) -> Self {
        let mut hash = Sha256::new();
        for row in &rows {
            update(&mut hash, &row.tokens, &row.targets);
            let (mark, other) = match &row.contrast {
                Contrast::None => continue,
                Contrast::Rejected(rejected) => (REJECTED, rejected),
                Contrast::Judged { desirable: false, mismatched } => (UNDESIRABLE, mismatched),
                Contrast::Judged { desirable: true, mismatched } => (DESIRABLE, mismatched),
            };
            hash.update(mark.to_le_bytes());
            update(&mut hash, &other.tokens, &other.targets);
        }
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let identity =
            hash.finalize().iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        Self { rows, report, identity }
    }
}

fn update(hash: &mut Sha256, tokens: &[u32], targets: &[bool]) {
    hash.update((tokens.len() as u64).to_le_bytes());
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    hash.update(&bytes);
    let bytes: Vec<u8> = targets.iter().map(|&t| u8::from(t)).collect();
    hash.update(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: &[u32], targets: &[bool]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), targets: targets.to_vec() }
    }

    fn row(contrast: Contrast) -> Row {
        Row { contrast, ..Row::demonstration(sequence(&[1, 2, 3], &[false, true, true])) }
    }

    fn identity(rows: Vec<Row>) -> String {
        Dataset::new(rows, Report::default()).identity
    }

    /// The numbers come from another SHA-256: a change of them would make checkpoints refuse their
    /// own data.
    #[test]
    fn the_identity_covers_the_contrast_and_leaves_other_rows_as_they_were() {
        let other = sequence(&[1, 4], &[false, true]);
        let judged = |desirable| Contrast::Judged { desirable, mismatched: other.clone() };
        for (rows, expected) in [
            (
                vec![row(Contrast::None), Row::demonstration(other.clone())],
                "b86435904081ac8c4310f02dad6930f7f29d457e11414360e9dd752d8448c21c",
            ),
            (
                vec![row(Contrast::Rejected(other.clone()))],
                "df6528db2e6cc16f6d3a6717548864bae1af2a434a59a6514d4a608498df4339",
            ),
            (
                vec![row(judged(false))],
                "b9ad6656512372f8cf0ec569ef76847aaab1beeeaa11ce72f40c4fc7e0a1b4bb",
            ),
            (
                vec![row(judged(true))],
                "050d7fca89521461e2a05e1d07b34a008c8651eb0cddc7f703a60fed1674bf70",
            ),
        ] {
            assert_eq!(identity(rows), expected);
        }
        let changed = sequence(&[1, 5], &[false, true]);
        assert_ne!(
            identity(vec![row(Contrast::Rejected(other))]),
            identity(vec![row(Contrast::Rejected(changed))])
        );
    }

    #[test]
    fn lengths_count_both_sides_of_a_pair_and_no_mismatched_answer() {
        let other = sequence(&[1, 4], &[true, true]);
        let pair = row(Contrast::Rejected(other.clone()));
        assert_eq!((pair.len_tokens(), pair.target_count(), pair.all_targets()), (5, 2, 3));
        let judged = row(Contrast::Judged { desirable: true, mismatched: other });
        assert_eq!((judged.len_tokens(), judged.target_count(), judged.all_targets()), (3, 2, 2));
    }
}
