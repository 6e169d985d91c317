//! The consumer: it stores what the bus has, and answers queries.

use std::sync::Arc;

use adapter_embedded::store::SqliteStore;
use adapter_http::{Actuator, BodyBudget, ConsumerDependencies, LocalService, Server, consumer_endpoint};
use application::alerts::{ConsumerAlerts, FaultAlert};
use application::dead_letters::DeadLetters;
use application::export::Exports;
use application::health::{Check, Health};
use application::outbox::Outbox;
use application::persist::Persist;
use application::query::Query;
use application::retention::Retention;
use application::tail::Tail;
use domain::alert::Alert;
use domain::ports::{LogStore, RecordPublisher, RecordSource};
use tokio::time::Instant;

use crate::backends::{Shared, Source, Store, group_partition, open_store};
use crate::context::Context;
use crate::sealing;
use crate::settings::Settings;
use crate::task::Task;

/// Room, in bytes, for answers of a consumer until their clients have taken them.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A store that is open, with a check of what it has to do in advance.
pub struct OpenConsumer {
    /// The store.
    pub store: Arc<dyn LogStore>,
    /// Room for answers.
    pub answers: BodyBudget,
    /// The embedded store, which seals events.
    pub sealing: Option<Arc<SqliteStore>>,
    next_day: Option<Check>,
}

/// A consumer that runs.
pub struct ConsumerRole {
    server: Task,
    background: Vec<Task>,
    /// Sends the alerts that the background work raises.
    alerts: Task,
    connections: Connections,
}

/// What a consumer closes last.
pub struct Connections {
    source: Arc<dyn RecordSource>,
    store: Arc<dyn LogStore>,
    publisher: Arc<dyn RecordPublisher>,
}

impl OpenConsumer {
    /// Opens the store.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let Store { events, next_day, sealing } = open_store(settings).await?;
        Ok(Self { store: events, answers: BodyBudget::new(ANSWER_BYTES_MAX), sealing, next_day })
    }

    /// Adds the parts of a consumer to the health of the process.
    pub fn add_to(&self, health: Health, settings: &Settings) -> Health {
        let health = health.with_store(Arc::clone(&self.store), group_partition(settings, 0));
        match &self.next_day {
            Some(check) => health.with_check("next_day_table", Arc::clone(check)),
            None => health,
        }
    }

    /// Starts to store and to serve.
    pub fn start(
        self,
        context: &Context<'_>,
        server: Server,
        actuator: Actuator,
        shared: &Shared,
        source: Source,
        publisher: Arc<dyn RecordPublisher>,
    ) -> (ConsumerRole, Arc<dyn LocalService>) {
        let (settings, tasks) = (context.settings, &context.tasks);
        let (store, clock) = (|| Arc::clone(&self.store), || Arc::clone(&context.clock));
        let of = group_partition(settings, 0);
        let alerts = Arc::new(ConsumerAlerts::new(context.alerter()));
        let persist =
            Persist::new(Arc::clone(&source.records), store(), clock(), context.telemetry(), of.group, of.topic)
                .with_alerts(Arc::clone(&alerts));
        let outbox = source.dead_letters.map(|topic| Outbox::new(store(), topic, clock()));
        let retention = Retention::new(store(), clock(), settings.store.retention.0);
        let dependencies = ConsumerDependencies {
            query: Query::new(store(), clock()),
            tail: Tail::new(store()),
            exports: Exports::new(store()),
            dead_letters: DeadLetters::new(store(), Arc::clone(&publisher), clock()),
            health: actuator.health.clone(),
            bodies: self.answers,
            cache: shared.cache.clone(),
        };
        let access = context.access.behind(settings.consumer.trusted_proxies.0.clone().into());
        let endpoint = consumer_endpoint(dependencies, actuator, access);
        let service = server.service(endpoint, context.observer("consumer"));
        let local: Arc<dyn LocalService> = Arc::clone(&service) as _;

        let mut background = vec![
            tasks.spawn("persist", |stop| persist.run(stop)),
            tasks.spawn("retention", |stop| retention.run(stop)),
        ];
        background.extend(outbox.map(|outbox| tasks.spawn("outbox", |stop| outbox.run(stop))));
        if let Some(store) = self.sealing {
            let check = sealing::check(Arc::clone(&store));
            let alert = FaultAlert::new(context.alerter(), Alert::segment_unreadable);
            background.push(tasks.spawn("segments", |stop| alert.run(check, stop)));
            background.push(tasks.spawn("sealing", |stop| sealing::run(store, stop)));
        }
        let role = ConsumerRole {
            server: tasks.spawn("consumer", |stop| server.run(service, stop)),
            background,
            alerts: tasks.spawn("alerts", |stop| alerts.run(stop)),
            connections: Connections { source: source.records, store: self.store, publisher },
        };
        (role, local)
    }
}

impl ConsumerRole {
    /// What to stop first, what to stop with the background work and after it, and what to close last.
    pub fn into_parts(self) -> (Task, Vec<Task>, Task, Connections) {
        (self.server, self.background, self.alerts, self.connections)
    }
}

impl Connections {
    /// Waits until the bus has taken the dead letters that were sent to it again. Returns the number that it did not take in
    /// time.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.publisher.drain(deadline.saturating_duration_since(Instant::now())).await
    }

    /// Closes the connections to bus and store.
    pub async fn close(self) {
        self.source.close().await;
        self.store.close().await;
    }
}
