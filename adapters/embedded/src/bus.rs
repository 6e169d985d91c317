//! A partitioned bus in this process: one segmented log and one writing thread a partition.
//!
//! Constraints and invariants:
//! * A batch is promised `buffered` once the operating system has it, `acknowledged` once it is fdatasynced.
//!   Whatever arrives during one fdatasync shares the next (group commit).
//! * Records become readable only after their fdatasync.
//! * Once the operating system has a batch the bus never gives it up: if the disk fails it is kept in memory
//!   and written again until the disk recovers.
//! * Everything published and not yet acknowledged stays within `memory_bytes_max`, everything on disk within
//!   `retention_bytes`, shared equally by the partitions; beyond either, new batches are refused.
//! * Retention removes only what the store has taken.
//! * One process owns the directory: a second one is refused when it opens the bus.

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use domain::admission::Fill;
use domain::backoff::Backoff;
use domain::delivery::{Durability, Guarantee};
use domain::lag::{Lag, LagTracker};
use domain::partition::Partition;
use domain::ports::{
    AssignmentChange, BusState, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, Clock, PublishError, Receipt, RecordPublisher,
    RecordSource, SourceError,
};
use domain::record::{Chunk, Record, RecordBatch, Records};
use tokio::sync::{Notify, oneshot, watch};

use crate::segmented_log::{Entry, LogError, LogReader, PAYLOAD_BYTES_MAX, SegmentedLog};
use crate::storage::{Directory, Storage};

/// Size at which a segment is full.
const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a writer waits for a batch before it looks after its log.
const IDLE: Duration = Duration::from_secs(1);
/// Most bytes of records that share one fdatasync.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a batch takes in memory beside the bytes of its records.
const BATCH_OVERHEAD_BYTES: usize = 512;
/// What a record takes in memory beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// How the bus is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusOptions {
    /// Partitions to have; existing ones are never given up.
    pub partitions: NonZeroU32,
    /// Most bytes of batches that are not acknowledged yet.
    pub memory_bytes_max: usize,
    /// Most bytes on disk, of all partitions together.
    pub retention_bytes: u64,
    /// How long records are kept that the store has taken.
    pub retention_age: Duration,
}

/// Why the bus cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The disk failed.
    #[error("cannot open the log in {}", .0.display())]
    Io(PathBuf, #[source] LogError),
}

/// The bus.
pub struct EmbeddedBus {
    partitions: Vec<Arc<PartitionState>>,
    count: NonZeroU32,
    memory: Arc<Memory>,
    closed: AtomicBool,
    writers: Mutex<Vec<JoinHandle<()>>>,
    assigned: AtomicBool,
    /// Locked for as long as the bus lives.
    _lock: Option<File>,
}

/// Room for batches that are not acknowledged yet.
struct Memory {
    bytes: AtomicUsize,
    bytes_max: usize,
    records: AtomicUsize,
    /// Told whenever a batch is done with.
    freed: Notify,
}

struct PartitionState {
    partition: Partition,
    queue: Mutex<Option<mpsc::Sender<Publication>>>,
    /// What is wrong with the disk, if anything is.
    trouble: Mutex<Option<String>>,
    /// Everything before this offset is readable.
    readable: watch::Sender<u64>,
    reader: Arc<Mutex<LogReader>>,
    /// Where the consumer reads on.
    position: AtomicU64,
    /// Everything before this offset is in the store.
    stored: AtomicU64,
    lag: Mutex<LagTracker>,
    /// Bytes on disk that cannot be removed yet, as the writer last saw it.
    backlog_bytes: AtomicU64,
    disk_bytes_max: u64,
    /// The bus is gone.
    abandoned: AtomicBool,
}

