//! From the bus into the store, exactly once.
//!
//! One task per assigned partition reads a chunk, decodes it (a record has one event or a pack of them), and appends
//! events, dead letters and the new position in one transaction that is fenced by the old position. Positions are kept
//! only in the store; the bus is informed afterwards. Only what can never be stored becomes a dead letter; everything else
//! waits, however long it takes, and the lag grows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::backoff::Backoff;
use domain::partition::Partition;
use domain::ports::{
    AssignmentChange, Clock, GroupPartition, LogStore, RecordSource, SourceError, StoreError, Telemetry,
};
use tokio::sync::watch;
use tokio_retry::RetryIf;

use self::readers::{Reader, panicked, stop_all};
use crate::alerts::ConsumerAlerts;
use crate::cause::Chain;

#[cfg(test)]
mod pack_tests;
mod partition_reader;
mod readers;
mod store_chunk;
#[cfg(test)]
mod tests;
mod unpacking;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Moves records of one consumer group from a source into a store.
#[derive(Clone)]
pub struct Persist {
    source: Arc<dyn RecordSource>,
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<dyn Telemetry>,
    group: String,
    topic: String,
    alerts: Option<Arc<ConsumerAlerts>>,
}

impl Persist {
    /// A use case for `group` reading `topic`.
    #[must_use]
    pub fn new(
        source: Arc<dyn RecordSource>,
        store: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<dyn Telemetry>,
        group: String,
        topic: String,
    ) -> Self {
        Self { source, store, clock, telemetry, group, topic, alerts: None }
    }

    /// The same use case, with alerts about dead letters and stopped partitions.
    #[must_use]
    pub fn with_alerts(self, alerts: Arc<ConsumerAlerts>) -> Self {
        Self { alerts: Some(alerts), ..self }
    }

    /// Stores records until `stop`, until the source is closed, or until the reader of a partition panics. A chunk in
    /// progress is finished first if the store allows; otherwise it is abandoned and the next consumer reads it again.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut readers: HashMap<Partition, Reader> = HashMap::new();
        let mut ended = stop.clone();
        loop {
            let change = tokio::select! {
                _ = ended.wait_for(|stop| *stop) => break,
                (partition, error) = panicked(&mut readers) => {
                    tracing::error!(partition, %error, "the reader of a partition panicked: its process stops, restart it");
                    break;
                }
                change = self.source.assignment() => change,
            };
            match change {
                Ok(AssignmentChange::Assigned(partitions, start)) => {
                    let Some(positions) = self.positions(&partitions, &stop).await else { break };
                    start(positions.clone());
                    for (partition, position) in partitions.into_iter().zip(positions) {
                        readers.insert(partition, self.read(partition, position));
                    }
                }
                Ok(AssignmentChange::Revoked(partitions, drained)) => {
                    stop_all(partitions.iter().filter_map(|partition| readers.remove(partition)).collect()).await;
                    drained();
                }
                Err(error) => {
                    if !matches!(error, SourceError::Closed) {
                        tracing::error!(error = %Chain(&error), "the bus no longer assigns partitions to this consumer: its process stops, restart it");
                    }
                    break;
                }
            }
        }
        stop_all(readers.into_values().collect()).await;
    }

    /// The position of each partition; `None` if the process stops first.
    async fn positions(&self, partitions: &[Partition], stop: &watch::Receiver<bool>) -> Option<Vec<Option<u64>>> {
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let group_partition = self.group_partition(*partition);
            let transient = |error: &StoreError| matches!(error, StoreError::Unavailable(_) | StoreError::TooBroad);
            match self.retry_until_stopped(*partition, stop, transient, || self.store.position(&group_partition)).await
            {
                Ok(position) => positions.push(position),
                Err(_) => return None,
            }
        }
        Some(positions)
    }

    fn group_partition(&self, partition: Partition) -> GroupPartition {
        GroupPartition { group: self.group.clone(), topic: self.topic.clone(), partition }
    }

    fn read(&self, partition: Partition, position: Option<u64>) -> Reader {
        let (stop, stopped) = watch::channel(false);
        let persist = self.clone();
        let task = tokio::spawn(async move { persist.read_partition(partition, position, stopped).await });
        Reader::new(stop, task)
    }

    /// Retries a store operation for a partition until it returns something other than a `transient` error. `Err(None)`
    /// if the process stops first: an attempt in progress gets a few more seconds.
    async fn retry_until_stopped<'a, T, F>(
        &'a self,
        partition: Partition,
        stop: &watch::Receiver<bool>,
        is_transient: impl Fn(&StoreError) -> bool,
        ask: impl Fn() -> F,
    ) -> Result<T, Option<StoreError>>
    where
        F: Future<Output = Result<T, StoreError>> + 'a,
    {
        let stopping = stop.clone();
        let transient = |error: &StoreError| {
            let transient = is_transient(error);
            if transient {
                tracing::warn!(partition, error = %Chain(error), "the store failed, retrying");
            }
            transient && !*stopping.borrow()
        };
        let mut ended = stop.clone();
        tokio::select! {
            answer = RetryIf::start(Backoff::new(FIRST_WAIT, LONGEST_WAIT), ask, transient) => answer.map_err(Some),
            () = async {
                let _ = ended.wait_for(|stop| *stop).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
            } => Err(None),
        }
    }
}
