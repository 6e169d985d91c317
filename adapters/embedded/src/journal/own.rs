//! A partition of this process's journal, and the records that the bus refuses permanently.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use domain::delivery::Guarantee;
use domain::partition::Partition;
use domain::ports::{BoxFuture, JournalChunk, JournalError, RefusedRecord};
use domain::record::RecordBatch;
use domain::timestamp::Timestamp;
use storage::Slot;
use tokio::sync::oneshot;

use super::ages::Ages;
use super::reading::Reading;
use super::released::Released;
use super::room::{Lease, Room};
use crate::frame::{Journaled, Refused};
use crate::lock::lock;
use crate::partition_log::{LogBatch, PartitionLog, Refusal, Upkeep, WAIT_BYTES_MAX};
use crate::segmented_log::{FRAME_HEADER_BYTES, LogError, SegmentedLog};

/// The log of a partition.
pub(super) struct OwnPartition {
    pub log: PartitionLog<Append>,
    reading: Reading,
    state: Arc<State>,
}

struct State {
    numbers: Mutex<Numbers>,
    released: Released,
    ages: Mutex<Ages>,
    /// The thread was woken for released entries and has not looked yet.
    woken: AtomicBool,
}

#[derive(Default)]
struct Numbers {
    /// Next number after the last one ever queued.
    next: u64,
    /// First numbers of the batches that are neither readable nor refused yet.
    queued: BTreeSet<u64>,
    /// Why a batch was not written. Set until the caller knows; nothing after that batch may be written meanwhile.
    failed: Option<Refusal>,
}

impl OwnPartition {
    /// Begins the log of a partition that has no files in the slot.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn begin(
        slot: &Arc<dyn Slot>,
        partition: Partition,
        segment_bytes_max: u64,
        room: &Arc<Room>,
    ) -> io::Result<Self> {
        let name = partition.to_string();
        let log = SegmentedLog::begin(slot.storage(&name), segment_bytes_max);
        let path: Arc<Path> = slot.path(&name).into();
        let state = Arc::new(State {
            numbers: Mutex::default(),
            released: Released::new(&log, Arc::clone(&path)),
            ages: Mutex::default(),
            woken: AtomicBool::new(false),
        });
        let upkeep = Release { state: Arc::clone(&state), room: Arc::clone(room), _slot: Arc::clone(slot) };
        let directory = path.display().to_string();
        let log = PartitionLog::start(format!("journal-{partition}"), directory, log, upkeep)?;
        let reading = Reading::new(partition, log.reader(), path);
        Ok(Self { log, reading, state })
    }

    /// See [`domain::ports::Journal::append`].
    pub fn append(
        &self,
        first: u64,
        batch: Arc<RecordBatch>,
        guarantees: Arc<[Guarantee]>,
        room: &Arc<Room>,
    ) -> Result<BoxFuture<Result<(), JournalError>>, JournalError> {
        let envelope = FRAME_HEADER_BYTES + Journaled::envelope_bytes(batch.trace_parent.as_ref());
        let bytes = batch.records.bytes() + batch.records.len() * envelope;
        let room = room.lease(bytes as u64).ok_or(JournalError::Full)?;
        let records = guarantees.len() as u64;
        let (done, outcome) = oneshot::channel();
        let append = Append { first, batch, guarantees, bytes, room, state: Arc::clone(&self.state), done };

        // Held until the batch is queued, so that the order of numbers is the order of calls.
        let mut numbers = lock(&self.state.numbers);
        if let Some(refusal) = &numbers.failed {
            return Err(refusal.clone().into());
        }
        let next = first.checked_add(records).filter(|_| first >= numbers.next);
        let next = next.ok_or_else(|| JournalError::Unavailable(format!("number {first} was used before").into()))?;
        self.log.push(append).map_err(|_| JournalError::Closed)?;
        numbers.next = next;
        numbers.queued.insert(first);
        drop(numbers);
        Ok(Box::pin(async move { outcome.await.unwrap_or(Err(JournalError::Closed)) }))
    }

    /// See [`domain::ports::Journal::resume`].
    pub fn resume(&self) {
        lock(&self.state.numbers).failed = None;
    }

    /// See [`domain::ports::Backlog::read`].
    pub async fn read(&self, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        // Everything before the first batch queued now is readable, or never will be.
        let queued_from = lock(&self.state.numbers).queued.first().copied().unwrap_or(u64::MAX);
        if queued_from <= from {
            return Ok(JournalChunk { batches: Vec::new(), next: from.min(to) });
        }
        self.reading.chunk(from, to.min(queued_from)).await
    }

    /// See [`domain::ports::Backlog::release`].
    pub fn release(&self, before: u64) {
        if self.state.released.release(before) && !self.state.woken.swap(true, Ordering::SeqCst) {
            self.log.wake();
        }
    }

    pub fn oldest(&self) -> Option<Timestamp> {
        lock(&self.state.ages).oldest(self.state.released.before())
    }
}

