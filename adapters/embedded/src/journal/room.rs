//! Disk room shared by several logs: within a limit, and within the free space above the disk's reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::admission::Usage;

use crate::disk::Disk;

/// Bytes on disk, or on their way there, of all logs together.
pub(super) struct Room {
    used_bytes: AtomicU64,
    bytes_max: u64,
    disk: Arc<Disk>,
}

impl Room {
    pub fn new(bytes_max: u64, disk: Arc<Disk>) -> Self {
        Self { used_bytes: AtomicU64::new(0), bytes_max, disk }
    }

    /// Reserves room for a pending write, if there is enough.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let usable_bytes = self.disk.space().usable_bytes();
        let taken = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max && bytes <= usable_bytes)
        });
        taken.is_ok().then(|| Lease { room: Arc::clone(self), bytes })
    }

    /// Updates the free space of the disk.
    pub fn survey(&self) {
        self.disk.refresh();
    }

    /// Counts bytes that are already on disk, whether or not there is room for them.
    pub fn add(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Returns the room of removed bytes.
    pub fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub fn usage(&self) -> Usage {
        let usage = Usage { used_bytes: self.used_bytes.load(Ordering::Acquire), bytes_max: self.bytes_max };
        usage.within(self.disk.space().available_bytes())
    }

    /// Whether a lease of this many bytes would be granted.
    pub fn has(&self, bytes: u64) -> bool {
        let used_bytes = self.used_bytes.load(Ordering::Acquire);
        used_bytes.saturating_add(bytes) <= self.bytes_max && bytes <= self.disk.space().usable_bytes()
    }
}

/// Room for a batch; returned on drop.
pub(super) struct Lease {
    room: Arc<Room>,
    bytes: u64,
}

impl Lease {
    /// The bytes are on disk: the code that removes them returns their room.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}
