//! Rows while consumers end, stall, join and leave, and with records that no consumer can store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{cluster, expect_calls_accepted};
use crate::cluster::{DEADLINE, Plan, Role, go_on};
use crate::load::{Load, event_id};
use crate::report::Report;
use crate::test_cluster::TestCluster;
use crate::topic::ForeignRecord;

/// Longer than the group waits for a silent member.
const ZOMBIE: Duration = Duration::from_secs(9);

/// `FAULTS_KILLS` times, in the middle of its work.
pub async fn killed_again_and_again(test_cluster: Arc<TestCluster>) -> Report {
    let kills = test_cluster.amounts.kills;
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    for kill in 0..kills {
        cluster.until_stored(cluster.stored().await + 2_000).await;
        let index = (kill % 2) as usize;
        cluster.kill(Role::Consumer, index).await;
        go_on(&running, Duration::from_millis(500)).await;
        cluster.start(Role::Consumer, index).await;
    }
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.note(format!("kills={kills}"));
    cluster.shutdown().await;
    report
}

/// Consumers join and leave, and one is suspended for longer than the session timeout and then resumed.
pub async fn rebalance_storm(test_cluster: Arc<TestCluster>) -> Report {
    const ROUNDS: usize = 4;
    let mut cluster = cluster(&test_cluster, Plan { consumers: 4, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    let (mut zombies, mut exits) = (0, Vec::new());
    for round in 0..ROUNDS {
        let (held, leaving) = (round % 2, 2 + round % 2);
        cluster.until_stored(cluster.stored().await + 500).await;
        // In the middle of its work, if it has partitions at all.
        cluster.signal(Role::Consumer, held, "STOP").await;
        let held_since = running.now();
        exits.push(cluster.terminate(Role::Consumer, leaving).await.0);
        cluster.start(Role::Consumer, leaving).await;
        go_on(&running, ZOMBIE.saturating_sub(running.now().saturating_sub(held_since))).await;
        cluster.signal(Role::Consumer, held, "CONT").await;
        zombies += 1;
        go_on(&running, Duration::from_secs(1)).await;
    }
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(exits.iter().all(|code| *code == Some(0)), format!("consumers that leave exit 0: {exits:?}"));
    report.note(format!("zombies={zombies} left_and_joined={}", exits.len()));
    cluster.shutdown().await;
    report
}

/// Records that are not events, one of them as large as Kafka accepts, and events whose content the store rejects, mixed
/// with the others; the consumer is killed repeatedly.
pub async fn poison(test_cluster: Arc<TestCluster>) -> Report {
    let kills = test_cluster.amounts.kills;
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(500).await;
    let constraint = "ALTER TABLE OWN.events ADD CONSTRAINT no_poison CHECK (message NOT LIKE 'poison%')";
    cluster.store.execute(constraint).await.expect("the statement succeeds");
    let now: String =
        cluster.store.text(r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#).await;
    let event = |kill: u64, message: &str| {
        json!({"eventId": event_id((1 << 40) + kill), "timestamp": now, "receivedAt": now, "source": "other",
            "level": "INFO", "message": message})
        .to_string()
        .into_bytes()
    };
    let mut poison = 0;
    for kill in 0..kills {
        let oversized = event(kill, &"x".repeat(1_040_000));
        // Two letters at one offset.
        let pack = [b"[".to_vec(), event((1 << 40) + kill, "poison"), b"\n,{}]".to_vec()].concat();
        let values = [
            b"no JSON".to_vec(),
            event(kill, "poison"),
            b"{}".to_vec(),
            oversized,
            Vec::new(),
            b"\xff\xfe".to_vec(),
            pack,
        ];
        let record =
            |(index, value): (usize, Vec<u8>)| ForeignRecord { partition: (index % 3) as i32, value, client_id: false };
        poison += values.len() as u64 + 1;
        cluster.topic().produce(values.into_iter().enumerate().map(record).collect()).await;
        // One more letter than before: the consumer is somewhere between finding the letters and having copied them.
        let before = cluster.store.number("SELECT count(*) FROM OWN.dead_letters").await.unwrap_or(0);
        let more = async || {
            let letters = cluster.store.number("SELECT count(*) FROM OWN.dead_letters").await.unwrap_or(0);
            letters > before || letters.unsigned_abs() == poison
        };
        cluster.until("a dead letter is stored", DEADLINE, more).await;
        cluster.kill(Role::Consumer, 0).await;
        cluster.start(Role::Consumer, 0).await;
    }
    cluster.fault_is_over();
    let all = async |what: &str| {
        let count = format!("SELECT count(*) FROM OWN.dead_letters {what}");
        let there = async || cluster.store.number(&count).await.is_ok_and(|count| count.unsigned_abs() == poison);
        cluster.until(&format!("all dead letters are stored {what}"), DEADLINE, there).await;
    };
    all("").await;
    all("WHERE copied_at IS NOT NULL").await;
    let places = "SELECT count(DISTINCT (topic, partition, \"offset\", record_index)) FROM OWN.dead_letters";
    let places = cluster.store.number(places).await.unwrap_or(0).unsigned_abs();
    let unlock = "ALTER TABLE OWN.events DROP CONSTRAINT no_poison";
    cluster.store.execute(unlock).await.expect("the statement succeeds");
    let redrive = json!({"ratePerSecond": 1_000}).to_string();
    let redriven = cluster.http(Role::Consumer, 0).post("/api/dlq/redrive", redrive).await;
    let back = async || {
        let stored = cluster.store.number("SELECT count(*) FROM OWN.events WHERE message = 'poison'").await;
        stored.is_ok_and(|rows| rows.unsigned_abs() == 2 * kills)
    };
    cluster.until("redriven records are stored", DEADLINE, back).await;
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(places == poison, format!("each dead letter is stored once: {places} of {poison}"));
    let (status, body) = (redriven.status, String::from_utf8_lossy(&redriven.body));
    report.expect(status == 200, format!("redrive answers 200: {status} {body}"));
    let redriven = 2 * kills;
    report.note(format!("kills={kills} poison={poison} dead_letters={places} redriven_and_stored={redriven}"));
    cluster.shutdown().await;
    report
}
