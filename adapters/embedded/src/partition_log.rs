//! A segmented log and the single thread that writes it.
//!
//! Constraints and invariants:
//! * Batches are written in the order in which they were queued. All batches that arrive during one fdatasync share the
//!   next (group commit).
//! * A batch that nobody waits for has no sync of its own: it shares that of the next batch, if one comes within
//!   [`UNHURRIED`].
//! * A batch that the operating system has accepted is never given up: if the disk fails, it is kept in memory and
//!   written again until the disk recovers. A batch that was not accepted is refused once recovery can no longer find any
//!   part of it.
//! * Readers see a batch only once it is synced.
//! * A fault of the disk is reported, and logged once when it begins and once when it ends. It ends when there is room for the
//!   largest refused batch, or for [`WAIT_BYTES_MAX`], and the disk accepts writes; a smaller batch that is written
//!   meanwhile does not end it. During a fault the thread checks once a second.
//! * The thread ends when the log is closed and all queued batches are written, or at the first failed sync if no caller
//!   is left to be told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use domain::backoff::Backoff;
use tokio::sync::watch;

use crate::lock::lock;
use crate::segmented_log::{LogError, LogReader, SegmentedLog};

/// Size at which a segment is full.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long the thread waits for a batch before it maintains its log.
const IDLE: Duration = Duration::from_secs(1);
/// How long batches that nobody waits for are written without a sync.
const UNHURRIED: Duration = Duration::from_millis(20);
/// The most room that a full log waits for, in bytes: a record of the maximum size. A larger batch is refused without
/// reporting a fault, as long as there is this much room.
pub(crate) const WAIT_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum bytes of records that share one fdatasync.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// First wait before another try to sync, or to remove the remains of a failed write.
const RETRY_FIRST_WAIT: Duration = Duration::from_millis(100);
const RETRY_LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why a batch was not accepted.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// No room.
    Full,
    /// An I/O error.
    Failed(String),
}

/// The log accepts no more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// A unit that is written as a whole, and is told the outcome.
pub(crate) trait LogBatch: Send + 'static {
    /// Approximate size on disk, in bytes.
    fn bytes(&self) -> usize;
    /// Whether somebody waits until it survives a power cut.
    fn is_awaited(&self) -> bool {
        true
    }
    /// Why it must not be written, however much room there is.
    fn precluded(&self) -> Option<Refusal> {
        None
    }
    /// Hands it to the operating system.
    fn append(&self, log: &mut SegmentedLog) -> Result<u64, LogError>;
    /// The operating system has accepted it.
    fn written(&mut self) {}
    /// It survives a power cut.
    fn synced(self);
    /// Nothing of it was accepted.
    fn refused(self, refusal: Refusal);
}

/// Manages the room of a log, on the thread that writes it.
pub(crate) trait Upkeep: Send + 'static {
    /// Updates the available room. Called before each group of batches, and once a second.
    fn survey(&mut self, _log: &SegmentedLog) {}
    /// Removes entries that are no longer needed. Returns the reason if there is still no room for `bytes` more.
    fn make_room(&mut self, log: &mut SegmentedLog, bytes: u64) -> Option<String>;
    /// The most room, in bytes, that is worth waiting for after a batch found none.
    fn wait_bytes_max(&self) -> u64;
    /// The queue is empty, and every accepted batch is synced.
    fn caught_up(&mut self, _log: &mut SegmentedLog) {}
}

/// A task for the thread.
enum Task<B> {
    Write(B),
    /// Check whether entries can be removed.
    CatchUp,
}

/// The log of one partition.
pub(crate) struct PartitionLog<B> {
    state: Arc<State>,
    queue: Mutex<Option<mpsc::Sender<Task<B>>>>,
    reader: Arc<Mutex<LogReader>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    /// Where the log is.
    directory: String,
    /// The current fault of the disk.
    fault: Mutex<Option<String>>,
    /// Everything before this sequence is readable.
    readable: watch::Sender<u64>,
    /// No caller is left to be told of any result.
    abandoned: AtomicBool,
}

