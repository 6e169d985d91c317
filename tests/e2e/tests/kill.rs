//! `kill -9` under load, repeatedly: every event answered with 202 is found after the restart, none twice.
//!
//! `TEST_KILL_ROUNDS` sets the number of rounds.

#![cfg(test)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use e2e::{Http, Program, wait_until, wait_until_stored};
use model::Chance;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const CLIENTS: usize = 8;
const BATCH_EVENTS: usize = 3;
/// Minimum number of 202s in a round.
const ROUND_ANSWERS: usize = 1_000;

#[tokio::test]
async fn every_202_is_found_after_kill_9_and_none_twice() {
    let rounds: u64 = std::env::var("TEST_KILL_ROUNDS").map_or(4, |rounds| rounds.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut accepted: HashSet<String> = HashSet::new();
    let mut in_doubt: HashSet<String> = HashSet::new();
    for round in 0..rounds {
        let mut chance = Chance::new(round);
        let program = Program::start(BINARY, directory.path(), &[]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                // Half of them go through the gateway.
                let http = if client % 2 == 0 { program.producer.clone() } else { program.gateway.clone() };
                tokio::spawn(post_until_stopped(http, round, client, Arc::clone(&stop), Arc::clone(&count)))
            })
            .collect();
        let enough = ROUND_ANSWERS + chance.below(ROUND_ANSWERS / 2);
        wait_until("there are enough answers", || async { count.load(Ordering::Acquire) >= enough }).await;
        program.kill().await;
        stop.store(true, Ordering::Release);
        for client in clients {
            let (kept, unknown) = client.await.expect("a client");
            accepted.extend(kept);
            in_doubt.extend(unknown);
        }
    }

    let program = Program::start(BINARY, directory.path(), &[]).await;
    wait_until_stored(&program.consumer).await;
    let mut found: HashMap<String, usize> = HashMap::new();
    for event in program.consumer.all_events("source=kill", 1_000).await {
        *found.entry(event["message"].as_str().expect("a message").to_owned()).or_default() += 1;
    }
    let lost = accepted.iter().filter(|message| !found.contains_key(*message)).count();
    let twice = found.values().filter(|count| **count > 1).count();
    let strangers = found.keys().filter(|message| !accepted.contains(*message) && !in_doubt.contains(*message)).count();
    let unanswered = found.len() - (accepted.len() - lost) - strangers;
    println!(
        "rounds={rounds} answers_202={} events={} lost={lost} twice={twice} strangers={strangers} stored_without_answer={unanswered}",
        accepted.len() / BATCH_EVENTS,
        accepted.len()
    );
    assert_eq!((lost, twice, strangers), (0, 0, 0));
}

/// Posts batches of both guarantees until the program is gone. Returns the messages answered with 202, and those of the
/// request without an answer.
async fn post_until_stopped(
    http: Http,
    round: u64,
    client: usize,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> (Vec<String>, Vec<String>) {
    let (mut accepted, mut in_doubt) = (Vec::new(), Vec::new());
    for request in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let messages: Vec<String> = (0..BATCH_EVENTS).map(|n| format!("{round}/{client}/{request}/{n}")).collect();
        let events = messages.iter().enumerate().map(|(n, message)| {
            let level = if n == 0 { "ERROR" } else { "INFO" };
            serde_json::json!({ "source": "kill", "level": level, "message": message })
        });
        let body = events.collect::<Value>().to_string();
        match http.try_send("POST", "/api/logs/batch", &[("content-type", "application/json")], body).await {
            Some(answer) if answer.status == 202 => {
                assert_eq!(answer.json()["accepted"], BATCH_EVENTS);
                count.fetch_add(1, Ordering::AcqRel);
                accepted.extend(messages);
            }
            // The gateway runs in the same process, so 502 and 503 occur only while it dies.
            Some(answer) => assert!(matches!(answer.status, 502 | 503), "{} {:?}", answer.status, answer.body),
            None => {}
        }
        if !accepted.last().is_some_and(|last| last.starts_with(&format!("{round}/{client}/{request}/"))) {
            in_doubt.extend((0..BATCH_EVENTS).map(|n| format!("{round}/{client}/{request}/{n}")));
        }
    }
    (accepted, in_doubt)
}
