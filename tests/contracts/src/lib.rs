//! The contracts of the ports, as suites that every implementation runs.
//!
//! A port's documentation states its contract; the suite of the port repeats it as checks. Adapters that pass are
//! interchangeable. To run a suite, an adapter's integration test
//!
//! 1. implements the suite's subject trait ([`store::StoreSubject`], [`bus::BusSubject`], [`limiter::LimiterSubject`],
//!    [`agent_limiter::AgentLimiterSubject`], [`idempotency::IdempotencySubject`], [`journal::JournalSubject`] or
//!    [`query_cache::QueryCacheSubject`]): how to create a fresh instance, how to reopen it, and the few properties in which implementations may differ;
//! 2. calls the suite's `all` from one test, or each check from a separate test:
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn the_store_keeps_the_promises_of_its_port() {
//!     contracts::store::all(&MyStores::new()).await;
//! }
//! ```
//!
//! Each check is a function named after the promise that it checks. Checks panic; the message begins with what went
//! wrong, and the name of the running check is printed beside it. Every check requests a fresh instance, so their order
//! does not matter. Time passes only for promises about time: events that must happen get a generous deadline
//! ([`DEADLINE`]), and events that must not happen are checked in a state in which they would have happened. All variety
//! comes from fixed seeds.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking, and an out-of-range index is also a failure"
)]

use std::task::Poll;
use std::time::Duration;

mod variety;

pub mod agent_limiter;
pub mod bus;
pub mod idempotency;
pub mod journal;
pub mod limiter;
pub mod query_cache;
pub mod search;
pub mod store;

/// Deadline for events that must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Prints the name of the running check on a panic.
struct Running(&'static str);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken promise: {}", self.0.replace('_', " "));
        }
    }
}

/// Runs checks sequentially on one subject.
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

/// Runs checks in parallel on one subject, each on a thread with its own runtime: for implementations that mostly wait.
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
            assert_eq!(broken, 0, "promises are broken");
        })
    };
}
use run_at_once;

/// The output of a future that must complete in time.
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
