//! The instances behind the names that a gateway forwards to.
//!
//! Constraints and invariants:
//! * Every address that a name resolves to is an instance, from one look to the next: so what is scaled up is used, and what is
//!   gone is left. A name that does not resolve keeps the addresses that it had.
//! * Each instance is asked for its readiness all the time; what was found, and how requests went, decides who is chosen
//!   ([`crate::balancing`]).
//! * The log says why an instance is ejected, and repeats a reason that does not pass by itself once a minute.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use poem::http::uri::{Authority, Scheme};
use poem::http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::gateway::balancing::{Availability, Check, Load, choose};
use crate::gateway::failure::Failure;

/// How often an instance is asked whether it is ready: well below the time for which one that stops still accepts.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The same while no instance is known to be ready.
const CHECK_AGAIN_INTERVAL: Duration = Duration::from_millis(100);
/// How often names are resolved.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log repeats why an instance cannot be used.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Longest wait for a resolver.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The base URL of instances: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    scheme: Scheme,
    authority: Authority,
}

/// The text is not the base URL of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base URL of an instance, such as http://127.0.0.1:8081")]
pub struct InvalidUpstream;

impl FromStr for UpstreamUrl {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let parts = text.parse::<Uri>().map_err(|_| InvalidUpstream)?.into_parts();
        let root = parts.path_and_query.as_ref().is_none_or(|path| *path == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) if (scheme == Scheme::HTTP || scheme == Scheme::HTTPS) && root => {
                Ok(Self { scheme, authority })
            }
            _ => Err(InvalidUpstream),
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl UpstreamUrl {
    /// The address, if it needs no resolver.
    fn literal(&self) -> Option<SocketAddr> {
        let ip = self.host().parse().ok()?;
        Some(SocketAddr::new(ip, self.port()))
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

/// Instances of one role.
pub struct Upstreams {
    role: &'static str,
    urls: Vec<UpstreamUrl>,
    instances: RwLock<Vec<Arc<Instance>>>,
    first_look: OnceCell<()>,
    started: Instant,
}

/// One address of an instance.
pub struct Instance {
    url: UpstreamUrl,
    /// Where it is.
    pub address: SocketAddr,
    /// The same, as part of a URI.
    pub authority: Authority,
    /// What it is called, for its `Host` header (RFC 9110, section 7.2).
    pub host: Option<HeaderValue>,
    /// The name by which it is verified, if connections are encrypted.
    pub name: Option<ServerName<'static>>,
    load: Mutex<Load>,
    failing: Mutex<Failing>,
    being_checked: AtomicBool,
    started: Instant,
}

/// How an instance fails.
#[derive(Default)]
struct Failing {
    /// Why, unless it has answered since.
    why: Option<Failure>,
    /// What the log has said, and when: nothing that is older than [`LOG_INTERVAL`].
    told: Vec<(Failure, Instant)>,
}

impl Failing {
    /// Notes a failure. Returns whether it is time to say so in the log.
    fn note(&mut self, failure: Failure) -> bool {
        self.why = Some(failure);
        self.told.retain(|(_, at)| at.elapsed() < LOG_INTERVAL);
        let is_due = self.told.iter().all(|(told, _)| *told != failure);
        if is_due {
            self.told.push((failure, Instant::now()));
        }
        is_due
    }
}

/// A request that an instance has. It counts as under way until it is dropped or its outcome is told.
pub struct UnderWay {
    instance: Arc<Instance>,
    over: bool,
}

/// How an instance is, for people and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceState {
    /// Its role.
    pub role: &'static str,
    /// What its name is.
    pub url: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it gets requests.
    pub availability: Availability,
    /// Requests under way.
    pub under_way: u32,
    /// What its latency counts as, in milliseconds.
    pub latency_ms: f64,
}

impl Instance {
    fn new(url: &UpstreamUrl, address: SocketAddr, started: Instant) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            url: url.clone(),
            address,
            authority: address.to_string().parse().ok()?,
            host: HeaderValue::from_str(url.authority.as_str()).ok(),
            name: ServerName::try_from(url.host().to_owned()).ok().filter(|_| url.is_encrypted()),
            load: Mutex::default(),
            failing: Mutex::default(),
            being_checked: AtomicBool::new(false),
            started,
        }))
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        self.url.scheme.clone()
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives it a request.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.load().begin();
        UnderWay { instance: Arc::clone(self), over: false }
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its load, and says so if it gets requests no more, or again.
    fn change(&self, change: impl FnOnce(&mut Load, Duration), failure: Option<Failure>) {
        let mut load = self.load();
        let before = load.availability();
        change(&mut load, self.now());
        let after = load.availability();
        drop(load);
        let is_due = match failure {
            Some(failure) => self.failing().note(failure) && !failure.passes(),
            None => {
                self.failing().why = None;
                false
            }
        };
        let (upstream, address, reason) = (&self.url, &self.address, failure.map(tracing::field::display));
        let (from, to) = (before.name(), after.name());
        if before == after {
            if is_due {
                tracing::warn!(%upstream, %address, reason, "an instance cannot be used");
            }
        } else if after == Availability::Available {
            tracing::info!(%upstream, %address, from, to, "an instance gets requests again");
        } else {
            tracing::warn!(%upstream, %address, from, to, reason, "an instance gets no more requests");
        }
    }
}

