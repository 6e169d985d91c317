//! Results of several rounds, as tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::log_stores::victoria_logs_version;
use crate::plot::{self, Curves};
use crate::scenarios::Picture;

/// The version of a program that is not installed.
pub const UNKNOWN: &str = "unknown";
/// Variables that change how much is measured.
const SETTINGS: [&str; 5] = ["BENCH_ROUNDS", "BENCH_SECONDS", "BENCH_MINUTES", "BENCH_RATE", "BENCH_EVENTS"];
/// The figure that compares a protocol with the native one.
const OF_NATIVE: &str = "of the native batch";

/// A target: description, target, and where it is measured (scenario, row, figure).
pub type Target = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// The targets of [`crate::scenarios::PAGE`].
pub const TARGETS: [Target; 33] = [
    ("batches, acknowledged", "≥ 500,000 events/s", "batch", "acknowledged", "events/s"),
    ("in relation to librdkafka alone", "≥ 0.6", "batch", "acknowledged", "of librdkafka"),
    ("CPU of the producer, batches", "≤ 1.8 µs an event", "batch", "acknowledged", "CPU µs/event"),
    ("single events, acknowledged", "≥ 30,000 requests/s", "single", "acknowledged", "events/s"),
    ("p99 at half of that rate", "≤ 20 ms", "single", "acknowledged", "p99 ms at half"),
    ("CPU of the producer, single events", "≤ 20 µs a request", "single", "acknowledged", "CPU µs/event"),
    (
        "single events, at-most-once, in relation to a constant answer",
        "≥ 0.75",
        "single",
        "buffered",
        "of the constant",
    ),
    (
        "CPU of the gateway",
        "≤ 10 µs a request",
        "gateway",
        "single events, through the gateway",
        "gateway's CPU µs/event",
    ),
    (
        "CPU of one process through the gateway's port",
        "≤ 1.15",
        "ports",
        "the gateway's port",
        "of the producer's port",
    ),
    ("an idle producer on Kafka", "≤ 5 ms/s of CPU", "idle", "producer", "CPU ms/s"),
    (
        "CPU of packed records relative to single ones, one source in a batch",
        "-",
        "packed",
        "sources in a batch: 1, packed",
        "CPU of single",
    ),
    (
        "Kafka to PostgreSQL, packed records",
        "≥ 150,000 rows/s",
        "consumer",
        "consumer, exactly once, packed records",
        "rows/s",
    ),
    ("Kafka to PostgreSQL, exactly once", "≥ 150,000 rows/s", "consumer", "consumer, exactly once", "rows/s"),
    ("in relation to \\\\copy", "≥ 0.6", "consumer", "consumer, exactly once", "of \\\\copy"),
    ("POST to row, at 50,000 events/s, p99", "< 100 ms", "end-to-end", "50,000 events/s", "row p99 ms"),
    ("memory of the producer at 50,000 events/s", "< 100 MB", "end-to-end", "50,000 events/s", "producer's RSS MB"),
    ("start to first 202, embedded", "< 300 ms", "start", "ERROR, acknowledged, through the gateway", "ms"),
    ("CPU of OTLP in protobuf, in relation to the native batch", "≤ 1.5", "protocols", "OTLP, protobuf", OF_NATIVE),
    ("of OTLP over gRPC", "≤ 1.5", "protocols", "OTLP over gRPC", OF_NATIVE),
    ("of OTLP in JSON", "≤ 1.5", "protocols", "OTLP, JSON", OF_NATIVE),
    ("of Loki in protobuf", "≤ 1.5", "protocols", "Loki, protobuf and snappy", OF_NATIVE),
    ("of Loki in JSON", "≤ 1.5", "protocols", "Loki, JSON", OF_NATIVE),
    ("of `_bulk`", "≤ 1.5", "protocols", "_bulk", OF_NATIVE),
    ("of HTTP outputs", "≤ 1.5", "protocols", "HTTP outputs", OF_NATIVE),
    ("of Splunk HEC", "≤ 1.5", "protocols", "Splunk HEC", OF_NATIVE),
    ("of syslog over TCP", "≤ 1.5", "protocols", "syslog over TCP", OF_NATIVE),
    (
        "PostgreSQL with derived ids, in relation to without",
        "≥ 0.8",
        "derived-ids",
        "PostgreSQL, with derived ids",
        "of those without",
    ),
    ("journal, fsynced, batches of 100", "≥ 500,000 events/s", "journal", "written, fsynced", "events/s"),
    ("replay of the journal, in relation to live ingestion", "≥ 1", "journal", "sent when Kafka is back", "of live"),
    ("newest 100 of one source, 10 million rows, p50", "< 50 ms", "query", "newest 100 of one source", "p50 ms"),
    ("the same, p99", "< 50 ms", "query", "newest 100 of one source", "p99 ms"),
    ("batches, buffered", "-", "batch", "buffered", "events/s"),
    ("librdkafka alone", "-", "batch", "librdkafka alone", "events/s"),
];

