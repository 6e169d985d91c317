//! Events and dead letters as rows of PostgreSQL, and the statements that read them.
//!
//! Constraint: the server ends a result where the page ends. A client cannot cancel a result in transit: it has to
//! receive the rest before it can use the connection again.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use domain::dead_letter::{DeadLetterFilter, StoredDeadLetter};
use domain::event::{IdOrigin, LogEvent};
use domain::filter::Candidates;
use domain::level::Level;
use domain::metadata::Metadata;
use domain::ports::{GroupPartition, StoreError};
use domain::query::{Direction, Order, PageFilling, PageKey, StoredEvent, Ties};
use domain::timestamp::Timestamp;
use domain::trace_parent::TraceParent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use crate::copy::COLUMNS;
use crate::error::store_error;
use crate::filter::{push_candidates, push_received};
use crate::time::PgTime;

/// What [`StoredEvent::bytes`] counts. The server knows the length of a text without reading it; only metadata has to be
/// read.
const EVENT_BYTES: &str = "octet_length(source) + octet_length(message) + coalesce(octet_length(stack_trace), 0) \
                           + coalesce(octet_length(metadata::text), 0)";
/// What [`StoredDeadLetter::bytes`] counts.
const LETTER_BYTES: &str = "octet_length(key) + octet_length(value) + octet_length(reason)";
/// Begins a statement that selects the rows of a page, and the next one if it exists; see [`end_page`]. Rows are measured
/// only after the row limit has been applied.
fn begin_page(columns: &str, bytes: &str, order: &str) -> QueryBuilder<Postgres> {
    QueryBuilder::new(format!(
        "SELECT * FROM (SELECT *, sum(bytes) OVER (ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) \
         AS bytes_before FROM (SELECT *, {bytes} AS bytes FROM (SELECT {columns} FROM "
    ))
}

/// Ends it. A row is selected if the page has room for the row before it, that is, if all rows before that one together
/// are smaller than the page's limit in bytes.
fn end_page<T>(select: &mut QueryBuilder<Postgres>, order: &str, page: &PageFilling<T>) {
    select.push(format!(" ORDER BY {order} LIMIT ")).push_bind(page.items_wanted());
    select.push(") AS found) AS measured) AS page WHERE coalesce(bytes_before, 0) < ");
    select.push_bind(i64::try_from(page.bytes_max()).unwrap_or(i64::MAX)).push(format!(" ORDER BY {order}"));
}

/// Candidates that were received in some ranges, in an order, after a position in it.
pub fn events_statement<T>(
    candidates: &Candidates<'_>,
    received: &[RangeInclusive<Timestamp>],
    order: Order,
    after: Option<PageKey>,
    page: &PageFilling<T>,
) -> QueryBuilder<Postgres> {
    let columns = match order.ties {
        Ties::EventId => ["\"timestamp\"", "event_id", "received_at"].as_slice(),
        Ties::Arrival => &["\"timestamp\"", "received_at", "partition", "\"offset\"", "event_id"],
    };
    let (direction, comparison) = match order.direction {
        Direction::NewestFirst => (" DESC", "<"),
        Direction::OldestFirst => ("", ">"),
    };
    let order_by = columns.iter().map(|column| format!("{column}{direction}")).collect::<Vec<_>>().join(", ");
    let mut select = begin_page(COLUMNS, EVENT_BYTES, &order_by);
    select.push("events WHERE true");
    push_received(&mut select, received);
    push_candidates(&mut select, candidates);
    if let Some(after) = after {
        select.push(format!(" AND ({}) {comparison} (", columns.join(", ")));
        select.push_bind(PgTime(after.timestamp)).push(", ");
        match order.ties {
            Ties::EventId => {
                select.push_bind(after.event_id).push(", ").push_bind(PgTime(after.received_at)).push(")");
            }
            Ties::Arrival => {
                select.push_bind(PgTime(after.received_at)).push(", ").push_bind(i64::from(after.partition));
                select.push(", ").push_bind(after.offset.cast_signed()).push(", ");
                select.push_bind(after.event_id).push(")");
            }
        }
    }
    end_page(&mut select, &order_by, page);
    select
}

/// Candidates with sequence numbers after the start of a range up to its end, in this order.
pub fn tail_statement<T>(
    candidates: &Candidates<'_>,
    sequences: Range<u64>,
    page: &PageFilling<T>,
) -> QueryBuilder<Postgres> {
    let mut select = begin_page(&format!("{COLUMNS}, sequence"), EVENT_BYTES, "sequence");
    select.push("events WHERE sequence > ").push_bind(sequences.start.cast_signed());
    select.push(" AND sequence <= ").push_bind(sequences.end.cast_signed());
    push_candidates(&mut select, candidates);
    end_page(&mut select, "sequence", page);
    select
}

