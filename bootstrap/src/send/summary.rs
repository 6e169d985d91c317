//! The summary of a run, for display.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use domain::level::Level;
use formats::Event;

use super::pending::{EventLines, Place};
use super::tally::Tally;

/// Maximum number of places that are listed for one reason.
const PLACES_MAX: usize = 3;

/// The end of a run. Every event that was read is accepted, refused, in doubt or not sent.
#[derive(Debug, Default)]
pub struct Summary {
    /// Events that were read.
    pub events: u64,
    /// Further lines, joined to the event before them.
    pub joined: u64,
    /// Lines that are headers of `tail`.
    pub headers: u64,
    /// Lines with bytes that are not UTF-8.
    pub not_utf8: u64,
    /// Lines that were too long and were cut.
    pub cut: u64,
    /// The first of them.
    pub cut_places: Vec<Place>,
    /// Events with a text that was too long and was cut.
    pub cut_texts: u64,
    /// The first of them.
    pub cut_text_places: Vec<Place>,
    /// The outcome of the events that were sent.
    pub tally: Tally,
    /// Events by level.
    pub levels: BTreeMap<Level, u64>,
    /// Events whose lines state the level.
    pub levels_found: u64,
    /// The first lines that do not.
    pub levels_missed: Vec<Place>,
    /// Events whose lines state the time.
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
    /// Counts an event by what its lines state. Its level is `default` if they state none.
    pub fn count(&mut self, event: &Event<EventLines>, default: Level) {
        let (draft, EventLines { place, number, .. }) = (&event.draft, &event.origin);
        self.events += 1;
        self.joined += number.saturating_sub(1);
        *self.levels.entry(draft.level.unwrap_or(default)).or_default() += 1;
        self.levels_found += u64::from(draft.level.is_some());
        self.times_found += u64::from(draft.time.is_some());
        if draft.level.is_none() {
            note(&mut self.levels_missed, place);
        }
        if draft.cut {
            self.cut_texts += 1;
            note(&mut self.cut_text_places, place);
        }
    }

    /// Counts a line that was too long and was cut.
    pub fn count_cut(&mut self, place: &Place) {
        self.cut += 1;
        note(&mut self.cut_places, place);
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
            Some(reason) => writeln!(f, "  stopped:   {reason}; the rest was not read{}", self.advice()),
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

    /// What to do about a run that stopped.
    fn advice(&self) -> &'static str {
        if self.repeatable { "; run the same command again: stored events are not duplicated" } else { "" }
    }

    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.joined > 0 {
            let (lines, joined) = (grouped(self.events + self.joined), grouped(self.joined));
            writeln!(f, "  lines:     {lines} ({joined} joined to the event before)")?;
        }
        if self.headers > 0 {
            writeln!(f, "  headers:   {} of tail (==> FILE <==), for the source", counted(self.headers, "line"))?;
        }
        if self.cut > 0 {
            let (cut, places) = (counted(self.cut, "line"), listed(&self.cut_places));
            writeln!(f, "  cut:       {cut} of more than 1 MiB, such as {places}: only the beginning is sent")?;
        }
        if self.cut_texts > 0 {
            let (cut, places) = (counted(self.cut_texts, "event"), listed(&self.cut_text_places));
            let what = "with a message or a stack trace of more than 256 KiB";
            writeln!(f, "  cut:       {cut} {what}, such as {places}: a note stands where text is missing")?;
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
        let missed = &self.levels_missed;
        writeln!(f, "{}{})", if missed.is_empty() { "" } else { ", such as " }, listed(missed))?;
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

/// Adds a place to those that are listed.
fn note(places: &mut Vec<Place>, place: &Place) {
    if places.len() < PLACES_MAX {
        places.push(place.clone());
    }
}

fn listed(places: &[Place]) -> String {
    let places: Vec<String> = places.iter().map(Place::to_string).collect();
    places.join(", ")
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
    use domain::timestamp::Timestamp;
    use formats::Draft;

    use super::super::answer::Durability;
    use super::super::event_id::EventId;
    use super::*;

    #[test]
    fn a_summary_reports_the_outcome_of_every_event() {
        let mut summary = Summary {
            events: 6_001,
            joined: 123,
            not_utf8: 2,
            cut: 1,
            cut_places: vec![Place { file: "app.log".into(), line: 5 }],
            cut_texts: 2,
            cut_text_places: [5, 8].map(|line| Place { file: "app.log".into(), line }).to_vec(),
            headers: 1,
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
  lines:     6,124 (123 joined to the event before)
  headers:   1 line of tail (==> FILE <==), for the source
  cut:       1 line of more than 1 MiB, such as app.log:5: only the beginning is sent
  cut:       2 events with a message or a stack trace of more than 256 KiB, such as app.log:5, app.log:8: a note stands where text is missing
  text:      2 lines were not UTF-8 (replaced by U+FFFD)
  in doubt:  their request was sent, but its outcome is unknown: send the same file again, stored events are not duplicated
  promised:  52 acknowledged, 0 journaled, 5,748 buffered
  levels:    INFO 5,921  ERROR 80  (5,993 found in the line, 8 by default, such as app.log:3, app.log:7, app.log:9)
  times:     5,990 found in the line, 11 of receipt
  refused:   1 message_length
    app.log:17 message_length: too long
  stopped:   interrupted; the rest was not read; run the same command again: stored events are not duplicated
";
        summary.tally.doubts = 150;
        assert_eq!(summary.to_string(), expected);
        assert!(!summary.is_complete());
        summary.repeatable = false;
        assert!(summary.to_string().contains("its outcome is unknown: they may have been stored\n"));
        assert!(summary.to_string().ends_with("interrupted; the rest was not read\n"));
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
    fn events_are_counted_by_what_their_lines_state() {
        let mut summary = Summary::default();
        let place = |line| Place { file: "a.log".into(), line };
        let event = |level, time, line, number| Event {
            draft: Draft { level, time, ..Draft::default() },
            origin: EventLines { id: EventId::New, place: place(line), number },
        };
        summary.count(&event(Some(Level::Error), Some(Timestamp::MIN), 1, 3), Level::Info);
        for line in 4..8 {
            summary.count(&event(None, None, line, 1), Level::Debug);
            summary.count_cut(&place(line));
        }
        assert_eq!((summary.events, summary.joined, summary.levels_found, summary.times_found), (5, 2, 1, 1));
        assert_eq!(summary.levels, BTreeMap::from([(Level::Error, 1), (Level::Debug, 4)]));
        assert_eq!((summary.cut, listed(&summary.levels_missed)), (4, "a.log:4, a.log:5, a.log:6".to_owned()));
        assert_eq!(listed(&summary.cut_places), listed(&summary.levels_missed));
        let cut = Draft { cut: true, ..Draft::default() };
        let origin = EventLines { id: EventId::New, place: place(9), number: 1 };
        summary.count(&Event { draft: cut, origin }, Level::Info);
        assert_eq!((summary.cut_texts, listed(&summary.cut_text_places)), (1, "a.log:9".to_owned()));
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
