//! Random histories of a segmented log on a failing disk, compared with a simple model.
//!
//! Invariants, whatever happens to the process and to the disk:
//! * Visible entries stay, exactly as written and in order, until they are released. Only entries that the test itself
//!   damages may be missing; then damage is reported, and their neighbours still exist.
//! * Invisible entries may appear after a restart, but only as they were appended. A killed process loses nothing that
//!   the operating system accepted, and nothing from the middle; a power cut may.
//! * The process that saw an append fail never reads its remains.
//! * The number of an entry that can be read, or that damage stands for, is never assigned to another entry.
//! * The log never fails without a reason: each error has a fault that this test injected.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adapter_embedded::segmented_log::{
    FRAME_HEADER_BYTES, LogError, LogReader, PAYLOAD_BYTES_MAX, Read, Recovered, SegmentedLog,
};
use domain::timestamp::Timestamp;
use model::{Chance, SimulatedDisk};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const SEGMENT_BYTES_MAX: u64 = 4 * 1024;
/// Bytes that a probe of the log writes, and so needs.
const PROBE_BYTES: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    time: Timestamp,
    payload: Arc<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Operation {
    /// Appends entries, given by length and seed.
    Append(Vec<(usize, u64)>),
    /// Like `Append`, with one more entry that is too large for any log.
    AppendTooLarge(Vec<(usize, u64)>),
    Sync,
    Probe,
    /// Reads from any position in the log, up to a number of entries.
    Read(prop::sample::Index, usize),
    /// Continues where this operation read last.
    ReadOn(usize),
    /// Skips this many numbers.
    Skip(u64),
    Clear,
    /// Releases entries before any position in the log, while the log has more bytes than this.
    Release(prop::sample::Index, u64),
    /// Leaves this much room on the disk.
    FillDisk(u64),
    FreeDisk,
    FailSyncs(u64),
    FailFileSyncs(u64),
    FailChanges(u64),
    /// Kills the process during this one of its changes to the disk.
    KillAfter(u64),
    /// Flips a bit of a visible entry.
    Damage(prop::sample::Index, prop::sample::Index, u32),
    Restart(Restart),
}

#[derive(Clone, Debug)]
struct Restart {
    /// Seed of the power cut; `None` if only the process was killed.
    power_cut: Option<u64>,
    /// How far the requested next number is ahead of the log.
    ahead: u64,
    /// Kills the process that opens the log during this one of its changes to the disk.
    kill_after: Option<u64>,
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = any::<prop::sample::Index>;
    let entries = || prop::collection::vec((0..=2_000_usize, any::<u64>()), 1..=5);
    let ahead = prop_oneof![6 => Just(0), 2 => 1..100_u64, 1 => 5_000_000_000..6_000_000_000_u64];
    let restart = (prop::option::weighted(0.6, any::<u64>()), ahead, prop::option::weighted(0.25, 0..6_u64))
        .prop_map(|(power_cut, ahead, kill_after)| Operation::Restart(Restart { power_cut, ahead, kill_after }));
    prop_oneof![
        24 => entries().prop_map(Operation::Append),
        1 => entries().prop_map(Operation::AppendTooLarge),
        16 => Just(Operation::Sync),
        1 => Just(Operation::Probe),
        2 => prop_oneof![4 => 1..100_u64, 1 => 5_000_000_000..6_000_000_000_u64].prop_map(Operation::Skip),
        1 => Just(Operation::Clear),
        5 => (index(), 1..20_usize).prop_map(|(from, most)| Operation::Read(from, most)),
        8 => (1..20_usize).prop_map(Operation::ReadOn),
        6 => (index(), prop_oneof![Just(0), 0..40_000_u64]).prop_map(|(before, bytes)| Operation::Release(before, bytes)),
        3 => (0..6_000_u64).prop_map(Operation::FillDisk),
        4 => Just(Operation::FreeDisk),
        3 => (1..5_u64).prop_map(Operation::FailSyncs),
        3 => (1..5_u64).prop_map(Operation::FailFileSyncs),
        3 => (1..4_u64).prop_map(Operation::FailChanges),
        3 => (0..8_u64).prop_map(Operation::KillAfter),
        3 => (index(), index(), 0..8_u32).prop_map(|(entry, byte, bit)| Operation::Damage(entry, byte, bit)),
        9 => restart,
    ]
}

