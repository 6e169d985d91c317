//! Requests at scheduled times, independent of earlier answers (open loop): a stall affects all requests due during it,
//! not only one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::Http;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Maximum requests in flight: this many connections are opened, and further requests wait, which counts.
const UNDER_WAY_MAX: usize = 256;
/// Resolution of the schedule.
const TICK: Duration = Duration::from_millis(1);

/// What to send.
#[derive(Clone)]
pub struct Schedule {
    /// Path.
    pub path: &'static str,
    /// Bodies, in turn.
    pub bodies: Arc<[Bytes]>,
    /// Requests per second.
    pub per_second: f64,
    /// Duration.
    pub duration: Duration,
}

/// Times, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of these times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time within which this share was done, such as 0.99, in milliseconds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    pub fn millis(&self, share: f64) -> f64 {
        let last = self.0.len().checked_sub(1).expect("something was measured");
        let index = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.0[index.min(last)].as_secs_f64() * 1e3
    }

    /// Number of times.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Follows a schedule; times count from when each request should have been sent. Fails if an answer was not 202.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
pub async fn run(http: &Http, schedule: Schedule) -> Latencies {
    let (done, mut times) = mpsc::unbounded_channel();
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let began = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let all = (schedule.per_second * schedule.duration.as_secs_f64()) as usize;
    let mut sent = 0;
    while sent < all {
        ticks.tick().await;
        // The first one at once.
        let due = (began.elapsed().as_secs_f64() * schedule.per_second) as usize + 1;
        while sent < due.min(all) {
            let at = began + Duration::from_secs_f64(sent as f64 / schedule.per_second);
            let under_way = Arc::clone(&under_way);
            let (http, body, done) =
                (http.clone(), schedule.bodies[sent % schedule.bodies.len()].clone(), done.clone());
            tokio::spawn(async move {
                let _permit = under_way.acquire().await.expect("never closed");
                let answer = http.try_send("POST", schedule.path, &[("content-type", "application/json")], body).await;
                assert_eq!(answer.map(|answer| answer.status), Some(202));
                let _ = done.send(at.elapsed());
            });
            sent += 1;
        }
    }
    drop(done);
    let mut all_times = Vec::with_capacity(all);
    while let Some(time) = times.recv().await {
        all_times.push(time);
    }
    assert_eq!(all_times.len(), all, "a request failed");
    Latencies::of(all_times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_times_is_within_its_percentile() {
        let latencies = Latencies::of((1..=1_000).rev().map(Duration::from_millis).collect());
        let of = |share: f64| latencies.millis(share).round();
        assert_eq!([of(0.5), of(0.99), of(0.999), of(1.0)], [500.0, 990.0, 999.0, 1_000.0]);
        assert_eq!(Latencies::of(vec![Duration::from_millis(7)]).millis(0.5).round(), 7.0);
    }
}
