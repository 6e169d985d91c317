//! The reading end of the bus: one member of a consumer group, with a separate queue for each partition.
//!
//! Constraints and invariants:
//! * Positions come from the store, in the rebalance callback, before a partition is read. The callback waits for the
//!   store for as long as it takes; if the member is evicted meanwhile, the next rebalance starts over.
//! * A partition is revoked only after its reader has stored or discarded what it read.
//! * Each partition has its own queue in the client, bounded in bytes, from which its reader takes records at its own
//!   pace: a slow reader stops the fetching of its partition only. Pausing a partition would discard fetched records.
//! * One thread serves the group: rebalances, poll heartbeats, commits, seeks. It reads no records, and nothing else
//!   waits for the client.
//! * Offsets committed to the group are for lag tools only; they are never read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::lag::Lag;
use domain::partition::Partition;
use domain::ports::{AssignmentChange, BusState, RecordSource, SourceError};
use domain::record::Chunk;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::{Mutex as AsyncMutex, mpsc as changes, oneshot};

use crate::client::{ClientErrorLog, Reachability, log};
use crate::lock::lock;
use crate::options::{InvalidOptions, KafkaOptions};
use crate::reading::{Reading, bounds, number, offset, seek};
use crate::thread::spawn;
use crate::topic::Topic;

/// Duration of one poll of the group.
const POLL: Duration = Duration::from_millis(100);
/// How often positions are committed to the group, and the end offsets of partitions are queried.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const ENDS_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum wait for a Kafka response that blocks other work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a reader polls without a wake-up.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum wait for a reader to finish its partition.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum wait for leaving the group.
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
    partitions: Mutex<BTreeMap<Partition, Arc<Reading<Member>>>>,
    /// Tells the thread to end.
    closing: AtomicBool,
    /// Why the group rejects this member. The client reports it only occasionally and does not report its end: the next
    /// assignment shows that.
    refused: Mutex<Option<String>>,
    reachability: Reachability,
}

/// Serves one member of the group.
struct Member {
    shared: Arc<Shared>,
    changes: changes::UnboundedSender<AssignmentChange>,
    consumer: OnceLock<Weak<BaseConsumer<Member>>>,
    error_log: ClientErrorLog,
}

impl KafkaSource {
    /// Joins the group of `options`, in the background and for as long as it takes. Creates the topic if it is missing.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// The client rejects the options; the message names the option.
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
            error_log: ClientErrorLog::default(),
        };
        let invalid = |error: KafkaError| InvalidOptions(error.to_string());
        let consumer: Arc<BaseConsumer<Member>> =
            Arc::new(options.consumer().create_with_context(member).map_err(invalid)?);
        // Cannot be set yet.
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        // The publisher compares it.
        let topic = Topic::new(options, tokio::runtime::Handle::current()).uncompared();
        let (leave, left) = oneshot::channel();
        let thread = spawn("kafka-group", move || {
            serve(consumer, &topic);
            let _ = leave.send(());
        })?;
        Ok(Self { shared, changes: AsyncMutex::new(changes), left: Mutex::new(Some(left)), _thread: thread })
    }

    /// Whether Kafka responds.
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
            let woken = reading.woken();
            if let Some(chunk) = reading.read()? {
                return Ok(chunk);
            }
            let _ = tokio::time::timeout(LOOK_INTERVAL, woken).await;
        }
    }

    fn seek(&self, partition: Partition, position: Option<u64>) {
        if let Some(reading) = self.shared.reading(partition) {
            reading.seek(position);
        }
    }

    fn stored(&self, partition: Partition, position: u64) {
        if let Some(reading) = self.shared.reading(partition) {
            reading.store(position);
        }
    }

    fn lags(&self) -> Vec<Lag> {
        self.shared.readings().iter().map(|reading| reading.lag()).collect()
    }

    /// Leaves the group, so that it need not wait for the session timeout.
    async fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        let left = lock(&self.left).take();
        if let Some(left) = left {
            let _ = left.await;
        }
    }
}

