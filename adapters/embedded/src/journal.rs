//! The producer's journal on disk: one log with its writing thread a partition (`partition_log.rs`).
//!
//! Constraints and invariants:
//! * A process has the directory `journal/<n>` under its data directory for its life, by a lock; `n` is the first number that
//!   nobody has and that has no entries. So what is found in a journal is always of a process that is gone, and is adopted:
//!   numbers, order and accounts of the living begin anew.
//! * A frame is one record, and its sequence is the record's number. A batch is on disk when all its frames are fdatasynced.
//! * Room is taken, in bytes on disk, when a batch is queued, and given back when it is refused or its file is removed. All
//!   partitions and adopted backlogs share it.
//! * Files are removed whole, oldest first, by the thread that writes the log. Once all entries of a partition are released its
//!   files are empty, so that the next process finds nothing.
//! * Refused records lie in `journal/<n>/refused`, in a bounded log of their own, and are never removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use domain::admission::Fill;
use domain::delivery::{Guarantee, GuaranteeCounts};
use domain::partition::Partition;
use domain::ports::{
    Backlog, BacklogPartition, BoxFuture, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, Journal, JournalChunk, JournalError,
    JournaledBatch, RefusedRecord,
};
use domain::record::{RECORD_BYTES_MAX, Record, RecordBatch, Records};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use tokio::sync::oneshot;

use crate::partition_log::{LogBatch, PartitionLog, Refusal, SEGMENT_BYTES_MAX, Upkeep, lock};
use crate::segmented_log::{Entry, FRAME_HEADER_BYTES, LogError, LogReader, SegmentedLog};
use crate::storage::{Directory, Storage};

/// Most bytes of refused records.
const REFUSED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most journals that are looked for in a data directory.
const SLOTS_MAX: u32 = 1_024;
/// Name of the directory of refused records.
const REFUSED: &str = "refused";

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// All numbers are taken.
    #[error("{} has {SLOTS_MAX} journals, all in use or with entries", .0.display())]
    NoSlot(PathBuf),
    /// The disk failed.
    #[error("cannot open a journal in {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Opens the storage of a partition.
type OpenStorage = Box<dyn Fn(Partition) -> io::Result<Arc<dyn Storage>> + Send + Sync>;

/// The journal of this process.
pub struct DiskJournal {
    /// Where all journals are, and the number of this one; missing where there are no others.
    slots: Option<(PathBuf, u32)>,
    open_storage: OpenStorage,
    partitions: Mutex<BTreeMap<Partition, Arc<JournalLog>>>,
    refused: Mutex<Option<SegmentedLog>>,
    open_refused: Box<dyn Fn() -> io::Result<Arc<dyn Storage>> + Send + Sync>,
    room: Arc<Room>,
    adopted: Mutex<Vec<Weak<Orphan>>>,
    /// Locked for as long as the journal lives.
    _lock: Option<File>,
}

/// Bytes on disk, of all logs together.
struct Room {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Room {
    fn take(&self, bytes: u64) -> bool {
        let taken = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
        });
        taken.is_ok()
    }

    fn give(&self, bytes: u64) {
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| Some(used.saturating_sub(bytes)));
    }
}

/// The log of one partition.
struct JournalLog {
    log: PartitionLog<Append>,
    released: Arc<AtomicU64>,
    /// Reads the oldest entry that is not released.
    oldest: Mutex<LogReader>,
}

/// Removes what is released.
struct Release {
    released: Arc<AtomicU64>,
    /// What of it is done.
    done: u64,
    room: Arc<Room>,
}

impl Upkeep for Release {
    fn make_room(&mut self, log: &mut SegmentedLog, _: u64) -> Option<&'static str> {
        let released = self.released.load(Ordering::Acquire);
        // What was settled while it was on its way to the disk is released before it is there.
        if released > self.done || (released >= log.next() && log.bytes() > 0) {
            self.done = released;
            let before = log.bytes();
            if let Err(error) = remove_released(log, released) {
                tracing::warn!(error = error.described(), "cannot remove what the journal has released");
            }
            self.room.give(before.saturating_sub(log.bytes()));
        }
        None
    }
}

