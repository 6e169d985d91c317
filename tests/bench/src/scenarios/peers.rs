//! Spillway beside other programs that take events over the network and write them to Kafka.
//!
//! All of them get the same events from the same load generators over as many connections, and write to the same broker.
//! What arrives is read from the topic, event by event.

mod arrivals;
mod numbered;
mod programs;
mod sending;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use self::arrivals::Arrivals;
use self::numbered::{Body, Template, numbers};
use self::programs::{Program, Promise, Records, Running, Subject};
use self::sending::{CONNECTIONS, Sending};
use crate::events::BATCH_EVENTS;
use crate::processes::peak_bytes;
use crate::report::Row;
use crate::test_cluster::{Cpu, Installation, PARTITIONS, TestCluster};
use crate::wrk::{self, Bodies};

/// Unmeasured time at the beginning, for the JVM, caches and connections.
const WARM_UP: Duration = Duration::from_secs(2);
/// Without records for this long after a load, all have arrived.
const QUIET: Duration = Duration::from_secs(3);
/// The same after a fault: programs wait before they try again.
const QUIET_AFTER_FAULT: Duration = Duration::from_secs(15);
/// Maximum time under full load before the kill.
const BEFORE_KILL: Duration = Duration::from_secs(5);
const OUTAGE: Duration = Duration::from_secs(20);
/// Time under load before and after the outage.
const AROUND_OUTAGE: Duration = Duration::from_secs(5);
/// Rate during the outage.
const OUTAGE_EVENTS_PER_SECOND: f64 = 10_000.0;
/// Limits that are enabled but not reached, in the process itself, which is the default.
const LIMITS: [(&str, &str); 3] = [
    ("SPILLWAY_LIMITER", "embedded"),
    ("SPILLWAY_RATE_LIMIT__AGENT_EVENTS_PER_SECOND", "10000000"),
    ("SPILLWAY_RATE_LIMIT__AGENT_BYTES_PER_SECOND", "4GB"),
];
const PROMISES: [Promise; 2] = [Promise::Acknowledged, Promise::Buffered];
const RECORDS: [Records; 2] = [Records::Single, Records::Packed];
const OVER_TCP: [Subject; 2] = [over_tcp(Program::SyslogNg), over_tcp(Program::Rsyslog)];

const fn over_tcp(program: Program) -> Subject {
    Subject { program, promise: Promise::Buffered, records: Records::Single, body: Body::Lines }
}

/// Spillway and the Collector with each promise and each form of record, for these bodies.
fn over_http(spillway: &[Body], collector: &[Body]) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for promise in PROMISES {
        for records in RECORDS {
            // Those that are compared are measured one after another.
            for (program, bodies) in [(Program::Spillway, spillway), (Program::Collector, collector)] {
                subjects.extend(bodies.iter().map(|body| Subject { program, promise, records, body: *body }));
            }
        }
    }
    subjects
}

/// Throughput and cost of each program, beside bare librdkafka.
pub async fn throughput(test_cluster: &TestCluster) -> Vec<Row> {
    let mut rows = vec![librdkafka(test_cluster).await];
    let otlp = [Body::OtlpProtobuf, Body::OtlpJson];
    let mut subjects = over_http(&[Body::Json, Body::OtlpProtobuf, Body::OtlpJson], &otlp);
    subjects.extend(OVER_TCP);
    let (subjects, absent) = available(test_cluster, subjects);
    let mut measured = Vec::new();
    for subject in subjects {
        measured.push((subject, measure(test_cluster, subject).await));
    }
    rows.extend(with_ratios(measured));
    rows.extend(absent);
    rows
}

/// The events that were accepted and never arrive, after a kill and after an outage of Kafka.
pub async fn losses(test_cluster: &TestCluster) -> Vec<Row> {
    let mut subjects = over_http(&[Body::OtlpProtobuf], &[Body::OtlpProtobuf]);
    subjects.extend(OVER_TCP);
    let (subjects, absent) = available(test_cluster, subjects);
    let mut rows = Vec::new();
    for subject in subjects {
        let [answered, lost] = Faulted::begin(test_cluster, subject, None).await.kill().await;
        let row = Row::new(subject.label()).with("answered before the kill", answered).with("lost by the kill", lost);
        let rate = Some(OUTAGE_EVENTS_PER_SECOND);
        let [offered, answered, lost] = Faulted::begin(test_cluster, subject, rate).await.stop_kafka().await;
        rows.push(
            row.with("answered in the outage, %", answered / offered * 100.0)
                .with("answered around and in the outage", answered)
                .with("lost by the outage", lost),
        );
    }
    rows.extend(absent);
    rows
}

