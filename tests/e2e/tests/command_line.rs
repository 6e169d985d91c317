//! The command line, as used by operators and scripts.

#![cfg(test)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use adapter_embedded::disk::Disk;
use adapter_embedded::journal::{DiskJournal, JournalOptions};
use domain::delivery::Guarantee;
use domain::ports::{Journal, RefusedRecord};
use domain::record::{RecordBatch, Records};
use domain::timestamp::Timestamp;

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
fn bad_configuration_and_usage_exit_with_64_and_one_message_that_names_the_key() {
    for (arguments, variables, part) in [
        (&["all"][..], &[("SPILLWAY_MEMORY_BYTES", "1")][..], "memory_bytes_max"),
        (&["all"], &[("SPILLWAY_DRAIN_TIMEOUT", "soon")], "drain_timeout"),
        (&["all"], &[("SPILLWAY_PORT", "tcp://10.0.0.1:80")], "Kubernetes"),
        (&["all"], &[("SPILLWAY_LOG", "info,=,")], "log"),
        (&["--config", "missing.toml"], &[], "missing.toml"),
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
