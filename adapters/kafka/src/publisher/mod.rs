//! The writing end of the bus: one idempotent producer, and one queue of batches per partition.
//!
//! Constraints and invariants:
//! * A queue keeps its batches in the order in which `publish` accepted them, until each of their records is reported. All
//!   decisions about what is handed to the client, what is reported and what comes next are made under the queue's lock.
//! * A failed delivery stops its queue at once, and the whole client is replaced: it is purged, its last reports are
//!   taken, and a new client gets all unreported records, in the old order. This is the only recovery path.
//! * A queue hands a new client one record alone, and more only once that one is delivered ([`partition_queue::Flight`]):
//!   Kafka accepts any sequence number as the first of a producer, so of several requests it could accept the second and
//!   reject the first.
//! * A record is refused permanently only if it is certain that Kafka means it and not another of the same request. A pack
//!   of several events that Kafka rejects is halved, alone and in order, until that is certain of one event.
//! * A queue's lock is held for the time it takes to hand over [`client_queue::HAND_OVER_RECORDS_MAX`] records:
//!   `publish`, called on runtime threads, waits for it.
//! * A batch occupies room from acceptance until its last report. The room is smaller than the client's queue.
//! * While the bus is known to be down, no batches are accepted.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use domain::admission::Usage;
use domain::partition::Partition;
use domain::ports::{BusState, PublishError, Receipt, RecordPublisher};
use domain::record::RecordBatch;
use tokio::sync::{Notify, oneshot};

use self::batch::{BATCH_RECORDS_MAX, Batch, Memory, Receipts};
use self::shared::Shared;
use self::threads::{look_after, send};
use crate::client::Reachability;
use crate::lock::lock;
use crate::options::{InvalidOptions, KafkaOptions};
use crate::statistics::ClientStatistics;
use crate::thread::spawn;
use crate::topic::Topic;

mod batch;
mod client_queue;
mod partition_queue;
mod shared;
mod silence;
#[cfg(test)]
mod tests;
mod threads;

/// Maximum wait for the threads to end if no time is left to drain.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The publisher.
pub struct KafkaPublisher {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl KafkaPublisher {
    /// Opens a publisher for the topic of `options`, which is created if it is missing. Waits briefly for Kafka, then
    /// starts without it. Needs a tokio runtime.
    ///
    /// # Errors
    /// The client rejects the options; the message names the option.
    pub async fn open(options: KafkaOptions) -> Result<Self, InvalidOptions> {
        let memory = Memory {
            bytes: AtomicUsize::new(0),
            bytes_max: options.memory_bytes_max,
            records: AtomicUsize::new(0),
            freed: Notify::new(),
        };
        let shared = Arc::new(Shared {
            topic: Topic::new(&options, tokio::runtime::Handle::current()),
            name: options.topic.as_str().into(),
            queues: RwLock::default(),
            partitions: AtomicU32::new(options.partitions.get()),
            memory: Arc::new(memory),
            reachability: Reachability::unknown(),
            counted: AtomicBool::new(false),
            fault: Mutex::default(),
            statistics: Mutex::default(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            client: Mutex::default(),
            looking: OnceLock::new(),
            options,
        });
        // An invalid option fails here, not in the thread.
        let client = shared.new_client()?;
        let (looked, first_look) = oneshot::channel();
        let (sending, looking) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = Mutex::new(vec![
            spawn("kafka-send", move || send(&sending, client))?,
            spawn("kafka-look", move || look_after(&looking, looked))?,
        ]);
        let publisher = Self { shared, threads };
        // Completes whether or not Kafka responds.
        let _ = first_look.await;
        Ok(publisher)
    }

    /// What an operator has to fix before Kafka accepts failed records, if anything: authorization, topic or settings.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        lock(&self.shared.fault).clone()
    }

    /// The client's statistics, up to 15 s old; `None` until it first emits them.
    #[must_use]
    pub fn statistics(&self) -> Option<ClientStatistics> {
        lock(&self.shared.statistics).clone()
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // The threads end by themselves shortly.
        drop(self.shared.end(&self.threads));
    }
}

#[async_trait]
impl RecordPublisher for KafkaPublisher {
    fn partition_count(&self) -> NonZeroU32 {
        NonZeroU32::new(self.shared.partitions.load(Ordering::Acquire)).unwrap_or(NonZeroU32::MIN)
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        let shared = &self.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        if batch.partition >= self.partition_count().get() {
            return Err(PublishError::Unavailable(format!("partition {} does not exist", batch.partition).into()));
        }
        if let BusState::Down(reason) = shared.bus_state() {
            return Err(PublishError::Unavailable(reason.into()));
        }
        let records = batch.records.len();
        // The client's copy is not counted.
        let bytes = batch.bytes_in_memory();
        if records >= BATCH_RECORDS_MAX || !shared.memory.take(bytes, records) {
            return Err(PublishError::Full);
        }
        let (promise, promised) = oneshot::channel();
        let (settle, settled) = oneshot::channel();
        let receipts = Receipts { promised: Some(promise), settled: Some(settle) };
        let queue = shared.queue(batch.partition);
        let packs = shared.packs(&batch.records);
        let batch = Batch::new(batch, packs, receipts, Arc::clone(&shared.memory), bytes);
        // Either this sees that the publisher is closing, or the closing task sees the batch.
        if shared.closed.load(Ordering::SeqCst) {
            return Err(PublishError::Closed);
        }
        lock(&queue).push(batch);
        let gone = || PublishError::Unavailable("the Kafka client has ended".into());
        Ok(Receipt {
            promised: Box::pin(async move { promised.await.unwrap_or_else(|_| Err(gone())) }),
            settled: Box::pin(async move { settled.await.unwrap_or_else(|_| Err(gone())) }),
        })
    }

    fn buffer(&self) -> Usage {
        let memory = &self.shared.memory;
        Usage { used_bytes: memory.bytes.load(Ordering::Acquire) as u64, bytes_max: memory.bytes_max as u64 }
    }

    fn usage(&self, _: Partition) -> Usage {
        self.buffer()
    }

    fn state(&self) -> BusState {
        if self.shared.closed.load(Ordering::Acquire) {
            return BusState::Down("closed".to_owned());
        }
        self.shared.bus_state()
    }

    async fn drain(&self, timeout: Duration) -> usize {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::SeqCst);
        let done = async {
            loop {
                let freed = shared.memory.freed.notified();
                if shared.memory.records.load(Ordering::SeqCst) == 0 {
                    return;
                }
                freed.await;
            }
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let _ = tokio::time::timeout_at(deadline, done).await;
        let left = shared.memory.records.load(Ordering::Acquire);
        if left == 0 {
            let threads = shared.end(&self.threads);
            let joined = tokio::task::spawn_blocking(move || {
                threads.into_iter().map(JoinHandle::join).filter(Result::is_err).for_each(drop);
            });
            // A thread may wait for the topic's metadata. The threads end by themselves.
            let _ = tokio::time::timeout_at(deadline.max(tokio::time::Instant::now() + END_TIMEOUT), joined).await;
        }
        left
    }
}
