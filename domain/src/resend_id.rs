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

use sha1_smol::Sha1;
use uuid::Uuid;

/// The namespace of the ids. It never changes: otherwise what is sent again would look new.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1a_9c7e_2f40_5d83_9e6b_1c4d_70a8_36f5);

const NANOS_PER_MILLISECOND: u64 = 1_000_000;

/// Where entries come from: everything that they share and that tells them from others.
#[derive(Clone)]
pub struct Stream(Sha1);

impl Stream {
    /// The stream that these parts name, such as the protocol, the tenant and the labels.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha1::new();
        hash.update(NAMESPACE.as_bytes());
        parts.iter().for_each(|part| add(&mut hash, part));
        Self(hash)
    }

    /// The id of what a protocol names in this stream, whenever it was.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Uuid {
        let mut hash = self.0.clone();
        add(&mut hash, name);
        Uuid::new_v8(first_bytes(&hash))
    }
}

/// Adds a part with its length, so that no part can be mistaken for the end of another.
fn add(hash: &mut Sha1, part: &[u8]) {
    hash.update(&(part.len() as u64).to_be_bytes());
    hash.update(part);
}

fn first_bytes(hash: &Sha1) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.digest().bytes()).for_each(|(byte, of_hash)| *byte = of_hash);
    bytes
}

/// The ids of one request.
#[derive(Debug, Default)]
pub struct ResendIds {
    /// How often each entry came so far. At most one element for each entry of the request.
    seen: HashMap<Uuid, u32>,
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
        let mut hash = stream.0.clone();
        hash.update(&unix_nanos.to_be_bytes());
        text.iter().for_each(|part| add(&mut hash, part));
        let count = self.seen.entry(Uuid::from_bytes(first_bytes(&hash))).or_default();
        let earlier = *count;
        *count = count.saturating_add(1);
        if earlier > 0 {
            hash.update(&earlier.to_be_bytes());
        }
        let hash = u128::from_be_bytes(first_bytes(&hash)) & ((1 << 54) - 1);
        // Version and variant take the bits 76 to 79 and 62 to 63.
        let time = u128::from(millis) << 80 | u128::from(nanos >> 8) << 64 | u128::from(nanos & 0xff) << 54;
        Some(Uuid::new_v8((time | hash).to_be_bytes()))
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
