//! `spillway stats`: counts events over time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::StringValueParser;
use domain::level::Level;
use jiff::Zoned;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::api::{Api, parsed};
use super::connection::Connection;
use super::event_writer::{Format, json_line};
use super::failure::Failure;
use super::filters::Filters;
use super::names::parse_name;
use super::output::Output;
use super::query::counted_by;
use super::table::{aligned, csv_row};
use super::times::{now, shown};
use crate::send::grouped;
use crate::suggested::{COUNTED_FIELDS, INTERVALS, suggested};

/// The column of values that are not counted one by one.
const OTHER: &str = "other";
/// A row in the place of buckets without events.
const GAP: &str = "…";

/// Seconds of a day.
const DAY_SECONDS: f64 = 86_400.0;

/// The text after the options in `--help`.
const AFTER_HELP: &str = "\
Without --since and --until, only events of the last hour are counted; -S first counts all. Buckets begin at multiples
of their length in UTC. Those of a day or longer are shown in UTC: a day is one of UTC, and a week begins on Thursday.";

/// Options of `spillway stats`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Options {
    /// Which events.
    #[command(flatten)]
    pub filters: Filters,
    /// Length of a bucket, such as 30s, 5m, 1h or 1d [default: chosen by the server]
    #[arg(short, long, value_name = "DURATION", hide_possible_values = true, value_parser = suggested(StringValueParser::new(), &INTERVALS))]
    interval: Option<String>,
    /// Count by level, source, traceId or the name of a field of the metadata
    #[arg(long, value_name = "FIELD", default_value = "level", hide_possible_values = true, value_parser = suggested(parse_name, &COUNTED_FIELDS))]
    by: String,
    /// Format of the counts
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
    /// Show and read times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// The answer of the API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    interval_seconds: f64,
    /// Counts by value, in the order of the columns.
    total: Map<String, Value>,
    #[serde(default)]
    other: u64,
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    start: String,
    counts: HashMap<String, u64>,
    #[serde(default)]
    other: u64,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(options: Options, output: &mut Output) -> Result<(), Failure> {
    let (began, api, now) = (Instant::now(), Api::new(&options.connection)?, now(options.utc));
    let filters = options.filters.or_last_hour();
    let mut parameters = filters.parameters(&now)?;
    parameters.add_some("interval", options.interval.as_deref());
    parameters.add("by", &options.by);
    let body = api.get("/api/logs/stats", &parameters).await?;
    let mut stats: Stats = parsed(&body)?;
    let by_level = options.by == "level";
    if by_level {
        stats.order_levels();
    }
    match options.output {
        Format::Json => output.write(json_line(&String::from_utf8_lossy(&body), output.is_terminal()).as_bytes())?,
        Format::Csv => {
            for row in stats.rows(|start| start.to_owned(), |count| count.to_string()) {
                output.write(&csv_row(&row, output.is_terminal()))?;
            }
        }
        Format::Text => output.write(stats.text(&now).as_bytes())?,
    }
    output.flush()?;
    let (found, millis) = (counted_by(&options.by, stats.total()), began.elapsed().as_millis());
    let (buckets, length) = (grouped(stats.buckets.len() as u64), stats.length());
    output.note(format!("-- {found}{}, {buckets} × {length}, {millis} ms", filters.range_in_words()));
    if let Some(doubt) = filters.doubt().filter(|_| stats.total() == 0) {
        output.note(doubt.to_owned());
    }
    Ok(())
}

impl Stats {
    /// All that was counted.
    fn total(&self) -> u64 {
        self.total.values().filter_map(Value::as_u64).sum::<u64>() + self.other
    }

    /// Orders the columns by severity.
    fn order_levels(&mut self) {
        let mut columns: Vec<(String, Value)> = std::mem::take(&mut self.total).into_iter().collect();
        columns.sort_by_key(|(level, _)| Level::parse(level).ok());
        self.total = columns.into_iter().collect();
    }

    /// The length of a bucket.
    fn length(&self) -> String {
        let length = Duration::try_from_secs_f64(self.interval_seconds).unwrap_or_default();
        humantime::format_duration(length).to_string()
    }

    /// A header, and a row for each bucket.
    fn rows(&self, time: impl Fn(&str) -> String, count: impl Fn(u64) -> String) -> Vec<Vec<String>> {
        let keys: Vec<&String> = self.total.keys().collect();
        self.rows_of(&keys, time, count)
    }

    /// The same with these columns only.
    fn rows_of(
        &self,
        keys: &[&String],
        time: impl Fn(&str) -> String,
        count: impl Fn(u64) -> String,
    ) -> Vec<Vec<String>> {
        let mut header = vec!["start".to_owned()];
        header.extend(keys.iter().copied().cloned());
        if self.other > 0 {
            header.push(OTHER.to_owned());
        }
        let mut rows = vec![header];
        rows.extend(self.buckets.iter().map(|bucket| {
            let mut row = vec![time(&bucket.start)];
            row.extend(keys.iter().map(|key| count(bucket.counts.get(*key).copied().unwrap_or_default())));
            if self.other > 0 {
                row.push(count(bucket.other));
            }
            row
        }));
        rows
    }

