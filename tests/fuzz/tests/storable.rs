//! Stores the events accepted from the committed inputs in real stores: an event answered with 202 must be storable.
//! `TEST_FUZZ_INPUTS` names a directory with more inputs of the target `events`; `TEST_POSTGRES_URL` a server.

#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use adapter_embedded::store::{SqliteStore, StoreOptions};
use adapter_postgres::{PostgresOptions, PostgresStore};
use application::codec;
use domain::Uuid;
use domain::event::LogEvent;
use domain::ports::{Append, GroupPartition, LogStore};

const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
const APPEND_EVENTS: usize = 500;

/// The events, with distinct ids.
fn events() -> Vec<LogEvent<'static>> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/events");
    let more = std::env::var_os("TEST_FUZZ_INPUTS").map(Into::into);
    let mut events = Vec::new();
    for directory in [committed].into_iter().chain(more) {
        for entry in std::fs::read_dir(&directory).expect("inputs") {
            let input = std::fs::read(entry.expect("an entry").path()).expect("an input");
            for record in fuzz::events::accepted(&input).iter() {
                let event = codec::decode(record).expect("an accepted event decodes").into_owned();
                events.push(LogEvent { event_id: Uuid::from_u128(events.len() as u128), ..event });
            }
        }
    }
    assert!(events.len() > 30, "inputs are missing: {} events", events.len());
    events
}

async fn check(store: &dyn LogStore, events: Vec<LogEvent<'static>>) {
    let group_partition = GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition: 0 };
    let events: Vec<(u64, LogEvent<'static>)> = (0..).zip(events).collect();
    let mut expected = None;
    for events in events.chunks(APPEND_EVENTS) {
        let next = expected.unwrap_or(0) + events.len() as u64;
        let append = Append { group_partition: &group_partition, expected, next, events, dead_letters: &[] };
        assert_eq!(store.append(&append).await.expect("the store accepts them").stored, events.len());
        expected = Some(next);
    }
    for (offset, event) in events {
        let found = store.find(event.event_id).await.expect("the store answers").expect("an event that was stored");
        assert_eq!((found.offset, found.event), (offset, event));
    }
    store.close().await;
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(future);
}

#[test]
fn the_embedded_store_stores_accepted_events() {
    let events = events();
    let directory = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { dedup_window: DEDUP_WINDOW, query_timeout: QUERY_TIMEOUT };
    block_on(async {
        let store = SqliteStore::open(&directory.path().join("events.db"), options).await.expect("the store opens");
        check(&store, events).await;
    });
}

#[test]
fn postgresql_stores_accepted_events() {
    let Ok(url) = std::env::var("TEST_POSTGRES_URL") else {
        assert!(std::env::var("CI").is_err(), "TEST_POSTGRES_URL is missing: scripts/services");
        eprintln!("skipped: TEST_POSTGRES_URL is missing; scripts/services starts a server");
        return;
    };
    let events = events();
    let schema = format!("fuzz_{}", std::process::id());
    let options = PostgresOptions {
        url,
        schema,
        dedup_window: DEDUP_WINDOW,
        resend_window: DEDUP_WINDOW,
        query_timeout: QUERY_TIMEOUT,
    };
    block_on(async {
        let store = PostgresStore::new(&options).expect("a URL");
        store.prepare().await.expect("the server answers");
        check(&store, events).await;
    });
}
