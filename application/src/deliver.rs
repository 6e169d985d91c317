//! The delivery queue: takes batches to the bus, through the journal while the bus is unavailable.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * Each partition has one queue ([`domain::delivery_queue`]). Its lock protects what is sent to the bus, what is queued for the
//!   journal, and their order. The lock is never queued across an await.
//! * Once a batch is in its queue a task completes it; the caller that waits for its promise may go away.
//! * A batch that the bus does not take, and every batch while the circuit breaker is open or older batches wait on
//!   disk, goes behind those into the journal. So do, oldest first, batches with a waiting caller that the bus has not
//!   reported within `ack_wait`, and all batches once the breaker opens.
//! * Records that the bus has taken are sent again only by the bus client itself or, after the process has died, from
//!   the journal.
//! * Only [`Delivery::replay`] sends a backlog to the bus: the partitions in turn, no more at a time than the bus
//!   reports early ([`domain::replay_window`]), and only while less than half of the memory is in use, so that
//!   partitions without a backlog find room.
//! * Every accepted event is in exactly one term of the accounts, whatever happens.
//! * Records that the bus permanently rejects after they were accepted stay in their queue, in memory, until the journal
//!   has kept them. While many of them wait, nothing more is sent to the bus ([`Unkept`]), so they use no more than a
//!   fraction of the memory in addition to the records in flight.
//! * Without a journal (the embedded bus is its own) records that the bus does not take are refused.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::admission::Usage;
use domain::backoff::Backoff;
use domain::breaker::{BreakerState, CircuitBreaker, Permit};
use domain::delivery::{Deliveries, DropReason, Durability, Guarantee, GuaranteeCounts, Place, count_guarantees};
use domain::delivery_queue::{DeliveryQueue, Journaled, Next};
use domain::partition::Partition;
use domain::ports::{
    Backlog, BoxFuture, BusState, Journal, JournalError, PublishError, Receipt, RecordPublisher, RefusedRecord,
    Telemetry,
};
use domain::record::{RECORD_BYTES_MAX, RecordBatch};
use domain::replay_window::ReplayWindow;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::accounts::Accounts;
pub use crate::accounts::SendTotals;
use crate::cause::Chain;

/// First delay before retrying a backlog that the bus refused although the breaker permits calls.
const RETRY_FIRST_WAIT: Duration = Duration::from_millis(100);
const RETRY_LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often to check whether an unavailable bus answers again.
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_millis(500);
/// How often to look for journals without an owner.
const ADOPT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a drain checks whether it is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Memory overhead of a batch, and of each record, in addition to the bytes of the records.
const BATCH_OVERHEAD_BYTES: usize = 512;
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Batches being written to disk may use this fraction of the memory for records in flight, in addition to it.
const WRITING_SHARE_OF_MEMORY: u64 = 4;
/// Rejected records that wait to be kept may use this fraction of the memory for records in flight, in addition to it.
const UNKEPT_SHARE_OF_MEMORY: u64 = 4;
/// Fraction of the drain timeout that is reserved for the journal.
const DRAIN_SHARE_OF_JOURNAL: u32 = 4;

/// What is promised for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The durability of its records, except for the rejected ones.
    pub durability: Durability,
    /// The records that the bus permanently rejects.
    pub refused: Vec<RefusedRecord>,
}

/// Receives the promise. The receiver may be dropped; the delivery continues.
pub type Promised = oneshot::Receiver<Result<Promise, PublishError>>;

/// The accounts of all accepted events at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// For each of [`Guarantee::ALL`].
    pub deliveries: [Deliveries; Guarantee::ALL.len()],
    /// How long the oldest event that is only in memory has been there; zero if there is none.
    pub oldest_buffered: Duration,
}

/// The delivery queues of a process.
pub struct Delivery {
    shared: Arc<Shared>,
}

struct Shared {
    publisher: Arc<dyn RecordPublisher>,
    journaling: Option<Journaling>,
    accounts: Accounts,
    /// Lines by partition.
    queues: RwLock<Vec<Arc<PartitionDelivery>>>,
    /// Lines of journals whose process has ended.
    adopted: Mutex<Vec<Arc<PartitionDelivery>>>,
    /// Lines with a backlog.
    backlogs: AtomicUsize,
    /// Partition and reason of the accepted events that were last lost.
    last_loss: Mutex<Option<(Partition, String)>>,
    /// The same of events that were permanently rejected.
    last_rejection: Mutex<Option<(Partition, String)>>,
    /// The partition of the last damage found in an adopted journal, and the total of damaged bytes.
    damage: Mutex<(Partition, u64)>,
    /// Notified when there may be a backlog to replay.
    replayable: Notify,
    closed: AtomicBool,
}

/// The journal and breaker of a bus that may be unavailable.
struct Journaling {
    journal: Arc<dyn Journal>,
    ack_wait: Duration,
    breaker: Mutex<CircuitBreaker>,
    started: Instant,
    window: Mutex<ReplayWindow>,
    /// Bytes of batches that are being written to disk and are not with the bus.
    writing_bytes: Arc<AtomicU64>,
    /// Rejected records that wait to be kept.
    unkept: Mutex<Unkept>,
    /// Set when looking for journals without an owner failed, so that the failure is logged once and not with every
    /// attempt.
    adopting_failed: AtomicBool,
}

/// Batches with records that the bus permanently rejected and the journal has not kept yet.
#[derive(Default)]
struct Unkept {
    batches: u64,
    bytes: u64,
    /// Why they cannot be kept, if the last attempt failed.
    fault: Option<String>,
}

struct PartitionDelivery {
    partition: Partition,
    /// Its records on disk, if there is a journal.
    backlog: Option<Arc<dyn Backlog>>,
    state: Mutex<DeliveryState>,
}