/// Removes whole segments before `released`, or everything if nothing else is there.
fn remove_released(log: &mut SegmentedLog, released: u64) -> Result<(), LogError> {
    if released >= log.next() { log.clear() } else { log.release(released, |_, _| true) }
}

/// A batch on its way to the disk.
struct Append {
    first: u64,
    batch: Arc<RecordBatch>,
    guarantees: Arc<[Guarantee]>,
    bytes: u64,
    room: Arc<Room>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl LogBatch for Append {
    fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    fn append(&self, log: &mut SegmentedLog) -> Result<u64, LogError> {
        log.skip_to(self.first)?;
        let trace_parent = self.batch.trace_parent;
        let records = self.batch.records.iter().zip(self.guarantees.iter());
        log.append(records.map(move |(record, guarantee)| {
            let write = move |buffer: &mut Vec<u8>| write_record(&record, *guarantee, trace_parent.as_ref(), buffer);
            (record.timestamp, write)
        }))
    }

    fn synced(self) {
        let _ = self.done.send(Ok(()));
    }

    fn refused(self, refusal: Refusal) {
        self.room.give(self.bytes);
        let _ = self.done.send(Err(match refusal {
            Refusal::Full => JournalError::Full,
            Refusal::Failed(cause) => JournalError::Unavailable(cause.into()),
        }));
    }
}

impl DiskJournal {
    /// Takes the first free journal of a data directory. `bytes_max` bounds what is on disk, of adopted journals too.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(data_dir: &Path, bytes_max: u64) -> Result<Self, OpenError> {
        let root = data_dir.join("journal");
        let failed = |error| OpenError::Io(root.clone(), error);
        Directory::open(&root).map_err(failed)?;
        for slot in 0..SLOTS_MAX {
            let path = root.join(slot.to_string());
            let directory = Directory::open(&path).map_err(failed)?;
            let lock = match directory.lock() {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(failed(error)),
            };
            if has_entries(&path).map_err(failed)? {
                continue;
            }
            remove_empty_logs(&path).map_err(failed)?;
            let (of_partitions, of_refused) = (path.clone(), path);
            let open_storage = move |partition: Partition| open_directory(&of_partitions.join(partition.to_string()));
            let open_refused = move || open_directory(&of_refused.join(REFUSED));
            let mut journal = Self::over(open_storage, open_refused, bytes_max);
            (journal.slots, journal._lock) = (Some((root, slot)), Some(lock));
            return Ok(journal);
        }
        Err(OpenError::NoSlot(root))
    }

    /// A journal over any storages, without others to adopt.
    pub fn over(
        open_storage: impl Fn(Partition) -> io::Result<Arc<dyn Storage>> + Send + Sync + 'static,
        open_refused: impl Fn() -> io::Result<Arc<dyn Storage>> + Send + Sync + 'static,
        bytes_max: u64,
    ) -> Self {
        Self {
            slots: None,
            open_storage: Box::new(open_storage),
            partitions: Mutex::default(),
            refused: Mutex::default(),
            open_refused: Box::new(open_refused),
            room: Arc::new(Room { bytes: AtomicU64::new(0), bytes_max }),
            adopted: Mutex::default(),
            _lock: None,
        }
    }

