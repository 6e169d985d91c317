//! Content of a journal frame: one record.
//!
//! ```text
//! record:   flags u8 | length of the key u16 | key | trace parent, 55 bytes, if the flags say so | value
//! refused:  partition u32 | length of the reason u16 | reason | record
//! ```
//!
//! Little-endian. Flags: 1 = the client chose the id; 2 = there is a trace parent; the bits above = the guarantee, 0 to
//! 2. A payload with other flags, or with lengths that do not fit, does not have this format. The record's number and
//! receipt time are those of the frame.

use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::record::Record;
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;

const CLIENT_ID: u8 = 1;
const TRACE_PARENT: u8 = 1 << 1;
const GUARANTEE_SHIFT: u8 = 2;
/// Maximum bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 4_096;

/// A record in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Journaled<'a> {
    pub record: Record<'a>,
    pub guarantee: Guarantee,
    pub trace_parent: Option<TraceParent>,
}

impl<'a> Journaled<'a> {
    /// Bytes of a payload beside key and value.
    pub fn envelope_bytes(trace_parent: Option<&TraceParent>) -> usize {
        1 + 2 + trace_parent.map_or(0, |_| TraceParent::BYTES)
    }

    /// Bytes of a payload with this record.
    pub fn payload_bytes(&self) -> usize {
        Self::envelope_bytes(self.trace_parent.as_ref()) + self.record.key.len() + self.record.value.len()
    }

    pub fn write(&self, buffer: &mut Vec<u8>) {
        let client_id = if self.record.client_id { CLIENT_ID } else { 0 };
        let traced = if self.trace_parent.is_some() { TRACE_PARENT } else { 0 };
        buffer.push(client_id | traced | (self.guarantee as u8) << GUARANTEE_SHIFT);
        // A key is a source, of at most 255 bytes; the end of a longer one could not be distinguished from the value.
        buffer.extend_from_slice(&u16::try_from(self.record.key.len()).unwrap_or(u16::MAX).to_le_bytes());
        buffer.extend_from_slice(self.record.key);
        buffer.extend_from_slice(self.trace_parent.as_ref().map_or(&[], |trace_parent| trace_parent.as_bytes()));
        buffer.extend_from_slice(self.record.value);
    }

    /// `None` if the payload does not have this format.
    pub fn read(payload: &'a [u8], timestamp: Timestamp) -> Option<Self> {
        let (flags, rest) = payload.split_first()?;
        let guarantee = *Guarantee::ALL.get(usize::from(flags >> GUARANTEE_SHIFT))?;
        let (key_len, rest) = rest.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_len)))?;
        let (trace_parent, value) = if flags & TRACE_PARENT == 0 {
            (None, rest)
        } else {
            let (trace_parent, value) = rest.split_at_checked(TraceParent::BYTES)?;
            (Some(TraceParent::parse(trace_parent)?), value)
        };
        let record = Record { key, value, timestamp, client_id: flags & CLIENT_ID != 0 };
        Some(Self { record, guarantee, trace_parent })
    }
}

/// A record that the bus refuses permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused<'a> {
    pub reason: &'a str,
    pub partition: Partition,
    pub journaled: Journaled<'a>,
}

impl<'a> Refused<'a> {
    /// Bytes of a payload with it.
    pub fn payload_bytes(&self) -> usize {
        2 + self.reason().len() + 4 + self.journaled.payload_bytes()
    }

    /// The part of the reason that is kept.
    fn reason(&self) -> &'a str {
        self.reason.get(..self.reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default()
    }

    pub fn write(&self, buffer: &mut Vec<u8>) {
        let reason = self.reason();
        buffer.extend_from_slice(&self.partition.to_le_bytes());
        buffer.extend_from_slice(&u16::try_from(reason.len()).unwrap_or(u16::MAX).to_le_bytes());
        buffer.extend_from_slice(reason.as_bytes());
        self.journaled.write(buffer);
    }

