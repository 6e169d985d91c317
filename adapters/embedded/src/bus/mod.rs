//! A partitioned bus in this process: each partition is one log with its writer thread (`partition_log.rs`).
//!
//! Constraints and invariants:
//! * A batch is promised `buffered` once the operating system has it, and `acknowledged` once it is fdatasynced.
//! * Records become readable only after their fdatasync.
//! * Once the operating system has a batch, the bus never gives it up.
//! * Unacknowledged batches stay within `memory_bytes_max`. Data on disk stays within `retention_bytes`, divided equally
//!   between the partitions, and within the free space above the disk's reserve ([`domain::disk`]). Beyond any of these
//!   limits, new batches are refused.
//! * Retention removes only records that the store has taken: old ones, and those in the way of a limit or of the
//!   reserve.
//! * While records keep arriving, chunks of a partition follow each other after [`CHUNK_INTERVAL`], unless a whole one waits.
//! * One process owns the directory: a second one fails to open the bus.

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::admission::Usage;
use domain::delivery::Guarantee;
use domain::disk::DiskSpace;
use domain::lag::{Lag, LagTracker};
use domain::partition::Partition;
use domain::ports::{
    AssignmentChange, BusState, CHUNK_RECORDS_MAX, Clock, PublishError, Receipt, RecordPublisher, RecordSource,
    SourceError,
};
use domain::record::{Chunk, Record, RecordBatch};
use storage::{Directory, Storage};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use self::publication::{Memory, Publication};
use self::retention::{AllowedBytes, Retention};
use crate::disk::Disk;
use crate::lock::lock;
use crate::partition_log::{PartitionLog, SEGMENT_BYTES_MAX, Upkeep};
use crate::segmented_log::{LogError, SegmentedLog};

mod publication;
mod records;
mod retention;

pub use self::records::{read_chunk, write_record};

/// Each append of the store costs a transaction and a sync: fewer, larger ones cost less. The first record after a pause does not
/// wait.
const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

/// Settings of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusOptions {
    /// Number of partitions; existing ones are never removed.
    pub partitions: NonZeroU32,
    /// Maximum bytes of unacknowledged batches.
    pub memory_bytes_max: usize,
    /// Maximum bytes on disk, for all partitions together.
    pub retention_bytes: u64,
    /// How long records are kept after the store has taken them.
    pub retention_age: Duration,
}

/// Why the bus cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// An I/O error.
    #[error("cannot open the log in {}", .0.display())]
    Io(PathBuf, #[source] LogError),
}

/// The bus.
pub struct EmbeddedBus {
    partitions: Vec<Arc<PartitionState>>,
    count: NonZeroU32,
    memory: Arc<Memory>,
    closed: AtomicBool,
    assigned: AtomicBool,
    /// Held for the lifetime of the bus.
    _lock: Option<File>,
}

struct PartitionState {
    partition: Partition,
    log: PartitionLog<Publication>,
    /// Next position of the consumer.
    position: AtomicU64,
    /// When the next chunk may be read, unless a whole one waits.
    next_chunk: Mutex<Instant>,
    retention: Arc<Retention>,
    lag: Mutex<LagTracker>,
}

