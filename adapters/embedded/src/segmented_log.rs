//! An append-only log on disk.
//!
//! Constraints and invariants:
//! * Entries are numbered by an ascending sequence; numbers may be skipped, but are never used twice.
//! * A frame is `length u32 | CRC-32C u32 | sequence u64 | time i64 | payload`, little-endian; the checksum covers
//!   everything but itself. A frame never spans two files.
//! * A segment is a file named by a sequence no larger than its first; only the last one grows. A segment is synced
//!   before the next one begins.
//! * An entry is visible to readers only once a sync after its write has succeeded.
//! * After a failed sync the segment is never written or synced again: unsynced entries go into a new segment. Frames
//!   left in the old segment are void from the new segment's first sequence on.
//! * Recovery writes what it finds to disk before it builds on it: an earlier process may have left data that is only in
//!   the page cache and, after a failed sync, passes for written.
//! * Recovery checks the last segment: everything after its last whole frame is torn and cut off. A broken frame followed
//!   by whole frames is damage, not a torn tail: it is skipped and reported, without loss of other entries.
//! * Whole segments are removed, oldest first, and each removal is on disk before the next: if a segment comes back after
//!   a power cut, so does the one that makes its remains void.
//!
//! One [`SegmentedLog`] writes; any number of [`LogReader`]s read the visible entries.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use domain::timestamp::Timestamp;

use crate::storage::{Storage, StorageFile};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Maximum bytes of a payload: a record and its envelope. Anything longer on disk is damage.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;
/// Capacity that the buffer of unsynced frames may keep between two groups.
const IDLE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Minimum number of bytes that [`SegmentedLog::probe`] writes, and the file it uses when the log has no segment.
const PROBE_BYTES_MIN: usize = 64 * 1024;
const PROBE_NAME: &str = "probe";
/// Maximum distance between consecutive sequences in the same file: a sequence further ahead is treated as garbage.
const SKIP_MAX: u64 = u32::MAX as u64;
/// Size of a read, and of the block that a reader keeps until it reaches the end.
const READ_BYTES: usize = 128 * 1024;
/// Bytes skipped at once as unreadable: a page, the smallest unit in which the operating system reads a file.
const PAGE_BYTES: usize = 4096;

/// Why the log operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The storage failed; nothing changed.
    #[error("the log cannot be written or read")]
    Io(#[from] io::Error),
    /// The payload exceeds [`PAYLOAD_BYTES_MAX`] bytes.
    #[error("an entry must not exceed {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    /// The entry was removed, or never existed.
    #[error("sequence {position} is before the first, {first}")]
    OutOfRange {
        /// The requested sequence.
        position: u64,
        /// The first existing sequence.
        first: u64,
    },
}

impl LogError {
    /// The error with its cause, in one line.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Io(cause) => format!("{self}: {cause}"),
            Self::TooLarge | Self::OutOfRange { .. } => self.to_string(),
        }
    }
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub sequence: u64,
    /// Time set by its writer.
    pub time: Timestamp,
    /// Its content.
    pub payload: &'a [u8],
}

/// The writing end.
pub struct SegmentedLog {
    storage: Arc<dyn Storage>,
    segment_bytes_max: u64,
    segments: Vec<Segment>,
    next: u64,
    /// Whole frames written to the last segment after its visible ones, and not yet synced.
    unsynced: Vec<u8>,
    /// Next sequence after the last synced frame; every frame in `unsynced` has at least this sequence.
    unsynced_from: u64,
    /// The last segment is full or poisoned: continue in a new one.
    seal: bool,
    /// The last segment may contain frames of a failed append after the appended ones.
    remains: bool,
    /// A segment was removed, and the directory has not been synced since.
    removal_unsynced: bool,
    /// A file may exist that is not in `segments`: a new segment that could not be begun.
    stray: bool,
    view: Arc<Mutex<View>>,
}

/// The part that readers may see.
#[derive(Default)]
struct View {
    segments: Vec<Segment>,
    /// Next sequence after the last visible entry.
    next: u64,
}

