//! The scan of a file for whole frames, around damage and unreadable pages.

use std::io;
use std::sync::Arc;

use storage::StorageFile;

use super::header::{FRAME_HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, SKIP_MAX, checksum};

/// Size of a read, and of the block that a reader keeps until it reaches the end.
pub(super) const READ_BYTES: usize = 128 * 1024;
/// Bytes skipped at once as unreadable: a page, the smallest unit in which the operating system reads a file.
pub(super) const PAGE_BYTES: usize = 4096;

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

/// A scan over the whole frames of a file.
pub(super) struct Scan {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) len: u64,
    /// Expected offset of the next frame.
    pub(super) offset: u64,
    /// No smaller sequence may follow.
    pub(super) sequence: u64,
    pub(super) block: Vec<u8>,
    pub(super) block_at: u64,
}

/// A whole frame in a file.
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Scan {
    pub(super) fn new(file: Arc<dyn StorageFile>, len: u64, sequence: u64) -> Self {
        Self { file, len, offset: 0, sequence, block: Vec::new(), block_at: 0 }
    }

    pub(super) fn skip_to(&mut self, offset: u64, sequence: u64) {
        self.offset = offset;
        self.sequence = sequence;
    }

    /// Returns the next whole frame, skipping damage. `None` when no whole frame is left.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Frame>> {
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
    pub(super) fn flaw_at(&mut self, at: u64, sequence: u64) -> io::Result<Flaw> {
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

    pub(super) fn payload(&self, frame: &Frame) -> &[u8] {
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
pub(super) fn is_bad_sector(error: &io::Error) -> bool {
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
