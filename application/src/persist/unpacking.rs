//! Decoding of a chunk, part by part.
//!
//! Constraints and invariants:
//! * A part has whole records. It ends once it has [`PART_EVENTS_MAX`] events, so that its memory is bounded however many
//!   events the records of a chunk have; the events borrow from the chunk.
//! * Everything that a chunk has is in exactly one part: as an event, or as something that can never be one.

use domain::event::LogEvent;
use domain::pack;
use domain::record::{Chunk, Record};

use crate::codec::Decoder;

/// A part takes no more records once it has this many events: at most this many, and those of one more record.
const PART_EVENTS_MAX: usize = 5_000;

/// Where an event comes from, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace<'a> {
    /// Offset of its record.
    pub(super) offset: u64,
    /// Position in a packed record, from 0.
    pub(super) record_index: u32,
    /// Key of its record.
    pub(super) key: &'a [u8],
    /// The encoded event alone.
    pub(super) value: &'a [u8],
}

/// Consecutive records of a chunk, decoded.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Events with the offsets of their records, ascending.
    pub(super) events: Vec<(u64, LogEvent<'a>)>,
    /// The place of each of `events`.
    pub(super) places: Vec<RecordPlace<'a>>,
    /// What cannot be decoded, with the reason; ascending.
    pub(super) undecodable: Vec<(RecordPlace<'a>, String)>,
    /// Where to continue after this part.
    pub(super) next: u64,
}

impl<'a> Part<'a> {
    /// Number of events, with what cannot be decoded.
    pub(super) fn len(&self) -> usize {
        self.events.len() + self.undecodable.len()
    }

    /// The same number, counted from an offset on.
    pub(super) fn len_from(&self, offset: u64) -> usize {
        let places = self.places.iter().chain(self.undecodable.iter().map(|(place, _)| place));
        places.filter(|place| place.offset >= offset).count()
    }

    fn take(&mut self, offset: u64, record_index: u32, record: Record<'a>, decoder: &mut Decoder<'a>) {
        let place = RecordPlace { offset, record_index, key: record.key, value: record.value };
        match decoder.decode(record) {
            Ok(event) => {
                self.events.push((offset, event));
                self.places.push(place);
            }
            Err(error) => self.undecodable.push((place, error.to_string())),
        }
    }

    /// Takes the events of a packed record. `elements` is reused.
    fn take_pack(&mut self, offset: u64, record: Record<'a>, elements: &mut Vec<&'a [u8]>, decoder: &mut Decoder<'a>) {
        let before = (self.events.len(), self.undecodable.len());
        if pack::split_written(record.value, elements).is_ok() {
            self.take_elements(offset, record, elements, decoder);
            if self.undecodable.len() == before.1 {
                return;
            }
            // Something cannot be decoded: perhaps only because another program writes packs in another way.
            self.events.truncate(before.0);
            self.places.truncate(before.0);
            self.undecodable.truncate(before.1);
        }
        match pack::split_any(record.value, elements) {
            Ok(()) => self.take_elements(offset, record, elements, decoder),
            Err(error) => {
                let place = RecordPlace { offset, record_index: 0, key: record.key, value: record.value };
                self.undecodable.push((place, error.to_string()));
            }
        }
    }

    fn take_elements(&mut self, offset: u64, record: Record<'a>, elements: &[&'a [u8]], decoder: &mut Decoder<'a>) {
        for (record_index, value) in (0..).zip(elements.iter().copied()) {
            self.take(offset, record_index, Record { value, ..record }, decoder);
        }
    }
}

/// The parts of a chunk, in order.
pub(super) struct Unpacking<'a> {
    chunk: &'a Chunk,
    /// Position of the next record in the chunk.
    position: usize,
    /// Reused for each packed record.
    elements: Vec<&'a [u8]>,
    decoder: Decoder<'a>,
}

impl<'a> Unpacking<'a> {
    /// All parts of a chunk.
    pub(super) fn new(chunk: &'a Chunk) -> Self {
        Self { chunk, position: 0, elements: Vec::new(), decoder: Decoder::default() }
    }

    fn record(&self) -> Option<(u64, Record<'a>)> {
        let chunk = self.chunk;
        Some((*chunk.offsets.get(self.position)?, chunk.records.get(self.position)?))
    }
}