impl PartitionState {
    fn lag(&self) -> MutexGuard<'_, LagTracker> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch on its way to the log.
struct Publication {
    records: Records,
    buffered_suffices: bool,
    promised: Option<oneshot::Sender<Result<Durability, PublishError>>>,
    settled: Option<oneshot::Sender<Result<(), PublishError>>>,
    memory: Arc<Memory>,
    bytes: usize,
}

impl EmbeddedBus {
    /// Opens the bus in a directory. `positions` are those of the store: an offset that it has seen is never
    /// given to another record, even if the log that had it is gone.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        directory: &Path,
        options: &BusOptions,
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
            tracing::warn!(configured = options.partitions, existing, "keeping all existing partitions");
        }
        let partitions = options.partitions.max(NonZeroU32::new(existing).unwrap_or(NonZeroU32::MIN));
        let storages: Result<Vec<Arc<dyn Storage>>, OpenError> = (0..partitions.get())
            .map(|partition| {
                let storage = Directory::open(&partition_directory(directory, partition)).map_err(failed)?;
                Ok(Arc::new(storage) as Arc<dyn Storage>)
            })
            .collect();
        let mut bus = Self::over(storages?, options, clock, positions)
            .map_err(|error| OpenError::Io(directory.to_owned(), error))?;
        bus._lock = Some(lock);
        Ok(bus)
    }

    /// How many partitions a directory has.
    #[must_use]
    pub fn partitions_in(directory: &Path) -> u32 {
        let existing = (0..).take_while(|partition| partition_directory(directory, *partition).is_dir());
        u32::try_from(existing.count()).unwrap_or(u32::MAX)
    }

    /// Opens the bus over one storage a partition.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn over(
        storages: Vec<Arc<dyn Storage>>,
        options: &BusOptions,
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
        let disk_bytes_max = options.retention_bytes / u64::from(count.get());
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(disk_bytes_max / 4).max(1);
        let mut partitions = Vec::with_capacity(storages.len());
        let mut writers = Vec::with_capacity(storages.len());
        for (partition, storage) in (0..).zip(storages) {
            let stored = positions(partition);
            let (log, recovered) = SegmentedLog::open(storage, segment_bytes_max, stored)?;
            if recovered.torn_bytes > 0 {
                tracing::info!(partition, bytes = recovered.torn_bytes, "cut off a torn write at the end of the log");
            }
            if recovered.damaged_bytes > 0 {
                tracing::error!(partition, bytes = recovered.damaged_bytes, "the log is damaged: records are lost");
            }
            let (queue, publications) = mpsc::channel();
            let state = Arc::new(PartitionState {
                partition,
                queue: Mutex::new(Some(queue)),
                trouble: Mutex::new(None),
                readable: watch::Sender::new(log.next()),
                reader: Arc::new(Mutex::new(log.reader())),
                position: AtomicU64::new(stored),
                stored: AtomicU64::new(stored),
                lag: Mutex::new(LagTracker::new(stored, stored)),
                backlog_bytes: AtomicU64::new(log.bytes_needed(stored)),
                disk_bytes_max,
                abandoned: AtomicBool::new(false),
            });
            let writer = Writer {
                log,
                publications,
                state: Arc::clone(&state),
                clock: Arc::clone(clock),
                retention_age: options.retention_age,
                disk_bytes_max,
            };
            let thread = std::thread::Builder::new().name(format!("log-{partition}"));
            writers.push(thread.spawn(move || writer.run())?);
            partitions.push(state);
        }
        Ok(Self {
            partitions,
            count,
            memory,
            closed: AtomicBool::new(false),
            writers: Mutex::new(writers),
            assigned: AtomicBool::new(false),
            _lock: None,
        })
    }

    fn partition(&self, partition: Partition) -> Option<&Arc<PartitionState>> {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get(index))
    }
}

impl Drop for EmbeddedBus {
    /// Ends the writers: once they have written what is queued or, on a disk that fails, at once.
    fn drop(&mut self) {
        for state in &self.partitions {
            state.abandoned.store(true, Ordering::Release);
            state.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        for writer in self.writers.get_mut().unwrap_or_else(PoisonError::into_inner) {
            writer.thread().unpark();
        }
    }
}

#[async_trait]
impl RecordPublisher for EmbeddedBus {
    fn partition_count(&self) -> NonZeroU32 {
        self.count
    }

