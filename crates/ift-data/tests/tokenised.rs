//! Rows that were tokenised elsewhere.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use common::{file, mask};
use ift_data::{Row, rows_from_jsonl};
use ift_methods::RowKind;

#[test]
fn demonstrations() {
    let folder = tempfile::tempdir().unwrap();
    let good = concat!(
        r#"{"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "#,
        r#""chosen_ids": [1], "rejected_labels": [2]}"#
    );
    let path = file(folder.path(), "rows.jsonl", format!("{good}\n\n{good}\n"));
    let rows = rows_from_jsonl(&path, RowKind::Demonstration).unwrap();
    assert_eq!(
        (rows[0].answer().tokens(), mask(rows[0].answer())),
        (&[5, 6, 7][..], vec![false, true, true])
    );
    assert_eq!((rows[1].source, rows[1].record, rows[1].answer().target_count()), (0, 3, 2));
    for (line, reason) in [
        (r#"{"labels": [1]}"#, "field `input_ids`: found nothing"),
        (
            r#"{"input_ids": [1], "labels": [1, 2]}"#,
            "`labels`: found 2 entries, expected as many as `input_ids`, 1",
        ),
        (
            r#"{"input_ids": [1, 2], "labels": [-100, 3]}"#,
            "`labels[1]`: found 3, expected -100, or 2",
        ),
        (r#"{"input_ids": [-1], "labels": [-100]}"#, "-1"),
        (r#"{"input_ids": [], "labels": []}"#, "`input_ids`: found an empty list"),
        ("{", "EOF"),
    ] {
        let path = file(folder.path(), "bad.jsonl", format!("{good}\n{line}\n"));
        let error = rows_from_jsonl(&path, RowKind::Demonstration).unwrap_err().to_string();
        assert!(
            error.contains("bad.jsonl`, line 2: ") && error.contains(reason),
            "{line}: {error}"
        );
    }
}

/// A line with a demonstration and a pair.
const PAIR: &str = concat!(
    r#"{"input_ids": [1, 5], "labels": [-100, 5], "#,
    r#""chosen_ids": [1, 6], "chosen_labels": [-100, 6], "#,
    r#""rejected_ids": [1, 7, 8], "rejected_labels": [-100, 7, 8]}"#
);

#[test]
fn pairs_have_four_lists() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "rows.jsonl", format!("{PAIR}\n"));
    let row = rows_from_jsonl(&path, RowKind::Pair).unwrap().remove(0);
    assert_eq!((row.answer().tokens(), row.record, row.len_tokens()), (&[1, 6][..], 1, 5));
    let rejected = &row.answers()[1];
    assert_eq!((rejected.tokens(), rejected.target_count()), (&[1, 7, 8][..], 2));

    let plain = rows_from_jsonl(&path, RowKind::Demonstration).unwrap();
    assert_eq!((plain[0].kind(), plain[0].answers().len()), (RowKind::Demonstration, 1));
    assert_eq!(plain[0].answer().tokens(), [1, 5]);
    let only = PAIR.replace("\"input_ids\"", "\"x\"").replace("\"labels\"", "\"y\"");
    let path = file(folder.path(), "rows.jsonl", only);
    let chosen = rows_from_jsonl(&path, RowKind::Text).unwrap();
    assert_eq!(chosen[0], Row::text(row.answer().clone()).at(0, 1));
}

#[test]
fn faults_of_pairs_and_judged_rows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"input_ids": [1, 5], "labels": [-100, 5], "desirable": true}"#;
    for (kind, text, reason) in [
        (RowKind::Pair, line.to_owned(), "line 1: field `chosen_ids`: found nothing"),
        (
            RowKind::Pair,
            PAIR.replace("rejected_ids", "x"),
            "line 1: field `rejected_ids`: found nothing",
        ),
        (
            RowKind::Pair,
            PAIR.replace("[-100, 7, 8]", "[-100, 7, 9]"),
            "field `rejected_labels[2]`: found 9",
        ),
        (RowKind::Pair, PAIR.replace("[-100, 7, 8]", "[7, 8]"), "as many as `rejected_ids`, 3"),
        (
            RowKind::Judged,
            line.replace("desirable", "x"),
            "line 1: field `desirable`: found nothing",
        ),
        (
            RowKind::Judged,
            line.replace("true", "1"),
            "line 1: invalid type: integer `1`, expected a boolean",
        ),
        (
            RowKind::Judged,
            PAIR.replace("chosen_ids", "x"),
            "line 1: field `chosen_ids`: found nothing",
        ),
        (RowKind::Judged, line.to_owned(), "rows.jsonl`: holds one judged answer"),
    ] {
        let path = file(folder.path(), "rows.jsonl", format!("{text}\n"));
        let error = rows_from_jsonl(&path, kind).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}, without {reason}");
    }
}
