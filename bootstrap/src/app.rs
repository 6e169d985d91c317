//! Wiring, running and draining.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::limiter::LocalLimiter;
use adapter_embedded::store::{SqliteStore, StoreOptions};
use adapter_http::{
    Activity, Actuator, BodyBudget, ConsumerDependencies, Gateway, Observer, ProducerDependencies, Server,
    ServerOptions, UpstreamUrl, consumer_endpoint, gateway_endpoint, producer_endpoint,
};
use adapter_telemetry::Prometheus;
use anyhow::Context;
use application::dead_letters::DeadLetters;
use application::health::Health;
use application::ingest::Ingest;
use application::persist::Persist;
use application::query::Query;
use application::retention::Retention;
use application::tail::Tail;
use domain::partition::{Partition, Partitioner, PriorityLane};
use domain::ports::{Clock, Feed, LogStore, RateLimits, RecordPublisher, RecordSource, Telemetry};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::metrics::Metrics;
use crate::settings::{Settings, Size};
use crate::system::{SystemClock, UuidV7};

/// Name of the topic, and of the consumer group that stores it.
const TOPIC: &str = "logs";
const GROUP: &str = "log-processor";
/// Longest time a query may take (contract, "Consumer API").
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stopping process goes on accepting, so that load balancers see that it is not ready...
const ACCEPT_GRACE: Duration = Duration::from_secs(5);
/// ... unless nobody asks anything for this long.
const QUIET: Duration = Duration::from_millis(300);
/// Room, in bytes, for answers of a consumer until their clients have taken them.
const CONSUMER_BODY_BYTES_MAX: usize = 64 << 20;
/// How often metrics are folded.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What a process does. A producer or consumer of its own needs a bus and a store that processes can share, and
/// there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    All,
    /// The entry point.
    Gateway,
}

impl Role {
    /// The name of the command that runs it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Gateway => "gateway",
        }
    }
}

/// Where an app listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The gateway.
    pub gateway: Option<SocketAddr>,
    /// The producer.
    pub producer: Option<SocketAddr>,
    /// The consumer.
    pub consumer: Option<SocketAddr>,
}

/// A process that is wired and serves; [`App::run`] says until when, and how it ends.
pub struct App {
    addresses: Addresses,
    drain_timeout: Duration,
    health: Health,
    activities: Vec<Arc<Activity>>,
    gateway: Option<Task>,
    producer: Option<(Task, Arc<dyn RecordPublisher>)>,
    consumer: Option<(Vec<Task>, Arc<SqliteStore>)>,
    prometheus: Arc<Prometheus>,
}

/// Work that goes on until it is told to stop.
struct Task {
    name: &'static str,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl Task {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        work: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { name, stop, handle: tokio::spawn(work(stopped)) }
    }

    /// Stops the work, by force after `deadline`.
    async fn stop(mut self, deadline: Instant) {
        let _ = self.stop.send(true);
        match timeout_at(deadline, &mut self.handle).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(task = self.name, %error, "a task did not end by itself"),
            Err(_) => {
                tracing::warn!(task = self.name, "still busy at the end of the drain, breaking off");
                self.handle.abort();
            }
        }
    }
}

impl App {
    /// Opens everything that the role needs, binds its addresses and begins to serve.
    ///
    /// # Errors
    /// Something cannot be opened or bound; the message says what and where.
    pub async fn build(role: Role, settings: &Settings) -> anyhow::Result<Self> {
        let prometheus = Arc::new(Prometheus::new());
        match role {
            Role::All => Self::build_all(role, settings, prometheus).await,
            Role::Gateway => Self::build_gateway(settings, prometheus).await,
        }
    }

