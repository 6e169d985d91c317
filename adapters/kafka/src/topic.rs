//! The topic: its existence, its expected settings, and the format of its records.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::timestamp::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaRespErr;
use tokio::runtime::Handle;

use crate::lock::lock;
use crate::options::{KafkaOptions, MESSAGE_BYTES_MAX};

/// Header of a record whose event may be repeated, because the client chose or derived its id.
pub const ID_ORIGIN: &str = "id-origin";
/// Its value.
pub const ID_ORIGIN_CLIENT: &[u8] = b"client";
/// Header of a record whose request belongs to a trace (W3C Trace Context, section 3.2).
pub const TRACE_PARENT: &str = "traceparent";

/// Maximum wait for a change to the cluster.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum wait for the topic's settings, which matter only if they are wrong.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a newly created topic is queried.
const MADE_INTERVAL: Duration = Duration::from_millis(50);
/// Without this setting, Kafka 4 rejects records whose time is more than an hour ahead of the broker's.
const TIMESTAMP_AFTER_MAX: &str = "message.timestamp.after.max.ms";

/// A record's time in Kafka: milliseconds, and never a value that means "now" or "none".
pub fn kafka_time(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(1_000).max(1)
}

/// How old the knowledge of the topic's limit may be when a record is refused for it.
const LIMIT_AGE_MAX: Duration = Duration::from_secs(1);
/// What Kafka adds to a record: the header of its batch. The client does not count it.
const BATCH_OVERHEAD_BYTES: usize = 61;

/// The `max.message.bytes` of a topic as passed to librdkafka, whose minimum is 1,000.
fn allowed(bytes: usize) -> usize {
    bytes.clamp(1_000, MESSAGE_BYTES_MAX)
}

/// The expected topic.
pub struct Topic {
    config: ClientConfig,
    name: String,
    partitions: i32,
    replication_factor: i32,
    retention: Duration,
    message_bytes_max: AtomicUsize,
    /// When the limit was read.
    limit_read_at: Mutex<Option<Instant>>,
    /// The limit could not be read, which was logged.
    limit_unreadable: AtomicBool,
    compared: AtomicBool,
    runtime: Handle,
}

impl Topic {
    /// The topic of `options`. Does not query it yet.
    pub fn new(options: &KafkaOptions, runtime: Handle) -> Self {
        Self {
            config: options.client(),
            name: options.topic.clone(),
            partitions: i32::try_from(options.partitions.get()).unwrap_or(i32::MAX),
            replication_factor: i32::from(options.replication_factor),
            retention: options.retention,
            message_bytes_max: AtomicUsize::new(MESSAGE_BYTES_MAX),
            limit_read_at: Mutex::default(),
            limit_unreadable: AtomicBool::new(false),
            compared: AtomicBool::new(false),
            runtime,
        }
    }

