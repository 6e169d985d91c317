//! Events and dead letters as rows of SQLite.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use domain::Uuid;
use domain::dead_letter::{DeadLetterFilter, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent};
use domain::filter::Candidates;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::GroupPartition;
use domain::query::{Direction, LogQuery, StoredEvent, Ties};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::filter::push_candidates;

/// The columns of an event, in the order of [`stored_event`].
pub const COLUMNS: &str = "event_id, client_id, source, level, message, timestamp, received_at, stack_trace, trace_id, \
                       span_id, metadata, topic, partition, \"offset\"";

/// Inserts this many events, each with its tenant behind [`COLUMNS`], except repeats of rows and of claims. Behind the events,
/// the dedup window is bound twice.
pub fn insert_statement(events: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![row; events].join(", ");
    format!(
        "WITH incoming ({COLUMNS}, tenant) AS (VALUES {rows}) INSERT INTO events ({COLUMNS}, tenant) \
         SELECT * FROM incoming WHERE NOT EXISTS (SELECT 1 FROM events AS kept \
         WHERE kept.event_id = incoming.event_id AND kept.tenant = incoming.tenant \
         AND abs(kept.received_at - incoming.received_at) <= ?) \
         AND NOT (incoming.client_id AND EXISTS (SELECT 1 FROM claims \
         WHERE claims.event_id = incoming.event_id AND claims.tenant = incoming.tenant \
         AND abs(claims.received_at - incoming.received_at) <= ?))"
    )
}

/// Candidates in the order of the query. If they are exact, at most `rows_max`.
pub fn select_statement(query: &LogQuery, candidates: &Candidates<'_>, rows_max: i64) -> QueryBuilder<Sqlite> {
    let mut select = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events WHERE true"));
    push_candidates(&mut select, candidates);
    let newest_first = query.order.direction == Direction::NewestFirst;
    let columns = match query.order.ties {
        Ties::EventId => ["timestamp", "event_id", "received_at"].as_slice(),
        Ties::Arrival => &["timestamp", "received_at", "partition", "\"offset\"", "event_id"],
    };
    if let Some(after) = &query.after {
        let comparison = if newest_first { "<" } else { ">" };
        select.push(format!(" AND ({}) {comparison} (", columns.join(", ")));
        select.push_bind(after.timestamp.unix_micros()).push(", ");
        match query.order.ties {
            Ties::EventId => {
                select.push_bind(after.event_id.as_bytes().to_vec()).push(", ");
                select.push_bind(after.received_at.unix_micros()).push(")");
            }
            Ties::Arrival => {
                select.push_bind(after.received_at.unix_micros()).push(", ").push_bind(i64::from(after.partition));
                select.push(", ").push_bind(after.offset.cast_signed()).push(", ");
                select.push_bind(after.event_id.as_bytes().to_vec()).push(")");
            }
        }
    }
    let direction = if newest_first { " DESC" } else { "" };
    let order: Vec<String> = columns.iter().map(|column| format!("{column}{direction}")).collect();
    select.push(format!(" ORDER BY {}", order.join(", ")));
    if candidates.exact {
        select.push(" LIMIT ").push_bind(rows_max);
    }
    select
}

/// Matching dead letters with an id above `after`, in the order of their ids.
pub fn dead_letters_statement(filter: &DeadLetterFilter, after: Option<u64>, rows_max: i64) -> QueryBuilder<Sqlite> {
    let mut select = QueryBuilder::new(
        "SELECT id, consumer_group, topic, partition, \"offset\", key, value, reason, at, redriven_at, \
         attempts, record_index, trace_parent FROM dead_letters WHERE id > ",
    );
    select.push_bind(after.unwrap_or(0).cast_signed());
    push_letter_conditions(&mut select, filter);
    select.push(" ORDER BY id LIMIT ").push_bind(rows_max);
    select
}

/// The number of matching dead letters, counted up to `max`.
pub fn dead_letter_count_statement(filter: &DeadLetterFilter, max: u64) -> QueryBuilder<Sqlite> {
    let mut select = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE true");
    push_letter_conditions(&mut select, filter);
    select.push(" LIMIT ").push_bind(i64::try_from(max).unwrap_or(i64::MAX)).push(")");
    select
}

/// Continues a condition with those of a filter.
fn push_letter_conditions(select: &mut QueryBuilder<Sqlite>, filter: &DeadLetterFilter) {
    if let Some(id) = filter.id {
        select.push(" AND id = ").push_bind(id.cast_signed());
    }
    if let Some(topic) = &filter.topic {
        select.push(" AND topic = ").push_bind(topic.clone());
    }
    if let Some(partition) = filter.partition {
        select.push(" AND partition = ").push_bind(i64::from(partition));
    }
    if let Some(from) = filter.from {
        select.push(" AND at >= ").push_bind(from.unix_micros());
    }
    if let Some(to) = filter.to {
        select.push(" AND at < ").push_bind(to.unix_micros());
    }
    if let Some(redriven) = filter.redriven {
        select.push(if redriven { " AND redriven_at IS NOT NULL" } else { " AND redriven_at IS NULL" });
    }
    if let Some(copied) = filter.copied {
        select.push(if copied { " AND copied_at IS NOT NULL" } else { " AND copied_at IS NULL" });
    }
}