    async fn build_all(role: Role, settings: &Settings, prometheus: Arc<Prometheus>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let telemetry: Arc<dyn Telemetry> = Arc::<Prometheus>::clone(&prometheus);

        // All ports first: an address in use must not leave a half-opened store behind.
        let producer_server = bind(settings.producer.listen, "producer").await?;
        let consumer_server = bind(settings.consumer.listen, "consumer").await?;
        let gateway_server = bind(settings.gateway.listen, "gateway").await?;
        let addresses = Addresses {
            gateway: Some(gateway_server.address()?),
            producer: Some(producer_server.address()?),
            consumer: Some(consumer_server.address()?),
        };
        let servers = vec![
            ("gateway", gateway_server.activity()),
            ("producer", producer_server.activity()),
            ("consumer", consumer_server.activity()),
        ];
        let activities = servers.iter().map(|(_, activity)| Arc::clone(activity)).collect();

        std::fs::create_dir_all(&settings.data_dir)
            .with_context(|| format!("cannot make the data directory {}", settings.data_dir.display()))?;
        let store_file = settings.data_dir.join("store.db");
        let options = StoreOptions { dedup_window: settings.store.dedup_window.0, query_timeout: QUERY_TIMEOUT };
        let store = SqliteStore::open(&store_file, options)
            .await
            .with_context(|| format!("cannot open the store {}", store_file.display()))?;
        let store = Arc::new(store);
        let store_port: Arc<dyn LogStore> = Arc::<SqliteStore>::clone(&store);
        let bus = open_bus(settings, &clock, &store).await?;
        let publisher: Arc<dyn RecordPublisher> = Arc::<EmbeddedBus>::clone(&bus);

        let partitioner = Partitioner::new(PriorityLane::Shared, publisher.partition_count())?;
        let ingest = Arc::new(Ingest::new(
            Arc::clone(&publisher),
            Arc::clone(&clock),
            Arc::new(UuidV7::default()),
            Arc::clone(&telemetry),
            settings.delivery.policy(),
            partitioner,
        ));
        let producer_bodies = BodyBudget::new(bytes(settings.body_bytes_max));
        let consumer_bodies = BodyBudget::new(CONSUMER_BODY_BYTES_MAX);
        let metrics = Metrics {
            prometheus: Arc::clone(&prometheus),
            servers,
            bodies: vec![("producer", producer_bodies.clone()), ("consumer", consumer_bodies.clone())],
            producer: Some((Arc::clone(&ingest), Arc::clone(&publisher))),
        };
        let health =
            Health::default().with_publisher(Arc::clone(&publisher)).with_store(Arc::clone(&store_port), feed(0));
        let actuator = actuator(role, &health, metrics);

        let limits = RateLimits {
            single_per_second: NonZeroU32::new(settings.rate_limit.single_per_second),
            batch_per_second: NonZeroU32::new(settings.rate_limit.batch_per_second),
        };
        let dependencies = ProducerDependencies {
            ingest,
            health: health.clone(),
            limiter: Arc::new(LocalLimiter::new(limits)),
            telemetry: Arc::clone(&telemetry),
            bodies: producer_bodies,
            trusted_proxies: settings.producer.trusted_proxies.0.clone().into(),
        };
        let producer_endpoint = producer_endpoint(dependencies, actuator.clone());
        let observer = observer("producer", &prometheus);
        let producer = Task::spawn("producer", |stop| producer_server.run(producer_endpoint, observer, stop));

        let source: Arc<dyn RecordSource> = bus;
        let persist = Persist::new(
            source,
            Arc::clone(&store_port),
            Arc::clone(&clock),
            telemetry,
            GROUP.to_owned(),
            TOPIC.to_owned(),
        );
        let retention = Retention::new(Arc::clone(&store_port), Arc::clone(&clock), settings.store.retention.0);
        let dependencies = ConsumerDependencies {
            query: Query::new(Arc::clone(&store_port), Arc::clone(&clock)),
            tail: Tail::new(Arc::clone(&store_port)),
            dead_letters: DeadLetters::new(store_port, Arc::clone(&publisher), clock),
            health: health.clone(),
            bodies: consumer_bodies,
        };
        let consumer_endpoint = consumer_endpoint(dependencies, actuator.clone());
        let observer = self::observer("consumer", &prometheus);
        let consumer = vec![
            Task::spawn("consumer", |stop| consumer_server.run(consumer_endpoint, observer, stop)),
            Task::spawn("persist", |stop| persist.run(stop)),
            Task::spawn("retention", |stop| retention.run(stop)),
        ];

        let gateway = spawn_gateway(settings, gateway_server, addresses, actuator, &prometheus);
        Ok(Self {
            addresses,
            drain_timeout: settings.drain_timeout.0,
            health,
            activities,
            gateway: Some(gateway),
            producer: Some((producer, publisher)),
            consumer: Some((consumer, store)),
            prometheus,
        })
    }

    async fn build_gateway(settings: &Settings, prometheus: Arc<Prometheus>) -> anyhow::Result<Self> {
        let server = bind(settings.gateway.listen, "gateway").await?;
        let addresses = Addresses { gateway: Some(server.address()?), ..Addresses::default() };
        let health = Health::default();
        let activities = vec![server.activity()];
        let metrics = Metrics {
            prometheus: Arc::clone(&prometheus),
            servers: vec![("gateway", server.activity())],
            bodies: Vec::new(),
            producer: None,
        };
        let actuator = actuator(Role::Gateway, &health, metrics);
        let beside = Addresses {
            producer: Some(settings.producer.listen),
            consumer: Some(settings.consumer.listen),
            ..addresses
        };
        let gateway = spawn_gateway(settings, server, beside, actuator, &prometheus);
        Ok(Self {
            addresses,
            drain_timeout: settings.drain_timeout.0,
            health,
            activities,
            gateway: Some(gateway),
            producer: None,
            consumer: None,
            prometheus,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `stop` is done, then drains. Returns the number of accepted events that could not be made
    /// safe in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let prometheus = Arc::clone(&self.prometheus);
        let upkeep = tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                prometheus.run_upkeep();
            }
        });
        stop.await;
        upkeep.abort();
        self.drain().await
    }

    /// Unready at once; still accepts for a while; then, from the entry to the exit, everybody finishes what is
    /// in work.
    async fn drain(self) -> usize {
        let deadline = Instant::now() + self.drain_timeout;
        tracing::info!("stopping: not ready any more, still accepting for a moment");
        self.health.begin_drain();
        let grace = ACCEPT_GRACE.min(self.drain_timeout / 2);
        let _ = timeout(grace, quiet(&self.activities)).await;

        if let Some(gateway) = self.gateway {
            gateway.stop(deadline).await;
        }
        let mut left = 0;
        if let Some((server, publisher)) = self.producer {
            server.stop(deadline).await;
            left = publisher.drain(deadline.saturating_duration_since(Instant::now())).await;
        }
        if let Some((tasks, store)) = self.consumer {
            for task in tasks {
                task.stop(deadline).await;
            }
            store.close().await;
        }
        if left > 0 {
            tracing::error!(events = left, "accepted events could not be made safe in time");
        } else {
            tracing::info!("stopped");
        }
        left
    }
}

