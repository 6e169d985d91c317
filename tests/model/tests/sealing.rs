//! Random histories of the embedded store with sealed segments on a machine that fails.
//!
//! Events are appended, sealed, merged and expired; steps are dropped, the process is killed in the middle of any change of a
//! file, and the power is cut. After each failure, and during all of it, a search finds exactly what a full scan by
//! `EventFilter::matches` finds: nothing is lost, and nothing is there twice. The commits of SQLite are durable here.
//!
//! `TEST_SEALING` sets the number of seeds.

#![cfg(test)]

use std::time::Duration;

use adapter_embedded::segments::SegmentBounds;
use adapter_embedded::store::{SealOptions, SqliteStore, StoreOptions};
use contracts::search::events_and_filters;
use contracts::store::drop_after;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::ports::{Append, GroupPartition, LogStore, StoreError};
use domain::query::{Direction, LogQuery, Order, PageKey, StoredEvent, TailQuery, Ties};
use domain::stats::{Counts, GroupBy, StatsQuery};
use domain::timestamp::Timestamp;
use model::{Chance, SimulatedDisk};

const DEADLINE: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(3_600);
const STEPS: usize = 120;
/// 2024-01-15T00:00:00Z, in microseconds.
const FIRST_DAY: i64 = 1_705_276_800_000_000;
const DAY_MICROS: i64 = 24 * 3_600_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_equals_a_full_scan_after_any_failure() {
    let seeds: u64 = std::env::var("TEST_SEALING").map_or(6, |seeds| seeds.parse().expect("a number"));
    let (mut failures, mut sealed, mut stored) = (0, 0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed).await;
        for step in 0..STEPS {
            world.step(step).await;
        }
        world.check_all().await;
        failures += world.failures;
        sealed += world.sealed;
        stored += world.next;
    }
    println!("seeds={seeds} failures={failures} steps_of_sealing={sealed} appended={stored} lost=0 twice=0");
    assert!(failures > seeds && sealed > 5 * seeds, "{failures} failures, {sealed} steps of sealing");
}

/// A machine, and what its store must have.
struct World {
    seed: u64,
    chance: Chance,
    disk: SimulatedDisk,
    directory: tempfile::TempDir,
    store: SqliteStore,
    /// In the order in which they were stored.
    expected: Vec<StoredEvent>,
    /// Events that were not appended yet.
    events: Vec<LogEvent<'static>>,
    filters: Vec<EventFilter>,
    next: u64,
    failures: u64,
    sealed: u64,
}

fn group_partition() -> GroupPartition {
    GroupPartition { group: "log-processor".to_owned(), topic: "logs".to_owned(), partition: 0 }
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("in range")
}