    /// Number of the directory that this process has.
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        self.slots.as_ref().map(|(_, slot)| *slot)
    }

    fn partition(&self, partition: Partition) -> Option<Arc<JournalLog>> {
        lock(&self.partitions).get(&partition).cloned()
    }

    /// The log of a partition, which is made if it is new.
    fn partition_or_new(&self, partition: Partition) -> Result<Arc<JournalLog>, LogError> {
        let mut partitions = lock(&self.partitions);
        if let Some(log) = partitions.get(&partition) {
            return Ok(Arc::clone(log));
        }
        let storage = (self.open_storage)(partition)?;
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(self.room.bytes_max / 16).max(1);
        let (log, _) = SegmentedLog::open(storage, segment_bytes_max, 0)?;
        let released = Arc::<AtomicU64>::default();
        let release = Release { released: Arc::clone(&released), done: 0, room: Arc::clone(&self.room) };
        let oldest = Mutex::new(log.reader());
        let log = PartitionLog::start(partition, log, release)?;
        let log = Arc::new(JournalLog { log, released, oldest });
        partitions.insert(partition, Arc::clone(&log));
        Ok(log)
    }

    fn adopted(&self) -> Vec<Arc<Orphan>> {
        let mut adopted = lock(&self.adopted);
        adopted.retain(|orphan| orphan.strong_count() > 0);
        adopted.iter().filter_map(Weak::upgrade).collect()
    }

    /// The entries of a journal whose process is gone, if there are any.
    fn orphan(&self, root: &Path, slot: u32) -> Result<Option<Orphan>, LogError> {
        let path = root.join(slot.to_string());
        let Some(lock) = try_lock(&path)? else { return Ok(None) };
        if !has_entries(&path)? {
            return Ok(None);
        }
        let mut storages = Vec::new();
        for partition in partitions_in(&path)? {
            storages.push((partition, open_directory(&path.join(partition.to_string()))?));
        }
        let mut orphan = Orphan::over(storages, Arc::clone(&self.room))?;
        orphan._lock = Some(lock);
        Ok((!orphan.found.is_empty()).then_some(orphan))
    }
}

#[async_trait]
impl Backlog for DiskJournal {
    fn found(&self) -> Vec<BacklogPartition> {
        Vec::new()
    }

    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        match self.partition(partition) {
            Some(log) => read(log.log.reader(), partition, from, to).await,
            None => Ok(JournalChunk { batches: Vec::new(), next: to }),
        }
    }

    fn release(&self, partition: Partition, before: u64) {
        if let Some(log) = self.partition(partition) {
            log.released.fetch_max(before, Ordering::AcqRel);
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
        let log = self.partition_or_new(batch.partition).map_err(unavailable)?;
        let trace_parent = batch.trace_parent.as_ref().map_or(0, |trace_parent| trace_parent.as_bytes().len());
        let envelope = FRAME_HEADER_BYTES + ENVELOPE_BYTES + trace_parent;
        let bytes = (batch.records.bytes() + batch.records.len() * envelope) as u64;
        if !self.room.take(bytes) {
            return Err(JournalError::Full);
        }
        let (done, written) = oneshot::channel();
        let append = Append { first, batch, guarantees, bytes, room: Arc::clone(&self.room), done };
        if let Err(append) = log.log.push(append) {
            append.room.give(append.bytes);
            return Err(JournalError::Closed);
        }
        Ok(Box::pin(async move { written.await.unwrap_or(Err(JournalError::Closed)) }))
    }

    async fn keep_refused(&self, batch: Arc<RecordBatch>, refused: Vec<RefusedRecord>) -> Result<(), JournalError> {
        let mut log = lock(&self.refused);
        if log.is_none() {
            let storage = (self.open_refused)().map_err(|error| unavailable(error.into()))?;
            *log = Some(SegmentedLog::open(storage, SEGMENT_BYTES_MAX, 0).map_err(unavailable)?.0);
        }
        let Some(log) = log.as_mut() else { return Err(JournalError::Closed) };
        if log.bytes() + batch.records.bytes() as u64 > REFUSED_BYTES_MAX {
            return Err(JournalError::Full);
        }
        let entries = refused.iter().filter_map(|refused| {
            let record = batch.records.iter().nth(refused.position)?;
            let (partition, reason) = (batch.partition, &refused.reason);
            let write = move |buffer: &mut Vec<u8>| write_refused(&record, partition, reason, buffer);
            Some((record.timestamp, write))
        });
        // Rare, and small: not worth a thread of its own.
        log.append(entries.collect::<Vec<_>>()).and_then(|_| log.sync()).map_err(unavailable)
    }

    async fn adopt(&self) -> Result<Option<Arc<dyn Backlog>>, JournalError> {
        let Some((root, own)) = &self.slots else { return Ok(None) };
        let adopted: Vec<u32> = self.adopted().iter().filter_map(|orphan| orphan.slot).collect();
        let slots = numbers_in(root).map_err(|error| unavailable(error.into()))?;
        for slot in slots.into_iter().filter(|slot| slot != own && !adopted.contains(slot)) {
            match self.orphan(root, slot) {
                Ok(Some(mut orphan)) => {
                    orphan.slot = Some(slot);
                    let orphan = Arc::new(orphan);
                    lock(&self.adopted).push(Arc::downgrade(&orphan));
                    tracing::info!(journal = slot, "adopted the journal of a process that is gone");
                    return Ok(Some(orphan));
                }
                Ok(None) => {}
                // The others may be better; this one is tried again.
                Err(error) => {
                    tracing::error!(journal = slot, error = error.described(), "a journal cannot be read");
                }
            }
        }
        Ok(None)
    }

    fn fill(&self) -> Fill {
        Fill { used_bytes: self.room.bytes.load(Ordering::Acquire), bytes_max: self.room.bytes_max }
    }

    fn oldest(&self) -> Option<Timestamp> {
        let logs: Vec<_> = lock(&self.partitions).values().cloned().collect();
        let own = logs.iter().filter_map(|log| oldest(&mut lock(&log.oldest), log.released.load(Ordering::Acquire)));
        let orphans = self.adopted();
        own.chain(orphans.iter().filter_map(|orphan| orphan.oldest())).min()
    }

    fn trouble(&self) -> Option<String> {
        let partitions = lock(&self.partitions);
        partitions.iter().find_map(|(partition, log)| Some(format!("partition {partition}: {}", log.log.trouble()?)))
    }
}

