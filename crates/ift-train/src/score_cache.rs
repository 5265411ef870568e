//! A file of a reference's log-probabilities, which grows while rows are scored.
//!
//! The values of all rows are stored one after the other, eight bytes each, little-endian. A row
//! has those of its own sequence, then those of its rejected one, then those of its mismatched one.
//! Their counts follow from the row. So the length of the file gives the number of finished rows,
//! and a run that was killed continues after the last complete one.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ift_data::{Row, Sequence};

use crate::error::TrainError;
use crate::reference::KnownScores;

/// Rows that are scored at a time; at most so many are lost when the run is killed.
const ROWS: usize = 64;
/// Bytes of a value.
const BYTES: usize = size_of::<f64>();

/// The file, open for append.
pub(crate) struct ScoreCache {
    path: PathBuf,
    file: File,
    /// The rows that are done, in their order.
    pub known: Vec<KnownScores>,
}

impl ScoreCache {
    /// The file called `name` in a folder, or a new one, for the given rows.
    pub fn open(folder: &Path, name: &str, rows: &[&Row]) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let path = folder.join(format!("{name}.f64"));
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(TrainError::io("open", &path))?;
        let bytes = fs::read(&path).map_err(TrainError::io("read", &path))?;
        let mut numbers =
            bytes.as_chunks::<BYTES>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
        let mut done = 0;
        let known = rows.iter().map_while(|row| {
            let wanted = counts(row).iter().sum::<usize>();
            let numbers: Vec<f64> = numbers.by_ref().take(wanted).collect();
            done += if numbers.len() == wanted { wanted } else { 0 };
            (numbers.len() == wanted).then(|| cut(row, &numbers))
        });
        let known = known.collect();
        // An incomplete row is scored again.
        file.set_len((done * BYTES) as u64).map_err(TrainError::io("write", &path))?;
        Ok(Self { path, file, known })
    }

    /// The rows to score next; `None` when all are done.
    pub fn next<'r, 'a>(&self, rows: &'r [&'a Row]) -> Option<&'r [&'a Row]> {
        let rest = rows.get(self.known.len()..)?;
        (!rest.is_empty()).then(|| &rest[..rest.len().min(ROWS)])
    }

    /// Writes the scores of the next rows.
    pub fn append(&mut self, scores: Vec<KnownScores>) -> Result<(), TrainError> {
        let lists =
            scores.iter().flat_map(|known| [&known.first, &known.rejected, &known.mismatched]);
        let bytes: Vec<u8> = lists.flatten().flat_map(|number| number.to_le_bytes()).collect();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(TrainError::io("write", &self.path))?;
        self.known.extend(scores);
        Ok(())
    }
}

/// The number of values of a row, by kind.
fn counts(row: &Row) -> [usize; 3] {
    let count = |sequence: Option<&Sequence>| sequence.map_or(0, Sequence::target_count);
    let [own, rejected] = [0, 1].map(|answer| count(row.answers().get(answer)));
    [own, rejected, count(row.mismatched())]
}

/// The values of a row, by kind.
fn cut(row: &Row, numbers: &[f64]) -> KnownScores {
    let [own, rejected, _] = counts(row);
    let (first, rest) = numbers.split_at(own);
    let (rejected, mismatched) = rest.split_at(rejected);
    KnownScores {
        first: first.to_vec(),
        rejected: rejected.to_vec(),
        mismatched: mismatched.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let sequence = |n: usize| Sequence::masked(vec![1; n + 1], &vec![true; n + 1]);
        vec![
            Row::pair(sequence(2), sequence(3)),
            Row::demonstration(sequence(1)),
            Row::judged(sequence(2), sequence(1), true),
        ]
    }

    #[test]
    fn a_cut_file_goes_on_behind_its_last_whole_row() {
        let rows = rows();
        let rows: Vec<&Row> = rows.iter().collect();
        let known = [
            KnownScores {
                first: vec![1.0, 2.0],
                rejected: vec![3.0, 4.0, 5.0],
                mismatched: vec![],
            },
            KnownScores { first: vec![6.0], ..KnownScores::default() },
            KnownScores { first: vec![7.0, 8.0], rejected: vec![], mismatched: vec![9.0] },
        ];
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("reference");
        let mut cache = ScoreCache::open(&folder, "a", &rows).unwrap();
        assert_eq!(cache.next(&rows).map(<[_]>::len), Some(3));
        cache.append(known.to_vec()).unwrap();
        assert!(cache.next(&rows).is_none());
        let whole = fs::read(folder.join("a.f64")).unwrap();
        for (length, done) in
            [(9 * 8, 3), (9 * 8 - 1, 2), (6 * 8, 2), (5 * 8 + 3, 1), (5 * 8, 1), (8, 0), (0, 0)]
        {
            fs::write(folder.join("a.f64"), &whole[..length]).unwrap();
            let mut cache = ScoreCache::open(&folder, "a", &rows).unwrap();
            assert_eq!(cache.known, known[..done], "{length}");
            cache.append(known[done..].to_vec()).unwrap();
            assert!(fs::read(folder.join("a.f64")).unwrap() == whole, "{length}");
        }
    }
}
