//! What is measured, one round at a time.
//!
//! Each round measures Spillway and its yardsticks in alternation, so that what the machine does meanwhile meets all of them.

mod consuming;
mod end_to_end;
mod ingesting;
mod journaling;
mod lag;
mod peer;
mod soak;
mod starting;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::ground::Ground;
use crate::report::Row;

/// Longest wait for something that has to happen.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked at: a look is an answer with all metrics, whose cost must not show in what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The events of one round.
pub type Round<'g> = Pin<Box<dyn Future<Output = Vec<Row>> + 'g>>;

/// Something that is measured.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// How it is measured, for those who read the figures.
    pub method: &'static str,
    /// Rounds are expensive: fewer are made, if this is less.
    pub rounds_max: usize,
    /// The page that it is part of; written once all scenarios of it were run.
    pub page: &'static str,
    /// What of it is drawn.
    pub picture: Option<Picture>,
    /// Measures one round.
    pub run: for<'g> fn(&'g Ground) -> Round<'g>,
}

/// Figures over the numbers that the rows are named after.
pub struct Picture {
    /// What those numbers are.
    pub across: &'static str,
    /// What the figures are.
    pub up: &'static str,
    /// The figures.
    pub figures: &'static [&'static str],
    /// Whether each number is a multiple of the one before.
    pub logarithmic: bool,
}

impl Scenario {
    fn drawn(self, up: &'static str, figures: &'static [&'static str], across: &'static str) -> Self {
        let logarithmic = matches!(self.name, "clients" | "batches" | "partitions" | "sizes");
        Self { picture: Some(Picture { across, up, figures, logarithmic }), ..self }
    }
}

/// The page of what is measured each time, from the root of the repository.
pub const PAGE: &str = "docs/benchmarks.md";
/// The page of what takes long.
pub const SOAK_PAGE: &str = "docs/soak.md";
/// The page of the drill.
pub const DRILL_PAGE: &str = "docs/lag-drill.md";

macro_rules! scenario {
    ($name:literal, $title:literal, $rounds_max:literal, $run:path, $method:literal) => {
        Scenario {
            name: $name,
            title: $title,
            method: $method,
            rounds_max: $rounds_max,
            page: PAGE,
            picture: None,
            run: |ground| Box::pin($run(ground)),
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
            "64 connections of wrk, one source a batch. *of librdkafka*: events a second in relation to a bare producer of the same \
             records on the same broker. A figure counts only what Kafka has acknowledged."
        ),
        scenario!(
            "single",
            "Single events",
            9,
            ingesting::single,
            "256 connections of wrk. *of the constant*: requests a second in relation to the same HTTP server answering a constant. \
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
            "formats",
            "Formats and codings",
            1,
            ingesting::formats,
            "Batches of 100 events; the client has encoded them before."
        ),
        scenario!("clients", "Clients", 1, ingesting::clients, "Batches of 100 events over so many connections.")
            .drawn("events/s", &["events/s"], "connections"),
        scenario!(
            "sizes",
            "Sizes of an event",
            1,
            ingesting::sizes,
            "Batches of 100 events, over as many connections as have 20 MB under way, at most 64."
        )
            .drawn("events/s", &["events/s"], "bytes of an event"),
        scenario!(
            "batches",
            "Events a batch",
            1,
            ingesting::batches,
            "Over as many connections as have 20 MB under way, at most 64."
        )
            .drawn("events/s", &["events/s"], "events a batch"),
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
            "Kafka is stopped: every 202 says `journaled`, after an fsync. Then it is started, and the journal is sent while nothing new comes. \
             *of live*: in relation to live ingestion on a Kafka that was started just before, as it was for the replay."
        ),
        scenario!(
            "consumer",
            "From Kafka to PostgreSQL",
            3,
            consuming::consumer,
            "One consumer stores a topic that is full before it starts, each event once, with all indexes. *of \\\\copy*: rows a second in \
             relation to `psql \\\\copy` of the same rows into an empty table with the same columns, key and indexes."
        ),
        scenario!(
            "end-to-end",
            "From POST to row",
            3,
            end_to_end::end_to_end,
            "Batches of 100 events at a steady rate (open loop); besides, up to fifty times a second, one event whose row is then looked for \
             in PostgreSQL every millisecond."
        )
            .drawn("ms", &["row p50 ms", "row p99 ms", "202 p99 ms"], "events/s"),
        scenario!(
            "peer",
            "A peer: rsyslog",
            1,
            peer::peer,
            "rsyslog takes lines of the same size over TCP and gives them to Kafka (omkafka, with the same settings of librdkafka). \
             Its sender is told nothing: a line that rsyslog has in memory is gone if it dies. A figure counts what Kafka has. \
             Spillway's, beside it, is of batches over HTTP, acknowledged."
        ),
        scenario!(
            "start",
            "Start to first 202, embedded",
            9,
            starting::start,
            "From the start of the process with an empty directory to the end of the first 202, tried every millisecond."
        ),
        scenario!(
            "query",
            "Newest 100 of one source among 10 million rows",
            1,
            consuming::query,
            "`GET /api/logs?source=…&limit=100` of the consumer, 1,000 sources, another one each time; on PostgreSQL."
        ),
        Scenario {
            page: SOAK_PAGE,
            ..scenario!(
                "soak",
                "Half an hour at 50,000 events/s",
                1,
                soak::soak,
                "Batches of 100 events at a steady rate (open loop) through gateway, producer, Kafka and consumer into PostgreSQL. Kafka \
                 keeps 1 GiB a partition, and stored rows are removed each minute, so that the disk lasts. A row is a minute; memory is \
                 what the processes have resident at its end."
            )
            .drawn("MB resident", &["gateway's RSS MB", "producer's RSS MB", "consumer's RSS MB"], "minutes")
        },
        Scenario {
            page: DRILL_PAGE,
            ..scenario!(
                "lag-drill",
                "Consumers fall behind and catch up",
                1,
                lag::lag,
                "20,000 events/s arrive all the time, in 6 partitions. Each consumer has 2.5 % of one core (a quota of the kernel's control \
                 groups, 1.25 ms in each 50 ms), which is too little for that: one alone falls behind. At 3 million records and a minute \
                 behind two more are started, a minute later another three."
            )
            .drawn("records behind", &["records behind"], "seconds")
        },
    ]
}

/// Waits until `condition` holds, without using the machine meanwhile.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !condition().await {
        assert!(began.elapsed() < DEADLINE, "waited too long until {what}");
        look.tick().await;
    }
}
