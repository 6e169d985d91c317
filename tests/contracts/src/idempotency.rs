//! Contract of [`IdempotencyStore`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::Uuid;
use domain::ports::{Client, IdempotencyStore, IdempotentRequest, KEPT_ANSWER_BYTES_MAX, Recollection, RequestClass};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{in_time, run};

/// An implementation of the store under test.
pub trait IdempotencySubject: Sync {
    /// An empty store that remembers entries for `window`.
    fn fresh(&self, window: Duration) -> impl Future<Output = Arc<dyn IdempotencyStore>>;
}

/// Runs the whole suite.
pub async fn all(subject: &impl IdempotencySubject) {
    run!(
        subject,
        a_request_is_new_until_it_is_answered_and_then_has_that_answer,
        an_answer_may_have_any_bytes,
        a_key_belongs_to_the_body_that_came_first,
        the_first_answer_is_kept,
        of_different_bodies_at_once_one_gets_the_key,
        clients_and_classes_do_not_share_their_keys,
        an_answer_that_is_too_large_is_not_kept_and_the_body_is,
        an_answer_to_an_unknown_request_is_kept,
        entries_expire_after_the_window,
        the_window_restarts_with_the_answer,
    );
}

/// Longer than any check takes.
const LONG: Duration = Duration::from_secs(3_600);

/// A request with the key "1" of one client, whose body is identified by this number.
fn request(body: u128) -> IdempotentRequest<'static> {
    IdempotentRequest {
        client: client("192.0.2.1"),
        class: RequestClass::Single,
        key: "1",
        fingerprint: Uuid::from_u128(body),
    }
}

fn client(address: &str) -> Client {
    address.parse::<IpAddr>().expect("an address").into()
}

fn answered(answer: &[u8]) -> Recollection {
    Recollection::Answered(answer.to_vec())
}

/// A failed first attempt leaves nothing that would block the second.
pub async fn a_request_is_new_until_it_is_answered_and_then_has_that_answer(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    for _ in 0..3 {
        assert_eq!(store.begin(&request(1)).await, Recollection::New);
    }
    store.finish(&request(1), b"").await;
    assert_eq!(store.begin(&request(1)).await, Recollection::New, "there is still no answer");
    store.finish(&request(1), b"{}").await;
    for _ in 0..3 {
        assert_eq!(store.begin(&request(1)).await, answered(b"{}"));
    }
}

/// Bytes that look like a number, or not like text at all, are returned unchanged.
pub async fn an_answer_may_have_any_bytes(subject: &impl IdempotencySubject) {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    // The same holds for fingerprints.
    let bodies = [0, u128::MAX, u128::from_le_bytes(*b"123456789012345\0"), 0x0d0a << 100];
    for answer in [b"1".as_slice(), b"-0.5", b"\r\n", b"\0", every.as_slice()] {
        for body in bodies {
            let store = subject.fresh(LONG).await;
            assert_eq!(store.begin(&request(body)).await, Recollection::New);
            store.finish(&request(body), answer).await;
            assert_eq!(store.begin(&request(body)).await, answered(answer), "{body:x}");
        }
    }
}

/// Whether or not it has been answered, and whatever comes later.
pub async fn a_key_belongs_to_the_body_that_came_first(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    assert_eq!(store.begin(&request(1)).await, Recollection::New);
    assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
    store.finish(&request(2), b"two").await;
    assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
    assert_eq!(store.begin(&request(1)).await, Recollection::New);
    store.finish(&request(1), b"one").await;
    store.finish(&request(2), b"two").await;
    assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
    assert_eq!(store.begin(&request(1)).await, answered(b"one"));
}

/// Two concurrent attempts may have two answers; later requests always get the same one of them.
pub async fn the_first_answer_is_kept(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    store.begin(&request(1)).await;
    store.finish(&request(1), b"first").await;
    store.finish(&request(1), b"second").await;
    assert_eq!(store.begin(&request(1)).await, answered(b"first"));
}

/// Lookup and claim are atomic.
pub async fn of_different_bodies_at_once_one_gets_the_key(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    let mut requests = JoinSet::new();
    for body in 0..64 {
        let store = Arc::clone(&store);
        requests.spawn(async move { store.begin(&request(body)).await });
    }
    let recollections = in_time("all requests complete", requests.join_all()).await;
    let new = recollections.iter().filter(|recollection| **recollection == Recollection::New).count();
    let other = recollections.iter().filter(|recollection| **recollection == Recollection::OtherBody).count();
    assert_eq!((new, other), (1, 63));
}

