//! Health and readiness of a process.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::breaker::BreakerState;
use domain::ports::{BusState, GroupPartition, LogStore};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::delivery::{Delivery, JournalStatus};

/// Timeout of the health check of one component.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The dependencies of a process, checked on demand.
#[derive(Clone, Default)]
pub struct Health {
    delivery: Option<Arc<Delivery>>,
    /// Ready only while the delivery accepts at least an ERROR.
    takes_events: bool,
    store: Option<(Arc<dyn LogStore>, GroupPartition)>,
    checks: Vec<(&'static str, Check)>,
    draining: watch::Sender<bool>,
}

/// Returns what is wrong with a component, if anything, without making requests.
pub type Check = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The name of a component and what is wrong with it: `None` if it is healthy.
pub type Component = (&'static str, Option<String>);

impl Health {
    /// Adds a delivery.
    #[must_use]
    pub fn with_delivery(mut self, delivery: Arc<Delivery>) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Marks the producer role. Other roles of the process do not need to accept events: queries are answered while the
    /// disk is full.
    #[must_use]
    pub fn of_producer(mut self) -> Self {
        self.takes_events = true;
        self
    }

    /// Adds a store; `group_partition` is any group_partition of the store.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn LogStore>, group_partition: GroupPartition) -> Self {
        self.store = Some((store, group_partition));
        self
    }

    /// Adds a component that does not affect readiness.
    #[must_use]
    pub fn with_check(mut self, name: &'static str, check: Check) -> Self {
        self.checks.push((name, check));
        self
    }

    /// From now on the process is not ready, because it is stopping.
    pub fn begin_drain(&self) {
        self.draining.send_replace(true);
    }

    /// Resolves when the process begins to stop: for answers that would otherwise never end.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let mut draining = self.draining.subscribe();
        async move {
            // The sender is dropped only with the process.
            let _ = draining.wait_for(|draining| *draining).await;
        }
    }

    /// Whether new requests should be sent here: a producer must accept at least an ERROR; a consumer is ready even
    /// while its store is down (its queries report that themselves).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let delivery = self.delivery.as_ref().filter(|_| self.takes_events);
        let accepts = delivery.is_none_or(|delivery| delivery.accepts());
        accepts && !*self.draining.borrow()
    }

    /// Every component and what is wrong with it.
    pub async fn components(&self) -> Vec<Component> {
        let mut components = Vec::new();
        if let Some(delivery) = &self.delivery {
            let status = delivery.status();
            let wrong = match status.bus {
                BusState::Up if status.breaker == BreakerState::Closed => None,
                BusState::Up => Some("the circuit breaker is not closed: events are journaled".to_owned()),
                BusState::Down(reason) => Some(reason),
            };
            components.push(("bus", wrong));
            components.extend(status.journal.map(|journal| ("journal", fault_of(journal))));
        }
        if let Some((store, group_partition)) = &self.store {
            let wrong = match timeout(CHECK_TIMEOUT, store.position(group_partition)).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the store does not answer within a second".to_owned()),
            };
            components.push(("store", wrong));
        }
        components.extend(self.checks.iter().map(|(name, check)| (*name, check())));
        components
    }
}

/// What is wrong with a journal, if anything.
fn fault_of(journal: JournalStatus) -> Option<String> {
    let unkept = journal.unkept.map(|(fault, bytes)| {
        format!("{bytes} bytes of records that the bus permanently rejected cannot be kept: {fault}")
    });
    let stranded = journal.stranded.map(|(partition, partitions)| {
        format!(
            "the journal has events of partition {partition} and the topic has {partitions} partitions: add partitions"
        )
    });
    journal.fault.or(unkept).or(stranded)
}

#[cfg(test)]
mod tests {
    use domain::ports::{MockLogStore, MockRecordPublisher, MockTelemetry, StoreError};

    use super::*;

    fn delivery(state: BusState) -> Arc<Delivery> {
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_state().return_const(state);
        Arc::new(Delivery::new(Arc::new(publisher), Arc::new(MockTelemetry::new())))
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_signal_resolves_when_the_drain_begins_and_at_once_afterwards() {
        let health = Health::default();
        let draining = health.draining();
        assert!(timeout(CHECK_TIMEOUT, health.draining()).await.is_err());
        health.begin_drain();
        timeout(CHECK_TIMEOUT, draining).await.expect("it has begun");
        timeout(CHECK_TIMEOUT, health.clone().draining()).await.expect("it has begun");
    }

    #[test]
    fn a_producer_is_ready_while_it_can_accept_and_is_not_stopping() {
        let full = Health::default().with_delivery(delivery(BusState::Down("full".to_owned())));
        assert!(full.is_ready(), "queries work");
        assert!(!full.of_producer().is_ready());
        let health = Health::default().with_delivery(delivery(BusState::Up)).of_producer();
        assert!(health.is_ready());
        health.clone().begin_drain();
        assert!(!health.is_ready());
    }

    #[tokio::test]
    async fn a_consumer_stays_ready_without_its_store_and_says_what_is_wrong() {
        let mut store = MockLogStore::new();
        store.expect_position().returning(|_| Err(StoreError::Unavailable("no disk".into())));
        let group_partition = GroupPartition { group: "g".to_owned(), topic: "t".to_owned(), partition: 0 };
        let health = Health::default().with_store(Arc::new(store), group_partition);
        assert!(health.is_ready());
        assert_eq!(health.components().await, [("store", Some("the store is unavailable".to_owned()))]);
    }
}