fn content((len, seed): (usize, u64)) -> Content {
    let mut chance = Chance::new(seed);
    let micros = chance.below(1 << 50) as i64;
    Content { time: Timestamp::from_unix_micros(micros).unwrap(), payload: Arc::new(chance.bytes(len)) }
}

/// The log of one process and everything known about it.
struct History {
    disk: SimulatedDisk,
    log: SegmentedLog,
    /// Persistent, and remembers its position.
    reader: LogReader,
    consumed: u64,
    /// No earlier entry can be read.
    first: u64,
    /// No entry from here on can be read.
    end: u64,
    /// Entries that must be readable.
    visible: BTreeMap<u64, Content>,
    /// Entries that were visible until this test damaged them.
    damaged: BTreeSet<u64>,
    /// Released entries, which may return if the disk loses the removal.
    released: BTreeMap<u64, Content>,
    /// Appended entries that are not visible yet.
    unsynced: Vec<(u64, Content)>,
    /// Entries of an append that failed, or during which the process died.
    attempted: Vec<(u64, Content)>,
    /// Those of them that the process could not cut off.
    left_behind: Vec<Vec<(u64, Content)>>,
    /// Entries left behind by earlier processes, unless a visible entry has their number.
    void: Vec<(u64, Content)>,
    /// The operating system has all unsynced entries: no sync has failed.
    handed_over: bool,
    /// Nothing has happened that leaves remains in the files.
    unharmed: bool,
}

impl History {
    fn begin() -> Self {
        let disk = SimulatedDisk::new();
        let (log, recovered) = SegmentedLog::open(disk.storage(), SEGMENT_BYTES_MAX, 0).unwrap();
        assert_eq!(recovered, Recovered::default());
        Self {
            disk,
            reader: log.reader(),
            log,
            consumed: 0,
            first: 0,
            end: 0,
            visible: BTreeMap::new(),
            damaged: BTreeSet::new(),
            released: BTreeMap::new(),
            unsynced: Vec::new(),
            attempted: Vec::new(),
            left_behind: Vec::new(),
            void: Vec::new(),
            handed_over: true,
            unharmed: true,
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Append(entries) => self.append(entries, false),
            Operation::AppendTooLarge(entries) => self.append(entries, true),
            Operation::Sync => self.sync(),
            Operation::Probe => self.probe(),
            Operation::Read(from, most) => {
                let position = self.position(from);
                self.read(position, most);
            }
            Operation::ReadOn(most) => {
                let position = self.consumed.max(self.first);
                self.consumed = self.read(position, most).unwrap_or(position);
            }
            Operation::Release(before, bytes) => {
                let before = self.position(before);
                self.release(before, bytes);
            }
            Operation::Skip(numbers) => self.skip(numbers),
            Operation::Clear => self.clear(),
            Operation::FillDisk(room) => self.disk.set_capacity(self.disk.used() + room),
            Operation::FreeDisk => self.disk.set_capacity(u64::MAX),
            Operation::FailSyncs(syncs) => self.disk.fail_syncs(syncs),
            Operation::FailFileSyncs(syncs) => self.disk.fail_file_syncs(syncs),
            Operation::FailChanges(changes) => self.disk.fail_changes(changes),
            Operation::KillAfter(changes) => self.disk.kill_after(changes),
            Operation::Damage(entry, byte, bit) => self.damage(entry, byte, bit),
            Operation::Restart(restart) => self.restart(&restart),
        }
        if self.disk.is_killed() {
            self.restart(&Restart { power_cut: None, ahead: 0, kill_after: None });
        }
    }

    /// A position from slightly before the first to slightly after the last entry.
    fn position(&self, index: prop::sample::Index) -> u64 {
        let numbers: Vec<u64> =
            self.visible.keys().copied().chain([self.first.saturating_sub(3), self.end + 3]).collect();
        let near = numbers[index.index(numbers.len())];
        near + index.index(2) as u64
    }