    /// Maximum batch, in bytes, that the topic accepts and Spillway builds.
    pub fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.load(Ordering::Acquire)
    }

    /// The largest record that a client may send to a topic with this limit, in bytes as the client counts them.
    pub fn record_bytes_max(limit_bytes: usize) -> usize {
        if limit_bytes == MESSAGE_BYTES_MAX { limit_bytes } else { allowed(limit_bytes - BATCH_OVERHEAD_BYTES) }
    }

    /// Whether the limit is known to be this one now: an operator may have raised it, and a record is not refused for a
    /// limit of the past. [`MESSAGE_BYTES_MAX`] is Spillway's own limit, which no topic raises.
    pub fn has_limit_now(&self, limit_bytes: usize) -> bool {
        let was_just_read = || lock(&self.limit_read_at).is_some_and(|at| at.elapsed() <= LIMIT_AGE_MAX);
        self.message_bytes_max() == limit_bytes && (limit_bytes == MESSAGE_BYTES_MAX || was_just_read())
    }

    /// The same topic, for components that leave reporting differences to others.
    pub fn uncompared(self) -> Self {
        Self { compared: AtomicBool::new(true), ..self }
    }

    /// Queries the topic, creates it if it is missing, and logs differences from the expected settings when it is first
    /// found. Returns its number of partitions. Must not be called on runtime threads.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn look(&self, metadata: impl Fn() -> KafkaResult<Metadata>) -> Result<u32, String> {
        let began = Instant::now();
        loop {
            let metadata = metadata().map_err(|error| error.to_string())?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == self.name);
            match topic.map(|topic| (topic.error(), topic.partitions())) {
                Some((None, partitions)) if !partitions.is_empty() => {
                    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
                    if !self.compared.swap(true, Ordering::AcqRel) {
                        self.runtime.block_on(self.compare(partitions.len(), replicas));
                    } else if self.message_bytes_max() < MESSAGE_BYTES_MAX {
                        self.runtime.block_on(self.look_at_limit());
                    }
                    return u32::try_from(partitions.len()).map_err(|error| error.to_string());
                }
                Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) | None, _)) | None => {
                    self.runtime.block_on(self.make())?;
                }
                // Being created.
                Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE), _)) => {}
                Some((Some(error), _)) => {
                    return Err(format!("topic {}: {}", self.name, RDKafkaErrorCode::from(error)));
                }
            }
            if began.elapsed() > ADMIN_TIMEOUT {
                return Err(format!("topic {} was created but is not visible", self.name));
            }
            std::thread::park_timeout(MADE_INTERVAL);
        }
    }

    /// Makes the next query compare the topic with its expected settings again.
    pub fn compare_again(&self) {
        self.compared.store(false, Ordering::Release);
    }

    fn admin(&self) -> KafkaResult<AdminClient<DefaultClientContext>> {
        self.config.create()
    }

    async fn make(&self) -> Result<(), String> {
        let failed = |error: String| format!("topic {} is missing and cannot be created: {error}", self.name);
        let admin = self.admin().map_err(|error| failed(error.to_string()))?;
        let retention_ms = self.retention.as_millis().to_string();
        let (bytes, any_time) = (MESSAGE_BYTES_MAX.to_string(), i64::MAX.to_string());
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT)).request_timeout(Some(ADMIN_TIMEOUT));
        // Brokers before 3.6 do not know the timestamp limit, and do not enforce one.
        for limits_time in [true, false] {
            let replication = TopicReplication::Fixed(self.replication_factor);
            let mut topic = NewTopic::new(&self.name, self.partitions, replication)
                .set("retention.ms", &retention_ms)
                .set("max.message.bytes", &bytes);
            if limits_time {
                topic = topic.set(TIMESTAMP_AFTER_MAX, &any_time);
            }
            let results = admin.create_topics([&topic], &options).await.map_err(|error| failed(error.to_string()))?;
            match results.into_iter().next() {
                Some(Ok(_)) => {
                    let (partitions, replicas) = (self.partitions, self.replication_factor);
                    tracing::info!(topic = self.name, partitions, replicas, "created the topic");
                    return Ok(());
                }
                // Another process created it first.
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return Ok(()),
                Some(Err((_, RDKafkaErrorCode::InvalidConfig))) if limits_time => {}
                Some(Err((_, error))) => return Err(failed(error.to_string())),
                None => return Err(failed("no answer".to_owned())),
            }
        }
        Err(failed("the broker rejects its settings".to_owned()))
    }

    /// Logs where the topic differs from its expected settings.
    async fn compare(&self, partitions: usize, replicas: usize) {
        let topic = self.name.as_str();
        if partitions != usize::try_from(self.partitions).unwrap_or(0) {
            tracing::warn!(
                topic,
                partitions,
                configured = self.partitions,
                "the topic has a different number of partitions"
            );
        }
        if replicas != usize::try_from(self.replication_factor).unwrap_or(0) {
            tracing::warn!(
                topic,
                replicas,
                configured = self.replication_factor,
                "the topic has a different replication factor"
            );
        }
        if replicas < 2 {
            tracing::warn!(
                topic,
                replicas,
                "with fewer than 2 replicas, losing one broker's disk loses acknowledged records"
            );
        }
        let settings = match self.settings().await {
            Ok(settings) => settings,
            Err(error) => {
                tracing::warn!(topic, %error, "cannot read the settings of the topic");
                return;
            }
        };
        let number = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref()?.parse::<i64>().ok());
        if replicas >= 2 && number("min.insync.replicas").is_some_and(|replicas| replicas < 2) {
            tracing::warn!(
                topic,
                "with min.insync.replicas below 2, a record can be acknowledged while only one broker has it"
            );
        }
        if let Some(retention) = number("retention.ms")
            && u128::from(retention.unsigned_abs()) != self.retention.as_millis()
        {
            tracing::warn!(
                topic,
                retention_ms = retention,
                configured_ms = self.retention.as_millis(),
                "the topic has a different retention"
            );
        }
        if let Some(after) = number(TIMESTAMP_AFTER_MAX)
            && after < i64::MAX
        {
            tracing::warn!(
                topic,
                limit_ms = after,
                "the topic rejects records whose time is further ahead of the broker's"
            );
        }
        if let Some(bytes) = number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()) {
            if bytes < MESSAGE_BYTES_MAX {
                tracing::warn!(
                    topic,
                    bytes,
                    needed = MESSAGE_BYTES_MAX,
                    "the topic rejects large records: set max.message.bytes"
                );
            }
            self.note_limit(bytes);
        }
    }

    /// Checks whether a topic that rejected large records accepts them now.
    async fn look_at_limit(&self) {
        let settings = match self.settings().await {
            Ok(settings) => settings,
            Err(error) => {
                if !self.limit_unreadable.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        topic = self.name,
                        %error,
                        "cannot read max.message.bytes of the topic: larger records than it allowed last wait until it can be read"
                    );
                }
                return;
            }
        };
        self.limit_unreadable.store(false, Ordering::Release);
        let value = settings.get("max.message.bytes").and_then(|entry| entry.value.as_deref()?.parse::<usize>().ok());
        let before = self.message_bytes_max();
        if let Some(bytes) = value
            && self.note_limit(bytes) != before
        {
            tracing::info!(topic = self.name, bytes, "the topic's record size limit has changed");
        }
    }

    /// Keeps the limit that was just read, and returns what Spillway makes of it.
    fn note_limit(&self, bytes: usize) -> usize {
        let bytes = allowed(bytes);
        self.message_bytes_max.store(bytes, Ordering::Release);
        *lock(&self.limit_read_at) = Some(Instant::now());
        bytes
    }

    async fn settings(&self) -> Result<ConfigResource, KafkaError> {
        let admin = self.admin()?;
        let options = AdminOptions::new().request_timeout(Some(SETTINGS_TIMEOUT));
        let mut found = admin.describe_configs(&[ResourceSpecifier::Topic(&self.name)], &options).await?;
        found.pop().ok_or(KafkaError::NoMessageReceived)?.map_err(KafkaError::AdminOp)
    }
}
