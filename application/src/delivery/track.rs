//! The tasks that wait for the bus and the journal. Each owns a batch from when it was taken until its last report, whether
//! or not a client still waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::backoff::Backoff;
use domain::delivery::Durability;
use domain::delivery::queue::{Event, RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT, Write};
use domain::ports::{BoxFuture, JournalError, PublishError, RefusedRecord};
use domain::record::RecordBatch;
use tokio::time::Instant;

use super::bus::Publication;
use super::queues::{PartitionDelivery, lock};
use super::run::is_buffered;
use super::shared::Shared;
use crate::cause::Chain;

impl Shared {
    /// Waits for the reports about a batch that the bus took, and for its promise if that is not known yet.
    pub(super) fn track_publish(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        publication: Publication,
        mut promised: Option<BoxFuture<Result<Durability, PublishError>>>,
        mut settled: BoxFuture<Result<(), PublishError>>,
    ) {
        let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
        tokio::spawn(async move {
            let (number, ack_wait) = (publication.number, shared.bus.ack_wait);
            let published = Instant::now();
            let mut silent_at = published.checked_add(ack_wait);
            let outcome = loop {
                let promise = async {
                    match &mut promised {
                        Some(promised) => promised.await,
                        None => std::future::pending().await,
                    }
                };
                let silence = async {
                    match silent_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    promise = promise => {
                        promised = None;
                        if is_buffered(&promise) {
                            shared.tell(&queue, Event::Buffered(number));
                        }
                    }
                    outcome = &mut settled => break outcome,
                    () = silence => {
                        let available = shared.bus.silent(&publication);
                        shared.tell(&queue, Event::Silent { number, available });
                        silent_at = Some(Instant::now() + ack_wait);
                    }
                }
            };
            let after = published.elapsed();
            shared.bus.reported(&publication, &outcome, after);
            shared.settled(&queue, number, outcome, after);
        });
    }

    fn settled(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        number: u64,
        outcome: Result<(), PublishError>,
        after: Duration,
    ) {
        let event = match outcome {
            Ok(()) => Event::Acknowledged { number, after },
            Err(PublishError::Refused(refused)) => Event::Rejected { number, refused, after },
            Err(error) => {
                if self.journal.is_some() {
                    tracing::debug!(error = %Chain(&error), "delivery of a batch failed");
                }
                Event::Failed { number, error }
            }
        };
        self.tell(queue, event);
        if self.queues.backlogs.load(Ordering::Acquire) > 0 {
            self.bus.replayable.notify_one();
        }
    }

    /// Waits for the journal to finish a write.
    pub(super) fn track_write(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        write: Write,
        written: BoxFuture<Result<(), JournalError>>,
    ) {
        let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
        tokio::spawn(async move {
            let event = match written.await {
                Ok(()) => Event::Synced(write),
                Err(error) => Event::SyncFailed(write, error),
            };
            shared.tell(&queue, event);
            shared.bus.replayable.notify_one();
        });
    }

    /// Keeps the permanently rejected records of an accepted batch, however long it takes, unless the process ends first.
    pub(super) fn keep(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        number: u64,
        batch: Arc<RecordBatch>,
        refused: Vec<RefusedRecord>,
        after: Duration,
    ) {
        let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
        let bytes = batch.bytes_in_memory() as u64;
        {
            let mut unkept = lock(&self.bus.unkept);
            unkept.batches += 1;
            unkept.bytes += bytes;
        }
        tokio::spawn(async move {
            let is_kept = shared.keep_until_stopped(&queue, &batch, &refused).await;
            {
                let mut unkept = lock(&shared.bus.unkept);
                unkept.batches -= 1;
                unkept.bytes -= bytes;
            }
            if is_kept {
                shared.tell(&queue, Event::Kept { number, refused, after });
                if shared.queues.backlogs.load(Ordering::Acquire) > 0 {
                    shared.bus.replayable.notify_one();
                }
            }
        });
    }

    /// Returns whether the journal has kept the records: it has not if the process ends first.
    async fn keep_until_stopped(
        &self,
        queue: &PartitionDelivery,
        batch: &Arc<RecordBatch>,
        refused: &[RefusedRecord],
    ) -> bool {
        let Some(journal) = &self.journal else { return true };
        let mut is_failing = false;
        for wait in Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT) {
            let error = match journal.keep_refused(Arc::clone(batch), refused.to_vec()).await {
                Ok(()) => {
                    self.bus.can_keep(is_failing);
                    return true;
                }
                Err(JournalError::Closed) => return false,
                Err(error) => Chain(&error).to_string(),
            };
            if self.bus.cannot_keep(is_failing, error.clone()) {
                let partition = queue.partition;
                tracing::error!(partition, error, "cannot keep records that the bus permanently rejected, retrying");
            }
            is_failing = true;
            tokio::time::sleep(wait).await;
        }
        false
    }
}
