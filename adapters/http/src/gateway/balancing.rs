//! Which of several instances gets the next request.
//!
//! Constraints and invariants:
//! * Pure: the caller passes the time since some start, and the random numbers.
//! * The cost of an instance is its latency times the requests that it would have under way (peak EWMA): the latency rises at
//!   once with a slow answer and falls with time, whether answers come or not, so that no instance is avoided permanently.
//! * Of two instances taken at random the cheaper one gets the request: the best of all would get all that come at once.
//! * A failure counts as a slow answer, however fast it comes. What cannot be reached, or fails several times in a row, is
//!   ejected: it gets nothing until some time has passed and a check has found it ready.
//! * If no instance is available each of them is as good as the others: better a try than a refusal.

use std::time::Duration;

use domain::backoff::Backoff;

use crate::gateway::failure::Failure;

/// In so long the latency falls to 1/e of what it was (or rather to where the answers are).
const DECAY: Duration = Duration::from_secs(2);
/// What counts as latency at least, so that requests under way count before the first answer.
const LATENCY_MIN_SECONDS: f64 = 0.000_1;
/// What a failure counts as.
const FAILURE_SECONDS: f64 = 1.0;
/// So many failures in a row eject.
const FAILURES_MAX: u32 = 3;
/// How long an instance is ejected at first, and at most.
const EJECTION_FIRST: Duration = Duration::from_secs(1);
const EJECTION_LONGEST: Duration = Duration::from_secs(30);

/// How much one instance has to do, and how well it does it.
#[derive(Clone, Debug)]
pub struct Load {
    latency_seconds: f64,
    updated: Duration,
    under_way: u32,
    failures: u32,
    ejected_until: Option<Duration>,
    ejections: Backoff,
    checked: Option<Check>,
}

/// What a check of an instance has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It takes requests.
    Ready,
    /// It asks for none: it stops, or cannot accept anything.
    Unready,
    /// It did not answer as it should.
    Failed(Failure),
}

/// Whether an instance gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// It does.
    Available,
    /// It asks for none.
    Unready,
    /// It failed.
    Ejected,
}

impl Availability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Available, Self::Unready, Self::Ejected];

    /// Stable name, for health and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Unready => "unready",
            Self::Ejected => "ejected",
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            latency_seconds: 0.0,
            updated: Duration::ZERO,
            under_way: 0,
            failures: 0,
            ejected_until: None,
            ejections: Backoff::new(EJECTION_FIRST, EJECTION_LONGEST),
            checked: None,
        }
    }
}

impl Load {
    /// Whether it gets requests. One that was never checked does.
    #[must_use]
    pub fn availability(&self) -> Availability {
        match (self.ejected_until, self.checked) {
            (Some(_), _) => Availability::Ejected,
            (None, Some(Check::Unready)) => Availability::Unready,
            (None, _) => Availability::Available,
        }
    }

    /// Whether it is known to answer: available, and checked.
    #[must_use]
    pub fn is_known_ready(&self) -> bool {
        self.availability() == Availability::Available && self.checked == Some(Check::Ready)
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// What its latency counts as, in seconds.
    #[must_use]
    pub fn latency_seconds(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.updated).as_secs_f64();
        self.latency_seconds * (-age / DECAY.as_secs_f64()).exp()
    }

    fn cost(&self, now: Duration) -> f64 {
        self.latency_seconds(now).max(LATENCY_MIN_SECONDS) * (f64::from(self.under_way) + 1.0)
    }

    /// It gets a request.
    pub fn begin(&mut self) {
        self.under_way = self.under_way.saturating_add(1);
    }

    /// A request is over without saying anything about the instance.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// It has answered after this time. An error must not attract requests, however quick it is.
    pub fn answered(&mut self, now: Duration, took: Duration, success: bool) {
        self.end();
        let took = if success { took.as_secs_f64() } else { took.as_secs_f64().max(FAILURE_SECONDS) };
        self.observe(now, took);
        self.failures = 0;
        if success && self.ejected_until.is_none() {
            self.ejections = Backoff::new(EJECTION_FIRST, EJECTION_LONGEST);
        }
    }