    /// Whether no injected fault makes the disk fail.
    fn disk_works(&self) -> bool {
        !self.disk.fails_syncs() && !self.disk.fails_changes() && !self.disk.is_killed()
    }

    fn append(&mut self, entries: Vec<(usize, u64)>, too_large: bool) {
        let contents: Vec<Content> = entries.into_iter().map(content).collect();
        let next = self.log.next();
        let numbered: Vec<(u64, Content)> = (next..).zip(contents).collect();
        let (disk_works, syncs_fail) = (self.disk_works(), self.disk.fails_syncs());
        let changes_fail = self.disk.fails_changes();
        let full = self.disk.free() < frame_bytes(self.unsynced.iter().chain(&numbered));
        let payloads =
            numbered.iter().map(|(_, content)| (content.time, content.payload.len(), content.payload.as_slice()));
        let huge = too_large.then_some((Timestamp::MIN, PAYLOAD_BYTES_MAX + 1, &[0; 1][..]));
        let appended = self.log.append(payloads.chain(huge).map(|(time, len, bytes)| {
            (time, move |buffer: &mut Vec<u8>| buffer.extend(bytes.iter().cycle().take(len)))
        }));
        // A full or poisoned segment is replaced after a sync.
        self.settle_visible();
        self.unharmed &= disk_works;
        match appended {
            Ok(first) => {
                assert!(!too_large, "an entry that is too large was accepted");
                assert_eq!(first, next, "entries are numbered consecutively");
                assert_eq!(self.log.next(), next + numbered.len() as u64);
                self.unsynced.extend(numbered);
            }
            Err(error) => {
                assert_eq!(self.log.next(), next, "a failed append uses no numbers");
                if matches!(error, LogError::TooLarge) {
                    assert!(too_large, "an entry of valid size was refused");
                } else {
                    assert!(
                        !disk_works || self.disk.is_killed() || full,
                        "the append failed without a reason: {error:?}"
                    );
                    self.attempted.extend(numbered.iter().cloned());
                    if self.disk.is_killed() || changes_fail {
                        self.left_behind.push(numbered);
                    }
                }
                self.handed_over &= !syncs_fail && !changes_fail;
                self.check();
            }
        }
    }

    fn sync(&mut self) {
        let disk_works = self.disk_works();
        let full = self.disk.free() < frame_bytes(&self.unsynced);
        let fault = self.disk.fails_syncs() || self.disk.fails_changes();
        let synced = self.log.sync();
        self.unharmed &= disk_works;
        match synced {
            Ok(()) => {
                self.settle_visible();
                assert!(self.unsynced.is_empty(), "a sync makes all entries visible");
            }
            Err(error) => {
                assert!(!disk_works || self.disk.is_killed() || full, "the sync failed without a reason: {error:?}");
                self.handed_over &= !fault;
                assert_eq!(self.log.reader().range(), (self.first, self.end), "a failed sync makes nothing visible");
                self.check();
            }
        }
    }

    /// Updates the model if the log has synced.
    fn settle_visible(&mut self) {
        let (first, end) = self.log.reader().range();
        if self.visible.is_empty() && self.damaged.is_empty() {
            // The first segment may begin at a number that was skipped to.
            assert!(first >= self.first, "{first} is before {}", self.first);
            self.first = first;
        }
        assert_eq!(first, self.first, "nothing was released");
        if end != self.end {
            let all = self.unsynced.last().map(|(sequence, _)| sequence + 1);
            // Including numbers skipped after it.
            let together = all.is_some_and(|all| (all..=self.log.next()).contains(&end));
            assert!(together, "all appended entries become visible together: {end} instead of {all:?}");
            self.end = end;
            self.visible.extend(self.unsynced.drain(..));
            // Remains are permanently cut off or void.
            self.attempted.clear();
            self.left_behind.clear();
            self.void.clear();
            self.handed_over = true;
        }
    }

