//! Rate limits that producers share through Redis. In a separate file, so that nothing runs in parallel: counting
//! requests per second needs a machine that keeps up.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::servers::{OwnServers, Servers};
use e2e::{Process, wait_until};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_producers_share_one_limit_also_after_a_redis_outage() {
    const LIMIT: u32 = 40;
    let Some(environment) = Servers::of_environment() else { return };
    let Some(own) = OwnServers::start(&["redis"]).await else { return };
    let servers = Servers::at(environment.brokers, environment.postgres, own.address("TEST_REDIS_URL"));
    let directory = tempfile::tempdir().expect("a directory");
    let variables = servers.variables(&[
        ("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "40"),
        ("SPILLWAY_LOG", "warn,bootstrap=info,adapter_redis=info"),
    ]);
    let first = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let second = Process::start(BINARY, "producer", directory.path(), &variables).await;
    let producers = [first.http("producer"), second.http("producer")];
    let limiter = async |state: &str| {
        for producer in &producers {
            let is = async || producer.get("/actuator/health").await.json()["components"]["limiter"]["status"] == state;
            wait_until("the log reports the limiter", is).await;
        }
    };
    let event = json!({"source": "s", "level": "INFO", "message": "m"}).to_string();
    // Five times the limit, half of it to each, for ten seconds.
    let accepted = async |seconds: u32| {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / (LIMIT * 5));
        let count = Arc::new(AtomicUsize::new(0));
        let (mut requests, began) = (Vec::new(), Instant::now());
        for n in 0.. {
            ticks.tick().await;
            if began.elapsed() >= Duration::from_secs(seconds.into()) {
                break;
            }
            let (producer, count, event) = (producers[n % 2].clone(), Arc::clone(&count), event.clone());
            requests.push(tokio::spawn(async move {
                let answer = producer.post("/api/logs", event).await;
                match answer.status {
                    202 => _ = count.fetch_add(1, Ordering::AcqRel),
                    429 => assert!(!answer.header("retry-after").is_empty()),
                    status => panic!("{status} {:?}", answer.body),
                }
            }));
        }
        for request in requests {
            request.await.expect("an answer");
        }
        count.load(Ordering::Acquire)
    };
    let within = |accepted: usize, expected: u32| {
        let expected = f64::from(expected);
        let accepted = f64::from(u32::try_from(accepted).expect("few"));
        (expected * 0.95..=expected * 1.05).contains(&accepted)
    };
    limiter("UP").await;
    let shared = accepted(10).await;
    own.apply("kill", "redis").await;
    limiter("DOWN").await;
    let alone = accepted(5).await;
    own.apply("start", "redis").await;
    limiter("UP").await;
    let again = accepted(10).await;
    println!(
        "limit={LIMIT} shared_in_10s={shared} (expected {}) without_redis_in_5s={alone} (expected {}) after_restart_in_10s={again}",
        LIMIT * 11,
        2 * LIMIT * 6
    );
    assert!(within(shared, LIMIT * 11), "{shared}");
    assert!(within(alone, 2 * LIMIT * 6), "{alone}");
    assert!(within(again, LIMIT * 11), "{again}");
    for producer in [first, second] {
        let log = producer.log();
        let told = log.iter().filter(|line| line.contains("Redis")).map(|line| line.contains("does not answer"));
        let told: Vec<_> = told.collect();
        // A stalling machine causes more than one outage, but the log has the start and the end of each, once.
        assert!(!told.is_empty() && told.iter().enumerate().all(|(n, away)| *away == n.is_multiple_of(2)), "{log:?}");
    }
}