    fn publish(&self, batch: RecordBatch) -> Result<Receipt, PublishError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        let Some(state) = self.partition(batch.partition) else {
            return Err(PublishError::Unavailable(format!("there is no partition {}", batch.partition).into()));
        };
        let records = batch.records.len();
        let bytes = batch.records.bytes() + records * RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES;
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
            records: batch.records,
            buffered_suffices: batch.guarantee == Guarantee::AtMostOnce,
            promised: Some(promise),
            settled: Some(settle),
            memory: Arc::clone(&self.memory),
            bytes,
        };
        let queue = state.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // A publication that cannot be sent gives back its room when it is dropped.
        queue.as_ref().ok_or(PublishError::Closed)?.send(publication).map_err(|_| PublishError::Closed)?;
        let gone = || PublishError::Unavailable("the writer of the log has ended".into());
        Ok(Receipt {
            promised: Box::pin(async move { promised.await.unwrap_or_else(|_| Err(gone())) }),
            settled: Box::pin(async move { settled.await.unwrap_or_else(|_| Err(gone())) }),
        })
    }

    fn buffer(&self) -> Fill {
        let used_bytes = self.memory.bytes.load(Ordering::Acquire) as u64;
        Fill { used_bytes, bytes_max: self.memory.bytes_max as u64 }
    }

    fn fill(&self, partition: Partition) -> Fill {
        let backlog = self.partition(partition).map(|state| Fill {
            used_bytes: state.backlog_bytes.load(Ordering::Acquire),
            bytes_max: state.disk_bytes_max,
        });
        backlog.map_or(self.buffer(), |backlog| backlog.tighter(self.buffer()))
    }

    fn state(&self) -> BusState {
        if self.closed.load(Ordering::Acquire) {
            return BusState::Down("closed".to_owned());
        }
        for state in &self.partitions {
            if let Some(trouble) = state.trouble.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                return BusState::Down(format!("partition {}: {trouble}", state.partition));
            }
        }
        BusState::Up
    }

    async fn drain(&self, timeout: Duration) -> usize {
        self.closed.store(true, Ordering::Release);
        for state in &self.partitions {
            // The writer ends once it has written what is queued.
            state.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
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
            let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
            let joined =
                tokio::task::spawn_blocking(move || writers.into_iter().map(JoinHandle::join).all(|end| end.is_ok()));
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
            // One consumer, all partitions, for ever.
            return std::future::pending().await;
        }
        let states: Vec<Arc<PartitionState>> = self.partitions.clone();
        let partitions = states.iter().map(|state| state.partition).collect();
        let start = move |positions: Vec<Option<u64>>| {
            for (state, position) in states.iter().zip(positions) {
                let first = state.reader.lock().unwrap_or_else(PoisonError::into_inner).range().0;
                let position = position.unwrap_or(first);
                state.position.store(position, Ordering::Release);
                state.stored.store(position, Ordering::Release);
                *state.lag() = LagTracker::new(position, position);
            }
        };
        Ok(AssignmentChange::Assigned(partitions, Box::new(start)))
    }

    async fn chunk(&self, partition: Partition) -> Result<Chunk, SourceError> {
        let state = self.partition(partition).ok_or(SourceError::Closed)?;
        let mut readable = state.readable.subscribe();
        loop {
            let position = state.position.load(Ordering::Acquire);
            if readable.wait_for(|readable| *readable > position).await.is_err() {
                return Err(SourceError::Closed);
            }
            let reader = Arc::clone(&state.reader);
            let read = tokio::task::spawn_blocking(move || {
                read_chunk(&mut reader.lock().unwrap_or_else(PoisonError::into_inner), position)
            });
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
            // Only now, so that a caller that stops waiting loses nothing; and not over a seek that came meanwhile.
            let moved =
                state.position.compare_exchange(position, chunk.next, Ordering::AcqRel, Ordering::Acquire).is_ok();
            let received = |record: Option<Record<'_>>| record.map(|record| record.timestamp);
            let (first, last) = (received(chunk.records.iter().next()), received(chunk.records.iter().next_back()));
            if let (true, Some(first), Some(last)) = (moved, first, last) {
                state.lag().read(first, last, chunk.next);
                return Ok(chunk);
            }
        }
    }

    fn seek(&self, partition: Partition, position: u64) {
        if let Some(state) = self.partition(partition) {
            state.position.store(position, Ordering::Release);
        }
    }

    fn stored(&self, partition: Partition, position: u64) {
        if let Some(state) = self.partition(partition) {
            state.stored.fetch_max(position, Ordering::AcqRel);
            state.lag().store(position);
        }
    }

    fn lags(&self) -> Vec<Lag> {
        let lags = self.partitions.iter().map(|state| {
            let mut lag = state.lag();
            lag.extend(*state.readable.borrow());
            lag.lag(state.partition)
        });
        lags.collect()
    }

    /// Nobody else is there: nothing to do.
    async fn close(&self) {}
}

