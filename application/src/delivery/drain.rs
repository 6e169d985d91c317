//! The end of a delivery: what is only in memory is acknowledged or journaled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::delivery::breaker::BreakerState;
use domain::delivery::queue::Event;
use tokio::time::{Instant, interval, timeout_at};

use super::shared::Shared;

/// How often to check whether it is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Fraction of the timeout that is reserved for the journal.
const SHARE_OF_JOURNAL: u32 = 4;

impl Shared {
    /// Takes no more batches, waits until the bus has acknowledged those taken, and journals the rest, all within
    /// `timeout`. Returns the number of accepted events that are only in memory.
    pub(super) async fn drain(self: &Arc<Self>, timeout: Duration) -> usize {
        self.closed.store(true, Ordering::SeqCst);
        if self.journal.is_none() {
            return self.bus.publisher.drain(timeout).await;
        }
        let deadline = Instant::now() + timeout;
        if self.bus.breaker_state() == BreakerState::Closed {
            self.until_safe(deadline - timeout / SHARE_OF_JOURNAL, || {}).await;
        }
        // Repeatedly: a write may fail, and a full journal may get space.
        self.until_safe(deadline, || self.flush()).await;
        let left = self.queues.own().into_iter().flat_map(|queue| queue.lock().queue.accounts());
        let left: u64 = left.map(|of| of.buffered).sum();
        // Everything still unacknowledged is on disk or was just counted.
        self.bus.publisher.drain(Duration::ZERO).await;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Queues for the journal everything that is only in memory, as far as the journal takes it.
    pub(super) fn flush(self: &Arc<Self>) {
        for queue in self.queues.own() {
            self.tell(&queue, Event::Flush);
        }
    }

    /// Waits until no batch is only in memory, and does this each time it looks.
    async fn until_safe(&self, deadline: Instant, meanwhile: impl Fn()) {
        let mut look = interval(LOOK_INTERVAL);
        let is_safe = || self.queues.own().iter().all(|queue| queue.lock().queue.is_safe());
        while !is_safe() && timeout_at(deadline, look.tick()).await.is_ok() {
            meanwhile();
        }
    }
}
