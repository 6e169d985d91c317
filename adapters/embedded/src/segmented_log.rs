//! An append-only log on disk.
//!
//! Constraints and invariants:
//! * Entries are numbered by a sequence that only ascends; numbers may be skipped, never used twice.
//! * A frame is `length u32 | CRC-32C u32 | sequence u64 | time i64 | payload`, little-endian; the checksum
//!   covers everything but itself. A frame never spans two files.
//! * A segment is a file named by a sequence no larger than its first; only the last one grows. A segment is
//!   synced before the next is begun.
//! * An entry is visible to readers only once a sync after its write has succeeded.
//! * After a failed sync the segment is never written or synced again: what was not synced goes into a new
//!   segment. Frames that remain in the old one from the new one's first sequence on are void.
//! * Recovery takes what it finds to the disk before it builds on it: what an earlier process left may be in the
//!   page cache only, and after a failed sync passes for written.
//! * Recovery looks at the last segment: what follows its last whole frame is torn and cut off. A broken frame
//!   with whole frames behind it is damage, not a torn tail: it is skipped and reported, and costs nobody else.
//! * Removal is by whole segments, oldest first, each on disk before the next: should one come back after a power cut, so
//!   does what makes its remains void.
//!
//! One [`SegmentedLog`] writes; any number of [`LogReader`]s read what is visible.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use domain::timestamp::Timestamp;

use crate::storage::{Storage, StorageFile};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Most bytes of a payload: a record and its envelope. Anything longer on disk is damage.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;
/// What the buffer of unsynced frames may keep between two groups.
const IDLE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Least number of bytes that [`SegmentedLog::probe`] writes, and the file it uses when the log has no segment.
const PROBE_BYTES_MIN: usize = 64 * 1024;
const PROBE_NAME: &str = "probe";
/// How far a number may be ahead of the one before it in the same file: one that is further ahead passes for garbage.
const SKIP_MAX: u64 = u32::MAX as u64;
/// How much a reader reads at once, and keeps until it has come to the end.
const READ_BYTES: usize = 128 * 1024;
/// How much is given up as unreadable at once: a page, which is what the operating system reads of a file at least.
const PAGE_BYTES: usize = 4096;

/// Why the log could not do it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The storage failed; nothing changed.
    #[error("the log cannot be written or read")]
    Io(#[from] io::Error),
    /// The payload has more than [`PAYLOAD_BYTES_MAX`] bytes.
    #[error("an entry has at most {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    /// The entry was removed, or never was.
    #[error("sequence {position} is before the first, {first}")]
    OutOfRange {
        /// What was asked for.
        position: u64,
        /// What there is.
        first: u64,
    },
}

impl LogError {
    /// The error with its cause, on one line.
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
    /// The time that its writer gave it.
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
    /// Whole frames that were written to the last segment, behind its visible ones, and not yet synced.
    unsynced: Vec<u8>,
    /// Behind the last synced frame; no frame in `unsynced` has a smaller sequence.
    unsynced_from: u64,
    /// The last segment is full or poisoned: write to a new one.
    seal: bool,
    /// Behind what was appended, the last segment may have frames of an append that failed.
    remains: bool,
    /// A segment was removed, and the directory not synced since.
    removal_unsynced: bool,
    /// A file may be there that is none of `segments`: a new one that could not be begun.
    stray: bool,
    view: Arc<Mutex<View>>,
}

/// What readers may see.
#[derive(Default)]
struct View {
    segments: Vec<Segment>,
    /// Behind the last visible entry.
    next: u64,
}

#[derive(Clone)]
struct Segment {
    /// No entry of this segment has a smaller sequence.
    base: u64,
    /// Time of its first entry, if it has one.
    first_time: Option<Timestamp>,
    file: Arc<dyn StorageFile>,
    /// Bytes that are synced.
    len: u64,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut off behind the last whole frame.
    pub torn_bytes: u64,
    /// Bytes skipped between whole frames of the last segment: damage.
    pub damaged_bytes: u64,
}

impl SegmentedLog {
    /// Begins a log in a `storage` that has none. Touches nothing until something is appended.
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
    /// The storage's.
    pub fn open(
        storage: Arc<dyn Storage>,
        segment_bytes_max: u64,
        next_at_least: u64,
    ) -> Result<(Self, Recovered), LogError> {
        // A process before this one may have been killed between a change to the directory and its sync. What is
        // built upon now must not come or go later.
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
    /// entry that is not before it.
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

    /// A reading end.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { view: Arc::clone(&self.view), place: None }
    }

