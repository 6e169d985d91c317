//! Contract of [`QueryCache`].

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{CACHED_ANSWER_AGE_MAX, CACHED_ANSWER_BYTES_MAX, QueryCache};
use tokio::time::Instant;

use crate::{in_time, run};

/// An implementation of the cache under test.
pub trait QueryCacheSubject: Sync {
    /// An empty cache.
    fn fresh(&self) -> impl Future<Output = Arc<dyn QueryCache>>;
}

/// Runs the whole suite.
pub async fn all(subject: &impl QueryCacheSubject) {
    run!(
        subject,
        an_answer_is_shown_for_its_own_query_only,
        the_latest_answer_is_shown,
        an_answer_that_is_too_large_is_not_cached,
        an_answer_is_not_shown_when_it_is_old,
    );
}

/// For any query texts and answer bytes.
pub async fn an_answer_is_shown_for_its_own_query_only(subject: &impl QueryCacheSubject) {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let long = "x".repeat(64 * 1024);
    let answers: [(&str, &[u8]); 7] = [
        ("/api/logs", b"{}"),
        ("/api/logs ", b"1"),
        ("/API/LOGS", b"\r\n"),
        ("/api/logs \"\0\u{1f680}\r\n", &every),
        ("*", b"\0"),
        ("", b"-0.5"),
        (&long, b"long"),
    ];
    for (query, answer) in answers {
        let cache = subject.fresh().await;
        for (other, _) in answers {
            assert_eq!(cache.get(other).await, None);
        }
        cache.put(query, answer).await;
        for (other, _) in answers {
            assert_eq!(cache.get(other).await, (query == other).then(|| answer.to_vec()), "{query:?} and {other:?}");
        }
    }
}

/// Of two answers computed in parallel, the later one is more recent.
pub async fn the_latest_answer_is_shown(subject: &impl QueryCacheSubject) {
    let cache = subject.fresh().await;
    cache.put("query", b"first").await;
    cache.put("query", b"second").await;
    assert_eq!(cache.get("query").await.as_deref(), Some(b"second".as_slice()));
}

/// The limit is [`CACHED_ANSWER_BYTES_MAX`].
pub async fn an_answer_that_is_too_large_is_not_cached(subject: &impl QueryCacheSubject) {
    let cache = subject.fresh().await;
    for (bytes, cached) in [(CACHED_ANSWER_BYTES_MAX, true), (CACHED_ANSWER_BYTES_MAX + 1, false)] {
        let query = bytes.to_string();
        cache.put(&query, &vec![b'x'; bytes]).await;
        assert_eq!(cache.get(&query).await.map(|answer| answer.len()), cached.then_some(bytes));
    }
}

/// The limit is [`CACHED_ANSWER_AGE_MAX`], however often it is returned.
pub async fn an_answer_is_not_shown_when_it_is_old(subject: &impl QueryCacheSubject) {
    /// Tolerance for clock differences.
    const CLOCK_ERROR: Duration = Duration::from_millis(20);

    let cache = subject.fresh().await;
    let began = Instant::now();
    cache.put("query", b"{}").await;
    let cached = Instant::now();
    let gone = async {
        loop {
            let asked = Instant::now();
            if cache.get("query").await.is_none() {
                assert!(Instant::now() + CLOCK_ERROR >= began + CACHED_ANSWER_AGE_MAX, "gone too early");
                break;
            }
            assert!(asked < cached + CACHED_ANSWER_AGE_MAX + CLOCK_ERROR, "shown for too long");
        }
    };
    in_time("it is gone", gone).await;
}