fn partition_directory(directory: &Path, partition: Partition) -> PathBuf {
    directory.join(format!("logs-{partition}"))
}

/// The thread that owns the log of a partition.
struct Writer {
    log: SegmentedLog,
    publications: mpsc::Receiver<Publication>,
    state: Arc<PartitionState>,
    clock: Arc<dyn Clock>,
    retention_age: Duration,
    disk_bytes_max: u64,
}

impl Writer {
    /// Writes until the bus is closed and nothing is queued.
    fn run(mut self) {
        loop {
            let first = match self.publications.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look_after();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut group_bytes = 0;
            let mut group = Vec::new();
            let mut waiting = Some(first);
            while let Some(publication) = waiting.take() {
                group_bytes += publication.records.bytes();
                if let Some(written) = self.write(publication) {
                    group.push(written);
                }
                if group_bytes < GROUP_BYTES_MAX {
                    waiting = self.publications.try_recv().ok();
                }
            }
            if !group.is_empty() && !self.sync_until_done() {
                return;
            }
            for publication in group {
                publication.acknowledge();
            }
        }
    }

    /// What there is to do without a batch: remove what has grown old, and see whether trouble has passed, since
    /// nobody sends batches to a bus that says it is down.
    fn look_after(&mut self) {
        self.release(self.disk_bytes_max);
        let troubled = self.state.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if troubled && self.log.bytes() < self.disk_bytes_max && self.log.probe().is_ok() {
            self.report_trouble(None);
        }
    }

    /// Hands a batch to the operating system; `None` if it was refused.
    fn write(&mut self, publication: Publication) -> Option<Publication> {
        let room = self.disk_bytes_max.saturating_sub(publication.records.bytes() as u64);
        self.release(room);
        if self.log.bytes() > room {
            self.report_trouble(Some(
                "the log is full: the store does not keep up, or EMBEDDED__RETENTION_BYTES is too small".to_owned(),
            ));
            publication.refuse(|| PublishError::Full);
            return None;
        }
        let entries = publication
            .records
            .iter()
            .map(|record| (record.timestamp, move |buffer: &mut Vec<u8>| write_record(&record, buffer)));
        match self.log.append(entries) {
            Ok(_) => Some(publication.buffered()),
            Err(error) => {
                self.report_trouble(Some(Described(&error).to_string()));
                let full = matches!(&error, LogError::Io(io) if io.kind() == io::ErrorKind::StorageFull);
                let cause = Described(&error).to_string();
                publication
                    .refuse(|| if full { PublishError::Full } else { PublishError::Unavailable(cause.clone().into()) });
                None
            }
        }
    }

    /// Removes what the store has taken and nobody needs any more.
    fn release(&mut self, room: u64) {
        let stored = self.state.stored.load(Ordering::Acquire);
        self.state.backlog_bytes.store(self.log.bytes_needed(stored), Ordering::Release);
        let expired = self.clock.now().saturating_sub(self.retention_age);
        if let Err(error) = self.log.release(stored, |bytes, newest| bytes > room || newest < expired) {
            tracing::warn!(partition = self.state.partition, error = %Described(&error), "cannot remove an old segment");
        }
    }

