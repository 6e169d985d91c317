//! A batch on its way to the log, and the room that it occupies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::delivery::Durability;
use domain::ports::PublishError;
use domain::record::RecordBatch;
use tokio::sync::{Notify, oneshot};

use super::records::write_record;
use crate::partition_log::{LogBatch, Refusal};
use crate::segmented_log::{LogError, SegmentedLog};

/// Room for unacknowledged batches.
pub(super) struct Memory {
    pub(super) bytes: AtomicUsize,
    pub(super) bytes_max: usize,
    pub(super) records: AtomicUsize,
    /// Notified whenever a batch is finished.
    pub(super) freed: Notify,
}

/// A batch on its way to the log.
pub(super) struct Publication {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) buffered_suffices: bool,
    pub(super) promised: Option<oneshot::Sender<Result<Durability, PublishError>>>,
    pub(super) settled: Option<oneshot::Sender<Result<(), PublishError>>>,
    pub(super) memory: Arc<Memory>,
    pub(super) bytes: usize,
}

impl LogBatch for Publication {
    fn bytes(&self) -> usize {
        self.batch.records.bytes()
    }

    fn is_awaited(&self) -> bool {
        !self.buffered_suffices
    }

    fn append(&self, log: &mut SegmentedLog) -> Result<u64, LogError> {
        let records = self.batch.records.iter();
        log.append(records.map(|record| (record.timestamp, move |buffer: &mut Vec<u8>| write_record(&record, buffer))))
    }

    fn written(&mut self) {
        if self.buffered_suffices {
            self.promise(Ok(Durability::Buffered));
        }
    }

    fn synced(mut self) {
        self.promise(Ok(Durability::Acknowledged));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(Ok(()));
        }
    }

    fn refused(mut self, refusal: Refusal) {
        let error = || match &refusal {
            Refusal::Full => PublishError::Full,
            Refusal::Failed(cause) => PublishError::Unavailable(cause.clone().into()),
        };
        self.promise(Err(error()));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(Err(error()));
        }
    }
}

impl Publication {
    /// Reports the first promise, if the caller still listens.
    fn promise(&mut self, promise: Result<Durability, PublishError>) {
        if let Some(promised) = self.promised.take() {
            let _ = promised.send(promise);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.records.fetch_sub(self.batch.records.len(), Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}
