//! The summary of a run, for display.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::level::Level;

use super::line::Event;
use super::pending::Place;
use super::tally::Tally;

/// Maximum number of lines without a level that are listed.
const PLACES_MAX: usize = 3;

/// The end of a run. Every event that was read is accepted, refused, in doubt or not sent.
#[derive(Debug, Default)]
pub struct Summary {
    /// Events that were read.
    pub events: u64,
    /// Further lines, joined to the event before them.
    pub joined: u64,
    /// Lines with bytes that are not UTF-8.
    pub not_utf8: u64,
    /// The outcome of the events that were sent.
    pub tally: Tally,
    /// Events by level.
    pub levels: BTreeMap<Level, u64>,
    /// Events whose line contained the level.
    pub levels_found: u64,
    /// The first lines that did not.
    pub levels_missed: Vec<Place>,
    /// Events whose line contained the time.
    pub times_found: u64,
    /// Number of inputs.
    pub inputs: usize,
    /// Inputs that were begun.
    pub inputs_begun: usize,
    /// Begun inputs that could not be read, or not completely.
    pub unreadable: usize,
    /// Whether standard input is the only input.
    pub stdin_alone: bool,
    /// Whether all inputs are files, whose events are stored once even if they are sent again.
    pub repeatable: bool,
    /// Duration of the run.
    pub elapsed: Duration,
    /// Why the input was not read to its end.
    pub stopped: Option<String>,
}

impl Summary {
    /// Counts an event at `place` by what its line contained.
    pub fn count(&mut self, event: &Event, place: &Place) {
        self.events += 1;
        *self.levels.entry(event.level).or_default() += 1;
        self.levels_found += u64::from(event.level_found);
        self.times_found += u64::from(event.time_found);
        if !event.level_found && self.levels_missed.len() < PLACES_MAX {
            self.levels_missed.push(place.clone());
        }
    }

    /// Events that were never sent.
    #[must_use]
    pub fn not_sent(&self) -> u64 {
        let sent = self.tally.accepted + self.tally.refused_total() + self.tally.in_doubt();
        self.events.saturating_sub(sent)
    }

    /// Whether everything was read and every event was accepted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tally.accepted == self.events && self.unreadable == 0 && self.stopped.is_none()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, refused) = (grouped(self.tally.accepted), grouped(self.tally.refused_total()));
        write!(f, "{} from {} in {:.1} s", counted(self.events, "event"), self.origin(), self.elapsed.as_secs_f64())?;
        if self.events > 0 {
            write!(f, " ({})", rate(self.events, self.elapsed))?;
        }
        write!(f, ": {accepted} accepted, {refused} refused, ")?;
        if self.tally.in_doubt() > 0 {
            write!(f, "{} in doubt, ", grouped(self.tally.in_doubt()))?;
        }
        writeln!(f, "{} not sent", grouped(self.not_sent()))?;
        if self.events > 0 {
            self.write_details(f)?;
        }
        match &self.stopped {
            Some(reason) => writeln!(f, "  stopped:   {reason}; the rest was not read"),
            None => Ok(()),
        }
    }
}

impl Summary {
    fn origin(&self) -> String {
        let read = self.inputs_begun - self.unreadable;
        match (read, self.inputs) {
            _ if self.stdin_alone => "standard input".to_owned(),
            (1, 1) => "1 file".to_owned(),
            _ if read == self.inputs => format!("{read} files"),
            (read, inputs) => format!("{read} of {inputs} files"),
        }
    }

    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.joined > 0 {
            let (lines, joined) = (grouped(self.events + self.joined), grouped(self.joined));
            writeln!(f, "  lines:     {lines} ({joined} joined to the event before as its stack trace)")?;
        }
        match self.not_utf8 {
            0 => Ok(()),
            1 => writeln!(f, "  text:      1 line was not UTF-8 (replaced by U+FFFD)"),
            lines => writeln!(f, "  text:      {} lines were not UTF-8 (replaced by U+FFFD)", grouped(lines)),
        }
    }

    fn write_doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match (self.tally.in_doubt(), self.repeatable) {
            (0, _) => return Ok(()),
            (_, true) => "send the same file again, stored events are not duplicated",
            (_, false) => "they may have been stored",
        };
        writeln!(f, "  in doubt:  their request was sent, but its outcome is unknown: {advice}")
    }

    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_lines(f)?;
        self.write_doubts(f)?;
        let promised = self.tally.durability;
        let [acknowledged, journaled, buffered] =
            [promised.acknowledged, promised.journaled, promised.buffered].map(grouped);
        writeln!(f, "  promised:  {acknowledged} acknowledged, {journaled} journaled, {buffered} buffered")?;
        let levels: Vec<String> =
            self.levels.iter().map(|(level, count)| format!("{level} {}", grouped(*count))).collect();
        let parsed: u64 = self.levels.values().sum();
        let [found, default] = [self.levels_found, parsed - self.levels_found].map(grouped);
        write!(f, "  levels:    {}  ({found} found in the line, {default} by default", levels.join("  "))?;
        let places: Vec<String> = self.levels_missed.iter().map(Place::to_string).collect();
        writeln!(f, "{}{})", if places.is_empty() { "" } else { ", such as " }, places.join(", "))?;
        let [found, receipt] = [self.times_found, parsed - self.times_found].map(grouped);
        writeln!(f, "  times:     {found} found in the line, {receipt} of receipt")?;
        if self.tally.refused.is_empty() {
            return Ok(());
        }
        let refused: Vec<String> =
            self.tally.refused.iter().map(|(code, count)| format!("{} {code}", grouped(*count))).collect();
        writeln!(f, "  refused:   {}", refused.join(", "))?;
        self.tally.first_refusals.iter().try_for_each(|refusal| writeln!(f, "    {refusal}"))
    }
}