/// The journal of a process that is gone. Its directory is locked until this is dropped.
struct Orphan {
    slot: Option<u32>,
    found: Vec<BacklogPartition>,
    logs: BTreeMap<Partition, Mutex<OrphanLog>>,
    room: Arc<Room>,
    _lock: Option<File>,
}

struct OrphanLog {
    log: SegmentedLog,
    reader: Arc<Mutex<LogReader>>,
    oldest: LogReader,
    released: u64,
}

impl Orphan {
    fn over(storages: Vec<(Partition, Arc<dyn Storage>)>, room: Arc<Room>) -> Result<Self, LogError> {
        let (mut found, mut logs) = (Vec::new(), BTreeMap::new());
        for (partition, storage) in storages {
            let (mut log, recovered) = SegmentedLog::open(storage, SEGMENT_BYTES_MAX, 0)?;
            if recovered.damaged_bytes > 0 {
                tracing::error!(partition, bytes = recovered.damaged_bytes, "the journal is damaged: events are lost");
            }
            match scan(&mut log.reader(), partition)? {
                Some(of_partition) => found.push(of_partition),
                None => log.clear()?,
            }
            room.bytes.fetch_add(log.bytes(), Ordering::AcqRel);
            let (reader, oldest) = (Arc::new(Mutex::new(log.reader())), log.reader());
            logs.insert(partition, Mutex::new(OrphanLog { log, reader, oldest, released: 0 }));
        }
        Ok(Self { slot: None, found, logs, room, _lock: None })
    }

    fn oldest(&self) -> Option<Timestamp> {
        let oldest = self.logs.values().filter_map(|log| {
            let OrphanLog { oldest: reader, released, .. } = &mut *lock(log);
            oldest(reader, *released)
        });
        oldest.min()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let left: u64 = self.logs.values().map(|log| lock(log).log.bytes()).sum();
        self.room.give(left);
    }
}

#[async_trait]
impl Backlog for Orphan {
    fn found(&self) -> Vec<BacklogPartition> {
        self.found.clone()
    }

    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        let Some(log) = self.logs.get(&partition) else {
            return Ok(JournalChunk { batches: Vec::new(), next: to });
        };
        let reader = Arc::clone(&lock(log).reader);
        read(reader, partition, from, to).await
    }

    fn release(&self, partition: Partition, before: u64) {
        let Some(log) = self.logs.get(&partition) else { return };
        let OrphanLog { log, released, .. } = &mut *lock(log);
        if before <= *released {
            return;
        }
        *released = before;
        let bytes = log.bytes();
        if let Err(error) = remove_released(log, before) {
            tracing::warn!(partition, error = error.described(), "cannot remove what the journal has released");
        }
        self.room.give(bytes.saturating_sub(log.bytes()));
    }
}

