//! Wiring, running and draining.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::disk::Disk;
use adapter_embedded::journal::DiskJournal;
use adapter_http::{
    Activity, Actuator, BodyBudget, ConsumerDependencies, Gateway, LogControl, Observer, ProducerDependencies, Server,
    ServerOptions, UPSTREAMS, UpstreamUrl, consumer_endpoint, gateway_endpoint, producer_endpoint,
};
use adapter_telemetry::Prometheus;
use anyhow::Context;
use application::alerts::{ConsumerAlerts, ProducerAlerts, TroubleAlert};
use application::dead_letters::DeadLetters;
use application::deliver::Delivery;
use application::health::Health;
use application::ingest::Ingest;
use application::outbox::Outbox;
use application::persist::Persist;
use application::query::Query;
use application::retention::Retention;
use application::tail::Tail;
use domain::alert::Alert;
use domain::partition::Partitioner;
use domain::ports::{Alerter, Clock, LogStore, RecordPublisher, RecordSource, Telemetry};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::alerts::Alerts;
use crate::backends::{Bus, feed, open_bus, open_delivery, open_shared, open_store, priority_lane};
use crate::drain::DrainDeadlines;
use crate::metrics::Metrics;
use crate::settings::{Settings, Size};
use crate::system::{SystemClock, UuidV7};

/// A stopping process stops accepting early if no request arrives for this long: longer than a gateway's health check
/// interval, so that none of its requests meets a connection that is being closed.
const QUIET: Duration = Duration::from_millis(700);
/// Bytes reserved for answers of a consumer until their clients have read them.
const CONSUMER_BODY_BYTES_MAX: usize = 64 << 20;
/// How often metric samples are folded.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All roles.
    All,
    /// The entry point.
    Gateway,
    /// The ingestion API.
    Producer,
    /// Storing events, and the query API.
    Consumer,
}

impl Role {
    /// The name of the command that runs the role.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Gateway => "gateway",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// Whether a process of this role also has the role `other`.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// The addresses that an app listens at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The gateway.
    pub gateway: Option<SocketAddr>,
    /// The producer.
    pub producer: Option<SocketAddr>,
    /// The consumer.
    pub consumer: Option<SocketAddr>,
}

/// A process that is wired and serving; [`App::run`] runs it until it is stopped.
pub struct App {
    addresses: Addresses,
    drain_timeout: Duration,
    health: Health,
    activities: Vec<Arc<Activity>>,
    alerts: Arc<Alerts>,
    /// From the entry point to the exit.
    gateway: Option<Task>,
    servers: Vec<Task>,
    /// The delivery lines, their replay task and their alert task.
    delivery: Option<(Arc<Delivery>, Task, Task)>,
    journal: Option<Arc<DiskJournal>>,
    publisher: Option<Arc<dyn RecordPublisher>>,
    /// Storing, retention and monitoring tasks.
    background: Vec<Task>,
    /// Sends the alerts of the background tasks.
    consumer_alerts: Option<Task>,
    source: Option<Arc<dyn RecordSource>>,
    store: Option<Arc<dyn LogStore>>,
    prometheus: Arc<Prometheus>,
    /// Notified if a task ends unexpectedly.
    ended: Arc<Notify>,
}

/// A task that should run until it is stopped has ended unexpectedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEnded;

/// A task that runs until it is stopped.
struct Task {
    name: &'static str,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// Notifies the process if a task ends without being stopped, for example by a panic: the process cannot work without
/// it.
struct EndGuard {
    name: &'static str,
    stopped: watch::Receiver<bool>,
    ended: Arc<Notify>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        // A task whose owner was dropped was also stopped.
        if !*self.stopped.borrow() && self.stopped.has_changed().is_ok() {
            tracing::error!(task = self.name, "a task ended unexpectedly: the process stops");
            self.ended.notify_one();
        }
    }
}