/// Matching dead letters with an id above `after`, in the order of their ids.
pub fn dead_letters_statement<T>(
    filter: &DeadLetterFilter,
    after: Option<u64>,
    page: &PageFilling<T>,
) -> QueryBuilder<Postgres> {
    let columns = "id, consumer_group, topic, partition, \"offset\", key, value, reason, at, redriven_at, attempts, \
                   record_index, trace_parent";
    let mut select = begin_page(columns, LETTER_BYTES, "id");
    select.push("dead_letters WHERE id > ").push_bind(after.unwrap_or(0).cast_signed());
    push_letter_conditions(&mut select, filter);
    end_page(&mut select, "id", page);
    select
}

/// The number of matching dead letters, counted up to `max`.
pub fn dead_letter_count_statement(filter: &DeadLetterFilter, max: u64) -> QueryBuilder<Postgres> {
    let mut select = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE true");
    push_letter_conditions(&mut select, filter);
    select.push(" LIMIT ").push_bind(i64::try_from(max).unwrap_or(i64::MAX)).push(") AS matching");
    select
}

/// Continues a condition with those of a filter.
fn push_letter_conditions(select: &mut QueryBuilder<Postgres>, filter: &DeadLetterFilter) {
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
        select.push(" AND at >= ").push_bind(PgTime(from));
    }
    if let Some(to) = filter.to {
        select.push(" AND at < ").push_bind(PgTime(to));
    }
    if let Some(redriven) = filter.redriven {
        select.push(if redriven { " AND redriven_at IS NOT NULL" } else { " AND redriven_at IS NULL" });
    }
    if let Some(copied) = filter.copied {
        select.push(if copied { " AND copied_at IS NOT NULL" } else { " AND copied_at IS NULL" });
    }
}

/// Reads all rows of a statement, one at a time.
pub async fn each_row(
    connection: &mut PgConnection,
    mut select: QueryBuilder<Postgres>,
    mut take: impl FnMut(&PgRow) -> Result<(), sqlx::Error> + Send,
) -> Result<(), StoreError> {
    let mut rows = select.build().fetch(connection);
    while let Some(row) = std::future::poll_fn(|context| rows.as_mut().poll_next(context)).await {
        row.and_then(|row| take(&row)).map_err(store_error)?;
    }
    Ok(())
}

/// The bytes of a row, as its page counts them.
pub fn row_bytes(row: &PgRow) -> Result<usize, sqlx::Error> {
    usize::try_from(row.try_get::<i32, _>("bytes")?).map_err(decode_error)
}

/// The error for a value that a row cannot have.
pub fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// The level with a number.
pub fn level(number: i16) -> Result<Level, sqlx::Error> {
    Level::from_number(number.into()).ok_or(domain::level::UnknownLevel).map_err(decode_error)
}

/// The event in a row that begins with [`COLUMNS`].
pub fn stored_event(row: &PgRow) -> Result<StoredEvent, sqlx::Error> {
    let trace_id: Option<&[u8]> = row.try_get(8)?;
    let span_id: Option<&[u8]> = row.try_get(9)?;
    let metadata: Option<&str> = row.try_get_unchecked(10)?;
    let event = LogEvent {
        event_id: row.try_get(0)?,
        id_origin: if row.try_get(1)? { IdOrigin::Client } else { IdOrigin::Generated },
        source: Cow::Owned(row.try_get(2)?),
        level: level(row.try_get(3)?)?,
        message: Cow::Owned(row.try_get(4)?),
        timestamp: row.try_get::<PgTime, _>(5)?.0,
        received_at: row.try_get::<PgTime, _>(6)?.0,
        stack_trace: row.try_get::<Option<String>, _>(7)?.map(Cow::Owned),
        trace_id: trace_id.map(<[u8; 16]>::try_from).transpose().map_err(decode_error)?,
        span_id: span_id.map(<[u8; 8]>::try_from).transpose().map_err(decode_error)?,
        metadata: metadata.map(|json| Metadata::from_checked(Cow::Owned(json.to_owned()))),
    };
    Ok(StoredEvent {
        event,
        topic: row.try_get(11)?,
        partition: row.try_get::<i32, _>(12)?.cast_unsigned(),
        offset: row.try_get::<i64, _>(13)?.cast_unsigned(),
    })
}

/// The dead letter in a row of [`dead_letters_statement`].
pub fn stored_dead_letter(row: &PgRow) -> Result<StoredDeadLetter, sqlx::Error> {
    Ok(StoredDeadLetter {
        id: row.try_get::<i64, _>(0)?.cast_unsigned(),
        group_partition: GroupPartition {
            group: row.try_get(1)?,
            topic: row.try_get(2)?,
            partition: row.try_get::<i32, _>(3)?.cast_unsigned(),
        },
        offset: row.try_get::<i64, _>(4)?.cast_unsigned(),
        record_index: row.try_get::<i32, _>(11)?.cast_unsigned(),
        key: row.try_get(5)?,
        value: row.try_get(6)?,
        trace_parent: row.try_get::<Option<&[u8]>, _>(12)?.and_then(TraceParent::parse),
        reason: row.try_get(7)?,
        at: row.try_get::<PgTime, _>(8)?.0,
        redriven_at: row.try_get::<Option<PgTime>, _>(9)?.map(|PgTime(time)| time),
        attempts: u32::try_from(row.try_get::<i64, _>(10)?).map_err(decode_error)?,
    })
}
