//! Opens the configured bus, store and limiter.
//!
//! Constraint: an unavailable server does not prevent the start; its users wait for it. An invalid setting is reported
//! at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use adapter_embedded::agent_limiter::LocalAgentLimiter;
use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use adapter_embedded::key_limiter::LocalKeyLimiter;
use adapter_embedded::limiter::LocalLimiter;
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, SealOptions, SqliteStore, StoreOptions};
use adapter_kafka::{ClientStatistics, KafkaDeadLetterTopic, KafkaPublisher, KafkaSource};
use adapter_postgres::{PostgresOptions, PostgresStore};
use adapter_redis::{
    ROUND_TRIP_MAX, RedisAgentLimiter, RedisConnection, RedisIdempotencyStore, RedisKeyLimiter, RedisLimiter,
    RedisQueryCache,
};
use anyhow::Context;
use application::delivery::Delivery;
use application::health::Check;
use domain::backoff::Backoff;
use domain::partition::{Partition, PriorityLane};
use domain::ports::{
    AgentLimiter, AgentLimits, BusState, Clock, DeadLetterTopic, GroupPartition, IdempotencyStore, KeyLimiter,
    LogStore, QueryCache, RateLimiter, RateLimits, RecordPublisher, RecordSource, Telemetry,
};

use crate::settings::{BusKind, LimiterKind, Settings, StoreKind};

/// The file of the embedded store in the data directory.
pub const STORE_FILE: &str = "store.db";
/// Topic and group of the embedded bus.
const TOPIC: &str = "logs";
const GROUP: &str = "log-processor";
/// Maximum duration of a query (contract, "Consumer API").
const QUERY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The parts of a bus that a role needs.
pub struct Bus {
    /// The producing side.
    pub publisher: Arc<dyn RecordPublisher>,
    /// The consuming side.
    pub source: Option<Source>,
    /// What the operator must fix before the bus accepts records again, if anything; only for a bus that can fail this
    /// way.
    pub fault: Option<Check>,
    /// The statistics of the Kafka client.
    pub client: Option<ClientCounts>,
}

/// Returns the latest statistics of the Kafka client, if there are any yet.
pub type ClientCounts = Arc<dyn Fn() -> Option<ClientStatistics> + Send + Sync>;

/// The consuming side of a bus.
pub struct Source {
    /// The records.
    pub records: Arc<dyn RecordSource>,
    /// Its health, if it differs from that of the producing side.
    pub check: Option<Check>,
    /// The topic that dead letters are copied to, if the bus has other topics.
    pub dead_letters: Option<Arc<dyn DeadLetterTopic>>,
}

/// The group_partition that the position of a partition belongs to.
#[must_use]
pub fn group_partition(settings: &Settings, partition: Partition) -> GroupPartition {
    let (group, topic) = match settings.bus {
        BusKind::Embedded => (GROUP, TOPIC),
        BusKind::Kafka => (settings.kafka.group.as_str(), settings.kafka.topic.as_str()),
    };
    GroupPartition { group: group.to_owned(), topic: topic.to_owned(), partition }
}

/// Whether a partition is reserved for ERROR and FATAL.
#[must_use]
pub fn priority_lane(settings: &Settings) -> PriorityLane {
    match settings.bus {
        BusKind::Embedded => PriorityLane::Shared,
        BusKind::Kafka => settings.kafka.priority_lane,
    }
}

/// The store, and what only one kind of store has.
pub struct Store {
    /// The store.
    pub events: Arc<dyn LogStore>,
    /// Why the next day's table cannot be created; of a store with daily tables.
    pub next_day: Option<Check>,
    /// The store again, if it seals events.
    pub sealing: Option<Arc<SqliteStore>>,
}

/// Opens the store.
///
/// # Errors
/// Its file cannot be opened, or its URL is invalid.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let dedup_window = settings.store.dedup_window.0;
    match settings.store.kind {
        StoreKind::Embedded => {
            make_data_dir(settings)?;
            let file = settings.data_dir.join(STORE_FILE);
            let options = StoreOptions { dedup_window, query_timeout: QUERY_TIMEOUT };
            let bytes_max = Some(settings.store.bytes_max.0).filter(|bytes| *bytes > 0);
            let seal = SealOptions {
                enabled: settings.store.seal,
                segment_bytes_max: bytes_max.unwrap_or(u64::MAX),
                ..SealOptions::default()
            };
            let directory = settings.data_dir.join(SEGMENTS);
            let segments = Directory::open(&directory)
                .with_context(|| format!("cannot create the directory {}", directory.display()))?;
            let store = SqliteStore::over(&file, options, seal, Arc::new(segments)).await;
            let store = Arc::new(store.with_context(|| format!("cannot open the store {}", file.display()))?);
            Ok(Store { events: Arc::<SqliteStore>::clone(&store), next_day: None, sealing: Some(store) })
        }
        StoreKind::Postgres => {
            let options = PostgresOptions {
                url: settings.postgres.url.0.clone(),
                schema: settings.postgres.schema.clone(),
                dedup_window,
                resend_window: settings.ingest.resend_window.0.min(dedup_window),
                query_timeout: QUERY_TIMEOUT,
            };
            let store = PostgresStore::new(&options);
            let unusable = |error| {
                anyhow::anyhow!(
                    "postgres.url or postgres.schema cannot be used (are special characters of the password percent-encoded?): {error}"
                )
            };
            let store = Arc::new(store.map_err(unusable)?);
            let asked = Arc::clone(&store);
            let next_day: Check = Arc::new(move || asked.next_day_fault());
            Ok(Store { events: store, next_day: Some(next_day), sealing: None })
        }
    }
}