impl Task {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        ended: &Arc<Notify>,
        work: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let guard = EndGuard { name, stopped: stopped.clone(), ended: Arc::clone(ended) };
        let work = work(stopped);
        let handle = tokio::spawn(async move {
            let _guard = guard;
            work.await;
        });
        Self { name, stop, handle }
    }

    /// Stops all tasks, and aborts them after `deadline`.
    async fn stop_all(tasks: impl IntoIterator<Item = Self>, deadline: Instant) {
        let tasks: Vec<Self> = tasks.into_iter().collect();
        for task in &tasks {
            let _ = task.stop.send(true);
        }
        for task in tasks {
            task.stop(deadline).await;
        }
    }

    /// Stops the task, and aborts it after `deadline`.
    async fn stop(mut self, deadline: Instant) {
        let _ = self.stop.send(true);
        match timeout_at(deadline, &mut self.handle).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(task = self.name, %error, "a task ended abnormally"),
            Err(_) => {
                tracing::warn!(task = self.name, "a task is still busy at the end of its drain phase, aborting it");
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
        let telemetry: Arc<dyn Telemetry> = Arc::<Prometheus>::clone(&prometheus);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);

        // All ports first: an address in use must not leave a half-opened store behind.
        let servers = Servers::bind(role, settings).await?;
        let addresses = servers.addresses()?;
        let activities = servers.activities();
        let alerts = Arc::new(Alerts::start(role, settings, addresses, Arc::clone(&clock), &prometheus)?);
        let alerter: Arc<dyn Alerter> = Arc::<Alerts>::clone(&alerts);

        let (store, next_day) = match role.includes(Role::Consumer) {
            true => open_store(settings).await.map(|(store, next_day)| (Some(store), next_day))?,
            false => (None, None),
        };
        let disk = Arc::new(Disk::of(&settings.data_dir));
        let bus = match role {
            Role::Gateway => None,
            Role::All | Role::Producer | Role::Consumer => {
                Some(open_bus(settings, &disk, &clock, store.as_ref()).await?)
            }
        };
        let shared = if role == Role::Gateway { None } else { Some(open_shared(settings)?) };
        let (publisher, source, trouble, client) = match bus {
            Some(Bus { publisher, source, trouble, client }) => (Some(publisher), source, trouble, client),
            None => (None, None, None, None),
        };
        let ended = Arc::<Notify>::default();
        let mut background = Vec::new();
        background.extend(trouble.filter(|_| role.includes(Role::Producer)).map(|check| {
            let alert = TroubleAlert::new(Arc::clone(&alerter), Alert::bus_unusable);
            Task::spawn("bus trouble", &ended, |stop| alert.run(check, stop))
        }));
        let uses_disk = role.includes(Role::Producer);
        if uses_disk {
            let (bus, disk, directory) = (settings.bus, Arc::clone(&disk), settings.data_dir.clone());
            background.push(Task::spawn("disk", &ended, |stop| crate::disk::watch(bus, disk, directory, stop)));
        }
        let records = source.as_ref().map(|source| Arc::clone(&source.records));

        let mut health = Health::default();
        let (delivery, journal) = match &publisher {
            Some(publisher) if role.includes(Role::Producer) => {
                let opened = open_delivery(settings, &disk, Arc::clone(publisher), Arc::clone(&telemetry)).await?;
                (Some(Arc::new(opened.0)), opened.1)
            }
            _ => (None, None),
        };
        if let Some(delivery) = &delivery {
            health = health.with_delivery(Arc::clone(delivery));
        } else if let Some(check) = source.as_ref().and_then(|source| source.check.clone()) {
            health = health.with_check("bus", check);
        }
        if let Some(store) = &store {
            health = health.with_store(Arc::clone(store), feed(settings, 0));
        }
        if let Some(check) = next_day {
            health = health.with_check("next_day_table", check);
        }
        if let Some(check) = shared.as_ref().and_then(|shared| shared.check.clone()) {
            health = health.with_check("limiter", check);
        }
        let short_of_disk = uses_disk.then(|| crate::disk::check(settings.bus, Arc::clone(&disk)));
        if let Some(check) = &short_of_disk {
            health = health.with_check("disk", Arc::clone(check));
        }

        let bodies = BodyBudget::new(bytes(settings.body_bytes_max));
        let answers = BodyBudget::new(CONSUMER_BODY_BYTES_MAX);
        let ingest = match &delivery {
            Some(delivery) => Some(Arc::new(Ingest::new(
                Arc::clone(delivery),
                Arc::clone(&clock),
                Arc::new(UuidV7::default()),
                Arc::clone(&telemetry),
                settings.delivery.policy(),
                Partitioner::new(priority_lane(settings), delivery.partition_count())?,
            ))),
            None => None,
        };
        let gateway = servers.gateway.map(|server| (server, gateway(settings, addresses)));
        let metrics = Metrics {
            prometheus: Arc::clone(&prometheus),
            rendering: Arc::default(),
            servers: activities.clone(),
            gateway: gateway.as_ref().map(|(_, gateway)| gateway.clone()),
            disk: Some(disk).filter(|_| uses_disk),
            bodies: vec![("producer", bodies.clone()), ("consumer", answers.clone())],
            delivery: delivery.clone(),
            // A consumer's client only redrives letters.
            kafka: client.filter(|_| delivery.is_some()),
            source: records.clone(),
        };
        let actuator = actuator(role, &health, metrics);
        // Only the gateway reports the health of its upstreams, even if all roles run in one process.
        let health_of_gateway = match &gateway {
            Some((_, gateway)) => {
                let asked = gateway.clone();
                health.clone().with_check(UPSTREAMS, Arc::new(move || asked.trouble()))
            }
            None => health.clone(),
        };

        let cache = shared.as_ref().and_then(|shared| shared.cache.clone());
        let producer = ingest.zip(servers.producer).zip(shared).map(|((ingest, server), shared)| {
            let dependencies = ProducerDependencies {
                ingest,
                health: health.clone().of_producer(),
                limiter: shared.limiter,
                idempotency: shared.idempotency,
                telemetry: Arc::clone(&telemetry),
                bodies,
                trusted_proxies: settings.producer.trusted_proxies.0.clone().into(),
                shortage: short_of_disk,
            };
            let health = dependencies.health.clone();
            let endpoint = producer_endpoint(dependencies, Actuator { health, ..actuator.clone() });
            let observer = observer("producer", &prometheus);
            Task::spawn("producer", &ended, |stop| server.run(endpoint, observer, stop))
        });

        let mut servers_running: Vec<Task> = producer.into_iter().collect();
        let mut consumer_alerts = None;
        if let (Some(server), Some(store), Some(source), Some(publisher)) =
            (servers.consumer, &store, &source, &publisher)
        {
            let of = feed(settings, 0);
            let (store, records) = (|| Arc::clone(store), Arc::clone(&source.records));
            let persist = Persist::new(records, store(), Arc::clone(&clock), telemetry, of.group, of.topic);
            let letters = Arc::new(ConsumerAlerts::new(alerter));
            let persist = persist.with_alerts(Arc::clone(&letters));
            let outbox = source.dead_letters.clone().map(|topic| Outbox::new(store(), topic, Arc::clone(&clock)));
            let retention = Retention::new(store(), Arc::clone(&clock), settings.store.retention.0);
            let dependencies = ConsumerDependencies {
                query: Query::new(store(), Arc::clone(&clock)),
                tail: Tail::new(store()),
                dead_letters: DeadLetters::new(store(), Arc::clone(publisher), clock),
                health: health.clone(),
                bodies: answers,
                cache,
            };
            let endpoint = consumer_endpoint(dependencies, actuator.clone());
            let observer = observer("consumer", &prometheus);
            servers_running.push(Task::spawn("consumer", &ended, |stop| server.run(endpoint, observer, stop)));
            background.push(Task::spawn("persist", &ended, |stop| persist.run(stop)));
            background.push(Task::spawn("retention", &ended, |stop| retention.run(stop)));
            background.extend(outbox.map(|outbox| Task::spawn("outbox", &ended, |stop| outbox.run(stop))));
            consumer_alerts = Some(Task::spawn("alerts", &ended, |stop| letters.run(stop)));
        }

        let health = health_of_gateway;
        let gateway = gateway.map(|(server, gateway)| {
            let actuator = Actuator { health: health.clone(), ..actuator };
            let observer = observer("gateway", &prometheus);
            Task::spawn("gateway", &ended, |stop| async move {
                let endpoint = gateway_endpoint(gateway.clone(), actuator);
                tokio::join!(server.run(endpoint, observer, stop.clone()), gateway.watch(stop));
            })
        });
        let delivery = delivery.map(|delivery| {
            let replay = Task::spawn("replay", &ended, |stop| Arc::clone(&delivery).replay(stop));
            let told = ProducerAlerts::new(Arc::clone(&delivery), Arc::<Alerts>::clone(&alerts));
            (delivery, replay, Task::spawn("producer alerts", &ended, |stop| told.run(stop)))
        });
        Ok(Self {
            addresses,
            drain_timeout: settings.drain_timeout.0,
            health,
            activities: activities.into_iter().map(|(_, activity)| activity).collect(),
            alerts,
            gateway,
            servers: servers_running,
            delivery,
            journal,
            publisher,
            background,
            consumer_alerts,
            source: records,
            store,
            prometheus,
            ended,
        })
    }

    /// The addresses it listens at.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `stop` resolves, then drains. Returns the number of accepted events that could not be made durable
    /// in time.
    ///
    /// # Errors
    /// A task ended unexpectedly, and the process was drained for that reason.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<usize, TaskEnded> {
        let (prometheus, health) = (Arc::clone(&self.prometheus), self.health.clone());
        let upkeep = tokio::spawn(async move {
            loop {
                for (name, wrong) in health.components().await {
                    prometheus.show_component(name, wrong.is_none());
                }
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                prometheus.run_upkeep();
            }
        });
        let ended = Arc::clone(&self.ended);
        let stopped = tokio::select! {
            () = stop => true,
            () = ended.notified() => false,
        };
        upkeep.abort();
        let left = self.drain().await;
        if stopped { Ok(left) } else { Err(TaskEnded) }
    }

    /// Unready at once, but accepts for a moment; then, from the entry point to the exit, every part finishes its work
    /// in progress.
    async fn drain(self) -> usize {
        let deadlines = DrainDeadlines::new(Instant::now(), self.drain_timeout);
        let left_until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        tracing::info!("stopping: no longer ready, still accepting for a moment");
        self.health.begin_drain();
        let _ = timeout_at(deadlines.accept, quiet(&self.activities)).await;

        Task::stop_all(self.gateway, deadlines.gateway).await;
        Task::stop_all(self.servers, deadlines.requests).await;
        let mut left = 0;
        if let Some((delivery, replay, alerts)) = self.delivery {
            replay.stop(deadlines.delivery).await;
            left = delivery.drain(left_until(deadlines.delivery)).await;
            if let Some(journal) = self.journal
                && !journal.close(left_until(deadlines.journal)).await
            {
                tracing::warn!("the journal could not be closed cleanly");
            }
            alerts.stop(deadlines.work).await;
        } else if let Some(publisher) = self.publisher {
            left = publisher.drain(left_until(deadlines.delivery)).await;
        }
        Task::stop_all(self.background, deadlines.work).await;
        // After the tasks that raise these alerts.
        Task::stop_all(self.consumer_alerts, deadlines.work).await;
        let close = async {
            if let Some(source) = self.source {
                source.close().await;
            }
            if let Some(store) = self.store {
                store.close().await;
            }
        };
        if timeout_at(deadlines.close, close).await.is_err() {
            tracing::warn!("connections to servers could not be closed in time");
        }
        self.alerts.close(deadlines.close).await;
        if left > 0 {
            tracing::error!(events = left, "accepted events could not be made durable in time");
        } else {
            tracing::info!("stopped");
        }
        left
    }
}

