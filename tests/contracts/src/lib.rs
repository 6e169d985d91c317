//! The promises of the ports, as suites that every implementation runs.
//!
//! A port's documentation says what it promises; the suite of the port says it again as checks. An adapter that
//! passes may take the place of any other. To run a suite, an adapter's integration test
//!
//! 1. implements the suite's subject trait ([`store::StoreSubject`], [`bus::BusSubject`], [`limiter::LimiterSubject`],
//!    [`idempotency::IdempotencySubject`], [`journal::JournalSubject`] or [`query_cache::QueryCacheSubject`]): how to make a fresh instance, how to open the same one again, and the few
//!    properties in which implementations may differ;
//! 2. calls the suite's `all` from one test, or each check from a test of its own:
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn the_store_keeps_the_promises_of_its_port() {
//!     contracts::store::all(&MyStores::new()).await;
//! }
//! ```
//!
//! Each check is a function whose name is the promise. Checks panic; the message begins with what went wrong, and
//! the name of the check that was running is printed beside it. Every check asks for a fresh instance, so their
//! order does not matter. Time passes only for promises about time: what must happen gets a generous deadline
//! ([`DEADLINE`]) and what must not happen is asked of a state in which it would have happened. All variety comes
//! from fixed seeds.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking, and an index that is out of range is a failure like any other"
)]

use std::task::Poll;
use std::time::Duration;

mod variety;

pub mod bus;
pub mod idempotency;
pub mod journal;
pub mod limiter;
pub mod query_cache;
pub mod store;

/// How long anything may take that must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Says which check was running when a panic passes by.
struct Running(&'static str);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken promise: {}", self.0.replace('_', " "));
        }
    }
}

/// Runs checks one after the other over one subject.
macro_rules! run {
    ($subject:expr, $($check:ident),+ $(,)?) => {
        $({
            let running = $crate::Running(stringify!($check));
            $check($subject).await;
            drop(running);
        })+
    };
}
use run;

/// Runs checks at once over one subject, each on a thread with a runtime of its own: for implementations that wait much and
/// work little.
macro_rules! run_at_once {
    ($subject:expr, $($check:ident),+ $(,)?) => {
        std::thread::scope(|scope| {
            let checks = [$(scope.spawn(|| {
                let running = $crate::Running(stringify!($check));
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
                runtime.expect("a runtime").block_on($check($subject));
                drop(running);
            })),+];
            let broken = checks.map(|check| check.join().is_err()).into_iter().filter(|broken| *broken).count();
            assert_eq!(broken, 0, "so many promises are broken");
        })
    };
}
use run_at_once;

/// The outcome of what must happen.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Polls a future once.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}
