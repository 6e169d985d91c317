//! The way out of the bus: one member of a consumer group, with a queue of its own for each partition.
//!
//! Constraints and invariants:
//! * Positions come from the store, in the rebalance callback, before a partition is read. The callback waits for the store
//!   as long as it takes; should the group lose patience meanwhile, the next rebalance begins anew.
//! * A partition is given back only once its reader has stored or given up what it read.
//! * Each partition has its own queue in the client, bounded in bytes, from which its reader takes at its own pace: a slow
//!   reader stops the fetching of its partition and of no other. Pausing a partition would throw away what was fetched.
//! * One thread serves the group: rebalances, heartbeats of being alive, commits. It reads no records.
//! * Offsets that are committed to the group only tell lag tools; nothing is read from them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::lag::{Lag, LagTracker};
use domain::partition::Partition;
use domain::ports::{AssignmentChange, BusState, CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, RecordSource, SourceError};
use domain::record::{Chunk, RECORD_BYTES_MAX, Record};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc as changes, oneshot};

use crate::client::{Complaint, Reachability, log};
use crate::error::is_out_of_range;
use crate::lock;
use crate::options::{InvalidOptions, KafkaOptions};
use crate::topic::{ID_ORIGIN, ID_ORIGIN_CLIENT, TRACE_PARENT, Topic};

/// How long the group is served at a time.
const POLL: Duration = Duration::from_millis(100);
/// How often positions are committed to the group, and the ends of partitions asked for.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const ENDS_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for an answer of Kafka that others wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a reader looks for records that nobody told it of.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for a reader to come to an end of its partition.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the group to let this member go.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The source.
pub struct KafkaSource {
    shared: Arc<Shared>,
    changes: AsyncMutex<changes::UnboundedReceiver<AssignmentChange>>,
    left: Mutex<Option<oneshot::Receiver<()>>>,
    _thread: JoinHandle<()>,
}

struct Shared {
    topic: String,
    partitions: Mutex<BTreeMap<Partition, Arc<Reading>>>,
    /// The thread is to end.
    closing: AtomicBool,
    /// Why the group does not let us in. The client says so now and then only, and does not say when it is over: that shows in
    /// the next assignment.
    refused: Mutex<Option<String>>,
    reachability: Reachability,
}

/// A partition that is assigned.
struct Reading {
    partition: Partition,
    consumer: Arc<BaseConsumer<Member>>,
    /// `None` once the partition is given back: the client has one queue a partition, and letting go of it later would take
    /// the wake-ups from the next reader.
    queue: Mutex<Option<PartitionQueue<Member>>>,
    /// Where to go before reading on.
    seek: Mutex<Option<u64>>,
    /// The client stopped fetching at a position that is not there: it takes no seek, and has to be given the partition anew.
    stopped: AtomicBool,
    progress: Mutex<Progress>,
    wake: Arc<Notify>,
    gone: AtomicBool,
}

/// How far a partition is read and stored.
#[derive(Default)]
struct Progress {
    lag: LagTracker,
    /// The next offset to read.
    position: u64,
    /// The oldest offset on the bus, as it was last heard.
    first: u64,
    /// There is nothing at the position.
    out_of_range: bool,
    /// The position that is stored, and the one that the group was told of.
    stored: Option<u64>,
    committed: Option<u64>,
}

/// Serves one member of the group.
struct Member {
    shared: Arc<Shared>,
    changes: changes::UnboundedSender<AssignmentChange>,
    consumer: OnceLock<Weak<BaseConsumer<Member>>>,
    complaint: Complaint,
}

