//! Metrics of producers at `/actuator/prometheus`: where their events are, and the state of the breaker.
//!
//! Invariant: a metric that a producer does not export counts as 0.

use std::time::Duration;

use e2e::Http;
use tokio::time::timeout;

/// Maximum wait for an answer: a process may be stopped, or dead.
const PATIENCE: Duration = Duration::from_secs(2);

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// Name, labels and value of each series.
    series: Vec<(String, Labels, f64)>,
}

type Labels = Vec<(String, String)>;

impl Measurements {
    /// Scrapes a process; `None` if it does not answer.
    pub async fn of(http: &Http) -> Option<Self> {
        let answer = timeout(PATIENCE, http.try_send("GET", "/actuator/prometheus", &[], "")).await.ok()??;
        (answer.status == 200).then(|| Self::parse(&String::from_utf8_lossy(&answer.body)))
    }

    /// Reads the text format. Label values with escapes are not expected.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
                let (key, value) = label.split_once("=\"")?;
                Some((key.trim().to_owned(), value.trim_end_matches('"').to_owned()))
            });
            Some((name.to_owned(), labels.collect(), value.parse().ok()?))
        });
        Self { series: series.collect() }
    }

    /// Sum of a metric's series that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &[(String, String)], (key, value): &(&str, &str)| of.iter().any(|(k, v)| k == key && v == value);
        let matching = self.series.iter().filter(|(series, of, _)| series == name && labels.iter().all(|l| has(of, l)));
        // The sum of nothing is -0.
        matching.map(|(.., value)| value).sum::<f64>() + 0.0
    }

    /// The values of a label in a metric.
    fn values(&self, name: &str, label: &str) -> Vec<String> {
        let series = self.series.iter().filter(|(series, ..)| series == name);
        series
            .filter_map(|(_, labels, _)| labels.iter().find(|(key, _)| key == label))
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// State of the circuit breaker in front of the bus; empty if it is not exported.
    #[must_use]
    pub fn breaker(&self) -> String {
        const NAME: &str = "resilience4j_circuitbreaker_state";
        let states = self.values(NAME, "state");
        states.into_iter().find(|state| self.sum(NAME, &[("state", state)]) > 0.5).unwrap_or_default()
    }

    /// Checks that each accepted event is in exactly one place; returns the discrepancies, one per guarantee.
    #[must_use]
    pub fn unaccounted(&self) -> Vec<String> {
        let guarantees = self.values("spillway_events_accepted_total", "guarantee");
        let off = guarantees.into_iter().filter_map(|guarantee| {
            let of = |name: &str| self.sum(name, &[("guarantee", &guarantee)]);
            let came = of("spillway_events_accepted_total") + of("spillway_events_recovered_total");
            let went = of("spillway_events_acknowledged_total")
                + of("spillway_events_dead_lettered_total")
                + of("spillway_events_dropped_total")
                + of("spillway_events_journaled")
                + of("spillway_events_buffered");
            ((came - went).abs() > 0.5).then(|| format!("{guarantee}: {came} accepted or recovered, {went} elsewhere"))
        });
        off.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP spillway_events_accepted_total Events
# TYPE spillway_events_accepted_total counter
spillway_events_accepted_total{guarantee="at-least-once"} 10
spillway_events_accepted_total{guarantee="at-most-once"} 20
spillway_events_acknowledged_total{guarantee="at-least-once"} 7
spillway_events_acknowledged_total{guarantee="at-most-once"} 15
spillway_events_dropped_total{guarantee="at-most-once",reason="killed, earlier"} 1
spillway_events_dropped_total{reason="other",guarantee="at-most-once"} 1
spillway_events_buffered{guarantee="at-most-once"} 3
spillway_events_buffered{guarantee="at-least-once"} 3
resilience4j_circuitbreaker_state{name="bus",state="closed"} 0
resilience4j_circuitbreaker_state{name="bus",state="half_open"} 1
spillway_build_info 1
"#;

    #[test]
    fn each_event_is_in_one_place() {
        let measurements = Measurements::parse(TEXT);
        assert_eq!(measurements.unaccounted(), Vec::<String>::new());
        assert_eq!(measurements.sum("spillway_events_accepted_total", &[]), 30.0);
        assert_eq!(measurements.breaker(), "half_open");
        assert_eq!(measurements.sum("spillway_build_info", &[]), 1.0);
        let one_less =
            Measurements::parse(&TEXT.replace(r#"reason="other",guarantee="at-most-once"} 1"#, "a=\"b\"} 1"));
        assert_eq!(one_less.unaccounted(), ["at-most-once: 20 accepted or recovered, 19 elsewhere"]);
        assert_eq!(Measurements::parse("").breaker(), "");
    }
}