impl EmbeddedBus {
    /// Opens the bus in a directory. `positions` are those of the store: an offset that the store has seen is never
    /// assigned to another record, even if the log that used it no longer exists.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        directory: &Path,
        options: &BusOptions,
        disk: &Arc<Disk>,
        clock: &Arc<dyn Clock>,
        positions: impl Fn(Partition) -> u64,
    ) -> Result<Self, OpenError> {
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                OpenError::Locked(directory.to_owned())
            } else {
                OpenError::Io(directory.to_owned(), error.into())
            }
        };
        let root = Directory::open(directory).map_err(failed)?;
        let lock = root.lock().map_err(failed)?;

        let existing = Self::partitions_in(directory);
        if existing > options.partitions.get() {
            tracing::warn!(
                configured = options.partitions,
                existing,
                "more partitions are on disk than EMBEDDED__PARTITIONS says: all are used, set it to their number"
            );
        }
        let partitions = options.partitions.max(NonZeroU32::new(existing).unwrap_or(NonZeroU32::MIN));
        let storages: Result<Vec<Arc<dyn Storage>>, OpenError> = (0..partitions.get())
            .map(|partition| {
                let storage = Directory::open(&partition_directory(directory, partition)).map_err(failed)?;
                Ok(Arc::new(storage) as Arc<dyn Storage>)
            })
            .collect();
        let mut bus = Self::over(storages?, options, disk, clock, positions)
            .map_err(|error| OpenError::Io(directory.to_owned(), error))?;
        bus._lock = Some(lock);
        Ok(bus)
    }

    /// Number of partitions in a directory.
    #[must_use]
    pub fn partitions_in(directory: &Path) -> u32 {
        let existing = (0..).take_while(|partition| partition_directory(directory, *partition).is_dir());
        u32::try_from(existing.count()).unwrap_or(u32::MAX)
    }

    /// Opens the bus over one storage per partition.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn over(
        storages: Vec<Arc<dyn Storage>>,
        options: &BusOptions,
        disk: &Arc<Disk>,
        clock: &Arc<dyn Clock>,
        positions: impl Fn(Partition) -> u64,
    ) -> Result<Self, LogError> {
        let count = u32::try_from(storages.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let memory = Arc::new(Memory {
            bytes: AtomicUsize::new(0),
            bytes_max: options.memory_bytes_max,
            records: AtomicUsize::new(0),
            freed: Notify::new(),
        });
        let log_bytes_max = options.retention_bytes / u64::from(count.get());
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(log_bytes_max / 4).max(1);
        let mut partitions = Vec::with_capacity(storages.len());
        for (partition, storage) in (0..).zip(storages) {
            let stored = positions(partition);
            let (log, recovered) = SegmentedLog::open(storage, segment_bytes_max, stored)?;
            if recovered.torn_bytes > 0 {
                tracing::info!(partition, bytes = recovered.torn_bytes, "cut off a torn write at the end of the log");
            }
            if recovered.damaged_bytes > 0 {
                tracing::error!(partition, bytes = recovered.damaged_bytes, "the log is damaged: records are lost");
            }
            let retention = Arc::new(Retention {
                clock: Arc::clone(clock),
                stored: AtomicU64::new(stored),
                age: options.retention_age,
                log_bytes_max,
                disk: Arc::clone(disk),
                allowed: AllowedBytes::default(),
                backlog_bytes: AtomicU64::new(log.bytes_needed(stored)),
                removable_bytes: AtomicU64::new(0),
            });
            let mut upkeep = Arc::clone(&retention);
            upkeep.survey(&log);
            partitions.push(Arc::new(PartitionState {
                partition,
                log: PartitionLog::start(format!("log-{partition}"), format!("bus/logs-{partition}"), log, upkeep)?,
                position: AtomicU64::new(stored),
                next_chunk: Mutex::new(Instant::now()),
                retention,
                lag: Mutex::new(LagTracker::new(stored, stored)),
            }));
        }
        Ok(Self {
            partitions,
            count,
            memory,
            closed: AtomicBool::new(false),
            assigned: AtomicBool::new(false),
            _lock: None,
        })
    }

    fn partition(&self, partition: Partition) -> Option<&Arc<PartitionState>> {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get(index))
    }
}

#[async_trait]
impl RecordPublisher for EmbeddedBus {
    fn partition_count(&self) -> NonZeroU32 {
        self.count
    }

    fn publish(&self, batch: Arc<RecordBatch>) -> Result<Receipt, PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        let Some(state) = self.partition(batch.partition) else {
            return Err(PublishError::Unavailable(format!("partition {} does not exist", batch.partition).into()));
        };
        let records = batch.records.len();
        let bytes = batch.bytes_in_memory();
        let room = self.memory.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.memory.bytes_max)
        });
        if room.is_err() {
            return Err(PublishError::Full);
        }
        self.memory.records.fetch_add(records, Ordering::AcqRel);
        let (promise, promised) = oneshot::channel();
        let (settle, settled) = oneshot::channel();
        let publication = Publication {
            buffered_suffices: batch.guarantee == Guarantee::AtMostOnce,
            promised: Some(promise),
            settled: Some(settle),
            memory: Arc::clone(&self.memory),
            bytes,
            batch,
        };
        // A rejected publication returns its room when it is dropped.
        state.log.push(publication).map_err(|_| PublishError::Closed)?;
        let gone = || PublishError::Unavailable("the writer of the log has ended".into());
        Ok(Receipt {
            promised: Box::pin(async move { promised.await.unwrap_or_else(|_| Err(gone())) }),
            settled: Box::pin(async move { settled.await.unwrap_or_else(|_| Err(gone())) }),
        })
    }

    fn buffer(&self) -> Usage {
        let used_bytes = self.memory.bytes.load(Ordering::Acquire) as u64;
        Usage { used_bytes, bytes_max: self.memory.bytes_max as u64 }
    }

    fn usage(&self, partition: Partition) -> Usage {
        let removable = |state: &Arc<PartitionState>| state.retention.removable_bytes.load(Ordering::Acquire);
        let backlog = self.partition(partition).map(|state| {
            let retention = &state.retention;
            let space = retention.disk.space();
            // Records that the store has taken are removed as soon as their room is needed.
            let removable_bytes = self.partitions.iter().map(removable).sum::<u64>();
            let free_bytes = space.free_bytes.saturating_add(removable_bytes);
            Usage { used_bytes: retention.backlog_bytes.load(Ordering::Acquire), bytes_max: retention.log_bytes_max }
                .within(DiskSpace { free_bytes, ..space }.available_bytes())
        });
        backlog.map_or(self.buffer(), |backlog| backlog.tighter(self.buffer()))
    }

    fn state(&self) -> BusState {
        if self.closed.load(Ordering::Acquire) {
            return BusState::Down("closed".to_owned());
        }
        for state in &self.partitions {
            if let Some(fault) = state.log.fault() {
                return BusState::Down(format!("partition {}: {fault}", state.partition));
            }
        }
        BusState::Up
    }

    async fn drain(&self, timeout: Duration) -> usize {
        self.closed.store(true, Ordering::Release);
        for state in &self.partitions {
            state.log.close();
        }
        let done = async {
            loop {
                let freed = self.memory.freed.notified();
                if self.memory.records.load(Ordering::Acquire) == 0 {
                    return;
                }
                freed.await;
            }
        };
        let _ = tokio::time::timeout(timeout, done).await;
        let left = self.memory.records.load(Ordering::Acquire);
        if left == 0 {
            let writers: Vec<_> = self.partitions.iter().filter_map(|state| state.log.take_writer()).collect();
            let joined = tokio::task::spawn_blocking(move || writers.into_iter().all(|writer| writer.join().is_ok()));
            if !matches!(joined.await, Ok(true)) {
                tracing::error!("a writer of the log did not end by itself");
            }
        }
        left
    }
}

