//! Opening of a log that an earlier process left.

use std::io;
use std::sync::Arc;

use storage::{Storage, StorageFile};

use super::error::LogError;
use super::header::{FRAME_HEADER_BYTES, Header};
use super::scan::{PAGE_BYTES, READ_BYTES, Scan, is_bad_sector};
use super::segment::{Segment, bases_in, name_of};
use super::{PROBE_NAME, SegmentedLog};

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut off after the last whole frame.
    pub torn_bytes: u64,
    /// Damaged bytes skipped between whole frames of the last segment.
    pub damaged_bytes: u64,
}

impl SegmentedLog {
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
        // See `SKIP_MAX` in `header.rs`.
        let seal = next < next_at_least;
        let mut log = Self::over(storage, segment_bytes_max, segments, next.max(next_at_least));
        log.seal = seal;
        log.removal_unsynced = has_probe;
        log.seal_if_full();
        Ok((log, recovered))
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