/// A batch on its way to the disk.
pub(super) struct Append {
    first: u64,
    batch: Arc<RecordBatch>,
    guarantees: Arc<[Guarantee]>,
    /// Size on disk.
    bytes: usize,
    room: Lease,
    state: Arc<State>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl Append {
    fn entries(&self) -> impl Iterator<Item = Journaled<'_>> {
        let trace_parent = self.batch.trace_parent;
        let records = self.batch.records.iter().zip(self.guarantees.iter());
        records.map(move |(record, guarantee)| Journaled { record, guarantee: *guarantee, trace_parent })
    }
}

impl LogBatch for Append {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn precluded(&self) -> Option<Refusal> {
        lock(&self.state.numbers).failed.clone()
    }

    fn append(&self, log: &mut SegmentedLog) -> Result<u64, LogError> {
        log.skip_to(self.first)?;
        log.append(
            self.entries()
                .map(|journaled| (journaled.record.timestamp, move |buffer: &mut Vec<u8>| journaled.write(buffer))),
        )
    }

    fn synced(self) {
        self.room.keep();
        if let Some(oldest) = self.batch.records.iter().map(|record| record.timestamp).min() {
            lock(&self.state.ages).add(self.first, self.first + self.guarantees.len() as u64, oldest);
        }
        lock(&self.state.numbers).queued.remove(&self.first);
        let _ = self.done.send(Ok(()));
    }

    fn refused(self, refusal: Refusal) {
        drop(self.room);
        let mut numbers = lock(&self.state.numbers);
        numbers.queued.remove(&self.first);
        // None of them is on disk, so the numbers from here on can be used again.
        numbers.next = numbers.next.min(self.first);
        numbers.failed.get_or_insert_with(|| refusal.clone());
        drop(numbers);
        let _ = self.done.send(Err(refusal.into()));
    }
}

impl From<Refusal> for JournalError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Full,
            Refusal::Failed(cause) => Self::Unavailable(cause.into()),
        }
    }
}

/// Removes released entries.
struct Release {
    state: Arc<State>,
    room: Arc<Room>,
    /// Keeps the slot locked while the thread may write.
    _slot: Arc<dyn Slot>,
}

impl Upkeep for Release {
    fn survey(&mut self, _: &SegmentedLog) {
        self.room.survey();
    }

    fn make_room(&mut self, log: &mut SegmentedLog, _: u64) -> Option<String> {
        // Room was reserved when the batch was queued.
        self.state.released.remove(log, &self.room, false);
        None
    }

    fn wait_bytes_max(&self) -> u64 {
        WAIT_BYTES_MAX
    }

    fn caught_up(&mut self, log: &mut SegmentedLog) {
        self.state.woken.store(false, Ordering::SeqCst);
        self.state.released.remove(log, &self.room, true);
    }
}

/// Records that the bus refuses permanently, on their way to the disk.
pub(super) struct KeepRefused {
    batch: Arc<RecordBatch>,
    refused: Vec<RefusedRecord>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl KeepRefused {
    /// Returns the batch to write, and the receiver of its outcome.
    pub fn new(
        batch: Arc<RecordBatch>,
        refused: Vec<RefusedRecord>,
    ) -> (Self, oneshot::Receiver<Result<(), JournalError>>) {
        let (done, outcome) = oneshot::channel();
        (Self { batch, refused, done }, outcome)
    }

    fn entries(&self) -> impl Iterator<Item = Refused<'_>> {
        let (partition, guarantee, trace_parent) =
            (self.batch.partition, self.batch.guarantee, self.batch.trace_parent);
        let mut records: Vec<_> = self.batch.records.iter().map(Some).collect();
        self.refused.iter().filter_map(move |refused| {
            let record = records.get_mut(refused.position)?.take()?;
            let journaled = Journaled { record, guarantee, trace_parent };
            Some(Refused { reason: &refused.reason, partition, journaled })
        })
    }
}

impl LogBatch for KeepRefused {
    fn bytes(&self) -> usize {
        self.entries().map(|refused| FRAME_HEADER_BYTES + refused.payload_bytes()).sum()
    }

    fn append(&self, log: &mut SegmentedLog) -> Result<u64, LogError> {
        log.append(
            self.entries()
                .map(|refused| (refused.journaled.record.timestamp, move |buffer: &mut Vec<u8>| refused.write(buffer))),
        )
    }

    fn synced(self) {
        let _ = self.done.send(Ok(()));
    }

    fn refused(self, refusal: Refusal) {
        let _ = self.done.send(Err(refusal.into()));
    }
}

/// Keeps refused records within their limit; only operators remove them.
pub(super) struct KeepAll {
    pub bytes_max: u64,
    pub _slot: Arc<dyn Slot>,
}

impl Upkeep for KeepAll {
    fn make_room(&mut self, log: &mut SegmentedLog, bytes: u64) -> Option<String> {
        // Operators remove files while the process runs.
        if let Err(error) = log.forget_removed() {
            return Some(error.described());
        }
        let full = log.bytes().saturating_add(bytes) > self.bytes_max;
        full.then(|| "the log of refused records is full: export them and remove its files".to_owned())
    }

    fn wait_bytes_max(&self) -> u64 {
        WAIT_BYTES_MAX.min(self.bytes_max / 4)
    }
}