/// A key applies only to requests of one client to one class.
pub async fn clients_and_classes_do_not_share_their_keys(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    let mut requests = Vec::new();
    for client in ["192.0.2.1", "192.0.2.11", "2001:db8::", "2001:db8:0:1::", "2001:db8:1::"].map(client) {
        for class in [RequestClass::Single, RequestClass::Batch] {
            for key in ["1", "11", ":1", "1:1", "/1", "1/1", "a", "A", "*", "{1}"] {
                let fingerprint = Uuid::from_u128(requests.len() as u128);
                requests.push(IdempotentRequest { client, class, key, fingerprint });
            }
        }
    }
    for request in &requests {
        assert_eq!(store.begin(request).await, Recollection::New, "{request:?}");
        store.finish(request, request.fingerprint.as_bytes()).await;
    }
    for request in &requests {
        assert_eq!(store.begin(request).await, answered(request.fingerprint.as_bytes()), "{request:?}");
    }
    // An IPv6 network is one client.
    let neighbour = IdempotentRequest { client: client("2001:db8::2"), ..requests[40] };
    assert_eq!(store.begin(&neighbour).await, answered(neighbour.fingerprint.as_bytes()));
}

/// The limit is [`KEPT_ANSWER_BYTES_MAX`].
pub async fn an_answer_that_is_too_large_is_not_kept_and_the_body_is(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    assert_eq!(store.begin(&request(1)).await, Recollection::New);
    store.finish(&request(1), &vec![b'x'; KEPT_ANSWER_BYTES_MAX + 1]).await;
    assert_eq!(store.begin(&request(1)).await, Recollection::New);
    assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
    let largest = vec![b'x'; KEPT_ANSWER_BYTES_MAX];
    store.finish(&request(1), &largest).await;
    assert!(store.begin(&request(1)).await == answered(&largest), "an answer at the limit is kept");
}

/// The store may have been unavailable, or may have expired the entry, between request and answer.
pub async fn an_answer_to_an_unknown_request_is_kept(subject: &impl IdempotencySubject) {
    let store = subject.fresh(LONG).await;
    store.finish(&request(1), b"{}").await;
    assert_eq!(store.begin(&request(1)).await, answered(b"{}"));
    assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
}

/// Tolerance for clock differences.
const CLOCK_ERROR: Duration = Duration::from_millis(20);

/// Waits until a key is free for another body. Panics if it is free before `earliest` or still taken after `latest`.
async fn forgotten(store: &dyn IdempotencyStore, earliest: Instant, latest: Instant) {
    let forgotten = async {
        loop {
            let asked = Instant::now();
            if store.begin(&request(2)).await != Recollection::OtherBody {
                assert!(Instant::now() + CLOCK_ERROR >= earliest, "forgotten too early");
                break;
            }
            assert!(asked < latest + CLOCK_ERROR, "remembered for too long");
        }
    };
    in_time("it is forgotten", forgotten).await;
}

/// The body alone, and the answer with it. Lookups do not extend the lifetime.
pub async fn entries_expire_after_the_window(subject: &impl IdempotencySubject) {
    let window = Duration::from_millis(300);
    for answer in [None, Some(b"{}")] {
        let store = subject.fresh(window).await;
        let began = Instant::now();
        store.begin(&request(1)).await;
        if let Some(answer) = answer {
            store.finish(&request(1), answer).await;
        }
        let remembered = Instant::now();
        forgotten(&*store, began + window, remembered + window).await;
    }
}

/// So that the answer to a second attempt does not expire with the first attempt.
pub async fn the_window_restarts_with_the_answer(subject: &impl IdempotencySubject) {
    let window = Duration::from_millis(300);
    let store = subject.fresh(window).await;
    store.begin(&request(1)).await;
    let half = Instant::now() + window / 2;
    let later = async {
        while Instant::now() < half {
            assert_eq!(store.begin(&request(2)).await, Recollection::OtherBody);
        }
    };
    in_time("half of the window passes", later).await;
    let answered = Instant::now();
    store.finish(&request(1), b"{}").await;
    let remembered = Instant::now();
    forgotten(&*store, answered + window, remembered + window).await;
}