/// Counts the events of a time range by bucket and level; bucket `n` begins at `first + n * interval`. Steps from one
/// non-empty bucket to the next and counts an index range for each level. `GROUP BY` would sort all events, beyond about ten
/// thousand in a temporary file, for which a full disk has no room.
pub fn level_counts_statement(first: i64, interval: i64, range: &RangeInclusive<Timestamp>) -> QueryBuilder<Sqlite> {
    let (from, to) = (range.start().unix_micros(), range.end().unix_micros().saturating_add(1));
    let levels = Level::ALL.map(|level| format!("({})", level.number())).join(", ");
    let mut select =
        QueryBuilder::new("WITH RECURSIVE buckets (bucket) AS (SELECT ((SELECT min(timestamp) FROM events");
    select.push(" WHERE timestamp >= ").push_bind(from).push(" AND timestamp < ").push_bind(to);
    select.push(") - ").push_bind(first).push(") / ").push_bind(interval);
    select.push(" UNION ALL SELECT ((SELECT min(timestamp) FROM events WHERE timestamp >= ").push_bind(first);
    select.push(" + (bucket + 1) * ").push_bind(interval).push(" AND timestamp < ").push_bind(to);
    select.push(") - ").push_bind(first).push(") / ").push_bind(interval);
    select.push(format!(" FROM buckets WHERE bucket IS NOT NULL), levels (level) AS (VALUES {levels}) "));
    select.push("SELECT bucket, level, (SELECT count(*) FROM events WHERE events.level = levels.level");
    select.push(" AND timestamp >= max(").push_bind(first).push(" + bucket * ").push_bind(interval);
    select.push(", ").push_bind(from).push(") AND timestamp < min(").push_bind(first).push(" + (bucket + 1) * ");
    select.push_bind(interval).push(", ").push_bind(to);
    select.push(")) AS events FROM buckets CROSS JOIN levels WHERE bucket IS NOT NULL AND events > 0");
    select.push(" ORDER BY bucket, level");
    select
}

/// The level with a number.
pub fn level(number: i64) -> Result<Level, sqlx::Error> {
    Level::from_number(number).ok_or(domain::level::UnknownLevel).map_err(decode_error)
}

/// The error for a value that a row cannot have.
pub fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// The event in a row whose columns from `first` on are [`COLUMNS`].
pub fn stored_event(row: &SqliteRow, first: usize) -> Result<StoredEvent, sqlx::Error> {
    let time = |column: usize| Timestamp::from_unix_micros(row.try_get(column)?).map_err(decode_error);
    let trace_id: Option<&[u8]> = row.try_get(first + 8)?;
    let span_id: Option<&[u8]> = row.try_get(first + 9)?;
    let metadata: Option<String> = row.try_get(first + 10)?;
    let event = LogEvent {
        event_id: Uuid::from_slice(row.try_get(first)?).map_err(decode_error)?,
        id_origin: if row.try_get(first + 1)? { IdOrigin::Client } else { IdOrigin::Generated },
        source: Cow::Owned(row.try_get(first + 2)?),
        level: level(row.try_get(first + 3)?)?,
        message: Cow::Owned(row.try_get(first + 4)?),
        timestamp: time(first + 5)?,
        received_at: time(first + 6)?,
        stack_trace: row.try_get::<Option<String>, _>(first + 7)?.map(Cow::Owned),
        trace_id: trace_id.map(<[u8; 16]>::try_from).transpose().map_err(decode_error)?,
        span_id: span_id.map(<[u8; 8]>::try_from).transpose().map_err(decode_error)?,
        metadata: metadata.map(|json| Metadata::from_checked(Cow::Owned(json))),
    };
    Ok(StoredEvent {
        event,
        topic: row.try_get(first + 11)?,
        partition: row.try_get(first + 12)?,
        offset: row.try_get::<i64, _>(first + 13)?.cast_unsigned(),
    })
}

/// The dead letter in a row of [`dead_letters_statement`].
pub fn stored_dead_letter(row: &SqliteRow) -> Result<StoredDeadLetter, sqlx::Error> {
    let time = |micros| Timestamp::from_unix_micros(micros).map_err(decode_error);
    Ok(StoredDeadLetter {
        id: row.try_get::<i64, _>(0)?.cast_unsigned(),
        group_partition: GroupPartition { group: row.try_get(1)?, topic: row.try_get(2)?, partition: row.try_get(3)? },
        offset: row.try_get::<i64, _>(4)?.cast_unsigned(),
        record_index: row.try_get(11)?,
        key: row.try_get(5)?,
        value: row.try_get(6)?,
        trace_parent: row.try_get::<Option<&[u8]>, _>(12)?.and_then(TraceParent::parse),
        reason: row.try_get(7)?,
        at: time(row.try_get(8)?)?,
        redriven_at: row.try_get::<Option<i64>, _>(9)?.map(time).transpose()?,
        attempts: row.try_get(10)?,
    })
}