#[derive(Clone)]
struct Segment {
    /// No entry of this segment has a smaller sequence.
    base: u64,
    /// Time of its first entry, if it has one.
    first_time: Option<Timestamp>,
    file: Arc<dyn StorageFile>,
    /// Synced bytes.
    len: u64,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut off after the last whole frame.
    pub torn_bytes: u64,
    /// Damaged bytes skipped between whole frames of the last segment.
    pub damaged_bytes: u64,
}

impl SegmentedLog {
    /// Begins a log in an empty `storage`. Touches nothing until an entry is appended.
    #[must_use]
    pub fn begin(storage: Arc<dyn Storage>, segment_bytes_max: u64) -> Self {
        Self::over(storage, segment_bytes_max, Vec::new(), 0)
    }

    fn over(storage: Arc<dyn Storage>, segment_bytes_max: u64, segments: Vec<Segment>, next: u64) -> Self {
        let view = View { segments: segments.clone(), next };
        Self {
            storage,
            segment_bytes_max,
            segments,
            next,
            unsynced: Vec::new(),
            unsynced_from: next,
            seal: false,
            remains: false,
            removal_unsynced: false,
            stray: false,
            view: Arc::new(Mutex::new(view)),
        }
    }

    /// Opens the log in `storage`, or begins one. The next entry gets a sequence of at least `next_at_least`.
    ///
    /// # Errors
    /// Storage errors.
    pub fn open(
        storage: Arc<dyn Storage>,
        segment_bytes_max: u64,
        next_at_least: u64,
    ) -> Result<(Self, Recovered), LogError> {
        // An earlier process may have been killed between a change to the directory and its sync. Files that the log
        // builds on must not appear or disappear later.
        storage.sync_directory()?;
        let has_probe = storage.list()?.iter().any(|name| name == PROBE_NAME);
        if has_probe {
            storage.remove(PROBE_NAME)?;
        }
        let bases = bases_in(storage.as_ref())?;
        let mut segments = Vec::with_capacity(bases.len());
        for base in bases {
            let file = storage.open(&name_of(base))?;
            let len = file.len()?;
            let mut header = [0; FRAME_HEADER_BYTES];
            let read = match file.read_at(&mut header, 0) {
                Err(error) if is_bad_sector(&error) => 0,
                read => read?,
            };
            let first_time = header.get(..read).and_then(Header::parse).map(|header| header.time);
            segments.push(Segment { base, first_time, file, len });
        }

        let mut recovered = Recovered::default();
        let mut next = 0;
        if let Some(last) = segments.last_mut() {
            next = last.base;
            write_again(last.file.as_ref(), last.len)?;
            let mut whole = 0;
            let mut scan = Scan::new(Arc::clone(&last.file), last.len, last.base);
            while let Some(frame) = scan.next_frame()? {
                recovered.damaged_bytes += frame.from - whole;
                whole = frame.to;
                next = frame.header.sequence + 1;
            }
            recovered.torn_bytes = last.len - whole;
            if recovered.torn_bytes > 0 {
                last.file.truncate(whole)?;
                last.file.sync()?;
                last.len = whole;
            }
        }
        // See `SKIP_MAX`.
        let seal = next < next_at_least;
        let mut log = Self::over(storage, segment_bytes_max, segments, next.max(next_at_least));
        log.seal = seal;
        log.removal_unsynced = has_probe;
        log.seal_if_full();
        Ok((log, recovered))
    }

