use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::dead_letters::DeadLetters;
use application::export::Exports;
use application::health::Health;
use application::query::Query;
use application::tail::Tail;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::ports::{Clock, LogStore, MockLogStore, MockQueryCache, MockRecordPublisher, StoreError};
use domain::query::{Direction, Order, Page, PageKey, StoredEvent};
use domain::stats::Counts;
use domain::timestamp::Timestamp;
use poem::{Endpoint, Request};
use testkit::clock_at;
use uuid::Uuid;

use super::cursor;
use super::dependencies::{CACHED_FROM, ConsumerDependencies};
use crate::access::{AccessControl, AccessRules};
use crate::actuator::instance::InstanceReading;
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
        exports: Exports::new(Arc::clone(&store)),
        dead_letters: DeadLetters::new(store, Arc::new(MockRecordPublisher::new()), clock),
        health: Health::default(),
        bodies: BodyBudget::new(1 << 20),
        cache: Some(Arc::new(cache)),
    }
}

fn actuator() -> Actuator {
    Actuator {
        role: "consumer",
        started_at: clock_at("2024-01-15T10:30:00Z").now(),
        health: Health::default(),
        instances: None,
        log: LogControl::NONE,
        reading: Arc::new(|| InstanceReading::at(Timestamp::MIN)),
        metrics: Arc::new(String::new),
        document: "{}".into(),
    }
}

async fn get(dependencies: ConsumerDependencies, uri: &str) -> (u16, String) {
    // Without anyone who could say that it stops, an export would end.
    let _health = dependencies.health.clone();
    let request = Request::builder().uri_str(uri).finish();
    let response = consumer_endpoint(dependencies, actuator(), AccessControl::new(AccessRules::default()))
        .get_response(request)
        .await;
    (response.status().as_u16(), response.into_body().into_string().await.expect("text"))
}

