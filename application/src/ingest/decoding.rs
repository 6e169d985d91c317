//! Memory for the records of requests of agents while their bodies are decoded.
//!
//! A small body can have millions of entries, and as many bodies are decoded at once as there are threads for requests. A
//! batch counts in a delivery queue once it is there; until then it counts here.
//!
//! Invariant: requests have at most [`DECODING_BYTES_MAX`] together, beside the first [`FREE_BYTES`] of each.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::AGENT_RECORD_BYTES_MAX;

/// Maximum bytes of the records of all requests that are decoded: those of two of the largest requests.
pub const DECODING_BYTES_MAX: usize = 2 * AGENT_RECORD_BYTES_MAX;
/// Bytes of a request that do not count: common requests must not suffer from large ones.
const FREE_BYTES: usize = 1024 * 1024;
/// How much is reserved at a time.
const STEP_BYTES: usize = 1024 * 1024;

/// What a request has reserved. A drop releases it.
pub struct DecodingRoom<'a> {
    of_all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> DecodingRoom<'a> {
    /// Nothing reserved yet, of what all requests count together.
    pub fn new(of_all: &'a AtomicUsize) -> Self {
        Self { of_all, bytes: 0 }
    }

    /// Reserves room for so many bytes of records in total. Says whether there is room for them.
    pub fn covers(&mut self, bytes: usize) -> bool {
        let mut has_room = true;
        while has_room && self.bytes + FREE_BYTES < bytes {
            let before = self.of_all.fetch_add(STEP_BYTES, Ordering::AcqRel);
            self.bytes += STEP_BYTES;
            has_room = before + STEP_BYTES <= DECODING_BYTES_MAX;
        }
        has_room
    }
}

impl Drop for DecodingRoom<'_> {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_the_largest_requests_have_room_and_small_ones_always() {
        let of_all = AtomicUsize::new(0);
        let [mut first, mut second, mut third, mut small] = [(); 4].map(|()| DecodingRoom::new(&of_all));
        assert!(first.covers(AGENT_RECORD_BYTES_MAX) && second.covers(AGENT_RECORD_BYTES_MAX));
        assert!(!third.covers(10 * FREE_BYTES));
        assert!(small.covers(FREE_BYTES));
        drop((first, third));
        let mut fourth = DecodingRoom::new(&of_all);
        assert!(fourth.covers(AGENT_RECORD_BYTES_MAX) && fourth.covers(1));
        drop((second, small, fourth));
        assert_eq!(of_all.load(Ordering::Acquire), 0);
    }
}
