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
use std::sync::{Arc, Mutex};

use domain::timestamp::Timestamp;
use storage::Storage;

use self::header::{Header, SKIP_MAX, write_frame};
use self::segment::{Segment, View, bases_in};
use crate::lock::lock;

mod error;
mod header;
mod reader;
mod recovery;
mod scan;
mod segment;
mod walk;

pub use self::error::LogError;
pub use self::header::{FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX};
pub use self::reader::{Entry, LogReader, Read};
pub use self::recovery::Recovered;
pub use self::scan::Flaw;
pub(crate) use self::segment::name_of;
pub use self::walk::{Damage, Seen, has_entries, walk};

/// Capacity that the buffer of unsynced frames may keep between two groups.
const IDLE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Minimum number of bytes that [`SegmentedLog::probe`] writes, and the file it uses when the log has no segment.
const PROBE_BYTES_MIN: usize = 64 * 1024;
const PROBE_NAME: &str = "probe";

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
        LogReader::new(Arc::clone(&self.view))
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
        let mut view = lock(&self.view);
        view.segments.clone_from(&self.segments);
        // Not `next`: a reader must not skip entries that are not synced yet.
        view.next = self.unsynced_from;
    }
}
