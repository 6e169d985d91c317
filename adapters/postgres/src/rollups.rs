//! Rollups in PostgreSQL ([`domain::rollup`]): written with the events of a day, and what they say of days.
//!
//! Constraints and invariants:
//! * Each row belongs to one day of receipt and one partition. So it is removed with the table of its day, and consumers of
//!   different partitions do not wait for each other.
//! * The rollups of a day count from the moment in which its table is created, and then all of its events. Events of days
//!   with older tables are counted from rows.
//! * A read skips a day only if its rollups are complete and have no minute of the range.

use std::ops::RangeInclusive;
use std::time::Duration;

use domain::event::LogEvent;
use domain::partition::Partition;
use domain::rollup::{Rollups, minute_of};
use domain::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::copy::tenant_of;
use crate::days::Day;
use crate::rows::level;
use crate::time::PgTime;

/// Adds the counts of new events of a day.
pub async fn add(
    connection: &mut PgConnection,
    day: Day,
    partition: Partition,
    rollups: &Rollups<'_>,
) -> Result<(), sqlx::Error> {
    let rollups = rollups.as_slice();
    if rollups.is_empty() {
        return Ok(());
    }
    // In the order of the rollups: two consumers of one partition number, of different topics, do not deadlock.
    sqlx::query(
        "INSERT INTO rollups AS kept (day, partition, minute, level, source, events) \
         SELECT $1, $2, minute, level, source, events \
         FROM unnest($3::bigint[], $4::smallint[], $5::text[], $6::bigint[]) WITH ORDINALITY \
         AS added (minute, level, source, events, place) ORDER BY place \
         ON CONFLICT (day, minute, level, source, partition) DO UPDATE SET events = kept.events + excluded.events",
    )
    .bind(day.number())
    .bind(partition.cast_signed())
    .bind(rollups.iter().map(|rollup| rollup.minute).collect::<Vec<_>>())
    .bind(rollups.iter().map(|rollup| i16::from(rollup.level.number())).collect::<Vec<_>>())
    .bind(rollups.iter().map(|rollup| rollup.source).collect::<Vec<_>>())
    .bind(rollups.iter().map(|rollup| rollup.events.cast_signed()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Timestamps, levels and sources of those of these events that the present transaction has stored, outside of savepoints. Only
/// for an append with repeats: it looks up each of them.
pub async fn newly_stored(
    connection: &mut PgConnection,
    day: Day,
    events: &[&(u64, LogEvent<'_>)],
) -> Result<Vec<PgRow>, sqlx::Error> {
    let select = format!(
        "SELECT \"timestamp\", level, source FROM {} WHERE (event_id, received_at, tenant) IN \
         (SELECT id, at, of_tenant FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[]) AS event (id, at, of_tenant)) \
         AND xmin = pg_current_xact_id()::xid",
        day.table()
    );
    sqlx::query(AssertSqlSafe(select))
        .bind(events.iter().map(|(_, event)| event.event_id).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, event)| PgTime(event.received_at)).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, event)| tenant_of(event)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
}

/// The rollups of rows of timestamp, level and source.
pub fn of_rows(rows: &[PgRow]) -> Result<Rollups<'_>, sqlx::Error> {
    let mut rollups = Rollups::default();
    for row in rows {
        let PgTime(timestamp) = row.try_get(0)?;
        rollups.add(timestamp, level(row.try_get(1)?)?, row.try_get(2)?);
    }
    Ok(rollups)
}

/// Days of receipt, by what a read of a range of timestamps has to do with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DaysOfRange {
    /// Rollups are complete, and have minutes of the range. Ascending, as the others.
    rolled_up: Vec<Day>,
    /// Rollups are complete, and have no minute of the range.
    skipped: Vec<Day>,
    /// Both.
    complete: Vec<Day>,
}

impl DaysOfRange {
    /// Reads what the rollups of each day say.
    pub async fn read(connection: &mut PgConnection, range: &RangeInclusive<Timestamp>) -> Result<Self, sqlx::Error> {
        let days: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(
            "SELECT day, (SELECT min(minute) FROM rollups WHERE rollups.day = rollup_days.day), \
             (SELECT max(minute) FROM rollups WHERE rollups.day = rollup_days.day) FROM rollup_days ORDER BY day",
        )
        .fetch_all(connection)
        .await?;
        Ok(Self::of(days.into_iter().map(|(day, first, last)| (Day::numbered(day), first.zip(last))), range))
    }

    /// From the complete days, ascending, with their first and last minute.
    fn of(days: impl IntoIterator<Item = (Day, Option<(i64, i64)>)>, range: &RangeInclusive<Timestamp>) -> Self {
        let (from, to) = (minute_of(*range.start()), minute_of(*range.end()));
        let mut of_range = Self::default();
        for (day, minutes) in days {
            let meets = minutes.is_some_and(|(first, last)| first <= to && from <= last);
            let list = if meets { &mut of_range.rolled_up } else { &mut of_range.skipped };
            list.push(day);
            of_range.complete.push(day);
        }
        of_range
    }

    /// Days whose rollups are complete and have minutes of the range.
    pub fn rolled_up(&self) -> &[Day] {
        &self.rolled_up
    }

    /// When their events were received.
    pub fn received_on_rolled_up(&self) -> Vec<RangeInclusive<Timestamp>> {
        within(&self.rolled_up)
    }

    /// When events were received whose days have no complete rollups.
    pub fn received_on_others(&self) -> Vec<RangeInclusive<Timestamp>> {
        without(&self.complete)
    }

    /// When all events of the range were received; other times, too.
    pub fn received(&self) -> Vec<RangeInclusive<Timestamp>> {
        without(&self.skipped)
    }
}

/// When events of a range of timestamps were received; other times, too.
pub async fn received(
    connection: &mut PgConnection,
    range: RangeInclusive<Timestamp>,
) -> Result<Vec<RangeInclusive<Timestamp>>, sqlx::Error> {
    // No day can be skipped.
    if range == (Timestamp::MIN..=Timestamp::MAX) {
        return Ok(vec![range]);
    }
    Ok(DaysOfRange::read(connection, &range).await?.received())
}

/// The times of some days, ascending.
fn within(days: &[Day]) -> Vec<RangeInclusive<Timestamp>> {
    let mut ranges: Vec<RangeInclusive<Timestamp>> = Vec::new();
    for day in days {
        match ranges.last_mut() {
            Some(range) if behind(range) == Some(day.first()) => *range = *range.start()..=day.last(),
            _ => ranges.push(day.first()..=day.last()),
        }
    }
    ranges
}

/// The times of all other days.
fn without(days: &[Day]) -> Vec<RangeInclusive<Timestamp>> {
    let mut ranges = Vec::new();
    let mut from = Some(Timestamp::MIN);
    for range in within(days) {
        if let Some(from) = from.filter(|from| from < range.start()) {
            ranges.push(from..=range.start().saturating_sub(MICROSECOND));
        }
        from = behind(&range);
    }
    ranges.extend(from.map(|from| from..=Timestamp::MAX));
    ranges
}

const MICROSECOND: Duration = Duration::from_micros(1);

/// The time behind a range, if there is one.
fn behind(range: &RangeInclusive<Timestamp>) -> Option<Timestamp> {
    range.end().checked_add(MICROSECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str) -> Day {
        Day::of(Timestamp::parse(&format!("{date}T12:00:00Z")).expect("a date"))
    }

    /// Each moment of each day is in exactly one part, also on the first and the last day that there is.
    #[test]
    fn ranges_of_days_and_of_all_others_have_each_time_once() {
        let dates = ["0000-01-01", "1969-12-31", "1970-01-01", "2024-02-29", "2024-03-01", "2024-03-03", "9999-12-31"];
        let days = dates.map(day);
        for set in 0..1_usize << days.len() {
            let chosen: Vec<Day> = (0..days.len()).filter(|n| set >> n & 1 == 1).map(|n| days[n]).collect();
            let (inside, outside) = (within(&chosen), without(&chosen));
            assert!(inside.len() <= chosen.len() && outside.len() <= chosen.len() + 1);
            for day in &days {
                for time in [day.first(), day.last()] {
                    let holds = |ranges: &[RangeInclusive<Timestamp>]| {
                        ranges.iter().filter(|range| range.contains(&time)).count()
                    };
                    let expected = usize::from(chosen.contains(day));
                    assert_eq!((holds(&inside), holds(&outside)), (expected, 1 - expected), "{day:?} of {chosen:?}");
                }
            }
        }
        assert_eq!(without(&[]), [Timestamp::MIN..=Timestamp::MAX]);
        assert_eq!(within(&[day("2024-02-29"), day("2024-03-01")]).len(), 1, "neighbours are one range");
    }

    #[test]
    fn a_day_is_skipped_if_its_minutes_are_outside_of_the_range() {
        let minute = |minute: i64| Timestamp::from_unix_micros(minute * 60_000_000 + 59_999_999).expect("in range");
        let range = minute(10)..=minute(20);
        for (minutes, skipped) in [
            (None, true),
            (Some((0, 9)), true),
            (Some((21, 30)), true),
            (Some((0, 10)), false),
            (Some((20, 30)), false),
            (Some((0, 30)), false),
            (Some((12, 12)), false),
        ] {
            let day = day("2024-02-29");
            let of_range = DaysOfRange::of([(day, minutes)], &range);
            assert_eq!(of_range.skipped, if skipped { vec![day] } else { vec![] }, "{minutes:?}");
            assert_eq!(of_range.rolled_up(), if skipped { vec![] } else { vec![day] }, "{minutes:?}");
            assert_eq!(of_range.received_on_others(), without(&[day]));
        }
    }
}