/// When the oldest entry from a number on was received.
fn oldest(reader: &mut LogReader, released: u64) -> Option<Timestamp> {
    let (first, _) = reader.range();
    let mut time = None;
    let read = reader.read(released.max(first), |entry| {
        time = Some(entry.time);
        false
    });
    read.ok().and(time)
}

/// What a log has.
fn scan(reader: &mut LogReader, partition: Partition) -> Result<Option<BacklogPartition>, LogError> {
    let mut found: Option<BacklogPartition> = None;
    let (first, _) = reader.range();
    reader.read(first, |entry| {
        let Some(journaled) = read_record(&entry) else { return true };
        let of = found.get_or_insert(BacklogPartition {
            partition,
            first: entry.sequence,
            next: entry.sequence,
            records: GuaranteeCounts::default(),
            oldest: Some(entry.time),
        });
        of.next = entry.sequence + 1;
        for (records, guarantee) in of.records.iter_mut().zip(Guarantee::ALL) {
            *records += u64::from(guarantee == journaled.guarantee);
        }
        true
    })?;
    Ok(found)
}

async fn read(
    reader: Arc<Mutex<LogReader>>,
    partition: Partition,
    from: u64,
    to: u64,
) -> Result<JournalChunk, JournalError> {
    let read = tokio::task::spawn_blocking(move || read_chunk(&mut lock(&reader), partition, from, to)).await;
    read.map_err(|error| JournalError::Unavailable(error.into()))?.map_err(unavailable)
}

