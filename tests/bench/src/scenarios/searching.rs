//! Searches through millions of events, without others and while events arrive.

use std::sync::Arc;
use std::time::Duration;

use domain::event::to_hex;
use e2e::{Answer, Http};
use sqlx::{AssertSqlSafe, Executor};
use testkit::service_logs::{MISSING_WORD, RARE_WORD, request_id, trace_id};
use tokio::time::Instant;

use crate::log_stores::{Kind, LogStore, StoreProcess};
use crate::openloop::Latencies;
use crate::report::Row;
use crate::service_logs::{BATCH_EVENTS, LiveBatches, PastEvents, source};
use crate::test_cluster::{TestCluster, connect};

/// Events, unless `BENCH_EVENTS` says otherwise, and the time that they are spread over.
const EVENTS: u64 = 10_000_000;
const RANGE: Duration = Duration::from_secs(3 * 3_600);
/// Events that arrive meanwhile.
const EVENTS_PER_SECOND: f64 = 2_000.0;
/// Each search is repeated this often, or for so long, but at least three times.
const REPEATS: u64 = 200;
const TIME_MAX: Duration = Duration::from_secs(20);
/// Events of the export whose rate is measured: five minutes, so that the number does not depend on how long the searches took.
const EXPORT: &str = "/api/logs/export?from=-65m&to=-60m";
/// What the names of rows of VictoriaLogs end with.
const PEER: &str = ", VictoriaLogs";
/// Ranges of searches, in seconds: of all events, and of those for which Spillway allows more time than 5 s.
pub const EVERYTHING: u64 = 5 * 3_600;
const HOUR: u64 = 3_600;

/// A search, in the language of each program. `{range}` stands for the seconds of its range, `{hour}` for those of an hour, both
/// a little different each time, because an answer that was given before may be cached; `{source}`, `{trace}` and `{event}`
/// for those of an event, another one each time.
struct Search {
    name: &'static str,
    target: &'static str,
    spillway: &'static str,
    /// Empty if VictoriaLogs has none that does the same.
    victoria_logs: &'static str,
}

macro_rules! search {
    ($name:literal, $target:literal, $spillway:literal, $victoria_logs:literal) => {
        Search { name: $name, target: $target, spillway: $spillway, victoria_logs: $victoria_logs }
    };
}

/// All of them. Pages have 100 events.
static SEARCHES: [Search; 15] = [
    search!("newest 100", "p99 < 50 ms", "?from=-{range}s&to=now", "query?query=*&limit=100&start=-{range}s"),
    search!(
        "newest 100 of a source",
        "p99 < 50 ms",
        "?from=-{range}s&to=now&source={source}",
        "query?query=%7Bsource=%22{source}%22%7D&limit=100&start=-{range}s"
    ),
    search!(
        "a trace id",
        "p99 < 50 ms",
        "?from=-{range}s&to=now&traceId={trace}",
        "query?query=traceId:={trace}&limit=100&start=-{range}s"
    ),
    search!(
        "an event id",
        "p99 < 50 ms",
        "/{event}",
        "query?query=metadata.requestId:={event}&limit=1&start=-{range}s"
    ),
    search!(
        "a value: userId:12345",
        "p99 < 500 ms",
        "?from=-{range}s&to=now&query=userId:12345",
        "query?query=metadata.userId:=12345&limit=100&start=-{range}s"
    ),
    search!(
        "a rare word",
        "p99 < 300 ms",
        "?from=-{range}s&to=now&query={rare}",
        "query?query={rare}&limit=100&start=-{range}s"
    ),
    search!(
        "a word that does not exist",
        "p99 < 300 ms",
        "?from=-{range}s&to=now&query={missing}",
        "query?query={missing}&limit=100&start=-{range}s"
    ),
    search!(
        "a common phrase",
        "",
        "?from=-{range}s&to=now&query=%22payment%20accepted%22",
        "query?query=%22payment%20accepted%22&limit=100&start=-{range}s"
    ),
    search!(
        "OR of two",
        "",
        "?from=-{range}s&to=now&query={rare}%20OR%20userId:12345",
        "query?query={rare}%20OR%20metadata.userId:=12345&limit=100&start=-{range}s"
    ),
    search!(
        "histogram by level, an hour",
        "p99 < 100 ms",
        "/stats?from=-{hour}s&to=now&interval=1m",
        "hits?query=*&start=-{hour}s&step=1m&field=level"
    ),
    search!(
        "histogram by level, whole range",
        "p99 < 100 ms",
        "/stats?from=-{everything}s&to=now&interval=5m",
        "hits?query=*&start=-{everything}s&step=5m&field=level"
    ),
    search!(
        "histogram of http.status:500, an hour",
        "",
        "/stats?from=-{hour}s&to=now&interval=1m&query=http.status:500",
        "hits?query=metadata.http.status:=500&start=-{hour}s&step=1m&field=level"
    ),
    search!(
        "top values of userId, an hour",
        "",
        "/values?from=-{hour}s&to=now&field=userId",
        "query?query=*%20%7C%20top%2020%20by%20(metadata.userId)&start=-{hour}s"
    ),
    search!("fields", "", "/fields?from=-{range}s&to=now", ""),
    search!(
        "context of an event",
        "",
        "/{event}/context",
        "query?query=metadata.requestId:={event}%20%7C%20stream_context%20before%2010%20after%2010&start=-{range}s"
    ),
];

