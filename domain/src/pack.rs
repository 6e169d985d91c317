//! Packed records: several events of one batch in one record of the bus.
//!
//! Constraints and invariants:
//! * The value of a packed record is a JSON array of events, with a newline before each comma: `[{…}\n,{…}]`. The first
//!   byte `[` alone decides that a record is packed; a single event begins with `{`.
//! * A pack has at most [`PACK_EVENTS_MAX`] events, when it is written and when it is read. An array without events, or
//!   with more, is not a pack: its record cannot be decoded.
//! * Unpacking borrows from the value and trusts nothing. It only finds where the elements are; whether an element is JSON
//!   and an event is checked when it is decoded. It does not recurse.
//! * Packing keeps the order of the records of each key, which is all that is promised. Those of one key are packed together, wherever
//!   in the batch they are. A pack has one key, one time of receipt, and one answer to whether clients chose the ids, so that they apply to
//!   all its events. A batch that was replayed from a journal has events of several requests: their times keep them apart.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use crate::record::{Record, Records};

/// Maximum number of events in a packed record.
pub const PACK_EVENTS_MAX: usize = 1_000;
/// Maximum bytes of the value of a packed record that is written. A single event may be larger.
pub const PACK_BYTES_MAX: usize = 128 * 1024;

/// Between two events of a pack. No event has a newline: JSON escapes it in texts, and Spillway writes no other.
const SEPARATOR: &[u8] = b"\n,";
/// Bytes that are looked at together in the search for a newline, so that the loop can be vectorised.
const BLOCK_BYTES: usize = 64;

/// Why the value of a packed record cannot be unpacked. Permanent: the bytes will not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPack {
    /// It is not a JSON array.
    #[error("a packed record is a JSON array, and this value is none from byte {0} on")]
    NotAnArray(usize),
    /// The array has no element.
    #[error("a packed record has at least one event, and this array is empty")]
    Empty,
    /// The array has too many elements.
    #[error("a packed record has at most {PACK_EVENTS_MAX} events, and this array has more")]
    TooMany,
}

/// Whether a record with this value is packed.
#[must_use]
pub fn is_packed(value: &[u8]) -> bool {
    value.first() == Some(&b'[')
}

/// How many events a record with this value has: exact for records that Spillway wrote, and 1 or more for any other.
#[must_use]
pub fn events_estimated(value: &[u8]) -> u64 {
    let newlines = || value.iter().filter(|byte| **byte == b'\n').count() as u64;
    if is_packed(value) { 1 + newlines() } else { 1 }
}

/// Whether a value may be in a pack.
fn is_object(value: &[u8]) -> bool {
    value.first() == Some(&b'{')
}

/// Splits a pack as Spillway writes it into its elements: fast, and right if every element is a complete JSON value. If
/// any of them cannot be decoded, only [`split_any`] tells where the elements are: another program may have written a
/// newline before a comma within an event.
///
/// Replaces the content of `elements`.
///
/// # Errors
/// The value does not have that form, or the number of elements is out of bounds; `elements` is unspecified.
pub fn split_written<'a>(value: &'a [u8], elements: &mut Vec<&'a [u8]>) -> Result<(), InvalidPack> {
    elements.clear();
    let body = value.strip_prefix(b"[").ok_or(InvalidPack::NotAnArray(0))?;
    let mut rest = body.strip_suffix(b"]").ok_or(InvalidPack::NotAnArray(value.len()))?;
    if rest.is_empty() {
        return Err(InvalidPack::Empty);
    }
    while let Some(at) = find_separator(rest) {
        let (element, others) = rest.split_at_checked(at).ok_or(InvalidPack::NotAnArray(at))?;
        push(element, elements)?;
        rest = others.strip_prefix(SEPARATOR).unwrap_or_default();
    }
    push(rest, elements)
}