const ACKNOWLEDGED_SINGLE: &str = "Spillway, acknowledged, single, OTLP protobuf";
const ACKNOWLEDGED_PACKED: &str = "Spillway, acknowledged, packed, OTLP protobuf";
const BUFFERED_SINGLE: &str = "Spillway, buffered, single, OTLP protobuf";
const BUFFERED_PACKED: &str = "Spillway, buffered, packed, OTLP protobuf";
const OF_COLLECTOR: &str = "of the Collector's CPU";
const OF_SINGLE: &str = "of single";

/// The targets of [`crate::scenarios::PEERS_PAGE`].
pub const PEER_TARGETS: [Target; 6] = [
    (
        "CPU of Spillway, acknowledged, packed, relative to the Collector",
        "≤ 0.5",
        "peers",
        ACKNOWLEDGED_PACKED,
        OF_COLLECTOR,
    ),
    ("acknowledged, single", "≤ 0.5", "peers", ACKNOWLEDGED_SINGLE, OF_COLLECTOR),
    ("buffered, packed", "≤ 0.5", "peers", BUFFERED_PACKED, OF_COLLECTOR),
    ("buffered, single", "≤ 0.5", "peers", BUFFERED_SINGLE, OF_COLLECTOR),
    ("acknowledged, packed, relative to single", "≤ 0.4", "peers", ACKNOWLEDGED_PACKED, OF_SINGLE),
    ("buffered, packed, relative to single", "≤ 0.4", "peers", BUFFERED_PACKED, OF_SINGLE),
];

/// The table of targets and measurements.
#[must_use]
pub fn targets<'r>(targets: &[Target], find: impl Fn(&str) -> Option<&'r Rounds>) -> String {
    let mut text = String::from("## Targets\n\n| | target | measured |\n|---|---:|---:|\n");
    for &(what, aim, scenario, label, figure) in targets {
        let spread = find(scenario).and_then(|rounds| rounds.spread(label, figure));
        let measured = spread.map_or_else(|| "not measured".to_owned(), |spread| spread.to_string());
        writeln!(text, "| {what} | {aim} | {measured} |").expect("memory");
    }
    text
}

/// Current date and time, in UTC.
#[must_use]
pub fn now() -> String {
    said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// The same, in microseconds since the Unix epoch.
#[must_use]
pub fn unix_micros() -> i64 {
    said_by("date", &["+%s%6N"]).parse().expect("GNU date")
}

/// The first line of a program's output.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or(UNKNOWN).trim().trim_end_matches(" compiled with:").to_owned()
}

/// The beginning of a page: where, when and with which versions it was made, with those of other programs.
#[must_use]
pub fn heading(title: &str, began: &str, command: &str, others: &[(String, String)]) -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kbytes = memory.lines().next().and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok());
    let versions = [
        ("commit", said_by("git", &["rev-parse", "--short", "HEAD"])),
        ("system", said_by("uname", &["-sr"])),
        ("compiler", said_by("rustc", &["--version"])),
        ("PostgreSQL", said_by("psql", &["--version"])),
        ("Java, for Kafka", said_by("sh", &["-c", "java -version 2>&1"])),
        ("wrk", said_by("sh", &["-c", "wrk -v 2>&1"])),
        ("a peer for searches", victoria_logs_version()),
    ];
    let mut text = format!(
        "# {title}\n\nMade by `{command}`, which overwrites this page.\n\n| | |\n|---|---|\n| begun | {began} |\n\
         | machine | {cores} cores, {model}, {} GB |\n",
        number(kbytes.unwrap_or_default() / 1e6)
    );
    // A short run must be recognised as one.
    let settings: Vec<String> = SETTINGS
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| format!("`{name}={value}`")))
        .collect();
    if !settings.is_empty() {
        writeln!(text, "| settings | {} |", settings.join(", ")).expect("memory");
    }
    // A program that is not installed was not needed for this page.
    let is_installed = |version: &str| version != UNKNOWN && !version.ends_with("not found");
    for (name, version) in versions.into_iter().filter(|(_, version)| is_installed(version)) {
        writeln!(text, "| {name} | {version} |").expect("memory");
    }
    for (name, version) in others {
        writeln!(text, "| {name} | {version} |").expect("memory");
    }
    text
}

/// How the figures of a page with targets are measured.
#[must_use]
pub fn method(rounds: u64, seconds: u64) -> String {
    format!(
        "Each figure is the median of {rounds} rounds (fewer where a round is expensive) of {seconds} s, with the smallest and the largest in \
         brackets. Yardsticks are measured in alternation, on the same servers. All of it, load generator, Spillway, Kafka and \
         PostgreSQL, shares one machine: the figures say what an event costs, and how Spillway compares, more than what a dedicated \
         server can do. Events have 225 bytes unless said otherwise. All guarantees, limits and metrics are on.\n"
    )
}

