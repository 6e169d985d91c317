//! Counts of events by minute, source and level, so that a histogram reads no rows.
//!
//! Constraints and invariants:
//! * Whole minutes only: the edges of a range are counted from rows.
//! * At most [`ROLLUP_SOURCES_MAX`] sources are kept apart. Events of further ones count without a source, and then
//!   questions about sources are answered from rows.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use domain::level::Level;
use domain::timestamp::Timestamp;

use crate::encoding::{Input, put_number, put_signed, put_text};

/// Maximum sources of one rollup.
pub const ROLLUP_SOURCES_MAX: usize = 10_000;
/// Microseconds of a minute.
pub const MINUTE_MICROS: i64 = 60_000_000;

/// Numbers of events by minute, source and level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// In the order in which they appeared.
    sources: Vec<String>,
    numbers: HashMap<String, u32>,
    /// By minute since 1970, number of the source (`u32::MAX` for further ones) and level.
    counts: BTreeMap<(i64, u32, u8), u64>,
}

/// Some events of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount<'a> {
    /// When the minute begins.
    pub minute: Timestamp,
    /// Their source; `None` if it is one of those that are not kept apart.
    pub source: Option<&'a str>,
    /// Their level.
    pub level: Level,
    /// How many they are.
    pub events: u64,
}

impl Rollup {
    /// Counts events.
    pub fn add(&mut self, timestamp: Timestamp, source: &str, level: Level, events: u64) {
        let number = match self.numbers.get(source) {
            Some(number) => *number,
            None if self.sources.len() < ROLLUP_SOURCES_MAX => {
                let number = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
                self.sources.push(source.to_owned());
                self.numbers.insert(source.to_owned(), number);
                number
            }
            None => u32::MAX,
        };
        let minute = timestamp.unix_micros().div_euclid(MINUTE_MICROS);
        *self.counts.entry((minute, number, level.number())).or_default() += events;
    }

    /// Whether every event is counted with its source.
    #[must_use]
    pub fn has_all_sources(&self) -> bool {
        self.sources.len() < ROLLUP_SOURCES_MAX || !self.counts.keys().any(|(_, source, _)| *source == u32::MAX)
    }

    /// The counts of the minutes that are within a range from their first to their last microsecond.
    pub fn within(&self, range: &RangeInclusive<Timestamp>) -> impl Iterator<Item = MinuteCount<'_>> {
        let counts =
            whole_minutes(range).map(|(first, last)| self.counts.range((first, 0, 0)..=(last, u32::MAX, u8::MAX)));
        counts.into_iter().flatten().filter_map(|((minute, source, level), events)| {
            Some(MinuteCount {
                minute: Timestamp::from_unix_micros(minute * MINUTE_MICROS).ok()?,
                source: self.sources.get(*source as usize).map(String::as_str),
                level: Level::from_number(i64::from(*level))?,
                events: *events,
            })
        })
    }

    /// The rollup as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, self.sources.len() as u64);
        self.sources.iter().for_each(|source| put_text(&mut bytes, source));
        put_number(&mut bytes, self.counts.len() as u64);
        let mut before = 0;
        for ((minute, source, level), events) in &self.counts {
            put_signed(&mut bytes, minute - before);
            before = *minute;
            put_number(&mut bytes, u64::from(*source));
            bytes.push(*level);
            put_number(&mut bytes, *events);
        }
        bytes
    }

    /// The rollup in these bytes; `None` if they are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let mut rollup = Self::default();
        for number in 0..u32::try_from(input.count(1)?).ok()? {
            let source = input.text()?;
            rollup.sources.push(source.to_owned());
            rollup.numbers.insert(source.to_owned(), number);
        }
        let mut minute = 0_i64;
        for _ in 0..input.count(4)? {
            minute = minute.checked_add(input.signed()?)?;
            let (source, level) = (input.u32()?, input.byte()?);
            if source != u32::MAX && source as usize >= rollup.sources.len() {
                return None;
            }
            rollup.counts.insert((minute, source, level), input.number()?);
        }
        input.0.is_empty().then_some(rollup)
    }
}

/// The first and the last minute since 1970 that are within a range from their first to their last microsecond.
#[must_use]
pub fn whole_minutes(range: &RangeInclusive<Timestamp>) -> Option<(i64, i64)> {
    let (from, to) = (range.start().unix_micros(), range.end().unix_micros());
    let first = from.div_euclid(MINUTE_MICROS) + i64::from(from.rem_euclid(MINUTE_MICROS) != 0);
    let last = (to + 1).div_euclid(MINUTE_MICROS) - 1;
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).expect("in range")
    }

    #[test]
    fn only_whole_minutes_count() {
        for (from, to, minutes) in [
            (0, MINUTE_MICROS - 1, Some((0, 0))),
            (0, MINUTE_MICROS - 2, None),
            (1, MINUTE_MICROS, None),
            (-1, 2 * MINUTE_MICROS, Some((0, 1))),
            (-MINUTE_MICROS, -1, Some((-1, -1))),
        ] {
            assert_eq!(whole_minutes(&(time(from)..=time(to))), minutes, "{from} {to}");
        }
        assert!(whole_minutes(&(Timestamp::MIN..=Timestamp::MAX)).is_some());
    }

    #[test]
    fn sources_beyond_the_limit_count_without_their_name() {
        let mut rollup = Rollup::default();
        for n in 0..ROLLUP_SOURCES_MAX {
            rollup.add(time(0), &n.to_string(), Level::Info, 1);
        }
        assert!(rollup.has_all_sources());
        rollup.add(time(0), "further", Level::Info, 2);
        rollup.add(time(0), "0", Level::Info, 1);
        assert!(!rollup.has_all_sources());
        let all = Timestamp::MIN..=Timestamp::MAX;
        assert_eq!(rollup.within(&all).map(|count| count.events).sum::<u64>(), ROLLUP_SOURCES_MAX as u64 + 3);
        assert_eq!(rollup.within(&all).find(|count| count.source.is_none()).map(|count| count.events), Some(2));
        assert_eq!(Rollup::decode(&rollup.encode()), Some(rollup));
    }

    proptest! {
        #[test]
        fn a_rollup_is_read_as_it_was_written(
            events in proptest::collection::vec((-300_000_000_i64..300_000_000, "[ab]{1,2}", 0_u8..6, 1_u64..9), 0..40),
        ) {
            let mut rollup = Rollup::default();
            for (micros, source, level, events) in &events {
                rollup.add(time(*micros), source, Level::from_number(i64::from(*level)).expect("a level"), *events);
            }
            let total: u64 = events.iter().map(|(.., events)| events).sum();
            let counted: u64 = rollup.within(&(Timestamp::MIN..=Timestamp::MAX)).map(|count| count.events).sum();
            prop_assert_eq!(counted, total);
            prop_assert_eq!(Rollup::decode(&rollup.encode()), Some(rollup));
        }

        #[test]
        fn any_bytes_are_a_rollup_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Rollup::decode(&bytes);
        }
    }
}