    /// Hands entries to the operating system, all or none, and returns the sequence of the first. Each comes
    /// with its time and with what appends its payload to a buffer. They survive the process at once; a power cut
    /// only after the next [`SegmentedLog::sync`], which also makes them visible.
    ///
    /// # Errors
    /// Nothing was appended. A recovery may find it nevertheless until [`SegmentedLog::void_remains`] has succeeded.
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

    /// Makes sure that no recovery finds what an append that failed has left: cuts it off or, if the file does not allow that,
    /// goes on in a new segment, whose base makes it void.
    ///
    /// # Errors
    /// A recovery may find it still.
    pub fn void_remains(&mut self) -> Result<(), LogError> {
        if !self.remains {
            return Ok(());
        }
        if let Some(last) = self.segments.last() {
            let end = last.len + self.unsynced.len() as u64;
            // Not synced, the cut may be lost in a power cut, and the remains be there again.
            if self.seal || last.file.truncate(end).is_err() || last.file.sync().is_err() {
                self.seal = true;
                self.begin_segment()?;
            }
        }
        self.remains = false;
        Ok(())
    }

    /// Gives the next entry at least this sequence. Numbers may be skipped, never used twice.
    ///
    /// # Errors
    /// What was appended before cannot be synced.
    pub fn skip_to(&mut self, sequence: u64) -> Result<(), LogError> {
        if sequence <= self.next {
            return Ok(());
        }
        if sequence - self.next > SKIP_MAX {
            self.sync()?;
            self.seal = true;
            if !self.segments.is_empty() {
                // What may remain in the last segment is void from here on, not only from the sequence on.
                self.begin_segment()?;
                self.seal = true;
            }
        }
        self.next = sequence;
        Ok(())
    }