/// The subjects whose programs this machine has, and a row without figures for each program that it lacks.
fn available(test_cluster: &TestCluster, mut subjects: Vec<Subject>) -> (Vec<Subject>, Vec<Row>) {
    let absent = [Program::Collector, Program::SyslogNg, Program::Rsyslog].into_iter();
    let absent: Vec<Program> = absent.filter(|program| !program.is_there(test_cluster)).collect();
    subjects.retain(|subject| !absent.contains(&subject.program));
    let rows = absent.iter().map(|program| Row::new(format!("{}: not available", program.label())));
    (subjects, rows.collect())
}

async fn librdkafka(test_cluster: &TestCluster) -> Row {
    let installation = test_cluster.installation(&[]);
    installation.make_topic(&[]).await;
    let kafka = test_cluster.cpu_of_kafka();
    let [records, seconds, cpu, peak] = test_cluster.produce(installation.topic()).await;
    let kafka_micros = kafka.micros_each(records);
    installation.remove().await;
    Row::new("librdkafka alone, single")
        .with("events/s", records / seconds)
        .with("CPU µs/event", cpu * 1e6 / records)
        .with("Kafka's CPU µs/event", kafka_micros)
        .with("peak RSS MB", peak / 1e6)
}

/// What a subject is sent at full speed.
enum Load {
    Http(Bodies, String),
    Tcp(Arc<[Template]>),
}

impl Load {
    fn of(subject: Subject, running: &Running) -> Self {
        let bodies = subject.body.all();
        match subject.body.request() {
            Some((path, content_type)) => {
                Self::Http(Bodies::new(&bodies, content_type, ""), format!("http://{}{path}", running.address()))
            }
            None => Self::Tcp(bodies.into_iter().map(Template::new).collect()),
        }
    }

    /// Sends for this long; returns the number of accepted events.
    async fn send(&self, subject: Subject, running: &Running, duration: Duration) -> u64 {
        let requests = match self {
            Self::Http(bodies, url) => wrk::run(url, bodies, CONNECTIONS as usize, duration).await.requests,
            Self::Tcp(templates) => {
                let sending = Sending::start(running.address(), subject.body, templates, None);
                sleep(duration).await;
                sending.end().await.len() as u64
            }
        };
        requests * BATCH_EVENTS as u64
    }
}

async fn measure(test_cluster: &TestCluster, subject: Subject) -> Row {
    let installation = test_cluster.installation(&LIMITS);
    installation.make_topic(&[]).await;
    let directory = directory();
    let running = subject.start(test_cluster, &installation, directory.path()).await;
    let load = Load::of(subject, &running);
    load.send(subject, &running, WARM_UP).await;
    let arrivals = Arrivals::of(&test_cluster.brokers(), installation.topic());
    arrivals.settled(QUIET, || ()).await;
    let from = arrivals.ends();
    let (began, cpu, kafka) = (Instant::now(), Cpu::of(vec![running.pid()]), test_cluster.cpu_of_kafka());
    let accepted = load.send(subject, &running, test_cluster.duration).await;
    let used = || (began.elapsed(), cpu.used(), kafka.used());
    let (took, cpu, kafka) = arrivals.settled(QUIET, used).await;
    let peak = peak_bytes(running.pid());
    running.kill().await;
    let mut arrived = 0_u64;
    arrivals.read(&from, |record| arrived += numbers(record).count() as u64);
    drop(arrivals);
    installation.remove().await;
    let label = subject.label();
    let is_lossless = arrived >= accepted || subject.program != Program::Spillway;
    assert!(is_lossless, "{label}: {accepted} events were accepted, {arrived} arrived");
    let micros_each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / arrived as f64;
    Row::new(label)
        .with("events/s", arrived as f64 / took.as_secs_f64())
        .with("CPU µs/event", micros_each(cpu))
        .with("Kafka's CPU µs/event", micros_each(kafka))
        .with("peak RSS MB", peak as f64 / 1e6)
        .with("lost", accepted.saturating_sub(arrived) as f64)
}

/// Adds the CPU time of Spillway per event in relation to the Collector with the same promise, form of record and body,
/// and of packed records in relation to single ones.
fn with_ratios(measured: Vec<(Subject, Row)>) -> Vec<Row> {
    let micros: Vec<(Subject, f64)> =
        measured.iter().map(|(subject, row)| (*subject, row.figure("CPU µs/event"))).collect();
    let of = |sought: Subject| micros.iter().find(|(subject, _)| *subject == sought).map(|(_, micros)| *micros);
    let with = |(subject, mut row): (Subject, Row)| {
        let ours = row.figure("CPU µs/event");
        let collector = Subject { program: Program::Collector, ..subject };
        if let Some(theirs) = of(collector).filter(|_| subject.program == Program::Spillway) {
            row = row.with("of the Collector's CPU", ours / theirs);
        }
        let single = Subject { records: Records::Single, ..subject };
        if let Some(single) = of(single).filter(|_| subject.records == Records::Packed) {
            row = row.with("of single", ours / single);
        }
        row
    };
    measured.into_iter().map(with).collect()
}

