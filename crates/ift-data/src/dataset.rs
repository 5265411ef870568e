//! Rows with the report of where they come from, and their identity.

use ift_methods::RowKind;
use sha2::{Digest, Sha256};

use crate::report::Report;
use crate::rows::Row;

/// Rows with the report of where they come from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows, in the order of the files. The rows of a file with a weight are repeated pass by
    /// pass. Judged rows come in two groups, each in this order: first the desirable ones, then
    /// the others.
    pub rows: Vec<Row>,
    /// Number of records read, kept and dropped.
    pub report: Report,
    /// SHA-256 over kind, tokens and targets of all rows, in order, as lower-case hexadecimal.
    /// It does not cover the source and the record of a row, which name its random streams.
    pub identity: String,
}

impl Dataset {
    /// Rows and their report, with the identity computed.
    pub(crate) fn new(rows: Vec<Row>, report: Report) -> Self {
        let mut hash = Sha256::new();
        for row in &rows {
            // Text and demonstrations with the same tokens and targets are the same to a method.
            let kind: u8 = match (row.kind(), row.is_desirable()) {
                (RowKind::Text | RowKind::Demonstration, _) => 0,
                (RowKind::Pair, _) => 1,
                (RowKind::Judged, false) => 2,
                (RowKind::Judged, true) => 3,
            };
            hash.update([kind]);
            for sequence in row.sequences() {
                sequence.write_identity(|bytes| hash.update(bytes));
            }
        }
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let identity =
            hash.finalize().iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        Self { rows, report, identity }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rows::Sequence;

    fn identity(rows: Vec<Row>) -> String {
        Dataset::new(rows, Report::default()).identity
    }

    /// The expected values come from another SHA-256: a change of them would make checkpoints
    /// refuse their own data.
    #[test]
    fn the_identity_is_stable() {
        let own = Sequence::masked(vec![1, 2, 3], &[false, true, true]);
        let other = Sequence::masked(vec![1, 4], &[false, true]);
        for (rows, expected) in [
            (
                vec![Row::demonstration(own.clone()), Row::text(other.clone())],
                "e061c0c833d975a39b9a4f0650e5f498eb7b7df1abd3a823796406ac636abb87",
            ),
            (
                vec![Row::pair(own.clone(), other.clone())],
                "d9fc32e197d16b72396fc2eaee4af5c71f4426434c3dc182aeebf45d305d1474",
            ),
            (
                vec![Row::judged(own.clone(), other.clone(), false)],
                "b0e0ca1984b3afc209c1a02b5c5f3bd39d0d5711a050299513b5504dfb29e93e",
            ),
            (
                vec![Row::judged(own, other, true)],
                "4228138ecadd3217803aae2419e356bf164b8b6b842185e71d32a65d4e74fc25",
            ),
        ] {
            assert_eq!(identity(rows), expected);
        }
    }

    #[test]
    fn the_identity_covers_order_kind_label_tokens_and_targets() {
        let sequence =
            |tokens: &[u32], targets: &[bool]| Sequence::masked(tokens.to_vec(), targets);
        let own = || sequence(&[1, 2, 3], &[false, true, true]);
        let other = || sequence(&[1, 4], &[false, true]);
        let sets = [
            vec![Row::demonstration(own()), Row::demonstration(other())],
            vec![Row::demonstration(other()), Row::demonstration(own())],
            vec![Row::demonstration(own())],
            vec![Row::pair(own(), other())],
            vec![Row::pair(other(), own())],
            vec![Row::pair(own(), sequence(&[1, 5], &[false, true]))],
            vec![Row::pair(own(), sequence(&[1, 4], &[true, true]))],
            vec![Row::pair(own(), Sequence::weighted(vec![1, 4], &[0.0, 0.5]))],
            vec![Row::judged(own(), other(), true)],
            vec![Row::judged(own(), other(), false)],
        ];
        let identities: HashSet<String> = sets.iter().cloned().map(identity).collect();
        assert_eq!(identities.len(), sets.len());
        assert_eq!(identity(vec![Row::text(own())]), identity(vec![Row::demonstration(own())]));
    }
}
