//! Parquet files.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::Records;
use super::batches::{BatchRecords, ROWS, grows_too_much};
use super::contained::contained;
use crate::error::DataError;

/// Opens a Parquet file. It is read page by page; its columns are those of the file, without the
/// Arrow types that some writers add.
///
/// # Errors
/// When it is not Parquet, or is damaged.
pub(super) fn open(path: &Path, file: File) -> Result<Records, DataError> {
    let length = file.metadata().map_err(DataError::read(path))?.len();
    let pages = Pages { file, length };
    let opened = contained(|| {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(pages, options)?;
        let rows = builder.metadata().file_metadata().num_rows();
        Ok((builder.with_batch_size(ROWS).build()?, rows))
    });
    let opened = opened.and_then(|opened| opened.map_err(|e: ParquetError| e.to_string()));
    let (reader, rows) = opened
        .map_err(|problem| DataError::file(path, format!("not readable as Parquet: {problem}")))?;
    let batches = reader.map(|batch| batch.map_err(|e| e.to_string()));
    Ok(Box::new(BatchRecords::new(path, "Parquet", Box::new(batches), u64::try_from(rows).ok())))
}

/// A file whose parts are checked before memory is taken for them.
struct Pages {
    file: File,
    length: u64,
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        check_page(reader.fill_buf()?)?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<bytes::Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            let problem = format!("{length} bytes from byte {start} lie beyond its end");
            return Err(ParquetError::General(problem));
        }
        self.file.get_bytes(start, length)
    }
}

/// Checks the sizes at the beginning of a page's header: Thrift's compact encoding of its kind,
/// its size and its compressed size. A header of another form is left to the reader.
fn check_page(header: &[u8]) -> Result<(), ParquetError> {
    let mut header = header.iter().copied();
    let mut sizes = [0; 3];
    for size in &mut sizes {
        if header.next() != Some(NEXT_FIELD_I32) {
            return Ok(());
        }
        let Some(number) = varint(&mut header) else { return Ok(()) };
        *size = number / 2; // zigzag; negative sizes are odd, and the reader refuses them
    }
    let [_, size, compressed] = sizes;
    if grows_too_much(compressed, size) {
        let problem = format!("a page claims to grow from {compressed} to {size} bytes");
        return Err(ParquetError::General(problem));
    }
    Ok(())
}

/// The field after the one before, an `i32`.
const NEXT_FIELD_I32: u8 = 0x15;

/// A number in groups of seven bits, the lowest first.
fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::check_page;

    #[test]
    fn pages_that_claim_to_grow_without_measure_are_refused() {
        let error = check_page(b"\x15\x00\x15\xfe\xff\xff\xff\x0f\x15\x14\x2c").unwrap_err();
        let expected = "a page claims to grow from 10 to 2147483647 bytes";
        assert!(error.to_string().contains(expected), "{error}");
        check_page(b"\x15\x00\x15\x80\x80\x80\x10\x15\x14\x2c").unwrap();
        check_page(b"\x15\x00\x15\xfe\xff\xff\xff\x0f\x15\xfe\xff\xff\x0f").unwrap();
        check_page(b"\x16").unwrap();
    }
}
