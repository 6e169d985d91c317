//! The writing end of the bus: one idempotent producer, and one queue of batches per partition.
//!
//! Constraints and invariants:
//! * A queue keeps its batches in the order in which `publish` accepted them, until each of their records is reported. All
//!   decisions about what is handed to the client, what is reported and what comes next are made under the queue's lock.
//! * A failed delivery stops its queue at once, and the whole client is replaced: it is purged, its last reports are
//!   taken, and a new client gets all unreported records, in the old order. This is the only recovery path.
//! * A queue hands a new client one record alone, and more only once that one is delivered: Kafka accepts any sequence
//!   number as the first of a producer, so of several requests it could accept the second and reject the first.
//! * A record is refused permanently only if it is certain that Kafka means it and not another of the same request.
//! * A queue's lock is held for the time it takes to hand over [`HAND_OVER_RECORDS_MAX`] records: `publish`, called on
//!   runtime threads, waits for it.
//! * A batch occupies room from acceptance until its last report. The room is smaller than the client's queue.
//! * While the bus is known to be down, no batches are accepted.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::admission::Usage;
use domain::backoff::Backoff;
use domain::delivery::{Durability, Guarantee};
use domain::partition::Partition;
use domain::ports::{BusState, PublishError, Receipt, RecordPublisher, RefusedRecord};
use domain::record::{Record, RecordBatch};
use domain::trace_parent::TraceParent;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, Statistics};
use tokio::sync::{Notify, oneshot};

use crate::client::{ClientErrorLog, Reachability, log};
use crate::error::{Handling, handling, is_of_one_record};
use crate::options::{InvalidOptions, KafkaOptions};
use crate::statistics::{ClientStatistics, INTERVAL_MILLIS};
use crate::topic::{ID_ORIGIN, ID_ORIGIN_CLIENT, TRACE_PARENT, Topic, kafka_time};
use crate::{lock, spawn};

/// Memory per batch beside the bytes of its records.
const BATCH_OVERHEAD_BYTES: usize = 512;
/// Memory per record beside its bytes. The client's copy is not counted.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Maximum number of records, and of bytes of records, that a queue hands over at once: about 4 ms. A queue with 64 MB
/// would need a quarter of a second.
const HAND_OVER_RECORDS_MAX: usize = 5_000;
const HAND_OVER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Duration of one poll for delivery reports.
const POLL: Duration = Duration::from_millis(20);
/// Maximum wait for the last reports of a client that is being replaced.
const LAST_REPORTS: Duration = Duration::from_secs(10);
/// First wait before another client is created.
const REPLACE_FIRST_WAIT: Duration = Duration::from_millis(100);
const REPLACE_LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often the topic is queried while it is healthy, and while it is not.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum wait for the threads to end if no time is left to drain.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum wait for the topic's metadata.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bits of a delivery number that identify the record in its batch.
const RECORD_BITS: u32 = 20;
/// Maximum number of records in a batch.
const BATCH_RECORDS_MAX: usize = 1 << RECORD_BITS;
const _: () = assert!(usize::BITS == 64, "a delivery's number has 44 bits for its batch");

/// The publisher.
pub struct KafkaPublisher {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    options: KafkaOptions,
    topic: Topic,
    name: Arc<str>,
    queues: RwLock<Vec<Arc<Mutex<PartitionQueue>>>>,
    partitions: AtomicU32,
    memory: Arc<Memory>,
    reachability: Reachability,
    /// Whether Kafka has ever reported the number of partitions.
    counted: AtomicBool,
    /// What an operator has to fix before failed records can be delivered.
    fault: Mutex<Option<String>>,
    /// The latest statistics of the client.
    statistics: Mutex<Option<ClientStatistics>>,
    /// No more batches are accepted.
    closed: AtomicBool,
    /// Tells the threads to end.
    ended: AtomicBool,
    /// The client that queues hand records to, if there is one.
    client: Mutex<Option<Arc<Client>>>,
    /// The thread that monitors the topic.
    looking: OnceLock<Thread>,
}