/// Splits any JSON array into its elements, also of another program. The elements of a valid array are exact; those of an invalid
/// one are parts of it, of which at least one cannot be decoded, or the array is an error.
///
/// Replaces the content of `elements`.
///
/// # Errors
/// The value is not an array, or the number of elements is out of bounds; `elements` is unspecified.
pub fn split_any<'a>(value: &'a [u8], elements: &mut Vec<&'a [u8]>) -> Result<(), InvalidPack> {
    elements.clear();
    let not_an_array = |at: usize| Err(InvalidPack::NotAnArray(at));
    if !is_packed(value) {
        return not_an_array(0);
    }
    // Position behind the opening bracket or the last comma, and the brackets that are open behind it.
    let (mut from, mut depth) = (1, 0_usize);
    let mut bytes = value.iter().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let mut is_open = true;
                while is_open {
                    match bytes.next() {
                        Some((_, b'\\')) => {
                            bytes.next();
                        }
                        Some((_, b'"')) => is_open = false,
                        Some(_) => {}
                        None => return not_an_array(at),
                    }
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b']' if depth == 0 => {
                let element = trimmed(value.get(from..at).unwrap_or_default());
                if element.is_empty() {
                    let is_first = *byte == b']' && elements.is_empty();
                    return if is_first { Err(InvalidPack::Empty) } else { not_an_array(at) };
                }
                push(element, elements)?;
                from = at + 1;
                if *byte == b']' {
                    let rest = value.get(from..).unwrap_or_default();
                    return if trimmed(rest).is_empty() { Ok(()) } else { not_an_array(from) };
                }
            }
            b'}' => return not_an_array(at),
            _ => {}
        }
    }
    not_an_array(value.len())
}

/// Without the whitespace of JSON around it (RFC 8259, section 2).
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

fn push<'a>(element: &'a [u8], elements: &mut Vec<&'a [u8]>) -> Result<(), InvalidPack> {
    if elements.len() == PACK_EVENTS_MAX {
        return Err(InvalidPack::TooMany);
    }
    elements.push(element);
    Ok(())
}

/// Where the next newline with a comma behind it is.
fn find_separator(bytes: &[u8]) -> Option<usize> {
    for (block, from) in bytes.chunks(BLOCK_BYTES).zip((0..).step_by(BLOCK_BYTES)) {
        // Reads every byte of the block instead of stopping early, so that the loop can be vectorised.
        if !block.iter().fold(false, |found, byte| found | (*byte == b'\n')) {
            continue;
        }
        let newlines = block.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| from + at);
        for at in newlines {
            if bytes.get(at + 1) == Some(&b',') {
                return Some(at);
            }
        }
    }
    None
}

/// In which order the records of a batch are sent, and how they are divided into records of the bus: consecutive ranges of this order,
/// each of which is one pack or one single record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packs {
    /// The records in the order in which they are sent, by their position in the batch; empty if these are the same.
    order: Vec<usize>,
    /// Where in this order each pack begins, ascending; empty without records.
    starts: Vec<usize>,
    /// Number of records.
    records: usize,
}

impl Packs {
    /// Packs that are as large as allowed. The records of a key keep their order. Each pack has records of one key, one time and one
    /// `client_id`, at most [`PACK_EVENTS_MAX`], and at most `bytes_max` bytes of value. A larger record is alone.
    #[must_use]
    pub fn of(records: &Records, bytes_max: usize) -> Self {
        let this = Self { order: by_key(records), starts: Vec::new(), records: records.len() };
        let mut starts = Vec::new();
        // The first record of the last pack, and what the pack has.
        let mut pack: Option<(Record<'_>, usize, usize)> = None;
        for position in 0..records.len() {
            let Some(record) = records.get(this.in_batch(position)) else { break };
            let joined = pack.filter(|(first, events, bytes)| {
                *events < PACK_EVENTS_MAX
                    && first.client_id == record.client_id
                    && first.timestamp == record.timestamp
                    && first.key == record.key
                    // Anything else than an object, such as a redriven letter, might be taken apart differently.
                    && is_object(record.value)
                    && is_object(first.value)
                    && bytes + SEPARATOR.len() + record.value.len() <= bytes_max
            });
            pack = Some(match joined {
                Some((first, events, bytes)) => (first, events + 1, bytes + SEPARATOR.len() + record.value.len()),
                None => {
                    starts.push(position);
                    // With both brackets.
                    (record, 1, 2 + record.value.len())
                }
            });
        }
        Self { starts, ..this }
    }

    /// No packs: each record is one of the bus.
    #[must_use]
    pub fn single(records: usize) -> Self {
        Self { order: Vec::new(), starts: (0..records).collect(), records }
    }

    /// The position in the batch of the record that is sent at `position`. All other positions are those of sending.
    #[must_use]
    pub fn in_batch(&self, position: usize) -> usize {
        self.order.get(position).copied().unwrap_or(position)
    }

    /// The positions of the records in the pack that contains the record at `position`; empty if there is none.
    #[must_use]
    pub fn containing(&self, position: usize) -> Range<usize> {
        let behind = self.starts.partition_point(|start| *start <= position);
        let start = behind.checked_sub(1).and_then(|index| self.starts.get(index));
        let end = self.starts.get(behind).copied().unwrap_or(self.records);
        start.filter(|_| position < self.records).map_or(0..0, |start| *start..end)
    }

    /// Divides the pack that contains the record at `position` into two halves. Returns whether it had more than one
    /// record.
    pub fn halve(&mut self, position: usize) -> bool {
        let pack = self.containing(position);
        if pack.len() < 2 {
            return false;
        }
        let behind = self.starts.partition_point(|start| *start <= position);
        self.starts.insert(behind, pack.start + pack.len() / 2);
        true
    }

    /// All packs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.starts.iter().skip(1).copied().chain([self.records]);
        self.starts.iter().copied().zip(ends).map(|(start, end)| start..end)
    }
}