impl<'a> Iterator for Unpacking<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        self.record()?;
        // Enough for single events; packs need more.
        let events = self.chunk.records.len().saturating_sub(self.position).min(PART_EVENTS_MAX);
        let mut part = Part {
            events: Vec::with_capacity(events),
            places: Vec::with_capacity(events),
            undecodable: Vec::new(),
            next: self.chunk.next,
        };
        while let Some((offset, record)) = self.record() {
            if part.len() >= PART_EVENTS_MAX {
                part.next = offset;
                break;
            }
            self.position += 1;
            if pack::is_packed(record.value) {
                part.take_pack(offset, record, &mut self.elements, &mut self.decoder);
            } else {
                part.take(offset, 0, record, &mut self.decoder);
            }
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use domain::timestamp::Timestamp;

    use super::*;

    fn event(message: &str) -> String {
        format!(
            r#"{{"eventId":"00000000-0000-0000-0000-000000000001","timestamp":"2024-01-15T10:30:00Z","receivedAt":"2024-01-15T10:30:00Z","source":"s","level":"INFO","message":"{message}"}}"#
        )
    }

    fn chunk(values: &[(u64, String)]) -> Chunk {
        let mut chunk = Chunk::default();
        for (offset, value) in values {
            let record = Record { key: b"s", value: value.as_bytes(), timestamp: Timestamp::MIN, client_id: true };
            chunk.push(*offset, record, None);
        }
        chunk
    }

    /// For each part: messages of events with their places, places of what cannot be decoded, and where it ends.
    type Seen = Vec<(Vec<(u64, u32, String)>, Vec<(u64, u32)>, u64)>;

    fn parts(values: &[(u64, String)]) -> Seen {
        let chunk = chunk(values);
        let seen = Unpacking::new(&chunk).map(|part| {
            assert_eq!(part.events.len(), part.places.len());
            assert_eq!(part.len(), part.len_from(0));
            let events = part.events.iter().zip(&part.places).map(|((offset, event), place)| {
                assert!(event.id_origin.is_client(), "the origin of the record is that of each event");
                assert_eq!((*offset, place.key), (place.offset, &b"s"[..]));
                let alone = crate::codec::decode(Record {
                    key: b"s",
                    value: place.value,
                    timestamp: Timestamp::MIN,
                    client_id: true,
                });
                assert_eq!(alone.expect("an event"), *event, "the bytes of an event are a record of its own");
                (place.offset, place.record_index, event.message.clone().into_owned())
            });
            let places = part.undecodable.iter().map(|(place, _)| (place.offset, place.record_index));
            (events.collect(), places.collect(), part.next)
        });
        seen.collect()
    }

    #[test]
    fn singles_and_packs_are_understood_side_by_side() {
        let of_another = format!("[\n  {},\n  {}\n]\n", event("c"), event("d").replacen('{', "{\"x\":[{}\n,{}],", 1));
        // Ends as Spillway's, but with a newline before a comma within an event.
        let of_a_third = format!("[{}\n,{}]", event("f").replacen('{', "{\"x\":[{}\n,{}],", 1), event("g"));
        let values = [
            (7, event("a")),
            (8, format!("[{}\n,{}]", event("b"), event("b2"))),
            (11, of_another),
            (12, format!("[{}]", event("e"))),
            (13, of_a_third),
        ];
        let expected = [
            (7, 0, "a"),
            (8, 0, "b"),
            (8, 1, "b2"),
            (11, 0, "c"),
            (11, 1, "d"),
            (12, 0, "e"),
            (13, 0, "f"),
            (13, 1, "g"),
        ];
        let expected = expected.map(|(offset, index, message)| (offset, index, message.to_owned())).to_vec();
        assert_eq!(parts(&values), [(expected, vec![], 14)]);
    }

    #[test]
    fn of_a_pack_only_what_is_no_event_is_undecodable() {
        let values = [(3, format!("[{}\n,{{}}\n,17\n,{}\n,[]]", event("a"), event("b"))), (4, event("c"))];
        let events =
            [(3, 0, "a"), (3, 3, "b"), (4, 0, "c")].map(|(offset, index, text)| (offset, index, text.to_owned()));
        assert_eq!(parts(&values), [(events.to_vec(), vec![(3, 1), (3, 2), (3, 4)], 5)]);
    }

    #[test]
    fn a_pack_that_cannot_be_unpacked_is_undecodable_as_a_whole() {
        let cut = format!("[{}\n,{}", event("a"), event("b"));
        let many = format!("[{}]", vec![event("a"); 1_001].join("\n,"));
        for value in ["[".to_owned(), "[]".to_owned(), cut, many] {
            let chunk = chunk(&[(3, value.clone())]);
            let part = Unpacking::new(&chunk).next().expect("a part");
            assert!(part.events.is_empty() && part.places.is_empty());
            let [(place, reason)] = part.undecodable.as_slice() else { panic!("{:?}", part.undecodable) };
            assert_eq!((place.offset, place.record_index, place.value), (3, 0, value.as_bytes()));
            assert!(reason.starts_with("a packed record"), "{reason}");
        }
    }

    #[test]
    fn parts_have_whole_records_and_a_bounded_number_of_events() {
        let pack = format!("[{}]", vec![event("a"); 999].join("\n,"));
        let values: Vec<_> = (0..13).map(|n| (10 + 2 * n, pack.clone())).collect();
        let seen = parts(&values);
        assert_eq!(seen.iter().map(|(events, ..)| events.len()).collect::<Vec<_>>(), [5_994, 5_994, 999]);
        assert_eq!(seen.iter().map(|(.., next)| *next).collect::<Vec<_>>(), [22, 34, 35]);
        let singles: Vec<_> = (0..5_001).map(|offset| (offset, event("a"))).collect();
        let seen = parts(&singles);
        assert_eq!(
            seen.iter().map(|(events, _, next)| (events.len(), *next)).collect::<Vec<_>>(),
            [(5_000, 5_000), (1, 5_001)]
        );
        assert!(parts(&[]).is_empty());
    }
}
