//! Producers, consumers and gateways as processes, a load on them, and the final count.
//!
//! Constraints and invariants:
//! * Each process keeps its address across restarts.
//! * All producers share a directory, as on one machine.
//! * Every wait is for a condition and has a deadline.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use e2e::servers::Servers;
use e2e::{Http, Process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::time::{Instant, MissedTickBehavior};

use crate::comparison::{self, compare};
use crate::ledger::Ledger;
use crate::load::{Load, Running, event_id};
use crate::measurements::Measurements;
use crate::proxy::{Proxy, free_port};
use crate::report::{Report, timeline};
use crate::store::Store;
use crate::test_cluster::TestCluster;
use crate::topic::Topic;
use crate::watch::Watch;

/// Maximum wait for events that must happen.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Events are lost if they are not stored after this long without any new row.
const STILL: Duration = Duration::from_secs(20);

/// A role of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `spillway gateway`
    Gateway,
    /// `spillway producer`
    Producer,
    /// `spillway consumer`
    Consumer,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// Composition of a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of gateways; clients try the next one if they cannot connect to one.
    pub gateways: usize,
    /// Number of producers.
    pub producers: usize,
    /// Number of consumers.
    pub consumers: usize,
    /// Settings of producers, such as `("MEMORY_BYTES_MAX", "8MB")`.
    pub producer_settings: Vec<(&'static str, String)>,
    /// Settings of consumers.
    pub consumer_settings: Vec<(&'static str, String)>,
    /// Size of a separate file system for the producers' directory, if any.
    pub disk_bytes: Option<u64>,
    /// Index of the producer that gateways reach through a proxy.
    pub proxied_producer: Option<usize>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            gateways: 1,
            producers: 1,
            consumers: 1,
            producer_settings: Vec::new(),
            consumer_settings: Vec::new(),
            disk_bytes: None,
            proxied_producer: None,
        }
    }
}

/// A directory, possibly on a small in-memory file system.
pub struct Directory {
    directory: TempDir,
    mounted: bool,
}

impl Directory {
    /// Creates one, on a file system of the given size if requested. `None` if it cannot be mounted.
    #[must_use]
    pub fn new(disk_bytes: Option<u64>) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(bytes) = disk_bytes else { return Some(Self { directory, mounted: false }) };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "spillway-faults"]).arg(directory.path());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(Self { directory, mounted })
    }

    /// A small file system with a directory `tables` for PostgreSQL; `None` if none can be mounted.
    #[must_use]
    pub fn for_postgres(disk_bytes: u64) -> Option<Self> {
        let directory = Self::new(Some(disk_bytes))?;
        let tables = directory.path().join("tables");
        std::fs::create_dir(&tables).expect("a directory");
        // Mounting requires root, and PostgreSQL does not run as root.
        let given = Command::new("chown").arg("postgres").arg(&tables).status();
        given.is_ok_and(|status| status.success()).then_some(directory)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Lazily: processes killed just now may still exist.
        if self.mounted && !Command::new("umount").arg("-l").arg(self.path()).status().is_ok_and(|done| done.success())
        {
            eprintln!("cannot unmount {}", self.path().display());
        }
    }
}

struct Slot {
    address: SocketAddr,
    process: Option<Process>,
}

/// Processes, and their data on the servers.
pub struct Cluster {
    /// Servers and proxies.
    pub test_cluster: Arc<TestCluster>,
    /// The store.
    pub store: Store,
    /// Monitors the producers.
    pub watch: Watch,
    /// Between the gateways and the producer that they reach through it.
    pub proxy: Option<Proxy>,
    // Ends before the directories are removed.
    slots: BTreeMap<(Role, usize), Slot>,
    plan: Plan,
    servers: Servers,
    /// Number of producers replaced so far.
    generations: Arc<AtomicU16>,
    fault_over: Option<Instant>,
    /// Conditions that were not met in time.
    broken: Mutex<Vec<String>>,
    producers_directory: Directory,
    directory: TempDir,
}