    fn probe(&mut self) {
        if !self.unsynced.is_empty() {
            // A probe is unnecessary: a sync shows it.
            return;
        }
        let files =
            |disk: &SimulatedDisk| disk.names().into_iter().map(|name| (disk.content(&name), name)).collect::<Vec<_>>();
        let before = files(&self.disk);
        let room = self.disk.free() >= PROBE_BYTES;
        let disk_works = self.disk_works();
        let probed = self.log.probe(1);
        if !disk_works || self.disk.is_killed() {
            // May leave zeros, which the next process cuts off.
            self.unharmed = false;
            return;
        }
        assert!(probed.is_ok() || !room, "there is room: {probed:?}");
        if self.unharmed {
            // Otherwise it may use the room of remains.
            assert_eq!(probed.is_ok(), room, "the disk is full");
            assert_eq!(files(&self.disk), before, "a probe leaves no trace");
        }
        self.check();
    }

    /// Reads like a consumer that goes back and forth.
    fn read(&mut self, position: u64, most: usize) -> Option<u64> {
        let mut reader = std::mem::replace(&mut self.reader, self.log.reader());
        let next = self.read_with(&mut reader, position, most);
        self.reader = reader;
        next
    }

    /// Reads at most `most` entries from `position` on; returns where to continue.
    fn read_with(&self, reader: &mut LogReader, position: u64, most: usize) -> Option<u64> {
        if self.disk.is_killed() {
            return None;
        }
        let mut seen = Vec::new();
        let read = reader.read(position, |entry| {
            seen.push((entry.sequence, Content { time: entry.time, payload: Arc::new(entry.payload.to_vec()) }));
            seen.len() < most
        });
        if position < self.first && position < self.end {
            let expected = (position, self.first);
            assert!(
                matches!(read, Err(LogError::OutOfRange { position, first }) if (position, first) == expected),
                "a released position is out of range: {read:?}"
            );
            return None;
        }
        let Read { next, damaged_bytes, .. } = read.unwrap();
        let expected: Vec<(u64, Content)> =
            self.visible.range(position..).take(most).map(|(sequence, content)| (*sequence, content.clone())).collect();
        assert_same(&seen, &expected);
        let expected_next = match expected.last() {
            Some((last, _)) if expected.len() == most => last + 1,
            _ => self.end.max(position),
        };
        assert_eq!(next, expected_next, "where to continue");
        if self.damaged.range(position..next).next().is_some() {
            assert!(damaged_bytes > 0, "a read over damage reports it");
        }
        if self.unharmed {
            assert_eq!(damaged_bytes, 0, "damage was reported without damage");
        }
        Some(next)
    }

    /// Reads everything.
    fn check(&self) {
        assert_eq!(self.log.reader().range(), (self.first, self.end));
        self.read_with(&mut self.log.reader(), self.first, usize::MAX);
    }

    /// Skips numbers. They will never have an entry.
    fn skip(&mut self, numbers: u64) {
        let (disk_works, syncs_fail) = (self.disk_works(), self.disk.fails_syncs());
        let full = self.disk.free() < frame_bytes(&self.unsynced);
        let next = self.log.next();
        let skipped = self.log.skip_to(next + numbers);
        // A jump is made in a new segment, after a sync.
        self.settle_visible();
        self.unharmed &= disk_works;
        match skipped {
            Ok(()) => assert_eq!(self.log.next(), next + numbers),
            Err(error) => {
                assert!(!disk_works || self.disk.is_killed() || full, "the skip failed without a reason: {error:?}");
                assert_eq!(self.log.next(), next, "a failed skip skips nothing");
                self.handed_over &= !syncs_fail && !self.disk.fails_changes();
            }
        }
        assert!(self.log.skip_to(0).is_ok() && self.log.next() >= next, "numbers go back");
        self.check();
    }

    fn clear(&mut self) {
        let (next, disk_works) = (self.log.next(), self.disk_works());
        let all_synced = self.unsynced.is_empty();
        let cleared = self.log.clear();
        assert_eq!(self.log.next(), next, "a removal must not lower the next number");
        self.settle_removed(if all_synced { self.end } else { self.first });
        match cleared {
            Err(error) => {
                assert!(!disk_works || self.disk.is_killed(), "clearing failed without a reason: {error:?}");
            }
            Ok(()) if all_synced => {
                assert_eq!(self.disk.names(), Vec::<String>::new(), "nothing is left");
                assert_eq!((self.log.bytes(), self.log.removable_at()), (0, None));
                self.first = self.end;
                self.released.clear();
                self.void.clear();
                self.attempted.clear();
                self.left_behind.clear();
            }
            Ok(()) => {}
        }
        self.check();
    }