/// One measured variant in one round.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name; the same in each round.
    pub label: String,
    /// Names and values, in column order.
    pub figures: Vec<(&'static str, f64)>,
    /// What the figures should be; empty without a target.
    pub target: &'static str,
}

impl Row {
    /// A row without figures.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), figures: Vec::new(), target: "" }
    }

    /// Sets the target, which the table has beside the figures.
    #[must_use]
    pub fn aiming_at(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }

    /// A figure of this round.
    #[must_use]
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.iter().find(|(of, _)| *of == name).expect("it was measured").1
    }
}

/// The rounds of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    labels: Vec<String>,
    /// Of the rows that have one.
    targets: BTreeMap<String, &'static str>,
    columns: Vec<&'static str>,
    values: BTreeMap<(String, &'static str), Vec<f64>>,
}

/// The values of a figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub largest: f64,
}

impl Rounds {
    /// Adds the results of a round.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            if !self.labels.contains(&row.label) {
                self.labels.push(row.label.clone());
            }
            if !row.target.is_empty() {
                self.targets.insert(row.label.clone(), row.target);
            }
            for (name, value) in row.figures {
                if !self.columns.contains(&name) {
                    self.columns.push(name);
                }
                self.values.entry((row.label.clone(), name)).or_default().push(value);
            }
        }
    }

    /// A figure over all rounds.
    #[must_use]
    pub fn spread(&self, label: &str, name: &'static str) -> Option<Spread> {
        let mut values = self.values.get(&(label.to_owned(), name))?.clone();
        values.sort_by(f64::total_cmp);
        let (least, largest) = (*values.first()?, *values.last()?);
        Some(Spread { median: *values.get((values.len() - 1) / 2)?, least, largest })
    }

    /// Plots figures against the numbers in the row names.
    pub fn draw(&self, file: &Path, title: &str, picture: &Picture) {
        let numbered = |label: &String| {
            let number = label.split(':').next().unwrap_or_default();
            let digits: String = number.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<f64>().expect("a number in the row's name")
        };
        let points = |figure: &'static str| {
            let points =
                self.labels.iter().filter_map(|label| Some((numbered(label), self.spread(label, figure)?.median)));
            points.collect()
        };
        let series = picture.figures.iter().map(|figure| (*figure, points(figure))).collect();
        let (across, up, logarithmic) = (picture.across, picture.up, picture.logarithmic);
        plot::draw(file, &Curves { title, across, up, logarithmic, series });
    }

    /// The table in Markdown: medians and ranges.
    #[must_use]
    pub fn markdown(&self) -> String {
        let has_targets = !self.targets.is_empty();
        let columns: Vec<&str> =
            has_targets.then_some("target").into_iter().chain(self.columns.iter().copied()).collect();
        let mut text = String::from("| |");
        for column in &columns {
            write!(text, " {column} |").expect("memory");
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(columns.len()));
        for label in &self.labels {
            write!(text, "\n| {label} |").expect("memory");
            if has_targets {
                write!(text, " {} |", self.targets.get(label).copied().unwrap_or_default()).expect("memory");
            }
            for column in &self.columns {
                let cell = self.spread(label, column).map(|spread| spread.to_string()).unwrap_or_default();
                write!(text, " {cell} |").expect("memory");
            }
        }
        text.push('\n');
        text
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, least, largest } = *self;
        f.write_str(&number(median))?;
        if number(least) != number(largest) {
            write!(f, " ({}–{})", number(least), number(largest))?;
        }
        Ok(())
    }
}

/// Three significant digits, with thousands separators.
#[must_use]
pub fn number(value: f64) -> String {
    // The sum of nothing is -0.0.
    let value = value + 0.0;
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && digit.is_ascii_digit() && (whole.len() - n).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_medians_and_ranges() {
        let mut rounds = Rounds::default();
        for rate in [1_234_567.0, 1_000_000.0, 2_000_000.0] {
            rounds.add(vec![
                Row::new("ours").with("events/s", rate).with("µs", 1.8),
                Row::new("theirs").with("events/s", 7.25),
            ]);
        }
        let table = rounds.markdown();
        assert_eq!(
            table,
            "| | events/s | µs |\n|---|---:|---:|\n| ours | 1,234,567 (1,000,000–2,000,000) | 1.80 |\n| theirs | 7.25 |  |\n"
        );
        assert_eq!(rounds.spread("ours", "µs").map(|spread| spread.median), Some(1.8));
        rounds.add(vec![Row::new("ours").with("µs", 1.8).aiming_at("≤ 2 µs")]);
        assert!(
            rounds
                .markdown()
                .starts_with("| | target | events/s | µs |\n|---|---:|---:|---:|\n| ours | ≤ 2 µs | 1,234,567")
        );
        assert!(rounds.markdown().contains("\n| theirs |  | 7.25 |"));
        assert_eq!([number(999.0), number(1_000.0), number(12.345), number(-0.0)], ["999", "1,000", "12.3", "0.00"]);
    }
}
