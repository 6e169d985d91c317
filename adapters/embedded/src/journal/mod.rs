//! The producer's journal on disk: records that wait for the bus, with one [`PartitionLog`] per partition.
//!
//! Constraints and invariants:
//! * A process locks a slot, `DATA_DIR/journal/<n>`: the first one that is unlocked and has no entries. Entries found in
//!   a slot always come from a process that no longer runs and are adopted in place; live processes start their own
//!   numbers and order.
//! * A frame holds one record, and its sequence is the record's number (`frame.rs`), so that a damaged frame costs one
//!   record. A batch is journaled once all its frames are fdatasynced.
//! * Room is counted in bytes on disk, for all partitions and adopted backlogs together. It is taken when a batch is
//!   queued and returned when the batch is refused or its file is removed.
//! * Files are removed whole, oldest first, and never on the caller's thread. Once everything appended to a partition is
//!   released, all its files are removed, so that the next process finds nothing.
//! * The slot of this process stays locked until the last thread that may write to it has ended.
//! * Records that the bus refuses permanently are in `DATA_DIR/journal/<n>/refused`, with a separate size limit. Only
//!   operators remove them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use domain::admission::Usage;
use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::ports::{Backlog, BacklogPartition, BoxFuture, Journal, JournalChunk, JournalError, RefusedRecord};
use domain::record::RecordBatch;
use domain::timestamp::Timestamp;
use storage::{Slot, SlotDirectories, Slots};

use self::adopted::{AdoptedBacklog, AdoptedPartition, Remover};
use self::own::{KeepAll, KeepRefused, OwnPartition};
use self::reading::failed;
use self::room::Room;
use self::slots::{make_empty, tell_of_recovery};
use crate::disk::Disk;
use crate::lock::lock;
use crate::partition_log::{PartitionLog, SEGMENT_BYTES_MAX};
use crate::segmented_log::SegmentedLog;

mod adopted;
mod ages;
mod own;
mod reading;
mod released;
mod room;
mod slots;

/// The directory of all slots in a data directory.
pub(crate) const JOURNAL: &str = "journal";
/// The directory of refused records in a slot.
pub(crate) const REFUSED: &str = "refused";
/// Maximum number of slots: slot numbers are below this.
pub const SLOTS_MAX: u32 = 1_024;

/// Settings of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Maximum bytes on disk, for all partitions and adopted backlogs together. Refused records do not count.
    pub bytes_max: u64,
    /// Size at which a file is full, in bytes. Released room is returned by whole files.
    pub segment_bytes_max: u64,
    /// Maximum bytes of refused records.
    pub refused_bytes_max: u64,
}

impl JournalOptions {
    /// The usual file sizes for a journal of this many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            segment_bytes_max: SEGMENT_BYTES_MAX.min(bytes_max / 16).max(1),
            refused_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// All slots are in use or have entries.
    #[error("{} has {SLOTS_MAX} journals, all in use or with entries", .0.display())]
    NoSlot(PathBuf),
    /// An I/O error.
    #[error("cannot open a journal in {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// The journal of this process.
pub struct DiskJournal {
    shared: Arc<Shared>,
}

struct Shared {
    slots: Arc<dyn Slots>,
    number: u32,
    slot: Arc<dyn Slot>,
    options: JournalOptions,
    room: Arc<Room>,
    logs: Mutex<Logs>,
    refused: Mutex<Option<Arc<PartitionLog<KeepRefused>>>>,
    adopted: Mutex<Vec<Weak<AdoptedPartition>>>,
    remover: Arc<Remover>,
    /// Slots of other processes that cannot be read and were already logged.
    unreadable: Mutex<BTreeSet<u32>>,
    /// Partitions that were removed because nothing of them could be read, and that no backlog has reported yet.
    damaged: Mutex<Vec<BacklogPartition>>,
}

#[derive(Default)]
struct Logs {
    partitions: BTreeMap<Partition, Arc<OwnPartition>>,
    closed: bool,
}

impl DiskJournal {
    /// Takes the first free slot of a data directory. Reads from disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path, options: JournalOptions, disk: Arc<Disk>) -> Result<Self, OpenError> {
        let root = data_dir.join(JOURNAL);
        let opened = Self::over(Arc::new(SlotDirectories::new(&root)), options, disk);
        opened.map_err(|error| OpenError::Io(root.clone(), error))?.ok_or(OpenError::NoSlot(root))
    }

