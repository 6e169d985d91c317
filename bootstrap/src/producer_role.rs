//! The producer: it accepts events, delivers them to the bus, and journals what the bus does not take.

use std::sync::Arc;

use adapter_embedded::journal::DiskJournal;
use adapter_http::{
    Actuator, AgentAdmission, BodyBudget, LocalService, ProducerDependencies, RefusalLog, Server, ServerOptions,
    producer_endpoint,
};
use application::alerts::{FaultAlert, ProducerAlerts};
use application::delivery::Delivery;
use application::health::{Check, Health};
use application::ingest::Ingest;
use domain::alert::Alert;
use domain::partition::Partitioner;
use domain::ports::RecordPublisher;
use tokio::time::Instant;

use crate::agent_listeners::AgentListeners;
use crate::backends::{Shared, open_delivery, priority_lane};
use crate::context::Context;
use crate::drain::DrainDeadlines;
use crate::system::UuidV7;
use crate::task::Task;

/// Requests of agents that wait may hold this fraction of all connections.
const WAITERS_SHARE_OF_CONNECTIONS: usize = 8;

/// A producer whose parts are open.
pub struct OpenProducer {
    /// Takes accepted events to the bus.
    pub delivery: Arc<Delivery>,
    /// Room for request bodies.
    pub bodies: BodyBudget,
    journal: Option<Arc<DiskJournal>>,
    short_of_disk: Check,
}

/// A producer that runs.
pub struct ProducerRole {
    servers: Vec<Task>,
    delivery: Arc<Delivery>,
    journal: Option<Arc<DiskJournal>>,
    replay: Task,
    alerts: Task,
    background: Vec<Task>,
}

impl OpenProducer {
    /// Opens the delivery to a bus.
    ///
    /// # Errors
    /// The journal cannot be opened.
    pub async fn open(context: &Context<'_>, publisher: &Arc<dyn RecordPublisher>) -> anyhow::Result<Self> {
        let settings = context.settings;
        let (delivery, journal) =
            open_delivery(settings, &context.disk, Arc::clone(publisher), context.telemetry()).await?;
        Ok(Self {
            delivery: Arc::new(delivery),
            bodies: BodyBudget::new(settings.body_bytes_max.in_memory()),
            journal,
            short_of_disk: crate::disk::check(settings.bus, Arc::clone(&context.disk)),
        })
    }

    /// Adds the parts of a producer to the health of the process.
    pub fn add_to(&self, health: Health) -> Health {
        health.with_delivery(Arc::clone(&self.delivery)).with_check("disk", Arc::clone(&self.short_of_disk))
    }

    /// Starts to serve, and where it listens for agents besides. `bus_fault` says what an operator has to fix at the bus,
    /// if anything.
    ///
    /// # Errors
    /// The settings do not fit the partitions of the bus.
    pub fn start(
        self,
        context: &Context<'_>,
        (server, mut agents): (Server, AgentListeners),
        actuator: Actuator,
        shared: &Shared,
        bus_fault: Option<Check>,
    ) -> anyhow::Result<(ProducerRole, Arc<dyn LocalService>)> {
        let (settings, tasks) = (context.settings, &context.tasks);
        let partitioner = Partitioner::new(priority_lane(settings), self.delivery.partition_count())?;
        let ingest = Ingest::new(
            Arc::clone(&self.delivery),
            Arc::clone(&context.clock),
            Arc::new(UuidV7::default()),
            context.telemetry(),
            settings.delivery.policy(),
            partitioner,
        )
        .deriving_ids(settings.ingest.derived_ids);
        let ingest = Arc::new(ingest);
        let health = actuator.health.clone().of_producer();
        let dependencies = ProducerDependencies {
            ingest: Arc::clone(&ingest),
            health: health.clone(),
            limiter: Arc::clone(&shared.limiter),
            key_limiter: Arc::clone(&shared.key_limiter),
            idempotency: shared.idempotency.clone(),
            telemetry: context.telemetry(),
            refusals: RefusalLog::default(),
            bodies: self.bodies,
            trusted_proxies: settings.producer.trusted_proxies.0.clone().into(),
            agents: AgentAdmission::new(
                Arc::clone(&shared.agent_limiter),
                settings.ingest.hold.0,
                ServerOptions::default().connections_max / WAITERS_SHARE_OF_CONNECTIONS,
            ),
            shortage: Some(self.short_of_disk),
        };
        let access = context.access.behind(settings.producer.trusted_proxies.0.clone().into());
        let endpoint = producer_endpoint(dependencies, Actuator { health, ..actuator }, access);
        let service = server.service(endpoint, context.observer("producer"));
        let local: Arc<dyn LocalService> = Arc::clone(&service) as _;

        let mut background = Vec::new();
        background.extend(bus_fault.map(|check| {
            let alert = FaultAlert::new(context.alerter(), Alert::bus_unusable);
            tasks.spawn("bus fault", |stop| alert.run(check, stop))
        }));
        let (bus, disk, directory) = (settings.bus, Arc::clone(&context.disk), settings.data_dir.clone());
        background.push(tasks.spawn("disk", |stop| crate::disk::watch(bus, disk, directory, stop)));
        let alerts = ProducerAlerts::new(Arc::clone(&self.delivery), context.alerter());
        // Requests at the second address are those of the producer, and count as such.
        let second = agents.otlp.take().map(|otlp| {
            let service = Arc::clone(&service);
            tasks.spawn("otlp", |stop| otlp.run(service, stop))
        });
        let limiter = Arc::clone(&shared.agent_limiter);
        let others = agents.serve(tasks, &local, ingest, limiter, context.telemetry());
        let first = tasks.spawn("producer", |stop| server.run(service, stop));
        let role = ProducerRole {
            servers: std::iter::once(first).chain(second).chain(others).collect(),
            replay: tasks.spawn("replay", |stop| Arc::clone(&self.delivery).replay(stop)),
            alerts: tasks.spawn("producer alerts", |stop| alerts.run(stop)),
            delivery: self.delivery,
            journal: self.journal,
            background,
        };
        Ok((role, local))
    }
}

/// A producer that accepts no more requests.
pub struct DrainingProducer {
    delivery: Arc<Delivery>,
    journal: Option<Arc<DiskJournal>>,
    replay: Task,
    alerts: Task,
}

impl ProducerRole {
    /// What to stop first, what to drain then, and what to stop last.
    pub fn into_parts(self) -> (Vec<Task>, DrainingProducer, Vec<Task>) {
        let Self { servers, delivery, journal, replay, alerts, background } = self;
        (servers, DrainingProducer { delivery, journal, replay, alerts }, background)
    }
}

impl DrainingProducer {
    /// Delivers or journals what was accepted. Returns the number of events that could not be made safe in time.
    pub async fn drain(self, deadlines: &DrainDeadlines) -> usize {
        let left_until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.replay.stop(deadlines.delivery).await;
        let left = self.delivery.drain(left_until(deadlines.delivery)).await;
        if let Some(journal) = self.journal
            && !journal.close(left_until(deadlines.journal)).await
        {
            tracing::warn!("the journal could not be closed in order");
        }
        self.alerts.stop(deadlines.work).await;
        left
    }
}
