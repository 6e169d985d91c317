//! What a log keeps, and how much room it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::ports::Clock;

use crate::disk::Disk;
use crate::partition_log::{Upkeep, WAIT_BYTES_MAX};
use crate::segmented_log::SegmentedLog;

/// What a log has to keep.
pub(super) struct Retention {
    pub(super) clock: Arc<dyn Clock>,
    /// Everything before this offset is in the store.
    pub(super) stored: AtomicU64,
    /// How long records are kept after the store has taken them.
    pub(super) age: Duration,
    pub(super) log_bytes_max: u64,
    pub(super) disk: Arc<Disk>,
    /// Bytes that the disk allows, as last determined by the writer.
    pub(super) allowed: AllowedBytes,
    /// Bytes on disk that cannot be removed yet, as last determined by the writer.
    pub(super) backlog_bytes: AtomicU64,
    /// Bytes on disk that can be removed, as last determined by the writer.
    pub(super) removable_bytes: AtomicU64,
}

/// How many bytes a log may have on its disk.
#[derive(Default)]
pub(super) struct AllowedBytes {
    /// Without entering the reserve.
    ordinary: AtomicU64,
    /// Without using the part kept for the store.
    priority: AtomicU64,
}

impl Upkeep for Arc<Retention> {
    fn survey(&mut self, log: &SegmentedLog) {
        let space = self.disk.refresh();
        // Fewer than exist if another process uses part of the reserve: then records that the store has taken are
        // removed.
        let leaving = |bytes: u64| log.bytes().saturating_add(space.free_bytes).saturating_sub(bytes);
        self.allowed.ordinary.store(leaving(space.restored_bytes()), Ordering::Release);
        self.allowed.priority.store(leaving(space.store_reserve_bytes()), Ordering::Release);
    }

    /// Removes records that the store has taken and that are no longer needed.
    fn make_room(&mut self, log: &mut SegmentedLog, bytes: u64) -> Option<String> {
        let room = |max: u64| max.saturating_sub(bytes);
        let wanted = room(self.log_bytes_max.min(self.allowed.ordinary.load(Ordering::Acquire)));
        let stored = self.stored.load(Ordering::Acquire);
        let expired = self.clock.now().saturating_sub(self.age);
        if let Err(error) = log.release(stored, |bytes, newest| bytes > wanted || newest < expired) {
            tracing::warn!(error = error.described(), "cannot remove an old segment");
        }
        self.backlog_bytes.store(log.bytes_needed(stored), Ordering::Release);
        self.removable_bytes.store(log.removable_bytes(stored), Ordering::Release);
        if log.bytes() > room(self.log_bytes_max) {
            return Some(
                "the log is full: the store does not keep up, or EMBEDDED__RETENTION_BYTES is too small".to_owned(),
            );
        }
        (log.bytes() > room(self.allowed.priority.load(Ordering::Acquire))).then(|| {
            "the disk under DATA_DIR is full: the remaining space is for the store; free some space".to_owned()
        })
    }

    fn wait_bytes_max(&self) -> u64 {
        WAIT_BYTES_MAX.min(self.log_bytes_max / 4)
    }
}