/// Opens the bus; its consuming side only for a consumer. `store` holds the positions of the embedded bus.
///
/// # Errors
/// Its directory cannot be opened, or the Kafka client rejects an option.
pub async fn open_bus(
    settings: &Settings,
    disk: &Arc<Disk>,
    clock: &Arc<dyn Clock>,
    store: Option<&Arc<dyn LogStore>>,
) -> anyhow::Result<Bus> {
    match settings.bus {
        BusKind::Embedded => {
            let bus = open_embedded_bus(settings, disk, clock, store).await?;
            let publisher: Arc<dyn RecordPublisher> = Arc::<EmbeddedBus>::clone(&bus);
            let source = Some(Source { records: bus, check: None, dead_letters: None });
            Ok(Bus { publisher, source, fault: None, client: None })
        }
        BusKind::Kafka => {
            let options = settings.kafka.options(settings.memory_bytes_max.in_memory())?;
            let refused = "the Kafka client rejects a setting; see kafka.properties and kafka.tls…";
            let source = match store {
                None => None,
                Some(_) => {
                    let source = Arc::new(KafkaSource::open(&options).context(refused)?);
                    let asked = Arc::clone(&source);
                    Some(Source {
                        records: source,
                        check: Some(Arc::new(move || fault(asked.state()))),
                        dead_letters: Some(Arc::new(KafkaDeadLetterTopic::open(&options).context(refused)?)),
                    })
                }
            };
            let publisher = Arc::new(KafkaPublisher::open(options).await.context(refused)?);
            let (asked, counting) = (Arc::clone(&publisher), Arc::clone(&publisher));
            Ok(Bus {
                publisher,
                source,
                fault: Some(Arc::new(move || asked.fault())),
                client: Some(Arc::new(move || counting.statistics())),
            })
        }
    }
}

/// The delivery queues, and the journal in front of a bus that may be unavailable; it must be closed after the queues.
pub type OpenedDelivery = (Delivery, Option<Arc<DiskJournal>>);

/// Opens the delivery queues.
///
/// # Errors
/// The directory of the journal cannot be opened.
pub async fn open_delivery(
    settings: &Settings,
    disk: &Arc<Disk>,
    publisher: Arc<dyn RecordPublisher>,
    telemetry: Arc<dyn Telemetry>,
) -> anyhow::Result<OpenedDelivery> {
    match settings.bus {
        BusKind::Embedded => Ok((Delivery::new(publisher, telemetry), None)),
        BusKind::Kafka => {
            make_data_dir(settings)?;
            let (data_dir, options) = (settings.data_dir.clone(), JournalOptions::new(settings.journal.bytes_max.0));
            let disk = Arc::clone(disk);
            let journal = tokio::task::spawn_blocking(move || DiskJournal::open(&data_dir, options, disk)).await?;
            let journal = Arc::new(journal.context("cannot open the journal (in SPILLWAY_DATA_DIR)")?);
            let delivery =
                Delivery::with_journal(publisher, Arc::<DiskJournal>::clone(&journal), settings.ack_wait.0, telemetry);
            Ok((delivery, Some(journal)))
        }
    }
}

fn fault(state: BusState) -> Option<String> {
    match state {
        BusState::Up => None,
        BusState::Down(reason) => Some(reason),
    }
}