async fn open(disk: &SimulatedDisk, directory: &tempfile::TempDir) -> SqliteStore {
    let options = StoreOptions { dedup_window: WINDOW, query_timeout: DEADLINE };
    let bounds = SegmentBounds {
        rows_max: 30,
        file_bytes_max: u64::MAX,
        group_rows_max: 12,
        group_bytes_max: 8_192,
        block_rows: 5,
    };
    let seal = SealOptions { hot_events: 5, events_min: 8, bounds, ..SealOptions::default() };
    let file = directory.path().join("store.db");
    SqliteStore::over(&file, options, seal, disk.storage()).await.expect("the store opens")
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (mut events, filters) = events_and_filters(seed, 6 * STEPS, 60);
        for (n, event) in (0..).zip(&mut events) {
            // Most days in order, some events days late; many equal timestamps, some far away.
            let day = n / 120 - if chance.below(10) == 0 { chance.below(3) as i64 } else { 0 };
            event.received_at = time(FIRST_DAY + day * DAY_MICROS + 40_000_000_000 + n);
            match chance.below(12) {
                0 => event.timestamp = Timestamp::MAX,
                1 => event.timestamp = Timestamp::MIN,
                2..=5 => event.timestamp = time(FIRST_DAY + n / 40),
                _ => {}
            }
        }
        events.reverse();
        let disk = SimulatedDisk::new();
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(&disk, &directory).await;
        Self {
            seed,
            chance,
            disk,
            directory,
            store,
            expected: Vec::new(),
            events,
            filters,
            next: 0,
            failures: 0,
            sealed: 0,
        }
    }

    async fn step(&mut self, step: usize) {
        match self.chance.below(12) {
            0..=3 => self.append().await,
            4..=6 => self.seal().await,
            7 => self.seal_and_fail().await,
            8 => {
                let waits = self.chance.below(80);
                let _ = drop_after(waits, self.store.seal()).await;
            }
            9 if step > STEPS / 3 => self.expire().await,
            10 => self.restart().await,
            _ => self.check().await,
        }
    }

    /// Appends new events, and repeats of those that are there.
    async fn append(&mut self) {
        let count = 1 + self.chance.below(12);
        let mut events: Vec<LogEvent<'static>> = Vec::new();
        for _ in 0..count {
            events.extend(self.events.pop());
        }
        let new = events.len();
        for _ in 0..self.chance.below(4).min(self.expected.len()) {
            let at = self.chance.below(self.expected.len());
            let mut repeat = self.expected[at].event.clone();
            if repeat.id_origin == IdOrigin::Client {
                let micros = repeat.received_at.unix_micros() + self.chance.below(7_200_000) as i64 * 1_000;
                repeat.received_at = time(micros - 3_600_000_000);
            }
            events.push(repeat);
        }
        let offsets = self.next..;
        let events: Vec<_> = offsets.zip(events).collect();
        let end = self.next + events.len() as u64;
        let expected = Some(self.next).filter(|next| *next > 0);
        let append =
            Append { group_partition: &group_partition(), expected, next: end, events: &events, dead_letters: &[] };
        if events.is_empty() {
            return;
        }
        let appended = self.store.append(&append).await.expect("the disk of SQLite works");
        assert_eq!(appended.stored, new, "seed {}: repeats are recognised", self.seed);
        self.next = end;
        let stored = |(offset, event)| StoredEvent { event, topic: "logs".to_owned(), partition: 0, offset };
        self.expected.extend(events.into_iter().take(new).map(stored));
    }

    async fn seal(&mut self) {
        while self.store.seal().await.expect("the disk works") {
            self.sealed += 1;
        }
    }

    /// Kills the process in the middle of a change, or cuts the power.
    async fn seal_and_fail(&mut self) {
        self.disk.kill_after(self.chance.below(12) as u64);
        let outcome = loop {
            match self.store.seal().await {
                Ok(true) => self.sealed += 1,
                outcome => break outcome,
            }
        };
        match outcome {
            Err(StoreError::Unavailable(_) | StoreError::Unreadable(_)) if self.disk.is_killed() => self.failures += 1,
            Err(error) => panic!("seed {}: {error:?}", self.seed),
            // It had nothing to do.
            Ok(_) => {}
        }
        self.restart().await;
    }

    async fn restart(&mut self) {
        self.store.close().await;
        if self.chance.below(2) == 0 {
            self.disk.crash();
        } else {
            self.disk.power_cut(self.chance.number());
        }
        self.store = open(&self.disk, &self.directory).await;
        self.check().await;
    }

    /// Segments are removed as a whole, so events of the last day may stay.
    async fn expire(&mut self) {
        let oldest = time(FIRST_DAY + self.chance.below(4) as i64 * DAY_MICROS + 41_000_000_000);
        let mut removed = 0;
        loop {
            match self.store.expire(oldest).await.expect("the disk works") {
                0 => break,
                events => removed += events,
            }
        }
        let left = self.all(&EventFilter::default(), Order::default()).await;
        assert_eq!(left.len() as u64 + removed, self.expected.len() as u64, "seed {}", self.seed);
        let gone: Vec<&StoredEvent> = self.expected.iter().filter(|event| !left.contains(event)).collect();
        assert!(gone.iter().all(|event| event.event.received_at < oldest), "seed {}: {gone:?}", self.seed);
        let day_before = time(oldest.unix_micros() - DAY_MICROS);
        assert!(left.iter().all(|event| event.event.received_at >= day_before), "seed {}", self.seed);
        self.expected.retain(|event| left.contains(event));
    }

    /// All pages of a search.
    async fn all(&mut self, filter: &EventFilter, order: Order) -> Vec<StoredEvent> {
        let limit = [7, 100, 1_000][self.chance.below(3)];
        let mut query = LogQuery { filter: filter.clone(), order, after: None, limit, time_max: None };
        let mut found: Vec<StoredEvent> = Vec::new();
        loop {
            let page = self.store.query(&query).await.expect("the disk works");
            query.after = page.next();
            found.extend(page.items);
            assert!(found.len() <= self.events.capacity().max(self.expected.len()), "seed {}: no end", self.seed);
            if query.after.is_none() {
                return found;
            }
        }
    }

    /// Compares one search, its counts and its tail with a full scan.
    async fn check(&mut self) {
        let filter = self.filters[self.chance.below(self.filters.len())].clone();
        // Without a filter, rollups have the counts.
        let filter = if self.chance.below(4) == 0 { EventFilter::default() } else { filter };
        self.check_filter(&filter).await;
    }

    async fn check_all(&mut self) {
        self.check_filter(&EventFilter::default()).await;
        for n in 0..self.filters.len() {
            let filter = self.filters[n].clone();
            self.check_filter(&filter).await;
        }
    }

    async fn check_filter(&mut self, filter: &EventFilter) {
        let direction = [Direction::NewestFirst, Direction::OldestFirst][self.chance.below(2)];
        let ties = [Ties::EventId, Ties::Arrival][self.chance.below(2)];
        let order = Order { direction, ties };
        let found = self.all(filter, order).await;
        let mut expected: Vec<StoredEvent> =
            self.expected.iter().filter(|stored| filter.matches(&stored.event)).cloned().collect();
        let (stored, key) = (expected.clone(), |stored: &StoredEvent| PageKey::from(stored));
        expected.sort_by(|one, other| order.compare(&key(one), &key(other)));
        assert!(found == expected, "seed {}: {filter:?}: {} and not {}", self.seed, found.len(), expected.len());

        let range = EventFilter::between(Some(time(FIRST_DAY)), Some(time(FIRST_DAY + 10 * DAY_MICROS)));
        let interval = Duration::from_secs([60, 86_400][self.chance.below(2)]);
        let by = [GroupBy::Level, GroupBy::Source][self.chance.below(2)].clone();
        let query = StatsQuery { filter: range.and(filter.clone()), interval, by, time_max: None };
        let mut counts = Counts::default();
        let matching = stored.iter().filter(|stored| query.filter.matches(&stored.event));
        matching.for_each(|stored| counts.add(&query, &stored.event));
        assert_eq!(self.store.stats(&query).await.expect("the disk works"), counts, "seed {}: {query:?}", self.seed);

        let (mut after, mut tailed) = (0, Vec::new());
        loop {
            let tail = TailQuery { filter: filter.clone(), after: Some(after), limit: 40 };
            let page = self.store.tail(&tail).await.expect("the disk works");
            tailed.extend(page.events.into_iter().map(|(_, event)| event));
            after = page.scanned;
            if page.scanned == page.end {
                break;
            }
        }
        assert!(tailed == stored, "seed {}: the tail of {filter:?}", self.seed);
        if let Some(some) = self.expected.get(self.chance.below(self.expected.len())) {
            let found = self.store.find(some.event.event_id).await.expect("the disk works");
            assert!(found.is_some(), "seed {}: {some:?}", self.seed);
        }
    }
}
