//! Single metrics as JSON, in the manner of Spring Boot's `/actuator/metrics`, taken from Prometheus' text format
//! (prometheus.io, "Exposition formats").
//!
//! Names have dots for underscores and no `_total`: `kafka_producer_messages_sent_total` is
//! `kafka.producer.messages.sent`. Either way of writing finds it.

use std::collections::{BTreeMap, BTreeSet};

use crate::openapi::schemas::{Measurement, MetricReport, MetricTag};

/// One metric with all its series.
#[derive(Debug, Default)]
struct Family<'a> {
    help: &'a str,
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

/// One line: what is behind the name of the metric, labels, value.
#[derive(Debug)]
struct Sample<'a> {
    suffix: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// The names of all metrics.
pub fn metric_names(exposition: &str) -> Vec<String> {
    families(exposition).into_keys().map(dotted).collect()
}

/// What is known of a metric, summed over the series that have all of these tags; `None` if there is none.
pub fn metric_report(exposition: &str, name: &str, tags: &[(&str, &str)]) -> Option<MetricReport> {
    let families = families(exposition);
    let (metric, family) = families.into_iter().find(|(metric, _)| dotted(metric) == dotted(name))?;
    let has_tag = |sample: &Sample<'_>, (tag, value): &(&str, &str)| {
        sample.labels.iter().any(|(label, of)| label == tag && of == value)
    };
    let matching: Vec<_> = family.samples.iter().filter(|sample| tags.iter().all(|tag| has_tag(sample, tag))).collect();
    if matching.is_empty() {
        return None;
    }
    let sum = |suffix: &str| matching.iter().filter(|sample| sample.suffix == suffix).map(|sample| sample.value).sum();
    let measurement = |statistic: &str, suffix| Measurement { statistic: statistic.to_owned(), value: sum(suffix) };
    let measurements = match family.kind {
        "histogram" | "summary" => vec![measurement("COUNT", "_count"), measurement("TOTAL", "_sum")],
        "counter" => vec![measurement("COUNT", "")],
        _ => vec![measurement("VALUE", "")],
    };
    let mut available: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (label, value) in matching.iter().flat_map(|sample| &sample.labels) {
        if !matches!(*label, "le" | "quantile") {
            available.entry(label).or_default().insert(value);
        }
    }
    let tag = |(tag, values): (&str, BTreeSet<&str>)| MetricTag {
        tag: tag.to_owned(),
        values: values.into_iter().map(str::to_owned).collect(),
    };
    Some(MetricReport {
        name: dotted(metric),
        description: family.help.to_owned(),
        measurements,
        available_tags: available.into_iter().map(tag).collect(),
    })
}

fn dotted(name: &str) -> String {
    let dotted = name.replace('_', ".");
    dotted.strip_suffix(".total").map(str::to_owned).unwrap_or(dotted)
}

/// Reads what this program has written: metrics with their type, each followed by its lines.
fn families(exposition: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut current = "";
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().kind = kind;
            current = name;
        } else if let Some(sample) = line.strip_prefix(current).and_then(sample)
            && let Some(family) = families.get_mut(current)
        {
            family.samples.push(sample);
        }
    }
    families.retain(|_, family| !family.samples.is_empty());
    families
}

/// What is behind the name of a metric on its line.
fn sample(rest: &str) -> Option<Sample<'_>> {
    let (head, value) = rest.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((suffix, labels)) = head.split_once('{') else {
        return Some(Sample { suffix: head, labels: Vec::new(), value });
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = Vec::new();
    while let Some((label, behind)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.push((label, text));
        rest = behind.get(end + 1..)?.trim_start_matches(',');
    }
    Some(Sample { suffix, labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP sent_total Events sent
# TYPE sent_total counter
sent_total{code=\"a\",path=\"x,\\\"y\\\"\"} 3
sent_total{code=\"b\"} 4

# TYPE lag_records gauge
lag_records 7

# TYPE wait_seconds histogram
wait_seconds_bucket{role=\"p\",le=\"0.1\"} 1
wait_seconds_bucket{role=\"p\",le=\"+Inf\"} 2
wait_seconds_sum{role=\"p\"} 0.75
wait_seconds_count{role=\"p\"} 2
# TYPE unused_total counter
";

    fn values(name: &str, tags: &[(&str, &str)]) -> Option<Vec<(String, f64)>> {
        let report = metric_report(TEXT, name, tags)?;
        Some(report.measurements.into_iter().map(|m| (m.statistic, m.value)).collect())
    }

    #[test]
    fn metrics_are_listed_and_found_under_either_way_of_writing() {
        assert_eq!(metric_names(TEXT), ["lag.records", "sent", "wait.seconds"]);
        for name in ["sent", "sent_total", "sent.total"] {
            assert_eq!(values(name, &[]), Some(vec![("COUNT".to_owned(), 7.0)]), "{name}");
        }
        assert_eq!(values("lag.records", &[]), Some(vec![("VALUE".to_owned(), 7.0)]));
        let histogram = vec![("COUNT".to_owned(), 2.0), ("TOTAL".to_owned(), 0.75)];
        assert_eq!(values("wait.seconds", &[]), Some(histogram));
        assert_eq!(values("unused", &[]), None);
    }

    #[test]
    fn tags_narrow_down_and_are_listed_without_those_of_the_format() {
        assert_eq!(values("sent", &[("code", "b")]), Some(vec![("COUNT".to_owned(), 4.0)]));
        assert_eq!(values("sent", &[("path", "x,\"y\"")]), Some(vec![("COUNT".to_owned(), 3.0)]));
        assert_eq!(values("sent", &[("code", "c")]), None);
        let report = metric_report(TEXT, "wait.seconds", &[]).expect("a report");
        let tags: Vec<_> = report.available_tags.iter().map(|tag| (tag.tag.as_str(), tag.values.clone())).collect();
        assert_eq!(tags, [("role", vec!["p".to_owned()])]);
        assert_eq!(metric_report(TEXT, "sent", &[]).map(|report| report.description).as_deref(), Some("Events sent"));
    }
}