/// Rollups do not answer it, because of its interval: what all histograms would take without them.
static HISTOGRAM_FROM_EVENTS: Search =
    search!("the same, without rollups", "", "/stats?from=-{hour}s&to=now&interval=59s", "");

/// The searches whose latency is measured.
fn measured() -> impl Iterator<Item = &'static Search> {
    SEARCHES.iter().flat_map(|search| {
        let histogram = (search.name == "histogram by level, an hour").then_some(&HISTOGRAM_FROM_EVENTS);
        [Some(search), histogram].into_iter().flatten()
    })
}

/// A store that was filled, and what searches look for in it.
pub struct Searches {
    store: LogStore,
    /// Events that it was filled with.
    count: u64,
    range_seconds: u64,
    /// What finds single events: their ids in Spillway, those of their requests in VictoriaLogs.
    events: Vec<String>,
}

/// How a search answered.
struct Answers {
    times: Vec<Duration>,
    failed: u64,
    /// Events in the last answer, if it has events.
    found: Option<f64>,
}

impl Searches {
    /// Searches for events of a store that was filled with so many.
    pub async fn of(store: &LogStore, count: u64, range_seconds: u64) -> Self {
        let mut events = Vec::new();
        for part in 0..10 {
            match store.kind {
                Kind::Spillway => {
                    let to = if part == 0 { "now".to_owned() } else { format!("-{}s", RANGE.as_secs() * part / 10) };
                    let path = format!("/api/logs?from=-{EVERYTHING}s&to={to}&limit=20");
                    let page = store.queries.get(&path).await.json();
                    let ids =
                        page["events"].as_array().into_iter().flatten().filter_map(|event| event["eventId"].as_str());
                    events.extend(ids.map(str::to_owned));
                }
                Kind::VictoriaLogs => events.extend((0..20).map(|n| request_id(count * part / 10 + n))),
            }
        }
        assert!(!events.is_empty(), "the store has events");
        Self { store: store.clone(), count, range_seconds, events }
    }

    /// Path and query of the `n`th repetition; empty if the program has no such search.
    fn path(&self, search: &Search, n: u64) -> String {
        let (root, search) = match self.store.kind {
            Kind::Spillway => ("/api/logs", search.spillway),
            Kind::VictoriaLogs => ("/select/logsql/", search.victoria_logs),
        };
        if search.is_empty() {
            return String::new();
        }
        // Groups of 16 events begin with those of a trace.
        let of_trace = self.count / REPEATS * (n % REPEATS) / 16 * 16;
        let event = &self.events[(n % self.events.len() as u64) as usize];
        let search = search
            .replace("{range}", &(self.range_seconds - n % 600).to_string())
            .replace("{everything}", &(EVERYTHING - n % 600).to_string())
            .replace("{hour}", &(HOUR - n % 600).to_string())
            .replace("{source}", &source(n))
            .replace("{trace}", &trace_id(of_trace).map(|id| to_hex(&id)).unwrap_or_default())
            .replace("{event}", event)
            .replace("{rare}", RARE_WORD)
            .replace("{missing}", MISSING_WORD);
        format!("{root}{search}")
    }

