//! Free space of the file system that holds a directory.
//!
//! Constraints and invariants:
//! * Only threads that may block ask the kernel ([`Disk::refresh`]): writers before each group of batches, and one thread
//!   once a second. All other callers get the last result ([`Disk::space`]).
//! * A file system that does not report its space imposes no limit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use domain::disk::DiskSpace;

/// Queries the space.
type Ask = Box<dyn Fn() -> io::Result<DiskSpace> + Send + Sync>;

/// A disk, and its space when it was last queried.
pub struct Disk {
    ask: Ask,
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl Disk {
    /// The disk of a directory, which need not exist yet. Queries it.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self::asking(move || space_of(&directory))
    }

    /// A disk whose space `ask` reports. Queries it.
    #[must_use]
    pub fn asking(ask: impl Fn() -> io::Result<DiskSpace> + Send + Sync + 'static) -> Self {
        let disk = Self { ask: Box::new(ask), free_bytes: AtomicU64::new(0), total_bytes: AtomicU64::new(0) };
        disk.refresh();
        disk
    }

    /// A disk without a limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::asking(|| Ok(DiskSpace::UNKNOWN))
    }

    /// The space found by the last query.
    pub fn space(&self) -> DiskSpace {
        DiskSpace {
            free_bytes: self.free_bytes.load(Ordering::Acquire),
            total_bytes: self.total_bytes.load(Ordering::Acquire),
        }
    }

    /// The current space. May block.
    pub fn refresh(&self) -> DiskSpace {
        let space = (self.ask)().unwrap_or(DiskSpace::UNKNOWN);
        self.free_bytes.store(space.free_bytes, Ordering::Release);
        self.total_bytes.store(space.total_bytes, Ordering::Release);
        space
    }
}

/// The space of the file system that holds a directory, or will hold it once it is created.
fn space_of(directory: &Path) -> io::Result<DiskSpace> {
    let absolute = std::path::absolute(directory)?;
    let existing =
        absolute.ancestors().find(|ancestor| ancestor.is_dir()).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let found = rustix::fs::statvfs(&existing)?;
    if found.f_blocks == 0 || found.f_frsize == 0 {
        // Some in-memory and user-space file systems do not count blocks.
        return Ok(DiskSpace::UNKNOWN);
    }
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // Only the space that this process can use, which may be less than root's; `df` counts the same way.
    let kept_for_root = bytes(found.f_bfree.saturating_sub(found.f_bavail));
    Ok(DiskSpace {
        free_bytes: bytes(found.f_bavail),
        total_bytes: bytes(found.f_blocks).saturating_sub(kept_for_root),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_is_on_the_disk_of_its_parent() {
        let parent = tempfile::tempdir().expect("a directory");
        let there = Disk::of(parent.path()).space();
        let not_yet = Disk::of(&parent.path().join("a/b")).space();
        assert_eq!(there.total_bytes, not_yet.total_bytes);
        assert!(there.free_bytes > 0 && there.free_bytes <= there.total_bytes && there.total_bytes < u64::MAX);
    }

    #[test]
    fn a_disk_that_does_not_tell_its_space_limits_nothing() {
        let silent = Disk::asking(|| Err(io::Error::other("no")));
        assert_eq!(silent.space(), DiskSpace::UNKNOWN);
        // procfs has no blocks.
        assert_eq!(Disk::of(Path::new("/proc/self")).space(), DiskSpace::UNKNOWN);
    }
}
