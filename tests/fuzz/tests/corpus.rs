//! Runs every committed input, and so every past finding, through its target.

#![cfg(test)]

use std::path::{Path, PathBuf};

/// Prints the current input on a panic.
struct InWork<'a>(&'a Path);

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn replay(name: &str) {
    let (_, target) = fuzz::TARGETS.into_iter().find(|(of, _)| *of == name).expect("a target");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&directory).expect("a corpus");
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort_unstable();
    assert!(!inputs.is_empty(), "{} is empty", directory.display());
    for path in inputs {
        let input = std::fs::read(&path).expect("an input");
        let in_work = InWork(&path);
        target(&input);
        drop(in_work);
    }
}

#[test]
fn bodies_of_events() {
    replay("events");
}

#[test]
fn compressed_bodies() {
    replay("decompression");
}

#[test]
fn logs_in_any_state() {
    replay("log-recovery");
}

#[test]
fn heads_with_credentials() {
    replay("credentials");
}

#[test]
fn bodies_of_agents() {
    replay("agent-bodies");
}

#[test]
fn records_of_any_bytes() {
    replay("record-decoding");
}

#[test]
fn lines_of_any_format() {
    replay("line-formats");
}