impl<B: LogBatch> PartitionLog<B> {
    /// Starts the thread of this name. `directory` identifies the log in messages.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(name: String, directory: String, log: SegmentedLog, upkeep: impl Upkeep) -> io::Result<Self> {
        let (queue, tasks) = mpsc::channel();
        let state = Arc::new(State {
            directory,
            fault: Mutex::default(),
            readable: watch::Sender::new(log.next()),
            abandoned: AtomicBool::new(false),
        });
        let reader = Arc::new(Mutex::new(log.reader()));
        let writer = Writer { log, tasks, upkeep, needed_bytes: 0, state: Arc::clone(&state) };
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.run())?;
        Ok(Self { state, queue: Mutex::new(Some(queue)), reader, writer: Mutex::new(Some(thread)) })
    }

    /// Queues a batch, or drops it if the log is closed.
    pub fn push(&self, batch: B) -> Result<(), Closed> {
        self.send(Task::Write(batch))
    }

    /// Has the thread check soon whether entries can be removed.
    pub fn wake(&self) {
        // A closed log stays as it is.
        let _ = self.send(Task::CatchUp);
    }

    fn send(&self, task: Task<B>) -> Result<(), Closed> {
        lock(&self.queue).as_ref().ok_or(Closed)?.send(task).map_err(|_| Closed)
    }

    /// The current fault of the disk or the thread.
    pub fn fault(&self) -> Option<String> {
        let ended = || lock(&self.writer).as_ref().is_some_and(JoinHandle::is_finished) && lock(&self.queue).is_some();
        lock(&self.state.fault)
            .clone()
            .or_else(|| ended().then(|| "the writer thread has ended; restart the process".to_owned()))
    }

    /// Everything before this sequence is readable.
    pub fn readable(&self) -> watch::Receiver<u64> {
        self.state.readable.subscribe()
    }

    /// A reader shared by all callers.
    pub fn reader(&self) -> Arc<Mutex<LogReader>> {
        Arc::clone(&self.reader)
    }

    /// Stops accepting batches; the thread ends once it has written the queued ones.
    pub fn close(&self) {
        lock(&self.queue).take();
    }

    /// Gives up whatever a failing disk does not accept, and ends the thread.
    pub fn abandon(&self) {
        self.state.abandoned.store(true, Ordering::Release);
        self.close();
        if let Some(writer) = lock(&self.writer).as_ref() {
            writer.thread().unpark();
        }
    }

    /// The thread, for the caller that joins it.
    pub fn take_writer(&self) -> Option<JoinHandle<()>> {
        lock(&self.writer).take()
    }
}

impl<B> Drop for PartitionLog<B> {
    /// Ends the thread: after it has written the queued batches or, on a failing disk, at once.
    fn drop(&mut self) {
        self.state.abandoned.store(true, Ordering::Release);
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner) {
            writer.thread().unpark();
        }
    }
}

/// The thread that owns the log.
struct Writer<B, U> {
    log: SegmentedLog,
    tasks: mpsc::Receiver<Task<B>>,
    upkeep: U,
    /// Size of the largest batch refused since the fault began.
    needed_bytes: u64,
    state: Arc<State>,
}

