//! Copies of dead letters in a separate topic.
//!
//! Constraints and invariants:
//! * A call ends within a bounded time, and none of its letters is still in flight in the next call.
//! * A letter is refused only if Kafka rejected it alone.
//! * A dedicated thread waits for the client and drops it: dropping joins the client's threads, one of which may wait for
//!   a name server.
//! * After any failure the client is replaced.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::dead_letter::StoredDeadLetter;
use domain::ports::{DeadLetterTopic, DeadLetterTopicError};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use crate::client::{ClientErrorLog, REPORTS_POLL, log};
use crate::error::{Handling, handling};
use crate::lock::lock;
use crate::options::{InvalidOptions, KafkaOptions};
use crate::thread::spawn;
use crate::topic::{TRACE_PARENT, Topic};

/// Suffix of the name of a dead letter topic.
const SUFFIX: &str = ".dlq";
/// Maximum time to send the letters of a call.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum wait for the topic's metadata.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum reason in a header, in bytes: a record of the maximum size has to fit with its headers.
const REASON_BYTES_MAX: usize = 4_096;
/// Maximum number of calls that wait while one is in progress.
const CALLS_MAX: usize = 1;

/// The dead letter topic.
pub struct KafkaDeadLetterTopic {
    calls: mpsc::SyncSender<Call>,
}

/// Letters to send, and where to report the outcome.
struct Call {
    letters: Vec<StoredDeadLetter>,
    done: oneshot::Sender<Result<(), DeadLetterTopicError>>,
}

/// State of the one active sender.
struct DeadLetterSender {
    topic: Topic,
    name: String,
    producer: BaseProducer<Reports>,
    options: KafkaOptions,
    /// The topic was found since the producer was created.
    seen: bool,
    /// The producer failed and is to be replaced.
    broken: bool,
}

/// Outcome of the letters of one call, by their ids.
#[derive(Default)]
struct Reports {
    failed: Mutex<BTreeMap<usize, KafkaError>>,
    error_log: ClientErrorLog,
}

impl KafkaDeadLetterTopic {
    /// The dead letter topic for the topic of `options`: its name with the suffix `.dlq`, with one partition. It is
    /// created when the first letter is sent. Needs a tokio runtime.
    ///
    /// # Errors
    /// The client rejects the options; the message names the option.
    pub fn open(options: &KafkaOptions) -> Result<Self, InvalidOptions> {
        let mut sender = DeadLetterSender::new(options)?;
        let (calls, received) = mpsc::sync_channel::<Call>(CALLS_MAX);
        // Ends with the last sender of calls.
        spawn("kafka-letters", move || {
            for Call { letters, done } in received {
                // Unless the caller has given up.
                if !done.is_closed() {
                    let _ = done.send(sender.send(&letters));
                }
            }
        })?;
        Ok(Self { calls })
    }
}

fn producer(options: &KafkaOptions) -> Result<BaseProducer<Reports>, InvalidOptions> {
    let producer = options.producer().create_with_context(Reports::default());
    producer.map_err(|error| InvalidOptions(error.to_string()))
}

#[async_trait]
impl DeadLetterTopic for KafkaDeadLetterTopic {
    async fn send(&self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError> {
        let (done, sent) = oneshot::channel();
        if self.calls.try_send(Call { letters: letters.to_vec(), done }).is_err() {
            return Err(unavailable("letters of earlier calls are still being sent".to_owned()));
        }
        sent.await.unwrap_or_else(|error| Err(DeadLetterTopicError::Unavailable(error.into())))
    }
}

fn unavailable(reason: String) -> DeadLetterTopicError {
    DeadLetterTopicError::Unavailable(reason.into())
}

impl DeadLetterSender {
    /// Sends to the dead letter topic for the topic of `options`.
    fn new(options: &KafkaOptions) -> Result<Self, InvalidOptions> {
        let name = format!("{}{SUFFIX}", options.topic);
        let options = KafkaOptions { topic: name.clone(), partitions: NonZeroU32::MIN, ..options.clone() };
        Ok(Self {
            topic: Topic::new(&options, tokio::runtime::Handle::current()),
            name,
            producer: producer(&options)?,
            options,
            seen: false,
            broken: false,
        })
    }