/// Waits until there has been no request in progress for [`QUIET`].
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

/// The servers of a role.
#[derive(Default)]
struct Servers {
    gateway: Option<Server>,
    producer: Option<Server>,
    consumer: Option<Server>,
}

impl Servers {
    async fn bind(role: Role, settings: &Settings) -> anyhow::Result<Self> {
        let mut servers = Self::default();
        if role.includes(Role::Producer) {
            servers.producer = Some(bind(settings.producer.listen, "producer").await?);
        }
        if role.includes(Role::Consumer) {
            servers.consumer = Some(bind(settings.consumer.listen, "consumer").await?);
        }
        if role.includes(Role::Gateway) {
            servers.gateway = Some(bind(settings.gateway.listen, "gateway").await?);
        }
        Ok(servers)
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |server: &Option<Server>| server.as_ref().map(Server::address).transpose();
        Ok(Addresses { gateway: of(&self.gateway)?, producer: of(&self.producer)?, consumer: of(&self.consumer)? })
    }

    fn activities(&self) -> Vec<(&'static str, Arc<Activity>)> {
        let servers = [("gateway", &self.gateway), ("producer", &self.producer), ("consumer", &self.consumer)];
        servers.into_iter().filter_map(|(role, server)| Some((role, server.as_ref()?.activity()))).collect()
    }
}

