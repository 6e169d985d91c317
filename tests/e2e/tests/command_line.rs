//! The command line, as used by operators and scripts.

#![cfg(test)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use domain::delivery::Guarantee;
use domain::ports::{Journal, RefusedRecord};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;
use e2e::{DEADLINE, Program, dead_address, wait_until};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

fn spillway(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn the_committed_document_is_what_the_program_prints() {
    let output = spillway(&["openapi"], &[]);
    assert!(output.status.success());
    assert!(
        text(&output.stdout) == include_str!("../../../openapi/spillway.json"),
        "openapi/spillway.json is out of date: run `cargo run -- openapi > openapi/spillway.json` and commit it"
    );
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let create = ["key", "create", "--name", "shop", "--role", "read"];
    for arguments in
        [&["openapi"][..], &["config"], &["config", "--example"], &["completions", "bash"], &["man"], &create]
    {
        // Every write to it fails as on a full disk.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let mut command = Command::new(env!("CARGO_BIN_EXE_spillway-under-test"));
        let output = command.args(arguments).current_dir(directory.path()).stdout(full).output().expect("it runs");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.contains("cannot write to standard output"), "{arguments:?}: {message}");
    }
}

#[test]
fn bad_configuration_and_usage_exit_with_64_and_one_message_that_names_the_key() {
    for (arguments, variables, part) in [
        (&["all"][..], &[("SPILLWAY_MEMORY_BYTES", "1")][..], "memory_bytes_max"),
        (&["all"], &[("SPILLWAY_DRAIN_TIMEOUT", "soon")], "drain_timeout"),
        (&["all"], &[("SPILLWAY_PORT", "tcp://10.0.0.1:80")], "Kubernetes"),
        (&["all"], &[("SPILLWAY_LOG", "info,=,")], "log"),
        (&["--config", "missing.toml"], &[], "missing.toml"),
        (&["all"], &[("SPILLWAY_PRODUCER__LISTEN", "0.0.0.0:0")], "spillway key create --name admin --role admin"),
        (&["gateway"], &[("SPILLWAY_GATEWAY__LISTEN", "[::]:0")], "SPILLWAY_AUTH__KEYS_FILE"),
        (&["producer"], &[], "bus"),
        (&["consumer"], &[], "store"),
        (&["fly"], &[], "fly"),
        (&["--fast"], &[], "--fast"),
    ] {
        let output = spillway(arguments, variables);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?} {variables:?}: {message}");
        assert!(message.contains(part), "{arguments:?} {variables:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_effective_configuration_is_printed_as_variables() {
    let output = spillway(&["config"], &[("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "7")]);
    assert!(output.status.success());
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(lines.contains(&"SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND=7"), "{lines:?}");
    assert!(lines.contains(&"SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND=10"), "{lines:?}");
    assert!(lines.contains(&"SPILLWAY_DATA_DIR=./spillway-data"), "{lines:?}");
}

#[test]
fn help_and_version_succeed_and_an_address_in_use_exits_with_1() {
    for argument in ["--help", "--version"] {
        let output = spillway(&[argument], &[]);
        assert!(output.status.success() && !output.stdout.is_empty());
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = spillway(&["gateway"], &[("SPILLWAY_GATEWAY__LISTEN", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&address) && text(&output.stderr).contains("SPILLWAY_GATEWAY__LISTEN"));
}

/// Leaves a data directory as of a producer that ends while the bus is down.
async fn leave_a_journal(data_dir: &Path) {
    let journal = DiskJournal::open(data_dir, JournalOptions::new(1 << 20), Arc::new(Disk::unlimited()))
        .expect("the journal opens");
    let mut records = Records::default();
    for (n, value) in [r#"{"message":"one"}"#, "{\"message\":\"two\"}", "no event\n"].into_iter().enumerate() {
        let time = Timestamp::from_unix_micros(1_705_314_600_000_000 + n as i64).expect("in range");
        records.push(b"shop", time, false, |buffer| buffer.extend(value.as_bytes())).expect("small enough");
    }
    let batch = Arc::new(RecordBatch { partition: 2, guarantee: Guarantee::AtLeastOnce, records, trace_parent: None });
    let guarantees = [Guarantee::AtLeastOnce, Guarantee::AtMostOnce, Guarantee::AtLeastOnce];
    let written = journal.append(5, Arc::clone(&batch), guarantees.into()).expect("taken");
    written.await.expect("the journal keeps the batch");
    let refused = RefusedRecord { position: 1, reason: "\"too\" old".to_owned() };
    journal.keep_refused(batch, vec![refused]).await.expect("the journal keeps them");
    assert!(journal.close(std::time::Duration::from_secs(30)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_left_on_disk_is_reported_verified_and_exported() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().to_str().expect("text");
    let journal = |arguments: &[&str]| {
        let output = spillway(&[&["journal"], arguments].concat(), &[("SPILLWAY_DATA_DIR", data_dir)]);
        let (out, error) = (text(&output.stdout).to_owned(), text(&output.stderr).to_owned());
        (output.status.code(), out, error)
    };
    let said = |out: &str| (Some(0), out.to_owned(), String::new());
    // An empty result more likely means the wrong directory than an empty journal.
    for command in ["status", "verify", "export"] {
        let (code, out, error) = journal(&[command]);
        assert!(code == Some(1) && out.is_empty() && error.contains(data_dir), "{command}: {code:?} {out} {error}");
    }

    leave_a_journal(directory.path()).await;
    let status = "journal 0: not in use, 136 B\n  \
        partition 2: 3 events, 136 B, numbers 5 to 7, oldest received at 2024-01-15T10:30:00Z \
        (1 at-most-once, 2 at-least-once)\n  \
        permanently rejected: 1 event, 63 B\n";
    assert_eq!(journal(&["status"]), said(status));
    assert_eq!(journal(&["verify"]), said("2 files, 4 entries, 199 B\nnothing is damaged\n"));
    let events = "{\"message\":\"one\"}\n{\"message\":\"two\"}\n\"no event\\n\"\n";
    assert_eq!(journal(&["export"]), said(events));
    let refused = "{\"reason\":\"\\\"too\\\" old\",\"partition\":2,\"event\":{\"message\":\"two\"}}\n";
    assert_eq!(journal(&["export", "--refused"]), said(refused));

    // The second of three.
    let file = directory.path().join("journal/0/2/00000000000000000000.log");
    let mut damaged = std::fs::read(&file).expect("a file");
    damaged[80] ^= 1;
    std::fs::write(&file, damaged).expect("it can be written");
    let (code, out, error) = journal(&["verify"]);
    let place = format!("damaged: {} at byte 48, 48 bytes, expected number 6 or later: the checksum", file.display());
    assert!(code == Some(1) && out.contains(&place) && error.is_empty(), "{code:?} {out} {error}");
    let (code, out, error) = journal(&["export"]);
    assert_eq!((code, out.lines().count()), (Some(1), 2));
    assert!(error.contains("1 place is damaged"), "{error}");
    assert_eq!(journal(&["fix"]).0, Some(64));
    assert_eq!(journal(&[]).0, Some(64));
}

/// `spillway COMMAND` for the gateway of a program.
async fn client(program: &Program, arguments: &[&str]) -> Output {
    let running = tokio::process::Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(arguments)
        .env("SPILLWAY_CLIENT__URL", program.gateway.base())
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output();
    tokio::time::timeout(DEADLINE, running).await.expect("it ends in time").expect("the program runs")
}

/// The same, and its exit code must be 0. Returns standard output.
async fn client_output(program: &Program, arguments: &[&str]) -> String {
    let output = client(program, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// A program that has stored these events.
async fn program_with(data_dir: &Path, events: &[Value]) -> Program {
    let program = Program::start(env!("CARGO_BIN_EXE_spillway-under-test"), data_dir, &[]).await;
    for batch in events.chunks(1_000) {
        let answer = program.gateway.post("/api/logs/batch", json!(batch).to_string()).await;
        assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(batch.len() as u64)));
    }
    wait_until("the events are stored", async || program.gateway.all_events("", 1_000).await.len() == events.len())
        .await;
    program
}

/// Three events, oldest first, of which the last one tries to control the terminal.
fn three_events() -> Vec<Value> {
    vec![
        json!({"source": "cart", "level": "INFO", "message": "one, \"two\"", "timestamp": "2024-01-15T10:30:00Z",
            "metadata": {"user": {"name": "A B"}, "user id": 7, "n": 1.5}}),
        json!({"source": "checkout", "level": "ERROR", "message": "payment timeout", "timestamp": "2024-01-15T10:30:01.5Z",
            "eventId": "01a20f37-31cf-76dd-a6da-0300122616c3", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
            "stackTrace": "X: y\n\tat a.B"}),
        json!({"source": "cart", "level": "WARN", "message": "a\nb\u{1b}]0;title\u{7}\u{9b}2J\u{202e}x",
            "timestamp": "2024-01-15T10:30:02Z", "stackTrace": "\u{1b}[2J\r"}),
    ]
}

const SINCE: [&str; 2] = ["-S", "2024-01-15"];

#[tokio::test(flavor = "multi_thread")]
async fn a_query_prints_text_json_and_csv() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &three_events()).await;
    let query = async |arguments: &[&str]| client_output(&program, &[&["query"], &SINCE[..], arguments].concat()).await;

    // Oldest first, and nothing controls the terminal.
    let lines = "2024-01-15 10:30:00.000 INFO  cart  one, \"two\"\n\
        2024-01-15 10:30:01.500 ERROR checkout  payment timeout  trace=4bf92f35…\n    X: y\n        at a.B\n\
        2024-01-15 10:30:02.000 WARN  cart  a\\nb\\x1b]0;title\\x07\\u{9b}2J\\u{202e}x\n    \\x1b[2J\\r\n";
    assert_eq!(query(&[]).await, lines);
    assert_eq!(query(&["--reverse"]).await, lines);
    // Raw messages are exact in a pipe.
    assert_eq!(query(&["--raw", "-n", "1"]).await, "a\nb\u{1b}]0;title\u{7}\u{9b}2J\u{202e}x\n");
    assert_eq!(query(&["--reverse", "--raw", "-n", "1"]).await, "one, \"two\"\n");
    let since_first = client_output(&program, &["query", "-S", "first", "--raw", "-s", "checkout"]).await;
    assert_eq!(since_first, "payment timeout\n");
    let with_fields = query(&["-s", "cart", "-l", "INFO", "--fields", "user.name,\"user id\",n"]).await;
    assert!(with_fields.ends_with("one, \"two\"  user.name=\"A B\"  \"user id\"=7  n=1.5\n"), "{with_fields}");
    let colored = query(&["--color", "always", "-l", "WARN+", "-t", "4bf92f3577b34da6a3ce929d0e0e4736"]).await;
    assert!(colored.contains("\x1b[31mERROR\x1b[0m"), "{colored:?}");

    // JSON is that of the API.
    let stored: Vec<Value> = program.gateway.all_events("", 10).await.into_iter().rev().collect();
    let printed: Vec<Value> =
        query(&["-o", "json"]).await.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(printed, stored);

    let csv = query(&["-o", "csv", "-l", "INFO", "--fields", "level,message,metadata,user.name,none"]).await;
    assert!(csv.starts_with("level,message,metadata,user.name,none\r\nINFO,\"one, \"\"two\"\"\",\"{"), "{csv}");
    assert!(csv.ends_with(",A B,\r\n"), "{csv}");
    let csv = query(&["-o", "csv", "-s", "none"]).await;
    assert!(csv.starts_with("timestamp,level,source,message,eventId,") && csv.lines().count() == 1, "{csv}");

    let id = "01a20f37-31cf-76dd-a6da-0300122616c3";
    assert!(client_output(&program, &["query", "--id", id]).await.contains(" ERROR checkout  payment timeout"));
    let neighbours = client_output(&program, &["query", "--id", id, "--context", "1", "-o", "json"]).await;
    assert!(neighbours.lines().any(|line| line.contains(id)), "{neighbours}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_a_limit_prints_every_page_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let event = |n: u32| {
        let (minute, second) = (n / 60, n % 60);
        json!({"source": "s", "level": "INFO", "message": n.to_string(),
            "timestamp": format!("2024-01-15T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60)})
    };
    let events: Vec<Value> = (0..2_500).map(event).collect();
    let program = program_with(directory.path(), &events).await;
    for arguments in [&["-n", "0"][..], &["-n", "2500"], &["-n", "20000"], &["--reverse", "-n", "2500"]] {
        let printed = client_output(&program, &[&["query", "--raw"], &SINCE[..], arguments].concat()).await;
        assert!(printed.lines().eq((0..2_500).map(|n| n.to_string())), "{arguments:?}");
    }
    let newest = client(&program, &[&["query", "--raw", "-n", "2"], &SINCE[..]].concat()).await;
    assert_eq!(text(&newest.stdout), "2498\n2499\n");
    assert!(text(&newest.stderr).starts_with("-- 2 events, ") && text(&newest.stderr).contains("only the newest"));

    // A reader that has seen enough.
    let mut running = tokio::process::Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(["query", "-n", "0", "-S", "2024-01-15", "--url", program.gateway.base()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(running.stdout.take());
    let output = tokio::time::timeout(DEADLINE, running.wait_with_output()).await.expect("in time").expect("its end");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_went_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &three_events()).await;
    let dead = format!("http://{}", dead_address());
    for (arguments, code, part) in [
        (&["query", "-S", "2024-01-15", "-s", "none"][..], 0, "-- 0 events"),
        (&["query", "-s", "none"], 0, "-- 0 events of the last hour"),
        (&["query", "-s", "none", "--exit-status"], 3, "-- 0 events"),
        (&["query", "-l", "LOUD"], 64, "--level must be"),
        (&["query", "-S", "1h", "-U", "2h"], 64, "--since must not be after --until"),
        (&["query", "error:", "timeout"], 64, "\n    error: timeout\n          ^\n"),
        (&["query", "-s", ""], 64, "--source"),
        (&["query", "-o", "json", "--fields", "n"], 64, "--fields is for"),
        (&["query", "--config", "missing.toml"], 64, "--config"),
        (&["query", "--last", "1h"], 64, "-S, --since"),
        (&["tail", "-f"], 64, "follows without it"),
        (&["stats", "-S", "first", "-i", "1s"], 64, "--interval must make at most"),
        (&["query", "-S", "soon"], 64, "15m"),
        (&["query", "--id", "01a20f37-31cf-76dd-a6da-030012261600"], 1, "404"),
        (&["query", "--id", "01a20f37-31cf-76dd-a6da-030012261600", "--exit-status"], 3, "-- 0 events"),
        (&["query", "--url", "localhost"], 64, "base URL"),
        (&["query", "--url", &dead], 69, "cannot reach"),
        (&["tail", "--url", &dead], 69, "cannot reach"),
        (&["dlq", "redrive"], 64, "--yes"),
        (&["dlq", "show", "1"], 1, "no dead letter 1"),
        (&["dlq", "show", "logs/2@41#3"], 64, "first column"),
        (&["dlq", "redrive", "--id", "1", "--yes"], 1, "no dead letter 1"),
        (&["values"], 64, "FIELD"),
    ] {
        let output = client(&program, arguments).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(part) && output.stdout.is_empty(), "{arguments:?}: {error}");
    }
    let quiet = client(&program, &["query", "-q"]).await;
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_prints_stored_and_then_new_events() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &three_events()).await;
    let mut running = tokio::process::Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(["tail", "--raw", "-n", "2", "--max", "4", "--url", program.gateway.base()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    let mut lines = tokio::io::BufReader::new(running.stdout.take().expect("its output")).lines();
    let mut line = async || tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("a line");
    assert_eq!(line().await.as_deref(), Some("payment timeout"));
    assert_eq!(line().await.as_deref(), Some("a"));
    assert!(line().await.expect("the rest of the message").starts_with("b\u{1b}"));
    for message in ["new one", "new two", "new three"] {
        let event = json!({"source": "s", "level": "INFO", "message": message});
        assert_eq!(program.gateway.post("/api/logs", event.to_string()).await.status, 202);
    }
    assert_eq!(line().await.as_deref(), Some("new one"));
    assert_eq!(line().await.as_deref(), Some("new two"));
    assert_eq!(line().await, None);
    let status = tokio::time::timeout(DEADLINE, running.wait()).await.expect("it ends in time").expect("its end");
    assert_eq!(status.code(), Some(0));

    let ended = client_output(&program, &["tail", "-n", "1", "--for", "500ms", "-o", "json"]).await;
    assert_eq!(ended.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_fields_values_and_dead_letters_are_listed() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &three_events()).await;
    let until = ["-U", "2024-01-15 11:00", "--utc"];
    let stats = client_output(&program, &[&["stats", "-i", "1h", "-S", "2024-01-15 10:00"], &until[..]].concat()).await;
    assert!(
        stats.starts_with("start ") && stats.contains("2024-01-15 10:00:00  ") && stats.contains("total "),
        "{stats}"
    );
    let by_source = client_output(
        &program,
        &[&["stats", "--by", "source", "-o", "csv", "-S", "2024-01-15 10:00"], &until[..]].concat(),
    )
    .await;
    assert!(by_source.lines().next().is_some_and(|header| header.contains("cart")), "{by_source}");
    let json =
        client_output(&program, &[&["stats", "-o", "json", "-S", "2024-01-15 10:00"], &until[..]].concat()).await;
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")["total"]["ERROR"], 1);
    let since_first = client_output(&program, &["stats", "-o", "json", "-S", "first", "-l", "ERROR"]).await;
    assert_eq!(serde_json::from_str::<Value>(&since_first).expect("JSON")["from"], "2024-01-15T10:30:01.5Z");

    let fields = client_output(&program, &[&["fields"], &SINCE[..]].concat()).await;
    assert!(fields.starts_with("field") && fields.contains("\nn ") && fields.contains("\n\"user id\" "), "{fields}");
    let values = client_output(&program, &[&["values", "\"user id\"", "-o", "csv"], &SINCE[..]].concat()).await;
    assert_eq!(values, "user id,events\r\n7,1\r\n");
    let values = client_output(&program, &[&["values", "source", "-o", "csv"], &SINCE[..]].concat()).await;
    assert!(values.starts_with("source,events\r\ncart,2\r\n"), "{values}");

    let listed = client(&program, &["dlq", "list"]).await;
    assert!(listed.status.success() && listed.stdout.is_empty());
    assert!(text(&listed.stderr).starts_with("-- 0 dead letters, "), "{}", text(&listed.stderr));
    assert_eq!(client_output(&program, &["dlq", "redrive", "--dry-run"]).await, "0 would be sent\n");
    assert_eq!(client_output(&program, &["dlq", "redrive", "--all", "--yes"]).await, "0 sent\n");
    assert_eq!(client_output(&program, &["dlq", "redrive", "--all", "--force", "--yes"]).await, "0 sent\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_events_are_accepted_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &[]).await;
    let summary = client_output(&program, &["generate", "--rate", "500", "--for", "1s", "--sources", "2"]).await;
    // On a machine that stands still for seconds fewer events are sent, and the summary says so.
    let sent: usize = summary.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    assert!((1..=500).contains(&sent) && summary.contains(&format!("{sent} accepted, 0 refused")), "{summary}");
    assert!(summary.contains("p50 ") && summary.contains("p99 "), "{summary}");
    wait_until("they are stored", async || program.gateway.all_events("", 1_000).await.len() == sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_generate_says_what_it_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program_with(directory.path(), &[]).await;
    let running = tokio::process::Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(["generate", "--for", "10m", "--url", program.gateway.base()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    wait_until("some are stored", async || !program.gateway.all_events("", 1_000).await.is_empty()).await;
    let pid = running.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let ended = tokio::time::timeout(DEADLINE, running.wait_with_output()).await.expect("in time").expect("its end");
    assert_eq!(ended.status.code(), Some(130));
    assert!(text(&ended.stdout).contains(" accepted, 0 refused"), "{}", text(&ended.stdout));
    assert!(text(&ended.stderr).starts_with("-- interrupted: "), "{}", text(&ended.stderr));
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = spillway(&["completions", shell], &[]);
        let script = text(&output.stdout);
        for word in ["redrive", "WARN+", "traceId", "yesterday"] {
            assert!(output.status.success() && script.contains(word), "{shell}: {word}");
        }
    }
    let page = spillway(&["man"], &[]);
    assert!(page.status.success() && text(&page.stdout).contains(".TH"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("man1");
    let output = spillway(&["man", "--dir", path.to_str().expect("text")], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for page in ["spillway.1", "spillway-query.1", "spillway-dlq-redrive.1"] {
        let page = std::fs::read_to_string(path.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        for section in ["EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}");
        }
    }
}

#[test]
fn variables_of_the_client_are_not_settings_of_a_server() {
    assert!(spillway(&["config"], &[("SPILLWAY_CLIENT__URL", "http://logs:8080")]).status.success());
    let output = spillway(&["query"], &[("SPILLWAY_CLIENT__URL", "logs")]);
    assert!(output.status.code() == Some(64) && text(&output.stderr).contains("SPILLWAY_CLIENT__URL"));
    for command in ["query", "send", "config"] {
        let output = spillway(&[command], &[("SPILLWAY_CLIENT__FOO", "x")]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let message = text(&output.stderr);
        assert!(message.contains("unknown key client.foo (in the environment: SPILLWAY_CLIENT__FOO)"), "{message}");
    }
}
