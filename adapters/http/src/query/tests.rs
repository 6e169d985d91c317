use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::dead_letters::DeadLetters;
use application::health::Health;
use application::query::Query;
use application::tail::Tail;
use domain::ports::{Clock, LogStore, MockLogStore, MockQueryCache, MockRecordPublisher};
use domain::query::Page;
use domain::timestamp::Timestamp;
use poem::{Endpoint, Request};
use testkit::clock_at;
use uuid::Uuid;

use super::cursor;
use super::dependencies::{CACHED_FROM, ConsumerDependencies};
use super::params::duration;
use crate::actuator::{Actuator, LogControl};
use crate::body::BodyBudget;
use crate::endpoints::consumer_endpoint;
use crate::error::ApiError;

fn dependencies(store: MockLogStore, cache: MockQueryCache) -> ConsumerDependencies {
    let (store, clock): (Arc<dyn LogStore>, Arc<dyn Clock>) =
        (Arc::new(store), Arc::new(clock_at("2024-01-15T10:30:00Z")));
    ConsumerDependencies {
        query: Query::new(Arc::clone(&store), Arc::clone(&clock)),
        tail: Tail::new(Arc::clone(&store)),
        dead_letters: DeadLetters::new(store, Arc::new(MockRecordPublisher::new()), clock),
        health: Health::default(),
        bodies: BodyBudget::new(1 << 20),
        cache: Some(Arc::new(cache)),
    }
}

async fn get(dependencies: ConsumerDependencies, uri: &str) -> (u16, String) {
    let actuator = Actuator {
        role: "consumer",
        started_at: clock_at("2024-01-15T10:30:00Z").now(),
        health: Health::default(),
        instances: None,
        log: LogControl::NONE,
        metrics: Arc::new(String::new),
        document: "{}".into(),
    };
    let request = Request::builder().uri_str(uri).finish();
    let response = consumer_endpoint(dependencies, actuator).get_response(request).await;
    (response.status().as_u16(), response.into_body().into_string().await.expect("text"))
}

/// A store in which there is nothing.
fn empty() -> MockLogStore {
    let mut store = MockLogStore::new();
    store.expect_query().returning(|_| Ok(Page::default()));
    store.expect_stats().returning(|_| Ok(Vec::new()));
    store
}

#[tokio::test]
async fn a_cached_answer_is_shown_and_the_store_is_not_asked() {
    for path in ["/api/logs", "/api/logs/stats"] {
        let mut cache = MockQueryCache::new();
        cache.expect_get().return_const(Some(b"cached".to_vec()));
        let answer = get(dependencies(MockLogStore::new(), cache), path).await;
        assert_eq!(answer, (200, "cached".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_takes_long_is_cached() {
    for (duration, times) in [(CACHED_FROM, 0), (CACHED_FROM + Duration::from_millis(1), 1)] {
        let mut cache = MockQueryCache::new();
        cache.expect_get().return_const(None);
        cache.expect_put().withf(|query, answer| (query, answer) == ("query", b"answer")).times(times).return_const(());
        let dependencies = dependencies(MockLogStore::new(), cache);
        let answer = dependencies.cached("query", async {
            tokio::time::advance(duration).await;
            Ok(b"answer".to_vec())
        });
        assert_eq!(answer.await.expect("an answer"), b"answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_cached_however_long_it_takes() {
    let mut cache = MockQueryCache::new();
    cache.expect_get().return_const(None);
    let dependencies = dependencies(MockLogStore::new(), cache);
    let failure = dependencies.cached("query", async {
        tokio::time::advance(CACHED_FROM * 2).await;
        Err(ApiError::QueryTooBroad)
    });
    assert!(matches!(failure.await, Err(ApiError::QueryTooBroad)));
}

/// What the cache is asked for by a request.
async fn cache_key(uri: &str) -> String {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let mut cache = MockQueryCache::new();
    cache.expect_get().returning(move |query| {
        note.lock().expect("lock").push(query.to_owned());
        None
    });
    cache.expect_put().return_const(());
    assert_eq!(get(dependencies(empty(), cache), uri).await.0, 200, "{uri}");
    let mut asked = asked.lock().expect("lock");
    assert_eq!(asked.len(), 1, "{uri}");
    asked.remove(0)
}

#[tokio::test]
async fn queries_are_told_apart_by_what_they_ask_and_not_by_how_it_is_written() {
    let cursor = cursor::write(&domain::query::PageKey {
        timestamp: Timestamp::MIN,
        event_id: Uuid::from_u128(1),
        received_at: Timestamp::MAX,
    });
    let different: [&[&str]; 16] = [
        &["/api/logs", "/api/logs?limit=100"],
        &["/api/logs?limit=99"],
        &["/api/logs?source=a", "/api/logs?source=%61"],
        &["/api/logs?source=A"],
        &["/api/logs?q=a"],
        &["/api/logs?q=b"],
        &["/api/logs?level=ERROR", "/api/logs?level=error&level=ERROR"],
        &[
            "/api/logs?level=WARN&level=ERROR",
            "/api/logs?level=ERROR&level=WARNING",
            "/api/logs?level=error,%20Warn",
            "/api/logs?level=WARN,ERROR&level=ERROR",
        ],
        &["/api/logs?from=2024-01-01T00:00:00Z", "/api/logs?from=2024-01-01T01:00:00%2B01:00"],
        &["/api/logs?to=2024-01-01T00:00:00Z"],
        &[
            "/api/logs?traceId=0123456789ABCDEF0123456789ABCDEF&q=a",
            "/api/logs?q=a&traceId=0123456789abcdef0123456789abcdef",
        ],
        &[&format!("/api/logs?cursor={cursor}")],
        &["/api/logs/stats"],
        &["/api/logs/stats?interval=60s", "/api/logs/stats?interval=1m"],
        &["/api/logs/stats?from=2024-01-15T10:00:00Z"],
        &["/api/logs/stats?to=2024-01-15T10:00:00Z"],
    ];
    let mut keys = BTreeMap::new();
    for (query, spellings) in different.into_iter().enumerate() {
        for uri in spellings {
            let key = cache_key(uri).await;
            assert_eq!(*keys.entry(key).or_insert(query), query, "{uri}");
        }
    }
    assert_eq!(keys.len(), different.len(), "{keys:#?}");
}

#[test]
fn intervals_are_a_number_and_a_unit() {
    for (text, seconds) in
        [("1s", 1), ("90m", 5_400), ("2h", 7_200), ("7d", 604_800), ("999999999d", 86_399_999_913_600)]
    {
        assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "s", "5", "5w", "-1s", "1.5h", "1 s", "99999999999999999999d", "1µ"] {
        assert_eq!(duration(text), None, "{text}");
    }
}