type Client = BaseProducer<Deliveries>;

/// Room for unacknowledged batches.
struct Memory {
    bytes: AtomicUsize,
    bytes_max: usize,
    records: AtomicUsize,
    /// Notified whenever a batch is finished.
    freed: Notify,
}

/// The batches of one partition, oldest first.
struct PartitionQueue {
    topic: Arc<str>,
    batches: VecDeque<Batch>,
    /// Number of the first of `batches`.
    first: u64,
    /// The next record to hand over: number of its batch and position in it.
    next: (u64, usize),
    /// Receives the records; `None` while it is being replaced.
    client: Option<Arc<Client>>,
    /// The client has delivered a record, so more than one may be in flight.
    proven: bool,
    /// The only record in flight; the others wait for its report.
    alone: Option<(u64, usize)>,
}

struct Batch {
    batch: Arc<RecordBatch>,
    /// State of each record.
    progress: Vec<Progress>,
    /// Number of records without a final report.
    left: usize,
    refused: Vec<RefusedRecord>,
    receipts: Receipts,
    memory: Arc<Memory>,
    bytes: usize,
}

/// State of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No final report yet.
    Open,
    /// No final report yet, and refused together with others: sent alone to find out which one is meant.
    Suspect,
    /// A final report has arrived.
    Reported,
}

/// The channels to report the outcome of a batch to.
struct Receipts {
    promised: Option<oneshot::Sender<Result<Durability, PublishError>>>,
    settled: Option<oneshot::Sender<Result<(), PublishError>>>,
}

/// Receives the delivery reports of one client.
struct Deliveries {
    shared: Weak<Shared>,
    error_log: ClientErrorLog,
    /// Maximum batch that it builds, in bytes.
    message_bytes_max: usize,
    /// Why the client has to be replaced.
    broken: Mutex<Option<String>>,
    /// Kafka has accepted or rejected a record.
    decided: AtomicBool,
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
        let bytes = batch.records.bytes() + records * RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES;
        if records >= BATCH_RECORDS_MAX || !shared.memory.take(bytes, records) {
            return Err(PublishError::Full);
        }
        let (promise, promised) = oneshot::channel();
        let (settle, settled) = oneshot::channel();
        let receipts = Receipts { promised: Some(promise), settled: Some(settle) };
        let queue = shared.queue(batch.partition);
        let batch = Batch::new(batch, receipts, Arc::clone(&shared.memory), bytes);
        // Either this sees that the publisher is closing, or the closing task sees the batch.
        if shared.closed.load(Ordering::SeqCst) {
            return Err(PublishError::Closed);
        }
        let mut queue = lock(&queue);
        // Behind other batches, the thread that hands those over continues with it: the caller does not do their work.
        let is_behind = queue.is_behind();
        queue.batches.push_back(batch);
        if !is_behind {
            queue.hand_over();
        }
        drop(queue);
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

impl Memory {
    /// Takes room for a batch, if there is enough.
    fn take(&self, bytes: usize, records: usize) -> bool {
        let taken = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
        });
        if taken.is_ok() {
            self.records.fetch_add(records, Ordering::SeqCst);
        }
        taken.is_ok()
    }
}

impl Shared {
    fn new_client(self: &Arc<Self>) -> Result<Arc<Client>, InvalidOptions> {
        let mut config = self.options.producer();
        let message_bytes_max = self.topic.message_bytes_max();
        config.set("message.max.bytes", message_bytes_max.to_string());
        if !self.options.properties.contains_key("statistics.interval.ms") {
            config.set("statistics.interval.ms", INTERVAL_MILLIS);
        }
        let context = Deliveries {
            shared: Arc::downgrade(self),
            error_log: ClientErrorLog::default(),
            message_bytes_max,
            broken: Mutex::default(),
            decided: AtomicBool::new(false),
        };
        config.create_with_context(context).map(Arc::new).map_err(|error| InvalidOptions(error.to_string()))
    }