    /// Repeats a search until `REPEATS` or `TIME_MAX`. One that fails is a figure: an hour of work must not end with a panic.
    async fn repeat(&self, search: &Search) -> Answers {
        let mut answers = Answers { times: Vec::new(), failed: 0, found: None };
        let began = Instant::now();
        for n in 0..REPEATS {
            if n >= 3 && began.elapsed() >= TIME_MAX {
                break;
            }
            let asked = Instant::now();
            match self.store.queries.try_send("GET", &self.path(search, n), &[], "").await {
                Some(answer) if answer.status == 200 => {
                    answers.times.push(asked.elapsed());
                    answers.found = found(self.store.kind, &answer.body);
                }
                answer => {
                    answers.failed += 1;
                    report_failure(search, answer);
                }
            }
        }
        answers
    }

    /// Asks for all searches in turn, until `stop` says so; returns how many were answered, and how many failed.
    pub async fn ask_until(&self, stop: impl Fn() -> bool) -> (u64, u64) {
        let (mut answered, mut failed) = (0, 0);
        for n in 0.. {
            for search in &SEARCHES {
                if stop() {
                    return (answered, failed);
                }
                let path = self.path(search, n);
                if path.is_empty() {
                    continue;
                }
                match self.store.queries.try_send("GET", &path, &[], "").await {
                    Some(answer) if answer.status == 200 => answered += 1,
                    answer => {
                        failed += 1;
                        report_failure(search, answer);
                    }
                }
            }
        }
        (answered, failed)
    }

    /// All searches, without others and while events arrive.
    async fn measure(&self, of: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for search in measured().filter(|search| !self.path(search, 0).is_empty()) {
            let answers = self.repeat(search).await;
            let mut row = Row::new(format!("{}{of}", search.name));
            if self.store.kind == Kind::Spillway {
                row = row.aiming_at(search.target);
            }
            if let Some(found) = answers.found {
                row = row.with("found", found);
            }
            let failed = answers.failed;
            row = with_times(row, answers, ["p50 ms", "p99 ms", "answers"]);
            rows.push(row.with("failed", failed as f64));
        }
        let load = self.store.live(&Arc::new(LiveBatches::new(false)), EVENTS_PER_SECOND);
        let arriving = load.start();
        let searches = measured().filter(|search| !self.path(search, 0).is_empty());
        for (row, search) in rows.iter_mut().zip(searches) {
            let answers = self.repeat(search).await;
            let failed = answers.failed;
            let measured =
                with_times(row.clone(), answers, ["p50 ms, arriving", "p99 ms, arriving", "answers, arriving"]);
            *row = measured.with("failed, arriving", failed as f64);
        }
        let sent = arriving.stop().await;
        let rate = (sent.accepted * BATCH_EVENTS) as f64 / sent.took.as_secs_f64();
        rows.push(
            Row::new(format!("events that arrived meanwhile{of}"))
                .with("events/s", rate)
                .with("failed, arriving", (sent.failed * BATCH_EVENTS) as f64),
        );
        rows
    }
}

/// Says which search failed, and why: a figure alone does not.
fn report_failure(search: &Search, answer: Option<Answer>) {
    eprintln!("{}: {:?}", search.name, answer.map(|answer| (answer.status, answer.body)));
}