    /// A request has failed there.
    pub fn failed(&mut self, now: Duration, failure: Failure) {
        self.end();
        self.fail(now, failure);
    }

    /// A check has found this.
    pub fn check(&mut self, now: Duration, found: Check) {
        self.checked = Some(found);
        match found {
            Check::Ready if self.ejected_until.is_some_and(|until| until <= now) => {
                self.ejected_until = None;
                self.failures = 0;
                // It comes back slowly.
                self.observe(now, FAILURE_SECONDS);
            }
            Check::Ready | Check::Unready => {}
            Check::Failed(failure) => self.fail(now, failure),
        }
    }

    fn fail(&mut self, now: Duration, failure: Failure) {
        self.observe(now, FAILURE_SECONDS);
        self.failures = self.failures.saturating_add(1);
        if (failure.is_before_request() || self.failures >= FAILURES_MAX)
            && self.ejected_until.is_none_or(|until| until <= now)
        {
            self.ejected_until = self.ejections.next().map(|wait| now + wait);
        }
    }

    /// Rises at once, falls with time.
    fn observe(&mut self, now: Duration, seconds: f64) {
        let age = now.saturating_sub(self.updated).as_secs_f64();
        let kept = (-age / DECAY.as_secs_f64()).exp();
        self.latency_seconds = seconds.max(self.latency_seconds * kept + seconds * (1.0 - kept));
        self.updated = now;
    }
}