    /// Updates the model after a removal of entries before `before`. Returns whether it removed any.
    fn settle_removed(&mut self, before: u64) -> bool {
        let (first, end) = self.log.reader().range();
        assert_eq!(end, self.end, "a removal must not make entries visible");
        assert!(first == self.first || (self.first < first && first <= before), "{first} must stay from {before} on");
        let kept = self.visible.split_off(&first);
        self.released.append(&mut std::mem::replace(&mut self.visible, kept));
        self.damaged = self.damaged.split_off(&first);
        let advanced = self.first < first;
        self.first = first;
        advanced
    }

    fn release(&mut self, before: u64, bytes_wanted: u64) {
        let disk_works = self.disk_works();
        let next = self.log.next();
        let removable_at = self.log.removable_at();
        let released = self.log.release(before, |bytes, _| bytes > bytes_wanted);
        assert_eq!(self.log.next(), next, "a release must not lower the next number");
        let advanced = self.settle_removed(before);
        assert!(!advanced || removable_at <= Some(before), "removed before it was removable, at {removable_at:?}");
        let (first, end) = (self.first, self.end);
        if let Err(error) = released {
            assert!(!disk_works || self.disk.is_killed(), "the release failed without a reason: {error:?}");
        } else {
            if advanced {
                self.released.clear();
            }
            let bases = bases(&self.disk);
            let lowest = bases.first().copied().unwrap_or(first);
            let only_begun = self.visible.is_empty() && lowest >= first;
            assert!(lowest == first || only_begun, "released entries must be off the disk: {lowest} is before {first}");
            // A segment that begins at the end may be left from a failed attempt to begin one.
            let more = bases.get(1).is_some_and(|following| *following <= before && *following < end);
            assert!(!more || self.log.bytes() <= bytes_wanted, "not everything removable was removed");
        }
    }

    fn damage(&mut self, entry: prop::sample::Index, byte: prop::sample::Index, bit: u32) {
        if self.visible.is_empty() {
            return;
        }
        let sequence = *self.visible.keys().nth(entry.index(self.visible.len())).unwrap();
        let content = self.visible.remove(&sequence).unwrap();
        let base = bases(&self.disk).into_iter().rfind(|base| *base <= sequence).unwrap();
        let name = format!("{base:020}.log");
        // A frame is its length and checksum, followed by this.
        let mut tail = sequence.to_le_bytes().to_vec();
        tail.extend_from_slice(&content.time.unix_micros().to_le_bytes());
        tail.extend_from_slice(&content.payload);
        let file = self.disk.content(&name);
        let at = file.windows(tail.len()).position(|window| window == tail).expect("a visible entry is in its file");
        self.disk.flip(&name, at - 8 + byte.index(tail.len() + 8), 1 << bit);
        self.damaged.insert(sequence);
        self.unharmed = false;
        // A reader that has the entry in memory may still return the undamaged one.
        self.reader = self.log.reader();
        self.check();
    }

    fn restart(&mut self, restart: &Restart) {
        let died = self.disk.is_killed();
        let next_at_least = self.end + restart.ahead;
        let mut seeds = Chance::new(restart.power_cut.unwrap_or_default());
        let cut = |seeds: &mut Chance| match restart.power_cut {
            Some(_) => self.disk.power_cut(seeds.number()),
            None => self.disk.crash(),
        };
        cut(&mut seeds);
        self.unharmed &= !died && restart.power_cut.is_none() && restart.kill_after.is_none();
        if let Some(changes) = restart.kill_after {
            self.disk.kill_after(changes);
        }
        let mut interrupted = false;
        let (log, recovered) = loop {
            let disk_works = self.disk_works();
            match SegmentedLog::open(self.disk.storage(), SEGMENT_BYTES_MAX, next_at_least) {
                Ok(opened) => break opened,
                Err(error) => {
                    assert!(!disk_works || self.disk.is_killed(), "the log cannot be opened: {error:?}");
                    interrupted = true;
                    cut(&mut seeds);
                }
            }
        };
        self.log = log;
        self.reader = self.log.reader();
        self.recover(recovered, restart.power_cut.is_some(), interrupted, next_at_least);
    }

