//! The pipeline from ingestion to the store on a machine that loses power.
//!
//! In each generation of the machine, clients post events until the power fails, in the middle of any change to the log. Then
//! the log loses unsynced writes, and the store is reset to an earlier commit, as a disk that lies about its cache would
//! do. After the last generation, everything that was ever acknowledged is in the store, no event is there twice, and none that
//! was never sent.
//!
//! `TEST_POWER_CUTS` sets the number of seeds.

#![cfg(test)]

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_embedded::bus::{BusOptions, EmbeddedBus};
use adapter_embedded::disk::Disk;
use adapter_embedded::storage::Storage;
use adapter_embedded::store::{SqliteStore, StoreOptions};
use application::delivery::Delivery;
use application::ingest::Ingest;
use application::persist::Persist;
use async_trait::async_trait;
use domain::Uuid;
use domain::delivery::{DeliveryPolicy, Guarantee};
use domain::event::EventDraft;
use domain::filter::EventFilter;
use domain::level::Level;
use domain::partition::{Partition, Partitioner, PriorityLane};
use domain::ports::{
    Append, Appended, Clock, GroupPartition, IdSource, LogStore, RecordPublisher, RecordSource, StoreError,
};
use domain::query::{LogQuery, PageKey, StoredEvent};
use domain::timestamp::Timestamp;
use model::{Chance, SimulatedDisk};
use testkit::store::{Appending, AppendingStore};
use testkit::{NoTelemetry, clock_at};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
const GENERATIONS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_power_cuts_and_a_store_reset_to_any_earlier_commit() {
    let seeds: u64 = std::env::var("TEST_POWER_CUTS").map_or(12, |seeds| seeds.parse().expect("a number"));
    let (mut acknowledged, mut buffered, mut buffered_lost) = (0, 0, 0);
    for seed in 0..seeds {
        let sums = one_machine(seed).await;
        acknowledged += sums.acknowledged;
        buffered += sums.buffered;
        buffered_lost += sums.buffered_lost;
    }
    println!(
        "seeds={seeds} power_cuts={} acknowledged={acknowledged} lost=0 twice=0 buffered={buffered} buffered_lost={buffered_lost}",
        seeds * GENERATIONS as u64
    );
    assert!(acknowledged > 0 && buffered > 0);
}

#[derive(Default)]
struct Sums {
    acknowledged: usize,
    buffered: usize,
    buffered_lost: usize,
}

async fn one_machine(seed: u64) -> Sums {
    let mut chance = Chance::new(seed);
    let disks = [(); 3].map(|()| SimulatedDisk::new());
    let directory = tempfile::tempdir().expect("a directory");
    let mut snapshots = Snapshots { directory: directory.path().to_owned(), count: Arc::default() };
    let clients = Clients::default();
    for generation in 0..GENERATIONS {
        let machine = Machine::start(&disks, &snapshots).await;
        for disk in &disks {
            disk.kill_after(20 + chance.below(150) as u64);
        }
        let posts: Vec<_> = (0..3)
            .map(|client| {
                let (ingest, clients, seed) = (Arc::clone(&machine.ingest), clients.clone(), chance.number());
                tokio::spawn(async move { clients.post(&ingest, generation, client, seed).await })
            })
            .collect();
        until(&format!("the power fails, seed {seed} generation {generation}"), || {
            disks.iter().any(SimulatedDisk::is_killed)
        })
        .await;
        posts.iter().for_each(tokio::task::JoinHandle::abort);
        for post in posts {
            // Aborted or ended: from here on it receives no more answers.
            let _ = post.await;
        }
        machine.lose_power().await;
        for disk in &disks {
            disk.power_cut(chance.number());
        }
        snapshots.put_back(chance.below(snapshots.count.load(Ordering::Acquire)));
    }

    let machine = Machine::start(&disks, &snapshots).await;
    until(&format!("everything is stored, seed {seed}"), || machine.source.lags().iter().all(|lag| lag.records == 0))
        .await;
    let mut found: HashMap<String, usize> = HashMap::new();
    for event in machine.all_events().await {
        *found.entry(event.event.message.into_owned()).or_default() += 1;
    }
    machine.lose_power().await;

    let answers = clients.answers.lock().expect("lock");
    let lost: Vec<&String> = answers.acknowledged.iter().filter(|message| !found.contains_key(*message)).collect();
    assert!(lost.is_empty(), "seed {seed}: acknowledged but lost: {lost:?}");
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: stored twice: {twice:?}");
    let strangers: Vec<&String> = found.keys().filter(|message| !answers.sent.contains(*message)).collect();
    assert!(strangers.is_empty(), "seed {seed}: never sent: {strangers:?}");
    Sums {
        acknowledged: answers.acknowledged.len(),
        buffered: answers.buffered.len(),
        buffered_lost: answers.buffered.iter().filter(|message| !found.contains_key(*message)).count(),
    }
}