    /// The queue of a partition; creates it if it is new.
    fn queue(&self, partition: Partition) -> Arc<Mutex<PartitionQueue>> {
        let index = partition as usize;
        if let Some(queue) = self.queues.read().unwrap_or_else(PoisonError::into_inner).get(index) {
            return Arc::clone(queue);
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(queue) = queues.get(index) {
                return Arc::clone(queue);
            }
            // Under the lock of the queues, so that the thread that replaces the client sees every queue.
            let client = lock(&self.client).clone();
            let queue = PartitionQueue {
                topic: Arc::clone(&self.name),
                batches: VecDeque::new(),
                first: 0,
                next: (0, 0),
                client,
                proven: false,
                alone: None,
            };
            queues.push(Arc::new(Mutex::new(queue)));
        }
    }

    fn queues(&self) -> Vec<Arc<Mutex<PartitionQueue>>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Switches all queues to a client, or to none.
    fn switch(&self, client: Option<&Arc<Client>>) {
        *lock(&self.client) = client.cloned();
        // A queue created later has the client from the start.
        for queue in self.queues() {
            let mut queue = lock(&queue);
            // A queue created just now already has the client, and may have handed over.
            if !queue.hands_over_to(client) {
                queue.client = client.cloned();
                queue.next = (queue.first, 0);
                // The previous client's lone record may still be reported.
                if client.is_some() {
                    (queue.proven, queue.alone) = (false, None);
                }
            }
            queue.hand_over();
        }
    }

    /// Makes all queues hand over their remaining records. Returns whether there are more for which the client may have
    /// room.
    fn hand_over(&self) -> bool {
        self.queues().into_iter().map(|queue| lock(&queue).hand_over()).fold(false, |more, queue| more | queue)
    }

    /// Whether Kafka accepts records.
    fn bus_state(&self) -> BusState {
        let fault = lock(&self.fault).clone();
        fault.map_or_else(|| self.reachability.state(), BusState::Down)
    }

    /// Triggers an immediate query of the topic.
    fn look_now(&self) {
        if let Some(looking) = self.looking.get() {
            looking.unpark();
        }
    }

    /// Tells the threads to end.
    fn end(&self, threads: &Mutex<Vec<JoinHandle<()>>>) -> Vec<JoinHandle<()>> {
        self.ended.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *lock(threads));
        for thread in &threads {
            thread.thread().unpark();
        }
        threads
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Updates the number of partitions: the first answer replaces the assumed number, later ones can only increase it.
    fn count(&self, partitions: u32) {
        let known = self.partitions.load(Ordering::Acquire);
        let first = !self.counted.swap(true, Ordering::AcqRel);
        if partitions > known || first {
            if !first {
                tracing::info!(from = known, to = partitions, "the topic has more partitions");
            }
            self.partitions.store(partitions, Ordering::Release);
        } else if partitions < known {
            tracing::error!(
                from = known,
                to = partitions,
                "the topic has fewer partitions than before: restart all producers"
            );
        }
    }

    /// Records fault that an operator has to fix, and logs changes.
    fn note_fault(&self, fault: Option<String>) {
        let mut current = lock(&self.fault);
        match &fault {
            Some(reason) if current.is_none() => {
                tracing::error!(reason, "delivery to Kafka failed; retrying until Kafka accepts the records");
            }
            None if current.is_some() => tracing::info!("Kafka accepts records again"),
            Some(_) | None => {}
        }
        *current = fault;
    }
}

/// Result of an attempt to hand over a batch.
enum HandedOver {
    /// The client has the whole batch.
    All,
    /// The client has this record, which has to be alone.
    Alone(usize),
    /// This record has to be alone, and others are in flight.
    Busy(usize),
    /// The client has no room for this record.
    Full(usize),
    /// This record is left for the next round.
    Enough(usize),
    /// The client accepts nothing.
    Broken(KafkaError),
}

/// What a queue may still hand over in this round.
struct Share {
    records: usize,
    bytes: usize,
}

impl Share {
    /// Takes a record's share, unless the share is used up.
    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || self.bytes == 0 {
            return false;
        }
        (self.records, self.bytes) = (self.records - 1, self.bytes.saturating_sub(bytes));
        true
    }
}

