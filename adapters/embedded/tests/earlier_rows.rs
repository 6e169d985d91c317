//! The rows of an earlier version, when there are more of them than may be in chunks.

use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, SealOptions, SqliteStore, StoreOptions, list_segments};
use domain::filter::EventFilter;
use domain::ports::LogStore;
use domain::query::TailQuery;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

const ROWS: u64 = 9_000;

/// A transaction moves 4,000 rows. The ids of the events of all chunks are in memory.
#[tokio::test]
async fn rows_beyond_the_maximum_of_chunks_are_sealed_while_they_are_moved() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut before = options.connect().await.expect("the file opens");
    let seven = sqlx::migrate!("./migrations").iter().take(7).cloned().collect::<Vec<_>>();
    let earlier = sqlx::migrate::Migrator { migrations: seven.into(), ..sqlx::migrate::Migrator::DEFAULT };
    earlier.run(&mut before).await.expect("the version before");
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO events (event_id, client_id, source, level, message, timestamp, received_at, topic, partition, \"offset\") \
         SELECT unhex(printf('%032x', i)), 0, 'shop', 2, 'order', i, i, 'logs', 0, i FROM n"
    );
    before.execute(sqlx::AssertSqlSafe(fill)).await.expect("rows");
    drop(before);

    let segments = Directory::open(&directory.path().join(SEGMENTS)).expect("a directory");
    let options = StoreOptions { dedup_window: Duration::from_secs(1), query_timeout: contracts::DEADLINE };
    let seal = SealOptions { hot_events: 0, hot_events_max: 3_000, events_min: 8, ..SealOptions::default() };
    let store = SqliteStore::over(&file, options, seal, Arc::new(segments)).await.expect("the store opens");
    let sealed = list_segments(&file).await.expect("the list");
    assert_eq!(sealed.iter().map(|segment| segment.rows).collect::<Vec<_>>(), [4_000, 4_000]);
    let (mut after, mut ids) = (0, Vec::new());
    while after < ROWS {
        let query = TailQuery { filter: EventFilter::default(), after: Some(after), limit: 1_000 };
        let page = store.tail(&query).await.expect("a page");
        ids.extend(page.events.into_iter().map(|(id, _)| id));
        after = page.scanned;
    }
    assert_eq!(ids, (1..=ROWS).collect::<Vec<u64>>());
}