fn read_chunk(reader: &mut LogReader, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, LogError> {
    let mut chunk = JournalChunk { batches: Vec::new(), next: to };
    let (first, end) = reader.range();
    let from = from.max(first);
    if from >= to.min(end) {
        return Ok(chunk);
    }
    let (mut bytes, mut records) = (0, 0);
    let mut full = None;
    let read = reader.read(from, |entry| {
        if entry.sequence >= to {
            return false;
        }
        if let Some(journaled) = read_record(&entry) {
            bytes += journaled.record.key.len() + journaled.record.value.len();
            records += 1;
            push(&mut chunk.batches, partition, entry.sequence, &journaled);
        } else {
            tracing::error!(
                partition,
                sequence = entry.sequence,
                "an entry of the journal is no record: it is skipped"
            );
        }
        // What is shown has been taken, so there must be room for the largest record before the next one is.
        let more = records < CHUNK_RECORDS_MAX && bytes <= CHUNK_BYTES_MAX - RECORD_BYTES_MAX;
        if !more {
            full = Some(entry.sequence + 1);
        }
        more
    })?;
    if read.damaged_bytes > 0 {
        tracing::error!(partition, from, bytes = read.damaged_bytes, "skipped damage in the journal");
    }
    chunk.next = full.unwrap_or(to);
    Ok(chunk)
}

/// Adds an entry to the last batch, or to a new one.
fn push(batches: &mut Vec<JournaledBatch>, partition: Partition, sequence: u64, journaled: &Journaled<'_>) {
    let follows = |last: &JournaledBatch| {
        last.first + last.guarantees.len() as u64 == sequence && last.batch.trace_parent == journaled.trace_parent
    };
    if !batches.last().is_some_and(follows) {
        let batch = RecordBatch {
            partition,
            guarantee: Guarantee::AtMostOnce,
            records: Records::default(),
            trace_parent: journaled.trace_parent,
        };
        batches.push(JournaledBatch { first: sequence, batch, guarantees: Vec::new() });
    }
    if let Some(last) = batches.last_mut() {
        last.batch.records.push_found(journaled.record);
        last.batch.guarantee = last.batch.guarantee.max(journaled.guarantee);
        last.guarantees.push(journaled.guarantee);
    }
}

fn unavailable(error: LogError) -> JournalError {
    match &error {
        LogError::Io(cause) if cause.kind() == io::ErrorKind::StorageFull => JournalError::Full,
        LogError::Io(_) | LogError::TooLarge | LogError::OutOfRange { .. } => {
            JournalError::Unavailable(error.described().into())
        }
    }
}

fn open_directory(path: &Path) -> io::Result<Arc<dyn Storage>> {
    Ok(Arc::new(Directory::open(path)?))
}

/// Locks the journal in a directory, unless somebody has it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    match Directory::open(path)?.lock() {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Numbers that directories in a directory have for names, ascending.
fn numbers_in(path: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(path)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn partitions_in(path: &Path) -> io::Result<Vec<Partition>> {
    numbers_in(path)
}

/// Whether a journal has anything but refused records.
fn has_entries(path: &Path) -> io::Result<bool> {
    for partition in partitions_in(path)? {
        for entry in std::fs::read_dir(path.join(partition.to_string()))? {
            if entry?.metadata()?.len() > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Removes what a journal without entries has left, so that numbers begin anew.
fn remove_empty_logs(path: &Path) -> io::Result<()> {
    partitions_in(path)?.into_iter().try_for_each(|partition| std::fs::remove_dir_all(path.join(partition.to_string())))
}

/// Flags and length of the key.
const ENVELOPE_BYTES: usize = 1 + 2;
const CLIENT_ID: u8 = 1;
const TRACE_PARENT: u8 = 1 << 1;
const GUARANTEE_SHIFT: u8 = 2;

/// A record as it is in the journal.
struct Journaled<'a> {
    record: Record<'a>,
    guarantee: Guarantee,
    trace_parent: Option<TraceParent>,
}

/// A record in the journal: flags, length of the key, key, trace parent if there is one, value.
fn write_record(record: &Record<'_>, guarantee: Guarantee, trace_parent: Option<&TraceParent>, buffer: &mut Vec<u8>) {
    let client_id = if record.client_id { CLIENT_ID } else { 0 };
    let traced = if trace_parent.is_some() { TRACE_PARENT } else { 0 };
    buffer.push(client_id | traced | (guarantee as u8) << GUARANTEE_SHIFT);
    // A key is a source, of at most 255 bytes.
    buffer.extend_from_slice(&u16::try_from(record.key.len()).unwrap_or(u16::MAX).to_le_bytes());
    buffer.extend_from_slice(record.key);
    buffer.extend_from_slice(trace_parent.map_or(&[], |trace_parent| trace_parent.as_bytes()));
    buffer.extend_from_slice(record.value);
}

fn read_record<'a>(entry: &Entry<'a>) -> Option<Journaled<'a>> {
    let (flags, rest) = entry.payload.split_first()?;
    let (key_len, rest) = rest.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_len)))?;
    let guarantee = *Guarantee::ALL.get(usize::from(flags >> GUARANTEE_SHIFT))?;
    let (trace_parent, value) = if flags & TRACE_PARENT == 0 {
        (None, rest)
    } else {
        let (trace_parent, value) = rest.split_at_checked(TraceParent::BYTES)?;
        (Some(TraceParent::parse(trace_parent)?), value)
    };
    let record = Record { key, value, timestamp: entry.time, client_id: flags & CLIENT_ID != 0 };
    Some(Journaled { record, guarantee, trace_parent })
}

/// A refused record: its partition, length of the reason, reason, and the record.
fn write_refused(record: &Record<'_>, partition: Partition, reason: &str, buffer: &mut Vec<u8>) {
    let reason = reason.get(..reason.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    buffer.extend_from_slice(&partition.to_le_bytes());
    buffer.extend_from_slice(&u16::try_from(reason.len()).unwrap_or(u16::MAX).to_le_bytes());
    buffer.extend_from_slice(reason.as_bytes());
    write_record(record, Guarantee::AtLeastOnce, None, buffer);
}
