//! The system clock, event identifiers and the host name.

use std::time::{SystemTime, UNIX_EPOCH};

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
    use super::*;

    #[test]
    fn identifiers_of_the_same_moment_ascend_and_contain_the_time() {
        let (ids, now) = (UuidV7::default(), SystemClock.now());
        let made: Vec<Uuid> = (0..1_000).map(|_| ids.new_id(now)).collect();
        assert!(made.is_sorted_by(|one, next| one < next));
        let (seconds, nanos) = made[0].get_timestamp().expect("version 7").to_unix();
        assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, now.unix_micros().unsigned_abs() / 1_000);
    }
}