impl UnderWay {
    /// It has answered, so long after it had all of the request.
    pub fn answered(mut self, took: Duration, success: bool) {
        self.over = true;
        self.instance.change(|load, now| load.answered(now, took, success), None);
    }

    /// It has failed.
    pub fn failed(mut self, failure: Failure) {
        self.over = true;
        self.instance.change(|load, now| load.failed(now, failure), Some(failure));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.over {
            self.instance.load().end();
        }
    }
}

impl Upstreams {
    /// Instances of a role behind these names.
    #[must_use]
    pub fn new(role: &'static str, urls: Vec<UpstreamUrl>) -> Self {
        let started = Instant::now();
        let literal = |url: &UpstreamUrl| Instance::new(url, url.literal()?, started);
        let instances = urls.iter().filter_map(literal).collect();
        Self { role, urls, instances: RwLock::new(instances), first_look: OnceCell::new(), started }
    }

    fn instances(&self) -> Vec<Arc<Instance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the instances are.
    #[must_use]
    pub fn states(&self) -> Vec<InstanceState> {
        self.instances().iter().map(|instance| self.state_of(instance)).collect()
    }

    /// The instances, and how they are.
    #[must_use]
    pub fn instances_with_state(&self) -> Vec<(InstanceState, Arc<Instance>)> {
        self.instances().into_iter().map(|instance| (self.state_of(&instance), instance)).collect()
    }

    /// The role, and its URLs of which no address is known.
    #[must_use]
    pub fn unresolved(&self) -> (&'static str, Vec<String>) {
        let instances = self.instances();
        let is_known = |url: &&UpstreamUrl| instances.iter().any(|instance| instance.url == **url);
        (self.role, self.urls.iter().filter(|url| !is_known(url)).map(UpstreamUrl::to_string).collect())
    }

    fn state_of(&self, instance: &Instance) -> InstanceState {
        let load = instance.load();
        InstanceState {
            role: self.role,
            url: instance.url.to_string(),
            address: instance.address,
            availability: load.availability(),
            under_way: load.under_way(),
            latency_ms: load.latency_seconds(self.started.elapsed()) * 1e3,
        }
    }

