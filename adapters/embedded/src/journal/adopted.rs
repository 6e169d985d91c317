//! The journal of a process that no longer runs.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use domain::partition::Partition;
use domain::ports::{Backlog, BacklogPartition, JournalChunk, JournalError};
use domain::timestamp::Timestamp;
use storage::Slot;

use super::ages::Ages;
use super::reading::Reading;
use super::released::Released;
use super::room::Room;
use super::slots::{partitions_in, remove_remains, tell_of_recovery};
use crate::lock::lock;
use crate::partition_log::SEGMENT_BYTES_MAX;
use crate::segmented_log::{LogError, SegmentedLog, has_entries};

/// Wait before the remover retries a failed removal.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Its entries. This process holds the slot until this is dropped and its remover has finished with it.
pub(super) struct AdoptedBacklog {
    partitions: Vec<Arc<AdoptedPartition>>,
    /// Partitions of which nothing could be read. Their files are removed.
    damaged: Vec<BacklogPartition>,
    remover: Arc<Remover>,
}

pub(super) struct AdoptedPartition {
    found: BacklogPartition,
    log: Mutex<SegmentedLog>,
    reading: Reading,
    released: Released,
    ages: Mutex<Ages>,
    room: Arc<Room>,
    /// The remover has been told to look after it.
    remover_told: AtomicBool,
    _slot: Arc<dyn Slot>,
}

impl AdoptedBacklog {
    /// A backlog without entries that reports damage.
    pub fn of_damage(damaged: Vec<BacklogPartition>, remover: &Arc<Remover>) -> Self {
        Self { partitions: Vec::new(), damaged, remover: Arc::clone(remover) }
    }

    /// The entries of a slot that this process has taken; `None` if it has none. Adds to `damaged` what was removed
    /// because nothing of it could be read.
    ///
    /// # Errors
    /// I/O errors.
    pub fn open(
        slot: &Arc<dyn Slot>,
        room: &Arc<Room>,
        remover: &Arc<Remover>,
        damaged: &Mutex<Vec<BacklogPartition>>,
    ) -> Result<Option<Self>, LogError> {
        let (mut partitions, mut strangers) = (Vec::new(), false);
        for partition in partitions_in(slot.as_ref())? {
            let name = partition.to_string();
            let (storage, path): (_, Arc<Path>) = (slot.storage(&name), slot.path(&name).into());
            if !has_entries(storage.as_ref())? {
                let remains = remove_remains(partition, storage, &path)?;
                lock(damaged).extend(remains);
                continue;
            }
            let (log, recovered) = SegmentedLog::open(storage, SEGMENT_BYTES_MAX, 0)?;
            tell_of_recovery(&path, &recovered);
            let reading = Reading::new(partition, Arc::new(Mutex::new(log.reader())), Arc::clone(&path));
            let Some((found, ages)) = reading.survey()? else {
                strangers = true;
                continue;
            };
            room.add(log.bytes());
            partitions.push(Arc::new(AdoptedPartition {
                found,
                released: Released::new(&log, path),
                log: Mutex::new(log),
                reading,
                ages: Mutex::new(ages),
                room: Arc::clone(room),
                remover_told: AtomicBool::new(false),
                _slot: Arc::clone(slot),
            }));
        }
        if strangers && partitions.is_empty() {
            // Possibly written by another version, so it must not be removed.
            return Err(
                io::Error::new(io::ErrorKind::InvalidData, "no entry is a record that this version knows").into()
            );
        }
        let damaged = Vec::new();
        Ok((!partitions.is_empty()).then(|| Self { partitions, damaged, remover: Arc::clone(remover) }))
    }

    pub fn partitions(&self) -> &[Arc<AdoptedPartition>] {
        &self.partitions
    }

    fn partition(&self, partition: Partition) -> Option<&Arc<AdoptedPartition>> {
        self.partitions.iter().find(|of| of.found.partition == partition)
    }
}

#[async_trait]
impl Backlog for AdoptedBacklog {
    fn found(&self) -> Vec<BacklogPartition> {
        self.partitions.iter().map(|partition| partition.found).chain(self.damaged.iter().copied()).collect()
    }

    async fn read(&self, partition: Partition, from: u64, to: u64) -> Result<JournalChunk, JournalError> {
        match self.partition(partition) {
            Some(partition) => partition.reading.chunk(from, to).await,
            None => Ok(JournalChunk { batches: Vec::new(), next: to }),
        }
    }

    fn release(&self, partition: Partition, before: u64) {
        let Some(partition) = self.partition(partition) else { return };
        // The log may have begun another file after the last entry.
        let before = if before < partition.found.next { before } else { u64::MAX };
        if partition.released.release(before) && !partition.remover_told.swap(true, Ordering::SeqCst) {
            self.remover.tell(partition);
        }
    }
}

impl AdoptedPartition {
    pub fn oldest(&self) -> Option<Timestamp> {
        lock(&self.ages).oldest(self.released.before())
    }

    /// Removes released entries. Returns whether that worked.
    fn remove(&self) -> bool {
        self.remover_told.store(false, Ordering::SeqCst);
        self.released.remove(&mut lock(&self.log), &self.room, true)
    }
}

impl Drop for AdoptedPartition {
    fn drop(&mut self) {
        let left = lock(&self.log).bytes();
        self.room.give_back(left);
    }
}

/// The thread that removes released entries of adopted journals.
pub(super) struct Remover {
    queue: Mutex<Option<mpsc::Sender<Arc<AdoptedPartition>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Remover {
    /// # Errors
    /// The thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (queue, partitions) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal-remover".to_owned());
        let thread = thread.spawn(move || remove_released(&partitions))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    fn tell(&self, partition: &Arc<AdoptedPartition>) {
        if let Some(queue) = lock(&self.queue).as_ref() {
            let _ = queue.send(Arc::clone(partition));
        }
    }

    /// The thread ends once it has tried every removal it was told of. Entries released from now on stay on disk.
    pub fn close(&self) {
        lock(&self.queue).take();
    }

    /// The thread, for the caller that joins it.
    pub fn take_thread(&self) -> Option<JoinHandle<()>> {
        lock(&self.thread).take()
    }
}

fn remove_released(partitions: &mpsc::Receiver<Arc<AdoptedPartition>>) {
    // This process keeps the slots whose removal failed: their released entries must not be adopted again.
    let mut failed: Vec<Arc<AdoptedPartition>> = Vec::new();
    loop {
        let told = if failed.is_empty() {
            partitions.recv().map_err(mpsc::RecvTimeoutError::from)
        } else {
            partitions.recv_timeout(RETRY_WAIT)
        };
        match told {
            Ok(partition) => {
                let known = failed.iter().any(|other| Arc::ptr_eq(other, &partition));
                if !partition.remove() && !known {
                    failed.push(partition);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => failed.retain(|partition| !partition.remove()),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}
