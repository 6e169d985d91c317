//! The part of a log that is no longer needed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::room::Room;
use crate::segmented_log::SegmentedLog;

/// How far a log is released. Releasing is cheap; the log's thread removes the files.
pub(super) struct Released {
    before: AtomicU64,
    /// The lowest release that lets a file be removed, as last determined by the log's thread.
    removable_at: AtomicU64,
    /// Files could not be removed, and this was logged.
    failing: AtomicBool,
    /// The directory of the log.
    path: Arc<Path>,
}

impl Released {
    pub fn new(log: &SegmentedLog, path: Arc<Path>) -> Self {
        let removable_at = AtomicU64::new(log.removable_at().unwrap_or(u64::MAX));
        Self { before: AtomicU64::new(0), removable_at, failing: AtomicBool::new(false), path }
    }

    pub fn before(&self) -> u64 {
        self.before.load(Ordering::SeqCst)
    }

    /// Releases the entries with numbers below `before`. Returns whether a file may be removable.
    pub fn release(&self, before: u64) -> bool {
        let earlier = self.before.fetch_max(before, Ordering::SeqCst);
        earlier < before && self.removable_at.load(Ordering::SeqCst) <= before
    }

    /// Removes whole released files or, with `all`, every file once all entries are released. The log's thread calls it
    /// whenever the log has changed. Returns whether it worked; if not, the caller calls it again.
    pub fn remove(&self, log: &mut SegmentedLog, room: &Room, all: bool) -> bool {
        // In this order, so that a concurrent release is either seen here or sees that a file has become removable.
        self.show(log);
        let before = self.before();
        let bytes = log.bytes();
        let mut removed = log.release(before, |_, _| true);
        if removed.is_ok() && all && before >= log.next() {
            removed = log.clear();
        }
        room.give_back(bytes - log.bytes());
        self.show(log);
        match &removed {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                let (directory, error) = (self.path.display(), error.described());
                tracing::warn!(%directory, error, "cannot remove what a journal has released, trying again");
            }
            Err(_) => {}
        }
        removed.is_ok()
    }

    fn show(&self, log: &SegmentedLog) {
        self.removable_at.store(log.removable_at().unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}