    /// The sequence of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum::<u64>() + self.unsynced.len() as u64
    }

    /// Bytes on disk that [`SegmentedLog::release`] could not remove, given the same `before`: those of segments with an
    /// entry at or after it.
    #[must_use]
    pub fn bytes_needed(&self, before: u64) -> u64 {
        let ends = self.segments.iter().skip(1).map(|following| following.base).chain([self.next]);
        let needed = self.segments.iter().zip(ends).filter(|(_, end)| *end > before).map(|(segment, _)| segment.len);
        needed.sum::<u64>() + self.unsynced.len() as u64
    }

    /// Bytes on disk that [`SegmentedLog::release`] could remove now, given the same `before`.
    #[must_use]
    pub fn removable_bytes(&self, before: u64) -> u64 {
        let followed = self.segments.iter().zip(self.segments.iter().skip(1));
        followed.filter(|(_, following)| following.base <= before).map(|(segment, _)| segment.len).sum()
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { view: Arc::clone(&self.view), place: None }
    }

    /// Hands entries to the operating system, all or none, and returns the sequence of the first. Each comes with its
    /// time and a function that appends its payload to a buffer. Entries survive the process at once, but a power cut
    /// only after the next [`SegmentedLog::sync`], which also makes them visible.
    ///
    /// # Errors
    /// Nothing was appended. Recovery may still find the entries until [`SegmentedLog::void_remains`] has succeeded.
    pub fn append<W: FnOnce(&mut Vec<u8>)>(
        &mut self,
        entries: impl IntoIterator<Item = (Timestamp, W)>,
    ) -> Result<u64, LogError> {
        self.void_remains()?;
        if self.seal {
            self.sync()?;
        }
        if self.seal || self.segments.is_empty() {
            self.begin_segment()?;
        }
        let first = self.next;
        let from = self.unsynced.len();
        let mut first_time = None;
        for (time, write_payload) in entries {
            if !write_frame(&mut self.unsynced, self.next, time, write_payload) {
                self.forget_from(from, first);
                return Err(LogError::TooLarge);
            }
            self.next += 1;
            first_time.get_or_insert(time);
        }
        let Some(last) = self.segments.last_mut() else { return Ok(first) };
        let written = last.file.write_at(self.unsynced.get(from..).unwrap_or_default(), last.len + from as u64);
        if let Err(error) = written {
            self.remains = last.file.len().map_or(true, |len| len > last.len + from as u64);
            self.forget_from(from, first);
            // If that fails too, it is tried again.
            let _ = self.void_remains();
            return Err(error.into());
        }
        last.first_time = last.first_time.or(first_time);
        Ok(first)
    }

    /// Makes sure that recovery finds no remains of a failed append: cuts them off or, if the file does not allow that,
    /// continues in a new segment, whose base makes them void.
    ///
    /// # Errors
    /// Recovery may still find them.
    pub fn void_remains(&mut self) -> Result<(), LogError> {
        if !self.remains {
            return Ok(());
        }
        if let Some(last) = self.segments.last() {
            let end = last.len + self.unsynced.len() as u64;
            // An unsynced cut may be lost in a power cut, and the remains return.
            if self.seal || last.file.truncate(end).is_err() || last.file.sync().is_err() {
                self.seal = true;
                self.begin_segment()?;
            }
        }
        self.remains = false;
        Ok(())
    }

    /// Gives the next entry at least this sequence. Numbers may be skipped, but are never used twice.
    ///
    /// # Errors
    /// Earlier appends cannot be synced.
    pub fn skip_to(&mut self, sequence: u64) -> Result<(), LogError> {
        if sequence <= self.next {
            return Ok(());
        }
        if sequence - self.next > SKIP_MAX {
            self.sync()?;
            self.seal = true;
            if !self.segments.is_empty() {
                // Remains in the last segment are void from here on, not only from `sequence` on.
                self.begin_segment()?;
                self.seal = true;
            }
        }
        self.next = sequence;
        Ok(())
    }

    /// Checks whether the storage would accept an append of this many bytes now. Leaves no trace.
    ///
    /// # Errors
    /// The storage would not accept it.
    pub fn probe(&self, bytes: u64) -> Result<(), LogError> {
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).max(PROBE_BYTES_MIN)];
        let Some(last) = self.segments.last() else {
            let file = match self.storage.create(PROBE_NAME) {
                // An earlier probe file could not be removed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.storage.open(PROBE_NAME)?,
                created => created?,
            };
            let written = file.write_at(&zeros, 0);
            self.storage.remove(PROBE_NAME)?;
            return Ok(written?);
        };
        let end = last.len + self.unsynced.len() as u64;
        let written = last.file.write_at(&zeros, end);
        last.file.truncate(end)?;
        Ok(written?)
    }

    /// Makes all appended entries visible, and makes them survive a power cut.
    ///
    /// # Errors
    /// No further entries are visible. Another call tries again, on a new segment.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        if self.seal {
            self.begin_segment()?;
        }
        let Some(last) = self.segments.last_mut() else { return Ok(()) };
        if let Err(error) = last.file.sync() {
            // It is unknown whether the frames after `len` are on disk, so nothing may rely on them or on this file any
            // longer. Removing them only helps the next recovery.
            let _ = last.file.truncate(last.len);
            self.seal = true;
            self.begin_segment()?;
            let Some(last) = self.segments.last_mut() else { return Err(error.into()) };
            if let Err(error) = last.file.sync() {
                self.seal = true;
                return Err(error.into());
            }
        }
        if let Some(last) = self.segments.last_mut() {
            last.len += self.unsynced.len() as u64;
        }
        self.unsynced.clear();
        self.unsynced.shrink_to(IDLE_BUFFER_BYTES);
        self.unsynced_from = self.next;
        self.seal_if_full();
        self.show();
        Ok(())
    }

    /// The lowest `before` with which [`SegmentedLog::release`] or [`SegmentedLog::clear`] would remove something.
    #[must_use]
    pub fn removable_at(&self) -> Option<u64> {
        match self.segments.as_slice() {
            [] if !self.stray => None,
            [] | [_] => Some(self.next),
            [_, following, ..] => Some(following.base),
        }
    }

    /// Removes whole segments whose entries are all below `before`, while `unwanted` returns true for the oldest: it
    /// receives the bytes on disk and an upper bound of the times in that segment. The newest segment stays, so that the
    /// sequence is never forgotten.
    ///
    /// # Errors
    /// Storage errors; removal stops there.
    pub fn release(&mut self, before: u64, mut unwanted: impl FnMut(u64, Timestamp) -> bool) -> Result<(), LogError> {
        self.sync_removal()?;
        while let [_, following, ..] = self.segments.as_slice()
            && following.base <= before
            && unwanted(self.bytes(), following.first_time.unwrap_or(Timestamp::MAX))
        {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Removes all segments, including the newest, if all of their entries are synced. From then on only this object
    /// knows the sequence.
    ///
    /// # Errors
    /// Storage errors; removal stops there.
    pub fn clear(&mut self) -> Result<(), LogError> {
        self.sync_removal()?;
        if !self.unsynced.is_empty() {
            return Ok(());
        }
        while !self.segments.is_empty() {
            self.remove_oldest()?;
        }
        if self.stray {
            for base in bases_in(self.storage.as_ref())? {
                self.storage.remove(&name_of(base))?;
                self.removal_unsynced = true;
            }
            self.stray = false;
        }
        self.sync_removal()
    }

    /// Forgets segments whose files were removed from outside, so that nothing more is written to them.
    ///
    /// # Errors
    /// Storage errors.
    pub fn forget_removed(&mut self) -> Result<(), LogError> {
        let bases = bases_in(self.storage.as_ref())?;
        let last = self.segments.last().map(|last| last.base);
        self.segments.retain(|segment| bases.contains(&segment.base));
        self.seal |= last != self.segments.last().map(|last| last.base);
        self.show();
        Ok(())
    }

    fn remove_oldest(&mut self) -> Result<(), LogError> {
        let Some(oldest) = self.segments.first() else { return Ok(()) };
        self.storage.remove(&name_of(oldest.base))?;
        self.segments.remove(0);
        self.removal_unsynced = true;
        // Readers keep the files open, and so occupy their room, for as long as they see them.
        self.show();
        self.sync_removal()
    }

    fn sync_removal(&mut self) -> Result<(), LogError> {
        if self.removal_unsynced {
            self.storage.sync_directory()?;
            self.removal_unsynced = false;
        }
        Ok(())
    }

    /// Begins a new segment that takes over the unsynced entries.
    fn begin_segment(&mut self) -> Result<(), LogError> {
        let stray_before = std::mem::replace(&mut self.stray, true);
        // As low as possible, because remains in the previous segment are void from here on.
        let first = Header::parse(&self.unsynced).map_or(self.next, |header| header.sequence);
        let lowest = self.segments.last().map_or(0, |last| last.base).max(self.unsynced_from);
        let base = if first - lowest > SKIP_MAX { first } else { lowest };
        let name = name_of(base);
        let (file, is_new) = match self.storage.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A segment of this base never had a visible entry: it is an earlier attempt, or an empty last segment. Its
                // file is written again and not removed: without it, remains in the segment before would be valid again.
                let file = self.storage.open(&name)?;
                file.truncate(0)?;
                (file, false)
            }
            created => (created?, true),
        };
        let made = file.write_at(&self.unsynced, 0).and_then(|()| self.storage.sync_directory());
        if let Err(error) = made {
            if is_new {
                let _ = self.storage.remove(&name);
                self.removal_unsynced = true;
            }
            return Err(error.into());
        }
        self.segments.pop_if(|last| last.base == base);
        let first_time = Header::parse(&self.unsynced).map(|header| header.time);
        self.segments.push(Segment { base, first_time, file, len: 0 });
        self.seal = false;
        self.remains = false;
        self.removal_unsynced = false;
        // The previous attempt may have used another name.
        self.stray = stray_before;
        Ok(())
    }

    fn seal_if_full(&mut self) {
        self.seal |= self.segments.last().is_some_and(|last| last.len >= self.segment_bytes_max);
    }

    fn forget_from(&mut self, from: usize, first: u64) {
        self.unsynced.truncate(from);
        self.next = first;
    }

    fn show(&self) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.segments.clone_from(&self.segments);
        // Not `next`: a reader must not skip entries that are not synced yet.
        view.next = self.unsynced_from;
    }
}

