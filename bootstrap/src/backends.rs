//! Opens what the settings name: bus, store, limiter.
//!
//! Constraint: a server that is away is waited for by whoever uses it, and keeps no process from starting; what is said
//! wrong about it is said at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use adapter_embedded::limiter::LocalLimiter;
use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SqliteStore, StoreOptions};
use adapter_kafka::{ClientStatistics, KafkaDeadLetterTopic, KafkaPublisher, KafkaSource};
use adapter_postgres::{PostgresOptions, PostgresStore};
use adapter_redis::{ROUND_TRIP_MAX, RedisConnection, RedisIdempotencyStore, RedisLimiter, RedisQueryCache};
use anyhow::Context;
use application::deliver::Delivery;
use application::health::Check;
use domain::backoff::Backoff;
use domain::partition::{Partition, PriorityLane};
use domain::ports::{
    BusState, Clock, DeadLetterTopic, Feed, IdempotencyStore, LogStore, QueryCache, RateLimiter, RateLimits,
    RecordPublisher, RecordSource, Telemetry,
};

use crate::app::bytes;
use crate::settings::{BusKind, LimiterKind, Settings, StoreKind};

/// Topic and group of the embedded bus.
const TOPIC: &str = "logs";
const GROUP: &str = "log-processor";
/// Longest time a query may take (contract, "Consumer API").
const QUERY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A bus, as far as it is needed.
pub struct Bus {
    /// The way in.
    pub publisher: Arc<dyn RecordPublisher>,
    /// The way out.
    pub source: Option<Source>,
    /// What somebody has to mend before the bus takes records again, if anything; of a bus that can need mending.
    pub trouble: Option<Check>,
    /// What the client of Kafka counts by itself.
    pub client: Option<ClientCounts>,
}

/// Says what the client of Kafka counted last, if it did yet.
pub type ClientCounts = Arc<dyn Fn() -> Option<ClientStatistics> + Send + Sync>;

/// The way out of a bus.
pub struct Source {
    /// The records.
    pub records: Arc<dyn RecordSource>,
    /// Whether it works, should that not be the same as for the way in.
    pub check: Option<Check>,
    /// Where dead letters are copied to, should the bus have other topics.
    pub dead_letters: Option<Arc<dyn DeadLetterTopic>>,
}

/// The position of a partition belongs to this feed.
#[must_use]
pub fn feed(settings: &Settings, partition: Partition) -> Feed {
    let (group, topic) = match settings.bus {
        BusKind::Embedded => (GROUP, TOPIC),
        BusKind::Kafka => (settings.kafka.group.as_str(), settings.kafka.topic.as_str()),
    };
    Feed { group: group.to_owned(), topic: topic.to_owned(), partition }
}

/// Which partitions are for ERROR and FATAL alone.
#[must_use]
pub fn priority_lane(settings: &Settings) -> PriorityLane {
    match settings.bus {
        BusKind::Embedded => PriorityLane::Shared,
        BusKind::Kafka => settings.kafka.priority_lane,
    }
}

/// Opens the store; with it, where each day has a table, what says why that of the next day cannot be made.
///
/// # Errors
/// Its file cannot be opened, or its URL is none.
pub async fn open_store(settings: &Settings) -> anyhow::Result<(Arc<dyn LogStore>, Option<Check>)> {
    let dedup_window = settings.store.dedup_window.0;
    match settings.store.kind {
        StoreKind::Embedded => {
            make_data_dir(settings)?;
            let file = settings.data_dir.join("store.db");
            let options = StoreOptions { dedup_window, query_timeout: QUERY_TIMEOUT };
            let store = SqliteStore::open(&file, options).await;
            Ok((Arc::new(store.with_context(|| format!("cannot open the store {}", file.display()))?), None))
        }
        StoreKind::Postgres => {
            let options = PostgresOptions {
                url: settings.postgres.url.0.clone(),
                schema: settings.postgres.schema.clone(),
                dedup_window,
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
            Ok((store, Some(Arc::new(move || asked.next_day_trouble()))))
        }
    }
}

/// Opens the bus; its way out only for a consumer. `store` knows the positions of the embedded one.
///
/// # Errors
/// Its directory cannot be opened, or Kafka's client refuses an option.
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
            Ok(Bus { publisher, source, trouble: None, client: None })
        }
        BusKind::Kafka => {
            let options = settings.kafka.options(bytes(settings.memory_bytes_max))?;
            let refused = "Kafka's client refuses a setting; see kafka.properties and kafka.tls…";
            let source = match store {
                None => None,
                Some(_) => {
                    let source = Arc::new(KafkaSource::open(&options).context(refused)?);
                    let asked = Arc::clone(&source);
                    Some(Source {
                        records: source,
                        check: Some(Arc::new(move || trouble(asked.state()))),
                        dead_letters: Some(Arc::new(KafkaDeadLetterTopic::open(&options).context(refused)?)),
                    })
                }
            };
            let publisher = Arc::new(KafkaPublisher::open(options).await.context(refused)?);
            let (asked, counting) = (Arc::clone(&publisher), Arc::clone(&publisher));
            Ok(Bus {
                publisher,
                source,
                trouble: Some(Arc::new(move || asked.trouble())),
                client: Some(Arc::new(move || counting.statistics())),
            })
        }
    }
}

