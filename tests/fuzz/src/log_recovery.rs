//! Opens a segmented log on files in any state.
//!
//! The input is a script: entries that a log writes, edits of the resulting files, and how the log is then opened and
//! used. An edit can also create a file with arbitrary bytes, and whole frames that do not belong into the log.
//! Invariants:
//! * The log opens, and shows exactly the entries that a plain reading of its format finds; it cuts off and reports all
//!   other bytes.
//! * If files are only damaged, every entry outside of the damage is found.
//! * Reading in pieces yields the same entries as reading at once.
//! * The log continues from there: appended entries have new numbers, and after a crash or a power cut everything is
//!   found.

use std::collections::{BTreeMap, BTreeSet};

use adapter_embedded::segmented_log::{
    FRAME_HEADER_BYTES, LogError, LogReader, PAYLOAD_BYTES_MAX, Recovered, SegmentedLog,
};
use domain::timestamp::Timestamp;
use model::SimulatedDisk;

use crate::input::Script;

const ENTRIES_MAX: usize = 24;
const EDITS_MAX: usize = 12;
/// Maximum length of a short payload: most are short, and a few together exceed what the log reads at once.
const SHORT_BYTES_MAX: usize = 600;
const LONG_BYTES_MAX: usize = 300_000;
const LONG_ENTRIES_MAX: usize = 2;
/// The maximum position of a store, and so the maximum number in a segment's name.
const POSITION_MAX: u64 = i64::MAX as u64;
/// Largest sequence number that this target generates, so that later appends stay far below [`POSITION_MAX`].
const SEQUENCE_MAX: u64 = POSITION_MAX / 2;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    sequence: u64,
    time: Timestamp,
    payload: Vec<u8>,
}

/// The target.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let segment_bytes_max = [64, 300, 2_000, 1_000_000][usize::from(script.byte() % 4)];
    let (entries, edits) =
        (usize::from(script.byte()) % (ENTRIES_MAX + 1), usize::from(script.byte()) % (EDITS_MAX + 1));
    let options = script.byte();
    let seed = script.eight_bytes();

    let written = write(&mut script, entries, segment_bytes_max);
    let mut files = written.clone();
    let mut only_damaged = true;
    for _ in 0..edits {
        only_damaged &= edit(&mut files, &mut script);
    }
    let mut next_at_least = [0, 7, 1 << 33, seed % SEQUENCE_MAX][usize::from(options % 4)];

    let disk = SimulatedDisk::new();
    put(&disk, &files);
    let (log, found) = open(&disk, &files, segment_bytes_max, next_at_least);
    if only_damaged {
        check_undamaged(&written, &files, &found);
    }
    check_pieces(log.reader(), &found, seed);

    let mut expected = found;
    let mut log = log;
    for round in 0..2 {
        append(&mut log, &mut expected, &mut script);
        assert_eq!(all(log.reader()), expected, "appended entries follow the found ones");
        if options & 4 != 0 {
            let before = expected.get(script.below(expected.len())).map_or(0, |entry| entry.sequence);
            log.release(before, |_, _| true).expect("the disk works");
            let first = log.reader().range().0;
            assert!(first <= before || expected.is_empty(), "an entry after `before` is released");
            expected.retain(|entry| entry.sequence >= first);
            assert_eq!(all(log.reader()), expected, "only the oldest entries are released");
        }
        drop(log);
        if options & 8 == 0 {
            disk.crash()
        } else {
            disk.power_cut(seed.wrapping_add(round))
        }
        next_at_least = if options & 16 == 0 { 0 } else { next_at_least + 1 };
        let names = disk.names();
        let files = names.into_iter().map(|name| (name.clone(), disk.content(&name))).collect();
        let (again, found) = open(&disk, &files, segment_bytes_max, next_at_least);
        assert_eq!(found, expected, "all entries exist after reopening");
        log = again;
    }
}