impl Cluster {
    /// Starts all processes of a plan; `None` if its small disk cannot be mounted.
    pub async fn set(test_cluster: &Arc<TestCluster>, plan: Plan) -> Option<Self> {
        let producers_directory = Directory::new(plan.disk_bytes)?;
        let servers = test_cluster.names();
        let store = Store { url: test_cluster.postgres_url(), schema: servers.schema() };
        let counts =
            [(Role::Producer, plan.producers), (Role::Consumer, plan.consumers), (Role::Gateway, plan.gateways)];
        let members = counts.iter().flat_map(|(role, count)| (0..*count).map(move |index| (*role, index)));
        let slot = || Slot {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a free port"))),
            process: None,
        };
        let slots: BTreeMap<(Role, usize), Slot> = members.map(|member| (member, slot())).collect();
        let producers = slots.iter().filter(|((role, _), _)| *role == Role::Producer);
        let watch = Watch::begin(producers.map(|(_, slot)| Http::to(slot.address)).collect());
        let mut proxy = None;
        if let Some(producer) = plan.proxied_producer {
            let listening = Proxy::listen().await.expect("a port");
            listening.forward_to(slots[&(Role::Producer, producer)].address);
            proxy = Some(listening);
        }
        let mut cluster = Self {
            test_cluster: Arc::clone(test_cluster),
            store,
            watch,
            proxy,
            slots,
            plan,
            servers,
            generations: Arc::default(),
            fault_over: None,
            broken: Mutex::default(),
            producers_directory,
            directory: tempfile::tempdir().expect("a directory"),
        };
        for (role, count) in counts {
            for index in 0..count {
                cluster.start(role, index).await;
            }
        }
        Some(cluster)
    }

    /// The topic; the consumer group has the same name.
    #[must_use]
    pub fn topic(&self) -> Topic {
        Topic { brokers: self.test_cluster.brokers(), name: self.servers.name.clone() }
    }

    /// The directory of the producers.
    #[must_use]
    pub fn producers_directory(&self) -> PathBuf {
        self.producers_directory.path().to_owned()
    }

    /// A client of a process.
    #[must_use]
    pub fn http(&self, role: Role, index: usize) -> Http {
        Http::to(self.slots[&(role, index)].address)
    }

    /// A running process.
    #[must_use]
    pub fn process(&self, role: Role, index: usize) -> &Process {
        self.slots[&(role, index)].process.as_ref().expect("it runs")
    }

    fn addresses(&self, role: Role) -> Vec<SocketAddr> {
        self.slots.iter().filter(|((of, _), _)| *of == role).map(|(_, slot)| slot.address).collect()
    }

    /// Starts a process and waits until it is ready.
    pub async fn start(&mut self, role: Role, index: usize) {
        self.launch(role, index, true).await;
    }

    /// Starts a process and waits until it listens.
    pub async fn start_unready(&mut self, role: Role, index: usize) {
        self.launch(role, index, false).await;
    }