    /// Compares the state after a restart with the allowed states, and continues with it.
    fn recover(&mut self, recovered: Recovered, power_cut: bool, interrupted: bool, next_at_least: u64) {
        let (first, end) = self.log.reader().range();
        assert_eq!(end, self.log.next());
        assert!(end >= next_at_least, "the next number is {end}, but must be at least {next_at_least}");
        let mut found = BTreeMap::new();
        let mut last = None;
        let read = self.log.reader().read(first, |entry| {
            assert!(last < Some(entry.sequence), "{} comes behind {last:?}", entry.sequence);
            last = Some(entry.sequence);
            let content = Content { time: entry.time, payload: Arc::new(entry.payload.to_vec()) };
            found.insert(entry.sequence, content);
            true
        });
        let read = read.unwrap();
        assert_eq!(read.next, end);
        assert!(last < Some(end));

        let mut new = found.split_off(&self.end);
        for (sequence, content) in &found {
            let expected = self.visible.get(sequence).or_else(|| self.released.get(sequence));
            assert!(expected == Some(content), "entry {sequence} has changed");
        }
        for sequence in self.visible.keys() {
            assert!(found.contains_key(sequence), "visible entry {sequence} is lost");
        }
        for (sequence, content) in &new {
            let mut appended = self.unsynced.iter().chain(&self.attempted).chain(&self.void);
            assert!(
                appended.any(|candidate| candidate.0 == *sequence && candidate.1 == *content),
                "entry {sequence} was never appended with this content"
            );
        }
        if !power_cut {
            let left: Vec<(u64, Content)> =
                new.iter().map(|(sequence, content)| (*sequence, content.clone())).collect();
            if self.handed_over {
                assert!(left.len() >= self.unsynced.len(), "the operating system had more than {}", left.len());
            }
            let behind = |attempt: &Vec<(u64, Content)>| [self.unsynced.as_slice(), attempt].concat();
            let mut expected: Vec<Vec<(u64, Content)>> = self.left_behind.iter().map(behind).collect();
            if !self.handed_over {
                // The segment meant to make remains void may not have been created.
                expected.extend(self.left_behind.iter().cloned());
            }
            let void = !self.handed_over && !self.void.is_empty();
            if !void && !expected.iter().any(|expected| expected.starts_with(&left)) {
                assert_same(&left, self.unsynced.get(..left.len()).unwrap_or(&self.unsynced));
            }
        }

        self.damaged.retain(|sequence| *sequence >= first);
        // Damage after the last whole entry looks like a torn write, whose numbers are free. A process that dies right
        // after cutting it off cannot report it.
        let before_last = |sequence: &u64| Some(*sequence) < last;
        if interrupted {
            self.damaged.retain(before_last);
        }
        if !self.damaged.is_empty() {
            let reported = recovered.damaged_bytes + recovered.torn_bytes + read.damaged_bytes;
            assert!(reported > 0, "damage is not reported");
        }
        if self.unharmed {
            assert_eq!((recovered, read.damaged_bytes), (Recovered::default(), 0), "damage is reported without damage");
        }
        if recovered.torn_bytes > 0 {
            self.damaged.retain(before_last);
        }
        if let Some(sequence) = self.damaged.last() {
            assert!(*sequence < end, "the number of damaged entry {sequence} would be reused");
        }

        // Remains in a segment are void because of the following segment. Until that one has a visible entry, it may be
        // lost again, and the remains found.
        self.void.extend(self.unsynced.drain(..).chain(self.attempted.drain(..)));
        self.void.retain(|(sequence, _)| *sequence >= end);
        found.append(&mut new);
        self.visible = found;
        self.first = first;
        self.end = end;
        self.consumed = self.consumed.clamp(first, end);
        self.released.clear();
        self.left_behind.clear();
        self.handed_over = true;
        self.check();
    }