/// The cheaper of two of `loads`, which are taken by `random` (a number below the one that it gets); `None` if there are none.
pub fn choose(loads: &[&Load], now: Duration, mut random: impl FnMut(usize) -> usize) -> Option<usize> {
    let available =
        |index: &usize| loads.get(*index).is_some_and(|load| load.availability() == Availability::Available);
    let mut candidates: Vec<usize> = (0..loads.len()).filter(available).collect();
    if candidates.is_empty() {
        candidates = (0..loads.len()).collect();
    }
    if candidates.len() > 1 {
        let first = candidates.swap_remove(random(candidates.len()));
        let second = *candidates.get(random(candidates.len()))?;
        let cost = |index: usize| loads.get(index).map_or(f64::INFINITY, |load| load.cost(now));
        return Some(if cost(second) < cost(first) { second } else { first });
    }
    candidates.pop()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    fn answering(took: Duration) -> Load {
        let mut load = Load::default();
        load.begin();
        load.answered(Duration::ZERO, took, true);
        load
    }

    /// How often each of `loads` is chosen in 1,000 tries, while nothing changes.
    fn shares(loads: &[Load], now: Duration) -> Vec<u32> {
        let loads: Vec<&Load> = loads.iter().collect();
        let mut shares = vec![0; loads.len()];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1_000 {
            shares[choose(&loads, now, |below| random.usize(..below)).expect("there are some")] += 1;
        }
        shares
    }

    #[test]
    fn equal_instances_share_equally_and_a_slow_one_gets_nothing_while_it_is_slow() {
        let even = shares(&[answering(MILLI), answering(MILLI), answering(MILLI)], Duration::ZERO);
        assert!(even.iter().all(|share| (250..420).contains(share)), "{even:?}");
        let slow = [answering(MILLI), answering(500 * MILLI), answering(MILLI)];
        assert_eq!(shares(&slow, Duration::ZERO)[1], 0);
        // Idle for long, all of them are the same again.
        assert!(shares(&slow, 60 * SECOND)[1] > 250);
    }

    #[test]
    fn requests_under_way_count_before_they_are_answered() {
        let mut busy = answering(MILLI);
        (0..5).for_each(|_| busy.begin());
        assert_eq!(shares(&[busy.clone(), answering(3 * MILLI)], Duration::ZERO), [0, 1_000]);
        (0..5).for_each(|_| busy.end());
        assert_eq!(shares(&[busy, answering(3 * MILLI)], Duration::ZERO), [1_000, 0]);
    }

    #[test]
    fn a_fast_failure_attracts_nothing_and_several_eject() {
        let mut failing = answering(MILLI);
        for _ in 0..2 {
            failing.begin();
            failing.failed(Duration::ZERO, Failure::BrokenOff);
        }
        assert_eq!(failing.availability(), Availability::Available);
        assert_eq!(shares(&[failing.clone(), answering(100 * MILLI)], Duration::ZERO), [0, 1_000]);
        let mut unhappy = answering(MILLI);
        unhappy.begin();
        unhappy.answered(Duration::ZERO, MILLI, false);
        assert_eq!(shares(&[unhappy.clone(), answering(100 * MILLI)], Duration::ZERO), [0, 1_000]);
        failing.begin();
        failing.failed(Duration::ZERO, Failure::BrokenOff);
        assert_eq!(failing.availability(), Availability::Ejected);
        // However slow the other one is.
        assert_eq!(shares(&[failing, answering(20 * SECOND)], Duration::ZERO), [0, 1_000]);
    }

    #[test]
    fn what_cannot_be_reached_is_ejected_at_once_and_comes_back_ready_after_longer_and_longer_times() {
        let mut load = answering(MILLI);
        let mut now = 10 * SECOND;
        for ejected in [1, 2, 4, 8, 16, 30, 30] {
            load.begin();
            load.failed(now, Failure::NobodyListens);
            // Nor do further failures add to it.
            load.check(now + MILLI, Check::Failed(Failure::NobodyListens));
            let until = now + ejected * SECOND;
            load.check(until - MILLI, Check::Ready);
            assert_eq!(load.availability(), Availability::Ejected, "{ejected}");
            load.check(until, Check::Unready);
            assert_eq!(load.availability(), Availability::Ejected);
            load.check(until, Check::Ready);
            assert_eq!(load.availability(), Availability::Available);
            now = until;
        }
        load.begin();
        load.answered(now, MILLI, true);
        load.check(now, Check::Failed(Failure::NobodyListens));
        load.check(now + SECOND, Check::Ready);
        assert_eq!(load.availability(), Availability::Available, "it begins anew after a success");
    }

    #[test]
    fn an_instance_that_asks_for_nothing_gets_nothing_unless_all_do() {
        let mut draining = answering(MILLI);
        draining.check(SECOND, Check::Unready);
        assert_eq!(shares(&[draining.clone(), answering(SECOND)], SECOND), [0, 1_000]);
        assert_eq!(shares(&[draining.clone()], SECOND), [1_000]);
        let both = shares(&[draining.clone(), draining.clone()], SECOND);
        assert!(both.iter().all(|share| *share > 0), "{both:?}");
        draining.check(SECOND, Check::Ready);
        assert!(draining.is_known_ready());
        assert_eq!(choose(&[], SECOND, |_| 0), None);
    }

    proptest! {
        #[test]
        fn latency_is_never_below_what_answers_took_lately_nor_above_the_slowest(
            samples in proptest::collection::vec((0_u64..3_000, 0_u64..5_000), 1..50),
        ) {
            let mut load = Load::default();
            let (mut now, mut slowest) = (Duration::ZERO, 0.0_f64);
            for (wait, took) in samples {
                now += Duration::from_millis(wait);
                let took = Duration::from_millis(took);
                slowest = slowest.max(took.as_secs_f64());
                load.begin();
                load.answered(now, took, true);
                prop_assert!(load.latency_seconds(now) >= took.as_secs_f64() - 1e-9);
                prop_assert!(load.latency_seconds(now) <= slowest + 1e-9);
                prop_assert_eq!(load.under_way(), 0);
            }
        }
    }
}
