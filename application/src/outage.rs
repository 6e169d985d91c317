//! What it means for events that the bus takes no records, in sentences for people.
//!
//! Constraint: it says only what follows from the state of the delivery; a time that is not known is left out.

use std::time::Duration;

use domain::admission::Usage;
use domain::delivery::breaker::BreakerState;
use domain::ports::BusState;

/// A longer time is of no use to anyone, and depends on a rate that will have changed.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What there is to know about the producing side of the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct BusFacts {
    /// Whether it accepts records.
    pub state: BusState,
    /// The breaker in front of it.
    pub breaker: BreakerState,
    /// The journal; `None` if the bus has none, because it is a log on the same disk.
    pub journal: Option<JournalFacts>,
}

/// What there is to know about a journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JournalFacts {
    /// Events in it.
    pub events: u64,
    /// How much of it is in use.
    pub usage: Usage,
    /// How fast it grows, in bytes per second: negative if it shrinks; `None` if that is not known yet.
    pub growth_bytes_per_second: Option<f64>,
}

/// How far an outage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageState {
    /// The bus takes no records.
    Away,
    /// The bus takes records again, and the journal is not empty.
    Replaying,
}

impl OutageState {
    /// Stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Replaying => "replaying",
        }
    }
}

/// An outage of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// How far it is.
    pub state: OutageState,
    /// Why the bus takes no records, if that is known.
    pub reason: Option<String>,
    /// What it means, in whole sentences.
    pub summary: String,
}

impl JournalFacts {
    /// When it is full, if it goes on like this; `None` if it does not grow, or if that takes more than 30 days.
    #[must_use]
    pub fn full_in(&self) -> Option<Duration> {
        let left = self.usage.bytes_max.saturating_sub(self.usage.used_bytes);
        time_for(left, self.growth_bytes_per_second?)
    }

    /// When it is empty, if it goes on like this.
    fn empty_in(&self) -> Option<Duration> {
        time_for(self.usage.used_bytes, -self.growth_bytes_per_second?)
    }

    fn percent(&self) -> u128 {
        (u128::from(self.usage.used_bytes) * 100).checked_div(u128::from(self.usage.bytes_max)).unwrap_or(100)
    }
}

impl Outage {
    /// The outage that these facts show, if any.
    #[must_use]
    pub fn of(facts: &BusFacts) -> Option<Self> {
        let reason = match &facts.state {
            BusState::Up => None,
            BusState::Down(reason) => Some(reason.clone()),
        };
        let takes = reason.is_none() && facts.breaker == BreakerState::Closed;
        match &facts.journal {
            None if takes => None,
            None => Some(Self {
                state: OutageState::Away,
                reason,
                summary: "The log on disk takes no records. Events are refused with 503, and senders should send them \
                          again. Events that are stored can be searched."
                    .to_owned(),
            }),
            Some(journal) if takes && journal.events == 0 => None,
            Some(journal) if takes => {
                Some(Self { state: OutageState::Replaying, reason, summary: summary_of_replay(journal) })
            }
            Some(journal) => Some(Self { state: OutageState::Away, reason, summary: summary_of_outage(journal) }),
        }
    }
}

fn summary_of_outage(journal: &JournalFacts) -> String {
    let wait = if journal.events == 1 { "waits" } else { "wait" };
    let full = journal.full_in().map(|full_in| format!(" At the present rate it is full in {}.", text_of(full_in)));
    format!(
        "Kafka takes no records. Accepted events are kept on disk and are sent, in order, when Kafka takes records again. \
         {} {wait} in the journal, which is {} % full.{} Above 70 % TRACE and DEBUG are refused, above 80 % INFO, above \
         90 % WARN; ERROR and FATAL are refused last. Events that wait in the journal are not found by searches yet.",
        counted(journal.events),
        journal.percent(),
        full.unwrap_or_default(),
    )
}

fn summary_of_replay(journal: &JournalFacts) -> String {
    let wait = if journal.events == 1 { "waits" } else { "wait" };
    let empty =
        journal.empty_in().map(|empty_in| format!(" At the present rate it is empty in {}.", text_of(empty_in)));
    format!(
        "Kafka takes records. {} {wait} in the journal, which is {} % full, and are sent in order; newer events of the \
         same partition follow them.{}",
        counted(journal.events),
        journal.percent(),
        empty.unwrap_or_default(),
    )
}

