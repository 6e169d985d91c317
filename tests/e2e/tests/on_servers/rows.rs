//! What PostgreSQL has. In statements, `SCHEMA` stands for the schema of the test.

use std::time::Instant;

use e2e::servers::Servers;
use e2e::{DEADLINE, looks};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Queries PostgreSQL for a number, retrying until it answers.
pub async fn number(servers: &Servers, query: &str) -> i64 {
    let query = query.replace("SCHEMA", &servers.schema());
    let (began, mut looks) = (Instant::now(), looks());
    loop {
        looks.tick().await;
        let answer = async {
            let mut connection = PgConnection::connect(&servers.postgres).await?;
            let number = sqlx::query_scalar::<_, i64>(AssertSqlSafe(query.clone())).fetch_one(&mut connection).await?;
            connection.close().await.map(|()| number)
        };
        match answer.await {
            Ok(number) => return number,
            // The table does not exist yet.
            Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) => {
                return 0;
            }
            Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
        }
    }
}

/// How many events there are.
pub async fn rows(servers: &Servers) -> i64 {
    number(servers, "SELECT count(*) FROM SCHEMA.events").await
}

/// Executes a statement.
pub async fn execute(servers: &Servers, statement: &str) {
    let mut connection = PgConnection::connect(&servers.postgres).await.expect("PostgreSQL answers");
    let statement = statement.replace("SCHEMA", &servers.schema());
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement succeeds");
}

/// Waits until this many rows exist, as long as rows keep arriving.
pub async fn until_rows(servers: &Servers, expected: i64) {
    let (mut last, mut changed, mut looks) = (-1, Instant::now(), looks());
    while last < expected {
        looks.tick().await;
        let now = rows(servers).await;
        if now != last {
            (last, changed) = (now, Instant::now());
        }
        assert!(changed.elapsed() < DEADLINE, "{last} rows of {expected}, and none in the last {DEADLINE:?}");
    }
}
