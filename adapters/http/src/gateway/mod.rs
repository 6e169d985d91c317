//! One entry point in front of producers and consumers, which are instances at some address or services of this process.
//!
//! [`instances`] decides which instance gets a request, and [`forward`] sends it there; [`failure`] says why one does not answer.
//! [`fleet`] asks all of them how they are.

pub mod balancing;
mod failure;
mod fleet;
mod forward;
pub mod instances;

use std::net::IpAddr;
use std::sync::Arc;

use application::health::Health;
use poem::http::HeaderMap;
use poem::{Request, Response};
use tokio::sync::watch;

use crate::client_address::TrustedProxies;
use crate::gateway::fleet::{Answers, Known, Reports, ask_all};
use crate::gateway::forward::Forwarder;
use crate::gateway::instances::{Instance, InstanceState, UpstreamUrl, Upstreams};
use crate::server::LocalService;
use crate::tls::UpstreamTls;

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
    forwarder: Arc<Forwarder>,
    producer: Target,
    consumer: Target,
    reports: Reports,
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
    /// A gateway in front of a producer and a consumer. It believes `trusted_proxies` when they name a client. `tls` is for
    /// instances whose URL is https.
    #[must_use]
    pub fn new(
        producer: Upstream,
        consumer: Upstream,
        trusted_proxies: TrustedProxies,
        tls: Option<Arc<UpstreamTls>>,
    ) -> Self {
        let inner = Inner {
            forwarder: Arc::new(Forwarder::new(trusted_proxies, tls)),
            producer: Target::new("producer", producer),
            consumer: Target::new("consumer", consumer),
            reports: Reports::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The proxies that it believes when they name a client.
    pub(crate) fn trusted_proxies(&self) -> &TrustedProxies {
        self.inner.forwarder.trusted_proxies()
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

    /// What the instances tell about themselves to a request with these headers that was let in. Roles of this process
    /// are not among them.
    pub(crate) async fn reports(&self, headers: &HeaderMap, peer: IpAddr) -> Answers {
        let ask = || {
            let forwarder = &self.inner.forwarder;
            let known = self.upstreams().flat_map(known_of).collect();
            ask_all(forwarder, forwarder.headers_to_ask_with(headers, peer), known)
        };
        self.inner.reports.get(headers, ask).await
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

/// The instances of a role, and its names without an address.
fn known_of(upstreams: &Upstreams) -> Vec<Known> {
    let (role, urls) = upstreams.unresolved();
    let instances = upstreams.instances_with_state();
    let instances = instances.into_iter().map(|(state, instance)| Known::Instance(state, instance));
    instances.chain(urls.into_iter().map(|url| Known::Unresolved(role, url))).collect()
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Mutex;

    use ipnet::IpNet;
    use poem::endpoint::make_sync;
    use poem::http::uri::Scheme;
    use poem::web::{LocalAddr, RemoteAddr};
    use poem::{Body, EndpointExt, RequestParts};

    use super::*;
    use crate::client_address::{ForwardedClient, X_FORWARDED_FOR};
    use crate::server::{Server, ServerOptions};

    #[tokio::test]
    async fn a_role_of_this_process_gets_the_client_as_a_value_and_counts_the_request() {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any_port, ServerOptions::default()).await.expect("an address");
        let (clients, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (seen, activity) = (Arc::clone(&clients), server.activity());
        let under_way = server.activity();
        let endpoint = make_sync(move |request: Request| {
            assert_eq!(under_way.requests(), (1, 1), "it is in work");
            seen.lock().expect("lock").push(request.extensions().get::<ForwardedClient>().copied());
            Response::builder().status(poem::http::StatusCode::ACCEPTED).finish()
        });
        let told = Arc::clone(&answers);
        let observer =
            Arc::new(move |answered: crate::server::Answered| told.lock().expect("lock").push(answered.status));
        let service = server.service(endpoint.map_to_response(), observer);
        let trusted: Vec<IpNet> = vec!["192.0.2.0/24".parse().expect("a network")];
        let gateway = Gateway::new(Upstream::InProcess(service), Upstream::Instances(Vec::new()), trusted.into(), None);

        let (mut parts, _) = hyper::Request::new(()).into_parts();
        parts.headers.insert("host", "spillway".parse().expect("a header"));
        parts.headers.insert(X_FORWARDED_FOR, "198.51.100.1".parse().expect("a header"));
        let proxy = RemoteAddr(SocketAddr::from(([192, 0, 2, 1], 5_000)).into());
        let parts = RequestParts::from((parts, LocalAddr::default(), proxy, Scheme::HTTP));
        let request = Request::from_parts(parts, Body::empty());
        let answer = gateway.to_producer(request, &Health::default()).await;
        assert_eq!(answer.status().as_u16(), 202);
        let client: IpAddr = "198.51.100.1".parse().expect("an address");
        assert_eq!(*clients.lock().expect("lock"), [Some(ForwardedClient(client))]);
        assert_eq!(*answers.lock().expect("lock"), [202]);
        assert_eq!(activity.requests(), (1, 0), "it is over");
    }
}