impl KafkaSource {
    /// Joins the group of `options`, in the background and for as long as it takes. Makes the topic if it is missing. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// The client refuses the options; the message says which.
    pub fn open(options: &KafkaOptions) -> Result<Self, InvalidOptions> {
        let shared = Arc::new(Shared {
            topic: options.topic.clone(),
            partitions: Mutex::default(),
            closing: AtomicBool::new(false),
            refused: Mutex::default(),
            reachability: Reachability::unknown(),
        });
        let (tell, changes) = changes::unbounded_channel();
        let member = Member {
            shared: Arc::clone(&shared),
            changes: tell,
            consumer: OnceLock::new(),
            complaint: Complaint::default(),
        };
        let invalid = |error: KafkaError| InvalidOptions(error.to_string());
        let consumer: Arc<BaseConsumer<Member>> =
            Arc::new(options.consumer().create_with_context(member).map_err(invalid)?);
        // Was not set before.
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        // The way in compares it.
        let topic = Topic::new(options, tokio::runtime::Handle::current()).uncompared();
        let (leave, left) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kafka-group".to_owned());
        let thread = thread.spawn(move || {
            serve(consumer, &topic);
            let _ = leave.send(());
        });
        let thread = thread.map_err(|error| InvalidOptions(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, changes: AsyncMutex::new(changes), left: Mutex::new(Some(left)), _thread: thread })
    }

    /// Whether Kafka answers.
    #[must_use]
    pub fn state(&self) -> BusState {
        self.shared.reachability.state()
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
    }
}

#[async_trait]
impl RecordSource for KafkaSource {
    async fn assignment(&self) -> Result<AssignmentChange, SourceError> {
        self.changes.lock().await.recv().await.ok_or(SourceError::Closed)
    }

    async fn chunk(&self, partition: Partition) -> Result<Chunk, SourceError> {
        let reading = self.shared.reading(partition).ok_or(SourceError::Closed)?;
        loop {
            // Whoever is woken between looking and waiting has a permit.
            let woken = reading.wake.notified();
            if reading.gone.load(Ordering::Acquire) {
                return Err(SourceError::Closed);
            }
            let chunk = reading.read(&self.shared.topic)?;
            if let Some(chunk) = chunk {
                return Ok(chunk);
            }
            let _ = tokio::time::timeout(LOOK_INTERVAL, woken).await;
        }
    }

    fn seek(&self, partition: Partition, position: u64) {
        if let Some(reading) = self.shared.reading(partition) {
            *lock(&reading.seek) = Some(position);
            reading.wake.notify_one();
        }
    }

    fn stored(&self, partition: Partition, position: u64) {
        if let Some(reading) = self.shared.reading(partition) {
            let mut progress = lock(&reading.progress);
            progress.lag.store(position);
            progress.stored = progress.stored.max(Some(position));
        }
    }

    fn lags(&self) -> Vec<Lag> {
        let partitions = lock(&self.shared.partitions);
        partitions.iter().map(|(partition, reading)| lock(&reading.progress).lag.lag(*partition)).collect()
    }

    /// Leaves the group, which need not wait until this member is missed.
    async fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        let left = lock(&self.left).take();
        if let Some(left) = left {
            let _ = left.await;
        }
    }
}