struct DeliveryState {
    queue: DeliveryQueue<QueuedBatch>,
    /// Unsettled events on disk.
    journaled: GuaranteeCounts,
    /// The number after the last record on disk.
    journaled_to: u64,
    /// Memory of settled batches that are still being written to disk, by number.
    settled_writes: BTreeMap<u64, Writing>,
    /// When the backlog began.
    backlog_since: Option<Instant>,
    /// Records went to the journal that have not been released yet.
    to_release: bool,
    /// When to retry the backlog, and the delays of further retries.
    retry_at: Option<Instant>,
    waits: Backoff,
}

/// A batch while it is in memory.
struct QueuedBatch {
    batch: Arc<RecordBatch>,
    guarantees: Arc<[Guarantee]>,
    since: Instant,
    /// The term of the accounts that counts it; `None` until it is accepted.
    place: Option<Place>,
    promise: Option<oneshot::Sender<Result<Promise, PublishError>>>,
    /// It was read from the journal and counts in the replay window.
    in_window: bool,
}

impl QueuedBatch {
    fn counts(&self) -> GuaranteeCounts {
        count_guarantees(&self.guarantees)
    }

    fn records(&self) -> u64 {
        self.guarantees.len() as u64
    }

    /// Its memory usage.
    fn bytes(&self) -> usize {
        bytes_in_memory(&self.batch)
    }

