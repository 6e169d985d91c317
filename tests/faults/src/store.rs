//! The rows of a store, read directly from PostgreSQL.
//!
//! Constraint: a query fails while the server is down; the caller retries.

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use tokio::time::Instant;

use crate::comparison::{Row, source_hash};

/// The store of one scenario.
#[derive(Clone, Debug)]
pub struct Store {
    /// URL of the database.
    pub url: String,
    /// The schema; statements refer to it as `OWN`.
    pub schema: String,
}

impl Store {
    /// A number; 0 while the tables do not exist yet.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn number(&self, query: &str) -> Result<i64, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let answer = sqlx::query_scalar(AssertSqlSafe(self.with_schema(query))).fetch_one(&mut connection).await;
        let _ = connection.close().await;
        match answer {
            Err(error) if is_missing_table(&error) => Ok(0),
            answer => answer,
        }
    }

    /// A text that must exist.
    pub async fn text(&self, query: &str) -> String {
        let mut connection = PgConnection::connect(&self.url).await.expect("PostgreSQL answers");
        let query = AssertSqlSafe(self.with_schema(query));
        sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a text")
    }

    /// Waits until this event has a row; uses the given connection.
    pub async fn until_there(&self, connection: &mut PgConnection, id: &str, deadline: Duration) {
        let query = self.with_schema("SELECT count(*) FROM OWN.events WHERE event_id = $1::uuid");
        let (began, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(2)));
        loop {
            ticks.tick().await;
            let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(query.clone())).bind(id);
            if query.fetch_one(&mut *connection).await.expect("a count") > 0 {
                return;
            }
            assert!(began.elapsed() < deadline, "waited {deadline:?} for {id}");
        }
    }

    /// Number of rows with numbered events; `None` if the server does not answer.
    pub async fn count(&self) -> Option<u64> {
        let count = self.number("SELECT count(*) FROM OWN.events WHERE message LIKE 'event %'").await.ok()?;
        u64::try_from(count).ok()
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// The server does not answer, or rejects the statement.
    pub async fn execute(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let done = sqlx::query(AssertSqlSafe(self.with_schema(statement))).execute(&mut connection).await;
        let _ = connection.close().await;
        done.map(|done| done.rows_affected())
    }

    /// All rows with numbered events.
    ///
    /// # Errors
    /// The server fails before the result is complete.
    pub async fn rows(&self) -> Result<Vec<Row>, sqlx::Error> {
        const QUERY: &str = r#"SELECT split_part(message, ' ', 2)::bigint AS number, source, level, partition, "offset",
            sequence FROM OWN.events WHERE message LIKE 'event %'"#;
        let mut connection = PgConnection::connect(&self.url).await?;
        let mut rows = Vec::new();
        let mut answers = sqlx::query(AssertSqlSafe(self.with_schema(QUERY))).fetch(&mut connection);
        loop {
            let row = match answers.try_next().await {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(rows),
                Err(error) if is_missing_table(&error) => return Ok(rows),
                Err(error) => return Err(error),
            };
            let (number, offset): (i64, i64) = (row.try_get("number")?, row.try_get("offset")?);
            let sequence: i64 = row.try_get("sequence")?;
            let (level, partition): (i16, i32) = (row.try_get("level")?, row.try_get("partition")?);
            rows.push(Row {
                number: number.unsigned_abs(),
                source_hash: source_hash(row.try_get("source")?),
                level: u8::try_from(level).unwrap_or(u8::MAX),
                partition: partition.unsigned_abs(),
                offset: offset.unsigned_abs(),
                sequence: sequence.unsigned_abs(),
            });
        }
    }

    fn with_schema(&self, text: &str) -> String {
        text.replace("OWN", &self.schema)
    }
}

/// No consumer has created the tables yet.
fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}