impl<B: LogBatch, U: Upkeep> Writer<B, U> {
    /// Writes until the log is closed and the queue is empty.
    fn run(mut self) {
        loop {
            let mut waiting = match self.tasks.recv_timeout(IDLE) {
                Ok(first) => Some(first),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look_after();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while waiting.is_some() {
                let Some(group) = self.write_group(waiting) else { return };
                group.into_iter().for_each(LogBatch::synced);
                waiting = self.tasks.try_recv().ok();
            }
            self.upkeep.caught_up(&mut self.log);
        }
    }

    /// Writes and syncs queued batches, up to a limit. `None` if they were given up.
    fn write_group(&mut self, mut waiting: Option<Task<B>>) -> Option<Vec<B>> {
        let mut group_bytes = 0;
        let mut group = Vec::new();
        let (began, mut is_awaited) = (Instant::now(), false);
        self.upkeep.survey(&self.log);
        while let Some(task) = waiting.take() {
            if let Task::Write(batch) = task {
                group_bytes += batch.bytes();
                is_awaited |= batch.is_awaited();
                group.extend(self.write(batch));
            }
            if group_bytes < GROUP_BYTES_MAX {
                waiting = self.tasks.try_recv().ok();
                if waiting.is_none() && !is_awaited && !group.is_empty() {
                    waiting = self.tasks.recv_timeout(UNHURRIED.saturating_sub(began.elapsed())).ok();
                }
            }
        }
        (group.is_empty() || self.sync_until_done()).then_some(group)
    }

    /// Work without a batch: removes entries that are no longer needed, and checks whether a fault has ended, because a
    /// log with a fault gets no batches.
    fn look_after(&mut self) {
        self.upkeep.survey(&self.log);
        self.upkeep.make_room(&mut self.log, 0);
        self.upkeep.caught_up(&mut self.log);
        self.end_fault();
    }

    /// Reports that the fault is over, if it is.
    fn end_fault(&mut self) {
        if lock(&self.state.fault).is_none() {
            return;
        }
        let needed_bytes = self.needed_bytes.min(self.upkeep.wait_bytes_max());
        let has_room = self.upkeep.make_room(&mut self.log, needed_bytes).is_none();
        if has_room && self.log.probe(needed_bytes.clamp(1, WAIT_BYTES_MAX)).is_ok() {
            self.needed_bytes = 0;
            self.report_fault(None);
        }
    }

    /// Hands a batch to the operating system; `None` if it was refused.
    fn write(&mut self, mut batch: B) -> Option<B> {
        let bytes = batch.bytes() as u64;
        if let Some(refusal) = batch.precluded() {
            batch.refused(refusal);
            return None;
        }
        if self.upkeep.make_room(&mut self.log, bytes).is_some() {
            let waited_for = bytes.min(self.upkeep.wait_bytes_max());
            if let Some(full) = self.upkeep.make_room(&mut self.log, waited_for) {
                self.needed_bytes = self.needed_bytes.max(waited_for);
                self.report_fault(Some(full));
            }
            batch.refused(Refusal::Full);
            return None;
        }
        match batch.append(&mut self.log) {
            Ok(_) => {
                batch.written();
                Some(batch)
            }
            Err(error) => {
                let described = error.described();
                self.needed_bytes = self.needed_bytes.max(bytes);
                self.report_fault(Some(described.clone()));
                let full = matches!(&error, LogError::Io(io) if io.kind() == io::ErrorKind::StorageFull);
                if self.retry_until_done(SegmentedLog::void_remains) {
                    batch.refused(if full { Refusal::Full } else { Refusal::Failed(described) });
                }
                None
            }
        }
    }

    /// Batches that the operating system has accepted may have been promised, so this gives up only if no caller is left
    /// to be told. Returns whether everything is synced.
    fn sync_until_done(&mut self) -> bool {
        if !self.retry_until_done(SegmentedLog::sync) {
            return false;
        }
        self.end_fault();
        self.state.readable.send_replace(self.log.next());
        true
    }

    /// Retries until it succeeds. Returns false if no caller is left to be told the result.
    fn retry_until_done(&mut self, attempt: fn(&mut SegmentedLog) -> Result<(), LogError>) -> bool {
        let mut waits = Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT);
        while let Err(error) = attempt(&mut self.log) {
            self.report_fault(Some(error.described()));
            if self.state.abandoned.load(Ordering::Acquire) {
                return false;
            }
            std::thread::park_timeout(waits.next().unwrap_or_default());
            // Removable entries may be what keeps the disk from accepting more.
            self.upkeep.survey(&self.log);
            self.upkeep.make_room(&mut self.log, 0);
        }
        true
    }

    /// Publishes the fault to callers, and logs when it begins or ends.
    fn report_fault(&self, fault: Option<String>) {
        let log = &self.state.directory;
        let mut current = lock(&self.state.fault);
        match (current.as_ref(), &fault) {
            (None, Some(fault)) => {
                tracing::error!(log, fault, "a log on disk does not accept records, retrying until it does");
            }
            (Some(_), None) => tracing::info!(log, "a log on disk accepts records again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *current = fault;
    }
}