fn with_times(row: Row, answers: Answers, [p50, p99, count]: [&'static str; 3]) -> Row {
    let answered = answers.times.len();
    if answered == 0 {
        return row.with(count, 0.0);
    }
    let latencies = Latencies::of(answers.times);
    row.with(p50, latencies.millis(0.5)).with(p99, latencies.millis(0.99)).with(count, answered as f64)
}

/// Events of an answer; `None` if it has something else.
fn found(kind: Kind, body: &[u8]) -> Option<f64> {
    match kind {
        Kind::Spillway => {
            let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
            answer["events"].as_array().map(|events| events.len() as f64)
        }
        Kind::VictoriaLogs if body.starts_with(b"{\"hits\"") => None,
        Kind::VictoriaLogs => Some(body.iter().filter(|byte| **byte == b'\n').count() as f64),
    }
}

/// Number of events that searches look through.
fn events() -> u64 {
    super::number("BENCH_EVENTS", EVENTS)
}

/// The embedded store, and VictoriaLogs.
pub async fn embedded(test_cluster: &TestCluster) -> Vec<Row> {
    let ours = StoreProcess::start(test_cluster, Kind::Spillway).await.expect("it is built");
    let events = PastEvents::until_now(events(), RANGE);
    ours.store.fill(events).await;
    ours.until_idle().await;
    let count = events.count() as f64;
    let sealed = ours.sealed(test_cluster).await;
    let mut rows = vec![
        Row::new("segments")
            .aiming_at("≤ 75 B/event")
            .with("events", sealed.events)
            .with("B/event", ours.bytes_of("segments") / sealed.events.max(1.0)),
        // In relation to all events, because the claims, counts and positions are of all.
        Row::new("store.db").with("events", count - sealed.events).with("B/event", ours.bytes_of("store.db") / count),
        Row::new("log of the bus").with("B/event", ours.bytes_of("bus") / count),
    ];
    let searches = Searches::of(&ours.store, events.count(), EVERYTHING).await;
    let mut of_spillway = searches.measure("").await;
    of_spillway.push(export(&ours.store.queries).await);
    of_spillway.push(Row::new("memory").with("peak RSS MB", ours.peak_megabytes()));
    ours.stop().await;
    let mut of_peer = Vec::new();
    if let Some(theirs) = StoreProcess::start(test_cluster, Kind::VictoriaLogs).await {
        let events = PastEvents::until_now(self::events(), RANGE);
        theirs.store.fill(events).await;
        theirs.until_idle().await;
        let bytes = theirs.bytes_of("") / events.count() as f64;
        rows.push(Row::new("all files, VictoriaLogs").with("events", events.count() as f64).with("B/event", bytes));
        let searches = Searches::of(&theirs.store, events.count(), EVERYTHING).await;
        of_peer = searches.measure(PEER).await;
        of_peer.push(Row::new(format!("memory{PEER}")).with("peak RSS MB", theirs.peak_megabytes()));
        theirs.stop().await;
    }
    // Each search of the peer behind ours.
    for row in of_spillway {
        let beside = of_peer.iter().position(|peer| peer.label.strip_suffix(PEER) == Some(row.label.as_str()));
        rows.push(row);
        rows.extend(beside.map(|beside| of_peer.remove(beside)));
    }
    rows
}

/// PostgreSQL behind Kafka.
pub async fn postgres(test_cluster: &TestCluster) -> Vec<Row> {
    let installation = test_cluster.installation(&[]);
    let producer = installation.start("producer", &[]).await;
    let consumer = installation.start("consumer", &[]).await;
    let store = LogStore::spillway(producer.http("producer"), consumer.http("consumer"));
    let events = PastEvents::until_now(events(), RANGE);
    store.fill(events).await;
    // As autovacuum would, which must not begin during the measurement.
    let vacuum = format!("VACUUM ANALYZE {0}.events, {0}.rollups", installation.schema());
    let mut database = connect(&test_cluster.postgres_url()).await;
    database.execute(AssertSqlSafe(vacuum)).await.expect("statistics");
    let searches = Searches::of(&store, events.count(), HOUR).await;
    let mut rows = searches.measure("").await;
    rows.push(export(&store.queries).await);
    producer.terminate().await;
    consumer.terminate().await;
    installation.remove().await;
    rows
}

/// The rate of an export.
async fn export(http: &Http) -> Row {
    let (began, row) = (Instant::now(), Row::new("export of five minutes"));
    match http.try_send("GET", EXPORT, &[], "").await {
        Some(export) if export.status == 200 => {
            let lines = export.body.iter().filter(|byte| **byte == b'\n').count() as f64;
            row.with("events/s", lines / began.elapsed().as_secs_f64()).with("events", lines)
        }
        _ => row.with("failed", 1.0),
    }
}