    async fn launch(&mut self, role: Role, index: usize, until_ready: bool) {
        let urls = |role: Role| {
            let mut addresses = self.addresses(role);
            if let (Role::Producer, Some(index), Some(proxy)) = (role, self.plan.proxied_producer, &self.proxy) {
                addresses[index] = proxy.address();
            }
            let urls = addresses.into_iter().map(|address| format!("http://{address}"));
            urls.collect::<Vec<_>>().join(",")
        };
        let mut settings = vec![
            (format!("{}__LISTEN", role.name().to_uppercase()), self.slots[&(role, index)].address.to_string()),
            // Time until the group notices a killed consumer: the minimum that a broker allows.
            ("KAFKA__PROPERTIES__SESSION_TIMEOUT_MS".to_owned(), "6000".to_owned()),
        ];
        let own = |settings: &[(&'static str, String)]| {
            settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<Vec<_>>()
        };
        match role {
            Role::Gateway => {
                settings.push(("GATEWAY__PRODUCERS".to_owned(), urls(Role::Producer)));
                settings.push(("GATEWAY__CONSUMERS".to_owned(), urls(Role::Consumer)));
            }
            Role::Producer => {
                settings.push(("KAFKA__BROKERS".to_owned(), self.test_cluster.kafka.address().to_string()));
                settings.extend(own(&self.plan.producer_settings));
            }
            Role::Consumer => settings.extend(own(&self.plan.consumer_settings)),
        }
        let settings: Vec<(String, String)> =
            settings.into_iter().map(|(key, value)| (format!("SPILLWAY_{key}"), value)).collect();
        let borrowed: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let variables = self.servers.variables(&borrowed);
        let directory = if role == Role::Producer { self.producers_directory.path() } else { self.directory.path() };
        let binary = &self.test_cluster.binary;
        let process = if until_ready {
            Process::start(binary, role.name(), directory, &variables).await
        } else {
            Process::listening(binary, role.name(), directory, &variables).await
        };
        if let Some(slot) = self.slots.get_mut(&(role, index)) {
            slot.process = Some(process);
        }
    }

    fn take(&mut self, role: Role, index: usize) -> Process {
        self.slots.get_mut(&(role, index)).and_then(|slot| slot.process.take()).expect("it runs")
    }

    /// Kills a process as `kill -9` does.
    pub async fn kill(&mut self, role: Role, index: usize) {
        self.take(role, index).kill().await;
        self.has_ended(role);
    }

    /// A producer has ended: from now on another one has the events. Not earlier, because a producer that was asked to
    /// stop still accepts events briefly.
    fn has_ended(&self, role: Role) {
        if role == Role::Producer {
            self.generations.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Asks a process to stop; returns its exit code and how long it took.
    pub async fn terminate(&mut self, role: Role, index: usize) -> (Option<i32>, Duration) {
        let (process, began) = (self.take(role, index), Instant::now());
        let exit = (process.terminate().await, began.elapsed());
        self.has_ended(role);
        exit
    }

    /// Suspends a process (`STOP`), or resumes it (`CONT`).
    pub async fn signal(&self, role: Role, index: usize, signal: &str) {
        self.process(role, index).signal(signal).await;
    }

    /// Starts sending through the gateways.
    #[must_use]
    pub fn load(&self, load: Load) -> Running {
        let gateways = self.addresses(Role::Gateway).into_iter().map(Http::to).collect();
        load.begin(gateways, Arc::clone(&self.generations))
    }

    /// Records the end of the fault.
    pub fn fault_is_over(&mut self) {
        self.fault_over = Some(Instant::now());
    }

    /// Rows stored so far; 0 while the store does not answer.
    pub async fn stored(&self) -> u64 {
        self.store.count().await.unwrap_or(0)
    }

    /// Waits until a condition holds. A timeout counts as a broken promise, and the scenario continues, because its final
    /// counts are then all the more interesting.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, deadline: Duration, condition: impl Fn() -> F) {
        if !holds_within(deadline, condition).await {
            let waited = format!("waited {deadline:?} until {what}");
            eprintln!("{waited}");
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(waited);
        }
    }

    /// Waits until this many rows are stored.
    pub async fn until_stored(&self, rows: u64) {
        self.until("enough is stored", DEADLINE, async || self.stored().await >= rows).await;
    }

    /// Waits until a request sent from now on is acknowledged.
    pub async fn until_acknowledged(&self, running: &Running, deadline: Duration) {
        let from = running.now();
        self.until("an event is acknowledged", deadline, async || running.has_acknowledged_since(from)).await;
    }

    /// Posts up to `count_max` ERRORs, one after another, while the consumers' lag exceeds `lag_min` events. Returns how
    /// long each took until its row was stored.
    pub async fn probe(&self, count_max: usize, lag_min: f64) -> Vec<Duration> {
        let mut connection = PgConnection::connect(&self.store.url).await.expect("PostgreSQL answers");
        let (gateway, mut waits) = (self.http(Role::Gateway, 0), Vec::new());
        while waits.len() < count_max && self.lag().await > lag_min {
            let id = event_id((1 << 42) + waits.len() as u64);
            let body = format!(r#"{{"eventId":"{id}","source":"probe","level":"ERROR","message":"probe"}}"#);
            let began = Instant::now();
            assert_eq!(gateway.post("/api/logs", body).await.status, 202);
            self.store.until_there(&mut connection, &id, DEADLINE).await;
            waits.push(began.elapsed());
        }
        waits
    }

    /// The consumers' lag, in events, of which a packed record has several.
    pub async fn lag(&self) -> f64 {
        let mut sum = 0.0;
        for ((role, _), slot) in &self.slots {
            if *role == Role::Consumer && slot.process.is_some() {
                let said = Measurements::of(&Http::to(slot.address)).await;
                sum += said.map_or(0.0, |said| said.sum("kafka_consumer_lag_events", &[]));
            }
        }
        sum
    }

    /// Metrics of each producer that answers.
    pub async fn measurements(&self) -> Vec<Measurements> {
        let mut answers = Vec::new();
        for ((role, _), slot) in &self.slots {
            if *role == Role::Producer && slot.process.is_some() {
                answers.extend(Measurements::of(&Http::to(slot.address)).await);
            }
        }
        answers
    }

    /// Events that producers hold, plus the consumers' lag.
    async fn under_way(&self) -> f64 {
        let mut sum = 0.0;
        for ((role, _), slot) in &self.slots {
            if *role == Role::Gateway || slot.process.is_none() {
                continue;
            }
            let Some(said) = Measurements::of(&Http::to(slot.address)).await else { return f64::INFINITY };
            let of = |name: &str| said.sum(name, &[]);
            sum += of("spillway_events_buffered") + of("spillway_events_journaled") + of("kafka_consumer_lag_records");
        }
        sum
    }

    /// Stops the load, waits until everything has arrived or nothing more does, and counts. Checks the promises common to
    /// all scenarios; at most `buffered_loss_max` buffered events may be lost.
    pub async fn settle(&mut self, running: Running, buffered_loss_max: u64) -> Report {
        let began = running.began();
        self.fault_over.get_or_insert_with(Instant::now);
        self.settle_sent(running.stop().await, began, buffered_loss_max).await
    }

    /// Like [`Cluster::settle`], for a load that was already stopped.
    pub async fn settle_sent(&mut self, ledger: Ledger, began: Instant, buffered_loss_max: u64) -> Report {
        let fault_over = self.fault_over.unwrap_or_else(Instant::now);
        let settled = self.until_settled(&ledger).await;
        let mut rows = self.store.rows().await.expect("PostgreSQL answers");
        let ordering = if self.plan.producers > 1 {
            comparison::Ordering::SeveralProducers
        } else {
            comparison::Ordering::OneProducer
        };
        let comparison = compare(&ledger, &mut rows, ordering);
        let since_load = fault_over.saturating_duration_since(began);
        let mut report = Report {
            comparison,
            calls: ledger.calls(),
            calls_accepted: ledger.answers_with(202),
            calls_503: ledger.answers_with(503),
            until_acknowledged: ledger.acknowledged_after(since_load).map(|at| at.saturating_sub(since_load)),
            until_stored: settled.all_stored.map(|at| at.saturating_duration_since(fault_over)),
            broken: std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner)),
            ..Report::default()
        };
        report.note(answers_line(&ledger));
        self.hold_to_promises(&mut report, &ledger, buffered_loss_max).await;
        report.expect(settled.under_way < 0.5, format!("everything arrives ({} still in flight)", settled.under_way));
        report.timeline = timeline(&ledger, &self.watch, began);
        report.ledger = ledger;
        report
    }

    async fn until_settled(&self, ledger: &Ledger) -> Settled {
        let accepted = ledger.accepted();
        let (mut last, mut changed) = (None, Instant::now());
        let mut settled = Settled { all_stored: None, under_way: f64::INFINITY };
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            settled.under_way = self.under_way().await;
            // Counting takes long if there are many rows, so only when they may be complete.
            let stored = if settled.under_way < 0.5 { self.stored().await } else { 0 };
            if stored >= accepted {
                settled.all_stored = Some(Instant::now());
                return settled;
            }
            let now = Some((stored, settled.under_way.to_bits()));
            if last != now {
                (last, changed) = (now, Instant::now());
            }
            if changed.elapsed() >= STILL {
                return settled;
            }
        }
    }

