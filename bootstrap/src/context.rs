//! What all roles of a process share.

use std::net::SocketAddr;
use std::sync::Arc;

use adapter_embedded::disk::Disk;
use adapter_http::{AccessControl, Activity, Observer, Server, ServerOptions, Tls};
use adapter_keys::KeysFile;
use adapter_telemetry::Prometheus;
use anyhow::Context as _;
use domain::ports::{Alerter, Clock, Telemetry};

use crate::access::{access_control, open_sessions};
use crate::agent_listeners::AgentListeners;
use crate::alerts::Alerts;
use crate::role::{Addresses, Role};
use crate::settings::Settings;
use crate::system::SystemClock;
use crate::task::Tasks;
use crate::tls::ListenerTls;

/// Settings, clock, telemetry, alerts, disk, access control and tasks of a process.
pub struct Context<'s> {
    pub settings: &'s Settings,
    pub prometheus: Arc<Prometheus>,
    pub clock: Arc<dyn Clock>,
    pub alerts: Arc<Alerts>,
    pub disk: Arc<Disk>,
    pub access: AccessControl,
    pub tasks: Tasks,
}

impl<'s> Context<'s> {
    /// The context of a process of this role that listens at these addresses.
    ///
    /// # Errors
    /// Alerts cannot be sent to the webhook that is set.
    pub fn new(
        role: Role,
        settings: &'s Settings,
        addresses: Addresses,
        keys: Option<&Arc<KeysFile>>,
    ) -> anyhow::Result<Self> {
        let prometheus = Arc::new(Prometheus::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tasks = Tasks::default();
        let alerts = Arc::new(Alerts::start(role, settings, addresses, Arc::clone(&clock), &prometheus, &tasks)?);
        let disk = Arc::new(Disk::of(&settings.data_dir));
        let sessions = open_sessions(role, settings)?;
        let access = access_control(settings, keys, sessions, Arc::<Prometheus>::clone(&prometheus));
        Ok(Self { settings, prometheus, clock, alerts, disk, access, tasks })
    }

    pub fn telemetry(&self) -> Arc<dyn Telemetry> {
        Arc::<Prometheus>::clone(&self.prometheus)
    }

    pub fn alerter(&self) -> Arc<dyn Alerter> {
        Arc::<Alerts>::clone(&self.alerts)
    }

    /// Counts the answers of a server.
    pub fn observer(&self, role: &'static str) -> Observer {
        let prometheus = Arc::clone(&self.prometheus);
        Arc::new(move |answered| prometheus.answered(role, answered.status, answered.duration))
    }
}

/// The servers of a process, bound and not yet running.
#[derive(Default)]
pub struct Servers {
    pub gateway: Option<Server>,
    pub producer: Option<Server>,
    pub consumer: Option<Server>,
    /// Where the producer listens for agents besides.
    pub agents: AgentListeners,
}

impl Servers {
    /// Binds the addresses of a role. Without `keys`, everyone is let in.
    ///
    /// # Errors
    /// An address is in use or not of this machine.
    pub async fn bind(
        role: Role,
        settings: &Settings,
        keys: Option<&Arc<KeysFile>>,
        tls: &ListenerTls,
    ) -> anyhow::Result<Self> {
        let (mut servers, open) = (Self::default(), keys.is_none());
        if role.includes(Role::Producer) {
            let server = bind(settings.producer.listen, "producer", open, tls.producer.as_ref()).await?;
            servers.producer = Some(server);
            servers.agents = AgentListeners::bind(settings, keys, tls).await?;
        }
        if role.includes(Role::Consumer) {
            servers.consumer = Some(bind(settings.consumer.listen, "consumer", open, tls.consumer.as_ref()).await?);
        }
        if role.includes(Role::Gateway) {
            servers.gateway = Some(bind(settings.gateway.listen, "gateway", open, tls.gateway.as_ref()).await?);
        }
        Ok(servers)
    }

    /// Where they listen.
    ///
    /// # Errors
    /// The operating system's.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |server: &Option<Server>| server.as_ref().map(Server::address).transpose();
        Ok(Addresses { gateway: of(&self.gateway)?, producer: of(&self.producer)?, consumer: of(&self.consumer)? })
    }

    /// Counts of their requests, by role.
    pub fn activities(&self) -> Vec<(&'static str, Arc<Activity>)> {
        let servers = [("gateway", &self.gateway), ("producer", &self.producer), ("consumer", &self.consumer)];
        servers.into_iter().filter_map(|(role, server)| Some((role, server.as_ref()?.activity()))).collect()
    }
}

async fn bind(address: SocketAddr, role: &str, open: bool, tls: Option<&Arc<Tls>>) -> anyhow::Result<Server> {
    let is_reached = !address.ip().is_loopback();
    if is_reached && open {
        tracing::warn!(%address, "the {role} can be reached from other machines, and lets everyone in");
    } else if is_reached && tls.is_none() {
        tracing::warn!(%address, "keys and events reach the {role} unencrypted");
    }
    let context =
        || format!("the {role} cannot listen at {address}; set SPILLWAY_{}__LISTEN", role.to_ascii_uppercase());
    let server = Server::bind(address, ServerOptions::default()).await.with_context(context)?;
    Ok(server.secured(tls.cloned()))
}
