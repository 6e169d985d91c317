//! Failures of PostgreSQL and Redis.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{cluster, expect_calls_accepted};
use crate::cluster::{Cluster, DEADLINE, Directory, Plan, Role, go_on};
use crate::load::Load;
use crate::proxy::Mode;
use crate::report::Report;
use crate::store::Store;
use crate::test_cluster::TestCluster;

/// An unavailable store must not turn rows into dead letters.
async fn expect_no_dead_letters(cluster: &Cluster, report: &mut Report) {
    let letters = cluster.store.number("SELECT count(*) FROM OWN.dead_letters").await.unwrap_or(-1);
    report.expect(letters == 0, format!("no good row is dead-lettered: {letters}"));
}

/// Shut down cleanly, and started again after some time.
pub async fn postgres_down(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(2_000).await;
    test_cluster.apply("stop", "postgres").await;
    go_on(&running, test_cluster.amounts.outage).await;
    let ready = cluster.http(Role::Consumer, 0).get("/actuator/health/readiness").await.status;
    let query = cluster.http(Role::Consumer, 0).get("/api/logs").await.status;
    test_cluster.apply("start", "postgres").await;
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(
        (ready, query) == (200, 503),
        format!("meanwhile the consumer is ready, and queries answer 503: {ready}, {query}"),
    );
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    report
}

/// A backup is taken under load. Later all tables are dropped and restored from it; rows stored since the backup are read
/// from Kafka again, because positions are in the backup, too.
pub async fn postgres_restored(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(10_000).await;
    let backup = cluster.producers_directory().join("backup");
    let Store { url, schema } = cluster.store.clone();
    let (backup, url, schema) = (backup.to_string_lossy(), url.as_str(), schema.as_str());
    let run = async |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().await.expect("PostgreSQL's tools are installed");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("pg_dump", &["--dbname", url, "--schema", schema, "--format=custom", "--file", &backup]).await;
    cluster.until_stored(cluster.stored().await + 10_000).await;
    let exit = cluster.terminate(Role::Consumer, 0).await.0;
    let dropped = cluster.stored().await;
    cluster.store.execute("DROP SCHEMA OWN CASCADE").await.expect("the statement succeeds");
    run("pg_restore", &["--dbname", url, "--exit-on-error", &backup]).await;
    let restored = cluster.stored().await;
    cluster.start(Role::Consumer, 0).await;
    cluster.fault_is_over();
    go_on(&running, Duration::from_secs(2)).await;
    let mut report = cluster.settle(running, 0).await;
    report.expect(exit == Some(0), format!("the consumer exits 0: {exit:?}"));
    report.expect(restored < dropped, format!("the backup is older than what was dropped: {restored}, {dropped}"));
    report.note(format!("rows dropped={dropped} in the backup={restored} from Kafka again={}", dropped - restored));
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    report
}

/// Killed with all its processes, `FAULTS_KILLS` times, in the middle of writing.
pub async fn postgres_killed(test_cluster: Arc<TestCluster>) -> Report {
    let kills = test_cluster.amounts.kills;
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    for _ in 0..kills {
        cluster.until_stored(cluster.stored().await + 1_000).await;
        test_cluster.apply("kill", "postgres").await;
        test_cluster.apply("start", "postgres").await;
    }
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.note(format!("kills={kills}"));
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    report
}

/// Every open transaction is terminated, repeatedly.
pub async fn postgres_terminated(test_cluster: Arc<TestCluster>) -> Report {
    const TERMINATIONS: u64 = 40;
    // Queries of the harness itself have no open transaction when another one runs.
    const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL";
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(1_000).await;
    let (mut terminated, mut ticks) = (0, tokio::time::interval(Duration::from_millis(50)));
    let began = running.now();
    while terminated < TERMINATIONS && running.now() < began + DEADLINE {
        ticks.tick().await;
        terminated += cluster.store.number(TERMINATE).await.unwrap_or(0).unsigned_abs();
    }
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(terminated >= TERMINATIONS, format!("transactions are terminated: {terminated}"));
    report.note(format!("transactions_terminated={terminated}"));
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    report
}

/// The network to PostgreSQL swallows everything, then resets everything.
pub async fn postgres_network(test_cluster: Arc<TestCluster>) -> Report {
    let mut cluster = cluster(&test_cluster, Plan { consumers: 2, ..Plan::default() }).await;
    let running = cluster.load(Load::default());
    cluster.until_stored(2_000).await;
    for mode in [Mode::Stall, Mode::Cut] {
        test_cluster.postgres.set(mode);
        go_on(&running, test_cluster.amounts.outage).await;
        test_cluster.postgres.set(Mode::Pass);
        cluster.until_stored(cluster.stored().await + 2_000).await;
    }
    test_cluster.postgres.set(Mode::Delay(Duration::from_millis(50)));
    go_on(&running, Duration::from_secs(5)).await;
    test_cluster.postgres.set(Mode::Pass);
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    report
}