impl Shared {
    fn reading(&self, partition: Partition) -> Option<Arc<Reading<Member>>> {
        lock(&self.partitions).get(&partition).cloned()
    }

    fn readings(&self) -> Vec<Arc<Reading<Member>>> {
        lock(&self.partitions).values().cloned().collect()
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.error_log.note(&error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // An empty list must not be iterated.
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
            tracing::error!(%error, "the rebalance failed");
        }
    }
}

impl Member {
    /// Queries the store for positions, and sets them in the list.
    fn begin(&self, consumer: &BaseConsumer<Self>, partitions: &[Partition], list: &mut TopicPartitionList) {
        let Some(owner) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let mut begun = Vec::new();
        for partition in partitions {
            // From an assignment whose revocation was not reported.
            let before = lock(&self.shared.partitions).remove(partition);
            if let Some(before) = before {
                before.end();
            }
            let ends = consumer.fetch_watermarks(&self.shared.topic, number(*partition), ANSWER_TIMEOUT);
            let Some(reading) = Reading::begin(&owner, &self.shared.topic, *partition) else { return };
            let reading = Arc::new(reading);
            lock(&self.shared.partitions).insert(*partition, Arc::clone(&reading));
            begun.push((reading, ends.ok().map(bounds)));
        }
        let (tell, told) = mpsc::channel();
        let starting = begun.clone();
        let start = move |positions: Vec<Option<u64>>| {
            for ((reading, bounds), position) in starting.iter().zip(positions) {
                reading.start(position, *bounds);
            }
            let _ = tell.send(());
        };
        let started = self
            .changes
            .send(AssignmentChange::Assigned(partitions.to_vec(), Box::new(start)))
            .ok()
            .and_then(|()| self.wait_for(&told, None));
        for (partition, (reading, _)) in partitions.iter().zip(&begun) {
            // Otherwise there will be no reader: this member is about to leave.
            let at = if started.is_some() { offset(reading.position()) } else { Offset::End };
            if let Err(error) = list.set_partition_offset(&self.shared.topic, number(*partition), at) {
                tracing::error!(partition, %error, "cannot set the position");
            }
        }
    }

    /// Waits until the readers have finished, and commits their positions to the group.
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
            tracing::warn!(?partitions, "revoked partitions before their readers were known to have ended");
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

    /// Waits for an answer; `None` if it cannot arrive, is late, or this member has to leave.
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

impl Shared {
    /// Commits stored positions to the group, for lag tools.
    fn commit(&self, consumer: &BaseConsumer<Member>, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for (partition, reading) in &*lock(&self.partitions) {
            if let Some(stored) = reading.take_uncommitted() {
                let added = list.add_partition_offset(&self.topic, number(*partition), offset(stored));
                debug_assert!(added.is_ok(), "an offset that was read can be committed");
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = consumer.commit(&list, mode) {
            tracing::debug!(%error, "cannot commit stored positions to the group");
        }
    }

    /// Queries the current first and end offset of each partition.
    fn look(&self, consumer: &BaseConsumer<Member>) -> KafkaResult<()> {
        let partitions: Vec<_> =
            lock(&self.partitions).iter().map(|(partition, reading)| (*partition, Arc::clone(reading))).collect();
        if partitions.is_empty() {
            consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)?;
        }
        for (partition, reading) in partitions {
            let ends = consumer.fetch_watermarks(&self.topic, number(partition), ANSWER_TIMEOUT)?;
            reading.extend(bounds(ends));
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
            // It came from the main queue, which has no reader: the partition's reader has to seek back to it.
            Some(Ok(message)) => member.give_back(&message),
            Some(Err(error)) => {
                tracing::debug!(%error, "the Kafka client reports an error");
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
                    *lock(&shared.refused) = Some(error.to_string());
                }
            }
            None => {}
        }
        if let Err(error) = seek(&shared.readings(), &consumer, &shared.topic, ANSWER_TIMEOUT) {
            tracing::debug!(%error, "cannot seek at the moment");
        }
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
                Err(error) => BusState::Down(member.error_log.explain(&error)),
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
            reading.seek_back(offset);
        }
    }
}