    fn promise(&mut self, promise: Result<Promise, PublishError>) {
        if let Some(listener) = self.promise.take() {
            // The receiver is gone if the client disconnected; the delivery continues.
            let _ = listener.send(promise);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Delivery {
    /// Queues to a bus that is its own journal.
    #[must_use]
    pub fn new(publisher: Arc<dyn RecordPublisher>, telemetry: Arc<dyn Telemetry>) -> Self {
        Self::over(publisher, None, telemetry)
    }

    /// Queues to a bus that may be unavailable, with a journal for outages. A batch that the bus has not reported within
    /// `ack_wait` counts as a failure of the bus, and is journaled if a caller waits for it. [`Delivery::replay`] must
    /// be running.
    #[must_use]
    pub fn with_journal(
        publisher: Arc<dyn RecordPublisher>,
        journal: Arc<dyn Journal>,
        ack_wait: Duration,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        let journaling = Journaling {
            journal,
            ack_wait,
            breaker: Mutex::default(),
            started: Instant::now(),
            window: Mutex::default(),
            writing_bytes: Arc::default(),
            unkept: Mutex::default(),
            adopting_failed: AtomicBool::new(false),
        };
        Self::over(publisher, Some(journaling), telemetry)
    }

    fn over(
        publisher: Arc<dyn RecordPublisher>,
        journaling: Option<Journaling>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                publisher,
                journaling,
                accounts: Accounts::new(telemetry),
                queues: RwLock::default(),
                adopted: Mutex::default(),
                backlogs: AtomicUsize::new(0),
                last_loss: Mutex::default(),
                last_rejection: Mutex::default(),
                damage: Mutex::default(),
                replayable: Notify::new(),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Current number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> NonZeroU32 {
        self.shared.publisher.partition_count()
    }

    /// Takes a batch, with the guarantee of each record, without blocking. The promise resolves when the strictest
    /// guarantee is met.
    ///
    /// # Errors
    /// Nothing of the batch was taken.
    pub fn deliver(&self, batch: RecordBatch, guarantees: Vec<Guarantee>) -> Result<Promised, PublishError> {
        let (promise, promised) = oneshot::channel();
        let queued = QueuedBatch {
            batch: Arc::new(batch),
            guarantees: guarantees.into(),
            since: Instant::now(),
            place: None,
            promise: Some(promise),
            in_window: false,
        };
        let queue = self.shared.queue(queued.batch.partition);
        self.shared.take(&queue, queued)?;
        Ok(promised)
    }

    /// Send results so far.
    #[must_use]
    pub fn totals(&self) -> SendTotals {
        self.shared.accounts.totals()
    }

    /// The accounts of all accepted events now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let oldest = self.shared.own_queues().into_iter().filter_map(|queue| {
            let state = lock(&queue.state);
            state.queue.iter().find(|queued| queued.place == Some(Place::Buffered)).map(|queued| queued.since)
        });
        Snapshot {
            oldest_buffered: oldest.min().map(|since| since.elapsed()).unwrap_or_default(),
            deliveries: self.shared.accounts.deliveries(),
        }
    }

    /// For each guarantee, how many events are counted too often (positive) or are missing (negative), within the
    /// accounts and compared with the queues: anything but zero is a defect in the delivery. A journal that is being
    /// adopted may cause a momentary imbalance.
    #[must_use]
    pub fn imbalances(&self) -> [(Guarantee, i128); Guarantee::ALL.len()] {
        let queues: Vec<_> = self.shared.own_queues().into_iter().chain(lock(&self.shared.adopted).clone()).collect();
        // Nothing moves while all of them are locked. No other code locks more than one.
        let queues: Vec<_> = queues.iter().map(|queue| lock(&queue.state)).collect();
        let deliveries = self.shared.accounts.deliveries();
        let mut there = [0; Guarantee::ALL.len()];
        let mut count = |events: GuaranteeCounts| {
            for (sum, events) in there.iter_mut().zip(events) {
                *sum += i128::from(events);
            }
        };
        for state in &queues {
            count(state.journaled);
            state
                .queue
                .iter()
                .filter(|queued| queued.place == Some(Place::Buffered))
                .for_each(|queued| count(queued.counts()));
        }
        let mut imbalances = Guarantee::ALL.map(|guarantee| (guarantee, 0));
        for ((imbalance, of), there) in imbalances.iter_mut().zip(deliveries).zip(there) {
            let accounted = i128::from(of.buffered) + i128::from(of.journaled);
            imbalance.1 = of.imbalance() + there - accounted;
        }
        imbalances
    }

    /// Partition and reason of the accepted events that were last lost.
    #[must_use]
    pub fn last_loss(&self) -> Option<(Partition, String)> {
        lock(&self.shared.last_loss).clone()
    }

    /// Partition and reason of the accepted events that were last permanently rejected.
    #[must_use]
    pub fn last_rejection(&self) -> Option<(Partition, String)> {
        lock(&self.shared.last_rejection).clone()
    }

    /// Damage found in adopted journals: the partition of the last one, and the total number of bytes.
    #[must_use]
    pub fn journal_damage(&self) -> (Partition, u64) {
        *lock(&self.shared.damage)
    }

    /// How much of the memory for unsettled records is in use.
    #[must_use]
    pub fn buffer(&self) -> Usage {
        self.shared.buffer()
    }

    /// The journal, if there is one.
    #[must_use]
    pub fn journal(&self) -> Option<&dyn Journal> {
        self.shared.journaling.as_ref().map(|journaling| journaling.journal.as_ref())
    }

    /// How much of the capacity for a new event of this partition is in use: memory and journal together, or the
    /// journal alone while the bus accepts nothing, since memory alone is then of no use.
    #[must_use]
    pub fn usage(&self, partition: Partition) -> Usage {
        let Some(journaling) = &self.shared.journaling else { return self.shared.publisher.usage(partition) };
        if journaling.journal.fault().is_some() {
            return self.shared.buffer();
        }
        let journal = journaling.journal.usage();
        let takes = self.breaker_state() == BreakerState::Closed && self.bus_state() == BusState::Up;
        if takes { self.shared.buffer().beside(journal) } else { journal }
    }

    /// The state of the bus.
    #[must_use]
    pub fn bus_state(&self) -> BusState {
        self.shared.publisher.state()
    }

    /// The state of the breaker. Without a journal, and so without a breaker: closed while the bus accepts records.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        match &self.shared.journaling {
            Some(journaling) => lock(&journaling.breaker).state(journaling.now()),
            None if self.bus_state() == BusState::Up => BreakerState::Closed,
            None => BreakerState::Open,
        }
    }

    /// How often the breaker entered each of [`BreakerState::ALL`].
    #[must_use]
    pub fn breaker_entered(&self) -> [u64; BreakerState::ALL.len()] {
        self.shared.journaling.as_ref().map(|journaling| lock(&journaling.breaker).entered()).unwrap_or_default()
    }

    /// Whether it is closed because the process ends.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether at least an ERROR is accepted now, by the bus or by the journal.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let shared = &self.shared;
        if self.is_closed() {
            return false;
        }
        let bus = shared.publisher.state() == BusState::Up;
        match &shared.journaling {
            None => bus,
            Some(journaling) => {
                let bus_takes = bus && self.breaker_state() == BreakerState::Closed;
                !shared.is_blocked(journaling) && (bus_takes || journaling.has_room())
            }
        }
    }

    /// A partition with events in the journal that the topic does not have, and the number of partitions that the topic
    /// has: the events wait until the partition exists.
    #[must_use]
    pub fn stranded(&self) -> Option<(Partition, u32)> {
        let partitions = self.partition_count().get();
        let queues = self.shared.lines_with_backlog();
        let stranded = queues.iter().map(|queue| queue.partition).find(|partition| *partition >= partitions);
        stranded.filter(|_| self.bus_state() == BusState::Up).map(|partition| (partition, partitions))
    }

    /// Why permanently rejected records cannot be kept, if so, and how many bytes are waiting.
    #[must_use]
    pub fn unkept(&self) -> Option<(String, u64)> {
        let unkept = lock(&self.shared.journaling.as_ref()?.unkept);
        unkept.fault.clone().map(|fault| (fault, unkept.bytes))
    }

    /// Sends backlogs to the bus and adopts those of processes that have ended, until `stop`. Returns at once without a
    /// journal.
    pub async fn replay(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some(journaling) = &self.shared.journaling else {
            let _ = stop.wait_for(|stop| *stop).await;
            return;
        };
        let mut stopped = pin!(async { stop.wait_for(|stop| *stop).await.map(drop) });
        let mut adopt = interval(ADOPT_INTERVAL);
        adopt.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_away = false;
        loop {
            let is_away = self.bus_state() != BusState::Up;
            // A process that started during an outage has nothing in flight whose report could come late.
            if std::mem::replace(&mut was_away, is_away) && !is_away {
                self.shared.judge(journaling, |breaker, _| breaker.bus_answers());
            }
            if self.breaker_state() != BreakerState::Closed {
                self.shared.journal_all(journaling);
            }
            let mut wake_at = Instant::now() + if is_away { LOOK_AGAIN_INTERVAL } else { ADOPT_INTERVAL };
            for queue in self.shared.lines_with_backlog() {
                match lock(&queue.state).retry_at {
                    Some(at) if at > Instant::now() => {
                        wake_at = wake_at.min(at);
                        continue;
                    }
                    Some(_) | None => {}
                }
                // A hanging disk must not keep the process from stopping.
                let replayed = tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    replayed = self.shared.replay_some(journaling, &queue) => replayed,
                };
                let DeliveryState { retry_at, waits, .. } = &mut *lock(&queue.state);
                match replayed {
                    Replayed::Some => {
                        (*retry_at, *waits) = (None, retry_waits());
                        wake_at = Instant::now();
                    }
                    Replayed::Nothing => *retry_at = None,
                    Replayed::Failed => {
                        *retry_at = waits.next().map(|wait| Instant::now() + wait);
                        wake_at = retry_at.map_or(wake_at, |at| wake_at.min(at));
                    }
                }
            }
            // Once the breaker is half-open, the next call is made when there is something to send.
            let half_open_at = lock(&journaling.breaker).half_open_at().map(|at| journaling.started + at);
            wake_at = half_open_at.filter(|at| *at > Instant::now()).map_or(wake_at, |at| wake_at.min(at));
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                _ = adopt.tick() => tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    () = self.shared.adopt(journaling) => {}
                },
                () = self.shared.replayable.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// Takes no more batches, waits until the bus has acknowledged those taken, and journals the rest, all within
    /// `timeout`. Returns the number of accepted events that are only in memory.
    pub async fn drain(&self, timeout: Duration) -> usize {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::SeqCst);
        let Some(journaling) = &shared.journaling else { return shared.publisher.drain(timeout).await };
        let deadline = Instant::now() + timeout;
        if self.breaker_state() == BreakerState::Closed {
            shared.until_safe(deadline - timeout / DRAIN_SHARE_OF_JOURNAL).await;
        }
        shared.until_safe_in_journal(journaling, deadline).await;
        let left = shared.unsafe_places().into_iter().filter(|(place, _)| place.is_some());
        let left: u64 = left.map(|(_, records)| records).sum();
        // Everything still unacknowledged is on disk or was just counted.
        shared.publisher.drain(Duration::ZERO).await;
        usize::try_from(left).unwrap_or(usize::MAX)
    }
}

