//! The stores of logs that are measured beside each other, as processes with default settings: the embedded one of
//! `spillway all`, and VictoriaLogs.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Http, Process, dead_address};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::load::Load;
use crate::processes::{cpu_time, peak_bytes};
use crate::report;
use crate::service_logs::{BATCH_EVENTS, LiveBatches, PastEvents};
use crate::test_cluster::TestCluster;

/// The variable with the path of VictoriaLogs, which `scripts/bench` sets if it can build it.
const VICTORIA_LOGS: &str = "BENCH_VICTORIA_LOGS";
/// Maximum wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(900);
/// Time between two looks at a store.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A store is idle if it uses less than this share of a core for so long.
const IDLE_SHARE: f64 = 0.05;
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Events that are sent before the store must have nearly all of those before: the embedded bus refuses events when its log is full.
const FILL_EVENTS: u64 = 500_000;
const FILL_LAG_MAX: f64 = 100_000.0;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Spillway, with any store.
    Spillway,
    /// VictoriaLogs, which stores what it accepts at once.
    VictoriaLogs,
}

/// Where a store takes and finds events.
#[derive(Clone)]
pub struct LogStore {
    /// Which program.
    pub kind: Kind,
    intake: Http,
    /// Answers searches.
    pub queries: Http,
}

/// Events since the start of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Accepted.
    pub accepted: f64,
    /// Refused, for any reason.
    pub refused: f64,
    /// Stored, or dropped as repeats.
    pub stored: f64,
}

/// A store in a process and a directory of its own.
pub struct StoreProcess {
    /// Its interfaces.
    pub store: LogStore,
    program: Program,
    directory: TempDir,
}

enum Program {
    Spillway(Process),
    VictoriaLogs(Child),
}

/// The sealed segments of the embedded store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealed {
    /// Their number.
    pub segments: f64,
    /// Their events.
    pub events: f64,
}

impl LogStore {
    /// Spillway, with a producer and a consumer.
    #[must_use]
    pub fn spillway(producer: Http, consumer: Http) -> Self {
        Self { kind: Kind::Spillway, intake: producer, queries: consumer }
    }

    /// A load without numbers and rate.
    fn load(&self) -> Load {
        let (path, content_type) = match self.kind {
            Kind::Spillway => ("/api/logs/batch", "application/x-ndjson"),
            Kind::VictoriaLogs => (
                "/insert/jsonline?_stream_fields=source&_msg_field=message&_time_field=timestamp",
                "application/stream+json",
            ),
        };
        let body = Arc::new(|_: u64| Bytes::new());
        let http = self.intake.clone();
        Load { http, path, content_type, body, numbers: 0..u64::MAX, per_second: None, repeats: false }
    }

    /// Batches of live events without an end, at this rate.
    #[must_use]
    pub fn live(&self, batches: &Arc<LiveBatches>, events_per_second: f64) -> Load {
        let batches = Arc::clone(batches);
        let body = Arc::new(move |number| batches.batch(number));
        Load { body, per_second: Some(events_per_second / BATCH_EVENTS as f64), ..self.load() }
    }

    /// Single events with these lines, in turn, at this rate.
    #[must_use]
    pub fn lines(&self, lines: Vec<Bytes>, per_second: f64) -> Load {
        let body = Arc::new(move |number: u64| lines[(number % lines.len() as u64) as usize].clone());
        Load { body, per_second: Some(per_second), ..self.load() }
    }

    /// Sends past events as fast as they are stored, and waits until all of them are.
    pub async fn fill(&self, events: PastEvents) {
        let before = self.counts().await.stored;
        let all = events.batches();
        for first in all.clone().step_by((FILL_EVENTS / BATCH_EVENTS) as usize) {
            let last = (first + FILL_EVENTS / BATCH_EVENTS).min(all.end);
            let body = Arc::new(move |batch| events.batch(batch));
            let load = Load { body, numbers: first..last, repeats: true, ..self.load() };
            assert_eq!(load.start().wait().await.failed, 0, "the store refused events");
            let due = before + (last * BATCH_EVENTS) as f64;
            self.until_stored(due - if last == all.end { 0.0 } else { FILL_LAG_MAX }).await;
        }
    }

