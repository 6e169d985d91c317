//! One entry point in front of producers and consumers, which are instances at some address or services of this process.
//!
//! [`instances`] decides which instance gets a request, and [`forward`] sends it there.

pub mod balancing;
mod forward;
pub mod instances;

use std::sync::Arc;

use application::health::Health;
use poem::{Request, Response};
use tokio::sync::watch;

use crate::client_address::TrustedProxies;
use crate::gateway::forward::Forwarder;
use crate::gateway::instances::{Instance, InstanceState, UpstreamUrl, Upstreams};
use crate::server::LocalService;

/// Where requests for a role go.
pub enum Upstream {
    /// To instances that are found at these URLs.
    Instances(Vec<UpstreamUrl>),
    /// To the role in this process.
    InProcess(Arc<dyn LocalService>),
}

/// Sends requests to producers and consumers.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    forwarder: Forwarder,
    producer: Target,
    consumer: Target,
}

enum Target {
    Instances(Upstreams),
    InProcess(Arc<dyn LocalService>),
}

impl Target {
    fn new(role: &'static str, upstream: Upstream) -> Self {
        match upstream {
            Upstream::Instances(urls) => Self::Instances(Upstreams::new(role, urls)),
            Upstream::InProcess(service) => Self::InProcess(service),
        }
    }

    fn instances(&self) -> Option<&Upstreams> {
        match self {
            Self::Instances(upstreams) => Some(upstreams),
            Self::InProcess(_) => None,
        }
    }
}

impl Gateway {
    /// A gateway in front of a producer and a consumer. It believes `trusted_proxies` when they name a client.
    #[must_use]
    pub fn new(producer: Upstream, consumer: Upstream, trusted_proxies: TrustedProxies) -> Self {
        let inner = Inner {
            forwarder: Forwarder::new(trusted_proxies),
            producer: Target::new("producer", producer),
            consumer: Target::new("consumer", consumer),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Why a role cannot be reached, if no instance of it is known to be ready.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.upstreams().find_map(Upstreams::fault)
    }

    /// The state of all instances.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceState> {
        self.upstreams().flat_map(Upstreams::states).collect()
    }

    /// Finds out where instances are and whether they are ready, until `stop`.
    pub async fn watch(self, stop: watch::Receiver<bool>) {
        let inner = &self.inner;
        tokio::join!(inner.watch(&inner.producer, stop.clone()), inner.watch(&inner.consumer, stop));
    }

    /// Answers a request for a producer.
    pub(crate) async fn to_producer(&self, request: Request, health: &Health) -> Response {
        self.inner.send(&self.inner.producer, request, health).await
    }

    /// Answers a request for a consumer.
    pub(crate) async fn to_consumer(&self, request: Request, health: &Health) -> Response {
        self.inner.send(&self.inner.consumer, request, health).await
    }

    fn upstreams(&self) -> impl Iterator<Item = &Upstreams> {
        [&self.inner.producer, &self.inner.consumer].into_iter().filter_map(Target::instances)
    }
}

impl Inner {
    async fn send(&self, target: &Target, request: Request, health: &Health) -> Response {
        match target {
            Target::Instances(upstreams) => self.forwarder.forward(upstreams, request, health).await,
            Target::InProcess(service) => self.forwarder.pass_on(service.as_ref(), request).await,
        }
    }

    async fn watch(self: &Arc<Self>, target: &Target, stop: watch::Receiver<bool>) {
        let Some(upstreams) = target.instances() else { return };
        let check = |instance: Arc<Instance>| {
            let inner = Arc::clone(self);
            async move { inner.forwarder.check(&instance).await }
        };
        upstreams.watch(check, stop).await;
    }
}
