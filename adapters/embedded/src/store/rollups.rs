//! Rollups in SQLite ([`domain::rollup`]).
//!
//! Constraints and invariants:
//! * Rollups change in the transaction that changes the events. They count all events alike, so sealing does not change them.
//! * The counts of each segment are kept with the list, with all its sources. Removing it subtracts them, even if its file is
//!   damaged. A source that was not kept apart when an event was stored, or was by another process, may be kept apart now;
//!   by subtracting from its count first, it still never counts more events than there are.
//! * Reading counts does not sort, since a full disk has no room for temporary files.

use std::time::Instant;

use domain::filter::{Condition, EventFilter};
use domain::ports::StoreError;
use domain::rollup::{MINUTE_MICROS, OTHER_SOURCES, Rollup, RollupQuery, Rollups};
use domain::stats::Counts;
use domain::timestamp::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::readers::{Enough, read_until};
use super::rows::{decode_error, level};

/// Rollups per `INSERT`, largest first: few statements are ever prepared.
const ADD_ROLLUPS: [usize; 4] = [64, 16, 4, 1];
/// In place of the number of a segment: events of chunks that are being removed. Numbers begin at 1.
const NO_SEGMENT: i64 = 0;
/// How an `INSERT` adds to the counts of a segment.
const ADD_TO_SEGMENT: &str = "ON CONFLICT (segment, minute, level, source) \
                              DO UPDATE SET events = segment_rollups.events + excluded.events";
/// How the counts of a segment are subtracted: what those of its sources lack, then the rest, then rows that count nothing.
/// Each goes straight to the rows that it changes, in the order of the key.
const SUBTRACT: [&str; 3] = [
    "UPDATE rollups SET events = max(rollups.events - lacking.events, 0) FROM (SELECT gone.minute AS minute, \
     gone.level AS level, sum(gone.events - min(gone.events, coalesce(kept.events, 0))) AS events \
     FROM segment_rollups AS gone LEFT JOIN rollups AS kept \
     ON kept.minute = gone.minute AND kept.level = gone.level AND kept.source = gone.source \
     WHERE gone.segment = ? GROUP BY gone.minute, gone.level) AS lacking \
     WHERE rollups.minute = lacking.minute AND rollups.level = lacking.level AND rollups.source = ''",
    "UPDATE rollups SET events = max(rollups.events - gone.events, 0) FROM segment_rollups AS gone \
     WHERE gone.segment = ? AND rollups.minute = gone.minute AND rollups.level = gone.level \
     AND rollups.source = gone.source",
    "DELETE FROM rollups WHERE (minute, level) IN (SELECT minute, level FROM segment_rollups WHERE segment = ?) \
     AND events = 0",
];

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