impl PartitionQueue {
    /// Hands the client its next records, up to a limit. Returns whether there are more for which it may have room; the
    /// thread that receives the reports continues with those.
    fn hand_over(&mut self) -> bool {
        let Some(client) = self.client.clone() else { return false };
        let topic = Arc::clone(&self.topic);
        let mut more = false;
        let mut share = Share { records: HAND_OVER_RECORDS_MAX, bytes: HAND_OVER_BYTES_MAX };
        while self.alone.is_none() {
            self.let_go();
            let ((number, position), oldest, proven) = (self.next, self.first == self.next.0, self.proven);
            let Some(batch) = self.batch(number) else { break };
            match batch.hand_over(&client, &topic, number, position, (oldest, proven), &mut share) {
                HandedOver::All => self.next = (number + 1, 0),
                HandedOver::Alone(position) => {
                    self.alone = Some((number, position));
                    self.next = (number, position + 1);
                }
                HandedOver::Full(position) | HandedOver::Busy(position) => {
                    self.next = (number, position);
                    break;
                }
                HandedOver::Enough(position) => {
                    self.next = (number, position);
                    more = true;
                    break;
                }
                HandedOver::Broken(error) => {
                    client.context().break_off(error.rdkafka_error_code(), &error.to_string());
                    self.client = None;
                    break;
                }
            }
        }
        self.let_go();
        more
    }

    /// Whether there are records that the client does not have.
    fn is_behind(&self) -> bool {
        self.next.0 < self.first + self.batches.len() as u64
    }

    fn hands_over_to(&self, client: Option<&Arc<Client>>) -> bool {
        match (&self.client, client) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        }
    }

    fn batch(&mut self, number: u64) -> Option<&mut Batch> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.batches.get_mut(index)
    }

    /// Handles a final report.
    fn report(&mut self, number: u64, position: usize, refused: Option<String>) {
        if let Some(batch) = self.batch(number) {
            batch.report(position, refused);
        }
        if self.alone == Some((number, position)) {
            self.alone = None;
            self.hand_over();
        }
        self.let_go();
    }

    /// Marks a record as refused, possibly because of another one.
    fn suspect(&mut self, number: u64, position: usize) {
        let record = self.batch(number).and_then(|batch| batch.progress.get_mut(position));
        if let Some(record) = record.filter(|record| **record == Progress::Open) {
            *record = Progress::Suspect;
        }
    }

    /// Releases the oldest batches whose records are all reported.
    fn let_go(&mut self) {
        while self.first < self.next.0 && self.batches.front().is_some_and(|batch| batch.left == 0) {
            self.batches.pop_front();
            self.first += 1;
        }
    }
}

impl Batch {
    fn new(batch: Arc<RecordBatch>, receipts: Receipts, memory: Arc<Memory>, bytes: usize) -> Self {
        let records = batch.records.len();
        let mut this = Self {
            progress: vec![Progress::Open; records],
            left: records,
            refused: Vec::new(),
            receipts,
            memory,
            bytes,
            batch,
        };
        if this.batch.guarantee == Guarantee::AtMostOnce {
            this.receipts.promise(Ok(Durability::Buffered));
        }
        if records == 0 {
            this.receipts.settle(Vec::new());
        }
        this
    }

