//! `COMPLETE.json`: written last into a checkpoint, with the size and hash of every other file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::{durable, hash};

const NAME: &str = "COMPLETE.json";

/// The files of a complete checkpoint, by their path in it, with `/` between folders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    files: BTreeMap<String, Fingerprint>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    bytes: u64,
    /// As [`hash::of_file`] computes it.
    sha256: String,
}

impl Marker {
    /// Takes the fingerprints of everything in a folder and writes them to its marker.
    pub fn write(folder: &Path) -> Result<(), TrainError> {
        let mut marker = Self { files: BTreeMap::new() };
        marker.collect(folder, "")?;
        durable::write_json(&folder.join(NAME), &marker)
    }

    fn collect(&mut self, folder: &Path, prefix: &str) -> Result<(), TrainError> {
        for path in durable::entries(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                self.collect(&path, &format!("{prefix}{name}/"))?;
            } else {
                let bytes = fs::metadata(&path).map_err(TrainError::io("read", &path))?.len();
                self.files.insert(
                    format!("{prefix}{name}"),
                    Fingerprint { bytes, sha256: hash::of_file(&path)? },
                );
            }
        }
        Ok(())
    }

    /// Checks a folder against its marker: the sizes of all files, and the hashes of those that are
    /// `read` when the run is resumed. Says what is wrong.
    pub fn verify(folder: &Path, read: impl Fn(&str) -> bool) -> Result<(), String> {
        let text = fs::read_to_string(folder.join(NAME)).map_err(|e| format!("`{NAME}`: {e}"))?;
        let marker: Self =
            serde_json::from_str(&text).map_err(|e| format!("`{NAME}` is damaged: {e}"))?;
        for (name, expected) in &marker.files {
            let path = folder.join(name);
            let bytes = fs::metadata(&path).map_err(|e| format!("`{name}`: {e}"))?.len();
            if bytes != expected.bytes {
                return Err(format!("`{name}` has {bytes} bytes, expected {}", expected.bytes));
            }
            if read(name) && hash::of_file(&path).map_err(|e| e.to_string())? != expected.sha256 {
                return Err(format!("`{name}` does not have the contents that were written"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_and_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        fs::create_dir(folder.join("state")).unwrap();
        fs::write(folder.join("a"), "abc").unwrap();
        fs::write(folder.join("state/b"), "xyz").unwrap();
        assert!(Marker::verify(folder, |_| true).unwrap_err().contains(NAME));
        Marker::write(folder).unwrap();
        Marker::verify(folder, |_| true).unwrap();
        let text = fs::read_to_string(folder.join(NAME)).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(text.contains(abc) && text.contains("state/b"), "{text}");

        fs::write(folder.join("state/b"), "xyw").unwrap();
        assert!(
            Marker::verify(folder, |name| name == "state/b").unwrap_err().contains("`state/b`")
        );
        Marker::verify(folder, |name| name == "a").unwrap();
        fs::write(folder.join("state/b"), "xy").unwrap();
        let problem = Marker::verify(folder, |_| false).unwrap_err();
        assert!(problem.contains("has 2 bytes, expected 3"), "{problem}");
        fs::remove_file(folder.join("a")).unwrap();
        assert!(Marker::verify(folder, |_| false).unwrap_err().contains("`a`"));
    }
}
