//! The file of a segment while it is written.
//!
//! Invariant: bytes stay in memory until their checksums are taken, at most those of one row group and its filters.

use std::io::{self, Write};
use std::sync::Arc;

use ring::digest;
use storage::StorageFile;

use crate::index::Region;

/// Maximum bytes of one write.
const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes on their way to a file.
pub(crate) struct Sink {
    file: Arc<dyn StorageFile>,
    /// Bytes that the file has.
    written: u64,
    /// Bytes behind them.
    pending: Vec<u8>,
    sha256: digest::Context,
}

impl Sink {
    pub fn new(file: Arc<dyn StorageFile>) -> Self {
        Self { file, written: 0, pending: Vec::new(), sha256: digest::Context::new(&digest::SHA256) }
    }

    /// A part of what is pending, with its checksum; `None` if it is not pending as a whole.
    pub fn region(&self, offset: u64, bytes: u64) -> Option<Region> {
        let begin = usize::try_from(offset.checked_sub(self.written)?).ok()?;
        let end = begin.checked_add(usize::try_from(bytes).ok()?)?;
        let crc = crc32c::crc32c(self.pending.get(begin..end)?);
        Some(Region { offset, bytes: u32::try_from(bytes).ok()?, crc })
    }

    /// Where the next byte will be.
    pub fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Hands what is pending to the operating system.
    ///
    /// # Errors
    /// Those of the disk, such as a full one.
    pub fn write_pending(&mut self) -> io::Result<()> {
        for part in self.pending.chunks(WRITE_BYTES_MAX) {
            self.file.write_at(part, self.written)?;
            self.sha256.update(part);
            self.written += part.len() as u64;
        }
        self.pending.clear();
        Ok(())
    }

    /// Writes everything and syncs the file. Returns its length and its SHA-256.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(mut self) -> io::Result<(u64, [u8; 32])> {
        self.write_pending()?;
        self.file.sync()?;
        let digest = self.sha256.finish();
        let sha256 = digest.as_ref().try_into().map_err(|_| io::Error::other("SHA-256 has 32 bytes"))?;
        Ok((self.written, sha256))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
