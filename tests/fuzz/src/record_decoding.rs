//! Bytes from a bus, read as records and events.
//!
//! The input, with repetitions as in [`expanded`], is used as the payload of an entry in the embedded bus's log, and as
//! the value of a record on any bus. Invariants:
//! * Every entry of the log becomes a record, and so at least a dead letter; its neighbours are unchanged.
//! * A record written to the log is read back unchanged.
//! * A decoded event satisfies all rules, and encodes to a record that decodes to the same event.
//! * If every part of a packed record, split as Spillway writes it, is an event, then these are the elements of its array.

use adapter_embedded::bus::{read_chunk, write_record};
use adapter_embedded::segmented_log::{PAYLOAD_BYTES_MAX, SegmentedLog};
use application::codec;
use domain::event::{LogEvent, SOURCE_BYTES_MAX};
use domain::pack::{self, PACK_EVENTS_MAX};
use domain::ports::{CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX};
use domain::record::{RECORD_BYTES_MAX, Record, Records};
use domain::timestamp::Timestamp;
use model::SimulatedDisk;

use crate::events::check_storable;
use crate::input::expanded;

/// How much an event may grow when it is encoded again: its key is its source, and its id may have had no hyphens.
const GROWTH_BYTES_MAX: usize = SOURCE_BYTES_MAX + 4;

/// The target.
pub fn run(input: &[u8]) {
    let bytes = expanded(input, PAYLOAD_BYTES_MAX);
    entry(&bytes);
    let record = Record { key: b"key", value: &bytes, timestamp: time(), client_id: bytes.len() % 2 == 1 };
    value(record);
    packed(record);
}

/// A record that may be packed.
fn packed(record: Record<'_>) {
    let (mut parts, mut elements) = (Vec::new(), Vec::new());
    let is_written = pack::split_written(record.value, &mut parts).is_ok();
    let is_array = pack::split_any(record.value, &mut elements).is_ok();
    assert!(pack::is_packed(record.value) || !is_written && !is_array);
    if is_array {
        assert!((1..=PACK_EVENTS_MAX).contains(&elements.len()));
        elements.iter().for_each(|element| value(Record { value: element, ..record }));
    }
    let is_event = |part: &&[u8]| codec::decode(Record { value: part, ..record }).is_ok();
    if is_written && parts.iter().all(is_event) {
        assert!(is_array, "events are not an array");
        let trimmed = parts.iter().map(|part| part.trim_ascii());
        assert!(trimmed.eq(elements.iter().copied()), "events are split in two ways");
    }
}

/// An entry of the log, between two valid ones.
fn entry(payload: &[u8]) {
    let neighbour = Record { key: b"neighbour", value: b"{}", timestamp: time(), client_id: true };
    let mut good = Vec::new();
    write_record(&neighbour, &mut good);
    let chunk = chunk(&[&good, payload, &good]);
    assert_eq!(chunk.len(), 3, "an entry is skipped");
    assert!(chunk.len() <= CHUNK_RECORDS_MAX && chunk.bytes() <= CHUNK_BYTES_MAX);
    let records: Vec<Record<'_>> = chunk.iter().collect();
    assert_eq!((records[0], records[2]), (neighbour, neighbour), "an entry changes its neighbour");
    let record = records[1];
    assert!(record.value.is_empty() || payload.ends_with(record.value), "a value is not the end of the entry");
    assert!(payload.len() <= 5 + record.key.len() + record.value.len(), "part of an entry is missing");
    value(record);

    let mut written = Vec::new();
    write_record(&record, &mut written);
    if written.len() <= PAYLOAD_BYTES_MAX {
        let again = self::chunk(&[&written]);
        assert_eq!(again.iter().next(), Some(record), "a record has changed");
    }
}

/// The records read from payloads, through a log on a disk.
fn chunk(payloads: &[&[u8]]) -> Records {
    let disk = SimulatedDisk::new();
    let (mut log, _) = SegmentedLog::open(disk.storage(), u64::MAX, 0).expect("the disk works");
    let entries = payloads.iter().map(|payload| (time(), |buffer: &mut Vec<u8>| buffer.extend_from_slice(payload)));
    log.append(entries).and_then(|_| log.sync()).expect("the disk works");
    let (chunk, damaged_bytes) = read_chunk(&mut log.reader(), 0).expect("the disk works");
    assert_eq!((chunk.next, damaged_bytes), (payloads.len() as u64, 0));
    assert!(chunk.offsets.iter().copied().eq(0..chunk.records.len() as u64));
    chunk.records
}

/// A record on any bus.
fn value(record: Record<'_>) {
    let Ok(event) = codec::decode(record) else { return };
    check_storable(&event);
    let mut records = Records::default();
    if codec::encode(&event, &mut records).is_err() {
        assert!(
            record.value.len() + GROWTH_BYTES_MAX > RECORD_BYTES_MAX,
            "an event from a record does not fit into a record"
        );
        return;
    }
    let again = records.iter().next().expect("one record");
    assert!(again.value.len() <= record.value.len() + GROWTH_BYTES_MAX);
    assert_eq!(again.key, event.source.as_bytes());
    assert_eq!(again.client_id, record.client_id);
    let decoded: LogEvent<'_> = codec::decode(again).expect("an encoded event decodes");
    assert_eq!(decoded, event, "an event has changed by encoding and decoding");
}

fn time() -> Timestamp {
    Timestamp::from_unix_micros(1_705_314_600_250_000).expect("in range")
}