impl Journaling {
    /// The time in the breaker's terms.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn has_room(&self) -> bool {
        self.journal.fault().is_none() && self.journal.has_room(RECORD_BYTES_MAX as u64)
    }
}

/// The result of a replay attempt.
enum Replayed {
    /// The bus took some records.
    Some,
    /// There was nothing to do, or no permission to do it now.
    Nothing,
    /// The bus or the disk failed: retry later.
    Failed,
}

impl Shared {
    fn own_queues(&self) -> Vec<Arc<PartitionDelivery>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The queue of a partition, created on first use.
    fn queue(&self, partition: Partition) -> Arc<PartitionDelivery> {
        let index = partition as usize;
        if let Some(queue) = self.queues.read().unwrap_or_else(PoisonError::into_inner).get(index) {
            return Arc::clone(queue);
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(queue) = queues.get(index) {
                return Arc::clone(queue);
            }
            let partition = Partition::try_from(queues.len()).unwrap_or(Partition::MAX);
            let journal = self.journaling.as_ref().map(|journaling| &journaling.journal);
            let backlog = journal.map(|journal| Arc::clone(journal) as Arc<dyn Backlog>);
            queues.push(Arc::new(PartitionDelivery::new(partition, DeliveryQueue::default(), backlog)));
        }
    }

    /// Sends a batch to the bus or, if that is not permitted or fails, to the journal.
    fn take(self: &Arc<Self>, queue: &Arc<PartitionDelivery>, queued: QueuedBatch) -> Result<(), PublishError> {
        let mut state = lock(&queue.state);
        // Under the lock, so that a drain sees everything taken before it.
        if self.closed.load(Ordering::SeqCst) {
            return Err(PublishError::Closed);
        }
        let mut error = PublishError::Unavailable("the circuit breaker is open".into());
        if let Some(permit) = self.permit_direct(&state) {
            match self.publisher.publish(Arc::clone(&queued.batch)) {
                Ok(receipt) => {
                    let number = state.queue.take_sent(queued.records(), queued);
                    self.track_publish(queue, &mut state, number, receipt, permit);
                    return Ok(());
                }
                Err(refused) => {
                    self.accounts.failed(queued.guarantees.len(), &refused);
                    self.not_taken(permit, &refused);
                    error = refused;
                }
            }
        }
        match &self.journaling {
            Some(journaling) if !matches!(error, PublishError::Closed | PublishError::Refused(_)) => {
                self.journal_new(journaling, queue, &mut state, queued)
            }
            _ => Err(error),
        }
    }

    /// Permission to send a new batch to the bus; the inner option is `None` without a breaker.
    fn permit_direct(&self, state: &DeliveryState) -> Option<Option<Permit>> {
        let Some(journaling) = &self.journaling else { return Some(None) };
        if state.queue.has_backlog() || self.is_blocked(journaling) {
            return None;
        }
        let mut breaker = lock(&journaling.breaker);
        let now = journaling.now();
        // The few calls of a half-open breaker are reserved for the backlog, if there is one.
        let first = breaker.state(now) == BreakerState::Closed || self.backlogs.load(Ordering::Acquire) == 0;
        first.then(|| breaker.permit(now)).flatten().map(Some)
    }

    /// A call failed: the bus is unavailable or full.
    fn not_taken(&self, permit: Option<Permit>, error: &PublishError) {
        let (Some(journaling), Some(permit)) = (&self.journaling, permit) else { return };
        self.judge(journaling, |breaker, now| match error {
            PublishError::Unavailable(_) => breaker.fail(permit, now),
            PublishError::Full | PublishError::Refused(_) | PublishError::Closed => breaker.cancel(permit),
        });
    }

    /// Journals a batch that the bus does not have, behind all batches before it.
    fn journal_new(
        self: &Arc<Self>,
        journaling: &Journaling,
        queue: &Arc<PartitionDelivery>,
        state: &mut DeliveryState,
        queued: QueuedBatch,
    ) -> Result<(), PublishError> {
        let bytes = queued.bytes();
        if !self.may_write(journaling, bytes) {
            return Err(PublishError::Full);
        }
        self.journal_queued(journaling, queue, state, u64::MAX).map_err(not_journaled)?;
        let number = state.queue.next();
        let written = journaling.journal.append(number, Arc::clone(&queued.batch), Arc::clone(&queued.guarantees));
        let written = written.map_err(not_journaled)?;
        let room = Writing::take(&journaling.writing_bytes, bytes);
        let records = queued.records();
        state.queue.take_queued(records, queued);
        self.note(state);
        self.track_write(queue, number, records, written, Some(room));
        Ok(())
    }

    /// Whether there is memory for a batch that is being written to disk. The journal must work when the bus has filled
    /// its memory, so this memory is separate. One batch always fits.
    fn may_write(&self, journaling: &Journaling, bytes: usize) -> bool {
        let writing = journaling.writing_bytes.load(Ordering::Acquire);
        writing == 0 || writing + bytes as u64 <= self.publisher.buffer().bytes_max / WRITING_SHARE_OF_MEMORY
    }

