//! Sends numbered events, and remembers which of them were accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use e2e::Http;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::numbered::{Body, Template};
use crate::events::BATCH_EVENTS;

/// Connections of every load.
pub const CONNECTIONS: u32 = 64;
/// Maximum wait until a write over TCP is taken, as for an answer over HTTP.
const WRITE_TIMEOUT: Duration = e2e::DEADLINE;
/// Wait after a refused request.
const PAUSE: Duration = Duration::from_millis(10);

/// A running load.
pub struct Sending {
    connections: JoinSet<Vec<u64>>,
    is_stopped: Arc<AtomicBool>,
}

/// A connection over which bodies are sent.
#[expect(clippy::large_enum_variant, reason = "one for each sender, and never moved")]
enum Connection {
    Http { http: Http, path: &'static str, content_type: &'static str },
    Tcp(TcpStream),
}

/// Why a body was not accepted.
enum Failure {
    /// It was refused, or its answer is missing.
    Refused,
    /// The connection is closed.
    Closed,
}

impl Sending {
    /// Starts to send 100 events per request: as fast as they are accepted, or this many events per second. A connection
    /// whose request takes too long for that omits the requests that were due meanwhile.
    #[must_use]
    pub fn start(address: SocketAddr, body: Body, templates: &Arc<[Template]>, per_second: Option<f64>) -> Self {
        let (is_stopped, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let events_at_once = f64::from(CONNECTIONS) * BATCH_EVENTS as f64;
        let period = per_second.map(|per_second| Duration::from_secs_f64(events_at_once / per_second));
        let (mut connections, start) = (JoinSet::new(), Instant::now());
        for n in 0..CONNECTIONS {
            let mut pace = period.map(|period| {
                let mut pace = interval_at(start + period * n / CONNECTIONS, period);
                pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
                pace
            });
            let (is_stopped, next, templates) = (Arc::clone(&is_stopped), Arc::clone(&next), Arc::clone(templates));
            connections.spawn(async move {
                let mut connection = Connection::open(address, body).await;
                let mut accepted = Vec::new();
                loop {
                    if let Some(pace) = &mut pace {
                        pace.tick().await;
                    }
                    if is_stopped.load(Ordering::Relaxed) {
                        return accepted;
                    }
                    let request = next.fetch_add(1, Ordering::Relaxed);
                    let template = &templates[usize::try_from(request).expect("64 bits") % templates.len()];
                    match connection.send(template.numbered(request * BATCH_EVENTS as u64)).await {
                        Ok(()) => accepted.push(request),
                        Err(Failure::Refused) => sleep(PAUSE).await,
                        Err(Failure::Closed) => return accepted,
                    }
                }
            });
        }
        Self { connections, is_stopped }
    }

    /// Waits for the answers of the requests in flight. Returns the numbers of the accepted requests: request `n` has the
    /// events from `100 n` on.
    pub async fn end(mut self) -> Vec<u64> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let mut accepted = Vec::new();
        while let Some(of_connection) = self.connections.join_next().await {
            accepted.extend(of_connection.expect("the connection ends"));
        }
        accepted
    }
}

impl Connection {
    async fn open(address: SocketAddr, body: Body) -> Self {
        match body.request() {
            // A client of its own has a connection of its own.
            Some((path, content_type)) => Self::Http { http: Http::to(address), path, content_type },
            None => Self::Tcp(TcpStream::connect(address).await.expect("a connection")),
        }
    }

    /// Sends a body. Over HTTP it is accepted with an answer of 200 or 202, over TCP once it is written.
    async fn send(&mut self, body: Vec<u8>) -> Result<(), Failure> {
        match self {
            Self::Http { http, path, content_type } => {
                let answer = http.try_send("POST", path, &[("content-type", *content_type)], body).await;
                let is_accepted = answer.is_some_and(|answer| matches!(answer.status, 200 | 202));
                if is_accepted { Ok(()) } else { Err(Failure::Refused) }
            }
            Self::Tcp(stream) => match timeout(WRITE_TIMEOUT, stream.write_all(&body)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Failure::Closed),
            },
        }
    }
}