    fn send(&mut self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError> {
        match self.send_together(letters) {
            // The cause may be another letter of the same request; only sending each alone is conclusive.
            Err(DeadLetterTopicError::Refused { .. }) if letters.len() > 1 => {
                letters.iter().try_for_each(|letter| self.send_together(std::slice::from_ref(letter)))
            }
            sent => sent,
        }
    }

    fn send_together(&mut self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError> {
        if self.broken || self.producer.client().fatal_error().is_some() {
            self.producer = producer(&self.options).map_err(|error| unavailable(error.to_string()))?;
            self.seen = false;
            self.broken = false;
        }
        let sent = self.attempt(letters);
        if sent.is_err() {
            // None of these letters may carry over into the next call.
            self.producer.purge(PurgeConfig::default().queue().inflight());
            self.broken = true;
        }
        sent
    }

    fn attempt(&mut self, letters: &[StoredDeadLetter]) -> Result<(), DeadLetterTopicError> {
        if !self.seen {
            let client = self.producer.client();
            let look = self.topic.look(|| client.fetch_metadata(Some(&self.name), LOOK_TIMEOUT));
            look.map_err(|error| unavailable(self.producer.context().error_log.explain(&error)))?;
            self.seen = true;
        }
        lock(&self.producer.context().failed).clear();
        let began = Instant::now();
        for (index, letter) in letters.iter().enumerate() {
            // The queue has room again once some are sent.
            while let Err((error, _)) = self.producer.send(record(&self.name, letter, index)) {
                let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !full || began.elapsed() > SEND_TIMEOUT {
                    return Err(self.failure(letters, index, error));
                }
                self.producer.poll(REPORTS_POLL);
            }
        }
        while self.producer.in_flight_count() > 0 && began.elapsed() < SEND_TIMEOUT {
            self.producer.poll(REPORTS_POLL);
        }
        if self.producer.in_flight_count() > 0 {
            let otherwise = format!("no answer within {SEND_TIMEOUT:?}");
            return Err(unavailable(self.producer.context().error_log.explain(&otherwise)));
        }
        // Errors of a letter itself take precedence over transient ones.
        let failed = std::mem::take(&mut *lock(&self.producer.context().failed));
        let worst = failed.into_iter().min_by_key(|(index, error)| (!is_refusal(error), *index));
        worst.map_or(Ok(()), |(index, error)| Err(self.failure(letters, index, error)))
    }

    fn failure(&self, letters: &[StoredDeadLetter], index: usize, error: KafkaError) -> DeadLetterTopicError {
        match letters.get(index).filter(|_| is_refusal(&error)) {
            Some(letter) => DeadLetterTopicError::Refused { id: letter.id, cause: error.into() },
            None => unavailable(self.producer.context().error_log.explain(&error.to_string())),
        }
    }
}

/// Whether Kafka would reject this letter even if it were sent alone.
fn is_refusal(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code == Some(RDKafkaErrorCode::MessageSizeTooLarge) || code.is_some_and(|code| handling(code) == Handling::Refuse)
}

fn record<'a>(topic: &'a str, letter: &'a StoredDeadLetter, index: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut reason_bytes = letter.reason.len().min(REASON_BYTES_MAX);
    while !letter.reason.is_char_boundary(reason_bytes) {
        reason_bytes -= 1;
    }
    let headers = [
        ("reason", letter.reason.get(..reason_bytes).unwrap_or_default().to_owned()),
        // Each group has its own letters.
        ("group", letter.group_partition.group.clone()),
        ("topic", letter.group_partition.topic.clone()),
        ("partition", letter.group_partition.partition.to_string()),
        ("offset", letter.offset.to_string()),
        ("record_index", letter.record_index.to_string()),
        ("attempts", letter.attempts.to_string()),
    ];
    let mut headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len() + 1), |all, (key, value)| {
        all.insert(Header { key, value: Some(value) })
    });
    if let Some(trace_parent) = &letter.trace_parent {
        headers = headers.insert(Header { key: TRACE_PARENT, value: Some(trace_parent.as_bytes()) });
    }
    BaseRecord::with_opaque_to(topic, index).partition(0).key(&*letter.key).payload(&*letter.value).headers(headers)
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, sender: &str) {
        log(level, facility, sender);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.error_log.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        match result {
            Ok(_) => self.error_log.clear(),
            Err((error, _)) => {
                lock(&self.failed).insert(index, error.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use domain::ports::GroupPartition;
    use domain::timestamp::Timestamp;

    use super::*;
    use crate::options::RecordForm;

    /// A client that has forgotten its brokers never connects again.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_finds_no_broker_is_replaced_too() {
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let options = KafkaOptions {
            brokers: nobody.to_string(),
            topic: "logs".to_owned(),
            partitions: NonZeroU32::MIN,
            replication_factor: 1,
            retention: Duration::from_secs(3_600),
            compression: "none".to_owned(),
            records: RecordForm::Single,
            group: "group".to_owned(),
            memory_bytes_max: 1_000_000,
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        };
        let mut sender = DeadLetterSender::new(&options).expect("valid options");
        let letter = StoredDeadLetter {
            id: 1,
            group_partition: GroupPartition { group: "group".to_owned(), topic: "logs".to_owned(), partition: 0 },
            offset: 0,
            record_index: 0,
            key: Vec::new(),
            value: Vec::new(),
            trace_parent: None,
            reason: String::new(),
            at: Timestamp::MIN,
            redriven_at: None,
            attempts: 1,
        };
        let sender = tokio::task::spawn_blocking(move || {
            sender.send(&[letter]).expect_err("nobody listens");
            sender
        });
        let sender = sender.await.expect("no panic");
        assert!(sender.broken, "the next call begins with a new client");
    }
}