fn actuator(role: Role, health: &Health, metrics: Metrics) -> Actuator {
    Actuator {
        role: role.name(),
        started_at: SystemClock.now(),
        health: health.clone(),
        gateway: None,
        metrics: Arc::new(move || metrics.render()),
        log: LogControl {
            filter: adapter_telemetry::log_filter,
            set: |filter| adapter_telemetry::set_log_filter(filter).map_err(|error| error.to_string()),
        },
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
        tracing::warn!(%address, "the {role} can be reached from other machines, and has no authentication");
    }
    let context =
        || format!("the {role} cannot listen at {address}; set SPILLWAY_{}__LISTEN", role.to_ascii_uppercase());
    Server::bind(address, ServerOptions::default()).await.with_context(context)
}

/// A gateway in front of the configured instances; by default of those in this process, otherwise of the default
/// addresses on this machine.
fn gateway(settings: &Settings, beside: Addresses) -> Gateway {
    let or_beside = |configured: &[UpstreamUrl], beside: SocketAddr| -> Vec<UpstreamUrl> {
        if configured.is_empty() { url_of(beside).into_iter().collect() } else { configured.to_vec() }
    };
    Gateway::new(
        or_beside(&settings.gateway.producers.0, beside.producer.unwrap_or(settings.producer.listen)),
        or_beside(&settings.gateway.consumers.0, beside.consumer.unwrap_or(settings.consumer.listen)),
        settings.gateway.trusted_proxies.0.clone().into(),
    )
}

/// The URL of a server that listens at `address`, as reached from this machine.
fn url_of(address: SocketAddr) -> Option<UpstreamUrl> {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port())).parse().ok()
}

/// A size as a `usize`.
#[must_use]
pub fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}