/// The files of a log that writes the entries of a script.
fn write(script: &mut Script<'_>, entries: usize, segment_bytes_max: u64) -> Files {
    let disk = SimulatedDisk::new();
    let (mut log, _) = SegmentedLog::open(disk.storage(), segment_bytes_max, 0).expect("the disk works");
    let mut long = 0;
    for _ in 0..entries {
        let kind = script.byte();
        let time = time(i64::from(script.byte()) << 40);
        let mut len = script.below(SHORT_BYTES_MAX + 1);
        if kind & 31 == 31 && long < LONG_ENTRIES_MAX {
            long += 1;
            len = len * LONG_BYTES_MAX / SHORT_BYTES_MAX;
        }
        let pattern = script.take(usize::from(kind >> 6) * 8);
        let pattern = if pattern.is_empty() { &[kind][..] } else { pattern };
        let payload = |buffer: &mut Vec<u8>| buffer.extend(pattern.iter().cycle().take(len));
        log.append([(time, payload)]).expect("the disk works");
        if kind & 8 != 0 {
            log.sync().expect("the disk works");
        }
        if kind & 48 == 48 {
            log.sync().expect("the disk works");
            let next = log.next() + 1 + (u64::from(kind) << 28);
            drop(log);
            disk.crash();
            log = SegmentedLog::open(disk.storage(), segment_bytes_max, next).expect("the disk works").0;
        }
    }
    log.sync().expect("the disk works");
    disk.names().into_iter().map(|name| (name.clone(), disk.content(&name))).collect()
}

