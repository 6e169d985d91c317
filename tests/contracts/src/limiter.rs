//! Contract of [`RateLimiter`].
//!
//! Constraint: the clock of an implementation may be a real one, and its machine busy. The checks measure how much time has passed
//! and count the tokens that came back meanwhile; with a clock that only [`LimiterSubject::advance`] moves, there are none.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Client, RateDecision, RateLimiter, RateLimits, RequestClass};
use tokio::time::Instant;

use crate::run;

/// A bucket is full after this time.
const BURST: Duration = Duration::from_secs(1);

/// An implementation of the limiter under test.
pub trait LimiterSubject: Sync {
    /// A limiter that has not seen any client.
    fn fresh(&self, limits: RateLimits) -> impl Future<Output = Arc<dyn RateLimiter>>;

    /// Lets time pass for the limiters: by advancing the clock of tokio, or by waiting if theirs cannot be advanced.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
}

/// Runs the whole suite.
pub async fn all(subject: &impl LimiterSubject) {
    run!(
        subject,
        a_client_at_nine_tenths_of_its_limit_is_never_refused,
        a_client_at_five_times_its_limit_gets_the_limit_and_one_burst,
        a_client_that_paused_gets_one_burst_and_no_more,
        a_decision_reports_the_remaining_tokens_and_when_there_are_more,
        a_refused_client_that_waits_for_retry_after_is_allowed,
        clients_and_classes_do_not_share_their_limits,
        an_ipv6_network_shares_one_limit,
        a_class_without_a_limit_is_not_limited,
    );
}

fn client(address: &str) -> Client {
    address.parse::<IpAddr>().expect("an address").into()
}

fn limits(single: u32, batch: u32) -> RateLimits {
    RateLimits { single_per_second: NonZeroU32::new(single), batch_per_second: NonZeroU32::new(batch) }
}

async fn take(limiter: &dyn RateLimiter, client: Client, class: RequestClass) -> RateDecision {
    limiter.take(client, class).await.expect("the class has a limit")
}

/// How many tokens may have come back within this time: at most so many, and none in no time.
fn regained(per_second: u32, time: Duration) -> u32 {
    let tokens = (time.as_nanos() * u128::from(per_second)).div_ceil(BURST.as_nanos());
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// Lets at least this time pass.
async fn wait_out(subject: &impl LimiterSubject, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        subject.advance(time.saturating_sub(began.elapsed())).await;
    }
}

const CLASSES: [RequestClass; 2] = [RequestClass::Single, RequestClass::Batch];

/// Ninety percent of the limit, evenly spread, for half a minute.
pub async fn a_client_at_nine_tenths_of_its_limit_is_never_refused(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(100, 10)).await;
    for (class, per_second) in CLASSES.into_iter().zip([100, 10]) {
        let every = Duration::from_secs(10) / (per_second * 9);
        for request in 0..per_second * 27 {
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            assert!(decision.allowed, "request {request} of {class:?}: {decision:?}");
            subject.advance(every).await;
        }
    }
}

/// Ten seconds at five times the limit: ten times the limit plus one burst is allowed, within 5 %.
pub async fn a_client_at_five_times_its_limit_gets_the_limit_and_one_burst(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(100, 30)).await;
    for (class, per_second) in CLASSES.into_iter().zip([100, 30]) {
        let every = Duration::from_secs(1) / (per_second * 5);
        let (mut allowed, mut time, mut asked) = (0, Duration::ZERO, Instant::now());
        for _ in 0..per_second * 50 {
            allowed += u32::from(take(&*limiter, client("192.0.2.1"), class).await.allowed);
            subject.advance(every).await;
            time += asked.elapsed().min(BURST);
            asked = Instant::now();
        }
        let expected = per_second + regained(per_second, time);
        assert!(allowed.abs_diff(expected) * 20 <= expected, "{allowed} of {class:?} instead of {expected}");
    }
}

/// An idle period fills the bucket up to one second's worth of requests.
pub async fn a_client_that_paused_gets_one_burst_and_no_more(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(40, 1)).await;
    for pause in [0, 1, 5] {
        subject.advance(Duration::from_secs(pause)).await;
        let (mut allowed, began) = (0_u32, Instant::now());
        for _ in 0..80 {
            allowed += u32::from(take(&*limiter, client("192.0.2.1"), RequestClass::Single).await.allowed);
        }
        let most = 42 + regained(40, began.elapsed());
        assert!((38..=most).contains(&allowed), "{allowed} at once after {pause} seconds");
    }
}

