//! A byte of a sealed segment changes on the disk: the operator is told, and what does not need the segment works.

#![cfg(test)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_embedded::storage::Directory;
use adapter_embedded::store::{SEGMENTS, SealOptions, SqliteStore, StoreOptions};
use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::level::Level;
use domain::ports::{Append, GroupPartition, LogStore};
use domain::timestamp::Timestamp;
use e2e::{DEADLINE, Program, metric, wait_until};
use tokio::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
/// The alert `segment_unreadable` looks at it.
const METRIC: &str = "spillway_segments_unreadable";
const SEALED: u64 = 20;
/// 2024-01-15T10:30:00Z, when the sealed events were received.
const RECEIVED: i64 = 1_705_314_600_000_000;

/// Leaves a data directory with a segment. Returns its file.
async fn leave_a_segment(data_dir: &Path) -> PathBuf {
    let directory = data_dir.join(SEGMENTS);
    let options = StoreOptions { dedup_window: Duration::from_secs(3_600), query_timeout: DEADLINE };
    let seal = SealOptions { hot_events: 0, events_min: 1, ..SealOptions::default() };
    let segments = Arc::new(Directory::open(&directory).expect("a directory"));
    let store = SqliteStore::over(&data_dir.join("store.db"), options, seal, segments).await.expect("it opens");
    let time = Timestamp::from_unix_micros(RECEIVED).expect("in range");
    let event = |n: u64| LogEvent {
        event_id: Uuid::from_u128(u128::from(n) + 1),
        id_origin: IdOrigin::Client,
        source: "shop".into(),
        level: Level::Info,
        message: format!("order {n} placed").into(),
        timestamp: time,
        received_at: time,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    };
    let events: Vec<_> = (0..SEALED).map(|n| (n, event(n))).collect();
    // Another topic than that of the program, whose log begins at 0.
    let group_partition = GroupPartition { group: "earlier".to_owned(), topic: "earlier".to_owned(), partition: 0 };
    let append =
        Append { group_partition: &group_partition, expected: None, next: SEALED, events: &events, dead_letters: &[] };
    store.append(&append).await.expect("they are stored");
    while store.seal().await.expect("they are sealed") {}
    store.close().await;
    let mut files = std::fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    files.next().expect("a segment")
}

/// Flips a bit of a byte of the first column; the second time, the file is whole again.
fn flip(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 10).expect("a byte");
    file.write_all_at(&byte.map(|byte| byte ^ 1), 10).expect("it is written");
}

/// The exit code of `spillway segments verify`, and what it prints.
async fn verify(data_dir: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["segments", "verify"]).current_dir(data_dir).env("SPILLWAY_DATA_DIR", data_dir);
    let output = command.output().await.expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

#[tokio::test]
async fn a_flipped_byte_is_reported_and_fails_only_what_needs_the_segment() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = leave_a_segment(directory.path()).await;
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let program = Program::start(BINARY, directory.path(), &[("SPILLWAY_STORE__RETENTION", "36500d")]).await;
    let found = async |query: &str| {
        let page = program.gateway.get(&format!("/api/logs?{query}")).await;
        let events = page.json()["events"].as_array().map(Vec::len);
        (page, events)
    };
    let batch = r#"[{"source":"new","level":"ERROR","message":"1"},{"source":"new","level":"ERROR","message":"2"},
                    {"source":"new","level":"ERROR","message":"3"}]"#;
    assert_eq!(program.gateway.post("/api/logs/batch", batch).await.status, 202);
    wait_until("they are stored", async || found("from=-1h").await.1 == Some(3)).await;
    assert_eq!(found("limit=100").await.1, Some(23));
    assert_eq!((verify(directory.path()).await.0, metric(&program.consumer, METRIC).await), (Some(0), 0.0));

    flip(&file);
    let (code, printed) = verify(directory.path()).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains(&name) && printed.contains("0 segments are whole, 1 are not"), "{printed}");
    for query in ["limit=100", "to=2024-01-16T00:00:00Z", "query=order"] {
        let (refused, _) = found(query).await;
        let error = refused.json();
        assert_eq!((refused.status, error["code"].as_str()), (503, Some("store_unavailable")), "{query}: {error}");
        let detail = error["detail"].as_str().expect("a detail");
        let says_what_to_do = detail.contains("another range of time") && detail.contains("segment_unreadable");
        assert!(says_what_to_do, "{query}: {detail}");
    }
    for query in ["from=-1h", "from=-1h&source=new", "limit=2"] {
        let (page, events) = found(query).await;
        assert_eq!((page.status, events), (200, Some(if query == "limit=2" { 2 } else { 3 })), "{query}");
    }
    let rules = include_str!("../../../deploy/prometheus/rules/spillway.yml");
    assert!(rules.contains(&format!("- alert: segment_unreadable\n        expr: {METRIC} > 0\n")));
    assert_eq!(metric(&program.consumer, METRIC).await, 1.0);
    let is_alert = |line: &String| line.contains("segment_unreadable") && line.contains(&name);
    wait_until("the alert fires", async || program.log().iter().any(is_alert)).await;
    assert_eq!(program.consumer.get("/actuator/health/readiness").await.status, 200, "it takes other queries");

    flip(&file);
    assert_eq!(verify(directory.path()).await.0, Some(0));
    assert_eq!(found("limit=100").await.1, Some(23));
}
