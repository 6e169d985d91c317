//! Slow and vanishing clients next to well-behaved ones.
//!
//! `TEST_LATENCY_RATIO_MAX=2` limits how much slower the good clients may be served meanwhile (99th percentile, relative
//! to the quiet period before); without it the ratio is only printed, because it depends on the load of the machine.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Http, Program, exchange, metric, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval_at;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"good","level":"INFO","message":"m"}"#;
const GOOD_CLIENTS: usize = 50;
/// Requests of each good client, with and without hostile clients, ...
const REQUESTS: usize = 120;
/// ... one per interval: well within its rate limit.
const PACE: Duration = Duration::from_millis(50);
const HALF_OPEN: usize = 1_000;
const SLOW_HEADS: usize = 100;
const SLOW_BODIES: usize = 100;
const HANG_UPS: usize = 200;

/// Latencies of all good clients' requests, from when each was due, in ascending order.
async fn good_clients(http: &Http) -> Vec<Duration> {
    let start = tokio::time::Instant::now();
    let clients = (0..GOOD_CLIENTS).map(|client| {
        let http = http.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(REQUESTS);
            // Staggered.
            let mut pace = interval_at(start + PACE * u32::try_from(client).expect("few") / 50, PACE);
            for _ in 0..REQUESTS {
                let began = pace.tick().await;
                assert_eq!(http.post("/api/logs", EVENT).await.status, 202);
                latencies.push(began.elapsed());
            }
            latencies
        })
    });
    let mut all = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        all.extend(client.await.expect("a good client"));
    }
    all.sort_unstable();
    all
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

async fn connection(http: &Http, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(http.address()).await.expect("a connection");
    stream.write_all(bytes).await.expect("written");
    stream
}

/// Sends one byte at a time, until the server closes or the test ends.
async fn drip(mut stream: TcpStream, enough: Arc<AtomicBool>) {
    let mut pace = interval_at(tokio::time::Instant::now(), PACE);
    while !enough.load(Ordering::Acquire) {
        pace.tick().await;
        if stream.write_all(b"x").await.is_err() {
            return;
        }
    }
    hold(stream).await;
}

/// Waits for the server to close, and returns its answer.
async fn hold(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_vanishing_clients_barely_affect_others_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let http = &program.producer;
    good_clients(http).await;
    let quiet = good_clients(http).await;

    let mut half_open = Vec::new();
    for _ in 0..HALF_OPEN {
        half_open.push(connection(http, b"POST /api/logs HTTP/1.1\r\nHost: localhost\r\nContent-Ty").await);
    }
    let enough = Arc::new(AtomicBool::new(false));
    let mut slow = Vec::new();
    for _ in 0..SLOW_HEADS {
        let stream = connection(http, b"POST /api/logs HTTP/1.1\r\nX-Slow: ").await;
        slow.push(tokio::spawn(drip(stream, Arc::clone(&enough))));
    }
    let head = "POST /api/logs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[";
    let mut slow_bodies = Vec::new();
    for _ in 0..SLOW_BODIES {
        slow_bodies.push(connection(http, format!("{head}{}", " ".repeat(10_000)).as_bytes()).await);
    }
    let hang_up = async {
        for _ in 0..HANG_UPS {
            // Half of a body, then the client disconnects.
            drop(connection(http, format!("{head}{}", " ".repeat(50_000)).as_bytes()).await);
        }
    };
    let open = metric(&program.consumer, "spillway_http_connections").await;
    let (beset, ()) = tokio::join!(good_clients(http), hang_up);
    let in_work = metric(&program.consumer, "spillway_http_body_bytes").await;
    enough.store(true, Ordering::Release);

    let (before, after) = (percentile(&quiet, 99), percentile(&beset, 99));
    let ratio = after.as_secs_f64() / before.as_secs_f64();
    println!(
        "requests={} p50_quiet={:?} p50_beset={:?} p99_quiet={before:?} p99_beset={after:?} ratio={ratio:.2} connections={open} body_bytes={in_work}",
        beset.len(),
        percentile(&quiet, 50),
        percentile(&beset, 50),
    );
    assert!(open >= (HALF_OPEN + SLOW_BODIES) as f64, "the slow clients were connected: {open}");
    assert!(in_work >= (SLOW_BODIES * 10_000) as f64, "their bodies were being read: {in_work}");
    if let Ok(max) = std::env::var("TEST_LATENCY_RATIO_MAX") {
        assert!(ratio <= max.parse().expect("a number"), "{ratio}");
    }

    // Slow clients are disconnected: during heads after 10 s, during bodies after 30 s with an answer.
    for stream in slow_bodies {
        let answer = hold(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    for stream in half_open {
        hold(stream).await;
    }
    for slow in slow {
        slow.await.expect("a slow client");
    }
    wait_until("all room for bodies is free again", || async {
        metric(&program.consumer, "spillway_http_body_bytes").await < 0.5
    })
    .await;
    wait_until("only the good connections are left", || async {
        metric(&program.consumer, "spillway_http_connections").await <= (GOOD_CLIENTS + 10) as f64
    })
    .await;
    let sent = (3 * GOOD_CLIENTS * REQUESTS) as f64;
    wait_until("all good events are stored", || async {
        metric(&program.consumer, "spillway_events_stored_total").await >= sent
    })
    .await;
    println!("peak_memory_mb={}", program.peak_memory_bytes() / 1_000_000);
    assert_eq!(program.terminate().await, Some(0));
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let body = format!("[{}]", vec![EVENT.replace("INFO", "ERROR"); 100].join(","));
    let request = format!(
        "POST /api/logs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..20 {
        drop(connection(&program.gateway, request.as_bytes()).await);
        drop(connection(&program.producer, request.as_bytes()).await);
    }
    // Every delivery that began completes, and so does its accounting.
    let settled = || async {
        let of = |name| metric(&program.consumer, name);
        let accepted = of("spillway_events_accepted_total").await;
        // One that each server is ready to accept, that of this query, and two for the gateway's health checks.
        of("spillway_http_connections").await < 6.5
            && of("spillway_http_body_bytes").await < 0.5
            && (accepted - of("spillway_events_acknowledged_total").await).abs() < 0.5
            && (accepted - of("spillway_events_stored_total").await).abs() < 0.5
    };
    wait_until("every delivery has ended", settled).await;
    let whole =
        exchange(program.producer.address(), [request.replace("\r\n\r\n[", "\r\nConnection: close\r\n\r\n[").into()]);
    let answer = String::from_utf8(whole.await.expect("an answer")).expect("text");
    assert!(answer.contains(r#""accepted":100"#), "{answer}");
    wait_until("every delivery has ended", settled).await;
    let accepted = metric(&program.consumer, "spillway_events_accepted_total").await;
    assert!(accepted % 100.0 < 0.5, "a request is accepted completely or not at all");
    assert_eq!(program.terminate().await, Some(0));
}
