//! How far the writers of a schema are: their advisory locks, and how far a tail may read because of them.

use domain::partition::murmur2;
use sqlx::PgConnection;

/// Bits of a writer's advisory lock that encode where its events begin. The bits above identify the schema.
const WRITER_LOCK_BITS: u32 = 48;

/// Advisory locks belong to a database, so the locks of each schema's writers have a mark. If two schemas have the same
/// mark, the tails of each wait for the writers of both.
pub(super) fn writer_lock(schema: &str) -> i64 {
    // Neither zero nor negative, where locks of other applications usually are.
    (0x4000 | i64::from(murmur2(schema.as_bytes()) & 0x3fff)) << WRITER_LOCK_BITS
}

/// How far the sequence numbers of events have advanced.
pub(super) struct End {
    /// Highest number drawn.
    pub(super) drawn: u64,
    /// Highest number up to which no further events will become visible.
    pub(super) visible: u64,
}

/// How far a tail may read. Numbers are drawn before their events are visible, so it stays behind every active writer:
/// each takes a lock that encodes where its events begin before it draws a number, and holds it until they are visible.
pub(super) async fn end(connection: &mut PgConnection, writer_lock: i64) -> Result<End, sqlx::Error> {
    // The order matters: a writer that takes its lock after the first statement draws numbers above the one returned.
    let drawn: i64 = sqlx::query_scalar("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_sequence")
        .fetch_one(&mut *connection)
        .await?;
    let begun: Option<i64> = sqlx::query_scalar(
        "SELECT min(((classid::bigint << 32) | objid::bigint) & ((1::bigint << $1) - 1)) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (((classid::bigint << 32) | objid::bigint) >> $1) = ($2 >> $1)",
    )
    .bind(WRITER_LOCK_BITS.cast_signed())
    .bind(writer_lock)
    .fetch_one(connection)
    .await?;
    let visible = begun.map_or(drawn, |begun| begun.min(drawn));
    Ok(End { drawn: drawn.cast_unsigned(), visible: visible.cast_unsigned() })
}