fn counted(events: u64) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{} events", grouped(events)) }
}

/// A number with a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How long so many bytes take at this rate, up to [`LONGEST`].
fn time_for(bytes: u64, bytes_per_second: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "a time for people to read")]
    let seconds = bytes as f64 / bytes_per_second;
    // Not for a rate that is zero, negative or not a number.
    Duration::try_from_secs_f64(seconds).ok().filter(|time| bytes_per_second > 0.0 && *time <= LONGEST)
}

/// A time in its largest unit of which there are at least two.
fn text_of(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, seconds_per_unit) = match seconds {
        0..120 => ("second", 1),
        120..7_200 => ("minute", 60),
        7_200..172_800 => ("hour", 3_600),
        _ => ("day", 86_400),
    };
    let count = seconds / seconds_per_unit;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(state: BusState, breaker: BreakerState, journal: Option<JournalFacts>) -> BusFacts {
        BusFacts { state, breaker, journal }
    }

    fn journal(events: u64, used_bytes: u64, growth: Option<f64>) -> JournalFacts {
        JournalFacts { events, usage: Usage { used_bytes, bytes_max: 1_000 }, growth_bytes_per_second: growth }
    }

    fn away() -> BusState {
        BusState::Down("no broker answers".to_owned())
    }

    #[test]
    fn nothing_is_said_while_the_bus_takes_records_and_nothing_waits() {
        let empty = Some(journal(0, 0, Some(0.0)));
        assert_eq!(Outage::of(&facts(BusState::Up, BreakerState::Closed, empty)), None);
        assert_eq!(Outage::of(&facts(BusState::Up, BreakerState::Closed, None)), None);
    }

    #[test]
    fn an_outage_of_kafka_says_what_is_kept_and_for_how_long_there_is_room() {
        let outage = |growth| {
            let journal = Some(journal(452_092, 220, growth));
            Outage::of(&facts(away(), BreakerState::Open, journal)).expect("an outage")
        };
        let growing = outage(Some(2.0));
        assert_eq!((growing.state, growing.reason.as_deref()), (OutageState::Away, Some("no broker answers")));
        assert!(growing.summary.contains("452,092 events wait in the journal, which is 22 % full."), "{growing:?}");
        assert!(growing.summary.contains("it is full in 6 minutes."), "{growing:?}");
        for growth in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(1e-9)] {
            assert!(!outage(growth).summary.contains("full in"), "{growth:?}");
        }
        // Known to the breaker before the client of the bus knows it.
        let silent = Outage::of(&facts(BusState::Up, BreakerState::HalfOpen, Some(journal(0, 0, None))));
        assert_eq!(silent.map(|outage| (outage.state, outage.reason)), Some((OutageState::Away, None)));
    }

    #[test]
    fn a_replay_says_how_much_is_left() {
        let replay = Outage::of(&facts(BusState::Up, BreakerState::Closed, Some(journal(1, 500, Some(-5.0)))));
        let replay = replay.expect("a backlog");
        assert_eq!(replay.state, OutageState::Replaying);
        assert!(replay.summary.contains("1 event waits in the journal, which is 50 % full"), "{replay:?}");
        assert!(replay.summary.ends_with("it is empty in 100 seconds."), "{replay:?}");
    }

    #[test]
    fn without_a_journal_events_are_refused() {
        let outage = Outage::of(&facts(away(), BreakerState::Open, None)).expect("an outage");
        assert!(outage.summary.contains("refused with 503"), "{outage:?}");
    }

    #[test]
    fn numbers_and_times_are_written_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (seconds, text) in
            [(1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_200, "2 hours"), (172_800, "2 days")]
        {
            assert_eq!(text_of(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn a_time_is_never_longer_than_30_days(used in 0_u64..=1_000, growth in any::<f64>()) {
            let journal = journal(1, used, Some(growth));
            for time in [journal.full_in(), journal.empty_in()].into_iter().flatten() {
                prop_assert!(time <= LONGEST);
            }
        }
    }
}