impl Shared {
    fn reading(&self, partition: Partition) -> Option<Arc<Reading>> {
        lock(&self.partitions).get(&partition).cloned()
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Reading {
    /// What there is to read now. Waits for nothing but a seek.
    fn read(&self, topic: &str) -> Result<Option<Chunk>, SourceError> {
        let queue = lock(&self.queue);
        let Some(queue) = &*queue else { return Err(SourceError::Closed) };
        if !self.go_where_told(topic)? {
            return Ok(None);
        }
        let mut progress = lock(&self.progress);
        let mut chunk = Chunk::default();
        // What the queue shows is taken, so there must be room for the largest record before the next one is.
        while !progress.out_of_range
            && chunk.records.len() < CHUNK_RECORDS_MAX
            && chunk.records.bytes() <= CHUNK_BYTES_MAX - RECORD_BYTES_MAX
        {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => take(&message, &mut chunk),
                // What came before it is to be read first.
                Some(Err(error)) if is_out_of_range(&error) => progress.out_of_range = true,
                Some(Err(error)) => tracing::debug!(partition = self.partition, %error, "cannot fetch for the moment"),
            }
        }
        let received = |record: Option<Record<'_>>| record.map(|record| record.timestamp);
        let (first, last) = (received(chunk.records.iter().next()), received(chunk.records.iter().next_back()));
        if let (Some(first), Some(last)) = (first, last) {
            progress.lag.read(first, last, chunk.next);
            progress.position = chunk.next;
            return Ok(Some(chunk));
        }
        if progress.out_of_range {
            return Err(SourceError::OutOfRange { position: progress.position, first: progress.first });
        }
        Ok(None)
    }

    /// Tells the reader that the partition is no longer there to be read.
    fn end(&self) {
        self.gone.store(true, Ordering::Release);
        drop(lock(&self.queue).take());
        self.wake.notify_one();
    }

    /// Returns whether there is nothing to wait for before reading.
    fn go_where_told(&self, topic: &str) -> Result<bool, SourceError> {
        let mut seek = lock(&self.seek);
        let Some(position) = *seek else { return Ok(true) };
        let sought = self.consumer.seek(topic, number(self.partition), offset(Some(position)), ANSWER_TIMEOUT);
        let mut progress = lock(&self.progress);
        if let Err(error) = sought {
            if !progress.out_of_range {
                return Err(SourceError::Unavailable(error.into()));
            }
            self.stopped.store(true, Ordering::Release);
            return Ok(false);
        }
        *seek = None;
        (progress.position, progress.out_of_range) = (position, false);
        Ok(true)
    }

    /// Has the client fetch again, from where it was told to. For the thread that serves the group, between rebalances.
    fn restart(&self, topic: &str) -> KafkaResult<()> {
        let mut queue = lock(&self.queue);
        let mut seek = lock(&self.seek);
        let Some(position) = seek.filter(|_| queue.is_some()) else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, number(self.partition), offset(Some(position)))?;
        // It is not there if an earlier try came this far.
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(partition = self.partition, %error, "cannot give a partition back to take it again");
        }
        drop(queue.take());
        *queue = split(&self.consumer, topic, self.partition, &self.wake);
        self.consumer.incremental_assign(&list)?;
        *seek = None;
        let mut progress = lock(&self.progress);
        (progress.position, progress.out_of_range) = (position, false);
        self.wake.notify_one();
        Ok(())
    }
}

/// The queue of a partition, which is to be there before the partition is assigned; `None` only for a topic or partition that
/// cannot be.
fn split(
    consumer: &Arc<BaseConsumer<Member>>,
    topic: &str,
    partition: Partition,
    wake: &Arc<Notify>,
) -> Option<PartitionQueue<Member>> {
    let mut queue = consumer.split_partition_queue(topic, number(partition))?;
    let nonempty = Arc::clone(wake);
    queue.set_nonempty_callback(move || nonempty.notify_one());
    Some(queue)
}

/// Adds a record of the bus to a chunk.
fn take(message: &BorrowedMessage<'_>, chunk: &mut Chunk) {
    let (mut client_id, mut trace) = (false, None);
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        match header.key {
            ID_ORIGIN => client_id |= header.value == Some(ID_ORIGIN_CLIENT),
            TRACE_PARENT => trace = header.value.and_then(TraceParent::parse),
            _ => {}
        }
    }
    let micros = message.timestamp().to_millis().and_then(|millis| millis.checked_mul(1_000));
    let record = Record {
        key: message.key().unwrap_or_default(),
        value: message.payload().unwrap_or_default(),
        timestamp: micros.and_then(|micros| Timestamp::from_unix_micros(micros).ok()).unwrap_or(Timestamp::MIN),
        client_id,
    };
    chunk.push(u64::try_from(message.offset()).unwrap_or(0), record, trace);
}

fn number(partition: Partition) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn offset(position: Option<u64>) -> Offset {
    position.map_or(Offset::Beginning, |position| Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX)))
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.note(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // An empty list has no elements to look at.
        let partitions: Vec<Partition> = if list.count() == 0 {
            Vec::new()
        } else {
            list.elements().iter().filter_map(|element| Partition::try_from(element.partition()).ok()).collect()
        };
        tracing::debug!(?change, ?partitions, "the group rebalances");
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let done = if change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            lock(&self.shared.refused).take();
            self.begin(consumer, &partitions, list);
            if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            self.end(consumer, partitions);
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::error!(%error, "cannot follow the group");
        }
    }
}