    /// Hands the client the unreported records from `position` on: all of them, as many as the share allows, or one that
    /// has to be alone.
    fn hand_over(
        &mut self,
        client: &Client,
        topic: &str,
        number: u64,
        position: usize,
        (oldest, proven): (bool, bool),
        share: &mut Share,
    ) -> HandedOver {
        let mut refused = Vec::new();
        let mut outcome = HandedOver::All;
        for (index, record) in self.batch.records.iter().enumerate().skip(position) {
            let alone = match self.progress.get(index) {
                Some(Progress::Open) => !proven,
                Some(Progress::Suspect) => true,
                Some(Progress::Reported) | None => continue,
            };
            let before = self.progress.get(..index).unwrap_or_default();
            if alone && !(oldest && before.iter().all(|before| *before == Progress::Reported)) {
                outcome = HandedOver::Busy(index);
                break;
            }
            if !share.take(record.key.len() + record.value.len()) {
                outcome = HandedOver::Enough(index);
                break;
            }
            let message = message(topic, self.batch.partition, &record, self.batch.trace_parent, opaque(number, index));
            let Err((error, _)) = client.send(message) else {
                if alone {
                    outcome = HandedOver::Alone(index);
                    break;
                }
                continue;
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => refused.push((index, error.to_string())),
                Some(RDKafkaErrorCode::QueueFull) => {
                    outcome = HandedOver::Full(index);
                    break;
                }
                _ => {
                    outcome = HandedOver::Broken(error);
                    break;
                }
            }
        }
        for (index, reason) in refused {
            self.report(index, Some(reason));
        }
        outcome
    }

    fn report(&mut self, position: usize, refused: Option<String>) {
        let record = self.progress.get_mut(position).filter(|record| **record != Progress::Reported);
        let Some(record) = record else { return };
        *record = Progress::Reported;
        self.left -= 1;
        if let Some(reason) = refused {
            tracing::error!(partition = self.batch.partition, reason, "Kafka rejected a record permanently");
            self.refused.push(RefusedRecord { position, reason });
        }
        if self.left == 0 {
            self.receipts.settle(std::mem::take(&mut self.refused));
        }
    }
}

impl Receipts {
    /// Reports the first promise, if the caller still listens.
    fn promise(&mut self, promise: Result<Durability, PublishError>) {
        if let Some(promised) = self.promised.take() {
            let _ = promised.send(promise);
        }
    }