/// A subject under load with numbered events, for a fault.
struct Faulted<'g> {
    test_cluster: &'g TestCluster,
    subject: Subject,
    installation: Installation<'g>,
    directory: TempDir,
    running: Running,
    sending: Sending,
}

impl<'g> Faulted<'g> {
    /// Starts the subject and the load: full, or of this many events per second.
    async fn begin(test_cluster: &'g TestCluster, subject: Subject, per_second: Option<f64>) -> Self {
        let installation = test_cluster.installation(&LIMITS);
        installation.make_topic(&[]).await;
        let directory = directory();
        let running = subject.start(test_cluster, &installation, directory.path()).await;
        let templates: Arc<[Template]> = subject.body.all().into_iter().map(Template::new).collect();
        let sending = Sending::start(running.address(), subject.body, &templates, per_second);
        Self { test_cluster, subject, installation, directory, running, sending }
    }

    /// Kills the program under load and starts it again. Returns the numbers of events that were answered, and of those
    /// that never arrive.
    async fn kill(self) -> [f64; 2] {
        sleep(self.test_cluster.duration.min(BEFORE_KILL)).await;
        self.running.kill().await;
        let accepted = self.sending.end().await;
        let path: &Path = self.directory.path();
        let running = self.subject.start(self.test_cluster, &self.installation, path).await;
        let lost = lost(self.test_cluster, &self.installation, &accepted).await;
        running.kill().await;
        self.installation.remove().await;
        [events(&accepted), lost]
    }

    /// Stops and starts Kafka under load. Returns the numbers of events that were due, that were answered, and that were
    /// answered but never arrive.
    async fn stop_kafka(self) -> [f64; 3] {
        let began = Instant::now();
        sleep(AROUND_OUTAGE).await;
        self.test_cluster.apply("stop", "kafka").await;
        sleep(OUTAGE).await;
        self.test_cluster.apply("start", "kafka").await;
        sleep(AROUND_OUTAGE).await;
        let offered = began.elapsed().as_secs_f64() * OUTAGE_EVENTS_PER_SECOND;
        let accepted = self.sending.end().await;
        let lost = lost(self.test_cluster, &self.installation, &accepted).await;
        self.running.kill().await;
        self.installation.remove().await;
        [offered, events(&accepted), lost]
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn events(requests: &[u64]) -> f64 {
    requests.len() as f64 * BATCH_EVENTS as f64
}

/// The number of events of these requests that are not in the topic once no more records arrive.
async fn lost(test_cluster: &TestCluster, installation: &Installation<'_>, requests: &[u64]) -> f64 {
    let arrivals = Arrivals::of(&test_cluster.brokers(), installation.topic());
    arrivals.settled(QUIET_AFTER_FAULT, || ()).await;
    let index = |number: u64| usize::try_from(number).expect("64 bits");
    let requests_end = requests.iter().max().map_or(0, |last| last + 1);
    let mut has_arrived = vec![false; index(requests_end) * BATCH_EVENTS];
    let beginning = vec![0; PARTITIONS.parse().expect("a number")];
    arrivals.read(&beginning, |record| {
        for number in numbers(record) {
            // Those of later requests were sent, but not accepted.
            if let Some(has_arrived) = has_arrived.get_mut(index(number)) {
                *has_arrived = true;
            }
        }
    });
    let of_request = |request: &u64| {
        let first = index(*request) * BATCH_EVENTS;
        has_arrived[first..first + BATCH_EVENTS].iter().filter(|has_arrived| !**has_arrived).count()
    };
    requests.iter().map(of_request).sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ratio_is_to_the_subject_that_differs_in_one_respect() {
        let subject =
            |program, records| Subject { program, promise: Promise::Acknowledged, records, body: Body::OtlpProtobuf };
        let measured = [
            (Program::Spillway, Records::Single, 4.0),
            (Program::Collector, Records::Single, 8.0),
            (Program::Spillway, Records::Packed, 1.0),
            (Program::Collector, Records::Packed, 5.0),
        ];
        let measured = measured.map(|(program, records, micros)| {
            let subject = subject(program, records);
            (subject, Row::new(subject.label()).with("CPU µs/event", micros))
        });
        let rows = with_ratios(measured.into());
        let of_collector = |row: &Row| (row.figure("of the Collector's CPU") * 100.0).round();
        assert_eq!([of_collector(&rows[0]), of_collector(&rows[2])], [50.0, 20.0]);
        assert_eq!((rows[2].figure("of single") * 100.0).round(), 25.0);
        assert!(rows[1].figures.len() == 1, "{:?}", rows[1]);
    }
}