impl Member {
    /// Asks the store for positions, and sets them in the list.
    fn begin(&self, consumer: &BaseConsumer<Self>, partitions: &[Partition], list: &mut TopicPartitionList) {
        let Some(owner) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let mut begun = Vec::new();
        for partition in partitions {
            // Of an assignment whose end was not told.
            let before = lock(&self.shared.partitions).remove(partition);
            if let Some(before) = before {
                before.end();
            }
            let ends = consumer.fetch_watermarks(&self.shared.topic, number(*partition), ANSWER_TIMEOUT);
            let wake = Arc::new(Notify::new());
            let Some(queue) = split(&owner, &self.shared.topic, *partition, &wake) else { return };
            let reading = Arc::new(Reading {
                partition: *partition,
                consumer: Arc::clone(&owner),
                queue: Mutex::new(Some(queue)),
                seek: Mutex::default(),
                stopped: AtomicBool::new(false),
                progress: Mutex::default(),
                wake,
                gone: AtomicBool::new(false),
            });
            lock(&self.shared.partitions).insert(*partition, Arc::clone(&reading));
            begun.push((reading, ends.map_or((0, 0), bounds)));
        }
        let (tell, told) = mpsc::channel();
        let start = move |positions: Vec<Option<u64>>| {
            for ((reading, (first, end)), position) in begun.iter().zip(&positions) {
                let position = position.unwrap_or(*first);
                *lock(&reading.progress) = Progress {
                    lag: LagTracker::new(position, (*end).max(position)),
                    position,
                    first: *first,
                    ..Progress::default()
                };
            }
            let _ = tell.send(positions);
        };
        let positions = self
            .changes
            .send(AssignmentChange::Assigned(partitions.to_vec(), Box::new(start)))
            .ok()
            .and_then(|()| self.wait_for(&told, None));
        for (index, partition) in partitions.iter().enumerate() {
            let at = match &positions {
                Some(positions) => offset(positions.get(index).copied().flatten()),
                // Nobody will read: this member is about to leave.
                None => Offset::End,
            };
            if let Err(error) = list.set_partition_offset(&self.shared.topic, number(*partition), at) {
                tracing::error!(partition, %error, "cannot set the position");
            }
        }
    }

    /// Waits until the readers have come to an end, and tells the group how far they have come.
    fn end(&self, consumer: &BaseConsumer<Self>, partitions: Vec<Partition>) {
        let (tell, told) = mpsc::channel();
        let done = Box::new(move || {
            let _ = tell.send(());
        });
        let waited = self
            .changes
            .send(AssignmentChange::Revoked(partitions.clone(), done))
            .ok()
            .and_then(|()| self.wait_for(&told, Some(GIVE_BACK_TIMEOUT)));
        if waited.is_none() && !self.shared.is_closing() {
            tracing::warn!(?partitions, "gave partitions back without knowing that their readers have ended");
        }
        if !consumer.assignment_lost() {
            self.shared.commit(consumer, CommitMode::Sync);
        }
        for partition in partitions {
            let reading = lock(&self.shared.partitions).remove(&partition);
            if let Some(reading) = reading {
                reading.end();
            }
        }
    }

    /// Waits for an answer; `None` if it will not come, or not in time, or if this member is to leave.
    fn wait_for<T>(&self, answer: &mpsc::Receiver<T>, timeout: Option<Duration>) -> Option<T> {
        let began = Instant::now();
        loop {
            match answer.recv_timeout(POLL) {
                Ok(answer) => return Some(answer),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if self.shared.is_closing() || timeout.is_some_and(|timeout| began.elapsed() > timeout) {
                        return None;
                    }
                }
            }
        }
    }
}

/// First and next offset of a partition.
fn bounds((first, end): (i64, i64)) -> (u64, u64) {
    (u64::try_from(first).unwrap_or(0), u64::try_from(end).unwrap_or(0))
}

