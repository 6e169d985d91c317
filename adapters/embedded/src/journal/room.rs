//! Room on disk that several logs share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::admission::Fill;

/// Bytes on disk, or on their way there, of all logs together.
pub(super) struct Room {
    used_bytes: AtomicU64,
    bytes_max: u64,
}

impl Room {
    pub fn new(bytes_max: u64) -> Self {
        Self { used_bytes: AtomicU64::new(0), bytes_max }
    }

    /// Room for what is about to be written, if there is some.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let taken = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
        });
        taken.is_ok().then(|| Lease { room: Arc::clone(self), bytes })
    }

    /// Counts what is on disk already, whether or not there is room for it.
    pub fn add(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes are gone.
    pub fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub fn fill(&self) -> Fill {
        Fill { used_bytes: self.used_bytes.load(Ordering::Acquire), bytes_max: self.bytes_max }
    }
}

/// Room for a batch; given back when dropped.
pub(super) struct Lease {
    room: Arc<Room>,
    bytes: u64,
}

impl Lease {
    /// The bytes are on disk: whoever removes them gives back their room.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}