    /// Like [`DiskJournal::open`], over the given slots; `None` if none of them is free.
    ///
    /// # Errors
    /// I/O errors.
    pub fn over(slots: Arc<dyn Slots>, options: JournalOptions, disk: Arc<Disk>) -> io::Result<Option<Self>> {
        let mut damaged = Vec::new();
        for number in 0..SLOTS_MAX {
            let Some(slot) = slots.take(number)? else { continue };
            match make_empty(slot.as_ref(), &mut damaged) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    let error = error.described();
                    tracing::error!(journal = number, error, "cannot read a journal; trying the next one");
                    continue;
                }
            }
            let shared = Shared {
                slots,
                number,
                slot,
                options,
                room: Arc::new(Room::new(options.bytes_max, disk)),
                logs: Mutex::default(),
                refused: Mutex::default(),
                adopted: Mutex::default(),
                remover: Arc::new(Remover::start()?),
                unreadable: Mutex::default(),
                damaged: Mutex::new(damaged),
            };
            return Ok(Some(Self { shared: Arc::new(shared) }));
        }
        Ok(None)
    }

    /// Number of this process's slot.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.shared.number
    }

    /// Stops accepting batches and waits until every accepted batch is on disk or refused and released entries are
    /// removed. Returns whether this finished within `timeout`; the rest is abandoned.
    pub async fn close(&self, timeout: Duration) -> bool {
        let partitions: Vec<_> = {
            let mut logs = lock(&self.shared.logs);
            logs.closed = true;
            logs.partitions.values().cloned().collect()
        };
        let refused = lock(&self.shared.refused).clone();
        self.shared.remover.close();
        let mut threads: Vec<_> = self.shared.remover.take_thread().into_iter().collect();
        for partition in &partitions {
            partition.log.close();
            threads.extend(partition.log.take_writer());
        }
        if let Some(refused) = &refused {
            refused.close();
            threads.extend(refused.take_writer());
        }
        let unparkers: Vec<_> = threads.iter().map(|thread| thread.thread().clone()).collect();
        let mut ended = tokio::task::spawn_blocking(move || {
            let ended: Vec<bool> = threads.into_iter().map(|thread| thread.join().is_ok()).collect();
            ended.into_iter().all(|ended| ended)
        });
        let in_time = tokio::time::timeout(timeout, &mut ended).await;
        if in_time.is_err() {
            partitions.iter().for_each(|partition| partition.log.abandon());
            refused.iter().for_each(|refused| refused.abandon());
            unparkers.iter().for_each(std::thread::Thread::unpark);
        }
        matches!(in_time, Ok(Ok(true)))
    }
}

impl Shared {
    fn partition(&self, partition: Partition) -> Option<Arc<OwnPartition>> {
        lock(&self.logs).partitions.get(&partition).cloned()
    }

    /// The log of a partition; begins it if it is new.
    fn partition_or_new(&self, partition: Partition) -> Result<Arc<OwnPartition>, JournalError> {
        let mut logs = lock(&self.logs);
        if logs.closed {
            return Err(JournalError::Closed);
        }
        if let Some(own) = logs.partitions.get(&partition) {
            return Ok(Arc::clone(own));
        }
        let own = OwnPartition::begin(&self.slot, partition, self.options.segment_bytes_max, &self.room);
        let own = Arc::new(own.map_err(|error| failed(error.into()))?);
        logs.partitions.insert(partition, Arc::clone(&own));
        Ok(own)
    }

    /// The log of refused records. Reads from disk the first time.
    fn refused(&self) -> Result<Arc<PartitionLog<KeepRefused>>, JournalError> {
        let mut refused = lock(&self.refused);
        if lock(&self.logs).closed {
            return Err(JournalError::Closed);
        }
        if let Some(refused) = refused.as_ref() {
            return Ok(Arc::clone(refused));
        }
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(self.options.refused_bytes_max / 4).max(1);
        let (log, recovered) = SegmentedLog::open(self.slot.storage(REFUSED), segment_bytes_max, 0).map_err(failed)?;
        tell_of_recovery(&self.slot.path(REFUSED), &recovered);
        let upkeep = KeepAll { bytes_max: self.options.refused_bytes_max, _slot: Arc::clone(&self.slot) };
        let directory = self.slot.path(REFUSED).display().to_string();
        let started = PartitionLog::start("journal-refused".to_owned(), directory, log, upkeep);
        let started = Arc::new(started.map_err(|error| failed(error.into()))?);
        *refused = Some(Arc::clone(&started));
        Ok(started)
    }