/// One generation of the machine.
struct Machine {
    ingest: Arc<Ingest>,
    source: Arc<dyn RecordSource>,
    store: Arc<SqliteStore>,
    stop: watch::Sender<bool>,
    persist: tokio::task::JoinHandle<()>,
}

impl Machine {
    async fn start(disks: &[SimulatedDisk; 3], snapshots: &Snapshots) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock_at("2024-01-15T12:00:00Z"));
        let options = StoreOptions { dedup_window: Duration::from_secs(3_600), query_timeout: DEADLINE };
        let store = Arc::new(SqliteStore::open(&snapshots.file(), options).await.expect("the store opens"));
        snapshots.take();
        let mut positions = Vec::new();
        for partition in 0..3 {
            positions.push(store.position(&group_partition(partition)).await.expect("a position").unwrap_or(0));
        }
        let bus_options = BusOptions {
            partitions: PARTITIONS,
            memory_bytes_max: 16 << 20,
            retention_bytes: 16 << 20,
            retention_age: Duration::from_secs(3_600),
        };
        let storages: Vec<Arc<dyn Storage>> = disks.iter().map(SimulatedDisk::storage).collect();
        let bus = EmbeddedBus::over(storages, &bus_options, &Arc::new(Disk::unlimited()), &clock, |partition| {
            positions[partition as usize]
        });
        let bus = Arc::new(bus.expect("the bus opens"));
        let publisher: Arc<dyn RecordPublisher> = Arc::<EmbeddedBus>::clone(&bus);
        let partitioner = Partitioner::new(PriorityLane::Shared, PARTITIONS).expect("valid");
        // One level of each guarantee in either lane.
        let policy = DeliveryPolicy::default()
            .with(Level::Warn, Guarantee::AtLeastOnce)
            .with(Level::Fatal, Guarantee::AtMostOnce);
        let ids = Arc::new(Numbers::default());
        let delivery = Arc::new(Delivery::new(publisher, Arc::new(NoTelemetry)));
        let ingest = Ingest::new(delivery, Arc::clone(&clock), ids, Arc::new(NoTelemetry), policy, partitioner);
        let appending = Remembering { snapshots: snapshots.clone() };
        let remembering = Arc::new(AppendingStore { store: Arc::<SqliteStore>::clone(&store), appending });
        let source: Arc<dyn RecordSource> = bus;
        let persist = Persist::new(
            Arc::clone(&source),
            remembering,
            clock,
            Arc::new(NoTelemetry),
            group_partition(0).group,
            group_partition(0).topic,
        );
        let (stop, stopped) = watch::channel(false);
        let persist = tokio::spawn(persist.run(stopped));
        Self { ingest: Arc::new(ingest), source, store, stop, persist }
    }

    /// Ends tasks that would die with the machine, so that the next generation has exclusive use of the files.
    async fn lose_power(self) {
        let _ = self.stop.send(true);
        self.persist.await.expect("persist ends by itself");
        self.store.close().await;
    }

    async fn all_events(&self) -> Vec<StoredEvent> {
        let mut events: Vec<StoredEvent> = Vec::new();
        loop {
            let after = events.last().map(PageKey::from);
            let page = self
                .store
                .query(&LogQuery { after, ..LogQuery::newest(EventFilter::default(), 500) })
                .await
                .expect("a page");
            events.extend(page.items);
            if !page.more {
                return events;
            }
        }
    }
}