async fn open_embedded_bus(
    settings: &Settings,
    disk: &Arc<Disk>,
    clock: &Arc<dyn Clock>,
    store: Option<&Arc<dyn LogStore>>,
) -> anyhow::Result<Arc<EmbeddedBus>> {
    make_data_dir(settings)?;
    let directory = settings.data_dir.join("bus");
    let partitions = settings.embedded.partitions.max(EmbeddedBus::partitions_in(&directory));
    let mut positions = Vec::new();
    // Existing partitions are kept, even if fewer are configured.
    for partition in 0..partitions {
        let position = match store {
            Some(store) => position(store.as_ref(), &group_partition(settings, partition)).await,
            None => None,
        };
        positions.push(position.unwrap_or(0));
    }
    let options = BusOptions {
        partitions: NonZeroU32::new(settings.embedded.partitions).unwrap_or(NonZeroU32::MIN),
        memory_bytes_max: settings.memory_bytes_max.in_memory(),
        retention_bytes: settings.embedded.retention_bytes.0,
        retention_age: settings.embedded.retention_age.0,
    };
    let (disk, clock) = (Arc::clone(disk), Arc::clone(clock));
    // Recovery reads from disk.
    let bus = tokio::task::spawn_blocking(move || {
        EmbeddedBus::open(&directory, &options, &disk, &clock, |partition| {
            positions.get(partition as usize).copied().unwrap_or(0)
        })
    });
    Ok(Arc::new(bus.await?.context("cannot open the bus (in SPILLWAY_DATA_DIR)")?))
}

/// The position in the store; waits until the store answers.
async fn position(store: &dyn LogStore, group_partition: &GroupPartition) -> Option<u64> {
    for wait in Backoff::new(std::time::Duration::from_millis(100), std::time::Duration::from_secs(5)) {
        match store.position(group_partition).await {
            Ok(position) => return position,
            Err(error) => tracing::warn!(%error, "cannot read the position from the store, retrying"),
        }
        tokio::time::sleep(wait).await;
    }
    None
}

fn make_data_dir(settings: &Settings) -> anyhow::Result<()> {
    let directory = &settings.data_dir;
    // Synced to disk before anything in it is promised.
    Directory::open(directory)
        .map(drop)
        .with_context(|| format!("cannot create the data directory {}", directory.display()))
}

/// Components that processes share besides the bus and the store.
pub struct Shared {
    /// Limits the request rate.
    pub limiter: Arc<dyn RateLimiter>,
    /// Limits what access keys send.
    pub key_limiter: Arc<dyn KeyLimiter>,
    /// Remembers answers, if a shared server is configured.
    pub idempotency: Option<Arc<dyn IdempotencyStore>>,
    /// Caches answers to expensive queries, if a shared server is configured.
    pub cache: Option<Arc<dyn QueryCache>>,
    /// The health of the server.
    pub check: Option<Check>,
    /// Limits what agents send.
    pub agent_limiter: Arc<dyn AgentLimiter>,
}

/// Opens the shared components.
///
/// # Errors
/// The URL of the server is invalid.
pub fn open_shared(settings: &Settings) -> anyhow::Result<Shared> {
    let limits = RateLimits {
        single_per_second: NonZeroU32::new(settings.rate_limit.single_per_second),
        batch_per_second: NonZeroU32::new(settings.rate_limit.batch_per_second),
    };
    let local: Arc<dyn RateLimiter> = Arc::new(LocalLimiter::new(limits));
    let key_limiter: Arc<dyn KeyLimiter> = Arc::new(LocalKeyLimiter::default());
    let bytes_per_second = u32::try_from(settings.rate_limit.agent_bytes_per_second.0).unwrap_or(u32::MAX);
    let agent_limits = AgentLimits {
        events_per_second: NonZeroU32::new(settings.rate_limit.agent_events_per_second),
        bytes_per_second: NonZeroU32::new(bytes_per_second),
    };
    let agent_limiter: Arc<dyn AgentLimiter> = Arc::new(LocalAgentLimiter::new(agent_limits));
    match settings.limiter {
        LimiterKind::Embedded => {
            Ok(Shared { limiter: local, key_limiter, idempotency: None, cache: None, check: None, agent_limiter })
        }
        LimiterKind::Redis => {
            let connection = RedisConnection::connect(&settings.redis.url.0, ROUND_TRIP_MAX)
                .map_err(|error| anyhow::anyhow!("redis.url cannot be used: {error}"))?;
            let connected = || connection.clone();
            let asked = connected();
            let window = settings.store.dedup_window.0;
            let store = format!("{}:{}", group_partition(settings, 0).group, settings.postgres.schema);
            Ok(Shared {
                limiter: Arc::new(RedisLimiter::new(connected(), limits, local)),
                key_limiter: Arc::new(RedisKeyLimiter::new(connected(), key_limiter)),
                idempotency: Some(Arc::new(RedisIdempotencyStore::new(connected(), window))),
                cache: Some(Arc::new(RedisQueryCache::new(connected(), &store))),
                check: Some(Arc::new(move || asked.fault())),
                agent_limiter: Arc::new(RedisAgentLimiter::new(connected(), agent_limits, agent_limiter)),
            })
        }
    }
}
