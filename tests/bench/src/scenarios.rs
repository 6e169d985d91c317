//! What is measured, one round at a time.
//!
//! Each round measures Spillway and its yardsticks in alternation, so that other load on the machine affects all of them.

mod agent;
mod consuming;
mod derived_ids;
mod end_to_end;
mod idle;
mod ingesting;
mod journaling;
mod lag;
mod memory;
mod packing;
mod peers;
mod ports;
mod protocols;
mod searching;
mod soak;
mod starting;
mod sustained;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::report::Row;
use crate::test_cluster::TestCluster;

/// Maximum wait for events that must happen.
const DEADLINE: Duration = Duration::from_secs(600);
/// Polling interval: each poll is an answer with all metrics, whose cost must not distort the measurement.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The future of one round.
pub type Round<'g> = Pin<Box<dyn Future<Output = Vec<Row>> + 'g>>;

/// A measurement.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// How it is measured, for readers of the figures.
    pub method: &'static str,
    /// Maximum number of rounds, for expensive ones.
    pub rounds_max: usize,
    /// The page that it is part of, which is written once all its scenarios were run.
    pub page: &'static str,
    /// Whether it uses Kafka, PostgreSQL or Redis.
    pub needs_servers: bool,
    /// Its plot.
    pub picture: Option<Picture>,
    /// Measures one round.
    pub run: for<'g> fn(&'g TestCluster) -> Round<'g>,
}

/// Figures plotted against the numbers in the row names.
pub struct Picture {
    /// Label of those numbers.
    pub across: &'static str,
    /// Label of the figures.
    pub up: &'static str,
    /// The figures.
    pub figures: &'static [&'static str],
    /// Whether each number is a multiple of the previous one.
    pub logarithmic: bool,
}

