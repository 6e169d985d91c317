//! What the publisher, its threads and the client's callbacks share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread::{JoinHandle, Thread};

use domain::pack::{PACK_BYTES_MAX, Packs};
use domain::partition::Partition;
use domain::ports::BusState;
use domain::record::Records;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Statistics};

use super::batch::{Memory, delivery_of};
use super::client_queue::{ClientQueue, DeliveryContext};
use crate::client::{ClientErrorLog, Reachability, log};
use crate::error::{Handling, handling, is_of_one_record};
use crate::lock::lock;
use crate::options::{InvalidOptions, KafkaOptions, RecordForm};
use crate::statistics::{ClientStatistics, INTERVAL_MILLIS};
use crate::topic::Topic;

/// What a record of Kafka has beside the value of a pack: its key, its headers, and the format of a batch.
const PACK_OVERHEAD_BYTES: usize = 1_024;

/// The state of the publisher.
pub(super) struct Shared {
    pub(super) options: KafkaOptions,
    pub(super) topic: Topic,
    pub(super) name: Arc<str>,
    pub(super) queues: RwLock<Vec<Arc<Mutex<Queue>>>>,
    pub(super) partitions: AtomicU32,
    pub(super) memory: Arc<Memory>,
    pub(super) reachability: Reachability,
    /// Whether Kafka has ever reported the number of partitions.
    pub(super) counted: AtomicBool,
    /// What an operator has to fix before failed records can be delivered.
    pub(super) fault: Mutex<Option<String>>,
    /// The latest statistics of the client.
    pub(super) statistics: Mutex<Option<ClientStatistics>>,
    /// No more batches are accepted.
    pub(super) closed: AtomicBool,
    /// Tells the threads to end.
    pub(super) ended: AtomicBool,
    /// The client that queues hand records to, if there is one.
    pub(super) client: Mutex<Option<Arc<Client>>>,
    /// The thread that monitors the topic.
    pub(super) looking: OnceLock<Thread>,
}

/// A client of Kafka, with the receiver of its reports.
pub(super) type Client = BaseProducer<Deliveries>;

/// The queue of a partition.
type Queue = ClientQueue<Deliveries>;

/// Receives the delivery reports of one client.
pub(super) struct Deliveries {
    pub(super) shared: Weak<Shared>,
    pub(super) error_log: ClientErrorLog,
    /// Maximum batch that it builds, in bytes.
    pub(super) message_bytes_max: usize,
    /// Why the client has to be replaced.
    pub(super) broken: Mutex<Option<String>>,
    /// Kafka has accepted or rejected a record, or its limit refuses one.
    pub(super) decided: AtomicBool,
}

impl Shared {
    pub(super) fn new_client(self: &Arc<Self>) -> Result<Arc<Client>, InvalidOptions> {
        let mut config = self.options.producer();
        let message_bytes_max = self.topic.message_bytes_max();
        config.set("message.max.bytes", Topic::record_bytes_max(message_bytes_max).to_string());
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

    /// How to pack the records of a batch: as large as the topic allows now. If it allows less later, packs are halved.
    pub(super) fn packs(&self, records: &Records) -> Option<Packs> {
        if self.options.records == RecordForm::Single {
            return None;
        }
        let bytes_max = self.topic.message_bytes_max().saturating_sub(PACK_OVERHEAD_BYTES);
        Some(Packs::of(records, bytes_max.min(PACK_BYTES_MAX)))
    }

    /// The queue of a partition; creates it if it is new.
    pub(super) fn queue(&self, partition: Partition) -> Arc<Mutex<Queue>> {
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
            queues.push(Arc::new(Mutex::new(ClientQueue::new(Arc::clone(&self.name), client))));
        }
    }

    fn queues(&self) -> Vec<Arc<Mutex<Queue>>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Switches all queues to a client, or to none.
    pub(super) fn switch(&self, client: Option<&Arc<Client>>) {
        *lock(&self.client) = client.cloned();
        // A queue created later has the client from the start.
        for queue in self.queues() {
            let mut queue = lock(&queue);
            // A queue created just now already has the client, and may have handed over.
            queue.switch(client);
            queue.hand_over();
        }
    }

    /// Makes all queues hand over their remaining records. Returns whether there are more for which the client may have
    /// room.
    pub(super) fn hand_over(&self) -> bool {
        self.queues().into_iter().map(|queue| lock(&queue).hand_over()).fold(false, |more, queue| more | queue)
    }

    /// Whether Kafka accepts records.
    pub(super) fn bus_state(&self) -> BusState {
        let fault = lock(&self.fault).clone();
        fault.map_or_else(|| self.reachability.state(), BusState::Down)
    }

    /// Triggers an immediate query of the topic.
    pub(super) fn look_now(&self) {
        if let Some(looking) = self.looking.get() {
            looking.unpark();
        }
    }

    /// Tells the threads to end.
    pub(super) fn end(&self, threads: &Mutex<Vec<JoinHandle<()>>>) -> Vec<JoinHandle<()>> {
        self.ended.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *lock(threads));
        for thread in &threads {
            thread.thread().unpark();
        }
        threads
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Updates the number of partitions: the first answer replaces the assumed number, later ones can only increase it.
    pub(super) fn count(&self, partitions: u32) {
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

    /// Records a fault that an operator has to fix, and logs changes.
    pub(super) fn note_fault(&self, fault: Option<String>) {
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

impl Deliveries {
    /// Kafka has accepted or rejected a record, or its limit refuses one.
    fn note_progress(&self, shared: &Shared) {
        if !self.decided.swap(true, Ordering::AcqRel) {
            shared.note_fault(None);
        }
    }
}

impl DeliveryContext for Deliveries {
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

    fn may_refuse_size(&self) -> bool {
        // Without the publisher nothing is sent.
        let Some(shared) = self.shared.upgrade() else { return true };
        let may = shared.topic.has_limit_now(self.message_bytes_max);
        if may {
            self.note_progress(&shared);
        } else {
            shared.look_now();
        }
        may
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

/// Whether Kafka can never accept a record, or another one of its request.
fn is_refused(code: Option<RDKafkaErrorCode>) -> bool {
    code.is_some_and(|code| handling(code) == Handling::Refuse)
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
        let id = delivery_of(opaque);
        let queue = shared.queue(partition);
        let mut queue = lock(&queue);
        let is_latest = queue.is_of(self);
        let is_alone = is_latest && queue.is_alone(id);
        let code = error.and_then(KafkaError::rdkafka_error_code);
        match error {
            None => {
                queue.report(id, is_latest, None);
                self.note_progress(&shared);
            }
            // The events of a pack have one time, so that all of them are meant.
            Some(error) if code == Some(RDKafkaErrorCode::InvalidTimestamp) && queue.is_pack(id) && is_alone => {
                queue.report(id, false, Some(error.to_string()));
                self.note_progress(&shared);
            }
            // Which of its events is meant is found out in order, so only while nothing behind the pack is in flight.
            Some(_) if is_refused(code) && queue.is_pack(id) && is_alone => {
                queue.halve(id);
                self.note_progress(&shared);
            }
            Some(error)
                if is_refused(code) && !queue.is_pack(id) && (code.is_some_and(is_of_one_record) || is_alone) =>
            {
                queue.report(id, false, Some(error.to_string()));
                self.note_progress(&shared);
            }
            Some(error) => {
                if is_refused(code) {
                    queue.suspect(id);
                }
                self.break_off(code, &error.to_string());
                // Unless another client has already taken over.
                if is_latest {
                    queue.stop();
                }
            }
        }
    }
}