    /// Lets the disk recover and checks that the log recovers, too.
    fn end(mut self) {
        self.disk.set_capacity(u64::MAX);
        self.disk.fail_syncs(0);
        self.disk.fail_file_syncs(0);
        self.disk.fail_changes(0);
        self.disk.kill_after(u64::MAX);
        self.append(vec![(10, 1), (20, 2)], false);
        self.sync();
        self.check();
        self.restart(&Restart { power_cut: Some(1), ahead: 0, kill_after: None });
    }
}

fn frame_bytes<'a>(entries: impl IntoIterator<Item = &'a (u64, Content)>) -> u64 {
    entries.into_iter().map(|(_, content)| (FRAME_HEADER_BYTES + content.payload.len()) as u64).sum()
}

/// Like `assert_eq`, without printing all bytes.
fn assert_same(seen: &[(u64, Content)], expected: &[(u64, Content)]) {
    if seen != expected {
        let numbers = |entries: &[(u64, Content)]| entries.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(seen), numbers(expected), "the wrong entries");
        let wrong = seen.iter().zip(expected).find(|(seen, expected)| seen != expected).map(|(seen, _)| seen.0);
        panic!("the content or time of {wrong:?} is wrong");
    }
}

/// Base numbers of the segments on the disk, ascending.
fn bases(disk: &SimulatedDisk) -> Vec<u64> {
    disk.names().iter().map(|name| name.strip_suffix(".log").unwrap().parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_of_a_log_agrees_with_the_model(operations in prop::collection::vec(operation(), 1..80)) {
        let mut history = History::begin();
        for operation in operations {
            history.apply(operation);
        }
        history.end();
    }
}

const KILL: Restart = Restart { power_cut: None, ahead: 0, kill_after: None };

#[test]
fn remains_of_a_failed_append_that_cannot_be_cut_off_are_void() {
    for power_cut in (0..20).map(Some).chain([None]) {
        let mut history = History::begin();
        history.append(vec![(10, 1)], false);
        history.sync();
        // A write of half of the frames, and the subsequent truncation.
        history.disk.fail_changes(2);
        history.append(vec![(100, 2), (100, 3), (100, 4), (100, 5)], false);
        history.append(vec![(0, 6)], false);
        history.sync();
        assert_eq!(history.visible.len(), 2);
        history.restart(&Restart { power_cut, ..KILL });
        assert_eq!(history.visible.len(), 2);
        history.end();
    }
}

#[test]
fn data_left_in_the_page_cache_by_a_failed_sync_is_written_before_it_is_shown() {
    for seed in 0..20 {
        let mut history = History::begin();
        history.append(vec![(10, 1)], false);
        history.sync();
        history.append(vec![(20, 2), (30, 3)], false);
        // The sync of the segment, and that of its replacement.
        history.disk.fail_file_syncs(2);
        history.sync();
        history.restart(&KILL);
        assert_eq!(history.visible.len(), 3, "the operating system had all entries");
        history.restart(&Restart { power_cut: Some(seed), ..KILL });
        history.end();
    }
}

#[test]
fn a_segment_created_before_a_kill_without_a_directory_sync_stays() {
    for seed in 0..20 {
        let mut history = History::begin();
        // Created, written (nothing), and killed during the sync of the directory.
        history.disk.kill_after(2);
        history.apply(Operation::Append(vec![(10, 1)]));
        history.append(vec![(20, 2)], false);
        history.sync();
        history.restart(&Restart { power_cut: Some(seed), ..KILL });
        assert_eq!(history.visible.len(), 1);
        history.end();
    }
}

#[test]
fn a_segment_is_replaced_once_the_disk_accepts_changes() {
    let mut history = History::begin();
    history.append(vec![(10, 1)], false);
    history.sync();
    history.append(vec![(20, 2)], false);
    // The replacement of the first segment cannot be synced either, and then not be replaced.
    history.disk.fail_file_syncs(2);
    history.sync();
    history.disk.fail_changes(1);
    history.sync();
    assert_eq!(history.visible.len(), 1);
    history.sync();
    assert_eq!(history.visible.len(), 2);
    history.end();
}

const FAR: u64 = 5_000_000_000;

#[test]
fn frames_cut_off_by_a_full_disk_are_void_before_skipped_numbers() {
    for seed in 0..40 {
        for skipped in [1, FAR] {
            let mut history = History::begin();
            history.append(vec![(10, 1)], false);
            history.sync();
            // A write of one whole frame and part of the next, and an unsynced truncation.
            history.apply(Operation::FillDisk(100));
            history.append(vec![(0, 2), (500, 3)], false);
            history.apply(Operation::FreeDisk);
            history.skip(skipped);
            history.append(vec![(0, 4)], false);
            history.sync();
            history.restart(&Restart { power_cut: Some(seed), ..KILL });
            assert_eq!(history.visible.len(), 2);
            history.end();
        }
    }
}

#[test]
fn a_segment_that_cannot_be_begun_hides_no_later_entries() {
    for failing in 1..6 {
        let mut history = History::begin();
        history.append(vec![(10, 1)], false);
        history.restart(&Restart { ahead: 2, ..KILL });
        // Begins a segment without an entry for it.
        history.append(vec![(10, 2)], true);
        history.disk.fail_changes(failing);
        history.skip(FAR);
        history.append(vec![(10, 3)], false);
        history.disk.fail_changes(0);
        history.append(vec![(10, 4)], false);
        history.sync();
        let entries = history.visible.len();
        history.restart(&KILL);
        assert_eq!(history.visible.len(), entries);
        history.end();
    }
}

#[test]
fn a_failed_segment_is_void_after_skipped_numbers() {
    for seed in 0..40 {
        for failing in 1..6 {
            let mut history = History::begin();
            history.append(vec![(10, 1)], false);
            history.skip(FAR);
            // One whole frame in the new segment, cut off; then one that cannot be cut off.
            history.apply(Operation::FillDisk(100));
            history.append(vec![(0, 2), (500, 3)], false);
            history.apply(Operation::FreeDisk);
            history.disk.fail_changes(failing);
            history.append(vec![(0, 4), (0, 5)], false);
            history.skip(1);
            history.append(vec![(0, 6)], false);
            history.disk.fail_changes(0);
            history.append(vec![(0, 7)], false);
            history.sync();
            history.restart(&Restart { power_cut: Some(seed), ..KILL });
            history.end();
        }
    }
}

#[test]
fn a_file_that_could_not_be_begun_does_not_survive_clearing() {
    for failing in 1..8 {
        let mut history = History::begin();
        history.append(vec![(10, 1)], true);
        history.disk.fail_changes(failing);
        history.append(vec![(10, 2)], false);
        history.append(vec![(10, 3)], false);
        history.disk.fail_changes(0);
        history.sync();
        history.clear();
        assert_eq!(history.disk.names(), Vec::<String>::new());
        history.restart(&Restart { power_cut: Some(1), ..KILL });
        assert_eq!(history.visible.len(), 0);
        history.end();
    }
}

#[test]
fn numbers_may_jump_far_ahead() {
    let mut history = History::begin();
    history.append(vec![(10, 1)], false);
    history.restart(&Restart { ahead: 1 << 33, ..KILL });
    history.append(vec![(20, 2)], false);
    history.sync();
    history.restart(&KILL);
    assert_eq!(history.visible.len(), 2);
    history.end();
}

#[test]
fn a_file_that_is_not_a_segment_changes_nothing() {
    let mut history = History::begin();
    history.append(vec![(10, 1)], false);
    history.sync();
    let storage = history.disk.storage();
    for name in ["18446744073709551615.log", "09223372036854775808.log", "+0000000000000000007.log", "7.log", "LOCK"] {
        storage.create(name).and_then(|file| file.write_at(b"not ours", 0)).unwrap();
    }
    history.restart(&KILL);
    assert_eq!(history.visible.len(), 1);
    assert_eq!(history.log.next(), 1);
    history.end();
}
