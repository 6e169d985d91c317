use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BoxFuture, Cause};
use crate::admission::Fill;
use crate::delivery::Durability;
use crate::partition::Partition;
use crate::record::RecordBatch;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No room, in memory or on disk. Nothing of the batch was taken; try again later.
    #[error("the bus has no room")]
    Full,
    /// The bus does not work. Nothing of the batch was taken; try again later.
    #[error("the bus is unavailable")]
    Unavailable(#[source] Cause),
    /// The bus will never take these records of the batch; it has acknowledged the others.
    #[error("the bus refuses {} of the records for ever: {}", .0.len(), first_reason(.0))]
    Refused(Vec<RefusedRecord>),
    /// The bus is being closed. Nothing of the batch was taken; try another instance.
    #[error("the bus is closed")]
    Closed,
}

/// A record that the bus will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its position in its batch, from 0.
    pub position: usize,
    /// Why, in the words of the bus.
    pub reason: String,
}

fn first_reason(refused: &[RefusedRecord]) -> &str {
    refused.first().map(|record| record.reason.as_str()).unwrap_or_default()
}

/// What becomes of a published batch. Both futures may be dropped: the delivery goes on.
pub struct Receipt {
    /// Done when the strictest guarantee of the batch is met, with how far the batch had come; or when it is
    /// certain that nothing of it was taken. Pending for as long as neither is known.
    pub promised: BoxFuture<Result<Durability, PublishError>>,
    /// Done when the bus has decided about every record of the batch.
    pub settled: BoxFuture<Result<(), PublishError>>,
}

/// How the bus is, for health and readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusState {
    /// Takes records.
    Up,
    /// Takes no records at the moment, and why.
    Down(String),
}

/// The way into the bus.
///
/// Promises: batches of one partition are kept in the order in which `publish` took them. A batch is taken
/// whole or not at all. Records of a batch that was promised [`Durability::Acknowledged`] survive a crash of
/// the process and of the machine; records promised [`Durability::Buffered`] survive as long as the process
/// does. Everything taken and not yet acknowledged stays within a configured number of bytes.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait RecordPublisher: Send + Sync {
    /// Partitions that there are now. May grow, never shrinks.
    fn partition_count(&self) -> NonZeroU32;

    /// Takes a batch, at once and without waiting for the bus.
    ///
    /// # Errors
    /// Nothing of the batch was taken.
    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError>;

    /// How much is used of the memory for what is not acknowledged yet.
    fn buffer(&self) -> Fill;

    /// How much is used of the room for what is not acknowledged or not stored yet, as far as it concerns this
    /// partition: of several bounds, the one that is nearest.
    fn fill(&self, partition: Partition) -> Fill;

    /// Whether the bus takes records now.
    fn state(&self) -> BusState;

    /// Takes no more batches and waits, up to `timeout`, until all taken ones are acknowledged. Returns how
    /// many records are not.
    async fn drain(&self, timeout: Duration) -> usize;
}