/// The disk of its tables is full until space is freed.
pub async fn postgres_disk_full(test_cluster: Arc<TestCluster>) -> Report {
    const DISK_BYTES: u64 = 256 << 20;
    const ROOM_BYTES: u64 = 8 << 20;
    let Some(disk) = Directory::for_postgres(DISK_BYTES) else {
        return Report::skipped("no tmpfs can be mounted");
    };
    let execute =
        async |statement: String| test_cluster.store().execute(&statement).await.expect("the statement succeeds");
    execute(format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().join("tables").display())).await;
    execute("ALTER ROLE spillway SET default_tablespace = small".to_owned()).await;
    let mut cluster = cluster(&test_cluster, Plan::default()).await;
    let running = cluster.load(Load { message_bytes: 400, ..Load::default() });
    cluster.until_stored(500).await;
    let ballast = disk.path().join("ballast");
    usage(&ballast, free_bytes(disk.path()).saturating_sub(ROOM_BYTES));
    let full = async || cluster.process(Role::Consumer, 0).has_said("No space left on device");
    cluster.until("the disk is full", DEADLINE, full).await;
    go_on(&running, Duration::from_secs(10)).await;
    let stored = cluster.stored().await;
    std::fs::remove_file(&ballast).expect("there is room");
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.note(format!("stored_when_full={stored}"));
    expect_no_dead_letters(&cluster, &mut report).await;
    cluster.shutdown().await;
    execute("ALTER ROLE spillway RESET default_tablespace".to_owned()).await;
    execute("DROP TABLESPACE small".to_owned()).await;
    report
}

/// Free bytes on the file system of a path.
fn free_bytes(path: &Path) -> u64 {
    let output = std::process::Command::new("df").args(["--output=avail", "-B1"]).arg(path).output().expect("df runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
}

fn usage(path: &Path, bytes: u64) {
    let written = std::fs::File::create(path)
        .and_then(|mut file| std::io::copy(&mut std::io::Read::take(std::io::repeat(7), bytes), &mut file));
    written.expect("there is room for the ballast");
}

/// Unresponsive, dead, restarted empty, flushed: it holds the shared limits and the remembered answers.
pub async fn redis_away(test_cluster: Arc<TestCluster>) -> Report {
    const KEYED: usize = 20;
    let limits = ["SINGLE", "BATCH"].map(|class| {
        let key: &str =
            if class == "SINGLE" { "RATE_LIMIT__SINGLE_PER_SECOND" } else { "RATE_LIMIT__BATCH_PER_SECOND" };
        (key, "100000".to_owned())
    });
    let plan = Plan { producers: 2, producer_settings: limits.to_vec(), ..Plan::default() };
    let mut cluster = cluster(&test_cluster, plan).await;
    let running = cluster.load(Load::default());
    let mut keyed_refused = 0;
    let step = Duration::from_secs(3);
    for fault in ["pause", "resume", "kill", "start", "flush"] {
        match fault {
            "flush" => flush(&test_cluster).await,
            _ => test_cluster.apply(fault, "redis").await,
        }
        keyed_refused += post_keyed(&cluster, KEYED).await;
        go_on(&running, step).await;
    }
    cluster.fault_is_over();
    let mut report = cluster.settle(running, 0).await;
    expect_calls_accepted(&mut report, 100.0);
    report.expect(keyed_refused == 0, format!("requests with a key are answered 202: {keyed_refused} are not"));
    let keyed =
        cluster.store.number("SELECT count(*) FROM OWN.events WHERE message LIKE 'keyed %'").await.unwrap_or(-1);
    report.expect(
        keyed == KEYED as i64,
        format!("requests with the same Idempotency-Key are stored once: {keyed} of {KEYED}"),
    );
    report.note(format!("keyed_requests={KEYED} sent={} times rows={keyed}", 5));
    cluster.shutdown().await;
    report
}

/// Posts the same requests with the same keys each time; returns how many were not answered 202.
async fn post_keyed(cluster: &Cluster, requests: usize) -> usize {
    let (http, mut refused) = (cluster.http(Role::Gateway, 0), 0);
    for n in 0..requests {
        let key = format!("key-{n}");
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let body = json!({"source": "keyed", "level": "ERROR", "message": format!("keyed {n}")}).to_string();
        let answer = http.try_send("POST", "/api/logs", &headers, body).await;
        refused += usize::from(answer.is_none_or(|answer| answer.status != 202));
    }
    refused
}

async fn flush(test_cluster: &TestCluster) {
    let mut redis = TcpStream::connect(test_cluster.redis_address()).await.expect("Redis listens");
    redis.write_all(b"FLUSHALL\r\n").await.expect("it is sent");
    let mut answer = [0; 5];
    redis.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"+OK\r\n");
}
