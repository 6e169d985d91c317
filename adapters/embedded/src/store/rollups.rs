//! Rollups in SQLite ([`domain::rollup`]).
//!
//! Constraints and invariants:
//! * Rollups change in the transaction that changes the events.
//! * Counts are read by one statement, so rollups and the events of edges are of one moment. It does not sort, since a full
//!   disk has no room for temporary files.

use domain::level::Level;
use domain::ports::StoreError;
use domain::rollup::{MINUTE_MICROS, OTHER_SOURCES, Rollup, RollupQuery, Rollups};
use domain::stats::{Counts, StatsQuery};
use domain::timestamp::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::filter::push_candidates;
use super::readers::{Enough, Readers};
use super::rows::{decode_error, level};

/// Rollups per `INSERT`, largest first: few statements are ever prepared.
const ADD_ROLLUPS: [usize; 4] = [64, 16, 4, 1];

/// Adds the counts of new events.
pub async fn add(writer: &mut SqliteConnection, rollups: &Rollups<'_>) -> Result<(), sqlx::Error> {
    let mut rest = rollups.as_slice();
    for size in ADD_ROLLUPS {
        while let Some((part, others)) = rest.split_at_checked(size) {
            let mut add = sqlx::query(AssertSqlSafe(add_statement(size)));
            for rollup in part {
                add = add
                    .bind(rollup.minute)
                    .bind(i64::from(rollup.level.number()))
                    .bind(rollup.source)
                    .bind(rollup.events.cast_signed());
            }
            add.execute(&mut *writer).await?;
            rest = others;
        }
    }
    Ok(())
}

fn add_statement(rollups: usize) -> String {
    let rows = vec!["(?, ?, ?, ?)"; rollups].join(", ");
    format!(
        "INSERT INTO rollups (minute, level, source, events) VALUES {rows} \
         ON CONFLICT (minute, level, source) DO UPDATE SET events = rollups.events + excluded.events"
    )
}

/// Subtracts the counts of events that are removed: from those of their sources, and what these lack from those of other
/// sources, where it was counted.
pub async fn subtract(writer: &mut SqliteConnection, rollups: &Rollups<'_>) -> Result<(), sqlx::Error> {
    for rollup in rollups.as_slice() {
        let events = subtract_from(&mut *writer, *rollup).await?;
        subtract_from(&mut *writer, Rollup { source: OTHER_SOURCES, events, ..*rollup }).await?;
    }
    Ok(())
}

/// Subtracts as many events as the row of a rollup counts. Returns how many are left to subtract.
async fn subtract_from(writer: &mut SqliteConnection, rollup: Rollup<'_>) -> Result<u64, sqlx::Error> {
    if rollup.events == 0 {
        return Ok(0);
    }
    let counted: Option<i64> =
        sqlx::query_scalar("SELECT events FROM rollups WHERE minute = ? AND level = ? AND source = ?")
            .bind(rollup.minute)
            .bind(i64::from(rollup.level.number()))
            .bind(rollup.source)
            .fetch_optional(&mut *writer)
            .await?;
    let Some(counted) = counted.map(i64::cast_unsigned) else { return Ok(rollup.events) };
    let left = counted.saturating_sub(rollup.events);
    let change = if left == 0 {
        sqlx::query("DELETE FROM rollups WHERE minute = ? AND level = ? AND source = ?")
    } else {
        let update = "UPDATE rollups SET events = ? WHERE minute = ? AND level = ? AND source = ?";
        sqlx::query(update).bind(left.cast_signed())
    };
    let change = change.bind(rollup.minute).bind(i64::from(rollup.level.number())).bind(rollup.source);
    change.execute(writer).await?;
    Ok(rollup.events.saturating_sub(counted))
}

/// The timestamps, levels and sources of the events that were stored last: an `INSERT` numbers its rows upwards.
pub async fn newest(writer: &mut SqliteConnection, events: usize) -> Result<Vec<SqliteRow>, sqlx::Error> {
    sqlx::query("SELECT timestamp, level, source FROM events ORDER BY id DESC LIMIT ?")
        .bind(i64::try_from(events).unwrap_or(i64::MAX))
        .fetch_all(writer)
        .await
}

/// The rollups of rows of timestamp, level and source.
pub fn of_rows(rows: &[SqliteRow]) -> Result<Rollups<'_>, sqlx::Error> {
    let mut rollups = Rollups::default();
    for row in rows {
        let timestamp = Timestamp::from_unix_micros(row.try_get(0)?).map_err(decode_error)?;
        rollups.add(timestamp, level(row.try_get(1)?)?, row.try_get(2)?);
    }
    Ok(rollups)
}