/// The positions of the records, key by key, in the order of the first record of each key; empty if that is their order.
fn by_key(records: &Records) -> Vec<usize> {
    let mut numbers: HashMap<&[u8], usize, RandomState> = HashMap::default();
    // The number of the key of each record.
    let mut keys = Vec::with_capacity(records.len());
    let (mut last, mut are_together) = (None, true);
    for record in records.iter() {
        let number = match last.filter(|(key, _)| *key == record.key) {
            Some((_, number)) => number,
            None => {
                let next = numbers.len();
                let number = *numbers.entry(record.key).or_insert(next);
                are_together &= number == next;
                number
            }
        };
        last = Some((record.key, number));
        keys.push(number);
    }
    if are_together {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|position| keys.get(*position));
    order
}

/// Appends the value of a record of the bus: a pack, or, of one record, its own value.
pub fn write_pack<'a>(records: impl IntoIterator<Item = Record<'a>>, buffer: &mut Vec<u8>) {
    let mut records = records.into_iter();
    let Some(first) = records.next() else { return };
    let Some(second) = records.next() else {
        buffer.extend_from_slice(first.value);
        return;
    };
    buffer.push(b'[');
    buffer.extend_from_slice(first.value);
    for record in std::iter::once(second).chain(records) {
        buffer.extend_from_slice(SEPARATOR);
        buffer.extend_from_slice(record.value);
    }
    buffer.push(b']');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::Timestamp;

    fn general(value: &[u8]) -> Result<Vec<&[u8]>, InvalidPack> {
        let mut elements = vec![b"from before".as_slice()];
        split_any(value, &mut elements).map(|()| elements)
    }

    fn written(value: &[u8]) -> Result<Vec<&[u8]>, InvalidPack> {
        let mut elements = vec![b"from before".as_slice()];
        split_written(value, &mut elements).map(|()| elements)
    }

    fn texts<'a>(elements: &[&'a [u8]]) -> Vec<&'a str> {
        elements.iter().map(|element| std::str::from_utf8(element).expect("UTF-8")).collect()
    }

    #[test]
    fn an_array_of_any_program_is_split_at_its_own_commas() {
        for (value, elements) in [
            ("[{}]", vec!["{}"]),
            ("[{}\n,{}]", vec!["{}", "{}"]),
            ("[{}]\t", vec!["{}"]),
            ("[ {\"a\":[1,2]} , {\"b\":\"],[\\\"\\\\\"}\n]\r\n", vec!["{\"a\":[1,2]}", "{\"b\":\"],[\\\"\\\\\"}"]),
            ("[{\"a\":[{\"b\":1}\n,{\"b\":2}]}\n,{}]", vec!["{\"a\":[{\"b\":1}\n,{\"b\":2}]}", "{}"]),
            ("[1,\"x\",[2],null]", vec!["1", "\"x\"", "[2]", "null"]),
        ] {
            assert_eq!(texts(&general(value.as_bytes()).expect("an array")), elements, "{value}");
        }
    }

    #[test]
    fn what_is_not_an_array_of_events_is_refused_as_a_whole() {
        for (value, error) in [
            ("", InvalidPack::NotAnArray(0)),
            ("{}", InvalidPack::NotAnArray(0)),
            (" [{}]", InvalidPack::NotAnArray(0)),
            ("[", InvalidPack::NotAnArray(1)),
            ("[]", InvalidPack::Empty),
            ("[ \n ]", InvalidPack::Empty),
            ("[{}", InvalidPack::NotAnArray(3)),
            ("[{},", InvalidPack::NotAnArray(4)),
            ("[{},]", InvalidPack::NotAnArray(4)),
            ("[,{}]", InvalidPack::NotAnArray(1)),
            ("[{}]x", InvalidPack::NotAnArray(4)),
            ("[{}]\x0c", InvalidPack::NotAnArray(4)),
            ("[{}][{}]", InvalidPack::NotAnArray(4)),
            ("[{}}]", InvalidPack::NotAnArray(3)),
            ("[{\"a", InvalidPack::NotAnArray(2)),
            ("[\"\\", InvalidPack::NotAnArray(1)),
        ] {
            assert_eq!(general(value.as_bytes()), Err(error), "{value}");
        }
        assert_eq!(written(b"[]"), Err(InvalidPack::Empty));
        assert_eq!(written(b"[{}"), Err(InvalidPack::NotAnArray(3)));
        assert_eq!(written(b"{}]"), Err(InvalidPack::NotAnArray(0)));
    }

    #[test]
    fn the_number_of_events_is_bounded_and_deep_nesting_needs_no_stack() {
        let array = |count: usize| format!("[{}]", vec!["{}"; count].join("\n,"));
        for split in [general, written] {
            assert_eq!(split(array(PACK_EVENTS_MAX).as_bytes()).expect("in bounds").len(), PACK_EVENTS_MAX);
            assert_eq!(split(array(PACK_EVENTS_MAX + 1).as_bytes()), Err(InvalidPack::TooMany));
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(general(deep.as_bytes()), Err(InvalidPack::NotAnArray(deep.len())));
    }

    fn records(given: &[(u8, bool, String)]) -> Records {
        let mut records = Records::default();
        for (key, client_id, value) in given {
            let write = |buffer: &mut Vec<u8>| buffer.extend_from_slice(value.as_bytes());
            records.push(&[*key], Timestamp::MIN, *client_id, write).expect("small");
        }
        records
    }

    fn values<'r>(records: &'r Records, packs: &Packs, range: Range<usize>) -> Vec<Record<'r>> {
        range.filter_map(|position| records.get(packs.in_batch(position))).collect()
    }

    #[test]
    fn records_of_one_key_are_packed_together_in_their_order() {
        let given: Vec<_> =
            [1, 2, 3, 1, 2, 1].into_iter().zip(0..).map(|(key, n)| (key, true, format!("{{{n}}}"))).collect();
        let records = records(&given);
        let packs = Packs::of(&records, PACK_BYTES_MAX);
        assert_eq!(packs.iter().collect::<Vec<_>>(), [0..3, 3..5, 5..6]);
        let order: Vec<usize> = (0..6).map(|position| packs.in_batch(position)).collect();
        assert_eq!(order, [0, 3, 5, 1, 4, 2]);
    }

    #[test]
    fn a_pack_ends_at_its_limits_and_where_key_or_origin_change() {
        let event = |key, client_id| (key, client_id, "{}".to_owned());
        let given = [event(1, false), event(1, false), event(2, false), event(2, true), event(2, true)];
        let ranges = |given: &[_], bytes_max| Packs::of(&records(given), bytes_max).iter().collect::<Vec<_>>();
        assert_eq!(ranges(&given, PACK_BYTES_MAX), [0..2, 2..3, 3..5]);
        assert_eq!(ranges(&given, 7), [0..1, 1..2, 2..3, 3..4, 4..5], "[{{}}\\n,{{}}] has 8 bytes");
        assert_eq!(ranges(&given, 8), [0..2, 2..3, 3..5]);
        assert_eq!(ranges(&[], 8), []);
        let many = vec![event(1, true); 2 * PACK_EVENTS_MAX + 1];
        assert_eq!(ranges(&many, PACK_BYTES_MAX), [0..1_000, 1_000..2_000, 2_000..2_001]);
        for other in ["[{}]", "", "x"] {
            let redriven = [event(1, true), (1, true, other.to_owned()), event(1, true)];
            assert_eq!(ranges(&redriven, PACK_BYTES_MAX), [0..1, 1..2, 2..3], "{other:?} is never within a pack");
        }
        let mut of_two_requests = Records::default();
        for time in [Timestamp::MIN, Timestamp::MIN, Timestamp::MAX] {
            of_two_requests.push(b"s", time, true, |buffer| buffer.extend_from_slice(b"{}")).expect("small");
        }
        assert_eq!(Packs::of(&of_two_requests, PACK_BYTES_MAX).iter().collect::<Vec<_>>(), [0..2, 2..3]);
    }

    #[test]
    fn halving_ends_at_single_records() {
        let mut packs = Packs::of(&records(&vec![(1, true, "{}".to_owned()); 5]), PACK_BYTES_MAX);
        assert!(packs.halve(4));
        assert_eq!(packs.iter().collect::<Vec<_>>(), [0..2, 2..5]);
        assert_eq!((packs.containing(1), packs.containing(2), packs.containing(4)), (0..2, 2..5, 2..5));
        assert!(packs.containing(5).is_empty());
        assert!(packs.halve(0) && !packs.halve(0) && !packs.halve(5));
        while (0..5).any(|position| packs.halve(position)) {}
        assert_eq!(packs, Packs::single(5));
    }

    prop_compose! {
        /// JSON objects with what could be mistaken for a separator or a bracket, as Spillway writes them.
        fn any_value()(text in "[a-z\\[\\]{},\"\\\\\n é]{0,30}", number in any::<u8>()) -> String {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{{\"message\":\"{escaped}\",\"metadata\":{{\"n\":[{number},{{}}]}}}}")
        }
    }

    proptest! {
        #[test]
        fn unpacking_returns_what_was_packed_within_its_bounds(
            given in prop::collection::vec((0_u8..3, any::<bool>(), any_value()), 0..60),
            bytes_max in 2_usize..400,
            halved in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let records = records(&given);
            let mut packs = Packs::of(&records, bytes_max);
            for position in halved {
                packs.halve(position);
            }
            let mut unpacked = Vec::new();
            for range in packs.iter() {
                prop_assert!(!range.is_empty());
                prop_assert!(range.clone().all(|position| packs.containing(position) == range));
                let pack = values(&records, &packs, range.clone());
                let mut value = Vec::new();
                write_pack(pack.iter().copied(), &mut value);
                prop_assert!(pack.iter().all(|record| (record.key, record.client_id) == (pack[0].key, pack[0].client_id)));
                if pack.len() == 1 {
                    prop_assert!(!is_packed(&value));
                    unpacked.push(value);
                    continue;
                }
                prop_assert!(is_packed(&value) && value.len() <= bytes_max && pack.len() <= PACK_EVENTS_MAX);
                prop_assert_eq!(events_estimated(&value), pack.len() as u64);
                let elements = written(&value).expect("a pack");
                prop_assert_eq!(&elements, &general(&value).expect("a pack"));
                unpacked.extend(elements.into_iter().map(<[u8]>::to_vec));
            }
            // Each key has its records in their order, wherever the others are.
            let mut expected = given;
            let first: Vec<u8> = expected.iter().map(|(key, ..)| *key).collect();
            expected.sort_by_key(|(key, ..)| first.iter().position(|other| other == key));
            let expected: Vec<Vec<u8>> = expected.into_iter().map(|(_, _, value)| value.into_bytes()).collect();
            prop_assert_eq!(unpacked, expected);
        }

        #[test]
        fn any_bytes_are_split_or_refused_and_no_byte_is_invented(tail in prop::collection::vec(
            prop::sample::select(b"[]{},\"\\\n x1".to_vec()), 0..60,
        )) {
            let value: Vec<u8> = std::iter::once(b'[').chain(tail).collect();
            for split in [general, written] {
                if let Ok(elements) = split(&value) {
                    prop_assert!(!elements.is_empty() && elements.len() <= PACK_EVENTS_MAX);
                    // Each element with the byte behind it, and the opening bracket.
                    prop_assert!(elements.iter().map(|element| element.len() + 1).sum::<usize>() < value.len());
                }
            }
        }

        #[test]
        fn the_search_for_a_separator_finds_the_first(bytes in prop::collection::vec(
            prop::sample::select(b"\n,ab".to_vec()), 0..300,
        )) {
            prop_assert_eq!(find_separator(&bytes), bytes.windows(2).position(|two| two == SEPARATOR));
        }
    }
}