    /// `None` if the payload does not have this format.
    pub fn read(payload: &'a [u8], timestamp: Timestamp) -> Option<Self> {
        let (partition, rest) = payload.split_first_chunk::<4>()?;
        let (reason_len, rest) = rest.split_first_chunk::<2>()?;
        let (reason, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*reason_len)))?;
        Some(Self {
            reason: std::str::from_utf8(reason).ok()?,
            partition: Partition::from_le_bytes(*partition),
            journaled: Journaled::read(rest, timestamp)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn all() -> Vec<Journaled<'static>> {
        let mut all = Vec::new();
        for guarantee in Guarantee::ALL {
            for trace_parent in [None, TraceParent::parse(TRACE)] {
                for (key, value, client_id) in [(&b""[..], &b""[..], false), (b"shop", b"{}", true)] {
                    let record = Record { key, value, timestamp: Timestamp::MAX, client_id };
                    all.push(Journaled { record, guarantee, trace_parent });
                }
            }
        }
        all
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for journaled in all() {
            let mut payload = Vec::new();
            journaled.write(&mut payload);
            assert_eq!(payload.len(), journaled.payload_bytes());
            assert_eq!(Journaled::read(&payload, Timestamp::MAX), Some(journaled));
            let refused = Refused { reason: "too large", partition: 7, journaled };
            payload.clear();
            refused.write(&mut payload);
            assert_eq!(payload.len(), refused.payload_bytes());
            assert_eq!(Refused::read(&payload, Timestamp::MAX), Some(refused));
        }
    }

    #[test]
    fn the_bytes_of_a_frame_stay_those_that_other_versions_read() {
        let record = Record { key: b"ab", value: b"xyz", timestamp: Timestamp::MIN, client_id: true };
        let mut payload = Vec::new();
        let trace_parent = TraceParent::parse(TRACE);
        Journaled { record, guarantee: Guarantee::ExactlyOnce, trace_parent }.write(&mut payload);
        assert_eq!(payload, [b"\x0b\x02\0ab", TRACE, b"xyz"].concat());
        payload.clear();
        let journaled = Journaled { record, guarantee: Guarantee::AtLeastOnce, trace_parent: None };
        Refused { reason: "no", partition: 258, journaled }.write(&mut payload);
        assert_eq!(payload, b"\x02\x01\0\0\x02\0no\x05\x02\0abxyz");
    }

    #[test]
    fn a_payload_in_another_format_is_not_a_record() {
        let record = Record { key: b"key", value: b"", timestamp: Timestamp::MIN, client_id: false };
        let mut payload = Vec::new();
        let trace_parent = TraceParent::parse(TRACE);
        Journaled { record, guarantee: Guarantee::AtMostOnce, trace_parent }.write(&mut payload);
        for len in 0..payload.len() {
            assert_eq!(Journaled::read(payload.get(..len).expect("a part"), Timestamp::MIN), None, "{len} bytes");
        }
        for bits in [12, 16, 32, 64, 128] {
            let mut wrong = payload.clone();
            if let Some(flags) = wrong.first_mut() {
                *flags |= bits;
            }
            assert_eq!(Journaled::read(&wrong, Timestamp::MIN), None, "flag {bits}");
        }
        let mut wrong = payload.clone();
        if let Some(trace) = wrong.get_mut(6) {
            *trace = b'9';
        }
        assert_eq!(Journaled::read(&wrong, Timestamp::MIN), None, "an invalid trace parent");
    }

    #[test]
    fn a_reason_beyond_its_limit_is_cut_between_characters() {
        let record = Record { key: b"k", value: b"v", timestamp: Timestamp::MIN, client_id: false };
        let journaled = Journaled { record, guarantee: Guarantee::AtMostOnce, trace_parent: None };
        let reason = format!("{}é", "x".repeat(REASON_BYTES_MAX - 1));
        let mut payload = Vec::new();
        Refused { reason: &reason, partition: 0, journaled }.write(&mut payload);
        let read = Refused::read(&payload, Timestamp::MIN).expect("a refused record");
        assert_eq!((read.reason.len(), read.journaled), (REASON_BYTES_MAX - 1, journaled));
    }
}
