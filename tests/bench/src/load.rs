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
use tokio::time::{Instant, sleep_until};

/// Connections.
const SENDERS: usize = 64;

/// What to send, and how fast.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub http: Http,
    /// Path of the requests, and the media type of their bodies.
    pub path: &'static str,
    /// Media type of the bodies.
    pub content_type: &'static str,
    /// The body of each number.
    pub body: Arc<dyn Fn(u64) -> Bytes + Send + Sync>,
    /// Numbers of the requests.
    pub numbers: Range<u64>,
    /// Requests per second; as fast as they are answered without it.
    pub per_second: Option<f64>,
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
            let (mut accepted, mut failed) = (0, 0);
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
                let headers = [("content-type", load.content_type)];
                let answer = load.http.try_send("POST", load.path, &headers, (load.body)(number)).await;
                match answer {
                    Some(answer) if (200..300).contains(&answer.status) => accepted += 1,
                    _ => failed += 1,
                }
            }
            (accepted, failed)
        });
    }
    let (mut accepted, mut failed) = (0, 0);
    while let Some(sent) = senders.join_next().await {
        let sent = sent.expect("senders do not panic");
        (accepted, failed) = (accepted + sent.0, failed + sent.1);
    }
    Sent { accepted, failed, took: began.elapsed() }
}
