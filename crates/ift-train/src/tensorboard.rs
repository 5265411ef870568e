//! Event files for `TensorBoard`: the few protocol buffers that scalars need, framed as
//! `TFRecord`s.
//!
//! Source of the format: `tensorflow/core/util/event.proto`,
//! `tensorflow/core/framework/summary.proto` and `tensorflow/core/lib/io/record_writer.cc`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::TrainError;

/// An event file, being written.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new event file in a folder, which is made where it is missing. With `again_from`, readers
    /// forget what earlier files of the folder say about that step and later ones: a resumed
    /// run computes them again.
    pub fn create(folder: &Path, again_from: Option<u64>) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Readers take the files of a folder in the order of their names.
        let mut number = 0;
        let path = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.{number}.ift"));
            if !path.exists() {
                break path;
            }
            number += 1;
        };
        let file = File::create_new(&path).map_err(TrainError::io("create", &path))?;
        let mut this = Self { path, file };
        this.write(&event(0, &message(FILE_VERSION, b"brain.Event:2")))?;
        if let Some(step) = again_from {
            this.write(&event(
                step,
                &message(SESSION_LOG, &integer(SESSION_STATUS, SESSION_START)),
            ))?;
        }
        Ok(this)
    }

    /// Writes scalars of a step.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), TrainError> {
        let value = |&(tag, value): &(&str, f64)| {
            let value =
                [key(VALUE_SIMPLE, FIXED32), (value as f32).to_le_bytes().to_vec()].concat();
            message(SUMMARY_VALUE, &[message(VALUE_TAG, tag.as_bytes()), value].concat())
        };
        let summary: Vec<u8> = scalars.iter().flat_map(value).collect();
        self.write(&event(step, &message(SUMMARY, &summary)))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), TrainError> {
        self.file.write_all(&record(event)).map_err(TrainError::io("write", &self.path))
    }
}

// Field numbers of `Event`.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
// Of `SessionLog`, and a value of its status.
const SESSION_STATUS: u64 = 1;
const SESSION_START: u64 = 1;
// Of `Summary` and `Summary.Value`.
const SUMMARY_VALUE: u64 = 1;
const VALUE_TAG: u64 = 1;
const VALUE_SIMPLE: u64 = 2;

// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// An `Event` at the present time.
fn event(step: u64, contents: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    [key(WALL_TIME, FIXED64), now.to_le_bytes().to_vec(), integer(STEP, step), contents.to_vec()]
        .concat()
}

fn message(field: u64, contents: &[u8]) -> Vec<u8> {
    [key(field, BYTES), varint(contents.len() as u64), contents.to_vec()].concat()
}

fn integer(field: u64, value: u64) -> Vec<u8> {
    [key(field, VARINT), varint(value)].concat()
}

fn key(field: u64, wire: u64) -> Vec<u8> {
    varint(field << 3 | wire)
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A `TFRecord`: length, its checksum, contents, their checksum.
fn record(contents: &[u8]) -> Vec<u8> {
    let length = (contents.len() as u64).to_le_bytes();
    let checksum = |bytes: &[u8]| masked(crc32c::crc32c(bytes)).to_le_bytes();
    [&length[..], &checksum(&length), contents, &checksum(contents)].concat()
}

/// The masking keeps a checksum of bytes that hold checksums from going wrong.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_little_endian_groups_of_seven() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    /// Bytes that `tensorboard.summary.writer.record_writer.RecordWriter` 2.21 writes for
    /// `b"brain.Event:2"`.
    #[test]
    fn records_are_those_of_tensorboard() {
        let bytes: Vec<String> =
            record(b"brain.Event:2").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(bytes.concat(), "0d000000000000003c37b834627261696e2e4576656e743a32ee01067c");
    }

    #[test]
    fn two_files_of_one_second_do_not_collide() {
        let root = tempfile::tempdir().unwrap();
        let mut first = EventFile::create(root.path(), None).unwrap();
        first.scalars(1, &[("train/loss", 0.5)]).unwrap();
        let second = EventFile::create(root.path(), Some(3)).unwrap();
        assert!(second.path > first.path);
    }
}
