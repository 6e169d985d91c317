//! The position of a consumer group, which fences its appends.

use domain::ports::{Append, GroupPartition, StoreError};
use sqlx::PgConnection;

use crate::error::store_error;

/// Advances the position, or returns the current one. Locks it until the end of the transaction.
pub(super) async fn advance(connection: &mut PgConnection, append: &Append<'_>) -> Result<(), StoreError> {
    let group_partition = append.group_partition;
    let statement = match append.expected {
        Some(_) => {
            "UPDATE positions SET next = $4 WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next = $5"
        }
        None => {
            "INSERT INTO positions (consumer_group, topic, partition, next) SELECT $1, $2, $3, $4 WHERE $5::bigint IS NULL \
             ON CONFLICT DO NOTHING"
        }
    };
    let moved = sqlx::query(statement)
        .bind(&group_partition.group)
        .bind(&group_partition.topic)
        .bind(group_partition.partition.cast_signed())
        .bind(append.next.cast_signed())
        .bind(append.expected.map(u64::cast_signed))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::Conflict { actual: position(connection, group_partition).await.map_err(store_error)? })
}

pub(super) async fn position(
    connection: &mut PgConnection,
    group_partition: &GroupPartition,
) -> Result<Option<u64>, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar("SELECT next FROM positions WHERE consumer_group = $1 AND topic = $2 AND partition = $3")
            .bind(&group_partition.group)
            .bind(&group_partition.topic)
            .bind(group_partition.partition.cast_signed())
            .fetch_optional(connection)
            .await?;
    Ok(next.map(i64::cast_unsigned))
}