/// Rewrites the readable part of a file to disk. A sync alone is not enough: if one failed in an earlier process, the
/// operating system may still show data that the disk does not have, and no longer try to write it.
fn write_again(file: &dyn StorageFile, len: u64) -> io::Result<()> {
    let mut block = vec![0; READ_BYTES];
    let (mut at, mut step) = (0, READ_BYTES);
    while at < len {
        let read = match file.read_at(block.get_mut(..step).unwrap_or_default(), at) {
            // Unreadable parts stay as they are.
            Err(error) if is_bad_sector(&error) => {
                at += if step == PAGE_BYTES { PAGE_BYTES as u64 } else { 0 };
                step = PAGE_BYTES;
                continue;
            }
            read => read?,
        };
        if read == 0 {
            break;
        }
        file.write_at(block.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    file.sync()
}

/// Reads visible entries only, and remembers its position.
pub struct LogReader {
    view: Arc<Mutex<View>>,
    /// Where the last read ended, so that the next one neither searches nor rereads the buffered block.
    place: Option<Scan>,
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where to continue.
    pub next: u64,
    /// Damaged bytes that were skipped.
    pub damaged_bytes: u64,
    /// The first of them: the base of the segment, and the offset in it.
    pub first_damage: Option<(u64, u64)>,
}

impl Read {
    /// Counts the bytes between two whole frames.
    fn skip(&mut self, base: u64, from: u64, to: u64) {
        if from < to {
            self.damaged_bytes += to - from;
            self.first_damage.get_or_insert((base, from));
        }
    }
}

impl LogReader {
    /// The first readable sequence, and the one after the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        (view.segments.first().map_or(view.next, |first| first.base), view.next)
    }

    /// Passes entries from `position` on to `take`, in order, until it returns false or the entries end.
    ///
    /// # Errors
    /// `position` is before the first entry, or the storage fails.
    pub fn read(&mut self, position: u64, take: impl FnMut(Entry<'_>) -> bool) -> Result<Read, LogError> {
        self.read_until(position, u64::MAX, take)
    }

    /// Like [`LogReader::read`], but only entries below `until`.
    ///
    /// # Errors
    /// `position` is before the first entry, or the storage fails.
    pub fn read_until(
        &mut self,
        position: u64,
        until: u64,
        mut take: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<Read, LogError> {
        let (segments, visible_end) = {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            (view.segments.clone(), view.next)
        };
        let end = visible_end.min(until);
        let mut read = Read { next: position, damaged_bytes: 0, first_damage: None };
        // A removed file occupies disk space for as long as it is open.
        self.place.take_if(|place| !segments.iter().any(|segment| Arc::ptr_eq(&segment.file, &place.file)));
        if position >= end {
            return Ok(read);
        }
        let first = segments.first().map_or(end, |first| first.base);
        if position < first {
            return Err(LogError::OutOfRange { position, first });
        }
        let begin = segments.partition_point(|segment| segment.base <= position).saturating_sub(1);
        let mut following = segments.iter().skip(begin).map(|segment| segment.base).skip(1).chain([visible_end]);
        for segment in segments.iter().skip(begin) {
            let to = following.next().unwrap_or(visible_end);
            let mut scan = match self.place.take() {
                Some(scan) if scan.sequence <= read.next && Arc::ptr_eq(&scan.file, &segment.file) => {
                    Scan { len: segment.len, ..scan }
                }
                _ => Scan::new(Arc::clone(&segment.file), segment.len, segment.base),
            };
            let mut whole = scan.offset;
            while let Some(frame) = scan.next_frame()? {
                if frame.header.sequence >= until.min(to) {
                    if until < to {
                        // Stay where it was, so that the next read also reports damage before this frame.
                        scan.skip_to(whole, end);
                        self.place = Some(scan);
                        read.next = end;
                        return Ok(read);
                    }
                    // Void: the following segment is authoritative from here on.
                    read.skip(segment.base, whole, frame.from);
                    whole = segment.len;
                    break;
                }
                read.skip(segment.base, whole, frame.from);
                whole = frame.to;
                if frame.header.sequence < read.next {
                    continue;
                }
                let entry =
                    Entry { sequence: frame.header.sequence, time: frame.header.time, payload: scan.payload(&frame) };
                let sequence = entry.sequence + 1;
                let more = take(entry);
                read.next = sequence;
                if !more {
                    self.place = Some(scan);
                    return Ok(read);
                }
            }
            read.skip(segment.base, whole, segment.len);
            if to >= end {
                // A reader that waits for more entries needs no memory meanwhile.
                scan.block = Vec::new();
                scan.skip_to(segment.len, end);
                self.place = Some(scan);
                break;
            }
        }
        // Numbers skipped at the end are also behind the reader.
        read.next = end;
        Ok(read)
    }
}

#[derive(Clone, Copy)]
struct Header {
    payload_len: usize,
    checksum: u32,
    sequence: u64,
    time: Timestamp,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
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
fn write_frame(buffer: &mut Vec<u8>, sequence: u64, time: Timestamp, write_payload: impl FnOnce(&mut Vec<u8>)) -> bool {
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
fn checksum(frame: &[u8]) -> u32 {
    let length = crc32c::crc32c(frame.get(..4).unwrap_or_default());
    crc32c::crc32c_append(length, frame.get(8..).unwrap_or_default())
}

/// A scan over the whole frames of a file.
struct Scan {
    file: Arc<dyn StorageFile>,
    len: u64,
    /// Expected offset of the next frame.
    offset: u64,
    /// No smaller sequence may follow.
    sequence: u64,
    block: Vec<u8>,
    block_at: u64,
}

/// A whole frame in a file.
struct Frame {
    header: Header,
    from: u64,
    to: u64,
}

impl Scan {
    fn new(file: Arc<dyn StorageFile>, len: u64, sequence: u64) -> Self {
        Self { file, len, offset: 0, sequence, block: Vec::new(), block_at: 0 }
    }

    fn skip_to(&mut self, offset: u64, sequence: u64) {
        self.offset = offset;
        self.sequence = sequence;
    }

    /// Returns the next whole frame, skipping damage. `None` when no whole frame is left.
    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let mut at = self.offset;
        while at + FRAME_HEADER_BYTES as u64 <= self.len {
            if let Some(header) = self.whole_frame_at(at)? {
                let to = at + (FRAME_HEADER_BYTES + header.payload_len) as u64;
                self.offset = to;
                self.sequence = header.sequence + 1;
                return Ok(Some(Frame { header, from: at, to }));
            }
            at += 1;
        }
        Ok(None)
    }

    fn whole_frame_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        let sequence = self.sequence;
        let len = self.len;
        let head = self.bytes(at, FRAME_HEADER_BYTES)?;
        let Some(header) = Header::parse(head) else { return Ok(None) };
        let frame_len = FRAME_HEADER_BYTES + header.payload_len;
        // The checksum of garbage matches once in four billion cases; requiring a plausible sequence excludes those as
        // well.
        if header.sequence < sequence || header.sequence - sequence > SKIP_MAX || at + frame_len as u64 > len {
            return Ok(None);
        }
        Ok((checksum(self.bytes(at, frame_len)?) == header.checksum).then_some(header))
    }

    /// What is wrong with the bytes at a place where a frame should be.
    fn flaw_at(&mut self, at: u64, sequence: u64) -> io::Result<Flaw> {
        let rest = self.len - at;
        let head = self.bytes(at, FRAME_HEADER_BYTES)?;
        let Some((payload_len, checked)) = head.split_first_chunk::<4>() else { return Ok(Flaw::Length) };
        let Some((stored, numbered)) = checked.split_first_chunk::<4>() else { return Ok(Flaw::Length) };
        let Some((found, _)) = numbered.split_first_chunk::<8>() else { return Ok(Flaw::Length) };
        let (stored, found) = (u32::from_le_bytes(*stored), u64::from_le_bytes(*found));
        let frame_len = u64::from(u32::from_le_bytes(*payload_len)) + FRAME_HEADER_BYTES as u64;
        if frame_len > rest || frame_len > (PAYLOAD_BYTES_MAX + FRAME_HEADER_BYTES) as u64 {
            return Ok(Flaw::Length);
        }
        let frame = self.bytes(at, usize::try_from(frame_len).unwrap_or(usize::MAX))?;
        if checksum(frame) != stored {
            return Ok(Flaw::Checksum);
        }
        Ok(if found < sequence || found - sequence > SKIP_MAX { Flaw::Sequence } else { Flaw::Time })
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        // Still in the block: `next_frame` has just checked it there.
        let from = usize::try_from(frame.from - self.block_at).unwrap_or(usize::MAX).saturating_add(FRAME_HEADER_BYTES);
        self.block.get(from..from.saturating_add(frame.header.payload_len)).unwrap_or_default()
    }

    /// `len` bytes at `at`, or fewer at the end of the file.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = at + len as u64;
        if at < self.block_at || end > self.block_at + self.block.len() as u64 {
            let want = len.max(READ_BYTES).min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
            self.block.resize(want, 0);
            let read = match self.file.read_at(&mut self.block, at) {
                Err(error) if is_bad_sector(&error) => read_around(self.file.as_ref(), &mut self.block, at)?,
                read => read?,
            };
            self.block.truncate(read);
            self.block_at = at;
        }
        let from = usize::try_from(at - self.block_at).unwrap_or(usize::MAX);
        Ok(self.block.get(from..from.saturating_add(len).min(self.block.len())).unwrap_or_default())
    }
}

/// Whether part of the file cannot be read although the disk responds.
fn is_bad_sector(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

/// Reads page by page. An unreadable page becomes zeros, which do not parse as a frame: only its content is lost.
fn read_around(file: &dyn StorageFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let page_at = at + filled as u64;
        let in_page = PAGE_BYTES - usize::try_from(page_at % PAGE_BYTES as u64).unwrap_or(0);
        let end = (filled + in_page).min(buffer.len());
        let Some(page) = buffer.get_mut(filled..end) else { break };
        match file.read_at(page, page_at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if is_bad_sector(&error) => {
                page.fill(0);
                filled = end;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether `storage` has a log with an entry. Changes nothing.
///
/// # Errors
/// Storage errors.
pub fn has_entries(storage: &dyn Storage) -> io::Result<bool> {
    for base in bases_in(storage)? {
        let file = storage.open(&name_of(base))?;
        let len = file.len()?;
        if Scan::new(file, len, base).next_frame()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a walk finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// A file that was walked to its end.
    File(u64),
    /// Bytes that are not an entry.
    Damage(Damage),
}

/// Bytes between whole frames, or after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Base of the segment.
    pub base: u64,
    /// Offset at which they begin.
    pub offset: u64,
    /// Their number.
    pub bytes: u64,
    /// No smaller sequence should be there.
    pub sequence: u64,
    /// What is wrong with the first of them.
    pub flaw: Flaw,
    /// Nothing follows them in the log: an unfinished write looks like this.
    pub at_end: bool,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Longer than a frame can be, or than the rest of the file.
    Length,
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, but the sequence goes back or is too far ahead.
    Sequence,
    /// Checksum and sequence are right, but the time is invalid.
    Time,
}

/// Passes a whole log to `see`, in order, as it is on disk. Changes nothing. The log may be in use: files removed
/// meanwhile are left out. Returns the bytes of all files.
///
/// # Errors
/// Storage errors, and errors of `see`.
pub fn walk(storage: &dyn Storage, see: &mut dyn FnMut(Seen<'_>) -> io::Result<()>) -> io::Result<u64> {
    let bases = bases_in(storage)?;
    let mut bytes = 0;
    for (index, base) in bases.iter().copied().enumerate() {
        let file = match storage.open(&name_of(base)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let len = file.len()?;
        bytes += len;
        let following = bases.get(index + 1).copied();
        let mut scan = Scan::new(file, len, base);
        let mut whole = 0;
        loop {
            let sequence = scan.sequence;
            let frame = scan.next_frame()?;
            let from = frame.as_ref().map_or(len, |frame| frame.from);
            if from > whole {
                let (bytes, at_end) = (from - whole, frame.is_none() && following.is_none());
                let flaw = scan.flaw_at(whole, sequence)?;
                see(Seen::Damage(Damage { base, offset: whole, bytes, sequence, flaw, at_end }))?;
                // Shown when it is found again, with nothing before it.
                scan.skip_to(from, sequence);
                whole = from;
                continue;
            }
            let Some(frame) = frame else { break };
            if following.is_some_and(|following| frame.header.sequence >= following) {
                // Void: the following segment is authoritative from here on.
                break;
            }
            whole = frame.to;
            let Header { sequence, time, .. } = frame.header;
            see(Seen::Entry(Entry { sequence, time, payload: scan.payload(&frame) }))?;
        }
        see(Seen::File(base))?;
    }
    Ok(bytes)
}

/// The segments of a log, oldest first.
fn bases_in(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut bases: Vec<u64> = storage.list()?.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// The file name of a segment.
pub(crate) fn name_of(base: u64) -> String {
    format!("{base:020}.log")
}

/// The base in a segment's name. A number that a store's position cannot reach is invalid: no later entry could ever be
/// stored.
fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    let base = digits.parse().ok().filter(|base| i64::try_from(*base).is_ok())?;
    // `parse` also accepts a sign.
    (name_of(base) == name).then_some(base)
}
