//! The circuit breaker in front of the bus.
//!
//! Constraints and invariants (contract, "Delivery"):
//! * Time is an argument, counted from any fixed point.
//! * Closed: the breaker looks at the last [`WINDOW`] results and opens once it has that many and half of them are
//!   failures.
//! * Open: nothing is sent. The breaker becomes half-open after [`OPEN_FOR`], or at once when an earlier call succeeds
//!   or when the bus, known to be unavailable, answers again.
//! * Half-open: [`HALF_OPEN_CALLS`] calls are permitted and only their results count. Once all are in, the breaker
//!   closes if most of them are successes and opens otherwise. If the last of them is a success, it is half-open again at
//!   once: the bus answers now.
//! * Half-open, and all that was to be sent is settled: the breaker closes if the latest result is a success. Otherwise
//!   it would wait for calls that follow only when new events come.
//! * A call may produce several results: a failure each time it has been silent for too long, and possibly a success
//!   later.

use std::time::Duration;

/// Number of results in the window.
pub const WINDOW: usize = 10;
/// Maximum time that the breaker stays open.
pub const OPEN_FOR: Duration = Duration::from_secs(60);
/// Calls permitted while half-open.
pub const HALF_OPEN_CALLS: u32 = 3;

/// The breaker's view of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// The bus works.
    Closed,
    /// The bus is unavailable.
    Open,
    /// The bus may be available again.
    HalfOpen,
}

impl BreakerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name used in metrics and health.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Permission to make one call and to report its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The phase in which it was granted.
    phase: u64,
}

/// A breaker, initially closed.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    state: State,
    /// Counts state changes.
    phase: u64,
    /// How often each of [`BreakerState::ALL`] was entered.
    entered: [u64; BreakerState::ALL.len()],
}

#[derive(Clone, Debug)]
enum State {
    Closed(Window),
    Open {
        until: Duration,
    },
    HalfOpen {
        calls_left: u32,
        successes: u32,
        failures: u32,
        /// Whether the latest result of any call is a success.
        latest_succeeded: bool,
    },
}

/// The latest results, newest in the lowest bit; a set bit is a failure.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    failures: u16,
    results: usize,
}

impl Window {
    fn push(&mut self, failure: bool) {
        self.failures = (self.failures << 1 | u16::from(failure)) & ((1 << WINDOW) - 1);
        self.results = (self.results + 1).min(WINDOW);
    }

    fn is_bad(self) -> bool {
        self.results == WINDOW && self.failures.count_ones() as usize * 2 >= WINDOW
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { state: State::Closed(Window::default()), phase: 0, entered: [0; BreakerState::ALL.len()] }
    }
}

impl CircuitBreaker {
    /// The current state.
    #[must_use]
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How often the breaker entered each of [`BreakerState::ALL`]: some states last only a moment.
    #[must_use]
    pub fn entered(&self) -> [u64; BreakerState::ALL.len()] {
        self.entered
    }