    fn adopt(&self) -> Result<Option<AdoptedBacklog>, JournalError> {
        if lock(&self.logs).closed {
            return Err(JournalError::Closed);
        }
        let numbers = self.slots.numbers().map_err(|error| failed(error.into()))?;
        let mut unreadable = None;
        for number in numbers.into_iter().filter(|number| *number < SLOTS_MAX && *number != self.number) {
            let opened = match self.slots.take(number) {
                Ok(Some(slot)) => AdoptedBacklog::open(&slot, &self.room, &self.remover, &self.damaged),
                Ok(None) => continue,
                Err(error) => Err(error.into()),
            };
            match opened {
                Ok(Some(backlog)) => {
                    tracing::info!(journal = number, "adopted the journal of a process that no longer runs");
                    let mut adopted = lock(&self.adopted);
                    adopted.retain(|partition| partition.strong_count() > 0);
                    adopted.extend(backlog.partitions().iter().map(Arc::downgrade));
                    return Ok(Some(backlog));
                }
                Ok(None) => {
                    lock(&self.unreadable).remove(&number);
                }
                Err(error) => {
                    if lock(&self.unreadable).insert(number) {
                        tracing::error!(journal = number, error = error.described(), "cannot read a journal");
                    }
                    unreadable.get_or_insert(error);
                }
            }
        }
        let damaged = std::mem::take(&mut *lock(&self.damaged));
        if !damaged.is_empty() {
            return Ok(Some(AdoptedBacklog::of_damage(damaged, &self.remover)));
        }
        unreadable.map_or(Ok(None), |error| Err(failed(error)))
    }
}

#[async_trait]
impl Backlog for DiskJournal {
    /// Empty: existing entries are adopted.
    fn found(&self) -> Vec<BacklogPartition> {
        Vec::new()
    }

    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        match self.shared.partition(partition) {
            Some(own) => own.read(from, to).await,
            None => Ok(JournalChunk { batches: Vec::new(), next: to }),
        }
    }

    fn release(&self, partition: Partition, before: u64) {
        if let Some(own) = self.shared.partition(partition) {
            own.release(before);
        }
    }
}

#[async_trait]
impl Journal for DiskJournal {
    fn append(
        &self,
        first: u64,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError> {
        let own = self.shared.partition_or_new(batch.partition)?;
        if batch.records.len() != guarantees.len() {
            return Err(JournalError::Unavailable("each record has a guarantee".into()));
        }
        if batch.records.is_empty() {
            return Ok(Box::pin(std::future::ready(Ok(()))));
        }
        own.append(first, batch, guarantees, &self.shared.room)
    }

    fn resume(&self, partition: Partition) {
        if let Some(own) = self.shared.partition(partition) {
            own.resume();
        }
    }

    async fn keep_refused(&self, batch: Arc<RecordBatch>, refused: Vec<RefusedRecord>) -> Result<(), JournalError> {
        let (keep, kept) = KeepRefused::new(batch, refused);
        let shared = Arc::clone(&self.shared);
        let queued =
            tokio::task::spawn_blocking(move || shared.refused()?.push(keep).map_err(|_| JournalError::Closed));
        queued.await.map_err(|error| JournalError::Unavailable(error.into()))??;
        kept.await.unwrap_or(Err(JournalError::Closed))
    }

    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError> {
        let shared = Arc::clone(&self.shared);
        let adopted = tokio::task::spawn_blocking(move || shared.adopt()).await;
        let adopted = adopted.map_err(|error| JournalError::Unavailable(error.into()))??;
        Ok(adopted.map(|backlog| Arc::new(backlog) as Arc<dyn Backlog>))
    }

    fn usage(&self) -> Usage {
        self.shared.room.usage()
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.shared.room.has(bytes)
    }

    fn oldest(&self) -> Option<Timestamp> {
        let own: Vec<_> = lock(&self.shared.logs).partitions.values().cloned().collect();
        let adopted: Vec<_> = lock(&self.shared.adopted).iter().filter_map(Weak::upgrade).collect();
        let own = own.iter().filter_map(|partition| partition.oldest());
        own.chain(adopted.iter().filter_map(|partition| partition.oldest())).min()
    }

    fn fault(&self) -> Option<String> {
        let logs = lock(&self.shared.logs);
        logs.partitions.iter().find_map(|(partition, own)| Some(format!("partition {partition}: {}", own.log.fault()?)))
    }
}