/// The fields of [`RateDecision`] agree with each other and with what happens next.
pub async fn a_decision_reports_the_remaining_tokens_and_when_there_are_more(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(20, 5)).await;
    for (class, per_second) in CLASSES.into_iter().zip([20, 5]) {
        let mut before: Option<(RateDecision, Instant)> = None;
        let (mut refused, began) = (0, Instant::now());
        for request in 0..per_second * 2 {
            let asked = Instant::now();
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            let case = format!("request {request} of {class:?}: {decision:?} after {before:?}");
            assert_eq!(decision.limit, per_second, "{case}");
            assert!(decision.remaining < per_second, "{case}");
            assert!(decision.reset_after > Duration::ZERO && decision.reset_after <= Duration::from_secs(1), "{case}");
            assert_eq!(decision.retry_after.is_zero(), decision.allowed, "{case}");
            if decision.allowed {
                let follows = |(before, asked): (RateDecision, Instant)| {
                    let most = before.remaining + regained(per_second, asked.elapsed());
                    (before.remaining..=most).contains(&(decision.remaining + 1))
                };
                assert!(before.is_none_or(follows), "{case}");
            } else {
                assert_eq!(decision.remaining, 0, "{case}");
                // At most one request is missing.
                assert!(decision.retry_after <= Duration::from_secs(1) / per_second, "{case}");
                refused += 1;
            }
            before = Some((decision, asked));
        }
        let least = per_second.saturating_sub(regained(per_second, began.elapsed()));
        assert!((least..=per_second).contains(&refused), "one burst of {class:?}, then nothing: {refused} refused");

        let (last, _) = before.expect("there were requests");
        wait_out(subject, last.reset_after).await;
        let full = take(&*limiter, client("192.0.2.1"), class).await;
        assert_eq!((full.allowed, full.remaining), (true, per_second - 1), "full again when it said so: {last:?}");
    }
}

/// Waiting for [`RateDecision::retry_after`] suffices, and waiting less does not.
pub async fn a_refused_client_that_waits_for_retry_after_is_allowed(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(4, 1)).await;
    for (class, rounds) in CLASSES.into_iter().zip([12, 3]) {
        let mut refused = 0;
        while refused < rounds {
            let asked = Instant::now();
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            if decision.allowed {
                continue;
            }
            let decided = Instant::now();
            subject.advance(decision.retry_after / 2).await;
            let waited = decided.elapsed();
            let early = take(&*limiter, client("192.0.2.1"), class).await;
            if asked.elapsed() >= decision.retry_after {
                // It was not early: the machine is slow.
                continue;
            }
            refused += 1;
            assert!(!early.allowed, "too early: {decision:?}, then {early:?}");
            // A refusal costs nothing: the wait did not start over.
            assert!(
                early.retry_after + waited <= decision.retry_after + Duration::from_micros(1),
                "{decision:?}, after {waited:?} {early:?}"
            );
            wait_out(subject, early.retry_after).await;
            let retried = take(&*limiter, client("192.0.2.1"), class).await;
            assert!(retried.allowed, "waited for the retry_after of {early:?}, then {retried:?}");
        }
    }
}

/// Whatever one client does in one class, all others keep their limits.
pub async fn clients_and_classes_do_not_share_their_limits(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(3, 2)).await;
    let clients = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"].map(client);
    for of in clients {
        for (class, per_second) in CLASSES.into_iter().zip([3, 2]) {
            let (mut allowed, began) = (0, Instant::now());
            for _ in 0..per_second + 2 {
                allowed += u32::from(take(&*limiter, of, class).await.allowed);
            }
            let most = per_second + regained(per_second, began.elapsed());
            assert!((per_second..=most).contains(&allowed), "{allowed} of {of:?} {class:?}");
        }
    }
}

/// One household has many addresses, and one limit.
pub async fn an_ipv6_network_shares_one_limit(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(3, 1)).await;
    let (mut decisions, began) = (Vec::new(), Instant::now());
    for address in ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2:3::"] {
        decisions.push(take(&*limiter, client(address), RequestClass::Single).await.allowed);
    }
    let last = decisions.pop();
    assert_eq!(decisions, [true, true, true]);
    assert!(last == Some(false) || regained(3, began.elapsed()) > 0, "four requests of a network at once");
    assert!(take(&*limiter, client("2001:db8:1:3::1"), RequestClass::Single).await.allowed);
}

/// `None`, but only for the class without a limit.
pub async fn a_class_without_a_limit_is_not_limited(subject: &impl LimiterSubject) {
    for (single, batch) in [(0, 1), (1, 0), (0, 0)] {
        let limiter = subject.fresh(limits(single, batch)).await;
        for (class, per_second) in CLASSES.into_iter().zip([single, batch]) {
            for _ in 0..3 {
                let decision = limiter.take(client("192.0.2.1"), class).await;
                assert_eq!(decision.is_some(), per_second > 0, "{class:?} of {single} and {batch}");
            }
        }
    }
}