    /// Queues for the journal all batches of a queue that are with the bus, up to and including batch `last`, oldest
    /// first.
    ///
    /// # Errors
    /// The journal does not take all of them.
    fn journal_queued(
        self: &Arc<Self>,
        journaling: &Journaling,
        queue: &Arc<PartitionDelivery>,
        state: &mut DeliveryState,
        last: u64,
    ) -> Result<(), JournalError> {
        if !state.queue.takes_writes() {
            return Err(JournalError::Unavailable("an earlier write has failed".into()));
        }
        while let Some((number, queued)) = state.queue.next_to_journal(last) {
            // A batch settled in the meantime stays in memory until it is written.
            if !self.may_write(journaling, queued.bytes()) {
                return Err(JournalError::Full);
            }
            let records = queued.records();
            let written = journaling.journal.append(number, Arc::clone(&queued.batch), Arc::clone(&queued.guarantees));
            let written = written.inspect_err(|error| {
                tracing::debug!(partition = queue.partition, error = %Chain(error), "not journaled");
            })?;
            state.queue.queued(number);
            state.to_release = true;
            self.track_write(queue, number, records, written, None);
        }
        Ok(())
    }

    /// Spawns the task that waits for the journal to finish a batch.
    fn track_write(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        number: u64,
        records: u64,
        written: BoxFuture<Result<(), JournalError>>,
        room: Option<Writing>,
    ) {
        let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
        tokio::spawn(async move {
            let written = written.await;
            let mut state = lock(&queue.state);
            state.settled_writes.remove(&number);
            if written.is_ok() {
                state.journaled_to = state.journaled_to.max(number + records);
            }
            shared.written(&mut state, number, written);
            shared.resume_journal(&queue, &mut state);
            shared.release(&queue, &mut state);
            drop(state);
            drop(room);
            shared.replayable.notify_one();
        });
    }

    /// The journal finished a batch.
    fn written(&self, state: &mut DeliveryState, number: u64, written: Result<(), JournalError>) {
        let DeliveryState { queue, journaled, to_release, .. } = state;
        *to_release = true;
        let mut note = |queued: &mut QueuedBatch| {
            match queued.place {
                Some(_) => self.accounts.post(queued.counts(), Deliveries::journal),
                None => self.accounts.post(queued.counts(), |of, events| of.accept(events, Place::Journaled)),
            }
            for (sum, events) in journaled.iter_mut().zip(queued.counts()) {
                *sum += events;
            }
            queued.place = Some(Place::Journaled);
            queued.promise(Ok(Promise { durability: Durability::Journaled, refused: Vec::new() }));
        };
        match queue.journaled(number, written.is_ok()) {
            Journaled::AlsoWithBus(queued) => note(queued),
            Journaled::OnDiskOnly(mut queued) => note(&mut queued),
            Journaled::Nowhere(mut queued) => {
                if let Err(error) = written {
                    queued.promise(Err(not_journaled(error)));
                }
            }
            Journaled::OnlyWithBus | Journaled::Settled => {}
        }
    }

    /// Resumes the journal of a queue after a failed write, once all queued writes have been reported.
    fn resume_journal(&self, queue: &PartitionDelivery, state: &mut DeliveryState) {
        if let Some(journaling) = &self.journaling
            && state.queue.resume_journal()
        {
            journaling.journal.resume(queue.partition);
        }
    }

