//! Appends: events, dead letters and the position in one transaction; and probes, which roll it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use domain::event::LogEvent;
use domain::metadata::Metadata;
use domain::partition::Partition;
use domain::ports::{Append, Appended, GroupPartition, StoreError};
use domain::rollup::Rollups;
use domain::trace_parent::TraceParent;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::position::advance;
use super::{AppendTime, PostgresStore};
use crate::claims::repeats;
use crate::copy::{COLUMNS, Rows, tenant_of};
use crate::days::Day;
use crate::error::{UNIQUE_VIOLATION, sqlstate, store_error};
use crate::rollups::{self, newly_stored, of_rows};
use crate::time::PgTime;

impl PostgresStore {
    pub(super) async fn append_on(
        &self,
        connection: &mut PgConnection,
        append: &Append<'_>,
    ) -> Result<Appended, StoreError> {
        let mut time = AppendTime::begin(self.append_time_max);
        self.create_days(connection, append).await?;
        let mut transaction = connection.begin().await.map_err(store_error)?;
        let appended = self.append_in(&mut transaction, append, &mut time).await?;
        time.restore(&mut transaction).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(appended)
    }

    pub(super) async fn probe_on(&self, connection: &mut PgConnection, append: &Append<'_>) -> Result<(), StoreError> {
        let mut time = AppendTime::begin(self.append_time_max);
        self.create_days(connection, append).await?;
        let mut transaction = connection.begin().await.map_err(store_error)?;
        self.append_in(&mut transaction, append, &mut time).await?;
        transaction.rollback().await.map_err(store_error)
    }

    /// Creates the tables that an append needs.
    async fn create_days(&self, connection: &mut PgConnection, append: &Append<'_>) -> Result<(), StoreError> {
        let days: BTreeSet<Day> = append.events.iter().map(|(_, event)| Day::of(event.received_at)).collect();
        self.days.ensure(connection, &days).await.map_err(store_error)
    }

    /// Does the work of an append in a transaction, within its time.
    async fn append_in(
        &self,
        transaction: &mut PgConnection,
        append: &Append<'_>,
        time: &mut AppendTime,
    ) -> Result<Appended, StoreError> {
        time.limit(transaction).await?;
        advance(transaction, append).await?;
        sqlx::query(
            "SELECT pg_advisory_xact_lock_shared($1 | CASE WHEN is_called THEN last_value ELSE 0 END) FROM events_sequence",
        )
        .bind(self.writer_lock)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        time.limit(transaction).await?;
        let repeats = repeats(transaction, append.events, self.windows).await.map_err(store_error)?;
        let new: Vec<_> = append
            .events
            .iter()
            .enumerate()
            .filter(|(index, _)| !repeats.contains(index))
            .map(|(_, event)| event)
            .collect();
        // If it fails, the table of a day may have been dropped.
        let written = self.write(transaction, append.group_partition, &new, time).await;
        let stored = written.inspect_err(|_| self.days.forget_all())?;
        for letter in append.dead_letters {
            time.limit(transaction).await?;
            // Other bytes at the same place: the topic was created again since. The same bytes are the same letter.
            let is_new: Option<bool> = sqlx::query_scalar(
                "INSERT INTO dead_letters AS kept (consumer_group, topic, partition, \"offset\", record_index, key, value, \
                 trace_parent, reason, attempts, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (consumer_group, topic, partition, \"offset\", record_index) DO UPDATE SET id = DEFAULT, \
                 key = excluded.key, value = excluded.value, trace_parent = excluded.trace_parent, reason = excluded.reason, \
                 attempts = excluded.attempts, at = excluded.at, redriven_at = NULL, copied_at = NULL \
                 WHERE (kept.key, kept.value) IS DISTINCT FROM (excluded.key, excluded.value) RETURNING xmax = 0",
            )
            .bind(&append.group_partition.group)
            .bind(&append.group_partition.topic)
            .bind(append.group_partition.partition.cast_signed())
            .bind(letter.offset.cast_signed())
            .bind(letter.record_index.cast_signed())
            .bind(letter.key)
            .bind(letter.value)
            .bind(letter.trace_parent.as_ref().map(TraceParent::as_bytes))
            .bind(letter.reason.replace('\0', "\u{fffd}"))
            .bind(i64::from(letter.attempts))
            .bind(PgTime(letter.at))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
            if is_new == Some(false) {
                let GroupPartition { topic, partition, .. } = append.group_partition;
                tracing::warn!(topic, partition, offset = letter.offset, "replaced a dead letter of an earlier topic");
            }
        }
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        Ok(Appended {
            stored,
            deduplicated: append.events.len().saturating_sub(stored),
            dead_lettered: append.dead_letters.len(),
        })
    }

