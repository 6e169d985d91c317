//! Ids of events that agents send without one, so that the store recognises what an agent sends again.
//!
//! Agents send a batch again when they get no answer, in the same or in other company. An id follows from what an entry
//! says and not from its request: protocol, tenant, resource or labels, time and text. Real repeats are told apart by
//! their times, which must be finer than a millisecond, and within a request by their number.
//!
//! Invariants:
//! * The same entry has the same id in every process and version.
//! * Ids ascend with the time of the entry, to the nanosecond, so that they are close together in an index.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use twox_hash::XxHash3_128;
use uuid::Uuid;

/// What the hashes begin with. It never changes: otherwise what is sent again would look new.
const NAMESPACE: [u8; 16] = 0x5b1a_9c7e_2f40_5d83_9e6b_1c4d_70a8_36f5_u128.to_be_bytes();

const NANOS_PER_MILLISECOND: u64 = 1_000_000;
/// Room for so many entries is made at once.
const USUAL_ENTRIES: usize = 112;

/// Where entries come from: everything that they share and that tells them from others.
#[derive(Clone, Copy, Debug)]
pub struct Stream([u8; 16]);

impl Stream {
    /// The stream that these parts name, such as the protocol, the tenant and the labels.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut bytes = NAMESPACE.to_vec();
        parts.iter().for_each(|part| add(&mut bytes, part));
        Self(hash(&bytes))
    }

    /// The id of what a protocol names in this stream, whenever it was.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Uuid {
        let mut bytes = self.0.to_vec();
        add(&mut bytes, name);
        Uuid::new_v8(hash(&bytes))
    }
}

/// Adds a part with its length, so that no part can be mistaken for the end of another.
fn add(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

/// XXH3, which takes a tenth of the time of SHA-1. A client that makes two entries collide loses one of its own.
fn hash(bytes: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot(bytes).to_be_bytes()
}

/// The ids of one request.
#[derive(Debug, Default)]
pub struct ResendIds {
    /// How often each entry came so far. At most one element for each entry of the request. Its seed is random: texts could be
    /// chosen so that their hashes meet in one place of a table without one.
    seen: HashMap<u128, u32, RandomState>,
    /// What is hashed: kept for its memory.
    bytes: Vec<u8>,
}

impl ResendIds {
    /// The id of an entry with this time, in nanoseconds since the Unix epoch, and this text; `None` if the time is too
    /// coarse to tell real repeats apart.
    ///
    /// It is a UUID of version 8 (RFC 9562, section 5.8): 48 bits of milliseconds and 20 of nanoseconds, then 54 of the
    /// hash.
    #[must_use]
    pub fn id(&mut self, stream: &Stream, unix_nanos: u64, text: &[&[u8]]) -> Option<Uuid> {
        let (millis, nanos) = (unix_nanos / NANOS_PER_MILLISECOND, unix_nanos % NANOS_PER_MILLISECOND);
        if nanos == 0 {
            return None;
        }
        let bytes = &mut self.bytes;
        bytes.clear();
        bytes.extend_from_slice(&stream.0);
        bytes.extend_from_slice(&unix_nanos.to_be_bytes());
        text.iter().for_each(|part| add(bytes, part));
        let mut of_entry = u128::from_be_bytes(hash(bytes));
        if self.seen.is_empty() {
            self.seen.reserve(USUAL_ENTRIES);
        }
        let count = self.seen.entry(of_entry).or_default();
        let earlier = *count;
        *count = count.saturating_add(1);
        if earlier > 0 {
            bytes.extend_from_slice(&earlier.to_be_bytes());
            of_entry = u128::from_be_bytes(hash(bytes));
        }
        let of_entry = of_entry & ((1 << 54) - 1);
        // Version and variant take the bits 76 to 79 and 62 to 63.
        let time = u128::from(millis) << 80 | u128::from(nanos >> 8) << 64 | u128::from(nanos & 0xff) << 54;
        Some(Uuid::new_v8((time | of_entry).to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NANOS: u64 = 1_795_939_445_835_936_256;

    fn stream(labels: &str) -> Stream {
        Stream::new(&[b"otlp", b"", labels.as_bytes()])
    }

    fn id(labels: &str, nanos: u64, text: &str) -> Option<Uuid> {
        ResendIds::default().id(&stream(labels), nanos, &[text.as_bytes()])
    }

    #[test]
    fn what_is_sent_again_has_the_same_id_and_anything_else_another_one() {
        assert_eq!(id("a", NANOS, "text"), id("a", NANOS, "text"));
        let ids = [
            id("a", NANOS, "text"),
            id("b", NANOS, "text"),
            id("a", NANOS + 1, "text"),
            id("a", NANOS, "other"),
            ResendIds::default().id(&stream("a"), NANOS, &[b"te", b"xt"]),
            ResendIds::default().id(&Stream::new(&[b"otlp", b"a", b""]), NANOS, &[b"text"]),
        ];
        assert_eq!(ids.iter().flatten().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn real_repeats_within_a_request_are_told_apart_and_their_ids_do_not_depend_on_company() {
        let request = |texts: &[&str]| {
            let mut ids = ResendIds::default();
            texts.iter().filter_map(|text| ids.id(&stream("a"), NANOS, &[text.as_bytes()])).collect::<Vec<_>>()
        };
        let first = request(&["x", "x", "y"]);
        let again = request(&["y", "x", "other", "x"]);
        assert_ne!(first[0], first[1]);
        assert_eq!([first[0], first[1], first[2]], [again[1], again[3], again[0]]);
    }

    #[test]
    fn ids_are_the_same_in_every_version() {
        let expected = "01a22655-2c4b-8e49-901b-08a55bdbd8e8";
        assert_eq!(id("a", NANOS, "text").map(|id| id.to_string()).as_deref(), Some(expected));
    }

    #[test]
    fn a_time_in_whole_milliseconds_gives_no_id() {
        assert_eq!(id("a", 1_795_939_445_835_000_000, "text"), None);
        assert_eq!(id("a", 0, "text"), None);
    }

    #[test]
    fn ids_ascend_with_the_time_and_have_version_8() {
        let times = [NANOS, NANOS + 1, NANOS + 255, NANOS + 256, NANOS + 70_000, NANOS + 2_000_000];
        let ids: Vec<Uuid> = times.into_iter().filter_map(|nanos| id("a", nanos, "text")).collect();
        assert!(ids.len() == times.len() && ids.is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.get_version_num() == 8));
        assert_eq!(stream("a").named(b"1").get_version_num(), 8);
        assert_ne!(stream("a").named(b"1"), stream("a").named(b"2"));
    }
}