    /// Spawns the task that owns a batch from when the bus has it until it is settled.
    fn track_publish(
        self: &Arc<Self>,
        queue: &Arc<PartitionDelivery>,
        state: &mut DeliveryState,
        number: u64,
        receipt: Receipt,
        permit: Option<Permit>,
    ) {
        let Receipt { mut promised, mut settled } = receipt;
        // A stronger promise, or none, comes with the outcome.
        let is_buffered = |promise| matches!(promise, Ok(Durability::Buffered));
        // A promise that is already available is taken at once, without waking a task.
        let mut promise_expected = match promised.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(promise) => {
                if is_buffered(promise) {
                    self.buffered(state, number);
                }
                false
            }
            Poll::Pending => true,
        };
        let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
        tokio::spawn(async move {
            let ack_wait = shared.journaling.as_ref().map_or(Duration::MAX, |journaling| journaling.ack_wait);
            let published = Instant::now();
            let mut silent_at = published.checked_add(ack_wait);
            let outcome = loop {
                let silence = async {
                    match silent_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    promise = &mut promised, if promise_expected => {
                        promise_expected = false;
                        if is_buffered(promise) {
                            shared.buffered(&mut lock(&queue.state), number);
                        }
                    }
                    outcome = &mut settled => break outcome,
                    () = silence => {
                        shared.silent(&queue, number, permit);
                        silent_at = Some(Instant::now() + ack_wait);
                    }
                }
            };
            shared.report(permit, &outcome, &queue, number, published.elapsed());
            let duration = published.elapsed();
            if let Some((batch, refused)) = shared.settle(&queue, number, outcome, duration)
                && shared.keep_refused(&queue, batch, &refused).await
            {
                shared.settle_kept(&queue, number, refused, duration);
            }
        });
    }

    /// The bus client has a batch, and no caller waits for more.
    fn buffered(&self, state: &mut DeliveryState, number: u64) {
        if let Some(queued) = state.queue.get_mut(number)
            && queued.place.is_none()
        {
            self.accounts.post(queued.counts(), |of, events| of.accept(events, Place::Buffered));
            queued.place = Some(Place::Buffered);
            queued.promise(Ok(Promise { durability: Durability::Buffered, refused: Vec::new() }));
        }
    }

    /// The bus has not reported a batch for another `ack_wait`.
    fn silent(self: &Arc<Self>, queue: &Arc<PartitionDelivery>, number: u64, permit: Option<Permit>) {
        let Some(journaling) = &self.journaling else { return };
        let closed = self.judge(journaling, |breaker, now| {
            if let Some(permit) = permit {
                breaker.fail(permit, now);
            }
        }) == BreakerState::Closed;
        let mut state = lock(&queue.state);
        let waited_for = state.queue.get_mut(number).is_some_and(|queued| queued.promise.is_some());
        if waited_for || !closed {
            // Batches that cannot be journaled now are retried at the next timeout.
            let _ = self.journal_queued(journaling, queue, &mut state, number);
        }
    }

    /// Reports the outcome of a call to the breaker, and its duration to the window.
    fn report(
        &self,
        permit: Option<Permit>,
        outcome: &Result<(), PublishError>,
        queue: &PartitionDelivery,
        number: u64,
        after: Duration,
    ) {
        let (Some(journaling), Some(permit)) = (&self.journaling, permit) else { return };
        let queued = lock(&queue.state).queue.get_mut(number).map(|queued| (queued.records(), queued.in_window));
        let (records, in_window) = queued.unwrap_or_default();
        if in_window {
            lock(&journaling.window).report(records, after, journaling.ack_wait);
        }
        self.judge(journaling, |breaker, now| match outcome {
            Ok(()) => breaker.succeed(permit, now),
            // The rejection of single records says nothing about the bus; the acceptance of the others does.
            Err(PublishError::Refused(refused)) if (refused.len() as u64) < records => breaker.succeed(permit, now),
            Err(PublishError::Refused(_)) => breaker.cancel(permit),
            Err(_) => breaker.fail(permit, now),
        });
    }

    /// Reports a result to the breaker. [`Delivery::replay`] acts on a change of state.
    fn judge(&self, journaling: &Journaling, result: impl FnOnce(&mut CircuitBreaker, Duration)) -> BreakerState {
        let now = journaling.now();
        let mut breaker = lock(&journaling.breaker);
        let before = breaker.state(now);
        result(&mut breaker, now);
        let after = breaker.state(now);
        drop(breaker);
        if before != after {
            tracing::info!(
                from = before.name(),
                to = after.name(),
                "the circuit breaker in front of the bus changed state"
            );
            self.replayable.notify_one();
        }
        after
    }

    /// Whether so many rejected records wait to be kept that the bus must not reject any further ones.
    fn is_blocked(&self, journaling: &Journaling) -> bool {
        let unkept = lock(&journaling.unkept);
        unkept.fault.is_some() && unkept.bytes > self.publisher.buffer().bytes_max / UNKEPT_SHARE_OF_MEMORY
    }

    /// Keeps the permanently rejected records of an accepted batch, however long it takes: the future must not be
    /// dropped. Returns whether they are kept: they are not if the process ends first.
    async fn keep_refused(
        &self,
        queue: &PartitionDelivery,
        batch: Arc<RecordBatch>,
        refused: &[RefusedRecord],
    ) -> bool {
        let Some(journaling) = &self.journaling else { return true };
        let bytes = bytes_in_memory(&batch) as u64;
        {
            let mut unkept = lock(&journaling.unkept);
            unkept.batches += 1;
            unkept.bytes += bytes;
        }
        let mut kept = true;
        for wait in Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT) {
            let error = match journaling.journal.keep_refused(Arc::clone(&batch), refused.to_vec()).await {
                Ok(()) => break,
                Err(JournalError::Closed) => {
                    kept = false;
                    break;
                }
                Err(error) => error,
            };
            let error = Chain(&error).to_string();
            let before = lock(&journaling.unkept).fault.replace(error.clone());
            if before.is_none() {
                let partition = queue.partition;
                tracing::error!(partition, error, "cannot keep records that the bus permanently rejected, retrying");
            }
            tokio::time::sleep(wait).await;
        }
        let mut unkept = lock(&journaling.unkept);
        unkept.batches -= 1;
        unkept.bytes -= bytes;
        if kept && unkept.fault.take().is_some() {
            tracing::info!(batches = unkept.batches, "records that the bus permanently rejected can be kept again");
        }
        kept
    }

    /// Settles a batch that the bus had. If it was accepted and the bus permanently rejected some of its records,
    /// returns these records: they must be kept before [`Shared::settle_kept`] settles the batch.
    fn settle(
        &self,
        queue: &PartitionDelivery,
        number: u64,
        outcome: Result<(), PublishError>,
        duration: Duration,
    ) -> Option<(Arc<RecordBatch>, Vec<RefusedRecord>)> {
        let mut state = lock(&queue.state);
        let refused = match outcome {
            Ok(()) => Vec::new(),
            Err(PublishError::Refused(refused)) => {
                // If it was not accepted, the waiting client gets the error. Under the same lock: otherwise the journal
                // could accept it in between.
                if self.journaling.is_some()
                    && let Some(queued) = state.queue.get_mut(number)
                    && queued.place.is_some()
                {
                    return Some((Arc::clone(&queued.batch), refused));
                }
                refused
            }
            Err(error) if self.journaling.is_some() => {
                // The bus ends with the process, and its undelivered batches fail. Those on disk wait for the next
                // process.
                tracing::debug!(error = %Chain(&error), "delivery of a batch failed");
                return None;
            }
            Err(error) => {
                if let Some(mut queued) = state.queue.settle(number) {
                    self.accounts.failed(queued.guarantees.len(), &error);
                    if let Some(place) = queued.place {
                        *lock(&self.last_loss) = Some((queue.partition, Chain(&error).to_string()));
                        self.accounts.post(queued.counts(), |of, events| of.drop(events, place, DropReason::BusFailed));
                    }
                    queued.promise(Err(error));
                }
                return None;
            }
        };
        self.end(queue, &mut state, number, refused, duration);
        None
    }

    /// Settles a batch whose rejected records have been kept.
    fn settle_kept(&self, queue: &PartitionDelivery, number: u64, refused: Vec<RefusedRecord>, duration: Duration) {
        self.end(queue, &mut lock(&queue.state), number, refused, duration);
    }

    /// Settles a batch that the bus acknowledged, except for its permanently rejected records.
    fn end(
        &self,
        queue: &PartitionDelivery,
        state: &mut DeliveryState,
        number: u64,
        refused: Vec<RefusedRecord>,
        duration: Duration,
    ) {
        let is_written = state.queue.is_queued(number);
        let Some(mut queued) = state.queue.settle(number) else { return };
        if let (true, Some(journaling)) = (is_written, &self.journaling) {
            // The bus has freed its memory, the journal has not.
            state.settled_writes.insert(number, Writing::take(&journaling.writing_bytes, queued.bytes()));
        }
        let of_refused = refused.iter().filter_map(|record| queued.guarantees.get(record.position).copied());
        let dead = count_guarantees(&of_refused.collect::<Vec<_>>());
        let mut arrived = queued.counts();
        for (arrived, dead) in arrived.iter_mut().zip(dead) {
            *arrived = arrived.saturating_sub(dead);
        }
        if let Some(place) = queued.place {
            self.accounts.post(arrived, |of, events| of.acknowledge(events, place));
            self.accounts.post(dead, |of, events| of.dead_letter(events, place));
        } else {
            self.accounts.post(arrived, |of, events| {
                of.accept(events, Place::Buffered);
                of.acknowledge(events, Place::Buffered);
            });
        }
        if queued.place == Some(Place::Journaled) {
            for (sum, events) in state.journaled.iter_mut().zip(queued.counts()) {
                *sum = sum.saturating_sub(events);
            }
        }
        if let Some(first) = refused.first() {
            let (partition, records, reason) = (queue.partition, refused.len(), &first.reason);
            tracing::error!(partition, records, reason, "the bus permanently rejected records");
            if queued.place.is_some() {
                *lock(&self.last_rejection) = Some((partition, reason.clone()));
            }
            self.accounts.failed(refused.len(), &PublishError::Refused(refused.clone()));
        }
        if refused.len() < queued.guarantees.len() {
            self.accounts.sent(queued.guarantees.len() - refused.len(), duration);
        }
        queued.promise(Ok(Promise { durability: Durability::Acknowledged, refused }));
        self.release(queue, state);
        if self.backlogs.load(Ordering::Acquire) > 0 {
            self.replayable.notify_one();
        }
    }

    /// Releases settled records of the journal, and detects lost ones.
    fn release(&self, queue: &PartitionDelivery, state: &mut DeliveryState) {
        self.note(state);
        let Some(backlog) = queue.backlog.as_ref().filter(|_| state.to_release) else { return };
        let released = state.queue.released();
        backlog.release(queue.partition, released);
        state.to_release = released < state.queue.next();
        if released < state.journaled_to {
            return;
        }
        let lost = std::mem::take(&mut state.journaled);
        if lost.iter().any(|events| *events > 0) {
            let events: u64 = lost.iter().sum();
            tracing::error!(partition = queue.partition, events, "the journal is damaged: events are lost");
            *lock(&self.last_loss) = Some((queue.partition, "the journal is damaged".to_owned()));
            self.accounts.post(lost, |of, events| of.drop(events, Place::Journaled, DropReason::JournalDamaged));
        }
    }

    /// Updates whether a queue has a backlog.
    fn note(&self, state: &mut DeliveryState) {
        match (state.queue.has_backlog(), state.backlog_since) {
            (true, None) => {
                state.backlog_since = Some(Instant::now());
                state.to_release = true;
                self.backlogs.fetch_add(1, Ordering::AcqRel);
            }
            (false, Some(_)) => {
                state.backlog_since = None;
                self.backlogs.fetch_sub(1, Ordering::AcqRel);
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Lines with a backlog, the longest-waiting first.
    fn lines_with_backlog(&self) -> Vec<Arc<PartitionDelivery>> {
        if self.backlogs.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let queues = lock(&self.adopted).clone().into_iter().chain(self.own_queues());
        let mut queues: Vec<_> =
            queues.filter_map(|queue| Some((lock(&queue.state).backlog_since?, queue.clone()))).collect();
        queues.sort_by_key(|(since, _)| *since);
        queues.into_iter().map(|(_, queue)| queue).collect()
    }

    /// Sends the next part of a backlog to the bus.
    async fn replay_some(self: &Arc<Self>, journaling: &Journaling, queue: &Arc<PartitionDelivery>) -> Replayed {
        let buffer = self.buffer();
        let records_max = lock(&journaling.window).next_batch();
        let may_send = records_max > 0 && lock(&journaling.breaker).may_permit(journaling.now());
        if buffer.used_bytes > buffer.bytes_max / 2 || !may_send {
            return Replayed::Nothing;
        }
        let (next, first_try) = {
            let state = lock(&queue.state);
            (state.queue.next_to_send(), state.retry_at.is_none())
        };
        if queue.partition >= self.publisher.partition_count().get() {
            // The topic was recreated with fewer partitions, or its metadata is not known yet: says nothing about the
            // bus.
            if first_try {
                tracing::warn!(
                    partition = queue.partition,
                    "the journal has events of a partition that does not exist, waiting for it"
                );
            }
            return Replayed::Failed;
        }
        match (next, &queue.backlog) {
            (Some(Next::OnDisk(from, to)), Some(backlog)) => {
                let to = to.min(from + records_max);
                let chunk = match backlog.read(queue.partition, from, to).await {
                    Ok(chunk) => chunk,
                    Err(error) => {
                        if first_try {
                            let error = Chain(&error);
                            tracing::error!(partition = queue.partition, %error, "cannot read the journal, retrying");
                        }
                        return Replayed::Failed;
                    }
                };
                let mut state = lock(&queue.state);
                for journaled in chunk.batches {
                    let (first, batch) = (journaled.first, Arc::new(journaled.batch));
                    let outcome = self.publish_again(journaling, &batch);
                    let (receipt, permit) = match outcome {
                        Ok(taken) => taken,
                        Err(replayed) => return replayed,
                    };
                    let queued = QueuedBatch {
                        batch,
                        guarantees: journaled.guarantees.into(),
                        since: Instant::now(),
                        place: Some(Place::Journaled),
                        promise: None,
                        in_window: true,
                    };
                    lock(&journaling.window).give(queued.records());
                    state.queue.sent_from_disk(first, queued.records(), queued);
                    self.track_publish(queue, &mut state, first, receipt, Some(permit));
                }
                state.queue.skip_to(chunk.next);
                self.release(queue, &mut state);
                Replayed::Some
            }
            (Some(Next::InMemory(_)), _) => {
                let mut state = lock(&queue.state);
                // All of them under one lock: so the queue catches up however fast new batches come.
                while let Some(Next::InMemory(number)) = state.queue.next_to_send() {
                    let Some(batch) = state.queue.get_mut(number).map(|queued| Arc::clone(&queued.batch)) else {
                        break;
                    };
                    match self.publish_again(journaling, &batch) {
                        Ok((receipt, permit)) => {
                            state.queue.sent_from_memory(number);
                            self.track_publish(queue, &mut state, number, receipt, Some(permit));
                        }
                        Err(replayed) => {
                            self.note(&mut state);
                            return replayed;
                        }
                    }
                }
                self.note(&mut state);
                Replayed::Some
            }
            _ => Replayed::Nothing,
        }
    }

    /// Sends a batch that waited.
    fn publish_again(&self, journaling: &Journaling, batch: &Arc<RecordBatch>) -> Result<(Receipt, Permit), Replayed> {
        if self.is_blocked(journaling) {
            return Err(Replayed::Nothing);
        }
        let permit = lock(&journaling.breaker).permit(journaling.now()).ok_or(Replayed::Nothing)?;
        self.publisher.publish(Arc::clone(batch)).map(|receipt| (receipt, permit)).map_err(|error| {
            self.not_taken(Some(permit), &error);
            if matches!(error, PublishError::Full) { Replayed::Nothing } else { Replayed::Failed }
        })
    }

    /// Adopts the journals of processes that have ended, and releases those that are done.
    async fn adopt(&self, journaling: &Journaling) {
        let done = |queue: &Arc<PartitionDelivery>| {
            let state = lock(&queue.state);
            state.queue.released() == state.queue.next()
        };
        lock(&self.adopted).retain(|queue| !done(queue));
        loop {
            let backlog = match journaling.journal.adopt().await {
                Ok(Some(backlog)) => backlog,
                Ok(None) => {
                    journaling.adopting_failed.store(false, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    if !journaling.adopting_failed.swap(true, Ordering::Relaxed) {
                        tracing::error!(error = %Chain(&error), "cannot look for journals of other processes, retrying");
                    }
                    return;
                }
            };
            for found in backlog.found() {
                let (partition, events) = (found.partition, found.records.iter().sum::<u64>());
                tracing::info!(partition, events, "sending events from the journal of an earlier process");
                let queue = DeliveryQueue::on_disk(found.first, found.next);
                let queue = PartitionDelivery::new(partition, queue, Some(Arc::clone(&backlog)));
                let mut state = lock(&queue.state);
                state.journaled = found.records;
                self.accounts.post(found.records, Deliveries::recover);
                if found.damaged_bytes > 0 {
                    let mut damage = lock(&self.damage);
                    *damage = (partition, damage.1 + found.damaged_bytes);
                }
                self.note(&mut state);
                drop(state);
                lock(&self.adopted).push(Arc::new(queue));
            }
            self.replayable.notify_one();
        }
    }

    fn buffer(&self) -> Usage {
        let writing = self.journaling.as_ref().map_or(0, |journaling| journaling.writing_bytes.load(Ordering::Acquire));
        self.publisher.buffer().with(writing)
    }

    /// Queues for the journal everything that is only in memory, as far as the journal takes it.
    fn journal_all(self: &Arc<Self>, journaling: &Journaling) {
        for queue in self.own_queues() {
            // Batches that cannot be journaled now are retried with the next call.
            let _ = self.journal_queued(journaling, &queue, &mut lock(&queue.state), u64::MAX);
        }
    }

    /// For each batch that is only in memory, its place and number of records.
    fn unsafe_places(&self) -> Vec<(Option<Place>, u64)> {
        let queues = self.own_queues().into_iter().flat_map(|queue| {
            let state = lock(&queue.state);
            let unsafe_ones = state.queue.iter().filter(|queued| queued.place != Some(Place::Journaled));
            unsafe_ones.map(|queued| (queued.place, queued.records())).collect::<Vec<_>>()
        });
        queues.collect()
    }

    /// Waits until no batch is only in memory.
    async fn until_safe(&self, deadline: Instant) {
        let mut look = interval(LOOK_INTERVAL);
        while !self.unsafe_places().is_empty() && timeout_at(deadline, look.tick()).await.is_ok() {}
    }

    /// Journals everything that is only in memory, repeatedly: a write may fail, and a full journal may get space.
    async fn until_safe_in_journal(self: &Arc<Self>, journaling: &Journaling, deadline: Instant) {
        let mut look = interval(LOOK_INTERVAL);
        while !self.unsafe_places().is_empty() && timeout_at(deadline, look.tick()).await.is_ok() {
            self.journal_all(journaling);
        }
    }
}

impl PartitionDelivery {
    fn new(partition: Partition, queue: DeliveryQueue<QueuedBatch>, backlog: Option<Arc<dyn Backlog>>) -> Self {
        let state = DeliveryState {
            journaled: GuaranteeCounts::default(),
            journaled_to: queue.next(),
            settled_writes: BTreeMap::new(),
            backlog_since: None,
            to_release: false,
            retry_at: None,
            waits: retry_waits(),
            queue,
        };
        Self { partition, backlog, state: Mutex::new(state) }
    }
}

/// Approximate memory usage of a batch.
fn bytes_in_memory(batch: &RecordBatch) -> usize {
    batch.records.bytes() + batch.records.len() * RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES
}

fn retry_waits() -> Backoff {
    Backoff::new(RETRY_FIRST_WAIT, RETRY_LONGEST_WAIT)
}

/// Memory reserved for a batch that is being written to disk.
struct Writing {
    bytes: Arc<AtomicU64>,
    of_batch: u64,
}

impl Writing {
    fn take(bytes: &Arc<AtomicU64>, of_batch: usize) -> Self {
        let of_batch = of_batch as u64;
        bytes.fetch_add(of_batch, Ordering::AcqRel);
        Self { bytes: Arc::clone(bytes), of_batch }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.of_batch, Ordering::AcqRel);
    }
}

fn not_journaled(error: JournalError) -> PublishError {
    match error {
        JournalError::Full => PublishError::Full,
        JournalError::Unavailable(cause) => PublishError::Unavailable(cause),
        JournalError::Closed => PublishError::Closed,
    }
}