/// Keeps the counts of the events of a segment.
pub async fn count_segment(
    writer: &mut SqliteConnection,
    segment: i64,
    rollups: &[Rollup<'_>],
) -> Result<(), sqlx::Error> {
    for Rollup { minute, level, source, events } in rollups {
        sqlx::query("INSERT INTO segment_rollups (segment, minute, level, source, events) VALUES (?, ?, ?, ?, ?)")
            .bind(segment)
            .bind(minute)
            .bind(i64::from(level.number()))
            .bind(*source)
            .bind(events.cast_signed())
            .execute(&mut *writer)
            .await?;
    }
    Ok(())
}

/// Counts the events of segments as those of the one that replaces them.
pub async fn merge(writer: &mut SqliteConnection, segments: &[i64], into: i64) -> Result<(), sqlx::Error> {
    for segment in segments {
        let add = format!(
            "INSERT INTO segment_rollups (segment, minute, level, source, events) \
             SELECT ?, minute, level, source, events FROM segment_rollups WHERE segment = ? {ADD_TO_SEGMENT}"
        );
        sqlx::query(AssertSqlSafe(add)).bind(into).bind(segment).execute(&mut *writer).await?;
        forget(&mut *writer, *segment).await?;
    }
    Ok(())
}

async fn forget(writer: &mut SqliteConnection, segment: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM segment_rollups WHERE segment = ?").bind(segment).execute(writer).await.map(drop)
}

/// Subtracts the counts of events that are removed, as those of a segment.
pub async fn subtract(writer: &mut SqliteConnection, rollups: &Rollups<'_>) -> Result<(), sqlx::Error> {
    if rollups.as_slice().is_empty() {
        return Ok(());
    }
    count_segment(&mut *writer, NO_SEGMENT, rollups.as_slice()).await?;
    subtract_segment(writer, NO_SEGMENT).await
}

/// Subtracts the counts of a segment that is removed: from those of its sources, and what these lack from those of other
/// sources, where it was counted.
pub async fn subtract_segment(writer: &mut SqliteConnection, segment: i64) -> Result<(), sqlx::Error> {
    for statement in SUBTRACT {
        sqlx::query(statement).bind(segment).execute(&mut *writer).await?;
    }
    forget(writer, segment).await
}

/// The counts of the minutes of a query; `None` if all must be counted from events. The connection is one of [`super::readers::Readers`], and
/// later statements of its call go straight to their rows.
pub async fn counts(
    reader: &mut SqliteConnection,
    deadline: Instant,
    query: &RollupQuery<'_>,
) -> Result<Option<Counts>, StoreError> {
    let (mut counts, mut known) = (Counts::default(), true);
    let take = |row: &SqliteRow| {
        let at = Timestamp::from_unix_micros(row.try_get(0)?).map_err(decode_error)?;
        let source: &str = row.try_get(2)?;
        known = !(query.asks_for_sources && source == OTHER_SOURCES);
        if known {
            let events = row.try_get::<i64, _>(3)?.cast_unsigned();
            query.count(&mut counts, at, level(row.try_get(1)?)?, source, events);
        }
        Ok(Enough(!known))
    };
    read_until(reader, deadline, counts_statement(query), take).await?;
    Ok(known.then_some(counts))
}

/// Selects time, level, source and number of events of the minutes of a query. Without a question about sources, these are added up.
fn counts_statement(query: &RollupQuery<'_>) -> QueryBuilder<Sqlite> {
    let columns = if query.asks_for_sources { "source, events" } else { "'', sum(events)" };
    let mut select = QueryBuilder::new(format!(
        "SELECT minute * {MINUTE_MICROS}, level, {columns} FROM rollups WHERE minute BETWEEN "
    ));
    select.push_bind(*query.minutes.start()).push(" AND ").push_bind(*query.minutes.end());
    if let Some(source) = only_source(&query.rest) {
        // Whether events of other sources match is not known.
        select.push(" AND source IN (").push_bind(source.to_owned()).push(format!(", '{OTHER_SOURCES}')"));
    }
    if !query.asks_for_sources {
        select.push(" GROUP BY minute, level");
    }
    select
}

/// The source that all matching events have, if the filter names one.
fn only_source(filter: &EventFilter) -> Option<&str> {
    match filter {
        EventFilter::All(filters) => filters.iter().find_map(only_source),
        EventFilter::Condition(Condition::SourceIs(source)) => Some(source),
        EventFilter::Any(_) | EventFilter::Not(_) | EventFilter::Condition(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::level::Level;
    use domain::stats::{GroupBy, StatsQuery};
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
            let explain = format!("EXPLAIN QUERY PLAN {}", counts_statement(&rollups).sql().as_str());
            let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut connection).await.expect("a plan");
            let steps: Vec<String> = steps.iter().map(|step| step.get(3)).collect();
            assert!(steps.iter().any(|step| step.contains("rollups")), "{query:?}: {steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{query:?}: {steps:?}");
        }
    }

    #[tokio::test]
    async fn subtracting_reads_no_other_counts() {
        let mut connection = migrated().await;
        for statement in SUBTRACT {
            let explain = format!("EXPLAIN QUERY PLAN {statement}");
            let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut connection).await.expect("a plan");
            let steps: Vec<String> = steps.iter().map(|step| step.get(3)).collect();
            let scanned = |step: &String| step.starts_with("SCAN") && step != "SCAN lacking";
            assert!(!steps.iter().any(|step| scanned(step) || step.contains("TEMP B-TREE")), "{statement}: {steps:?}");
        }
    }

    async fn kept(connection: &mut SqliteConnection) -> Vec<(i64, i64, String, i64)> {
        let rows = sqlx::query_as("SELECT * FROM rollups ORDER BY minute, level, source");
        rows.fetch_all(connection).await.expect("rows")
    }

    fn of(sources: &[&'static str]) -> Rollups<'static> {
        let mut rollups = Rollups::default();
        sources.iter().copied().for_each(|source| rollups.add(time(-1), Level::Warn, source));
        rollups
    }

    #[tokio::test]
    async fn what_a_source_lacks_is_subtracted_from_other_sources_and_nothing_is_left() {
        let mut connection = migrated().await;
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

    /// Segments 1 and 2 become 3. Their events were counted as others, but for `a`, which also has an event elsewhere.
    #[tokio::test]
    async fn the_counts_of_merged_segments_are_subtracted_together() {
        let mut connection = migrated().await;
        add(&mut connection, &of(&["a", "a", "b", OTHER_SOURCES, OTHER_SOURCES, OTHER_SOURCES])).await.expect("added");
        for (segment, source) in [(1, "a"), (1, "c"), (2, "a"), (2, "c"), (2, "d")] {
            let insert = sqlx::query("INSERT INTO segment_rollups VALUES (?, -1, 3, ?, 1)").bind(segment).bind(source);
            insert.execute(&mut connection).await.expect("inserted");
        }
        merge(&mut connection, &[1, 2], 3).await.expect("merged");
        let row = |source: &str, events| (-1, 3, source.to_owned(), events);
        subtract_segment(&mut connection, 1).await.expect("nothing is there");
        assert_eq!(kept(&mut connection).await, [row("", 3), row("a", 2), row("b", 1)]);
        subtract_segment(&mut connection, 3).await.expect("subtracted");
        assert_eq!(kept(&mut connection).await, [row("b", 1)]);
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM segment_rollups")
            .fetch_one(&mut connection)
            .await
            .expect("a number");
        assert_eq!(left, 0);
    }
}
