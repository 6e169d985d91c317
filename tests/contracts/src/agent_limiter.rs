//! Contract of [`AgentLimiter`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{AgentLimiter, AgentLimits, Client};

use crate::{Refill, run};

/// An implementation of the limiter under test.
pub trait AgentLimiterSubject: Sync {
    /// A limiter that has not seen any client.
    fn fresh(&self, limits: AgentLimits) -> impl Future<Output = Arc<dyn AgentLimiter>>;

    /// Lets time pass for the limiters: by advancing a clock, or by waiting if it cannot be advanced.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
}

/// Runs the whole suite.
pub async fn all(subject: &impl AgentLimiterSubject) {
    run!(
        subject,
        a_second_s_worth_may_be_used_at_once_and_an_overdraft_is_waited_for,
        either_limit_makes_a_client_wait,
        a_client_that_waits_as_long_as_it_was_told_may_begin,
        a_client_that_always_waits_gets_its_rate_and_one_burst,
        nobody_pays_back_for_longer_than_a_minute,
        clients_do_not_share_their_allowance_and_an_ipv6_network_does,
        without_a_limit_nobody_waits,
    );
}

fn client(address: &str) -> Client {
    address.parse::<IpAddr>().expect("an address").into()
}

fn limits(events: u32, bytes: u32) -> AgentLimits {
    AgentLimits { events_per_second: NonZeroU32::new(events), bytes_per_second: NonZeroU32::new(bytes) }
}

/// What two clocks of one machine may differ by.
const SLACK: Duration = Duration::from_millis(10);

/// Whether a client has to wait so long, of which a part has passed since its bucket was charged.
fn is_owed(wait: Duration, owed: Duration, refill: Refill) -> bool {
    wait <= owed + SLACK && wait + refill.at_most() + SLACK >= owed
}

/// A charge that leaves something does not make a client wait; one that leaves less than nothing does.
pub async fn a_second_s_worth_may_be_used_at_once_and_an_overdraft_is_waited_for(subject: &impl AgentLimiterSubject) {
    let limiter = subject.fresh(limits(100, 0)).await;
    assert_eq!(limiter.wait(client("192.0.2.1")), None);
    let refill = Refill::begin();
    limiter.charge(client("192.0.2.1"), 90, 1);
    assert_eq!(limiter.wait(client("192.0.2.1")), None, "ten are left");
    limiter.charge(client("192.0.2.1"), 2_010, 1);
    let wait = limiter.wait(client("192.0.2.1")).expect("twenty seconds' worth is owed");
    assert!(is_owed(wait, Duration::from_secs(20), refill), "{wait:?}");
}

/// Events and bytes are counted separately.
pub async fn either_limit_makes_a_client_wait(subject: &impl AgentLimiterSubject) {
    for (events, bytes) in [(200, 1), (1, 20_000)] {
        let limiter = subject.fresh(limits(10, 1_000)).await;
        let refill = Refill::begin();
        limiter.charge(client("192.0.2.1"), events, bytes);
        let wait = limiter.wait(client("192.0.2.1")).expect("nineteen seconds' worth is owed");
        assert!(is_owed(wait, Duration::from_secs(19), refill), "{events}, {bytes}: {wait:?}");
    }
}

/// Waiting for what [`AgentLimiter::wait`] says suffices, and waiting less does not.
pub async fn a_client_that_waits_as_long_as_it_was_told_may_begin(subject: &impl AgentLimiterSubject) {
    const OWED: Duration = Duration::from_millis(1_500);
    let limiter = subject.fresh(limits(1_000, 0)).await;
    let refill = Refill::begin();
    limiter.charge(client("192.0.2.1"), 2_500, 1);
    let mut waited = Duration::ZERO;
    while let Some(wait) = limiter.wait(client("192.0.2.1")) {
        // Several looks: an implementation may learn of a longer wait from elsewhere.
        assert!(waited < 2 * OWED, "it never ends");
        subject.advance(wait / 2 + Duration::from_millis(1)).await;
        waited += wait / 2 + Duration::from_millis(1);
    }
    assert!(refill.at_most() + SLACK >= OWED, "after {:?} for 1,500 owed", refill.at_most());
}

/// Requests of one size, each begun as soon as it may, until the allowance of at least three seconds is used up.
pub async fn a_client_that_always_waits_gets_its_rate_and_one_burst(subject: &impl AgentLimiterSubject) {
    const EVENTS: usize = 100;
    let limiter = subject.fresh(limits(2_000, 0)).await;
    let (mut refill, mut used) = (Refill::begin(), 0);
    loop {
        match limiter.wait(client("192.0.2.1")) {
            None => {
                refill.request();
                limiter.charge(client("192.0.2.1"), EVENTS, 1);
                used += EVENTS;
                assert!(used < 1_000_000, "it never has to wait");
            }
            Some(_) if refill.at_most() >= Duration::from_secs(3) => break,
            Some(wait) => subject.advance(wait).await,
        }
    }
    let [least, most] = [refill.at_least(), refill.at_most()].map(|refilled| 2_000.0 * (1.0 + refilled.as_secs_f64()));
    let used = f64::from(u32::try_from(used).expect("few"));
    // One request may overdraw.
    assert!(used >= least * 0.95 && used <= most + 200.0, "{used} instead of {least} to {most}");
}

/// A large request must not lock a client out.
pub async fn nobody_pays_back_for_longer_than_a_minute(subject: &impl AgentLimiterSubject) {
    let limiter = subject.fresh(limits(1, 1)).await;
    let refill = Refill::begin();
    limiter.charge(client("192.0.2.1"), usize::MAX, usize::MAX);
    let wait = limiter.wait(client("192.0.2.1")).expect("much is owed");
    assert!(is_owed(wait, Duration::from_secs(60), refill), "{wait:?}");
}

/// Whatever one client sends, all others keep their allowance.
pub async fn clients_do_not_share_their_allowance_and_an_ipv6_network_does(subject: &impl AgentLimiterSubject) {
    let limiter = subject.fresh(limits(1, 0)).await;
    limiter.charge(client("2001:db8:1:2::1"), 30, 1);
    assert!(limiter.wait(client("2001:db8:1:2:ffff::")).is_some());
    for other in ["2001:db8:1:3::1", "192.0.2.1"] {
        assert_eq!(limiter.wait(client(other)), None, "{other}");
    }
}

/// `None`, whatever is charged.
pub async fn without_a_limit_nobody_waits(subject: &impl AgentLimiterSubject) {
    let limiter = subject.fresh(limits(0, 0)).await;
    limiter.charge(client("192.0.2.1"), usize::MAX, usize::MAX);
    assert_eq!(limiter.wait(client("192.0.2.1")), None);
    let limiter = subject.fresh(limits(0, 1)).await;
    limiter.charge(client("192.0.2.1"), usize::MAX, 0);
    assert_eq!(limiter.wait(client("192.0.2.1")), None, "events are not limited");
}
