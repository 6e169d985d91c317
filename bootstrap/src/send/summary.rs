//! What became of everything that was read, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::level::Level;

use super::client::Tally;

/// The end of a run. Every event that was read is accepted, refused or not sent.
#[derive(Debug, Default)]
pub struct Summary {
    /// Lines that stand for an event.
    pub events: u64,
    /// What became of those that the server answered.
    pub tally: Tally,
    /// Events by level.
    pub levels: BTreeMap<Level, u64>,
    /// Events whose level stood in the line.
    pub levels_found: u64,
    /// Events whose time stood in the line.
    pub times_found: u64,
    /// Inputs that there are.
    pub inputs: usize,
    /// Inputs whose turn came before the end.
    pub inputs_begun: usize,
    /// Those of them that could not be read, or not to their end.
    pub unreadable: usize,
    /// Whether standard input is the only one.
    pub stdin_alone: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// Why the input was not read to its end.
    pub stopped: Option<String>,
}

impl Summary {
    /// Events whose fate is unknown, or that were never on their way.
    #[must_use]
    pub fn not_sent(&self) -> u64 {
        self.events.saturating_sub(self.tally.accepted).saturating_sub(self.tally.refused_total())
    }

    /// Whether everything was read and every event was accepted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tally.accepted == self.events && self.unreadable == 0 && self.stopped.is_none()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, accepted) = (grouped(self.events), grouped(self.tally.accepted));
        let (refused, not_sent) = (grouped(self.tally.refused_total()), grouped(self.not_sent()));
        let (seconds, rate) = (self.elapsed.as_secs_f64(), rate(self.events, self.elapsed));
        write!(f, "{events} events from {} in {seconds:.1} s ({rate}): ", self.origin())?;
        writeln!(f, "{accepted} accepted, {refused} refused, {not_sent} not sent")?;
        if self.events > 0 {
            self.write_details(f)?;
        }
        match &self.stopped {
            Some(reason) => writeln!(f, "  stopped:   {reason}; what follows was not read"),
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

    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promised = self.tally.durability;
        let [acknowledged, journaled, buffered] =
            [promised.acknowledged, promised.journaled, promised.buffered].map(grouped);
        writeln!(f, "  promised:  {acknowledged} acknowledged, {journaled} journaled, {buffered} buffered")?;
        let levels: Vec<String> =
            self.levels.iter().map(|(level, count)| format!("{level} {}", grouped(*count))).collect();
        let parsed: u64 = self.levels.values().sum();
        let [found, default] = [self.levels_found, parsed - self.levels_found].map(grouped);
        writeln!(f, "  levels:    {}  ({found} found in the line, {default} by default)", levels.join("  "))?;
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
    use super::super::client::{Durability, Place};
    use super::*;

    #[test]
    fn a_summary_says_what_became_of_every_event() {
        let mut summary = Summary {
            events: 6_001,
            levels: BTreeMap::from([(Level::Info, 5_921), (Level::Error, 79)]),
            levels_found: 6_000,
            times_found: 5_990,
            inputs: 3,
            inputs_begun: 3,
            unreadable: 1,
            elapsed: Duration::from_millis(900),
            stopped: Some("interrupted".to_owned()),
            ..Summary::default()
        };
        summary.tally.accepted = 5_800;
        summary.tally.durability = Durability { acknowledged: 52, journaled: 0, buffered: 5_748 };
        summary.tally.refuse(&Place { file: "app.log".into(), line: 17 }, "message_length", "too long");
        let expected = "\
6,001 events from 2 of 3 files in 0.9 s (6,667 events/s): 5,800 accepted, 1 refused, 200 not sent
  promised:  52 acknowledged, 0 journaled, 5,748 buffered
  levels:    INFO 5,921  ERROR 79  (6,000 found in the line, 0 by default)
  times:     5,990 found in the line, 10 of receipt
  refused:   1 message_length
    app.log:17 message_length: too long
  stopped:   interrupted; what follows was not read
";
        assert_eq!(summary.to_string(), expected);
        assert!(!summary.is_complete());
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
