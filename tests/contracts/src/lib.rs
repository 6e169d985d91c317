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
//! ([`DEADLINE`]), and events that must not happen are checked in a state in which they would have happened. What a limiter may
//! grant follows from the time that has passed ([`Refill`]), however slow the machine is. All variety comes from fixed seeds.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "checks fail by panicking, and an out-of-range index is also a failure"
)]

use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

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

/// How long the bucket of a client was refilled while its requests came. It holds one second's worth, so that more than a second
/// between two requests may count as one second only.
#[derive(Clone, Copy, Debug)]
pub struct Refill {
    began: Instant,
    last: Instant,
    at_least: Duration,
}

impl Refill {
    /// Begins now, before the first request.
    #[must_use]
    pub fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, at_least: Duration::ZERO }
    }

    /// Notes that a request comes now.
    pub fn request(&mut self) {
        let now = Instant::now();
        self.at_least += now.duration_since(self.last).min(Duration::from_secs(1));
        self.last = now;
    }

    /// The longest time that may count now.
    #[must_use]
    pub fn at_most(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time that counts in any case.
    #[must_use]
    pub fn at_least(&self) -> Duration {
        self.at_least
    }

    /// How many tokens a bucket with this rate may have got by now, a part of one as a whole one.
    #[must_use]
    pub fn tokens(&self, per_second: u32) -> u32 {
        let millionths = self.at_most().as_micros() * u128::from(per_second);
        u32::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u32::MAX)
    }
}

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