    async fn hold_to_promises(&self, report: &mut Report, ledger: &Ledger, buffered_loss_max: u64) {
        let total = report.comparison.total();
        let nothing = |what: &str, count: u64| (count == 0, format!("{what}: {count}"));
        let strangers = report.comparison.strangers;
        let errors = ledger.answers_with(500);
        for (holds, promise) in [
            (total.accepted() > 0, "something is accepted".to_owned()),
            nothing("acknowledged or journaled events are lost", total.lost_promised),
            (
                total.lost_buffered <= buffered_loss_max,
                format!("buffered events are lost: {} (at most {buffered_loss_max})", total.lost_buffered),
            ),
            nothing("rows are duplicated", total.duplicated),
            nothing("rows are out of order", total.reordered),
            nothing("refused events are stored", total.refused_but_stored),
            nothing("rows differ from what was sent", strangers),
            nothing("answers 500", errors),
            nothing("429 or 503 without Retry-After", ledger.without_retry_after),
        ] {
            report.expect(holds, promise);
        }
        let unaccounted = self.watch.unaccounted();
        let now = self.measurements().await;
        for off in unaccounted.into_iter().chain(now.iter().flat_map(Measurements::unaccounted)) {
            report.expect(false, format!("each accepted event is in one place: {off}"));
        }
    }