/// The delivery lines, and the journal before a bus that may be away, to be closed after them.
pub type OpenedDelivery = (Delivery, Option<Arc<DiskJournal>>);

/// Opens the delivery lines.
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
            let journal = Arc::new(journal.context("cannot open the journal (SPILLWAY_DATA_DIR says where)")?);
            let delivery =
                Delivery::with_journal(publisher, Arc::<DiskJournal>::clone(&journal), settings.ack_wait.0, telemetry);
            Ok((delivery, Some(journal)))
        }
    }
}

fn trouble(state: BusState) -> Option<String> {
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
    // Partitions that exist are kept, however many are asked for.
    for partition in 0..partitions {
        let position = match store {
            Some(store) => position(store.as_ref(), &feed(settings, partition)).await,
            None => None,
        };
        positions.push(position.unwrap_or(0));
    }
    let options = BusOptions {
        partitions: NonZeroU32::new(settings.embedded.partitions).unwrap_or(NonZeroU32::MIN),
        memory_bytes_max: bytes(settings.memory_bytes_max),
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
    Ok(Arc::new(bus.await?.context("cannot open the bus (SPILLWAY_DATA_DIR says where)")?))
}

/// The position in the store, however long it takes to tell.
async fn position(store: &dyn LogStore, feed: &Feed) -> Option<u64> {
    for wait in Backoff::new(std::time::Duration::from_millis(100), std::time::Duration::from_secs(5)) {
        match store.position(feed).await {
            Ok(position) => return position,
            Err(error) => tracing::warn!(%error, "the store does not say where to go on, trying again"),
        }
        tokio::time::sleep(wait).await;
    }
    None
}

fn make_data_dir(settings: &Settings) -> anyhow::Result<()> {
    let directory = &settings.data_dir;
    // On disk before anything in it is promised.
    Directory::open(directory)
        .map(drop)
        .with_context(|| format!("cannot make the data directory {}", directory.display()))
}

/// What processes share beside the bus and the store.
pub struct Shared {
    /// Shares out requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Remembers answers, should there be a place for it.
    pub idempotency: Option<Arc<dyn IdempotencyStore>>,
    /// Keeps answers to expensive queries for a moment, should there be a place for it.
    pub cache: Option<Arc<dyn QueryCache>>,
    /// Whether the server works.
    pub check: Option<Check>,
}

/// Opens what processes share.
///
/// # Errors
/// The URL of its server is none.
pub fn open_shared(settings: &Settings) -> anyhow::Result<Shared> {
    let limits = RateLimits {
        single_per_second: NonZeroU32::new(settings.rate_limit.single_per_second),
        batch_per_second: NonZeroU32::new(settings.rate_limit.batch_per_second),
    };
    let local: Arc<dyn RateLimiter> = Arc::new(LocalLimiter::new(limits));
    match settings.limiter {
        LimiterKind::Embedded => Ok(Shared { limiter: local, idempotency: None, cache: None, check: None }),
        LimiterKind::Redis => {
            let connection = RedisConnection::connect(&settings.redis.url.0, ROUND_TRIP_MAX)
                .map_err(|error| anyhow::anyhow!("redis.url cannot be used: {error}"))?;
            let connected = || connection.clone();
            let asked = connected();
            let window = settings.store.dedup_window.0;
            let store = format!("{}:{}", feed(settings, 0).group, settings.postgres.schema);
            Ok(Shared {
                limiter: Arc::new(RedisLimiter::new(connected(), limits, local)),
                idempotency: Some(Arc::new(RedisIdempotencyStore::new(connected(), window))),
                cache: Some(Arc::new(RedisQueryCache::new(connected(), &store))),
                check: Some(Arc::new(move || asked.trouble())),
            })
        }
    }
}
