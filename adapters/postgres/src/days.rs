//! One table for each UTC day of receipt.
//!
//! Invariants:
//! * A table is attached only with exactly the bounds of its day, so that it does not matter which process created it.
//! * From then on, all events of its day are in the rollups.
//!
//! A table is created detached and attached afterwards, which blocks neither readers nor writers; `CREATE TABLE …
//! PARTITION OF` would lock all of them out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::error::{ALREADY_THERE, sqlstate};

const DAY_MICROS: i64 = 86_400_000_000;

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day of a timestamp.
    pub fn of(time: Timestamp) -> Self {
        Self(time.unix_micros().div_euclid(DAY_MICROS))
    }

    /// Name of its table, such as `events_20240115`.
    pub fn table(self) -> String {
        let start = self.first().to_string();
        let date: String = start.chars().filter(char::is_ascii_digit).take(8).collect();
        format!("events_{date}")
    }

    /// The day whose table has this name.
    pub fn of_table(name: &str) -> Option<Self> {
        let date = name.strip_prefix("events_").filter(|date| date.len() == 8)?;
        let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
        Timestamp::parse(&format!("{year}-{month}-{day}T00:00:00Z")).ok().map(Self::of)
    }

    /// The day with a number.
    pub fn numbered(days_since_1970: i64) -> Self {
        Self(days_since_1970)
    }

    /// Days since 1970-01-01.
    pub fn number(self) -> i64 {
        self.0
    }

    /// Its first microsecond.
    pub fn first(self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.saturating_mul(DAY_MICROS)).unwrap_or(Timestamp::MIN)
    }

    /// Its last microsecond.
    pub fn last(self) -> Timestamp {
        let last = self.0.saturating_add(1).saturating_mul(DAY_MICROS) - 1;
        Timestamp::from_unix_micros(last).unwrap_or(Timestamp::MAX)
    }

    /// Whether all of it is before a time.
    pub fn is_before(self, time: Timestamp) -> bool {
        (self.0 + 1) * DAY_MICROS <= time.unix_micros()
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn start_seconds(self) -> i64 {
        self.0 * (DAY_MICROS / 1_000_000)
    }
}

/// The days whose tables are known to exist.
#[derive(Debug, Default)]
pub struct Days {
    known: Mutex<BTreeSet<Day>>,
    /// Why the next day's table could not be created, if so.
    fault: Mutex<Option<String>>,
}

impl Days {
    /// Makes sure that each day has a table, and the day after the last one.
    pub async fn ensure(&self, connection: &mut PgConnection, days: &BTreeSet<Day>) -> Result<(), sqlx::Error> {
        let missing: Vec<Day> = days.difference(&self.known()).copied().collect();
        for day in missing {
            make(connection, day).await?;
            self.known().insert(day);
        }
        // In advance, so that no append has to wait for it at midnight.
        if let Some(next) = days.last().map(|latest| latest.next()).filter(|next| !self.known().contains(next)) {
            match make(connection, next).await {
                Ok(()) => {
                    self.known().insert(next);
                    *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                // It is not needed yet.
                Err(error) => {
                    tracing::debug!(table = next.table(), %error, "cannot create the table of the next day yet");
                    let fault = format!("{} cannot be created: {error}", next.table());
                    *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                }
            }
        }
        Ok(())
    }

    /// Why the next day's table could not be created, if so: without it, nothing can be stored from midnight (UTC) on.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The table may have been dropped: check again before writing to it.
    pub fn forget_all(&self) {
        self.known().clear();
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<Day>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of a table that is being detached are no longer visible through the parent.
async fn is_attached(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_inherits \
         WHERE inhrelid = to_regclass($1) AND inhparent = 'events'::regclass AND NOT inhdetachpending)",
    )
    .bind(table)
    .fetch_one(connection)
    .await
}

async fn make(connection: &mut PgConnection, day: Day) -> Result<(), sqlx::Error> {
    let table = day.table();
    let (number, from, to) = (day.number(), day.start_seconds(), day.start_seconds() + 86_400);
    if is_attached(connection, &table).await? {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    let statements = [
        format!("CREATE TABLE {table} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
        // With this check constraint, the server need not scan the table when it is attached.
        format!(
            "ALTER TABLE {table} ADD CONSTRAINT day CHECK (received_at >= to_timestamp({from}) AND received_at < to_timestamp({to}))"
        ),
        // Of a table that was removed by other means.
        format!("DELETE FROM rollups WHERE day = {number}"),
        format!("INSERT INTO rollup_days (day) VALUES ({number}) ON CONFLICT DO NOTHING"),
        format!(
            "ALTER TABLE events ATTACH PARTITION {table} FOR VALUES FROM (to_timestamp({from})) TO (to_timestamp({to}))"
        ),
    ];
    for statement in statements {
        if let Err(error) = transaction.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await {
            transaction.rollback().await?;
            let is_there = sqlstate(&error).is_some_and(|code| ALREADY_THERE.contains(&code.as_str()));
            // Otherwise the day is being removed: it can be created again once it is gone.
            return if is_there && is_attached(connection, &table).await? { Ok(()) } else { Err(error) };
        }
    }
    transaction.commit().await
}

/// Maximum wait for a lock before giving way to its holder.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn day(time: &str) -> Day {
        Day::of(Timestamp::parse(time).expect("a time"))
    }

    #[test]
    fn a_table_is_named_after_its_day_and_identifies_it() {
        for (time, table) in [
            ("2024-01-15T23:59:59.999999Z", "events_20240115"),
            ("1969-12-31T00:00:00Z", "events_19691231"),
            ("0000-01-01T00:00:00Z", "events_00000101"),
            ("9999-12-31T23:59:59Z", "events_99991231"),
        ] {
            assert_eq!(day(time).table(), table);
            assert_eq!(Day::of_table(table), Some(day(time)));
        }
        for name in ["events", "events_2024", "events_20241301", "other_20240101"] {
            assert_eq!(Day::of_table(name), None, "{name}");
        }
    }

    #[test]
    fn a_day_is_before_a_time_once_it_is_over() {
        let over = Timestamp::parse("2024-01-16T00:00:00Z").expect("a time");
        assert!(day("2024-01-15T00:00:00Z").is_before(over));
        assert!(!day("2024-01-16T00:00:00Z").is_before(over));
        assert!(!day("2024-01-15T00:00:00Z").is_before(over.saturating_sub(Duration::from_micros(1))));
    }
}