    /// Ends all processes, and removes their data from the servers.
    pub async fn shutdown(self) {
        let topic = self.topic();
        let Self { slots, store, .. } = self;
        for slot in slots.into_values() {
            if let Some(process) = slot.process {
                process.kill().await;
            }
        }
        // Failure only leaves data behind.
        let _ = store.execute("DROP SCHEMA IF EXISTS OWN CASCADE").await;
        topic.remove().await;
    }
}

struct Settled {
    /// When the number of stored rows reached the number of accepted events.
    all_stored: Option<Instant>,
    under_way: f64,
}

fn answers_line(ledger: &Ledger) -> String {
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, count) in ledger.seconds.iter().flat_map(|second| &second.answers) {
        *statuses.entry(*status).or_default() += count;
    }
    let name = |status: u16| if status == 0 { "none".to_owned() } else { status.to_string() };
    let statuses: Vec<String> =
        statuses.into_iter().map(|(status, count)| format!("{}: {count}", name(status))).collect();
    let latency = |share: f64| ledger.latency(share).as_millis();
    let (p50, p99, max) = (latency(0.5), latency(0.99), latency(1.0));
    format!("answers {}; 202 within p50={p50} ms p99={p99} ms max={max} ms", statuses.join(", "))
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until a condition holds. Returns whether it did in time.
pub async fn holds_within<F: Future<Output = bool>>(deadline: Duration, condition: impl Fn() -> F) -> bool {
    let (began, mut ticks) = (Instant::now(), ticks());
    loop {
        ticks.tick().await;
        if condition().await {
            return true;
        }
        if began.elapsed() >= deadline {
            return false;
        }
    }
}

/// Lets the load continue for a time.
pub async fn go_on(running: &Running, time: Duration) {
    let until_then = running.now() + time;
    holds_within(time + DEADLINE, async || running.now() >= until_then).await;
}
