use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BoxFuture, Cause};
use crate::admission::Usage;
use crate::delivery::Durability;
use crate::partition::Partition;
use crate::record::RecordBatch;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No space, in memory or on disk. Nothing of the batch was taken; retry later.
    #[error("the bus has no room")]
    Full,
    /// The bus does not work. Nothing of the batch was taken; retry later.
    #[error("the bus is unavailable")]
    Unavailable(#[source] Cause),
    /// The bus permanently rejects these records of the batch; it acknowledged the others.
    #[error("the bus permanently rejects {} of the records: {}", .0.len(), first_reason(.0))]
    Refused(Vec<RefusedRecord>),
    /// The bus is being closed. Nothing of the batch was taken; try another instance.
    #[error("the bus is closed")]
    Closed,
}

/// A record that the bus permanently rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its position in its batch, from 0.
    pub position: usize,
    /// The reason, as reported by the bus.
    pub reason: String,
}

fn first_reason(refused: &[RefusedRecord]) -> &str {
    refused.first().map(|record| record.reason.as_str()).unwrap_or_default()
}

/// The progress of a published batch. Both futures may be dropped: the delivery continues.
pub struct Receipt {
    /// Resolves when the strictest guarantee of the batch is met, with the durability reached; or when it is certain
    /// that nothing of it was taken. Pending while neither is known.
    pub promised: BoxFuture<Result<Durability, PublishError>>,
    /// Resolves when the bus has decided about every record of the batch.
    pub settled: BoxFuture<Result<(), PublishError>>,
}

/// The state of the bus, for health and readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusState {
    /// Accepts records.
    Up,
    /// Accepts no records at the moment, for this reason.
    Down(String),
}

/// The producing side of the bus.
///
/// Promises: batches of one partition keep the order of the `publish` calls. A batch is taken completely or not at all.
/// Records of a batch that was promised [`Durability::Acknowledged`] survive a crash of the process and of the machine;
/// records promised [`Durability::Buffered`] survive as long as the process does. Everything taken and not yet
/// acknowledged stays within a configured number of bytes.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait RecordPublisher: Send + Sync {
    /// Current number of partitions. May grow, never shrinks.
    fn partition_count(&self) -> NonZeroU32;

    /// Takes a batch, at once and without waiting for the bus.
    ///
    /// # Errors
    /// Nothing of the batch was taken.
    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError>;

    /// How much of the memory for unacknowledged records is in use.
    fn buffer(&self) -> Usage;

    /// How much of the space for records that are not acknowledged or not stored yet is in use, for this partition: of
    /// several limits, the nearest one.
    fn usage(&self, partition: Partition) -> Usage;

    /// Whether the bus accepts records now.
    fn state(&self) -> BusState;

    /// Takes no more batches and waits, up to `timeout`, until all taken ones are acknowledged. Returns the number of
    /// unacknowledged records.
    async fn drain(&self, timeout: Duration) -> usize;
}
