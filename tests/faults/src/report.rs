//! The result of a scenario, and how it is printed.

use std::time::Duration;

use crate::comparison::{Comparison, Counts};
use crate::ledger::{Lane, Ledger, Second};
use crate::watch::Watch;

/// Result of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Counts of events.
    pub comparison: Comparison,
    /// Calls made by clients.
    pub calls: u64,
    /// Of these, answered with 202.
    pub calls_accepted: u64,
    /// Of these, answered with 503.
    pub calls_503: u64,
    /// From the end of the fault to the first acknowledged event sent after it.
    pub until_acknowledged: Option<Duration>,
    /// From the end of the fault until all accepted events were stored.
    pub until_stored: Option<Duration>,
    /// Broken promises.
    pub broken: Vec<String>,
    /// Further results, line by line.
    pub notes: Vec<String>,
    /// Requests and answers.
    pub ledger: Ledger,
    /// Events second by second.
    pub timeline: Vec<String>,
    /// Why the scenario could not be run, if so.
    pub skipped: Option<String>,
}

/// Column heads of the table.
pub const COLUMNS: [&str; 11] = [
    "fault",
    "sent",
    "acknowledged",
    "journaled",
    "buffered",
    "stored",
    "lost (ackn.+journ. / buffered)",
    "dupl.",
    "reord.",
    "503s",
    "healed (first acknowledged / all stored)",
];

impl Report {
    /// A scenario that could not be run.
    #[must_use]
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::default() }
    }

    /// A scenario that failed before it had counts.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Self { broken: vec![why.into()], ..Self::default() }
    }

    /// Records a promise, if it does not hold.
    pub fn expect(&mut self, holds: bool, promise: impl Into<String>) {
        if !holds {
            self.broken.push(promise.into());
        }
    }

    /// Records a further result.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Share of the calls that were answered with 202, in percent.
    #[must_use]
    pub fn calls_accepted_percent(&self) -> f64 {
        self.calls_accepted as f64 * 100.0 / self.calls.max(1) as f64
    }

    /// `ok`, `skipped` or `BROKEN`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (&self.skipped, self.broken.is_empty()) {
            (Some(_), _) => "skipped",
            (None, true) => "ok",
            (None, false) => "BROKEN",
        }
    }

    /// Its cells, for [`COLUMNS`].
    #[must_use]
    pub fn cells(&self, fault: &str) -> Vec<String> {
        let total = self.comparison.total();
        let seconds =
            |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        vec![
            fault.to_owned(),
            total.sent.to_string(),
            total.acknowledged.to_string(),
            total.journaled.to_string(),
            total.buffered.to_string(),
            total.stored.to_string(),
            format!("{} / {}", total.lost_promised, total.lost_buffered),
            total.duplicated.to_string(),
            total.reordered.to_string(),
            self.calls_503.to_string(),
            format!("{} / {}", seconds(self.until_acknowledged), seconds(self.until_stored)),
        ]
    }

    /// One line per guarantee, then notes and broken promises.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(why) = &self.skipped {
            lines.push(format!("skipped: {why}"));
            return lines;
        }
        for (lane, counts) in Lane::ALL.into_iter().zip(&self.comparison.lanes) {
            lines.push(format!("{}: {}", lane.guarantee(), counts_line(counts)));
        }
        lines.extend(self.notes.iter().cloned());
        lines.extend(self.broken.iter().map(|promise| format!("BROKEN: {promise}")));
        lines
    }
}

fn counts_line(counts: &Counts) -> String {
    format!(
        "sent={} accepted={} (acknowledged={} journaled={} buffered={}) refused={} in_doubt={} stored={} lost={} duplicated={} reordered={} of {}",
        counts.sent,
        counts.accepted(),
        counts.acknowledged,
        counts.journaled,
        counts.buffered,
        counts.refused,
        counts.in_doubt,
        counts.stored,
        counts.lost(),
        counts.duplicated,
        counts.reordered,
        counts.compared,
    )
}

/// A table with these heads and rows, columns aligned.
#[must_use]
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, width)| format!(" {cell:<width$} ")).collect::<Vec<_>>();
        format!("|{}|\n", cells.join("|"))
    };
    let rule = format!("|{}|\n", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    line(&mut heads.iter().copied()) + &rule + &rows.collect::<String>()
}

/// One line per second: events accepted and refused, and the state of the first producer at its end.
#[must_use]
pub fn timeline(ledger: &Ledger, watch: &Watch, load_began: tokio::time::Instant) -> Vec<String> {
    const HEADS: [&str; 10] = [
        "t",
        "202",
        "503",
        "other",
        "acknowledged",
        "journaled",
        "buffered",
        "refused T/D/I/W/E/F",
        "breaker",
        "memory + journal MB",
    ];
    let readings = watch.readings();
    let lag = load_began.saturating_duration_since(watch.began());
    let rows = ledger.seconds.iter().enumerate().map(|(second, what): (usize, &Second)| {
        let end = lag + Duration::from_secs(second as u64 + 1);
        let mut before = readings.iter().filter(|reading| reading.producer == 0 && reading.at <= end);
        let (breaker, bytes) = before.next_back().map_or_else(Default::default, |reading| {
            let bytes = format!("{:.1} + {:.1}", reading.memory_bytes / 1e6, reading.journal_bytes / 1e6);
            (reading.breaker.clone(), bytes)
        });
        let (ok, busy) = (what.answers_with(202), what.answers_with(503));
        vec![
            second.to_string(),
            ok.to_string(),
            busy.to_string(),
            (what.calls() - ok - busy).to_string(),
            what.accepted[0].to_string(),
            what.accepted[1].to_string(),
            what.accepted[2].to_string(),
            what.refused.map(|events| events.to_string()).join("/"),
            breaker,
            bytes,
        ]
    });
    table(&HEADS, &rows.collect::<Vec<_>>()).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let text = table(&["a", "long head"], &[vec!["wide cell".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| a         | long head |\n|-----------|-----------|\n| wide cell | 1         |\n");
    }

    #[test]
    fn a_broken_promise_is_the_verdict() {
        let mut report = Report::default();
        report.expect(true, "kept");
        assert_eq!(report.verdict(), "ok");
        report.expect(false, "not kept");
        assert_eq!(report.verdict(), "BROKEN");
        assert!(report.details().contains(&"BROKEN: not kept".to_owned()));
        assert_eq!(Report::skipped("no disk").verdict(), "skipped");
    }
}