/// A store in which there is nothing.
fn empty() -> MockLogStore {
    let mut store = MockLogStore::new();
    store.expect_query().returning(|_| Ok(Page::default()));
    store.expect_stats().returning(|_| Ok(Counts::default()));
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
    let key = PageKey {
        timestamp: Timestamp::MIN,
        event_id: Uuid::from_u128(1),
        received_at: Timestamp::MAX,
        partition: 0,
        offset: 1,
    };
    let cursor = cursor::write(Order::default(), &key);
    let oldest_first = Order { direction: Direction::OldestFirst, ..Order::default() };
    let upward = cursor::write(oldest_first, &key);
    let different: [&[&str]; 31] = [
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
        &[&format!("/api/logs?cursor={cursor}"), &format!("/api/logs?cursor={cursor}&order=desc")],
        &[&format!("/api/logs?cursor={upward}"), &format!("/api/logs?order=asc&cursor={upward}")],
        &["/api/logs?order=asc"],
        &["/api/logs?query=a", "/api/logs?query=(a)", "/api/logs?query=%20A"],
        &["/api/logs?query=a:1"],
        &["/api/logs?source=a&source=b*", "/api/logs?source=b*&source=a&source=a"],
        &["/api/logs?from=-1h", "/api/logs?from=now-60m"],
        &["/api/logs/stats?by=source"],
        &["/api/logs/stats?sparse=true"],
        // The answer repeats the name as it was given.
        &["/api/logs/values?field=a"],
        &["/api/logs/values?field=metadata.a"],
        &["/api/logs/stats?by=a"],
        &["/api/logs/stats?by=metadata.a"],
        &["/api/logs/values?field=a&limit=5"],
        &["/api/logs/fields"],
        &["/api/logs/stats"],
        &["/api/logs/stats?interval=60s", "/api/logs/stats?interval=1m"],
        &["/api/logs/stats?from=2024-01-15T10:00:00Z"],
        &["/api/logs/stats?from=first"],
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

#[tokio::test]
async fn what_a_search_cannot_mean_is_refused_with_a_code_and_a_reason() {
    let key = PageKey {
        timestamp: Timestamp::MIN,
        event_id: Uuid::from_u128(1),
        received_at: Timestamp::MAX,
        partition: 0,
        offset: 1,
    };
    let cursor = cursor::write(Order::default(), &key);
    for (uri, code, detail) in [
        ("/api/logs?query=level:LOUD", "query_invalid", "query at character 7: expected TRACE"),
        ("/api/logs/tail?query=(", "query_invalid", "query at character 2: expected a word"),
        ("/api/logs/export?query=a:", "query_invalid", "expected a value directly behind `a:`"),
        ("/api/logs?from=yesterday", "invalid_parameter", "from must be a time such as"),
        ("/api/logs?levels=INFO", "invalid_parameter", "levels is not a parameter here; known are: query, q, source"),
        ("/api/logs?q=a&q=b", "invalid_parameter", "q is given more than once; only source and level can be repeated"),
        ("/api/logs?order=up", "invalid_parameter", "order"),
        (&format!("/api/logs?order=asc&cursor={cursor}"), "invalid_parameter", "a page in the other order"),
        ("/api/logs?cursor=abc", "invalid_parameter", "is not a nextCursor"),
        ("/api/logs/stats?by=message", "invalid_parameter", "by: must be level, source, traceId or a name in metadata"),
        ("/api/logs/stats?interval=5y", "invalid_parameter", "interval"),
        ("/api/logs/values", "invalid_parameter", "field"),
        ("/api/logs/values?field=a&limit=0", "invalid_parameter", "limit"),
        ("/api/logs/export?format=xml", "invalid_parameter", "format"),
        ("/api/logs/fields?limit=5", "invalid_parameter", "limit is not a parameter here"),
        ("/api/logs/00000000-0000-0000-0000-000000000001/context?before=501", "invalid_parameter", "before"),
        ("/api/logs/00000000-0000-0000-0000-000000000001/context?scope=none", "invalid_parameter", "scope"),
    ] {
        let (status, body) = get(dependencies(empty(), MockQueryCache::new()), uri).await;
        let problem: serde_json::Value = serde_json::from_str(&body).expect("a problem");
        assert_eq!((status, &problem["code"]), (400, &code.into()), "{uri}: {body}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(detail)), "{uri}: {body}");
    }
}

async fn answered(store: MockLogStore, uri: &str) -> serde_json::Value {
    let mut cache = MockQueryCache::new();
    cache.expect_get().return_const(None);
    cache.expect_put().return_const(());
    serde_json::from_str(&get(dependencies(store, cache), uri).await.1).expect("JSON")
}

#[tokio::test]
async fn a_query_that_is_not_understood_has_a_position_and_one_that_finds_nothing_may_have_hints() {
    let refused = answered(empty(), "/api/logs?query=%C3%A9%20level:LOUD").await;
    assert_eq!((&refused["code"], &refused["position"]), (&"query_invalid".into(), &9.into()), "{refused}");
    let other = answered(empty(), "/api/logs?from=yesterday").await;
    assert!(other["code"] == "invalid_parameter" && other.get("position").is_none(), "{other}");

    let found = answered(empty(), "/api/logs?query=Level:ERROR").await;
    let hint = "`Level` is a name in the metadata; the field of events is `level`";
    assert_eq!(found, serde_json::json!({ "events": [], "nextCursor": null, "hints": [hint] }));
    for (store, uri) in [(empty(), "/api/logs?query=level:ERROR"), (pages(1, false), "/api/logs?query=Level:ERROR")] {
        let found = answered(store, uri).await;
        assert!(found["events"].is_array() && found.get("hints").is_none(), "{found}");
    }
}

fn stored(n: u64) -> StoredEvent {
    let event = LogEvent {
        event_id: Uuid::from_u128(n.into()),
        id_origin: IdOrigin::Client,
        source: "a,\"b\"".into(),
        level: Level::Info,
        message: "one\r\ntwo".into(),
        timestamp: Timestamp::MIN,
        received_at: Timestamp::MAX,
        stack_trace: None,
        trace_id: Some([0xab; 16]),
        span_id: None,
        metadata: None,
    };
    StoredEvent { event, topic: "logs".to_owned(), partition: 3, offset: n }
}

/// A store with this many pages of one event; then it fails.
fn pages(count: u64, fails: bool) -> MockLogStore {
    let mut store = MockLogStore::new();
    store.expect_query().returning(move |query| {
        let n = query.after.map_or(0, |after| after.offset) + 1;
        if n > count {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(Page { items: vec![stored(n)], more: n < count || fails })
    });
    store
}

#[tokio::test]
async fn an_export_is_every_page_in_the_format_that_was_asked_for() {
    let (status, body) = get(dependencies(pages(3, false), MockQueryCache::new()), "/api/logs/export").await;
    let offsets: Vec<u64> = body
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["offset"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!((status, offsets), (200, vec![1, 2, 3]));
    let (_, body) = get(dependencies(pages(2, false), MockQueryCache::new()), "/api/logs/export?format=csv").await;
    let id = "ab".repeat(16);
    let record = |n| {
        format!(
            "0000-01-01T00:00:00Z,INFO,\"a,\"\"b\"\"\",\"one\r\ntwo\",00000000-0000-0000-0000-00000000000{n},\
             9999-12-31T23:59:59.999999Z,{id},,,,logs,3,{n}\r\n"
        )
    };
    let header = "timestamp,level,source,message,eventId,receivedAt,traceId,spanId,stackTrace,metadata,topic,partition,offset\r\n";
    assert_eq!(body, format!("{header}{}{}", record(1), record(2)));
}

#[tokio::test]
async fn an_export_that_cannot_be_completed_is_broken_off_and_no_more_run_than_may() {
    let dependencies = dependencies(pages(2, true), MockQueryCache::new());
    let endpoint = consumer_endpoint(dependencies, actuator(), AccessControl::new(AccessRules::default()));
    let export = || endpoint.get_response(Request::builder().uri_str("/api/logs/export").finish());
    let (first, second) = (export().await, export().await);
    let refused = export().await;
    assert_eq!((first.status().as_u16(), refused.status().as_u16()), (200, 503));
    assert!(refused.headers().contains_key("retry-after"));
    for response in [first, second] {
        response.into_body().into_bytes().await.expect_err("it is broken off");
    }
    // The places are free again once the tasks have ended.
    let again = async {
        while export().await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("another export may begin");
}

#[tokio::test]
async fn an_event_takes_room_until_its_client_has_it() {
    let mut store = MockLogStore::new();
    store.expect_find().returning(|_| {
        let mut large = stored(1);
        // More than the room of all answers.
        large.event.message = "x".repeat(2 << 20).into();
        Ok(Some(large))
    });
    let (status, body) =
        get(dependencies(store, MockQueryCache::new()), &format!("/api/logs/{}", Uuid::from_u128(1))).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("no_capacity"), "{body}");
}

#[tokio::test]
async fn no_cache_keeps_an_answer_and_no_page_of_another_site_shows_it() {
    let dependencies = dependencies(pages(1, false), MockQueryCache::new());
    let endpoint = consumer_endpoint(dependencies, actuator(), AccessControl::new(AccessRules::default()));
    for (path, kept) in [("/api/logs/export", Some("no-store")), ("/openapi.json", None)] {
        let response = endpoint.get_response(Request::builder().uri_str(path).finish()).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(header("cache-control").as_deref(), kept, "{path}");
    }
}
