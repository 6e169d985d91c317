//! Records as entries of a log.

use domain::ports::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX};
use domain::record::{Chunk, Record};

use crate::segmented_log::{Entry, LogError, LogReader, PAYLOAD_BYTES_MAX};

/// Appends a record to the log as an entry's payload: flags, length of the key, key, value.
pub fn write_record(record: &Record<'_>, buffer: &mut Vec<u8>) {
    buffer.push(u8::from(record.client_id));
    // A key is a source, of at most 255 bytes; the end of a longer one could not be distinguished from the value.
    buffer.extend_from_slice(&u32::try_from(record.key.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(record.key);
    buffer.extend_from_slice(record.value);
}

fn read_record<'a>(entry: &Entry<'a>) -> Option<Record<'a>> {
    let (flags, rest) = entry.payload.split_first()?;
    let (key_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*key_len)).ok()?)?;
    Some(Record { key, value, timestamp: entry.time, client_id: flags & 1 == 1 })
}

/// Reads the records from `position` on, as many as a chunk holds, and returns how many damaged bytes it skipped.
///
/// # Errors
/// Those of [`LogReader::read`].
pub fn read_chunk(reader: &mut LogReader, position: u64) -> Result<(Chunk, u64), LogError> {
    let mut chunk = Chunk::default();
    let read = reader.read(position, |entry| {
        // This bus did not write an entry that has a valid checksum but is not a record, or exceeds the record size. It
        // is passed on unchanged, so that it becomes a dead letter instead of being lost silently.
        let odd = Record { key: &[], value: entry.payload, timestamp: entry.time, client_id: false };
        chunk.push(entry.sequence, read_record(&entry).unwrap_or(odd), None);
        // An entry that was shown is consumed, so there must be room for the largest entry before the next one is shown.
        chunk.records.len() < CHUNK_RECORDS_MAX && chunk.records.bytes() <= CHUNK_BYTES_MAX - PAYLOAD_BYTES_MAX
    })?;
    chunk.next = read.next;
    Ok((chunk, read.damaged_bytes))
}