    /// The rows and columns that are not empty, and their total; nothing if there are none. [`GAP`] stands for the empty rows between
    /// others. Buckets of days have times in UTC, where they begin at midnight, and say so.
    fn text(&self, now: &Zoned) -> String {
        if self.total() == 0 {
            return String::new();
        }
        let counts = self.total.iter().map(|(key, count)| (key, count.as_u64().unwrap_or_default()));
        let (keys, counts): (Vec<&String>, Vec<u64>) = counts.filter(|(_, count)| *count > 0).unzip();
        let is_in_utc = self.interval_seconds >= DAY_SECONDS;
        let now = if is_in_utc { now.with_time_zone(TimeZone::UTC) } else { now.clone() };
        let mut all = self.rows_of(&keys, |start| shown(start, &now, false), grouped).into_iter();
        let mut rows: Vec<Vec<String>> = all.next().into_iter().collect();
        if let Some(title) = rows.first_mut().and_then(|header| header.first_mut()).filter(|_| is_in_utc) {
            title.push_str(" (UTC)");
        }
        let mut is_behind_gap = false;
        for row in all {
            if row.iter().skip(1).all(|count| count == "0") {
                is_behind_gap = rows.len() > 1;
                continue;
            }
            if std::mem::take(&mut is_behind_gap) {
                rows.push(vec![GAP.to_owned()]);
            }
            rows.push(row);
        }
        let mut total = vec!["total".to_owned()];
        total.extend(counts.into_iter().map(grouped));
        if self.other > 0 {
            total.push(grouped(self.other));
        }
        rows.push(total);
        aligned(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_rows_and_values_are_columns() {
        let json = r#"{"from":"2024-01-15T10:00:00Z","to":"2024-01-15T10:02:00Z","intervalSeconds":60.0,"by":"level",
            "total":{"ERROR":1003,"WARN":0,"a\u001b":2},"other":1,"buckets":[
            {"start":"2024-01-15T10:00:00Z","counts":{"ERROR":1000,"a\u001b":2},"other":0},
            {"start":"2024-01-15T10:01:00Z","counts":{"ERROR":3},"other":1},
            {"start":"2024-01-15T10:02:00Z","counts":{"ERROR":0},"other":0}]}"#;
        let stats: Stats = parsed(json.as_bytes()).unwrap();
        let lines = [
            "start                ERROR  a\\x1b  other",
            "2024-01-15 10:00:00  1,000      2      0",
            "2024-01-15 10:01:00      3      0      1",
            "total                1,003      2      1",
        ];
        assert_eq!(stats.text(&now(true)), lines.join("\n") + "\n");
        assert_eq!((stats.total(), stats.length().as_str()), (1_006, "1m"));
        let none: Stats = parsed(br#"{"intervalSeconds":60,"total":{"INFO":0},"buckets":[]}"#).unwrap();
        assert_eq!(none.text(&now(true)), "");
        let rows = stats.rows(|start| start.to_owned(), |count| count.to_string());
        assert_eq!(rows[1], ["2024-01-15T10:00:00Z", "1000", "0", "2", "0"]);
    }

    #[test]
    fn buckets_of_days_are_shown_in_utc_and_others_in_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let text = |seconds: u32, start: &str| {
            let bucket = format!(r#"{{"start":"{start}","counts":{{"INFO":5}}}}"#);
            let json = format!(r#"{{"intervalSeconds":{seconds},"total":{{"INFO":5}},"buckets":[{bucket}]}}"#);
            let stats: Stats = parsed(json.as_bytes()).unwrap();
            stats.text(&now(true).with_time_zone(zone.clone()))
        };
        let day = "start (UTC)          INFO\n2024-03-10 00:00:00     5\ntotal                   5\n";
        assert_eq!(text(86_400, "2024-03-10T00:00:00Z"), day);
        let hours = "start                INFO\n2024-03-10 01:00:00     5\ntotal                   5\n";
        assert_eq!(text(21_600, "2024-03-10T00:00:00Z"), hours);
    }

    #[test]
    fn one_row_stands_for_the_empty_buckets_between_others() {
        let bucket = |minute: usize, events: u64| {
            format!(r#"{{"start":"2024-01-15T10:{minute:02}:00Z","counts":{{"INFO":{events}}}}}"#)
        };
        let buckets: Vec<String> =
            [0, 0, 3, 0, 0, 4, 5, 0].into_iter().enumerate().map(|(minute, events)| bucket(minute, events)).collect();
        let json = format!(r#"{{"intervalSeconds":60,"total":{{"INFO":12}},"buckets":[{}]}}"#, buckets.join(","));
        let stats: Stats = parsed(json.as_bytes()).unwrap();
        let lines = [
            "start                INFO",
            "2024-01-15 10:02:00     3",
            "…",
            "2024-01-15 10:05:00     4",
            "2024-01-15 10:06:00     5",
            "total                  12",
        ];
        assert_eq!(stats.text(&now(true)), lines.join("\n") + "\n");
    }
}