    /// Whether the storage would take an append of so many bytes now. Leaves no trace.
    ///
    /// # Errors
    /// It would not.
    pub fn probe(&self, bytes: u64) -> Result<(), LogError> {
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).max(PROBE_BYTES_MIN)];
        let Some(last) = self.segments.last() else {
            let file = match self.storage.create(PROBE_NAME) {
                // It could not be removed.
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

    /// Makes everything appended survive a power cut, and visible.
    ///
    /// # Errors
    /// Nothing more than before is visible. Calling it again tries again, on a new segment.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        if self.seal {
            self.begin_segment()?;
        }
        let Some(last) = self.segments.last_mut() else { return Ok(()) };
        if let Err(error) = last.file.sync() {
            // Whether the frames behind `len` are on disk is unknown, so nobody may rely on them or on this
            // file any more. Removing them is a courtesy to the next recovery.
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

    /// The least `before` with which [`SegmentedLog::release`] or [`SegmentedLog::clear`] would remove something.
    #[must_use]
    pub fn removable_at(&self) -> Option<u64> {
        match self.segments.as_slice() {
            [] if !self.stray => None,
            [] | [_] => Some(self.next),
            [_, following, ..] => Some(following.base),
        }
    }

    /// Removes whole segments all of whose entries are before `before`, for as long as `unwanted` says so of
    /// the oldest: it gets the bytes on disk and a time that no entry of that segment is after. The newest segment stays, so
    /// the sequence is never forgotten.
    ///
    /// # Errors
    /// The storage's; removal stops there.
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

    /// Removes all segments, the newest as well, if all of their entries are synced. From then on only this object knows the
    /// sequence.
    ///
    /// # Errors
    /// The storage's; removal stops there.
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

    /// Leaves out segments whose files somebody else has removed, so that nothing more is written to them.
    ///
    /// # Errors
    /// The storage's.
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
        // Readers hold the files open, and so their room, for as long as they see them.
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

    /// Begins a new segment that takes over what is not synced yet.
    fn begin_segment(&mut self) -> Result<(), LogError> {
        let stray_before = std::mem::replace(&mut self.stray, true);
        // As low as can be, since remains in the segment before are void from here on.
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
        // The one before may have had another name.
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
        // Not `next`: a reader must not step over what is not synced yet.
        view.next = self.unsynced_from;
    }
}

/// Takes what can be read of a file to the disk. A sync alone does not: if one has failed in a process before
/// this one, the operating system may still show what the disk does not have, and no longer try to write it.
fn write_again(file: &dyn StorageFile, len: u64) -> io::Result<()> {
    let mut block = vec![0; READ_BYTES];
    let (mut at, mut step) = (0, READ_BYTES);
    while at < len {
        let read = match file.read_at(block.get_mut(..step).unwrap_or_default(), at) {
            // What cannot be read stays as it is.
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

/// A reading end. Reads visible entries only, and remembers where it was.
pub struct LogReader {
    view: Arc<Mutex<View>>,
    /// Where the last read ended, so that the next one need not search, nor read again what was read with it.
    place: Option<Scan>,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where to go on.
    pub next: u64,
    /// Bytes that were skipped because they are damaged.
    pub damaged_bytes: u64,
    /// The first of them: the segment that has it, by its base, and where in it.
    pub first_damage: Option<(u64, u64)>,
}

impl Read {
    /// Counts what is between two whole frames.
    fn skip(&mut self, base: u64, from: u64, to: u64) {
        if from < to {
            self.damaged_bytes += to - from;
            self.first_damage.get_or_insert((base, from));
        }
    }
}

impl LogReader {
    /// The first sequence that can be read, and the one behind the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        (view.segments.first().map_or(view.next, |first| first.base), view.next)
    }

    /// Shows entries from `position` on to `take`, in order, until it returns false or there are no more.
    ///
    /// # Errors
    /// `position` is before the first entry, or the storage fails.
    pub fn read(&mut self, position: u64, take: impl FnMut(Entry<'_>) -> bool) -> Result<Read, LogError> {
        self.read_until(position, u64::MAX, take)
    }

    /// As [`LogReader::read`], entries before `until` only.
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
        // A file that was removed takes room for as long as it is open.
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
                        // Where it was, so that damage in front of this frame is told to the next read as well.
                        scan.skip_to(whole, end);
                        self.place = Some(scan);
                        read.next = end;
                        return Ok(read);
                    }
                    // Void: the following segment has what is true from here on.
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
                // Whoever waits for more needs no memory meanwhile.
                scan.block = Vec::new();
                scan.skip_to(segment.len, end);
                self.place = Some(scan);
                break;
            }
        }
        // Numbers that were skipped at the end are behind us as well.
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

/// Appends a frame; false, and nothing appended, if its payload is too long.
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

/// A walk over the whole frames of a file.
struct Scan {
    file: Arc<dyn StorageFile>,
    len: u64,
    /// Where the next frame should be.
    offset: u64,
    /// No smaller sequence can follow.
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

    /// The next whole frame; steps over damage. `None` when no whole frame is left.
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
        // A checksum of garbage matches once in four billion; a plausible sequence makes it once in never.
        if header.sequence < sequence || header.sequence - sequence > SKIP_MAX || at + frame_len as u64 > len {
            return Ok(None);
        }
        Ok((checksum(self.bytes(at, frame_len)?) == header.checksum).then_some(header))
    }

    /// What is wrong with what should be a frame.
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
        // Still in the block: `next_frame` just checked it there.
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

/// Whether a part of the file cannot be read, though the disk answers.
fn is_bad_sector(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

/// Reads page by page. A page that cannot be read becomes zeros, which do not parse as a frame: it costs what is in it and nothing
/// else.
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

/// Whether there is a log in `storage` that has an entry. Changes nothing.
///
/// # Errors
/// The storage's.
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

/// What a walk comes across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// A file that was walked to its end.
    File(u64),
    /// Bytes that are no entry.
    Damage(Damage),
}

/// Bytes between whole frames, or behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The base of the segment.
    pub base: u64,
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// No smaller sequence should be there.
    pub sequence: u64,
    /// What is wrong with the first of them.
    pub flaw: Flaw,
    /// Nothing is behind them in the log: a write that was not finished looks like this.
    pub at_end: bool,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It would be longer than a frame can be, or than the rest of the file.
    Length,
    /// The checksum is that of something else.
    Checksum,
    /// The checksum is right, and the sequence goes back or is too far ahead.
    Sequence,
    /// Checksum and sequence are right, and the time is none.
    Time,
}

/// Shows all of a log to `see`, in order, as it is on disk. Changes nothing, and the log may be in use: what is removed
/// meanwhile is left out. Returns the bytes of all files.
///
/// # Errors
/// The storage's, or that of `see`.
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
                // Void: the following segment has what is true from here on.
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

/// The base of a segment's name. A number that no position of a store reaches is none: all that came behind it could never
/// be stored.
fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    let base = digits.parse().ok().filter(|base| i64::try_from(*base).is_ok())?;
    // `parse` also takes a sign.
    (name_of(base) == name).then_some(base)
}
