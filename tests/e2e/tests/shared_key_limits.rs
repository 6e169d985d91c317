//! Limits of access keys that producers share through Redis. In a separate file, so that nothing runs in parallel: counting
//! requests per second needs a machine that keeps up.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::Process;
use e2e::keys::{Keyed, KeysFile};
use e2e::servers::Servers;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const SECONDS: u64 = 10;
/// How often the limit is asked for.
const TIMES: u64 = 5;

/// Sends a body so many times a second, in turn to each producer, and returns how many events were accepted.
async fn accepted(clients: &[Keyed], body: &Value, per_second: u64) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).expect("few"));
    let count = Arc::new(AtomicU64::new(0));
    let (mut requests, began) = (Vec::new(), Instant::now());
    for client in clients.iter().cycle() {
        ticks.tick().await;
        if began.elapsed() >= Duration::from_secs(SECONDS) {
            break;
        }
        let (client, count, body) = (client.clone(), Arc::clone(&count), body.clone());
        requests.push(tokio::spawn(async move {
            let answer = client.post(&body, &[]).await;
            let events = body.as_array().map_or(1, Vec::len) as u64;
            match answer.status {
                202 => _ = count.fetch_add(events, Ordering::AcqRel),
                429 => assert!(!answer.header("retry-after").is_empty()),
                status => panic!("{status} {:?}", answer.body),
            }
        }));
    }
    for request in requests {
        request.await.expect("an answer");
    }
    count.load(Ordering::Acquire)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_share_the_limits_of_a_key() {
    const REQUESTS: u64 = 40;
    const EVENTS: u64 = 400;
    const BATCH: usize = 10;
    let Some(servers) = Servers::of_environment() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let file = KeysFile::of(BINARY, directory.path());
    let key = |name: &str, option: &str, limit: u64| {
        file.create(&["--name", name, "--role", "ingest", option, &limit.to_string()])
    };
    // Names of their own, since Redis is shared with other tests.
    let name = |of: &str| format!("{}-{of}", servers.name);
    let (by_requests, by_events) = (
        key(&name("requests"), "--requests-per-second", REQUESTS),
        key(&name("events"), "--events-per-second", EVENTS),
    );
    let path = file.path().display().to_string();
    let variables = servers.variables(&[("SPILLWAY_AUTH__KEYS_FILE", path.as_str())]);
    let first = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let second = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let clients = |key: &str| [&first, &second].map(|producer| Keyed::new(&producer.http("producer"), key));

    let event = json!({"source": "s", "level": "INFO", "message": "m"});
    let requests = accepted(&clients(&by_requests), &event, REQUESTS * TIMES).await;
    let batch: Value = vec![event; BATCH].into();
    let events = accepted(&clients(&by_events), &batch, EVENTS * TIMES / BATCH as u64).await;
    // Ten seconds and one burst.
    let expected = |limit: u64| limit * (SECONDS + 1);
    println!("requests={requests} (expected {}) events={events} (expected {})", expected(REQUESTS), expected(EVENTS));
    for (accepted, limit) in [(requests, REQUESTS), (events, EVENTS)] {
        let share = accepted as f64 / expected(limit) as f64;
        assert!((0.95..=1.05).contains(&share), "{accepted} of {}", expected(limit));
    }
}