#[async_trait]
impl RecordSource for EmbeddedBus {
    async fn assignment(&self) -> Result<AssignmentChange, SourceError> {
        if self.assigned.swap(true, Ordering::AcqRel) {
            // A single consumer has all partitions permanently.
            return std::future::pending().await;
        }
        let states: Vec<Arc<PartitionState>> = self.partitions.clone();
        let partitions = states.iter().map(|state| state.partition).collect();
        let start = move |positions: Vec<Option<u64>>| {
            for (state, position) in states.iter().zip(positions) {
                let first = lock(&state.log.reader()).range().0;
                let position = position.unwrap_or(first);
                state.position.store(position, Ordering::Release);
                state.retention.stored.store(position, Ordering::Release);
                *lock(&state.lag) = LagTracker::new(position, position);
            }
        };
        Ok(AssignmentChange::Assigned(partitions, Box::new(start)))
    }

    async fn chunk(&self, partition: Partition) -> Result<Chunk, SourceError> {
        let state = self.partition(partition).ok_or(SourceError::Closed)?;
        let mut readable = state.log.readable();
        loop {
            let position = state.position.load(Ordering::Acquire);
            if readable.wait_for(|readable| *readable > position).await.is_err() {
                return Err(SourceError::Closed);
            }
            let due = *lock(&state.next_chunk);
            let whole = position.saturating_add(CHUNK_RECORDS_MAX as u64);
            let _ = timeout_at(due, readable.wait_for(|readable| *readable >= whole)).await;
            let position = state.position.load(Ordering::Acquire);
            let reader = state.log.reader();
            let read = tokio::task::spawn_blocking(move || read_chunk(&mut lock(&reader), position));
            let (chunk, damaged_bytes) = match read.await {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(LogError::OutOfRange { position, first })) => {
                    return Err(SourceError::OutOfRange { position, first });
                }
                Ok(Err(error)) => return Err(SourceError::Unavailable(error.into())),
                Err(error) => return Err(SourceError::Unavailable(error.into())),
            };
            if damaged_bytes > 0 {
                tracing::error!(
                    partition,
                    position,
                    next = chunk.next,
                    bytes = damaged_bytes,
                    "skipped damage in the log"
                );
            }
            // Only now, so that a caller that stops waiting loses nothing, and without overwriting a concurrent seek.
            let moved =
                state.position.compare_exchange(position, chunk.next, Ordering::AcqRel, Ordering::Acquire).is_ok();
            let received = |record: Option<Record<'_>>| record.map(|record| record.timestamp);
            let (first, last) = (received(chunk.records.iter().next()), received(chunk.records.iter().next_back()));
            if let (true, Some(first), Some(last)) = (moved, first, last) {
                lock(&state.lag).read(first, last, chunk.next);
                *lock(&state.next_chunk) = Instant::now() + CHUNK_INTERVAL;
                return Ok(chunk);
            }
        }
    }

    fn seek(&self, partition: Partition, position: Option<u64>) {
        if let Some(state) = self.partition(partition) {
            let position = position.unwrap_or_else(|| lock(&state.log.reader()).range().0);
            state.position.store(position, Ordering::Release);
        }
    }

    fn stored(&self, partition: Partition, position: u64) {
        if let Some(state) = self.partition(partition) {
            state.retention.stored.fetch_max(position, Ordering::AcqRel);
            lock(&state.lag).store(position);
        }
    }

    fn lags(&self) -> Vec<Lag> {
        let lags = self.partitions.iter().map(|state| {
            let mut lag = lock(&state.lag);
            lag.extend(*state.log.readable().borrow());
            lag.lag(state.partition)
        });
        lags.collect()
    }

    /// Without other members there is nothing to do.
    async fn close(&self) {}
}

fn partition_directory(directory: &Path, partition: Partition) -> PathBuf {
    directory.join(format!("logs-{partition}"))
}
