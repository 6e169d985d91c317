//! The PostgreSQL store keeps the promises of its port. Needs a server: `TEST_POSTGRES_URL` (`scripts/services`).

#![expect(clippy::expect_used, reason = "what a test needs in order to run may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_postgres::{PostgresOptions, PostgresStore};
use contracts::store::StoreSubject;
use domain::ports::LogStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);

struct PostgresStores {
    server: String,
    databases: AtomicU32,
}

impl StoreSubject for PostgresStores {
    /// The URL of a database.
    type Place = String;

    async fn place(&self) -> String {
        let mut connection = PgConnection::connect(&self.server).await.expect("the server answers");
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("contract_{}_{number}", std::process::id());
        for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("a database");
        }
        let (server, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{name}")
    }

    async fn open(&self, place: &String) -> Arc<dyn LogStore> {
        let options =
            PostgresOptions { url: place.clone(), dedup_window: DEDUP_WINDOW, query_timeout: contracts::DEADLINE };
        Arc::new(PostgresStore::open(&options).await.expect("the store opens"))
    }

    fn dedup_window(&self) -> Duration {
        DEDUP_WINDOW
    }

    fn expiry_unit(&self) -> Duration {
        Duration::from_secs(24 * 3_600)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_store_keeps_the_promises_of_its_port() {
    let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
        assert!(std::env::var("CI").is_err(), "TEST_POSTGRES_URL is missing: scripts/services starts a server");
        eprintln!("skipped: TEST_POSTGRES_URL is missing; scripts/services starts a server");
        return;
    };
    contracts::store::all(&PostgresStores { server, databases: AtomicU32::new(0) }).await;
}
