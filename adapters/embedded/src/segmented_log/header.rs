//! The header of a frame, its checksum and its limits.

use domain::timestamp::Timestamp;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Maximum bytes of a payload: a record and its envelope. Anything longer on disk is damage.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;
/// Maximum distance between consecutive sequences in the same file: a sequence further ahead is treated as garbage.
pub(super) const SKIP_MAX: u64 = u32::MAX as u64;

#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) payload_len: usize,
    pub(super) checksum: u32,
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (payload_len, rest) = bytes.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (time, _) = rest.split_first_chunk::<8>()?;
        let payload_len = usize::try_from(u32::from_le_bytes(*payload_len)).ok()?;
        (payload_len <= PAYLOAD_BYTES_MAX).then_some(())?;
        Some(Self {
            payload_len,
            checksum: u32::from_le_bytes(*checksum),
            sequence: u64::from_le_bytes(*sequence),
            time: Timestamp::from_unix_micros(i64::from_le_bytes(*time)).ok()?,
        })
    }
}

/// Appends a frame. Returns false, and appends nothing, if its payload is too long.
pub(super) fn write_frame(
    buffer: &mut Vec<u8>,
    sequence: u64,
    time: Timestamp,
    write_payload: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let from = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&time.unix_micros().to_le_bytes());
    write_payload(buffer);
    let payload_len = buffer.len() - from - FRAME_HEADER_BYTES;
    let Some(payload_len) = u32::try_from(payload_len).ok().filter(|_| payload_len <= PAYLOAD_BYTES_MAX) else {
        buffer.truncate(from);
        return false;
    };
    if let Some(frame) = buffer.get_mut(from..) {
        put(frame, 0, payload_len);
        let checksum = checksum(frame);
        put(frame, 4, checksum);
    }
    true
}

fn put(frame: &mut [u8], at: usize, value: u32) {
    if let Some(place) = frame.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32C of a frame without its checksum field.
pub(super) fn checksum(frame: &[u8]) -> u32 {
    let length = crc32c::crc32c(frame.get(..4).unwrap_or_default());
    crc32c::crc32c_append(length, frame.get(8..).unwrap_or_default())
}
