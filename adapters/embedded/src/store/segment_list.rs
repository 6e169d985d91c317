//! The table of sealed segments, and of the files that are being written.
//!
//! Constraints and invariants:
//! * A file is a segment if and only if its number is in the list. An intent commits before its file is written; the
//!   transaction that lists the segment removes the intent, and fails without it.
//! * Every transaction that changes the list changes its generation, once.
//! * Numbers are never used twice.

use domain::ports::StoreError;
use domain::timestamp::Timestamp;
use segments::{SegmentSummary, TimeSpan};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::decode_error;
use super::store_error;

/// What the name of a file ends with.
const EXTENSION: &str = ".parquet";

/// A segment of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSegment {
    /// Its number.
    pub number: i64,
    /// How often its events were merged.
    pub rewrites: i64,
    /// What is known of its file.
    pub summary: SegmentSummary,
}

/// The segments at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentList {
    /// Changes with every change of the list.
    pub generation: i64,
    /// Claims of events received earlier, in microseconds since 1970, may be absent.
    pub claims_from: i64,
    /// The segments, in the order of their last receipt.
    pub segments: Vec<ListedSegment>,
}

impl SegmentList {
    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|listed| listed.summary.file_bytes).sum()
    }
}

/// The name of a segment's file.
pub fn file_name(number: i64) -> String {
    format!("{number:012}{EXTENSION}")
}

/// Whether a file has the name of a segment.
pub fn is_file_name(name: &str) -> bool {
    let number = name.strip_suffix(EXTENSION).and_then(|number| number.parse().ok());
    number.is_some_and(|number| file_name(number) == name)
}

/// The generation of the list, and from which receipt on all claims are there.
pub async fn state(connection: &mut SqliteConnection) -> Result<(i64, i64), StoreError> {
    sqlx::query_as("SELECT generation, claims_from FROM segment_state").fetch_one(connection).await.map_err(store_error)
}

/// The segments, in the order of their last receipt.
pub async fn load(connection: &mut SqliteConnection) -> Result<Vec<ListedSegment>, StoreError> {
    let select = sqlx::query(
        "SELECT number, file_bytes, sha256, tail_offset, tail_crc, event_count, text_bytes, timestamp_from, \
         timestamp_to, received_from, received_to, sequence_from, sequence_to, rewrites FROM segments \
         ORDER BY received_to, number",
    );
    let rows = select.fetch_all(connection).await.map_err(store_error)?;
    rows.iter().map(listed_segment).collect::<Result<_, _>>().map_err(store_error)
}

fn listed_segment(row: &SqliteRow) -> Result<ListedSegment, sqlx::Error> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let span = |column: usize| -> Result<TimeSpan, sqlx::Error> {
        let time = |column: usize| Timestamp::from_unix_micros(row.try_get(column)?).map_err(decode_error);
        Ok(TimeSpan { from: time(column)?, to: time(column + 1)? })
    };
    let segment: i64 = row.try_get(0)?;
    let summary = SegmentSummary {
        name: file_name(segment),
        file_bytes: number(1)?,
        sha256: row.try_get::<&[u8], _>(2)?.try_into().map_err(decode_error)?,
        tail_offset: number(3)?,
        tail_crc: u32::try_from(number(4)?).map_err(decode_error)?,
        rows: number(5)?,
        text_bytes: number(6)?,
        timestamps: span(7)?,
        received: span(9)?,
        sequences: (number(11)?, number(12)?),
    };
    Ok(ListedSegment { number: segment, rewrites: row.try_get(13)?, summary })
}

/// Announces a file, and returns the number of its segment.
pub async fn intend(writer: &mut SqliteConnection) -> Result<i64, StoreError> {
    let insert = sqlx::query("INSERT INTO segment_intents DEFAULT VALUES");
    Ok(insert.execute(writer).await.map_err(store_error)?.last_insert_rowid())
}

/// The numbers of all files that are being written.
pub async fn intents(connection: &mut SqliteConnection) -> Result<Vec<i64>, StoreError> {
    sqlx::query_scalar("SELECT number FROM segment_intents").fetch_all(connection).await.map_err(store_error)
}

/// Gives up all files that are being written: none of them can become a segment.
pub async fn forget_intents(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM segment_intents").execute(writer).await.map(drop).map_err(store_error)
}

/// Lists a segment whose file is complete.
///
/// # Errors
/// [`StoreError::Unavailable`], also if its intent is gone.
pub async fn add(
    writer: &mut SqliteConnection,
    number: i64,
    rewrites: i64,
    summary: &SegmentSummary,
) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM segment_intents WHERE number = ?").bind(number);
    if delete.execute(&mut *writer).await.map_err(store_error)?.rows_affected() != 1 {
        return Err(StoreError::Unavailable(format!("the intent of segment {} is gone", summary.name).into()));
    }
    let SegmentSummary { file_bytes, sha256, tail_offset, tail_crc, rows, text_bytes, .. } = summary;
    sqlx::query(
        "INSERT INTO segments (number, file_bytes, sha256, tail_offset, tail_crc, event_count, text_bytes, \
         timestamp_from, timestamp_to, received_from, received_to, sequence_from, sequence_to, rewrites) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(number)
    .bind(file_bytes.cast_signed())
    .bind(sha256.as_slice())
    .bind(tail_offset.cast_signed())
    .bind(i64::from(*tail_crc))
    .bind(rows.cast_signed())
    .bind(text_bytes.cast_signed())
    .bind(summary.timestamps.from.unix_micros())
    .bind(summary.timestamps.to.unix_micros())
    .bind(summary.received.from.unix_micros())
    .bind(summary.received.to.unix_micros())
    .bind(summary.sequences.0.cast_signed())
    .bind(summary.sequences.1.cast_signed())
    .bind(rewrites)
    .execute(writer)
    .await
    .map(drop)
    .map_err(store_error)
}

/// Takes segments off the list.
///
/// # Errors
/// [`StoreError::Unavailable`], also if one of them is not on it.
pub async fn remove(writer: &mut SqliteConnection, numbers: &[i64]) -> Result<(), StoreError> {
    for number in numbers {
        let delete = sqlx::query("DELETE FROM segments WHERE number = ?").bind(number);
        if delete.execute(&mut *writer).await.map_err(store_error)?.rows_affected() != 1 {
            return Err(StoreError::Unavailable(format!("segment {} is gone", file_name(*number)).into()));
        }
    }
    Ok(())
}

/// Ends a transaction that changed the list.
pub async fn next_generation(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE segment_state SET generation = generation + 1");
    update.execute(writer).await.map(drop).map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_segments_are_names_of_segments() {
        for number in [1, 999_999_999_999, 1_000_000_000_000, i64::MAX] {
            assert!(is_file_name(&file_name(number)), "{number}");
        }
        for other in ["LOCK", "1.parquet", "000000000001.parquet.bak", "mine.parquet", "+00000000001.parquet"] {
            assert!(!is_file_name(other), "{other}");
        }
    }
}
