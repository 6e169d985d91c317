//! Dead letters as rows of SQLite, and values of rows.

use domain::dead_letter::{DeadLetterFilter, StoredDeadLetter};
use domain::level::Level;
use domain::ports::GroupPartition;
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

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

/// The level with a number.
pub fn level(number: i64) -> Result<Level, sqlx::Error> {
    Level::from_number(number).ok_or(domain::level::UnknownLevel).map_err(decode_error)
}

/// The error for a value that a row cannot have.
pub fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
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