    /// Waits until so many events are stored.
    pub async fn until_stored(&self, events: f64) {
        let began = Instant::now();
        while self.counts().await.stored < events {
            assert!(began.elapsed() < PATIENCE, "the store did not store {events} events");
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// What happened to the events so far.
    pub async fn counts(&self) -> Counts {
        match self.kind {
            Kind::Spillway => {
                let (producer, consumer) = (&self.intake, &self.queries);
                Counts {
                    accepted: e2e::metric(producer, "spillway_events_accepted_total").await,
                    refused: e2e::metric(producer, "spillway_events_refused_total").await,
                    stored: e2e::metric(consumer, "spillway_events_stored_total").await
                        + e2e::metric(consumer, "spillway_events_deduplicated_total").await,
                }
            }
            Kind::VictoriaLogs => {
                let text = String::from_utf8_lossy(&self.queries.get("/metrics").await.body).into_owned();
                let sum = |name: &str| {
                    let series = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
                    series.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>()
                };
                let accepted = sum("vl_rows_ingested_total{");
                Counts { accepted, refused: sum("vl_rows_dropped_total{"), stored: accepted }
            }
        }
    }
}

impl StoreProcess {
    /// Starts a store with an empty directory; `None` if its program is missing.
    pub async fn start(test_cluster: &TestCluster, kind: Kind) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        match kind {
            Kind::Spillway => {
                let process = Process::start(test_cluster.spillway(), "all", directory.path(), &[]).await;
                let store = LogStore::spillway(process.http("producer"), process.http("consumer"));
                Some(Self { store, program: Program::Spillway(process), directory })
            }
            Kind::VictoriaLogs => {
                let program = std::env::var_os(VICTORIA_LOGS)?;
                let address = dead_address();
                let mut command = Command::new(program);
                command
                    .arg(format!("-storageDataPath={}", directory.path().display()))
                    .arg(format!("-httpListenAddr={address}"))
                    .arg("-loggerLevel=WARN")
                    .stdin(Stdio::null())
                    .kill_on_drop(true);
                let child = command.spawn().expect("VictoriaLogs starts");
                let http = Http::to(address);
                let began = Instant::now();
                while http.try_send("GET", "/health", &[], "").await.is_none_or(|answer| answer.status != 200) {
                    assert!(began.elapsed() < PATIENCE, "VictoriaLogs does not become ready");
                    sleep(LOOK_INTERVAL).await;
                }
                let store = LogStore { kind, intake: http.clone(), queries: http };
                Some(Self { store, program: Program::VictoriaLogs(child), directory })
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.program {
            Program::Spillway(process) => process.pid(),
            Program::VictoriaLogs(child) => child.id().expect("it runs"),
        }
    }

    /// The most resident memory so far, in megabytes.
    #[must_use]
    pub fn peak_megabytes(&self) -> f64 {
        peak_bytes(self.pid()) as f64 / 1e6
    }

    /// Waits until it is idle: everything is sealed and merged that will be without further events. One that is still busy after 15
    /// minutes is a result, too.
    pub async fn until_idle(&self) {
        let (began, pid) = (Instant::now(), self.pid());
        if self.store.kind == Kind::VictoriaLogs {
            self.store.queries.get("/internal/force_flush").await;
        }
        loop {
            let (at, before) = (Instant::now(), cpu_time(pid));
            sleep(IDLE_TIME).await;
            let used = cpu_time(pid) - before;
            if used.as_secs_f64() < IDLE_SHARE * at.elapsed().as_secs_f64() || began.elapsed() > PATIENCE {
                return;
            }
        }
    }

    /// Bytes of the files in its directory whose path begins with this, such as `store.db`.
    #[must_use]
    pub fn bytes_of(&self, prefix: &str) -> f64 {
        let mut bytes = 0;
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            // Files may be removed meanwhile.
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    directories.push(path);
                } else if path
                    .strip_prefix(self.directory.path())
                    .is_ok_and(|path| path.to_string_lossy().starts_with(prefix))
                {
                    bytes += metadata.len();
                }
            }
        }
        bytes as f64
    }

    /// What is sealed, as `spillway segments list` says; nothing for another program.
    pub async fn sealed(&self, test_cluster: &TestCluster) -> Sealed {
        if self.store.kind != Kind::Spillway {
            return Sealed::default();
        }
        let mut command = Command::new(test_cluster.spillway());
        command.args(["segments", "list"]).env("SPILLWAY_DATA_DIR", self.directory.path());
        let output = command.output().await.expect("spillway runs");
        let text = String::from_utf8_lossy(&output.stdout);
        // The last line: `1 segments, 50,000 events, 5.4 MiB`. The directory of segments appears with the first one.
        let sealed = text.lines().last().and_then(|line| {
            let (segments, rest) = line.split_once(" segments, ")?;
            let (events, _) = rest.split_once(" events")?;
            let number = |text: &str| text.replace(',', "").parse::<f64>().ok();
            Some(Sealed { segments: number(segments)?, events: number(events)? })
        });
        sealed.unwrap_or_default()
    }

    /// Ends it; its directory is removed.
    pub async fn stop(self) {
        match self.program {
            Program::Spillway(process) => {
                process.terminate().await;
            }
            Program::VictoriaLogs(mut child) => child.kill().await.expect("VictoriaLogs ends"),
        }
    }
}

/// What a page says of VictoriaLogs; `unknown` without it.
#[must_use]
pub fn victoria_logs_version() -> String {
    let program = std::env::var_os(VICTORIA_LOGS);
    let name = program.as_deref().and_then(|program| Path::new(program).file_name());
    name.map_or_else(|| report::UNKNOWN.to_owned(), |name| name.to_string_lossy().into_owned())
}