    /// Writes events into the tables of their days, and their counts. Returns how many were new.
    async fn write(
        &self,
        connection: &mut PgConnection,
        group_partition: &GroupPartition,
        events: &[&(u64, LogEvent<'_>)],
        time: &mut AppendTime,
    ) -> Result<u64, StoreError> {
        let mut tables: BTreeMap<Day, Vec<&(u64, LogEvent<'_>)>> = BTreeMap::new();
        for event in events {
            tables.entry(Day::of(event.1.received_at)).or_default().push(event);
        }
        let mut stored = 0;
        for (day, events) in tables {
            time.limit(connection).await?;
            let new = if events.len() < self.copy_events_min {
                insert(connection, &day.table(), group_partition, &events).await.map_err(store_error)?
            } else {
                copy(connection, &day.table(), group_partition, &events, time).await?
            };
            time.limit(connection).await?;
            let rolled_up = self.roll_up(connection, day, group_partition.partition, &events, new).await;
            rolled_up.map_err(store_error)?;
            stored += new;
        }
        Ok(stored)
    }

    /// Adds the events of a day to the rollups, of which so many were new.
    async fn roll_up(
        &self,
        connection: &mut PgConnection,
        day: Day,
        partition: Partition,
        events: &[&(u64, LogEvent<'_>)],
        new: u64,
    ) -> Result<(), sqlx::Error> {
        let rows;
        let mut rollups = if usize::try_from(new) == Ok(events.len()) {
            Rollups::of(events.iter().map(|(_, event)| event))
        } else {
            rows = newly_stored(connection, day, events).await?;
            of_rows(&rows)?
        };
        let sources = &self.rollup_sources;
        rollups.limit_sources(day.first(), &mut sources.lock().unwrap_or_else(PoisonError::into_inner));
        rollups::add(connection, day, partition, &rollups).await
    }
}

/// The path for few events: one statement that skips existing rows, and one answer. The end of a `COPY` is a separate
/// message, which the connection, as sqlx configures it, holds back until the server has acknowledged the data before it
/// (Nagle's algorithm): about 40 ms.
async fn insert(
    connection: &mut PgConnection,
    table: &str,
    group_partition: &GroupPartition,
    events: &[&(u64, LogEvent<'_>)],
) -> Result<u64, sqlx::Error> {
    fn column<'e, T>(events: &[&'e (u64, LogEvent<'e>)], value: impl Fn(&'e LogEvent<'e>) -> T) -> Vec<T> {
        events.iter().map(|(_, event)| value(event)).collect()
    }
    let statement = format!(
        "INSERT INTO {table} ({COLUMNS}, tenant) SELECT event_id, client_id, source, level, message, at, received_at, stack_trace, trace_id, \
         span_id, metadata::json, $12, $13, place, tenant FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::smallint[], $5::text[], \
         $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bytea[], $10::bytea[], $11::text[], $14::bigint[], \
         $15::bytea[]) AS event (event_id, client_id, source, level, message, at, received_at, stack_trace, trace_id, span_id, \
         metadata, place, tenant) ON CONFLICT (event_id, received_at, tenant) DO NOTHING"
    );
    let inserted = sqlx::query(AssertSqlSafe(statement))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.id_origin.is_client()))
        .bind(column(events, |event| &*event.source))
        .bind(column(events, |event| i16::from(event.level.number())))
        .bind(column(events, |event| &*event.message))
        .bind(column(events, |event| PgTime(event.timestamp)))
        .bind(column(events, |event| PgTime(event.received_at)))
        .bind(column(events, |event| event.stack_trace.as_deref()))
        .bind(column(events, |event| event.trace_id.as_ref().map(<[u8; 16]>::as_slice)))
        .bind(column(events, |event| event.span_id.as_ref().map(<[u8; 8]>::as_slice)))
        .bind(column(events, |event| event.metadata.as_ref().map(Metadata::as_json)))
        .bind(&group_partition.topic)
        .bind(group_partition.partition.cast_signed())
        .bind(events.iter().map(|(offset, _)| offset.cast_signed()).collect::<Vec<_>>())
        .bind(column(events, tenant_of))
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected())
}

/// The path for many events.
async fn copy(
    connection: &mut PgConnection,
    table: &str,
    group_partition: &GroupPartition,
    events: &[&(u64, LogEvent<'_>)],
    time: &mut AppendTime,
) -> Result<u64, StoreError> {
    let mut rows = Rows::default();
    events.iter().for_each(|(offset, event)| rows.push(group_partition, *offset, event));
    let (count, bytes) = (rows.count(), rows.finish());
    connection.execute(sqlx::raw_sql("SAVEPOINT copying")).await.map_err(store_error)?;
    match copy_in(connection, table, &bytes).await {
        Ok(()) => {
            let released = connection.execute(sqlx::raw_sql("RELEASE SAVEPOINT copying")).await;
            released.map(|_| count).map_err(store_error)
        }
        Err(error) if sqlstate(&error).as_deref() == Some(UNIQUE_VIOLATION) => {
            // Without the release, what follows would be part of a transaction within this one, and `newly_stored` would not find
            // it: sqlx does not release.
            let undo = "ROLLBACK TO SAVEPOINT copying; RELEASE SAVEPOINT copying";
            connection.execute(sqlx::raw_sql(undo)).await.map_err(store_error)?;
            time.limit(connection).await?;
            merge_in(connection, table, &bytes).await.map_err(store_error)
        }
        Err(error) => Err(store_error(error)),
    }
}

async fn copy_in(connection: &mut PgConnection, table: &str, bytes: &[u8]) -> Result<(), sqlx::Error> {
    let mut copy =
        connection.copy_in_raw(&format!("COPY {table} ({COLUMNS}, tenant) FROM STDIN (FORMAT binary)")).await?;
    copy.send(bytes).await?;
    copy.finish().await.map(drop)
}

/// The slower path: through a temporary table, skipping existing rows and repeats in the same chunk.
async fn merge_in(connection: &mut PgConnection, table: &str, bytes: &[u8]) -> Result<u64, sqlx::Error> {
    // Dropped with the transaction, because the connection returns to the pool.
    sqlx::query("CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE events INCLUDING DEFAULTS) ON COMMIT DROP")
        .execute(&mut *connection)
        .await?;
    sqlx::query("TRUNCATE incoming").execute(&mut *connection).await?;
    copy_in(connection, "incoming", bytes).await?;
    let insert = format!(
        "INSERT INTO {table} (sequence, {COLUMNS}, tenant) SELECT sequence, {COLUMNS}, tenant FROM incoming ORDER BY sequence \
         ON CONFLICT (event_id, received_at, tenant) DO NOTHING"
    );
    Ok(sqlx::query(AssertSqlSafe(insert)).execute(connection).await?.rows_affected())
}
