//! Fingerprints of files and texts, as lower-case hexadecimal.
//!
//! A file is hashed in pieces, in parallel and without being held in memory. The fingerprint of a
//! file of one piece is its SHA-256; that of a larger one is the SHA-256 of its pieces' digests.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::TrainError;

/// Bytes of a piece.
const PIECE: u64 = 16 << 20;
/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// The fingerprint of a file's bytes.
pub(crate) fn of_file(path: &Path) -> Result<String, TrainError> {
    in_pieces(path, PIECE).map(|digest| hexadecimal(&digest)).map_err(TrainError::io("read", path))
}

/// The fingerprint of several files, in their order: of their names, without the folders they are
/// in, and of their bytes.
pub(crate) fn of_files(paths: &[PathBuf]) -> Result<String, TrainError> {
    // Two digests for each file, all of the same length, so that no two lists look alike.
    let one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        Ok(of_bytes(name) + &of_file(path)?)
    };
    let each = paths.iter().map(one).collect::<Result<Vec<_>, TrainError>>()?;
    Ok(of_bytes(each.concat().as_bytes()))
}

/// The fingerprint of bytes in memory: their SHA-256.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn in_pieces(path: &Path, piece: u64) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    let pieces = length.div_ceil(piece).max(1);
    let digests: Vec<Vec<u8>> = (0..pieces)
        .into_par_iter()
        .map(|i| digest(path, i * piece, piece))
        .collect::<Result<_, _>>()?;
    Ok(if digests.len() == 1 {
        digests.concat()
    } else {
        Sha256::digest(digests.concat()).to_vec()
    })
}

/// SHA-256 of at most `length` bytes of a file from `start` on.
fn digest(path: &Path, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut file = file.take(length);
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK.min(length as usize)];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.finalize().to_vec()),
            read => hash.update(&block[..read]),
        }
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_has_its_sha_256_and_a_large_one_that_of_its_pieces() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((of_file(&path).unwrap().as_str(), of_bytes(b"abc").as_str()), (abc, abc));
        fs::write(&path, "abcabcab").unwrap();
        let digests: Vec<u8> =
            ["abc", "abc", "ab"].iter().flat_map(|text| Sha256::digest(text).to_vec()).collect();
        assert_eq!(in_pieces(&path, 3).unwrap(), Sha256::digest(digests).to_vec());
        fs::write(&path, "").unwrap();
        assert_eq!(of_file(&path).unwrap(), of_bytes(b""));
    }

    #[test]
    fn the_names_of_files_count_and_their_folders_do_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str, files: [(&str, &str); 2]| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            let paths = files.map(|(name, text)| {
                fs::write(folder.join(name), text).unwrap();
                folder.join(name)
            });
            of_files(&paths).unwrap()
        };
        let first = folder("first", [("a", "one"), ("b", "two")]);
        assert_eq!(folder("moved", [("a", "one"), ("b", "two")]), first);
        // The same bytes in the same order, under other names.
        assert_ne!(folder("swapped", [("b", "one"), ("a", "two")]), first);
    }

    #[test]
    fn every_byte_and_the_order_of_files_count() {
        let root = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| root.path().join(name));
        fs::write(&paths[0], "one").unwrap();
        fs::write(&paths[1], "two").unwrap();
        let [forward, backward] = [[0, 1], [1, 0]]
            .map(|order| of_files(&order.map(|i: usize| paths[i].clone())).unwrap());
        assert_ne!(forward, backward);
        let before = in_pieces(&paths[0], 2).unwrap();
        fs::write(&paths[0], "ona").unwrap();
        assert_ne!(in_pieces(&paths[0], 2).unwrap(), before);
    }
}