    /// What the operating system has may have been promised, so there is no giving up, unless nobody is left who
    /// could be told. Returns whether all is synced.
    fn sync_until_done(&mut self) -> bool {
        let mut waits = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(error) = self.log.sync() {
            self.report_trouble(Some(Described(&error).to_string()));
            if self.state.abandoned.load(Ordering::Acquire) {
                return false;
            }
            std::thread::park_timeout(waits.next().unwrap_or_default());
        }
        self.report_trouble(None);
        self.state.readable.send_replace(self.log.next());
        true
    }

    /// Tells health, and the log when trouble begins or ends.
    fn report_trouble(&self, trouble: Option<String>) {
        let partition = self.state.partition;
        let mut current = self.state.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (current.as_ref(), &trouble) {
            (None, Some(trouble)) => tracing::error!(partition, trouble, "the log takes no records"),
            (Some(_), None) => tracing::info!(partition, "the log takes records again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *current = trouble;
    }
}

impl Publication {
    fn buffered(mut self) -> Self {
        if self.buffered_suffices {
            self.promise(Ok(Durability::Buffered));
        }
        self
    }

    fn acknowledge(mut self) {
        self.promise(Ok(Durability::Acknowledged));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(Ok(()));
        }
    }

    fn refuse(mut self, error: impl Fn() -> PublishError) {
        self.promise(Err(error()));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(Err(error()));
        }
    }

    /// Tells whoever still listens, the first time.
    fn promise(&mut self, promise: Result<Durability, PublishError>) {
        if let Some(promised) = self.promised.take() {
            let _ = promised.send(promise);
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.records.fetch_sub(self.records.len(), Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

/// Appends a record as the payload of an entry in the log: flags, length of the key, key, value.
pub fn write_record(record: &Record<'_>, buffer: &mut Vec<u8>) {
    buffer.push(u8::from(record.client_id));
    // A key is a source, of at most 255 bytes; a longer one could not be told from the value.
    buffer.extend_from_slice(&u32::try_from(record.key.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(record.key);
    buffer.extend_from_slice(record.value);
}

fn read_record<'a>(entry: &Entry<'a>) -> Option<Record<'a>> {
    let (flags, rest) = entry.payload.split_first()?;
    let (key_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*key_len)).ok()?)?;
    Some(Record { key, value, timestamp: entry.time, client_id: flags & 1 == 1 })
}

/// Reads the records from `position` on, as many as a chunk has, and says how many bytes it skipped because they are damaged.
///
/// # Errors
/// Those of [`LogReader::read`].
pub fn read_chunk(reader: &mut LogReader, position: u64) -> Result<(Chunk, u64), LogError> {
    let mut chunk = Chunk::default();
    let read = reader.read(position, |entry| {
        // An entry with a right checksum that is no record, or a larger one than a record may be, was not written by this
        // bus: it is passed on for what it is, so that it becomes a dead letter and is not lost without a word.
        let odd = Record { key: &[], value: entry.payload, timestamp: entry.time, client_id: false };
        chunk.records.push_found(read_record(&entry).unwrap_or(odd));
        chunk.offsets.push(entry.sequence);
        // What is shown has been taken, so there must be room for the largest entry before the next one is.
        chunk.records.len() < CHUNK_RECORDS_MAX && chunk.records.bytes() <= CHUNK_BYTES_MAX - PAYLOAD_BYTES_MAX
    })?;
    chunk.next = read.next;
    Ok((chunk, read.damaged_bytes))
}

/// A log error with its cause, on one line.
struct Described<'a>(&'a LogError);

impl std::fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            LogError::Io(cause) => write!(f, "{}: {cause}", self.0),
            LogError::TooLarge | LogError::OutOfRange { .. } => write!(f, "{}", self.0),
        }
    }
}
