//! The held-out share of the records, and the weights of files.
//!
//! Records are chosen by a hash of their position: the choice is the same in every run and spread
//! over the file, and all rows of a record stay together.

use std::collections::HashSet;

use ift_random::mix;

use crate::report::{FileReport, Report};
use crate::rows::Row;

/// Rows in the order of the files, and the report, whose rows are not counted yet.
pub(crate) type Loaded = (Vec<Row>, Report);

/// Index of the file, and number of the record.
type Position = (u32, u64);

fn position(row: &Row) -> Position {
    (row.source, row.record)
}

/// Splits off a share of the records, at least one.
pub(crate) fn hold_out((rows, mut report): Loaded, fraction: f64) -> (Loaded, Loaded) {
    let held = choose(&rows, fraction, 1);
    let (eval, train): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| held.contains(&position(row)));
    let blank = |file: &FileReport| FileReport {
        path: file.path.clone(),
        format: file.format.clone(),
        ..FileReport::default()
    };
    let mut held_report = Report {
        files: report.files.iter().map(blank).collect(),
        unseen_ignored: Vec::new(),
        ..report.clone()
    };
    for &(source, _) in &held {
        if let (Some(from), Some(to)) =
            (report.files.get_mut(source as usize), held_report.files.get_mut(source as usize))
        {
            from.held_out += 1;
            to.records += 1;
        }
    }
    ((train, report), (eval, held_report))
}

/// Repeats or leaves out the rows of each file by its weight. With a weight of 2.5, all rows occur
/// twice, then half of the records a third time. At least one record of every file remains.
pub(crate) fn apply_source_weights((rows, mut report): Loaded) -> Loaded {
    if report.files.iter().all(|file| file.weight.is_none()) {
        return (rows, report);
    }
    let mut weighed = Vec::with_capacity(rows.len());
    for group in rows.chunk_by(|a, b| a.source == b.source) {
        let file = group.first().and_then(|row| report.files.get_mut(row.source as usize));
        let weight = file.as_ref().and_then(|file| file.weight).unwrap_or(1.0);
        let passes = weight as usize;
        for _ in 0..passes {
            weighed.extend_from_slice(group);
        }
        let chosen = choose(group, weight.fract(), usize::from(passes == 0));
        let before = weighed.len();
        weighed.extend(group.iter().filter(|row| chosen.contains(&position(row))).cloned());
        let partial = weighed.len() - before;
        if let Some(file) = file {
            match passes {
                0 => file.left_out = (group.len() - partial) as u64,
                _ => file.repeated = ((passes - 1) * group.len() + partial) as u64,
            }
        }
    }
    (weighed, report)
}

/// A share of the records of the rows, rounded, but at least `least`.
fn choose(rows: &[Row], share: f64, least: usize) -> HashSet<Position> {
    let mut records: Vec<Position> = rows.iter().map(position).collect();
    records.dedup();
    let wanted = ((records.len() as f64 * share).round() as usize).max(least);
    records.sort_by_cached_key(|&(source, record)| {
        (mix(u64::from(source) << 40 ^ record), source, record)
    });
    records.into_iter().take(wanted).collect()
}