fn group_partition(partition: Partition) -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition }
}

/// What clients sent and the answers they got.
#[derive(Clone, Default)]
struct Clients {
    answers: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    sent: HashSet<String>,
    acknowledged: HashSet<String>,
    buffered: HashSet<String>,
}

impl Clients {
    /// Posts requests with one guarantee each, so that every answer applies to all its events.
    async fn post(&self, ingest: &Ingest, generation: usize, client: usize, seed: u64) {
        let mut chance = Chance::new(seed);
        for request in 0.. {
            let levels = if chance.below(2) == 0 { ["WARN", "ERROR"] } else { ["INFO", "FATAL"] };
            let messages: Vec<String> =
                (0..=chance.below(8)).map(|n| format!("{seed:x}/{generation}/{client}/{request}/{n}")).collect();
            self.answers.lock().expect("lock").sent.extend(messages.iter().cloned());
            let mut intake = ingest.intake(None, None);
            for message in &messages {
                let draft = EventDraft {
                    source: Some(format!("source-{}", chance.below(5)).into()),
                    level: Some(levels[chance.below(2)].into()),
                    message: Some(message.as_str().into()),
                    ..EventDraft::default()
                };
                intake.add(draft).expect("few events");
            }
            let outcome = intake.deliver().await;
            if outcome.accepted.total() < messages.len() {
                // The power is failing.
                return;
            }
            let mut answers = self.answers.lock().expect("lock");
            if outcome.accepted.buffered == 0 {
                answers.acknowledged.extend(messages);
            } else {
                answers.buffered.extend(messages);
            }
        }
    }
}

/// Copies of the store's files, one per commit.
#[derive(Clone)]
struct Snapshots {
    directory: PathBuf,
    count: Arc<AtomicUsize>,
}

impl Snapshots {
    fn file(&self) -> PathBuf {
        self.directory.join("store.db")
    }

    fn files(&self, of: &str) -> [PathBuf; 2] {
        ["", "-wal"].map(|suffix| self.directory.join(format!("{of}{suffix}")))
    }

    fn take(&self) {
        let number = self.count.fetch_add(1, Ordering::AcqRel);
        for (from, to) in self.files("store.db").iter().zip(self.files(&format!("snapshot-{number}.db"))) {
            copy(from, &to);
        }
    }

    /// Resets the store to a commit. Later ones never happened.
    fn put_back(&mut self, number: usize) {
        let _ = std::fs::remove_file(self.directory.join("store.db-shm"));
        for (from, to) in self.files(&format!("snapshot-{number}.db")).iter().zip(self.files("store.db")) {
            copy(from, &to);
        }
        self.count.store(number + 1, Ordering::Release);
    }
}

fn copy(from: &Path, to: &Path) {
    if from.exists() {
        std::fs::copy(from, to).expect("a copy");
    } else {
        let _ = std::fs::remove_file(to);
    }
}

/// Copies the store after every commit.
struct Remembering {
    snapshots: Snapshots,
}

#[async_trait]
impl Appending for Remembering {
    async fn append<'a>(&self, store: &dyn LogStore, append: &Append<'a>) -> Result<Appended, StoreError> {
        // Commits are serialized, so that each can be copied.
        static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _one = ONE.lock().await;
        let appended = store.append(append).await?;
        self.snapshots.take();
        Ok(appended)
    }
}

/// Identifiers that no two lives share.
#[derive(Default)]
struct Numbers(AtomicUsize);

impl IdSource for Numbers {
    fn new_id(&self, _now: Timestamp) -> Uuid {
        static LIFE: AtomicUsize = AtomicUsize::new(0);
        let first = || (LIFE.fetch_add(1, Ordering::AcqRel) + 1) << 32;
        let _ = self.0.compare_exchange(0, first(), Ordering::AcqRel, Ordering::Acquire);
        Uuid::from_u128(self.0.fetch_add(1, Ordering::AcqRel) as u128)
    }
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}
