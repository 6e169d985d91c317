//! Events of earlier versions, which are rows of the table `events`.
//!
//! Constraints and invariants:
//! * Each transaction moves a bounded number of rows into chunks, so a crash in between loses nothing, and the next start goes on.
//! * Events keep their ids, so tails go on where they were. Rollups count them already.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::Uuid;
use domain::access::TenantId;
use domain::event::{IdOrigin, LogEvent};
use domain::metadata::Metadata;
use domain::partition::Partition;
use domain::ports::StoreError;
use domain::timestamp::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::body::Numbered;
use super::chunk::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, NewChunk, pack_all};
use crate::store::rows::{decode_error, level};
use crate::store::store_error;
use crate::store::writer::Writer;

/// Rows between two lines of the log.
const LOG_ROWS: u64 = 200_000;

/// Rows on their way into chunks.
#[derive(Debug, Default)]
pub struct EarlierRows {
    moved: u64,
    logged: u64,
}

impl EarlierRows {
    /// Moves at least so many rows, if there are as many. Returns whether there may be more. A million rows took 25 seconds on two
    /// busy processors.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: what was moved stays so.
    pub async fn move_some(&mut self, writer: &Writer, rows_min: u64) -> Result<bool, StoreError> {
        let end = self.moved.saturating_add(rows_min.max(1));
        while self.moved < end {
            let page = writer.write(async |writer| move_page(writer).await).await?;
            let Some(Page { rows, left_max }) = page else {
                if self.moved > 0 {
                    tracing::info!(moved = self.moved, "moved the events of an earlier version into chunks");
                }
                return Ok(false);
            };
            if self.moved == 0 {
                tracing::info!(rows_max = rows + left_max, "moving events of an earlier version into chunks");
            }
            self.moved += rows;
            if self.moved - self.logged >= LOG_ROWS {
                self.logged = self.moved;
                tracing::info!(moved = self.moved, left_max, "moving events of an earlier version into chunks");
            }
        }
        Ok(true)
    }
}

/// What one transaction moved.
struct Page {
    rows: u64,
    /// At most so many rows are left.
    left_max: u64,
}

/// A row of the table.
struct EarlierRow {
    id: u64,
    offset: u64,
    event: LogEvent<'static>,
}

/// Moves the rows with the lowest ids, as many as fit into a chunk. `None` if no row is left.
async fn move_page(writer: &mut SqliteConnection) -> Result<Option<Page>, StoreError> {
    let Some((last, left_max)) = last_of_page(&mut *writer).await.map_err(store_error)? else { return Ok(None) };
    let rows = sqlx::query(
        "SELECT id, \"offset\", topic, partition, tenant, client_id, event_id, source, level, message, timestamp, \
         received_at, stack_trace, trace_id, span_id, metadata FROM events WHERE id <= ? ORDER BY id",
    );
    let rows = rows.bind(last).fetch_all(&mut *writer).await.map_err(store_error)?;
    let mut partitions: BTreeMap<(String, Partition), Vec<EarlierRow>> = BTreeMap::new();
    for row in &rows {
        let (partition, row) = earlier_row(row).map_err(store_error)?;
        partitions.entry(partition).or_default().push(row);
    }
    let mut chunks = Vec::new();
    for ((topic, partition), rows) in &partitions {
        let numbered = rows.iter().map(|row| Numbered { id: row.id, offset: row.offset, event: &row.event });
        chunks.extend(NewChunk::of(topic, *partition, numbered));
    }
    for chunk in pack_all(chunks).await? {
        chunk.insert(&mut *writer).await?;
    }
    let delete = sqlx::query("DELETE FROM events WHERE id <= ?").bind(last);
    delete.execute(&mut *writer).await.map_err(store_error)?;
    let update = "UPDATE chunk_state SET version = version + 1, writer = 0, next_id = max(next_id, ? + 1)";
    sqlx::query(update).bind(last).execute(writer).await.map_err(store_error)?;
    Ok(Some(Page { rows: rows.len() as u64, left_max }))
}

/// The last id of the next rows to move, and how many rows are left behind it at most.
async fn last_of_page(writer: &mut SqliteConnection) -> Result<Option<(i64, u64)>, sqlx::Error> {
    let sizes: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, octet_length(message) + octet_length(source) + coalesce(octet_length(stack_trace), 0) \
         + coalesce(octet_length(metadata), 0) FROM events ORDER BY id LIMIT ?",
    )
    .bind(i64::try_from(CHUNK_EVENTS_MAX).unwrap_or(i64::MAX))
    .fetch_all(&mut *writer)
    .await?;
    let mut bytes = 0;
    let fits = |(_, size): &&(i64, i64)| {
        bytes += size.unsigned_abs();
        bytes <= CHUNK_BYTES_MAX as u64
    };
    let fitting = sizes.iter().take_while(fits).last().or(sizes.first());
    let Some((last, _)) = fitting else { return Ok(None) };
    let end: i64 = sqlx::query_scalar("SELECT max(id) FROM events").fetch_one(writer).await?;
    Ok(Some((*last, end.saturating_sub(*last).unsigned_abs())))
}

fn earlier_row(row: &SqliteRow) -> Result<((String, Partition), EarlierRow), sqlx::Error> {
    let time = |column: usize| Timestamp::from_unix_micros(row.try_get(column)?).map_err(decode_error);
    let text = |column: usize| row.try_get::<Option<String>, _>(column);
    let tenant: &[u8] = row.try_get(4)?;
    let id_origin = match tenant.try_into() {
        Ok(tenant) => IdOrigin::Tenant(TenantId::from_bytes(tenant)),
        // Empty without a tenant.
        Err(_) if row.try_get(5)? => IdOrigin::Client,
        Err(_) => IdOrigin::Generated,
    };
    let trace_id: Option<&[u8]> = row.try_get(13)?;
    let span_id: Option<&[u8]> = row.try_get(14)?;
    let event = LogEvent {
        event_id: Uuid::from_slice(row.try_get(6)?).map_err(decode_error)?,
        id_origin,
        source: Cow::Owned(row.try_get(7)?),
        level: level(row.try_get(8)?)?,
        message: Cow::Owned(row.try_get(9)?),
        timestamp: time(10)?,
        received_at: time(11)?,
        stack_trace: text(12)?.map(Cow::Owned),
        trace_id: trace_id.map(<[u8; 16]>::try_from).transpose().map_err(decode_error)?,
        span_id: span_id.map(<[u8; 8]>::try_from).transpose().map_err(decode_error)?,
        metadata: text(15)?.map(|json| Metadata::from_checked(Cow::Owned(json))),
    };
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let partition = (row.try_get(2)?, row.try_get(3)?);
    Ok((partition, EarlierRow { id: number(0)?, offset: number(1)?, event }))
}