impl Shared {
    /// Tells the group what is stored, for lag tools.
    fn commit(&self, consumer: &BaseConsumer<Member>, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for (partition, reading) in &*lock(&self.partitions) {
            let mut progress = lock(&reading.progress);
            if progress.stored != progress.committed {
                progress.committed = progress.stored;
                let added = list.add_partition_offset(&self.topic, number(*partition), offset(progress.stored));
                debug_assert!(added.is_ok(), "an offset that was read is one that can be written");
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = consumer.commit(&list, mode) {
            tracing::debug!(%error, "the group was not told what is stored");
        }
    }

    /// Gives partitions to the client anew that it stopped fetching.
    fn restart(&self) {
        let readings: Vec<Arc<Reading>> = lock(&self.partitions).values().cloned().collect();
        for reading in readings {
            if reading.stopped.swap(false, Ordering::AcqRel)
                && let Err(error) = reading.restart(&self.topic)
            {
                // The reader asks again.
                tracing::debug!(partition = reading.partition, %error, "cannot fetch again for the moment");
            }
        }
    }

    /// Asks where each partition begins and ends now.
    fn look(&self, consumer: &BaseConsumer<Member>) -> KafkaResult<()> {
        let readings: Vec<Arc<Reading>> = lock(&self.partitions).values().cloned().collect();
        if readings.is_empty() {
            consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)?;
        }
        for reading in readings {
            let ends = consumer.fetch_watermarks(&self.topic, number(reading.partition), ANSWER_TIMEOUT)?;
            let (first, end) = bounds(ends);
            let mut progress = lock(&reading.progress);
            progress.first = first;
            progress.lag.extend(end);
        }
        Ok(())
    }
}

/// Serves the group until the source is closed.
fn serve(consumer: Arc<BaseConsumer<Member>>, topic: &Topic) {
    let member = Arc::clone(consumer.context());
    let shared = &member.shared;
    let metadata = || consumer.fetch_metadata(Some(&shared.topic), ANSWER_TIMEOUT);
    let mut joined = false;
    let (mut looked, mut committed) = (Instant::now(), Instant::now());
    while !shared.is_closing() {
        match consumer.poll(POLL) {
            // Taken from a queue that nobody reads: its reader has to go back for it.
            Some(Ok(message)) => member.give_back(&message),
            Some(Err(error)) => {
                tracing::debug!(%error, "the Kafka client complains");
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
                    *lock(&shared.refused) = Some(error.to_string());
                }
            }
            None => {}
        }
        shared.restart();
        if !joined || looked.elapsed() >= ENDS_INTERVAL {
            let found = if joined {
                shared.look(&consumer).map_err(|error| error.to_string())
            } else {
                topic
                    .look(metadata)
                    .and_then(|_| consumer.subscribe(&[&shared.topic]).map_err(|error| error.to_string()))
            };
            joined |= found.is_ok();
            let found = found.and_then(|()| lock(&shared.refused).clone().map_or(Ok(()), Err));
            shared.reachability.find(match found {
                Ok(()) => BusState::Up,
                Err(error) => BusState::Down(member.complaint.explain(&error)),
            });
            looked = Instant::now();
        }
        if committed.elapsed() >= COMMIT_INTERVAL {
            shared.commit(&consumer, CommitMode::Async);
            committed = Instant::now();
        }
    }
    consumer.unsubscribe();
    let began = Instant::now();
    while consumer.assignment().is_ok_and(|list| list.count() > 0) && began.elapsed() < LEAVE_TIMEOUT {
        let _ = consumer.poll(POLL);
    }
    let left = std::mem::take(&mut *lock(&shared.partitions));
    left.values().for_each(|reading| reading.end());
}

impl Member {
    fn give_back(&self, message: &BorrowedMessage<'_>) {
        let partition = Partition::try_from(message.partition()).ok();
        let offset = u64::try_from(message.offset()).ok();
        if let (Some(reading), Some(offset)) = (partition.and_then(|partition| self.shared.reading(partition)), offset)
        {
            let mut seek = lock(&reading.seek);
            *seek = Some(seek.map_or(offset, |position| position.min(offset)));
            reading.wake.notify_one();
        }
    }
}
