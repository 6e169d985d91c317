//! The page `docs/metrics.md`: every metric with its type, its labels and its meaning.
//!
//! A test compares the file with the metrics. If `SPILLWAY_WRITE_DOCS` is set, the test writes the file.

use std::fmt::Write as _;

use crate::metric::Metric;

const HEAD: &str = "\
# Metrics

This page lists every metric. It is generated from `adapters/telemetry/src/metric.rs`: change the metric there, and run
`SPILLWAY_WRITE_DOCS=1 cargo test -p adapter-telemetry metrics_page`.

Every role serves its metrics at `/actuator/prometheus`, in the text format of Prometheus. Metrics of another role are 0 or
missing. [alerts.md](alerts.md) says which metrics answer which question.

* A histogram has the series `NAME_bucket{le}`, `NAME_sum` and `NAME_count`.
* Times are in seconds, sizes in bytes.
* The names that begin with `kafka_producer_` or `kafka_consumer_` count any bus, embedded or Kafka. The names that begin
  with `process_` are those of all Prometheus client libraries; they exist on Linux only.
* A producer counts `spillway_events_dead_lettered_total` by `guarantee`; a consumer counts it without a label.
* A name never changes, because dashboards use it.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// The content of the page.
fn metrics_page() -> String {
    let mut text = HEAD.to_owned();
    for metric in Metric::ALL {
        let labels: Vec<String> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, meaning) = (metric.name(), metric.kind().name(), metric.help().replace('|', "\\|"));
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {meaning} |", labels.join(", "));
    }
    text
}

#[test]
fn the_page_lists_the_metrics_of_the_program() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let page = metrics_page();
    if std::env::var_os("SPILLWAY_WRITE_DOCS").is_some() {
        std::fs::write(file, &page).expect("written");
    }
    let found = std::fs::read_to_string(file).expect("the page");
    assert!(
        found == page,
        "docs/metrics.md is out of date: SPILLWAY_WRITE_DOCS=1 cargo test -p adapter-telemetry metrics_page"
    );
}
