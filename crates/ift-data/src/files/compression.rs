//! Files that may be compressed, recognised by their first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::DataError;

/// First bytes of compressed files that are read.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// First bytes of compressed files that are not read, and what undoes them.
const OTHERS: [(&[u8], &str, &str); 4] = [
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"PK\x03\x04", "a ZIP archive", "unzip"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
];

/// The bytes of a file, decompressed.
pub(super) enum Content {
    /// A file that is not compressed, at its beginning.
    Plain(File),
    /// A compressed file.
    Compressed(Box<dyn Read>),
}

/// Opens a file.
///
/// # Errors
/// When it cannot be read, is a folder, or is compressed in another way than by gzip or zstd.
pub(super) fn open(path: &Path) -> Result<Content, DataError> {
    let mut file = File::open(path).map_err(DataError::read(path))?;
    if file.metadata().map_err(DataError::read(path))?.is_dir() {
        return Err(DataError::file(path, "is a folder, expected a file"));
    }
    let mut head = Vec::new();
    file.by_ref().take(8).read_to_end(&mut head).map_err(DataError::read(path))?;
    file.seek(SeekFrom::Start(0)).map_err(DataError::read(path))?;
    if head.starts_with(GZIP) {
        let reader = Box::new(MultiGzDecoder::new(BufReader::new(file)));
        return Ok(Content::Compressed(Box::new(Decoder { name: "gzip", reader })));
    }
    if head.starts_with(ZSTD) {
        let reader = zstd::Decoder::new(file).map_err(DataError::read(path))?;
        let reader = Box::new(reader);
        return Ok(Content::Compressed(Box::new(Decoder { name: "zstd", reader })));
    }
    for (magic, name, tool) in OTHERS {
        if head.starts_with(magic) {
            let problem = format!(
                "is compressed ({name}); decompress it (`{tool}`), or compress it with gzip or zstd"
            );
            return Err(DataError::file(path, problem));
        }
    }
    Ok(Content::Plain(file))
}

/// Names the compression in errors.
struct Decoder {
    name: &'static str,
    reader: Box<dyn Read>,
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|e| {
            let problem = format!("its {} data is damaged or cut short ({e})", self.name);
            io::Error::new(e.kind(), problem)
        })
    }
}

/// A reader whose first bytes were looked at.
pub(super) struct Peeked {
    /// The first bytes.
    pub head: Vec<u8>,
    /// Whether these are all.
    pub whole: bool,
    rest: Box<dyn Read>,
}

impl Peeked {
    /// Reads the first `bytes` bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(mut rest: Box<dyn Read>, bytes: u64) -> io::Result<Self> {
        let mut head = Vec::new();
        rest.by_ref().take(bytes).read_to_end(&mut head)?;
        Ok(Self { whole: (head.len() as u64) < bytes, head, rest })
    }

    /// All bytes but the first `skip`, which lie within the head.
    pub fn from(mut self, skip: usize) -> Box<dyn BufRead> {
        let head = self.head.split_off(skip);
        Box::new(BufReader::new(io::Cursor::new(head).chain(self.rest)))
    }
}
