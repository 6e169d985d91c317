//! Reading of the visible entries.

use std::sync::{Arc, Mutex};

use domain::timestamp::Timestamp;

use super::error::LogError;
use super::scan::Scan;
use super::segment::View;
use crate::lock::lock;

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
    /// A reader that begins at the first entry.
    pub(super) fn new(view: Arc<Mutex<View>>) -> Self {
        Self { view, place: None }
    }

    /// The first readable sequence, and the one after the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let view = lock(&self.view);
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
            let view = lock(&self.view);
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
