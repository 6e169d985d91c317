//! The rows of a store in PostgreSQL, asked beside the program.
//!
//! Constraint: a question is an error while the server is away; whoever waits asks again.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use crate::comparison::Row;

/// The store of one scenario.
#[derive(Clone, Debug)]
pub struct Store {
    /// URL of the database.
    pub url: String,
    /// The schema; `SCHEMA` stands for it in statements.
    pub schema: String,
}

impl Store {
    /// A number; 0 while there are no tables yet.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn number(&self, query: &str) -> Result<i64, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let answer = sqlx::query_scalar(AssertSqlSafe(self.with_schema(query))).fetch_one(&mut connection).await;
        let _ = connection.close().await;
        match answer {
            Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) => {
                Ok(0)
            }
            answer => answer,
        }
    }

    /// How many rows there are; `None` if the server does not answer.
    pub async fn count(&self) -> Option<u64> {
        let count = self.number("SELECT count(*) FROM SCHEMA.events").await.ok()?;
        u64::try_from(count).ok()
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// If the server does not answer, or refuses it.
    pub async fn execute(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let done = sqlx::query(AssertSqlSafe(self.with_schema(statement))).execute(&mut connection).await;
        let _ = connection.close().await;
        done.map(|done| done.rows_affected())
    }

    /// All rows with a numbered event.
    ///
    /// # Errors
    /// If the server does not answer to the end.
    pub async fn rows(&self) -> Result<Vec<Row>, sqlx::Error> {
        const QUERY: &str = r#"SELECT split_part(message, ' ', 2)::bigint AS number, source, level, partition, "offset"
            FROM SCHEMA.events WHERE message LIKE 'event %'"#;
        let mut connection = PgConnection::connect(&self.url).await?;
        let mut rows = Vec::new();
        let mut answers = sqlx::query(AssertSqlSafe(self.with_schema(QUERY))).fetch(&mut connection);
        while let Some(row) = answers.try_next().await? {
            let (number, offset): (i64, i64) = (row.try_get("number")?, row.try_get("offset")?);
            let (level, partition): (i16, i32) = (row.try_get("level")?, row.try_get("partition")?);
            rows.push(Row {
                number: number.unsigned_abs(),
                source: row.try_get("source")?,
                level: u8::try_from(level).unwrap_or(u8::MAX),
                partition: partition.unsigned_abs(),
                offset: offset.unsigned_abs(),
            });
        }
        Ok(rows)
    }

    fn with_schema(&self, text: &str) -> String {
        text.replace("SCHEMA", &self.schema)
    }
}
