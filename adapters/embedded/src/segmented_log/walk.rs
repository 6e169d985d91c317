//! A look at a whole log as it is on disk, from outside.

use std::io;

use storage::Storage;

use super::header::Header;
use super::reader::Entry;
use super::scan::{Flaw, Scan};
use super::segment::{bases_in, name_of};

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
