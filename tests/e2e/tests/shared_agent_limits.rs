//! The allowance of agents that producers share through Redis. In a separate file, so that nothing runs in parallel:
//! counting events per second needs a machine that keeps up.

#![cfg(test)]

use std::time::{Duration, Instant};

use e2e::servers::{OwnServers, Servers};
use e2e::{Process, wait_until};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// Events per second of a client.
const LIMIT: u32 = 1_000;
const BATCH: u32 = 50;
const SECONDS: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_share_what_the_agents_of_a_client_may_send() {
    let Some(environment) = Servers::of_environment() else { return };
    // The address of this client must not be that of other tests.
    let Some(own) = OwnServers::start(&["redis"]).await else { return };
    let servers = Servers::at(environment.brokers, environment.postgres, own.address("TEST_REDIS_URL"));
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[
        ("SPILLWAY_RATE_LIMIT__AGENT_EVENTS_PER_SECOND", "1000"),
        // Refusals come at once, so that they can be counted.
        ("SPILLWAY_INGEST__HOLD", "0s"),
    ]);
    let first = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let second = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let producers = [first.http("producer"), second.http("producer")];
    // Until it is connected to Redis, a producer applies the whole limit by itself.
    for producer in &producers {
        let is_up = async || producer.get("/actuator/health").await.json()["components"]["limiter"]["status"] == "UP";
        wait_until("the limit is shared", is_up).await;
    }
    let body = vec![json!({"source": "s", "level": "INFO", "message": "m"}); BATCH as usize];
    let body = serde_json::to_string(&body).expect("JSON");

    let (began, mut accepted, mut refused) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(SECONDS.into()) {
        for producer in &producers {
            match producer.post("/api/logs/ingest", body.clone()).await.status {
                202 => accepted += BATCH,
                429 => refused += 1,
                status => panic!("status {status}"),
            }
        }
    }
    let expected = began.elapsed().as_secs_f64() * f64::from(LIMIT) + f64::from(LIMIT);
    println!("limit={LIMIT} accepted={accepted} expected={expected:.0} refused_requests={refused}");
    // What both may have in work at the end is beyond the limit. Each alone would accept nearly twice as much.
    assert!((f64::from(accepted) - expected).abs() <= expected * 0.05 + 200.0, "{accepted} instead of {expected}");
    assert!(refused > 0, "the client sends more than it may");
    for process in [first, second] {
        process.terminate().await;
    }
}