/// Waits until no request has been in work for [`QUIET`].
async fn quiet(activities: &[Arc<Activity>]) {
    let requests = || {
        let counts = activities.iter().map(|activity| activity.requests());
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    };
    loop {
        let (begun, _) = requests();
        tokio::time::sleep(QUIET).await;
        if requests() == (begun, 0) {
            return;
        }
    }
}

async fn open_bus(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    store: &SqliteStore,
) -> anyhow::Result<Arc<EmbeddedBus>> {
    let directory = settings.data_dir.join("bus");
    let partitions = settings.embedded.partitions.max(EmbeddedBus::partitions_in(&directory));
    let mut positions = Vec::new();
    // Partitions that exist are kept, however many are asked for.
    for partition in 0..partitions {
        positions.push(store.position(&feed(partition)).await?.unwrap_or(0));
    }
    let options = BusOptions {
        partitions: NonZeroU32::new(settings.embedded.partitions).unwrap_or(NonZeroU32::MIN),
        memory_bytes_max: bytes(settings.memory_bytes_max),
        retention_bytes: settings.embedded.retention_bytes.0,
        retention_age: settings.embedded.retention_age.0,
    };
    let clock = Arc::clone(clock);
    // Recovery reads from disk.
    let bus = tokio::task::spawn_blocking(move || {
        EmbeddedBus::open(&directory, &options, &clock, |partition| {
            positions.get(partition as usize).copied().unwrap_or(0)
        })
    });
    Ok(Arc::new(bus.await?.context("cannot open the bus (SPILLWAY_DATA_DIR says where)")?))
}

fn feed(partition: Partition) -> Feed {
    Feed { group: GROUP.to_owned(), topic: TOPIC.to_owned(), partition }
}

fn actuator(role: Role, health: &Health, metrics: Metrics) -> Actuator {
    Actuator {
        role: role.name(),
        started_at: SystemClock.now(),
        health: health.clone(),
        upstreams: None,
        metrics: Arc::new(move || metrics.render()),
        document: adapter_http::openapi_document().into(),
    }
}

/// Counts the answers of a server.
fn observer(role: &'static str, prometheus: &Arc<Prometheus>) -> Observer {
    let prometheus = Arc::clone(prometheus);
    Arc::new(move |answered| prometheus.answered(role, answered.status, answered.duration))
}

async fn bind(address: SocketAddr, role: &str) -> anyhow::Result<Server> {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the {role} can be reached from other machines, and asks nobody who they are");
    }
    let context =
        || format!("the {role} cannot listen at {address}; set SPILLWAY_{}__LISTEN", role.to_ascii_uppercase());
    Server::bind(address, ServerOptions::default()).await.with_context(context)
}

/// Starts a gateway in front of the configured instances, or of those at `beside`.
fn spawn_gateway(
    settings: &Settings,
    server: Server,
    beside: Addresses,
    actuator: Actuator,
    prometheus: &Arc<Prometheus>,
) -> Task {
    let or_beside = |configured: &[UpstreamUrl], beside: Option<SocketAddr>| -> Vec<UpstreamUrl> {
        if configured.is_empty() { beside.and_then(url_of).into_iter().collect() } else { configured.to_vec() }
    };
    let gateway = Gateway::new(
        or_beside(&settings.gateway.producers.0, beside.producer),
        or_beside(&settings.gateway.consumers.0, beside.consumer),
        settings.gateway.trusted_proxies.0.clone().into(),
    );
    let observer = observer("gateway", prometheus);
    Task::spawn("gateway", |stop| server.run(gateway_endpoint(gateway, actuator), observer, stop))
}

/// How to reach, from this machine, what listens at `address`.
fn url_of(address: SocketAddr) -> Option<UpstreamUrl> {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port())).parse().ok()
}

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}