    /// When the breaker becomes half-open by itself, if it is open.
    #[must_use]
    pub fn half_open_at(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed(_) | State::HalfOpen { .. } => None,
        }
    }

    /// Whether [`CircuitBreaker::permit`] would grant a permit.
    #[must_use]
    pub fn may_permit(&self, now: Duration) -> bool {
        match self.state {
            State::Closed(_) => true,
            State::Open { until } => now >= until,
            State::HalfOpen { calls_left, .. } => calls_left > 0,
        }
    }

    /// Requests permission for a call.
    pub fn permit(&mut self, now: Duration) -> Option<Permit> {
        if matches!(self.state, State::Open { until } if now >= until) {
            self.half_open();
        }
        if let State::HalfOpen { calls_left, .. } = &mut self.state {
            *calls_left = calls_left.checked_sub(1)?;
        }
        let permitted = !matches!(self.state, State::Open { .. });
        permitted.then_some(Permit { phase: self.phase })
    }

    /// Returns a permit whose call was not made.
    pub fn cancel(&mut self, permit: Permit) {
        if let State::HalfOpen { calls_left, .. } = &mut self.state
            && permit.phase == self.phase
        {
            *calls_left += 1;
        }
    }

    /// A call was acknowledged.
    pub fn succeed(&mut self, permit: Permit, now: Duration) {
        match &mut self.state {
            State::Closed(window) => window.push(false),
            State::HalfOpen { successes, .. } if permit.phase == self.phase => {
                *successes += 1;
                self.decide(now);
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        // The failures are older than this answer.
        self.bus_answers();
        if let State::HalfOpen { latest_succeeded, .. } = &mut self.state {
            *latest_succeeded = true;
        }
    }

    /// All that was to be sent is settled: no call follows until there are new events.
    pub fn nothing_waits(&mut self) {
        if let State::HalfOpen { latest_succeeded: true, .. } = self.state {
            self.change(State::Closed(Window::default()));
        }
    }

    /// The bus answers, though it may have been unavailable before.
    pub fn bus_answers(&mut self) {
        if let State::Open { .. } = self.state {
            self.half_open();
        }
    }

    /// A call was rejected, or has been silent for too long.
    pub fn fail(&mut self, permit: Permit, now: Duration) {
        match &mut self.state {
            State::Closed(window) => {
                window.push(true);
                if window.is_bad() {
                    self.open(now);
                }
            }
            State::HalfOpen { failures, latest_succeeded, .. } => {
                *latest_succeeded = false;
                if permit.phase == self.phase {
                    *failures += 1;
                    self.decide(now);
                }
            }
            State::Open { .. } => {}
        }
    }

    /// Leaves half-open once there are enough results.
    fn decide(&mut self, now: Duration) {
        let State::HalfOpen { successes, failures, .. } = self.state else { return };
        if successes + failures < HALF_OPEN_CALLS {
            return;
        }
        if failures * 2 >= successes + failures {
            self.open(now);
        } else {
            self.change(State::Closed(Window::default()));
        }
    }

    fn open(&mut self, now: Duration) {
        self.change(State::Open { until: now + OPEN_FOR });
    }

    fn half_open(&mut self) {
        let calls_left = HALF_OPEN_CALLS;
        self.change(State::HalfOpen { calls_left, successes: 0, failures: 0, latest_succeeded: false });
    }

    fn change(&mut self, state: State) {
        let entered = match state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        for (count, of) in self.entered.iter_mut().zip(BreakerState::ALL) {
            *count += u64::from(of == entered);
        }
        self.state = state;
        self.phase += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn at(seconds: u64) -> Duration {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_bus_that_answers_again_is_tried_early_and_changes_nothing_else() {
        let mut breaker = CircuitBreaker::default();
        breaker.bus_answers();
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        report(&mut breaker, &[false; 10], at(0));
        assert_eq!(breaker.state(at(1)), BreakerState::Open);
        breaker.bus_answers();
        assert_eq!(breaker.state(at(1)), BreakerState::HalfOpen);
        report(&mut breaker, &[true, true], at(1));
        breaker.bus_answers();
        report(&mut breaker, &[true], at(1));
        assert_eq!(breaker.state(at(1)), BreakerState::Closed, "the counts stay");
    }

    fn report(breaker: &mut CircuitBreaker, successes: &[bool], now: Duration) {
        for success in successes {
            let permit = breaker.permit(now).expect("a call is permitted");
            if *success { breaker.succeed(permit, now) } else { breaker.fail(permit, now) }
        }
    }

    fn opened() -> (CircuitBreaker, Permit) {
        let mut breaker = CircuitBreaker::default();
        let before = breaker.permit(START).expect("closed");
        report(&mut breaker, &[false; WINDOW], START);
        assert_eq!(breaker.state(START), BreakerState::Open);
        (breaker, before)
    }

    #[test]
    fn it_opens_when_half_of_ten_results_are_failures_and_not_before_ten() {
        let mut breaker = CircuitBreaker::default();
        report(&mut breaker, &[false, false, false, false, true, true, true, true, true], START);
        assert_eq!(breaker.state(START), BreakerState::Closed);
        report(&mut breaker, &[true], START);
        assert_eq!(breaker.state(START), BreakerState::Closed, "four of ten");
        report(&mut breaker, &[false], START);
        assert_eq!(breaker.state(START), BreakerState::Closed, "the oldest failure left the window: four of ten again");
        report(&mut breaker, &[true, true, true, false, false, false, false], START);
        assert_eq!(breaker.state(START), BreakerState::Open);
        let mut nine = CircuitBreaker::default();
        report(&mut nine, &[false; WINDOW - 1], START);
        assert_eq!(nine.state(START), BreakerState::Closed);
    }

    #[test]
    fn one_silent_call_opens_it_too() {
        let mut breaker = CircuitBreaker::default();
        let permit = breaker.permit(START).expect("closed");
        for second in 1..WINDOW as u64 {
            breaker.fail(permit, at(second));
            assert_eq!(breaker.state(at(second)), BreakerState::Closed);
        }
        breaker.fail(permit, at(10));
        assert_eq!(breaker.half_open_at(), Some(at(10) + OPEN_FOR));
    }

    #[test]
    fn while_open_nothing_is_sent_until_a_minute_has_passed() {
        let (mut breaker, _) = opened();
        assert_eq!(breaker.permit(at(59)), None);
        assert!(!breaker.may_permit(at(59)) && breaker.may_permit(at(60)));
        assert_eq!(breaker.state(at(60)), BreakerState::HalfOpen);
        for _ in 0..HALF_OPEN_CALLS {
            assert!(breaker.permit(at(60)).is_some());
        }
        assert_eq!(breaker.permit(at(600)), None, "only three calls");
    }

    #[test]
    fn a_late_success_makes_it_half_open_at_once_and_a_late_failure_changes_nothing() {
        let (mut breaker, before) = opened();
        breaker.fail(before, at(1));
        assert_eq!(breaker.state(at(1)), BreakerState::Open);
        breaker.succeed(before, at(1));
        assert_eq!(breaker.state(at(1)), BreakerState::HalfOpen);
        // The result of a call made before the breaker opened does not count towards the three calls.
        breaker.succeed(before, at(1));
        breaker.fail(before, at(1));
        report(&mut breaker, &[true, true], at(2));
        assert_eq!(breaker.state(at(2)), BreakerState::HalfOpen);
        report(&mut breaker, &[false], at(2));
        assert_eq!(breaker.state(at(2)), BreakerState::Closed, "two of three");
    }

    #[test]
    fn half_open_ends_with_three_results() {
        for (results, state) in [
            ([true, true, true], BreakerState::Closed),
            ([false, true, true], BreakerState::Closed),
            ([false, true, false], BreakerState::Open),
            ([false, false, false], BreakerState::Open),
        ] {
            let (mut breaker, _) = opened();
            report(&mut breaker, &results, at(70));
            assert_eq!(breaker.entered().iter().sum::<u64>(), 3, "{results:?}");
            assert_eq!(breaker.state(at(70)), state, "{results:?}");
            if state == BreakerState::Open {
                assert_eq!(breaker.half_open_at(), Some(at(130)), "another minute");
            }
        }
    }

    /// As when the only call of a small backlog waits until a partition has a leader.
    #[test]
    fn a_late_success_of_the_call_that_was_silent_keeps_it_half_open() {
        let (mut breaker, _) = opened();
        let permit = breaker.permit(at(60)).expect("half-open");
        breaker.fail(permit, at(62));
        breaker.fail(permit, at(64));
        breaker.succeed(permit, at(65));
        assert_eq!(breaker.state(at(65)), BreakerState::HalfOpen, "not open for another minute");
        report(&mut breaker, &[true, true, true], at(65));
        assert_eq!(breaker.state(at(65)), BreakerState::Closed);
    }

    #[test]
    fn if_nothing_waits_the_latest_result_decides() {
        let nothing_waits = |breaker: &CircuitBreaker| {
            let mut breaker = breaker.clone();
            breaker.nothing_waits();
            breaker.state(at(70))
        };
        let (mut breaker, before) = opened();
        assert_eq!(nothing_waits(&breaker), BreakerState::HalfOpen, "a minute is over, and nothing has answered");
        breaker.bus_answers();
        assert_eq!(nothing_waits(&breaker), BreakerState::HalfOpen, "no record was acknowledged");
        // Also of a call that was made before the breaker opened.
        breaker.succeed(before, at(1));
        assert_eq!(nothing_waits(&breaker), BreakerState::Closed);
        report(&mut breaker, &[false], at(2));
        assert_eq!(nothing_waits(&breaker), BreakerState::HalfOpen);
        report(&mut breaker, &[true], at(3));
        assert_eq!(nothing_waits(&breaker), BreakerState::Closed);
        let mut closed = CircuitBreaker::default();
        closed.nothing_waits();
        assert_eq!(closed.entered(), [0; BreakerState::ALL.len()], "it was closed");
    }

    #[test]
    fn a_cancelled_permit_can_be_granted_again() {
        let (mut breaker, before) = opened();
        let permits: Vec<_> = (0..HALF_OPEN_CALLS).filter_map(|_| breaker.permit(at(60))).collect();
        breaker.cancel(before);
        assert_eq!(breaker.permit(at(60)), None);
        breaker.cancel(permits[0]);
        assert!(breaker.permit(at(60)).is_some());
        assert_eq!(breaker.permit(at(60)), None);
    }

    proptest! {
        /// Whatever is reported in whatever order, the breaker never closes after being open without two successes, or one
        /// if nothing waits, and never stays open for longer than a minute.
        #[test]
        fn it_closes_only_after_successes_and_is_never_open_for_long(steps in prop::collection::vec((0_u8..6, 0_usize..8, 0_u64..30), 1..200)) {
            let mut breaker = CircuitBreaker::default();
            let mut permits = Vec::new();
            let (mut now, mut opened_at, mut successes) = (START, None::<Duration>, 0);
            for (step, which, seconds) in steps {
                now += Duration::from_secs(seconds);
                let before = breaker.state(now);
                let chosen = permits.get(which % permits.len().max(1)).copied();
                match (step, chosen) {
                    (0, _) => permits.extend(breaker.permit(now)),
                    (1, Some(permit)) => breaker.cancel(permit),
                    (2, Some(permit)) => { breaker.succeed(permit, now); successes += 1; }
                    (3, _) => breaker.nothing_waits(),
                    (_, Some(permit)) => breaker.fail(permit, now),
                    (_, None) => {}
                }
                let after = breaker.state(now);
                if after == BreakerState::Open && before != BreakerState::Open {
                    (opened_at, successes) = (Some(now), 0);
                }
                if after == BreakerState::Open {
                    prop_assert!(opened_at.is_some_and(|since| now < since + OPEN_FOR));
                }
                if after == BreakerState::Closed && before != BreakerState::Closed {
                    let least = if step == 3 { 1 } else { 2 };
                    prop_assert!(successes >= least, "closed after {successes} successes");
                }
                prop_assert_eq!(breaker.may_permit(now), breaker.clone().permit(now).is_some());
            }
        }
    }
}