    /// What is wrong, if no instance is known to be ready.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let instances = self.instances();
        if instances.iter().any(|instance| instance.load().is_known_ready()) {
            return None;
        }
        let answers = instances.iter().any(|instance| instance.load().availability() == Availability::Unready);
        if answers {
            return Some(format!("no {} is ready: see the health of the instances", self.role));
        }
        let why = instances.iter().find_map(|instance| Some((instance.address, instance.failing().why?)));
        let why = why.map(|(address, failure)| format!("; {address}: {failure}")).unwrap_or_default();
        Some(format!("no {} can be reached{why}", self.role))
    }

    /// The instance for the next request, among those that are not in `tried`.
    pub async fn choose(&self, tried: &[SocketAddr]) -> Option<Arc<Instance>> {
        // Before the first look is over nobody can know that there are none.
        self.first_look.get_or_init(|| self.resolve()).await;
        let mut instances = self.instances();
        instances.retain(|instance| !tried.contains(&instance.address));
        let loads: Vec<MutexGuard<'_, Load>> = instances.iter().map(|instance| instance.load()).collect();
        let chosen = choose(&loads.iter().map(|load| &**load).collect::<Vec<_>>(), self.started.elapsed(), |below| {
            fastrand::usize(..below)
        });
        drop(loads);
        chosen.and_then(|index| instances.get(index).cloned())
    }

    /// Resolves names and checks instances by `check` until `stop`.
    pub async fn watch<C, F>(&self, check: C, mut stop: watch::Receiver<bool>)
    where
        C: Fn(Arc<Instance>) -> F,
        F: Future<Output = Check> + Send + 'static,
    {
        let mut ticks = interval(CHECK_AGAIN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut resolved_at, mut checked_at): (Option<Instant>, Option<Instant>) = (None, None);
        let is_due = |at: Option<Instant>, every: Duration| at.is_none_or(|at| at.elapsed() >= every);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            if is_due(resolved_at, RESOLVE_INTERVAL) {
                resolved_at = Some(Instant::now());
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = self.resolve() => {}
                }
            }
            if is_due(checked_at, CHECK_INTERVAL) || self.fault().is_some() {
                checked_at = Some(Instant::now());
                for instance in self.instances() {
                    if !instance.being_checked.swap(true, Ordering::AcqRel) {
                        let check = check(Arc::clone(&instance));
                        tokio::spawn(async move {
                            let found = check.await;
                            let failure = if let Check::Failed(failure) = found { Some(failure) } else { None };
                            instance.change(|load, now| load.check(now, found), failure);
                            instance.being_checked.store(false, Ordering::Release);
                        });
                    }
                }
            }
        }
    }

    /// Looks up all names, and takes over what they stand for now.
    async fn resolve(&self) {
        let mut found = BTreeMap::new();
        let known = self.instances();
        for url in &self.urls {
            let addresses: Vec<SocketAddr> = match url.literal() {
                Some(address) => vec![address],
                None => match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((url.host(), url.port()))).await {
                    Ok(Ok(addresses)) => addresses.collect(),
                    Ok(Err(_)) | Err(_) => Vec::new(),
                },
            };
            let of_url = known.iter().filter(|instance| instance.url == *url);
            if addresses.is_empty() {
                found.extend(of_url.map(|instance| (instance.address, Arc::clone(instance))));
                continue;
            }
            for address in addresses {
                let instance = of_url.clone().find(|instance| instance.address == address).cloned();
                if let Some(instance) = instance.or_else(|| Instance::new(url, address, self.started)) {
                    found.entry(address).or_insert(instance);
                }
            }
        }
        *self.instances.write().unwrap_or_else(PoisonError::into_inner) = found.into_values().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base_urls_name_an_instance() {
        for text in ["http://127.0.0.1:8081", "http://producer:8081/", "http://[::1]:8081", "https://producer"] {
            assert!(text.parse::<UpstreamUrl>().is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1:8081", "ftp://producer", "http://producer/api", "http://producer/?x=1", "http:///x"]
        {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(InvalidUpstream), "{text}");
        }
    }

    fn upstreams(urls: &[&str]) -> Upstreams {
        Upstreams::new("producer", urls.iter().map(|url| url.parse().expect("a URL")).collect())
    }

    #[tokio::test]
    async fn each_is_tried_once_a_request() {
        let upstreams = upstreams(&["http://127.0.0.1:1", "http://[::1]:2", "http://127.0.0.1:3"]);
        let mut tried = Vec::new();
        while let Some(instance) = upstreams.choose(&tried).await {
            tried.push(instance.address);
        }
        tried.sort_unstable();
        let ports: Vec<u16> = tried.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [1, 3, 2]);
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_used_and_what_is_known_of_one_is_kept() {
        let upstreams = upstreams(&["http://localhost:1", "http://127.0.0.1:2"]);
        let chosen = upstreams.choose(&[]).await.expect("it resolves");
        chosen.begin().failed(Failure::NobodyListens);
        let ejected = |states: Vec<InstanceState>| {
            let ejected = states.into_iter().filter(|state| state.availability == Availability::Ejected);
            ejected.map(|state| state.address).collect::<Vec<_>>()
        };
        upstreams.resolve().await;
        assert_eq!(ejected(upstreams.states()), [chosen.address]);
        let urls: Vec<String> = upstreams.states().into_iter().map(|state| state.url).collect();
        assert!(urls.contains(&"http://localhost:1".to_owned()), "{urls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_decides_who_is_ready_and_what_is_dropped_is_under_way_no_more() {
        let upstreams = Arc::new(upstreams(&["http://127.0.0.1:1", "http://127.0.0.1:2"]));
        assert_eq!(upstreams.fault().as_deref(), Some("no producer can be reached"));
        let (stop, stopped) = watch::channel(false);
        let watched = Arc::clone(&upstreams);
        let check = |instance: Arc<Instance>| async move {
            if instance.address.port() == 1 { Check::Ready } else { Check::Unready }
        };
        let watching = tokio::spawn(async move { watched.watch(check, stopped).await });
        let mut look = interval(CHECK_AGAIN_INTERVAL);
        while upstreams.fault().is_some() {
            look.tick().await;
        }
        for _ in 0..10 {
            assert_eq!(upstreams.choose(&[]).await.expect("one is ready").address.port(), 1);
        }
        let under_way = upstreams.choose(&[]).await.expect("one is ready").begin();
        let count = || upstreams.states().iter().map(|state| state.under_way).sum::<u32>();
        assert_eq!(count(), 1);
        drop(under_way);
        assert_eq!(count(), 0);
        stop.send_replace(true);
        watching.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_a_failure_is_told_once_a_minute_and_until_it_is_over() {
        let upstreams = upstreams(&["http://127.0.0.1:1"]);
        let instance = upstreams.choose(&[]).await.expect("an instance");
        let failed = |failure| instance.change(|load, now| load.check(now, Check::Failed(failure)), Some(failure));
        failed(Failure::OwnMissing);
        let fault = upstreams.fault().expect("it cannot be used");
        assert!(fault.starts_with("no producer can be reached; 127.0.0.1:1: it asks for a certificate"), "{fault}");
        assert!(!instance.failing().note(Failure::OwnMissing), "the line of its ejection has said it");
        assert!(instance.failing().note(Failure::OwnOtherName), "another reason");
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(instance.failing().note(Failure::OwnMissing));
        assert_eq!(instance.failing().told.len(), 1, "what is old is forgotten");
        instance.change(|load, now| load.check(now, Check::Ready), None);
        assert_eq!(instance.failing().why, None);
    }

    #[tokio::test]
    async fn an_instance_that_answers_and_is_not_ready_can_be_reached() {
        let upstreams = upstreams(&["http://127.0.0.1:1"]);
        for instance in upstreams.instances() {
            instance.change(|load, now| load.check(now, Check::Unready), None);
        }
        assert_eq!(upstreams.fault().as_deref(), Some("no producer is ready: see the health of the instances"));
    }
}