/// A number with its noun, in singular or plural.
fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Events per second.
#[must_use]
pub fn rate(events: u64, elapsed: Duration) -> String {
    let millis = elapsed.as_millis().max(1);
    let rate = u64::try_from(u128::from(events) * 1_000 / millis).unwrap_or(u64::MAX);
    format!("{} events/s", grouped(rate))
}

/// A number with a comma before every three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::answer::Durability;
    use super::*;

    #[test]
    fn a_summary_reports_the_outcome_of_every_event() {
        let mut summary = Summary {
            events: 6_001,
            joined: 123,
            not_utf8: 2,
            levels: BTreeMap::from([(Level::Info, 5_921), (Level::Error, 80)]),
            levels_found: 5_993,
            levels_missed: [3, 7, 9].map(|line| Place { file: "app.log".into(), line }).to_vec(),
            times_found: 5_990,
            inputs: 3,
            inputs_begun: 3,
            unreadable: 1,
            repeatable: true,
            elapsed: Duration::from_millis(900),
            stopped: Some("interrupted".to_owned()),
            ..Summary::default()
        };
        summary.tally.accepted = 5_800;
        summary.tally.durability = Durability { acknowledged: 52, journaled: 0, buffered: 5_748 };
        summary.tally.refuse(&Place { file: "app.log".into(), line: 17 }, "message_length", "too long");
        let expected = "\
6,001 events from 2 of 3 files in 0.9 s (6,667 events/s): 5,800 accepted, 1 refused, 150 in doubt, 50 not sent
  lines:     6,124 (123 joined to the event before as its stack trace)
  text:      2 lines were not UTF-8 (replaced by U+FFFD)
  in doubt:  their request was sent, but its outcome is unknown: send the same file again, stored events are not duplicated
  promised:  52 acknowledged, 0 journaled, 5,748 buffered
  levels:    INFO 5,921  ERROR 80  (5,993 found in the line, 8 by default, such as app.log:3, app.log:7, app.log:9)
  times:     5,990 found in the line, 11 of receipt
  refused:   1 message_length
    app.log:17 message_length: too long
  stopped:   interrupted; the rest was not read
";
        summary.tally.doubts = 150;
        assert_eq!(summary.to_string(), expected);
        assert!(!summary.is_complete());
        summary.repeatable = false;
        assert!(summary.to_string().contains("its outcome is unknown: they may have been stored\n"));
    }

    #[test]
    fn empty_parts_are_left_out() {
        let mut summary = Summary { inputs: 1, inputs_begun: 1, ..Summary::default() };
        assert_eq!(summary.to_string(), "0 events from 1 file in 0.0 s: 0 accepted, 0 refused, 0 not sent\n");
        summary.stdin_alone = true;
        (summary.events, summary.levels_found, summary.not_utf8) = (1, 1, 1);
        summary.levels.insert(Level::Info, 1);
        let expected = "\
1 event from standard input in 0.0 s (1,000 events/s): 0 accepted, 0 refused, 1 not sent
  text:      1 line was not UTF-8 (replaced by U+FFFD)
  promised:  0 acknowledged, 0 journaled, 0 buffered
  levels:    INFO 1  (1 found in the line, 0 by default)
  times:     0 found in the line, 1 of receipt
";
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