    fn settle(&mut self, refused: Vec<RefusedRecord>) {
        let outcome = || if refused.is_empty() { Ok(()) } else { Err(PublishError::Refused(refused.clone())) };
        self.promise(outcome().map(|()| Durability::Acknowledged));
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(outcome());
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.memory.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.records.fetch_sub(self.batch.records.len(), Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

/// A record in Kafka's format (contract, "Kafka record").
fn message<'a>(
    topic: &'a str,
    partition: Partition,
    record: &Record<'a>,
    trace_parent: Option<TraceParent>,
    opaque: usize,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let message = BaseRecord::with_opaque_to(topic, opaque)
        .partition(i32::try_from(partition).unwrap_or(i32::MAX))
        .key(record.key)
        .payload(record.value)
        .timestamp(kafka_time(record.timestamp));
    if !record.client_id && trace_parent.is_none() {
        return message;
    }
    let mut headers = OwnedHeaders::new_with_capacity(2);
    if record.client_id {
        headers = headers.insert(Header { key: ID_ORIGIN, value: Some(ID_ORIGIN_CLIENT) });
    }
    if let Some(trace_parent) = &trace_parent {
        headers = headers.insert(Header { key: TRACE_PARENT, value: Some(trace_parent.as_bytes()) });
    }
    message.headers(headers)
}

/// Delivery number: the number of the batch, and the position of the record.
fn opaque(number: u64, position: usize) -> usize {
    // Both fit: see `BATCH_RECORDS_MAX`; a million batches per second take half a year to fill 44 bits.
    usize::try_from(number).unwrap_or(usize::MAX) << RECORD_BITS | position
}

fn delivery_of(opaque: usize) -> (u64, usize) {
    ((opaque >> RECORD_BITS) as u64, opaque & (BATCH_RECORDS_MAX - 1))
}

impl Deliveries {
    /// Kafka has accepted or rejected a record.
    fn note_progress(&self, shared: &Shared) {
        if !self.decided.swap(true, Ordering::AcqRel) {
            shared.note_fault(None);
        }
    }

    /// Requests the replacement of this client. The first reason is kept.
    fn break_off(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        lock(&self.broken).get_or_insert_with(|| reason.to_owned());
        let needs_operator = code.is_some_and(|code| handling(code) == Handling::Wait);
        if let (true, Some(shared)) = (needs_operator, self.shared.upgrade()) {
            shared.note_fault(Some(format!("topic {}: {reason}", shared.name)));
            if matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)) {
                shared.topic.compare_again();
                shared.look_now();
            }
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, queue: &str) {
        log(level, facility, queue);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.error_log.note(&error, reason);
        if let Some(shared) = self.shared.upgrade() {
            shared.look_now();
        }
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(shared) = self.shared.upgrade() {
            *lock(&shared.statistics) = Some(ClientStatistics::new(&statistics, &shared.name));
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let (Some(shared), Ok(partition)) = (self.shared.upgrade(), Partition::try_from(message.partition())) else {
            return;
        };
        let (number, position) = delivery_of(opaque);
        let queue = shared.queue(partition);
        let mut queue = lock(&queue);
        let current = queue.client.as_ref().is_some_and(|client| std::ptr::eq(&**client.context(), self));
        let code = error.and_then(KafkaError::rdkafka_error_code);
        match error {
            None => {
                queue.proven |= current;
                queue.report(number, position, None);
                self.note_progress(&shared);
            }
            Some(error)
                if code.is_some_and(|code| {
                    handling(code) == Handling::Refuse
                        && (is_of_one_record(code) || queue.alone == Some((number, position)))
                }) =>
            {
                queue.report(number, position, Some(error.to_string()));
                self.note_progress(&shared);
            }
            Some(error) => {
                if code.is_some_and(|code| handling(code) == Handling::Refuse) {
                    queue.suspect(number, position);
                }
                self.break_off(code, &error.to_string());
                // Unless another client has already taken over.
                if current {
                    queue.client = None;
                }
            }
        }
    }
}

/// Receives reports, and replaces the client when it fails.
fn send(shared: &Arc<Shared>, mut client: Arc<Client>) {
    let backoff = || Backoff::new(REPLACE_FIRST_WAIT, REPLACE_LONGEST_WAIT);
    let mut waits = backoff();
    loop {
        shared.switch(Some(&client));
        let mut more = true;
        let broken = loop {
            client.poll(if more { Duration::ZERO } else { POLL });
            if shared.has_ended() {
                return shared.switch(None);
            }
            if let Some((code, reason)) = client.client().fatal_error() {
                client.context().break_off(Some(code), &reason);
            }
            if let Some(reason) = lock(&client.context().broken).clone() {
                break reason;
            }
            more = shared.hand_over();
        };
        shared.switch(None);
        tracing::warn!(
            reason = broken,
            "delivery failed; replacing the Kafka client and resending the records in order"
        );
        client.purge(PurgeConfig::default().queue().inflight());
        let began = Instant::now();
        while client.in_flight_count() > 0 && began.elapsed() < LAST_REPORTS {
            client.poll(POLL);
        }
        if client.context().decided.load(Ordering::Acquire) {
            waits = backoff();
        }
        drop(client);
        client = loop {
            std::thread::park_timeout(waits.next().unwrap_or_default());
            if shared.has_ended() {
                return;
            }
            match shared.new_client() {
                Ok(client) => break client,
                Err(error) => tracing::error!(%error, "cannot create another Kafka client; retrying"),
            }
        };
    }
}

/// Monitors the topic: whether it exists, its number of partitions, and whether Kafka responds at all.
fn look_after(shared: &Shared, looked: oneshot::Sender<()>) {
    let _ = shared.looking.set(std::thread::current());
    let mut looked = Some(looked);
    while !shared.has_ended() {
        let client = lock(&shared.client).clone();
        let seen = client.as_ref().map(|client| {
            let metadata = || client.client().fetch_metadata(Some(&shared.name), LOOK_TIMEOUT);
            (shared.topic.look(metadata), client)
        });
        let wait = match seen {
            // Being replaced.
            None => LOOK_AGAIN_INTERVAL,
            Some((Ok(partitions), client)) => {
                client.context().error_log.clear();
                shared.count(partitions);
                if client.context().message_bytes_max < shared.topic.message_bytes_max() {
                    client.context().break_off(None, "the topic accepts larger records than before");
                }
                // The failed records are gone, refused permanently: no record is left to show that Kafka accepts them
                // again.
                if shared.memory.records.load(Ordering::Acquire) == 0 {
                    shared.note_fault(None);
                }
                shared.reachability.find(BusState::Up);
                looked.take().map(|looked| looked.send(()));
                LOOK_INTERVAL
            }
            Some((Err(error), client)) => {
                shared.reachability.find(BusState::Down(client.context().error_log.explain(&error)));
                looked.take().map(|looked| looked.send(()));
                LOOK_AGAIN_INTERVAL
            }
        };
        drop(client);
        std::thread::park_timeout(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that never reaches a broker, so that it keeps its records.
    fn client() -> Arc<Client> {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("queue.buffering.max.messages", "0");
        let context = Deliveries {
            shared: Weak::new(),
            error_log: ClientErrorLog::default(),
            message_bytes_max: 1_000_000,
            broken: Mutex::default(),
            decided: AtomicBool::new(true),
        };
        Arc::new(config.create_with_context(context).expect("a client"))
    }

    fn queue(client: &Arc<Client>) -> PartitionQueue {
        PartitionQueue {
            topic: "logs".into(),
            batches: VecDeque::new(),
            first: 0,
            next: (0, 0),
            client: Some(Arc::clone(client)),
            proven: true,
            alone: None,
        }
    }

    fn batch(records: usize, value_bytes: usize) -> Batch {
        let time = domain::timestamp::Timestamp::MIN;
        let mut all = domain::record::Records::default();
        for _ in 0..records {
            all.push(b"s", time, false, |buffer| buffer.resize(buffer.len() + value_bytes, b'x'))
                .expect("small enough");
        }
        let batch = RecordBatch { partition: 0, guarantee: Guarantee::AtLeastOnce, records: all, trace_parent: None };
        let memory = Memory {
            bytes: AtomicUsize::new(0),
            bytes_max: usize::MAX,
            records: AtomicUsize::new(records),
            freed: Notify::new(),
        };
        Batch::new(batch.into(), Receipts { promised: None, settled: None }, memory.into(), 0)
    }

    #[test]
    fn a_line_hands_over_a_bounded_part_at_a_time_and_all_in_the_end() {
        for (batches, records, value_bytes, times) in [
            // The limit on records: within a batch, and over several.
            (1, HAND_OVER_RECORDS_MAX * 5 / 2, 10, 3),
            (5, HAND_OVER_RECORDS_MAX / 2, 10, 3),
            // The limit on bytes.
            (1, 100, HAND_OVER_BYTES_MAX / 40, 3),
            (3, 10, 10, 1),
        ] {
            let client = client();
            let mut queue = queue(&client);
            queue.batches.extend((0..batches).map(|_| batch(records, value_bytes)));
            let mut handed_over = vec![];
            let mut more = true;
            while more {
                let at = |(batch, record): (u64, usize)| usize::try_from(batch).expect("few") * records + record;
                let before = at(queue.next);
                more = queue.hand_over();
                handed_over.push(at(queue.next) - before);
                assert_eq!(queue.is_behind(), more);
            }
            assert!(handed_over.iter().all(|records| *records <= HAND_OVER_RECORDS_MAX), "{handed_over:?}");
            let bytes_most = handed_over.iter().max().unwrap_or(&0) * (value_bytes + 1);
            assert!(bytes_most < HAND_OVER_BYTES_MAX + value_bytes + 1, "{handed_over:?} of {value_bytes} bytes");
            assert_eq!((handed_over.len(), handed_over.iter().sum()), (times, batches * records), "{handed_over:?}");
        }
    }

    #[test]
    fn a_delivery_knows_its_batch_and_record() {
        for number in [0, 1, 77, (1 << 44) - 1] {
            for position in [0, 1, 9_999, BATCH_RECORDS_MAX - 1] {
                assert_eq!(delivery_of(opaque(number, position)), (number, position));
            }
        }
    }
}
