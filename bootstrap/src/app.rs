//! Wiring, running and draining.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use adapter_http::{Activity, Actuator, LogControl};
use adapter_telemetry::Prometheus;
use application::health::Health;
use domain::ports::Clock;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::access::{keys_path, log_requirement, open_keys, watch_keys};
use crate::alerts::Alerts;
use crate::consumer_role::ConsumerRole;
use crate::context::{Context, Servers};
use crate::drain::DrainDeadlines;
use crate::instance::Instance;
use crate::metrics::Metrics;
use crate::producer_role::ProducerRole;
use crate::role::{Addresses, Role};
use crate::roles::OpenRoles;
use crate::settings::Settings;
use crate::settled::open_settled;
use crate::system::SystemClock;
use crate::task::{Task, TaskEnded, Tasks};
use crate::tls::{ListenerTls, tls_files};

/// A stopping process stops accepting early if no request arrives for this long: longer than a gateway's health check
/// interval, so that none of its requests meets a connection that is being closed.
const QUIET: Duration = Duration::from_millis(700);
/// How often metrics are folded.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// A process that is wired and serves; [`App::run`] says until when, and how it ends.
pub struct App {
    addresses: Addresses,
    drain_timeout: Duration,
    health: Health,
    activities: Vec<Arc<Activity>>,
    alerts: Arc<Alerts>,
    tasks: Tasks,
    watchers: Vec<Task>,
    gateway: Option<Task>,
    producer: Option<ProducerRole>,
    consumer: Option<ConsumerRole>,
}

impl App {
    /// Opens everything that the role needs, binds its addresses and begins to serve.
    ///
    /// # Errors
    /// Something cannot be opened or bound; the message says what and where.
    pub async fn build(role: Role, settings: &Settings) -> anyhow::Result<Self> {
        let open = || -> anyhow::Result<_> { Ok((open_keys(role, settings)?, ListenerTls::open(role, settings)?)) };
        let files: Vec<PathBuf> = keys_path(role, settings).into_iter().chain(tls_files(settings)).collect();
        let (keys, tls) = open_settled(&files, open).await?;
        log_requirement(role, settings, keys.as_deref());
        // All ports first: an address in use must not leave a half-opened store behind.
        let servers = Servers::bind(role, settings, keys.as_ref(), &tls).await?;
        let addresses = servers.addresses()?;
        let activities = servers.activities();
        let context = Context::new(role, settings, addresses, keys.as_ref())?;
        let open = OpenRoles::open(role, &servers, &context).await?;

        // Filled once the gateway is there, which comes last.
        let gateway = Arc::new(OnceLock::new());
        let metrics = open.metrics(&context, activities.clone(), &gateway, &tls);
        let instance = Arc::new(Instance::new(metrics.clone(), Arc::clone(&context.alerts), settings.bus, addresses));
        let actuator = actuator(role, open.health(settings), metrics, &instance);
        let running = open.start(&context, servers, actuator, &gateway, &tls)?;

        let mut watchers = tls.watch(&context.tasks, &context.alerter());
        watchers.push(context.tasks.spawn("readings", |stop| instance.run(stop)));
        let (prometheus, health) = (Arc::clone(&context.prometheus), running.health.clone());
        watchers.push(context.tasks.spawn("upkeep", |stop| upkeep(prometheus, health, stop)));
        watchers.extend(keys.iter().flat_map(|keys| watch_keys(&context.tasks, keys, context.alerter())));
        Ok(Self {
            addresses,
            drain_timeout: settings.drain_timeout.0,
            health: running.health,
            activities: activities.into_iter().map(|(_, activity)| activity).collect(),
            alerts: context.alerts,
            tasks: context.tasks,
            watchers,
            gateway: running.gateway,
            producer: running.producer,
            consumer: running.consumer,
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
        let tasks = self.tasks.clone();
        let stopped = tokio::select! {
            () = stop => true,
            () = tasks.one_ended() => false,
            () = adapter_kafka::thread_panicked() => {
                tracing::error!("a thread of the Kafka client has panicked: the process stops");
                false
            }
        };
        let left = self.drain().await;
        if stopped { Ok(left) } else { Err(TaskEnded) }
    }

    /// Unready at once, but accepts for a moment; then, from the entry point to the exit, every part finishes its work
    /// in progress.
    async fn drain(self) -> usize {
        let deadlines = DrainDeadlines::new(Instant::now(), self.drain_timeout);
        tracing::info!("stopping: no longer ready, still accepting for a moment");
        self.health.begin_drain();
        let _ = timeout_at(deadlines.accept, quiet(&self.activities)).await;

        Task::stop_all(self.gateway, deadlines.gateway).await;
        let (mut servers, mut background) = (Vec::new(), Vec::new());
        let producer = self.producer.map(|producer| {
            let (own, draining, work) = producer.into_parts();
            servers.extend(own);
            background.extend(work);
            draining
        });
        let consumer = self.consumer.map(|consumer| {
            let (server, work, alerts, connections) = consumer.into_parts();
            servers.push(server);
            background.extend(work);
            (alerts, connections)
        });
        Task::stop_all(servers, deadlines.requests).await;
        let left = match (producer, &consumer) {
            (Some(producer), _) => producer.drain(&deadlines).await,
            (None, Some((_, connections))) => connections.drain(deadlines.delivery).await,
            (None, None) => 0,
        };
        Task::stop_all(background, deadlines.work).await;
        if let Some((alerts, connections)) = consumer {
            // After the work that raises them.
            alerts.stop(deadlines.work).await;
            if timeout_at(deadlines.close, connections.close()).await.is_err() {
                tracing::warn!("connections to servers could not be closed in time");
            }
        }
        Task::stop_all(self.watchers, deadlines.close).await;
        self.alerts.close(deadlines.close).await;
        if left > 0 {
            tracing::error!(events = left, "accepted events could not be made durable in time");
        } else {
            tracing::info!("stopped");
        }
        left
    }
}

/// Shows the components of the process, and folds its metrics, until `stop`.
async fn upkeep(prometheus: Arc<Prometheus>, health: Health, mut stop: watch::Receiver<bool>) {
    loop {
        let round = async {
            for (name, wrong) in health.components().await {
                prometheus.show_component(name, wrong.is_none());
            }
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            prometheus.run_upkeep();
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = round => {}
        }
    }
}

/// Waits until no request has been in progress for [`QUIET`].
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

fn actuator(role: Role, health: Health, metrics: Metrics, instance: &Arc<Instance>) -> Actuator {
    let instance = Arc::clone(instance);
    Actuator {
        role: role.name(),
        started_at: SystemClock.now(),
        health,
        instances: None,
        reading: Arc::new(move || instance.reading()),
        metrics: Arc::new(move || metrics.render()),
        log: LogControl {
            filter: adapter_telemetry::log_filter,
            set: |filter| adapter_telemetry::set_log_filter(filter).map_err(|error| error.to_string()),
        },
        document: adapter_http::openapi_document().into(),
    }
}
