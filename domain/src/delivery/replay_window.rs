//! How many backlog records may be in flight to the bus at a time.
//!
//! Replayed records queue behind earlier ones, so sending more than the bus can take makes it look unresponsive. The
//! window grows while reports come early and shrinks when they come late, long before they count as failures.
//!
//! Invariants: never less than one batch ([`BATCH_RECORDS`]), never more than [`RECORDS_MAX`].

use std::time::Duration;

/// Maximum records of one call. Small, so that a working bus reports it at once.
pub const BATCH_RECORDS: u64 = 500;
/// Maximum records in flight.
pub const RECORDS_MAX: u64 = 50_000;

/// The window, initially one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    records: u64,
    with_bus: u64,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { records: BATCH_RECORDS, with_bus: 0 }
    }
}

impl ReplayWindow {
    /// How many records may be sent now, in one batch: 0 while the window is full.
    #[must_use]
    pub fn next_batch(&self) -> u64 {
        if self.with_bus < self.records { BATCH_RECORDS } else { 0 }
    }

    /// This many records were sent to the bus.
    pub fn give(&mut self, records: u64) {
        self.with_bus += records;
    }

    /// This many records were reported after this time; `ack_wait` without a report would have been a failure. The
    /// window doubles while reports come within a quarter of `ack_wait` and halves when one takes longer than half of
    /// it.
    pub fn report(&mut self, records: u64, after: Duration, ack_wait: Duration) {
        self.with_bus = self.with_bus.saturating_sub(records);
        if after <= ack_wait / 4 {
            self.records = (self.records + records).min(RECORDS_MAX);
        } else if after > ack_wait / 2 {
            self.records = (self.records / 2).max(BATCH_RECORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK_WAIT: Duration = Duration::from_secs(1);

    /// Sends as much as allowed, reports it after this time, and returns how much that was.
    fn round(window: &mut ReplayWindow, after: Duration) -> u64 {
        let mut given = 0;
        while window.next_batch() > 0 {
            window.give(window.next_batch());
            given += BATCH_RECORDS;
        }
        (0..given / BATCH_RECORDS).for_each(|_| window.report(BATCH_RECORDS, after, ACK_WAIT));
        given
    }

    #[test]
    fn the_window_doubles_with_a_fast_bus_up_to_its_limit_and_otherwise_stays() {
        let mut window = ReplayWindow::default();
        let fast = Duration::from_millis(250);
        assert_eq!([(); 4].map(|()| round(&mut window, fast)), [500, 1_000, 2_000, 4_000]);
        assert_eq!(round(&mut window, Duration::from_millis(251)), 8_000);
        assert_eq!(round(&mut window, Duration::from_millis(500)), 8_000);
        for _ in 0..10 {
            round(&mut window, fast);
        }
        assert_eq!(round(&mut window, fast), RECORDS_MAX);
    }

    #[test]
    fn a_late_report_halves_the_window_and_one_batch_is_always_allowed() {
        let mut window = ReplayWindow::default();
        for _ in 0..5 {
            round(&mut window, Duration::ZERO);
        }
        window.give(BATCH_RECORDS);
        window.report(BATCH_RECORDS, Duration::from_millis(501), ACK_WAIT);
        assert_eq!(round(&mut window, Duration::from_secs(9)), 8_000);
        assert_eq!(round(&mut window, Duration::from_secs(9)), BATCH_RECORDS);
    }
}
