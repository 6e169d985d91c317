//! The system clock, event identifiers and the host name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Uuid;
use domain::ports::{Clock, IdSource};
use domain::timestamp::Timestamp;
use uuid::{ContextV7, Timestamp as UuidTimestamp};

/// The operating system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all other code receives")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 or after 9999 is wrong; the epoch is as good as any other value.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(0);
        Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MIN)
    }
}

/// A clock that shows an earlier time was not set since the machine started: 2025-01-01T00:00:00Z.
const CLOCK_MIN_UNIX_MICROS: i64 = 1_735_689_600_000_000;
/// How often a clock that is not set is read, and how often the log says so.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const CLOCK_CHECKS_PER_LINE: u32 = 60;

/// Waits until the clock is set. A machine without a battery starts in 1970: retention would remove what it received as
/// soon as the clock is right.
pub async fn until_clock_is_set(clock: &dyn Clock) {
    let mut checks = 0;
    while clock.now().unix_micros() < CLOCK_MIN_UNIX_MICROS {
        if checks % CLOCK_CHECKS_PER_LINE == 0 {
            let now = clock.now();
            tracing::warn!(%now, "the clock of this machine is not set: set it, or start a time service; waiting");
        }
        checks += 1;
        tokio::time::sleep(CLOCK_CHECK_INTERVAL).await;
    }
}

/// Identifiers of version 7 (RFC 9562): the time, a counter within it, and random bits.
#[derive(Default)]
pub struct UuidV7 {
    context: std::sync::Mutex<ContextV7>,
}

impl IdSource for UuidV7 {
    fn new_id(&self, now: Timestamp) -> Uuid {
        let micros = u64::try_from(now.unix_micros()).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        let context = self.context.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Uuid::new_v7(UuidTimestamp::from_unix(&*context, micros / 1_000_000, nanos))
    }
}

/// The host name of the machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct SetLater(AtomicI64);

    impl Clock for SetLater {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_micros(self.0.load(Ordering::Relaxed)).expect("in range")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_shows_1970_is_waited_for() {
        let clock = SetLater(AtomicI64::new(5_000_000));
        let began = tokio::time::Instant::now();
        let set = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            clock.0.store(CLOCK_MIN_UNIX_MICROS, Ordering::Relaxed);
        };
        let waiting = async {
            until_clock_is_set(&clock).await;
            began.elapsed()
        };
        let (waited, ()) = tokio::join!(waiting, set);
        assert!(waited >= Duration::from_secs(600) && waited <= Duration::from_secs(601), "{waited:?}");
        let began = tokio::time::Instant::now();
        until_clock_is_set(&SystemClock).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn identifiers_of_the_same_moment_ascend_and_contain_the_time() {
        let (ids, now) = (UuidV7::default(), SystemClock.now());
        let made: Vec<Uuid> = (0..1_000).map(|_| ids.new_id(now)).collect();
        assert!(made.is_sorted_by(|one, next| one < next));
        let (seconds, nanos) = made[0].get_timestamp().expect("version 7").to_unix();
        assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, now.unix_micros().unsigned_abs() / 1_000);
    }
}