impl Scenario {
    fn drawn(self, up: &'static str, figures: &'static [&'static str], across: &'static str) -> Self {
        let logarithmic = matches!(self.name, "clients" | "batches" | "partitions" | "sizes");
        Self { picture: Some(Picture { across, up, figures, logarithmic }), ..self }
    }
}

/// The page of the regular measurements, from the root of the repository.
pub const PAGE: &str = "docs/benchmarks.md";
/// The page of the soak test.
pub const SOAK_PAGE: &str = "docs/soak.md";
/// The page of searches.
pub const SEARCH_PAGE: &str = "docs/search-latency.md";
/// The page of other programs beside Spillway.
pub const PEERS_PAGE: &str = "docs/peers.md";
/// The page of the lag drill.
pub const DRILL_PAGE: &str = "docs/lag-drill.md";

macro_rules! scenario {
    ($name:literal, $title:literal, $rounds_max:literal, $run:path, $method:literal) => {
        Scenario {
            name: $name,
            title: $title,
            method: $method,
            rounds_max: $rounds_max,
            page: PAGE,
            needs_servers: true,
            picture: None,
            run: |test_cluster| Box::pin($run(test_cluster)),
        }
    };
}

/// All of them, in the order of the report.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        scenario!(
            "batch",
            "Batches of 100 events",
            9,
            ingesting::batch,
            "64 connections of wrk, one source a batch. *of librdkafka*: events per second relative to a bare producer of the same \
             records on the same broker. A figure counts only what Kafka has acknowledged."
        ),
        scenario!(
            "single",
            "Single events",
            9,
            ingesting::single,
            "256 connections of wrk. *of the constant*: requests per second relative to the same HTTP server answering a constant. \
             The latencies at half of that rate are from an open loop, counted from when each request should have been sent."
        ),
        scenario!(
            "gateway",
            "Through the gateway",
            1,
            ingesting::gateway,
            "The same through the gateway, which runs on the same two cores."
        ),
        scenario!(
            "packed",
            "Packed records",
            3,
            packing::packed,
            "Batches of 100 events, acknowledged, over 64 connections, whose events have 1, 10 or 100 sources in turn; each with single and \
             with packed records. A packed record has neighbouring events of one source and one partition, so there is nothing to pack if \
             neighbours have different sources. *CPU of single*: CPU time per event relative to single records. The latencies at half of \
             the rate are from an open loop."
        ),
        scenario!(
            "idle",
            "Processes without load",
            3,
            idle::idle,
            "Each role on Kafka, Redis and PostgreSQL, and one process on embedded adapters, for three times `BENCH_SECONDS`. *CPU ms/s*: \
             thousandths of a core."
        ),
        Scenario {
            needs_servers: false,
            ..scenario!(
                "ports",
                "One process, both ports",
                3,
                ports::ports,
                "Single events, buffered, 256 connections of wrk, to `spillway all` on embedded adapters. *of the producer's port*: CPU time \
                 per request relative to the first row."
            )
        },
        scenario!(
            "secured",
            "Keys and TLS",
            9,
            ingesting::secured,
            "Batches of 100 events, acknowledged, over 64 connections that stay open: without both, with a key that is restricted and \
             limited, with TLS, and with both. wrk encrypts on the same two cores. `BENCH_ROUNDS=5` measures five of each in \
             alternation."
        ),
        scenario!(
            "formats",
            "Formats and codings",
            1,
            ingesting::formats,
            "Batches of 100 events; encoded in advance by the client."
        ),
        scenario!(
            "protocols",
            "Protocols of agents",
            3,
            protocols::protocols,
            "The same events, 100 together, by each protocol over 16 connections, in alternation; acknowledged by Kafka. \
             *of the native batch*: CPU time of the producer per event relative to `POST /api/logs/batch`. OTLP and Loki \
             have times in nanoseconds, for which ids are derived."
        ),
        scenario!(
            "agent",
            "One agent with the default settings",
            1,
            agent::agent,
            "OTLP in protobuf and gzip, batches of 500 events over 50 connections through the gateway, 20,000 events/s from one \
             address for half a minute (open loop). The measurement fails if a request is refused."
        ),
        scenario!("clients", "Clients", 1, ingesting::clients, "Batches of 100 events over this many connections.")
            .drawn("events/s", &["events/s"], "connections"),
        scenario!(
            "sizes",
            "Event sizes",
            1,
            ingesting::sizes,
            "Batches of 100 events, over as many connections as keep 20 MB in flight, at most 64."
        )
            .drawn("events/s", &["events/s"], "bytes of an event"),
        scenario!(
            "batches",
            "Events per batch",
            1,
            ingesting::batches,
            "Over as many connections as keep 20 MB in flight, at most 64."
        )
            .drawn("events/s", &["events/s"], "events per batch"),
        scenario!(
            "partitions",
            "Partitions",
            1,
            ingesting::partitions,
            "Batches of 100 events over 64 connections, one source a batch."
        )
            .drawn("events/s", &["events/s"], "partitions"),
        scenario!(
            "journal",
            "The journal",
            3,
            journaling::journal,
            "Kafka is stopped: every 202 says `journaled`, after an fsync. Then it is started, and the journal is sent without new events arriving. \
             *of live*: relative to live ingestion on a Kafka that was just started, as for the replay."
        ),
        scenario!(
            "consumer",
            "From Kafka to PostgreSQL",
            3,
            consuming::consumer,
            "One consumer stores a topic that was filled before, each event once, with all indexes. *of \\\\copy*: rows per second \
             relative to `psql \\\\copy` of the same rows into an empty table with the same columns, key and indexes."
        ),
        scenario!(
            "derived-ids",
            "Ids derived from what agents send",
            3,
            derived_ids::derived_ids,
            "A topic filled with entries of OTLP is stored, with `INGEST__DERIVED_IDS` off and on. SQLite in one process that also \
             reads the topic. *of those without*: rows per second relative to the row without."
        ),
        scenario!(
            "end-to-end",
            "From POST to row",
            3,
            end_to_end::end_to_end,
            "Batches of 100 events at a steady rate (open loop); in addition, up to fifty times per second, one event whose row is polled for \
             in PostgreSQL every millisecond."
        )
            .drawn("ms", &["row p50 ms", "row p99 ms", "202 p99 ms"], "events/s"),
        Scenario {
            needs_servers: false,
            ..scenario!(
                "start",
                "Start to first 202, embedded",
                9,
                starting::start,
                "From the start of the process with an empty directory to the end of the first 202, tried every millisecond."
            )
        },
        scenario!(
            "query",
            "Newest 100 of one source among 10 million rows",
            1,
            consuming::query,
            "`GET /api/logs?source=…&limit=100` of the consumer, 1,000 sources, a different one each time; on PostgreSQL."
        ),
        Scenario {
            page: SEARCH_PAGE,
            needs_servers: false,
            ..scenario!(
                "search-sustained",
                "The rate that one machine keeps up with",
                1,
                sustained::sustained,
                "`spillway all` with default settings, without rate limits; load generator and store on the same machine. Batches of 100 \
                 events of about 320 bytes at a steady rate over 64 connections. Rates rise until one does not hold for `BENCH_SECONDS`; \
                 95 % of the last one that did must then hold for `BENCH_MINUTES` (10; with ids of clients 1) in an empty directory, \
                 else 90 % of that, and so on. A rate holds if no event is refused, and if at the end at most one second of events is \
                 accepted and not stored. The CPU time includes sealing and merging until the store is idle."
            )
        },
        Scenario {
            page: SEARCH_PAGE,
            needs_servers: false,
            ..scenario!(
                "search-embedded",
                "Searches of the embedded store",
                1,
                searching::embedded,
                "`BENCH_EVENTS` events (10 million) of about 320 bytes with many numbers and ids, 50 sources, spread over three hours, and \
                 sealed as far as the store seals them. Then each search is repeated up to 200 times within 20 s, each time for a \
                 slightly different range, source, trace or event: first alone, then while 2,000 events/s arrive. Ranges contain all \
                 events unless the name says otherwise. Of few answers, the p99 is the slowest one. *found*: events in the last answer. VictoriaLogs \
                 gets the same events and is asked by the same client. It has no event ids: it looks for a value of the metadata instead."
            )
        },
        Scenario {
            page: SEARCH_PAGE,
            needs_servers: false,
            ..scenario!(
                "search-memory",
                "Memory of the embedded store",
                1,
                memory::memory,
                "While events arrive at a steady rate, the searches above are asked one after the other, for twelve times `BENCH_SECONDS`."
            )
        },
        Scenario {
            page: SEARCH_PAGE,
            ..scenario!(
                "search-postgres",
                "Searches of PostgreSQL",
                1,
                searching::postgres,
                "The same events as for the embedded store. Producer, Kafka and consumer on the same machine. Ranges are of one hour."
            )
        },
        Scenario {
            page: SOAK_PAGE,
            ..scenario!(
                "soak",
                "Half an hour at 50,000 events/s",
                1,
                soak::soak,
                "Batches of 100 events at a steady rate (open loop) through gateway, producer, Kafka and consumer into PostgreSQL. Kafka \
                 keeps 1 GiB per partition, and stored rows are removed each minute, to limit disk usage. A row is a minute; memory is \
                 the resident memory of the processes at its end."
            )
            .drawn("MB resident", &["gateway's RSS MB", "producer's RSS MB", "consumer's RSS MB"], "minutes")
        },
        Scenario {
            page: PEERS_PAGE,
            ..scenario!(
                "peers",
                "Throughput and cost",
                9,
                peers::throughput,
                "Batches of 100 events over 64 connections, written to 6 partitions of one broker with `acks=all` and snappy. *acknowledged*: \
                 a request is answered when Kafka has its events; the Collector has no queue then. *buffered*: it is answered before; the \
                 Collector has its batch processor and its sending queue. *single*: a record has one event; the Collector's encoding is `raw`, \
                 which keeps only the body of an event, without attributes, source and time. *packed*: a record has several events, with \
                 everything that belongs to them; the Collector's encoding is `otlp_proto`. The Collector, syslog-ng and rsyslog record no \
                 metrics of their own, and set no key. Nothing answers lines over TCP: they count as accepted when they are written. The time \
                 ends with the last record in Kafka. All events in Kafka are read and counted afterwards; *lost*: accepted, but not there."
            )
        },
        Scenario {
            page: PEERS_PAGE,
            ..scenario!(
                "peers-loss",
                "Events that were accepted and never arrive",
                1,
                peers::losses,
                "Each event has a number, by which it is found in Kafka. First, the program is killed with `kill -9` under full load over 64 \
                 connections and started again. Then 10,000 events/s are sent while Kafka is stopped for 20 s and started again; *answered in \
                 the outage, %*: of the events that were due from 5 s before it to 5 s after it. A request that is refused or not answered is \
                 not sent again, and its events are not counted as lost. Lines over TCP count as accepted when they are written."
            )
        },
        Scenario {
            page: DRILL_PAGE,
            ..scenario!(
                "lag-drill",
                "Consumers fall behind and catch up",
                1,
                lag::lag,
                "20,000 events/s arrive constantly, in 6 partitions. Each consumer is limited to 2.5 % of one core (a quota of the kernel's control \
                 groups, 1.25 ms in each 50 ms), which is too little for that: one alone falls behind. At 3 million records and a minute \
                 behind two more are started, a minute later another three."
            )
            .drawn("records behind", &["records behind"], "seconds")
        },
    ]
}

/// A number from the environment.
#[must_use]
pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Waits until `condition` holds, without loading the machine meanwhile.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !condition().await {
        assert!(began.elapsed() < DEADLINE, "waited too long until {what}");
        look.tick().await;
    }
}
