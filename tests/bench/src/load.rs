//! Batches over several connections: each sends the next one when its time has come and its previous one is answered. A store
//! that is too slow shows as a rate below the planned one, or as refused requests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e::Http;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Connections.
const SENDERS: usize = 64;
/// How often a request is repeated, and after which time.
const REPEATS_MAX: u32 = 600;
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// What to send, and how fast.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub http: Http,
    /// Path of the requests.
    pub path: &'static str,
    /// Media type of the bodies.
    pub content_type: &'static str,
    /// The body of each number.
    pub body: Arc<dyn Fn(u64) -> Bytes + Send + Sync>,
    /// Numbers of the requests.
    pub numbers: Range<u64>,
    /// Requests per second; as fast as they are answered without it.
    pub per_second: Option<f64>,
    /// Whether a request that fails is sent again.
    pub repeats: bool,
}

/// A load that is being sent.
pub struct Sending {
    stop: watch::Sender<bool>,
    task: JoinHandle<Sent>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Requests that were answered with success.
    pub accepted: u64,
    /// Requests with another answer, or without one.
    pub failed: u64,
    /// From the beginning to the last answer.
    pub took: Duration,
}

impl Load {
    /// Begins to send.
    #[must_use]
    pub fn start(self) -> Sending {
        let (stop, stopped) = watch::channel(false);
        Sending { stop, task: tokio::spawn(send(self, stopped)) }
    }

    /// Sends a request; returns whether it was accepted.
    async fn send(&self, number: u64) -> bool {
        let (body, headers) = ((self.body)(number), [("content-type", self.content_type)]);
        let attempts = if self.repeats { REPEATS_MAX } else { 1 };
        for attempt in 1..=attempts {
            let answer = self.http.try_send("POST", self.path, &headers, body.clone()).await;
            if answer.is_some_and(|answer| (200..300).contains(&answer.status)) {
                return true;
            }
            if attempt < attempts {
                sleep(REPEAT_AFTER).await;
            }
        }
        false
    }
}

impl Sending {
    /// Waits until everything is sent.
    pub async fn wait(&mut self) -> Sent {
        (&mut self.task).await.expect("senders do not panic")
    }

    /// Ends before that.
    pub async fn stop(mut self) -> Sent {
        self.stop.send_replace(true);
        self.wait().await
    }
}

async fn send(load: Load, stop: watch::Receiver<bool>) -> Sent {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(load.numbers.start));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (load, next, mut stop) = (load.clone(), Arc::clone(&next), stop.clone());
        senders.spawn(async move {
            let (mut accepted, mut failed) = (0_u64, 0_u64);
            while !*stop.borrow() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.numbers.end {
                    break;
                }
                if let Some(per_second) = load.per_second {
                    let before = (number - load.numbers.start) as f64;
                    let due = began + Duration::from_secs_f64(before / per_second);
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => break,
                        () = sleep_until(due) => {}
                    }
                }
                if load.send(number).await {
                    accepted += 1;
                } else {
                    failed += 1;
                }
            }
            (accepted, failed)
        });
    }
    let (mut accepted, mut failed) = (0_u64, 0_u64);
    while let Some(sent) = senders.join_next().await {
        let sent = sent.expect("senders do not panic");
        (accepted, failed) = (accepted + sent.0, failed + sent.1);
    }
    Sent { accepted, failed, took: began.elapsed() }
}
