//! The roles of a process: opened, then started.
//!
//! Constraints:
//! * The store is opened before the bus: it knows the positions of the embedded one.
//! * The gateway starts last: it may be in front of the other roles of this process.

use std::sync::{Arc, OnceLock};

use adapter_http::{Activity, Actuator, Gateway};
use application::health::Health;

use crate::backends::{Bus, Shared, open_bus, open_shared};
use crate::consumer_role::{ConsumerRole, OpenConsumer};
use crate::context::{Context, Servers};
use crate::gateway_role;
use crate::metrics::Metrics;
use crate::producer_role::{OpenProducer, ProducerRole};
use crate::role::Role;
use crate::settings::Settings;
use crate::task::Task;
use crate::tls::ListenerTls;

/// What the roles of a process need, open and not yet serving.
pub struct OpenRoles {
    producer: Option<OpenProducer>,
    consumer: Option<OpenConsumer>,
    /// `None` in a gateway.
    bus: Option<(Bus, Shared)>,
}

/// The roles of a process that serve, and its health.
pub struct RunningRoles {
    pub gateway: Option<Task>,
    pub producer: Option<ProducerRole>,
    pub consumer: Option<ConsumerRole>,
    pub health: Health,
}

/// The words of the bus and of the store of a process with this role, as its log has them: a gateway has neither, and only a
/// consumer has a store.
pub fn bus_and_store(role: Role, settings: &Settings) -> Option<(&'static str, Option<&'static str>)> {
    let store = role.includes(Role::Consumer).then(|| settings.store.kind.word());
    (role != Role::Gateway).then(|| (settings.bus.word(), store))
}

impl OpenRoles {
    /// Opens what the roles with these servers need.
    ///
    /// # Errors
    /// Something cannot be opened; the message says what and where.
    pub async fn open(role: Role, servers: &Servers, context: &Context<'_>) -> anyhow::Result<Self> {
        let settings = context.settings;
        let consumer = match servers.consumer {
            Some(_) => Some(OpenConsumer::open(settings).await?),
            None => None,
        };
        let bus = match role {
            Role::Gateway => None,
            Role::All | Role::Producer | Role::Consumer => {
                let store = consumer.as_ref().map(|consumer| &consumer.store);
                Some((open_bus(settings, &context.disk, &context.clock, store).await?, open_shared(settings)?))
            }
        };
        let producer = match (&bus, &servers.producer) {
            (Some((bus, _)), Some(_)) => Some(OpenProducer::open(context, &bus.publisher).await?),
            _ => None,
        };
        Ok(Self { producer, consumer, bus })
    }

    /// What the process depends on. A consumer without a producer reports the consuming side of the bus.
    pub fn health(&self, settings: &Settings) -> Health {
        let mut health = Health::default();
        if let Some(producer) = &self.producer {
            health = producer.add_to(health);
        } else if let Some(check) = self.bus.as_ref().and_then(|(bus, _)| bus.source.as_ref()?.check.clone()) {
            health = health.with_check("bus", check);
        }
        if let Some(consumer) = &self.consumer {
            health = consumer.add_to(health, settings);
        }
        if let Some(check) = self.bus.as_ref().and_then(|(_, shared)| shared.check.clone()) {
            health = health.with_check("limiter", check);
        }
        health
    }

    /// The sources of the metrics of the process.
    pub fn metrics(
        &self,
        context: &Context<'_>,
        servers: Vec<(&'static str, Arc<Activity>)>,
        gateway: &Arc<OnceLock<Gateway>>,
        tls: &ListenerTls,
    ) -> Metrics {
        let Self { producer, consumer, bus } = self;
        let of_producer = producer.iter().map(|producer| ("producer", producer.bodies.clone()));
        let of_consumer = consumer.iter().map(|consumer| ("consumer", consumer.answers.clone()));
        Metrics {
            prometheus: Arc::clone(&context.prometheus),
            rendering: Arc::default(),
            servers,
            gateway: Arc::clone(gateway),
            disk: producer.is_some().then(|| Arc::clone(&context.disk)),
            bodies: of_producer.chain(of_consumer).collect(),
            tls: tls.clone(),
            delivery: producer.as_ref().map(|producer| Arc::clone(&producer.delivery)),
            // A consumer's client only sends dead letters again.
            kafka: bus.as_ref().filter(|_| producer.is_some()).and_then(|(bus, _)| bus.client.clone()),
            source: bus.as_ref().and_then(|(bus, _)| Some(Arc::clone(&bus.source.as_ref()?.records))),
            segments: consumer.as_ref().and_then(|consumer| consumer.sealing.clone()),
        }
    }

    /// Starts to serve. Puts the gateway, if there is one, where it is waited for.
    ///
    /// # Errors
    /// The settings do not fit the partitions of the bus.
    pub fn start(
        self,
        context: &Context<'_>,
        servers: Servers,
        actuator: Actuator,
        gateway: &OnceLock<Gateway>,
        tls: &ListenerTls,
    ) -> anyhow::Result<RunningRoles> {
        let Self { producer, consumer, bus } = self;
        let health = actuator.health.clone();
        let mut running = RunningRoles { gateway: None, producer: None, consumer: None, health };
        let (mut local_producer, mut local_consumer) = (None, None);
        if let Some((Bus { publisher, source, fault, .. }, shared)) = bus {
            if let (Some(producer), Some(server)) = (producer, servers.producer) {
                let (role, local) =
                    producer.start(context, (server, servers.agents), actuator.clone(), &shared, fault)?;
                (running.producer, local_producer) = (Some(role), Some(local));
            }
            if let (Some(consumer), Some(server), Some(source)) = (consumer, servers.consumer, source) {
                let (role, local) = consumer.start(context, server, actuator.clone(), &shared, source, publisher);
                (running.consumer, local_consumer) = (Some(role), Some(local));
            }
        }
        if let Some(server) = servers.gateway {
            let (settings, upstream) = (context.settings, tls.upstream.clone());
            let gateway =
                gateway.get_or_init(|| gateway_role::gateway(settings, local_producer, local_consumer, upstream));
            let (task, health) = gateway_role::start(context, server, gateway.clone(), actuator);
            (running.gateway, running.health) = (Some(task), health);
        }
        Ok(running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_logs_only_the_bus_and_the_store_that_it_has() {
        let given = [("SPILLWAY_BUS", "kafka"), ("SPILLWAY_KAFKA__BROKERS", "127.0.0.1:9092")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::load(None, given).expect("valid");
        for (role, expected) in [
            (Role::All, Some(("kafka", Some("embedded")))),
            (Role::Gateway, None),
            (Role::Producer, Some(("kafka", None))),
            (Role::Consumer, Some(("kafka", Some("embedded")))),
        ] {
            assert_eq!(bus_and_store(role, &settings), expected, "{role:?}");
        }
    }
}
