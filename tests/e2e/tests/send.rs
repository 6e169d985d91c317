//! `spillway send`: files, compressed files and pipes, into a running program.

#![cfg(test)]

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use e2e::{DEADLINE, Program, wait_until};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The source of the events of a pipe.
const PIPE: &str = "pipe";

async fn program(data_dir: &Path) -> Program {
    std::fs::create_dir_all(data_dir).expect("a directory");
    Program::start(env!("CARGO_BIN_EXE_spillway-under-test"), data_dir, &[]).await
}

/// `spillway send` with these arguments. Each part is written to its standard input once so many events of the source `pipe`
/// are stored.
async fn send(program: &Program, arguments: &[&str], parts: &[(usize, &[u8])]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(["send", "--to", program.gateway.base()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    for (events_before, part) in parts {
        stored(program, PIPE, *events_before).await;
        stdin.write_all(part).await.expect("the program reads");
    }
    drop(stdin);
    tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("it ends in time").expect("it ran")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The stored events of a source, oldest first, once there are so many.
async fn stored(program: &Program, source: &str, number: usize) -> Vec<Value> {
    let query = format!("source={source}&order=asc");
    wait_until("the events are stored", async || program.gateway.all_events(&query, 1_000).await.len() >= number).await;
    program.gateway.all_events(&query, 1_000).await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

const LOG: &str = "\
2024-01-15T10:30:00Z INFO begin
2024-01-15T10:30:01Z ERROR request failed
\tat a.B.c(B.java:1)
2024-01-15T10:30:02Z WARN end
";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_sent_again_is_stored_once_also_if_it_is_compressed_or_has_grown() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(&directory.path().join("data")).await;
    let grown = [LOG, "2024-01-15T10:30:03Z INFO more\n"].concat();
    let zstd = zstd::encode_all(LOG.as_bytes(), 1).expect("memory");
    for (name, source, contents) in [
        ("plain.log", "plain", [LOG.as_bytes().to_vec(), grown.into_bytes()]),
        ("packed.log.gz", "packed", [gzip(LOG), gzip(LOG)]),
        ("other.zst", "other", [zstd.clone(), zstd]),
    ] {
        let path = directory.path().join(name);
        let path_text = path.to_str().expect("text");
        let last = contents.len() - 1;
        for (index, content) in contents.into_iter().enumerate() {
            std::fs::write(&path, content).expect("it can be written");
            let output = send(&program, &[path_text], &[]).await;
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            assert!(text(&output.stdout).contains(" 0 refused, 0 not sent"), "{}", text(&output.stdout));
            let expected = if source == "plain" && index == last { 4 } else { 3 };
            let events = stored(&program, source, expected).await;
            assert_eq!(events.len(), expected, "{source}: {events:?}");
            assert_eq!(
                (&events[1]["level"], &events[1]["timestamp"]),
                (&"ERROR".into(), &"2024-01-15T10:30:01Z".into())
            );
            assert!(events[1]["stackTrace"].as_str().expect("a trace").contains("a.B.c(B.java:1)"), "{events:?}");
        }
    }
    assert_eq!(program.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_with_holes_late_lines_and_odd_bytes_loses_no_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path()).await;
    let hole = [0; 100_000];
    // An event is stored once no line joined it for a while, and the beginning of a line is not one.
    let parts = [
        (0, &b"2024-01-15T10:30:00Z INFO one\n"[..]),
        (1, &hole),
        (1, b"2024-01-15T10:30:01Z ERROR two\n"),
        (1, b"\tat a.B.c(B.java:1)\n2024-01-15T10:30:02Z INFO th"),
        (2, b"ree \xFF\n2024-01-15T10:30:03Z INFO four"),
    ];
    let output = send(&program, &["--source", PIPE, "--keep-trying"], &parts).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let events = stored(&program, PIPE, 4).await;
    for (event, part) in events.iter().zip(["one", "two", "three \u{fffd}", "four"]) {
        assert!(event["message"].as_str().expect("text").ends_with(part), "{event}");
    }
    assert!(events.len() == 4 && events[1]["stackTrace"].is_string(), "{events:?}");
    assert_eq!(program.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_cannot_be_read_to_its_end_fails_the_run_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(&directory.path().join("data")).await;
    let mut damaged = gzip("INFO before\n");
    damaged.extend_from_slice(&gzip("INFO behind\n")[..10]);
    for (name, content, stored_events, part) in [
        ("damaged.gz", damaged, 1, "its gzip data is damaged or cut off"),
        ("windows.log", b"\xFF\xFEx\0\n\0".to_vec(), 0, "run iconv -f UTF-16 -t UTF-8"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        let output = send(&program, &[path.to_str().expect("text"), "--source", name], &[]).await;
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
        assert_eq!(stored(&program, name, stored_events).await.len(), stored_events, "{name}");
    }
    for (arguments, part) in [
        (["--offset", "Mars/Olympus"], "Europe/Berlin"),
        (["--join-wait", "soon"], "write 500ms, 10s or 2m"),
        (["--header", "Host: secret"], "host"),
    ] {
        let output = send(&program, &arguments, &[]).await;
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {message}");
        assert!(message.contains(part) && !message.contains("secret"), "{arguments:?}: {message}");
    }
    assert_eq!(program.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_from_a_pipe_is_sent_at_the_first_signal() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path()).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_spillway-under-test"))
        .args(["send", "--to", program.gateway.base(), "--source", "stopped", "--join-wait", "1m", "--keep-trying"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // The second event is held, because lines may join it.
    stdin.write_all(b"INFO one\nERROR two\n").await.expect("the program reads");
    stored(&program, "stopped", 1).await;
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs");
    assert!(sent.success());
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("in time").expect("it ran");
    let summary = text(&output.stdout);
    assert!(output.status.code() == Some(1) && summary.contains("2 accepted, 0 refused, 0 not sent"), "{summary}");
    assert!(summary.contains("interrupted; what was read before was sent"), "{summary}");
    assert_eq!(stored(&program, "stopped", 2).await.len(), 2);
    drop(stdin);
    assert_eq!(program.terminate().await, Some(0));
}
