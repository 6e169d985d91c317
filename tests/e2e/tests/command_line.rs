//! The program as people and scripts call it.

#![cfg(test)]

use std::process::{Command, Output};

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
fn help_and_version_are_no_errors_and_an_address_in_use_exits_with_1() {
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