/// The answer to a request for counts; `None` if it must be counted from events.
pub async fn counts(readers: &Readers, query: &StatsQuery) -> Result<Option<Counts>, StoreError> {
    let Some(rollups) = query.rollups() else { return Ok(None) };
    let (mut counts, mut known) = (Counts::default(), true);
    let take = |row: &SqliteRow| {
        let at = Timestamp::from_unix_micros(row.try_get(0)?).map_err(decode_error)?;
        let source: &str = row.try_get(2)?;
        known = !(rollups.asks_for_sources && source == OTHER_SOURCES);
        if known {
            let events = row.try_get::<i64, _>(3)?.cast_unsigned();
            rollups.count(&mut counts, at, level(row.try_get(1)?)?, source, events);
        }
        Ok(Enough(!known))
    };
    readers.read_within(query.time_max, counts_statement(&rollups), take).await?;
    Ok(known.then_some(counts))
}

/// Selects time, level, source and number of events, of whole minutes from rollups and of edges from events. Without a
/// question about sources, these are added up.
fn counts_statement(query: &RollupQuery<'_>) -> QueryBuilder<Sqlite> {
    let rest = query.rest.candidates();
    let columns = if query.asks_for_sources { "source, events" } else { "'', sum(events)" };
    let mut select = QueryBuilder::new(format!(
        "SELECT minute * {MINUTE_MICROS}, level, {columns} FROM rollups WHERE minute BETWEEN "
    ));
    select.push_bind(*query.minutes.start()).push(" AND ").push_bind(*query.minutes.end());
    if query.asks_for_sources {
        // Whether events of other sources match is not known.
        select.push(" AND (true");
        push_candidates(&mut select, &rest);
        select.push(format!(" OR source = '{OTHER_SOURCES}')"));
    } else {
        push_candidates(&mut select, &rest);
        select.push(" GROUP BY minute, level");
    }
    for edge in &query.edges {
        let (from, to) = (edge.start().unix_micros(), edge.end().unix_micros());
        if query.asks_for_sources {
            select.push(" UNION ALL SELECT timestamp, level, source, 1 FROM events WHERE timestamp BETWEEN ");
            select.push_bind(from).push(" AND ").push_bind(to);
            push_candidates(&mut select, &rest);
            continue;
        }
        // A range of an index for each level; to group by level would sort.
        for level in Level::ALL.into_iter().filter(|level| query.matches(*level, OTHER_SOURCES)) {
            select.push(" UNION ALL SELECT ").push_bind(from).push(format!(
                ", {0}, '', count(*) FROM events WHERE level = {0} AND timestamp BETWEEN ",
                level.number()
            ));
            select.push_bind(from).push(" AND ").push_bind(to);
        }
    }
    select
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::filter::EventFilter;
    use domain::stats::GroupBy;
    use sqlx::Connection;

    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).expect("in range")
    }

    async fn migrated() -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory");
        sqlx::migrate!().run(&mut connection).await.expect("the tables");
        connection
    }

    #[tokio::test]
    async fn reading_counts_does_not_sort() {
        let mut connection = migrated().await;
        let range = EventFilter::between(Some(time(1)), Some(time(500 * MINUTE_MICROS + 1)));
        let sources = || EventFilter::source("shop");
        for (filter, by) in [
            (range.clone(), GroupBy::Level),
            (range.clone().and(EventFilter::levels([Level::Warn, Level::Error])), GroupBy::Level),
            (range.clone().and(sources()), GroupBy::Level),
            (range.clone(), GroupBy::Source),
            (range.and(!sources()), GroupBy::Source),
        ] {
            let query = StatsQuery { filter, interval: Duration::from_secs(300), by, time_max: None };
            let rollups = query.rollups().expect("an answer");
            assert_eq!(rollups.edges.len(), 2);
            let explain = format!("EXPLAIN QUERY PLAN {}", counts_statement(&rollups).sql().as_str());
            let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut connection).await.expect("a plan");
            let steps: Vec<String> = steps.iter().map(|step| step.get(3)).collect();
            assert!(steps.iter().any(|step| step.contains("rollups")), "{query:?}: {steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{query:?}: {steps:?}");
        }
    }

    #[tokio::test]
    async fn what_a_source_lacks_is_subtracted_from_other_sources_and_nothing_is_left() {
        async fn kept(connection: &mut SqliteConnection) -> Vec<(i64, i64, String, i64)> {
            let rows = sqlx::query_as("SELECT * FROM rollups ORDER BY minute, level, source");
            rows.fetch_all(connection).await.expect("rows")
        }
        let mut connection = migrated().await;
        let of = |sources: &[&'static str]| {
            let mut rollups = Rollups::default();
            sources.iter().copied().for_each(|source| rollups.add(time(-1), Level::Warn, source));
            rollups
        };
        let stored = of(&["a", "a", "b", OTHER_SOURCES, OTHER_SOURCES]);
        for _ in 0..2 {
            add(&mut connection, &stored).await.expect("added");
        }
        let row = |source: &str, events| (-1, 3, source.to_owned(), events);
        assert_eq!(kept(&mut connection).await, [row("", 4), row("a", 4), row("b", 2)]);
        subtract(&mut connection, &of(&["a", "b", "b", "b", "c"])).await.expect("subtracted");
        assert_eq!(kept(&mut connection).await, [row("", 2), row("a", 3)]);
        subtract(&mut connection, &of(&["a", "a", "a", "c", "b"])).await.expect("subtracted");
        assert_eq!(kept(&mut connection).await, []);
    }
}
