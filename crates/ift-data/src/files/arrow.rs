//! Arrow IPC: streams, and files, which are streams with an index behind them.

use std::io::{self, Read};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use super::Records;
use super::batches::{BatchRecords, grows_too_much};

/// First bytes of a file; a stream follows.
pub(super) const FILE: &[u8] = b"ARROW1\0\0";

/// First bytes of a message, also of the first one of a stream.
pub(super) const MESSAGE: &[u8] = &[0xff; 4];

/// The largest description of a message: names and sizes of columns.
const LARGEST_HEADER: u32 = 256 << 20;

/// The records of a stream. It is read batch by batch, as it lies in the file.
pub(super) fn open(path: &Path, reader: Box<dyn Read>) -> Records {
    let messages = Messages { reader, decoder: StreamDecoder::new(), ended: false };
    Box::new(BatchRecords::new(path, "Arrow", Box::new(messages), None))
}

struct Messages {
    reader: Box<dyn Read>,
    decoder: StreamDecoder,
    ended: bool,
}

impl Iterator for Messages {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.message() {
                Ok(None) => {}
                Ok(Some(batch)) => return Some(Ok(batch)),
                Err(problem) => {
                    self.ended = true;
                    return Some(Err(problem));
                }
            }
        }
        None
    }
}

impl Messages {
    /// Reads one message: a mark, the length of its header, the header, and its body. `None` if it
    /// is not a batch.
    fn message(&mut self) -> Result<Option<RecordBatch>, String> {
        let mut message = Vec::new();
        self.take(8, &mut message)?;
        let length = message.strip_prefix(MESSAGE).and_then(|length| length.try_into().ok());
        let length = length.map(u32::from_le_bytes).ok_or("found no message, expected one")?;
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        if length > LARGEST_HEADER {
            return Err(format!("a message claims a header of {length} bytes"));
        }
        self.take(u64::from(length), &mut message)?;
        let header = message.get(8..).unwrap_or_default();
        let header = arrow_ipc::root_as_message(header).map_err(|e| e.to_string())?;
        let body = u64::try_from(header.bodyLength()).map_err(|e| e.to_string())?;
        let start = message.len();
        self.take(body, &mut message)?;
        check_growth(&message, start)?;
        let mut bytes = Buffer::from_vec(message);
        let batch = self.decoder.decode(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.is_empty() { Ok(batch) } else { Err("a message has unread bytes".to_owned()) }
    }

    /// Reads so many bytes. Memory is taken as they come, not on the file's word.
    fn take(&mut self, bytes: u64, to: &mut Vec<u8>) -> Result<(), String> {
        let read = self.reader.by_ref().take(bytes).read_to_end(to);
        let read = read.map_err(|e: io::Error| e.to_string())?;
        if read as u64 == bytes {
            return Ok(());
        }
        Err("it ends without its end mark; it is cut short, or was not closed".to_owned())
    }
}

/// Checks the sizes that compressed buffers claim, before memory is taken for them.
fn check_growth(message: &[u8], body: usize) -> Result<(), String> {
    let header = message.get(8..body).unwrap_or_default();
    let header = arrow_ipc::root_as_message(header).map_err(|e| e.to_string())?;
    let dictionary = header.header_as_dictionary_batch().and_then(|batch| batch.data());
    let Some(batch) = header.header_as_record_batch().or(dictionary) else { return Ok(()) };
    if batch.compression().is_none() {
        return Ok(());
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) =
            (usize::try_from(buffer.offset()), u64::try_from(buffer.length()))
        else {
            return Err("a buffer lies outside its message".to_owned());
        };
        let start = body.saturating_add(offset);
        let size =
            message.get(start..start.saturating_add(8)).and_then(|size| size.try_into().ok());
        // A size of -1 says that the buffer is not compressed.
        let size = size.map_or(-1, i64::from_le_bytes);
        if u64::try_from(size).is_ok_and(|size| grows_too_much(length, size)) {
            return Err(format!("a buffer claims to grow from {length} to {size} bytes"));
        }
    }
    Ok(())
}
