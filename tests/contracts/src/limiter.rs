//! Contract of [`RateLimiter`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Client, RateDecision, RateLimiter, RateLimits, RequestClass};

use crate::{Refill, run};

/// An implementation of the limiter under test.
pub trait LimiterSubject: Sync {
    /// A limiter that has not seen any client.
    fn fresh(&self, limits: RateLimits) -> impl Future<Output = Arc<dyn RateLimiter>>;

    /// Lets time pass for the limiters: by advancing a clock, or by waiting if it cannot be advanced.
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

/// Ten seconds at five times the limit: the limit of this time plus one burst is allowed or left, within 5 %.
pub async fn a_client_at_five_times_its_limit_gets_the_limit_and_one_burst(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(100, 30)).await;
    for (class, per_second) in CLASSES.into_iter().zip([100, 30]) {
        let every = Duration::from_secs(1) / (per_second * 5);
        let (mut refill, mut allowed, mut left) = (Refill::begin(), 0, 0);
        for _ in 0..per_second * 50 {
            refill.request();
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            allowed += u32::from(decision.allowed);
            left = decision.remaining;
            subject.advance(every).await;
        }
        let got = f64::from(allowed + left);
        let [least, most] = [refill.at_least(), refill.at_most()]
            .map(|refilled| f64::from(per_second) * (1.0 + refilled.as_secs_f64()));
        assert!(got >= least * 0.95 && got <= most * 1.05, "{got} of {class:?} instead of {least} to {most}");
    }
}

/// An idle period fills the bucket up to one second's worth of requests.
pub async fn a_client_that_paused_gets_one_burst_and_no_more(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(40, 1)).await;
    for pause in [0, 1, 5] {
        subject.advance(Duration::from_secs(pause)).await;
        let (refill, mut allowed) = (Refill::begin(), 0_u32);
        for _ in 0..80 {
            allowed += u32::from(take(&*limiter, client("192.0.2.1"), RequestClass::Single).await.allowed);
        }
        let most = 42 + refill.tokens(40);
        assert!((38..=most).contains(&allowed), "{allowed} and not 38 to {most} at once after {pause} seconds");
    }
}

/// The fields of [`RateDecision`] agree with each other and with what happens next.
pub async fn a_decision_reports_the_remaining_tokens_and_when_there_are_more(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(20, 5)).await;
    for (class, per_second) in CLASSES.into_iter().zip([20, 5]) {
        let mut before: Option<RateDecision> = None;
        let (refill, mut refused) = (Refill::begin(), 0);
        for request in 0..per_second * 2 {
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            let refilled = refill.tokens(per_second);
            let case = format!("request {request} of {class:?}: {decision:?} after {before:?}");
            assert_eq!(decision.limit, per_second, "{case}");
            assert!(decision.remaining < per_second, "{case}");
            assert!(decision.reset_after > Duration::ZERO && decision.reset_after <= Duration::from_secs(1), "{case}");
            assert_eq!(decision.retry_after.is_zero(), decision.allowed, "{case}");
            if decision.allowed {
                let left = before.map_or(per_second, |before| before.remaining);
                assert!((left..=left + refilled).contains(&(decision.remaining + 1)), "{case}");
            } else {
                assert_eq!(decision.remaining, 0, "{case}");
                // At most one request is missing.
                assert!(decision.retry_after <= Duration::from_secs(1) / per_second, "{case}");
                refused += 1;
            }
            before = Some(decision);
        }
        let refilled = refill.tokens(per_second);
        let least = per_second.saturating_sub(refilled);
        assert!((least..=per_second).contains(&refused), "one burst of {class:?} and {refilled}: {refused} refused");

        let last = before.expect("there were requests");
        subject.advance(last.reset_after).await;
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
            let refill = Refill::begin();
            let decision = take(&*limiter, client("192.0.2.1"), class).await;
            if decision.allowed {
                continue;
            }
            subject.advance(decision.retry_after / 2).await;
            let early = take(&*limiter, client("192.0.2.1"), class).await;
            if refill.at_most() >= decision.retry_after {
                // The machine was too slow to ask too early.
                continue;
            }
            refused += 1;
            assert!(!early.allowed, "too early: {decision:?}, then {early:?}");
            // A refusal costs nothing: the wait did not start over.
            assert!(
                early.retry_after <= decision.retry_after / 2 + Duration::from_micros(1),
                "{decision:?}, then {early:?}"
            );
            subject.advance(early.retry_after).await;
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
            let (refill, mut allowed) = (Refill::begin(), 0);
            for _ in 0..per_second + 2 {
                allowed += u32::from(take(&*limiter, of, class).await.allowed);
            }
            let most = per_second + refill.tokens(per_second);
            assert!((per_second..=most).contains(&allowed), "{of:?} {class:?}: {allowed}");
        }
    }
}

/// One household has many addresses, and one limit.
pub async fn an_ipv6_network_shares_one_limit(subject: &impl LimiterSubject) {
    let limiter = subject.fresh(limits(3, 1)).await;
    let (refill, mut decisions) = (Refill::begin(), Vec::new());
    for address in ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2:3::"] {
        decisions.push(take(&*limiter, client(address), RequestClass::Single).await.allowed);
    }
    assert_eq!(decisions[..3], [true; 3]);
    assert!(!decisions[3] || refill.at_most() >= Duration::from_secs(1) / 3, "{decisions:?}");
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