/// Edits a file. Returns true if only bytes in place, or the end of the file, were changed.
fn edit(files: &mut Files, script: &mut Script<'_>) -> bool {
    let kind = script.byte() % 16;
    if kind >= 13 {
        return edit_names(files, script, kind);
    }
    let which = script.below(files.len());
    let Some((name, content)) = files.iter_mut().nth(which) else { return true };
    let base = base_of(name).unwrap_or(0);
    let at = match script.below(content.len() + 1) {
        // Two bytes cannot address most offsets of a long file.
        at if content.len() > usize::from(u16::MAX) => at * 16 % content.len(),
        at => at,
    };
    let len = usize::from(script.byte());
    let end = (at + len).min(content.len());
    match kind {
        0 | 1 => {
            let bits = script.byte() | 1;
            content.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
        }
        2 => content[at..end].fill(0),
        3 => content.truncate(at),
        4 => content.extend_from_slice(script.take(len)),
        5 => content.extend(std::iter::repeat_n(0, len * 16)),
        6 => {
            let bytes = script.take(end - at);
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        7 => drop(content.splice(at..at, script.take(len).iter().copied())),
        8 => drop(content.drain(at..end)),
        9 => {
            let copied = content[at..end].to_vec();
            let to = script.below(content.len() + 1);
            drop(content.splice(to..to, copied));
        }
        10 => {
            let content = std::mem::take(content);
            *files.entry(name_of(base + len as u64)).or_default() = content;
        }
        _ => {
            let sequence =
                if kind == 11 { base.wrapping_add(script.eight_bytes() >> 40) } else { script.eight_bytes() };
            let time = if len % 4 == 0 { script.eight_bytes() } else { 0 };
            let payload = script.take(len / 4);
            drop(content.splice(at..at, frame(sequence, time, payload)));
        }
    }
    kind <= 6
}

/// Removes a file, or creates one with arbitrary bytes.
fn edit_names(files: &mut Files, script: &mut Script<'_>, kind: u8) -> bool {
    if kind == 13 {
        let which = script.below(files.len());
        if let Some(name) = files.keys().nth(which).cloned() {
            files.remove(&name);
        }
    } else {
        let name = if kind == 14 {
            let base = script.eight_bytes();
            name_of(if base > POSITION_MAX { base } else { base.min(SEQUENCE_MAX) })
        } else {
            format!("{}.log", String::from_utf8_lossy(script.take(20)).replace('/', "-"))
        };
        let len = usize::from(script.two_bytes());
        files.insert(name, script.take(len).to_vec());
    }
    false
}

fn put(disk: &SimulatedDisk, files: &Files) {
    let storage = disk.storage();
    for (name, content) in files {
        let file = storage.create(name).expect("the disk works");
        file.write_at(content, 0).and_then(|()| file.sync()).expect("the disk works");
    }
    storage.sync_directory().expect("the disk works");
}

/// Opens a log and checks it against its files.
fn open(disk: &SimulatedDisk, files: &Files, segment_bytes_max: u64, next_at_least: u64) -> (SegmentedLog, Vec<Found>) {
    let (log, recovered) =
        SegmentedLog::open(disk.storage(), segment_bytes_max, next_at_least).expect("a log opens on any files");
    let segments: Vec<(u64, &Vec<u8>)> =
        files.iter().filter_map(|(name, content)| Some((base_of(name)?, content))).collect();
    let mut expected = Vec::new();
    let mut expected_recovered = Recovered::default();
    let mut expected_bytes: u64 = segments.iter().map(|(_, content)| content.len() as u64).sum();
    let mut next = 0;
    for (index, (base, content)) in segments.iter().enumerate() {
        let (mut frames, whole, damaged_bytes) = plain_reading(content, *base);
        if let Some((following, _)) = segments.get(index + 1) {
            frames.retain(|frame| frame.sequence < *following);
        } else {
            next = frames.last().map_or(*base, |last| last.sequence + 1);
            expected_recovered = Recovered { torn_bytes: (content.len() - whole) as u64, damaged_bytes };
            expected_bytes -= expected_recovered.torn_bytes;
        }
        expected.extend(frames);
    }
    assert_eq!(recovered, expected_recovered, "the report matches the files");
    assert_eq!(log.bytes(), expected_bytes, "the size matches the files");
    assert_eq!(log.next(), next.max(next_at_least), "the next number is after all used ones");
    assert_eq!(all(log.reader()), expected, "the entries match the files");
    (log, expected)
}

/// The whole frames of a file, the end of the last one, and the number of bytes between them that belong to no frame.
fn plain_reading(content: &[u8], base: u64) -> (Vec<Found>, usize, u64) {
    let (mut at, mut whole, mut damaged_bytes, mut frames) = (0, 0, 0, Vec::<Found>::new());
    while at < content.len() {
        let least = frames.last().map_or(base, |last| last.sequence + 1);
        match frame_at(&content[at..]) {
            Some((found, len)) if found.sequence >= least && found.sequence - least <= u64::from(u32::MAX) => {
                damaged_bytes += (at - whole) as u64;
                at += len;
                whole = at;
                frames.push(found);
            }
            _ => at += 1,
        }
    }
    (frames, whole, damaged_bytes)
}

/// The frame at the beginning of these bytes, and its length.
fn frame_at(bytes: &[u8]) -> Option<(Found, usize)> {
    let number = |from: usize| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
    let payload_len = usize::try_from(number(0)? & 0xffff_ffff).ok()?;
    let (sequence, time) = (number(8)?, number(16)?);
    let time = Timestamp::from_unix_micros(time.cast_signed()).ok()?;
    let payload = bytes.get(FRAME_HEADER_BYTES..)?.get(..payload_len).filter(|_| payload_len <= PAYLOAD_BYTES_MAX)?;
    let len = FRAME_HEADER_BYTES + payload_len;
    let is_whole = frame(sequence, number(16)?, payload) == bytes.get(..len)?;
    is_whole.then(|| (Found { sequence, time, payload: payload.to_vec() }, len))
}

/// A whole frame.
fn frame(sequence: u64, time: u64, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short payload").to_le_bytes();
    let checked = [&len[..], &sequence.to_le_bytes(), &time.to_le_bytes(), payload].concat();
    [&len[..], &crc32c::crc32c(&checked).to_le_bytes(), &checked[4..]].concat()
}

/// Every entry whose bytes are all in place is found, unless the files now have frames that were not written by a log.
fn check_undamaged(written: &Files, damaged: &Files, found: &[Found]) {
    let mut undamaged = Vec::new();
    let mut all = BTreeSet::new();
    for (name, content) in written {
        let base = base_of(name).expect("a log names its files so");
        let mut at = 0;
        for entry in plain_reading(content, base).0 {
            let end = at + FRAME_HEADER_BYTES + entry.payload.len();
            if damaged.get(name).and_then(|damaged| damaged.get(at..end)) == content.get(at..end) {
                undamaged.push(entry.clone());
            }
            all.insert(entry);
            at = end;
        }
    }
    if found.iter().all(|entry| all.contains(entry)) {
        assert!(undamaged.iter().all(|entry| found.contains(entry)), "an undamaged entry is lost");
    }
}

/// Reads all entries.
fn all(mut reader: LogReader) -> Vec<Found> {
    let (first, end) = reader.range();
    let mut entries = Vec::new();
    let read = reader.read(first, |entry| {
        entries.push(Found { sequence: entry.sequence, time: entry.time, payload: entry.payload.to_vec() });
        true
    });
    assert_eq!(read.expect("the disk works").next, end, "reading reaches the end");
    entries
}

/// Reads from various positions in the log, and on from there entry by entry.
fn check_pieces(mut reader: LogReader, entries: &[Found], seed: u64) {
    let (first, end) = reader.range();
    if let Some(before) = first.checked_sub(1).filter(|_| first < end) {
        let refused = reader.read(before, |_| true);
        assert!(
            matches!(refused, Err(LogError::OutOfRange { position, first: from }) if (position, from) == (before, first))
        );
    }
    let middle = entries.get(usize::try_from(seed % 32).unwrap_or(0)).map_or(first, |entry| entry.sequence + 1);
    for from in [first, middle] {
        let mut position = from;
        let mut rest = entries.iter().filter(|entry| entry.sequence >= from);
        while position < end {
            let mut seen = 0;
            let mut is_next = true;
            let read = reader.read(position, |entry| {
                seen += 1;
                let expected = rest.next().map(|found| (found.sequence, found.time, found.payload.as_slice()));
                is_next &= expected == Some((entry.sequence, entry.time, entry.payload));
                seen <= seed % 3
            });
            let next = read.expect("the disk works").next;
            assert!(is_next, "a piece has the expected entry");
            assert!(next > position, "reading makes progress");
            position = next;
        }
        assert!(rest.next().is_none(), "no entry is missing between pieces");
    }
}

/// Appends a few synced entries.
fn append(log: &mut SegmentedLog, expected: &mut Vec<Found>, script: &mut Script<'_>) {
    for _ in 0..=usize::from(script.byte() % 3) {
        let payload = script.take(16).to_vec();
        let time = time(i64::from(script.byte()));
        let sequence = log.next();
        assert!(expected.last().is_none_or(|last| last.sequence < sequence), "a number is assigned twice");
        let first = log.append([(time, |buffer: &mut Vec<u8>| buffer.extend_from_slice(&payload))]);
        assert_eq!(first.expect("the disk works"), sequence);
        expected.push(Found { sequence, time, payload });
        if script.byte() & 1 == 0 {
            log.sync().expect("the disk works");
        }
    }
    log.sync().expect("the disk works");
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

fn name_of(base: u64) -> String {
    format!("{base:020}.log")
}

/// The number in a segment's name: 20 digits, and within the range of a store's position.
fn base_of(name: &str) -> Option<u64> {
    let digits =
        name.strip_suffix(".log").filter(|digits| digits.len() == 20 && digits.bytes().all(|d| d.is_ascii_digit()))?;
    digits.parse().ok().filter(|base| *base <= POSITION_MAX)
}
