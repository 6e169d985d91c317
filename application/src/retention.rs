//! Removes events older than the retention time.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Clock, LogStore};
use tokio::sync::watch;

use crate::cause::Chain;

/// How often to look for events to remove.
const INTERVAL: Duration = Duration::from_secs(60);

/// Removes events from the store `age` after their receipt.
pub struct Retention {
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    age: Duration,
}

impl Retention {
    /// A use case that keeps events for `age`.
    #[must_use]
    pub fn new(store: Arc<dyn LogStore>, clock: Arc<dyn Clock>, age: Duration) -> Self {
        Self { store, clock, age }
    }

    /// Runs once a minute, until `stop`. After a failure of the store it retries a minute later.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.remove_old() => {}
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn remove_old(&self) {
        let oldest = self.clock.now().saturating_sub(self.age);
        loop {
            match self.store.expire(oldest).await {
                Ok(0) => return,
                Ok(events) => tracing::info!(events, before = %oldest, "removed old events"),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot remove old events, retrying in 1 min");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::{MockLogStore, StoreError};
    use domain::timestamp::Timestamp;
    use mockall::Sequence;
    use mockall::predicate::eq;

    use testkit::clock_at;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_older_than_the_age_are_removed_and_a_failure_is_retried_a_minute_later() {
        let mut store = MockLogStore::new();
        let mut order = Sequence::new();
        let oldest = Timestamp::from_unix_micros(3_000_000).expect("in range");
        for answer in [Err(()), Ok(500), Ok(20), Ok(0)] {
            store
                .expect_expire()
                .with(eq(oldest))
                .times(1)
                .in_sequence(&mut order)
                .returning(move |_| answer.map_err(|()| StoreError::Unavailable("busy".into())));
        }
        let (stop, stopped) = watch::channel(false);
        let retention =
            Retention::new(Arc::new(store), Arc::new(clock_at("1970-01-01T00:00:10Z")), Duration::from_secs(7));
        let running = tokio::spawn(retention.run(stopped));
        tokio::time::sleep(Duration::from_secs(90)).await;
        stop.send(true).expect("still running");
        running.await.expect("ended by itself");
    }
}
