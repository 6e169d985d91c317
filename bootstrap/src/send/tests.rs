//! Tests of whole runs against a server with scripted replies.

use std::io::Write;

use clap::Parser;
use tempfile::TempDir;

use super::lines::LINE_BYTES_MAX;
use super::scripted_server::{Reply, ScriptedServer};
use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// The options of these arguments.
pub(super) fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
    Arguments::try_parse_from([&["send"], arguments].concat()).map(|arguments| arguments.options)
}

/// An answer that accepts this many events.
pub(super) fn accepted(count: u64) -> Reply {
    let body = format!(r#"{{"accepted":{count},"failed":0,"durability":{{"buffered":{count}}},"errors":[]}}"#);
    Reply::new(202, body)
}

/// When a signal is due.
type Signal<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

fn file(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Signals that are due when these futures resolve; then there are none.
struct Scripted<F>(Vec<F>);

impl<F: Future<Output = ()> + Unpin> StopSignals for Scripted<F> {
    async fn next(&mut self) {
        match self.0.first_mut() {
            Some(signal) => signal.await,
            None => std::future::pending().await,
        }
        self.0.remove(0);
    }
}

fn no_signals() -> impl StopSignals {
    Scripted::<std::future::Ready<()>>(Vec::new())
}

async fn send(replies: Vec<Reply>, arguments: &[&str]) -> (Summary, Vec<String>) {
    let server = ScriptedServer::start(replies).await;
    let options = options(&[&["--to", &server.url()], arguments].concat()).unwrap();
    let summary = run(options, no_signals()).await.unwrap();
    (summary, server.requests())
}

fn events(requests: &[String]) -> Vec<serde_json::Value> {
    requests.join("\n").lines().map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn ids(requests: &[String]) -> Vec<String> {
    events(requests).iter().map(|event| event["eventId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lines_of_several_files_share_batches_and_keep_their_sources() {
    let directory = TempDir::new().unwrap();
    let one = file(&directory, "app.web.log", "\u{feff}ERROR one\n\n \t\r\ntwo\r\n");
    let other = file(&directory, "other", "2024-01-15 10:30:00 three\n");
    let (summary, requests) = send(vec![accepted(2), accepted(1)], &["--batch", "2", &one, &other]).await;
    assert!(summary.is_complete(), "{summary}");
    assert_eq!((summary.events, summary.joined), (3, 0));
    assert_eq!((summary.levels_found, summary.times_found), (1, 1));
    let events = events(&requests);
    for (event, (source, message)) in events.iter().zip([("app.web", "one"), ("app.web", "two"), ("other", "three")]) {
        assert_eq!(event["source"], source);
        assert!(event["message"].as_str().unwrap().ends_with(message), "{event}");
    }
    assert_eq!((&events[0]["level"], &events[2]["timestamp"]), (&"ERROR".into(), &"2024-01-15T10:30:00Z".into()));
    assert_ne!(events[0]["eventId"], events[1]["eventId"]);
}

#[tokio::test]
async fn the_zone_and_the_format_of_the_options_are_used() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "2024-07-15 10:30:00 WARN x\n");
    let (_, requests) = send(vec![accepted(1)], &["--offset", "Europe/Berlin", &path]).await;
    assert_eq!(events(&requests)[0]["timestamp"], "2024-07-15T08:30:00Z");
    let path = file(&directory, "b.log", "shop!boom!E\n");
    let pattern = r"^(?<source>\w+)!(?<message>\w+)!(?<code>\w)$";
    let (_, requests) = send(vec![accepted(1)], &["--format", pattern, &path]).await;
    let event = &events(&requests)[0];
    assert_eq!((&event["source"], &event["message"]), (&"shop".into(), &"boom".into()));
}

#[tokio::test]
async fn numbers_arrive_digit_for_digit() {
    let directory = TempDir::new().unwrap();
    let numbers = r#""id":123456789012345678901234567890,"price":1.50"#;
    let path = file(&directory, "a.log", format!("{{\"level\":\"error\",\"msg\":\"m\",{numbers}}}\n"));
    let (summary, requests) = send(vec![accepted(1)], &[&path]).await;
    assert!(summary.levels_found == 1 && requests[0].contains(numbers), "{requests:?}");
}

#[tokio::test]
async fn a_missing_file_fails_the_run_but_not_the_others() {
    let directory = TempDir::new().unwrap();
    let (missing, there) = (directory.path().join("missing"), file(&directory, "a.log", "x\n"));
    let arguments = [missing.to_str().unwrap(), directory.path().to_str().unwrap(), &there];
    let (summary, requests) = send(vec![accepted(1)], &arguments).await;
    assert_eq!((summary.tally.accepted, summary.unreadable, requests.len()), (1, 2, 1));
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn batches_are_bounded_in_bytes() {
    let directory = TempDir::new().unwrap();
    let line = format!("{{\"msg\":\"{}\"}}\n", "x".repeat(200_000));
    let path = file(&directory, "a.log", line.repeat(7));
    let (summary, requests) = send(vec![accepted(5), accepted(2)], &[&path]).await;
    assert_eq!(requests.iter().map(|body| body.lines().count()).collect::<Vec<_>>(), [5, 2]);
    assert!(summary.is_complete());
}

#[tokio::test]
async fn a_line_without_an_end_is_cut_and_its_beginning_is_sent() {
    let directory = TempDir::new().unwrap();
    let endless = "x".repeat(LINE_BYTES_MAX + 1);
    let path = file(&directory, "a.log", ["INFO a", &endless, "INFO b\n"].join("\n"));
    let (summary, requests) = send(vec![accepted(3)], &[&path]).await;
    assert_eq!((summary.events, summary.tally.accepted, summary.cut, summary.cut_texts), (3, 3, 1, 1));
    assert!(events(&requests)[1]["message"].as_str().unwrap().starts_with("xxx"));
    assert!(summary.to_string().contains("a.log:2: only the beginning is sent"), "{summary}");
}

#[tokio::test]
async fn events_that_were_read_but_never_sent_count_as_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\nthree\n");
    let arguments = ["--give-up-after", "0", "--batch", "2", &path];
    let (summary, _) = send(vec![Reply::HangUp], &arguments).await;
    assert_eq!((summary.events, summary.tally.in_doubt(), summary.not_sent()), (3, 2, 1));
    assert!(summary.to_string().contains("no progress for 0 s: cannot reach http://127.0.0.1:"), "{summary}");
    assert!(summary.to_string().contains("2 in doubt, 1 not sent"), "{summary}");
    assert!(summary.to_string().contains("send the same file again"), "{summary}");
}

#[tokio::test]
async fn events_without_a_connection_count_as_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\n");
    let options = options(&["--to", "http://127.0.0.1:1", "--give-up-after", "0", &path]).unwrap();
    let summary = run(options, no_signals()).await.unwrap();
    assert_eq!((summary.tally.in_doubt(), summary.not_sent()), (0, 2));
}

#[tokio::test]
async fn a_second_signal_leaves_the_request_in_progress_in_doubt_and_the_rest_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\nthree\nfour\n");
    let server = ScriptedServer::start(vec![accepted(1), Reply::Silence]).await;
    let options = options(&["--to", &server.url(), "--batch", "1", &path]).unwrap();
    let twice = async {
        server.received().await;
        server.received().await;
    };
    let signals = Scripted(vec![Box::pin(twice) as Signal<'_>, Box::pin(async {})]);
    let summary = run(options, signals).await.unwrap();
    assert_eq!((summary.tally.accepted, summary.tally.in_doubt(), summary.not_sent()), (1, 1, 1));
    assert_eq!(summary.stopped.as_deref(), Some("interrupted"));
}

#[tokio::test]
async fn a_file_that_is_sent_again_has_the_same_identifiers_and_a_copy_has_others() {
    let directory = TempDir::new().unwrap();
    let text = "one\none\nERROR two\n\tat three\n{\"msg\":\"four\"}\n";
    let (path, copy) = (file(&directory, "a.log", text), file(&directory, "b.log", text));
    let (_, first) = send(vec![accepted(4)], &[&path]).await;
    let (_, again) = send(vec![accepted(1); 4], &["--batch", "1", &path]).await;
    let (_, copied) = send(vec![accepted(4)], &[&copy]).await;
    let ids_of_first = ids(&first);
    assert!(ids_of_first.len() == 4 && ids_of_first.is_sorted_by(|one, next| one < next), "{ids_of_first:?}");
    assert_eq!(ids_of_first, ids(&again));
    assert!(ids(&copied).iter().all(|id| !ids_of_first.contains(id)));
}

#[tokio::test]
async fn a_file_that_is_sent_again_with_other_options_has_other_identifiers() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\n");
    let (_, plain) = send(vec![accepted(2)], &[&path]).await;
    let (_, the_same) = send(vec![accepted(2)], &["--source", "a", "--level", "INFO", "--batch", "7", &path]).await;
    assert_eq!(ids(&plain), ids(&the_same), "the defaults");
    let mut all = ids(&plain);
    for options in [&["--source", "b"][..], &["--level", "WARN"], &["--offset", "+02:00"], &["--no-join"]] {
        let (_, other) = send(vec![accepted(2)], &[options, &[path.as_str()]].concat()).await;
        assert!(ids(&other).iter().all(|id| !all.contains(id)), "{options:?}");
        all.extend(ids(&other));
    }
}

#[tokio::test]
async fn of_a_file_that_has_grown_only_the_new_lines_have_new_identifiers() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "a\nb\n");
    let (_, first) = send(vec![accepted(2)], &[&path]).await;
    file(&directory, "a.log", "a\nb\nc\n");
    let (_, grown) = send(vec![accepted(3)], &[&path]).await;
    assert_eq!(ids(&first), ids(&grown)[..2]);
}

#[tokio::test]
async fn a_file_that_was_rewritten_is_a_new_file() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "begin one\nnothing to do\nnothing to do\n");
    let (_, first) = send(vec![accepted(3)], &[&path]).await;
    // The same file, by its inode, with lines of the same text at the same places.
    file(&directory, "a.log", "begin two\nnothing to do\nnothing to do\n");
    let (_, rewritten) = send(vec![accepted(3)], &[&path]).await;
    let first = ids(&first);
    assert!(ids(&rewritten).iter().all(|id| !first.contains(id)));
}

#[tokio::test]
async fn a_trace_that_has_grown_is_another_event() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\nERROR two\n\tat three\n");
    let (_, first) = send(vec![accepted(2)], &[&path]).await;
    file(&directory, "a.log", "one\nERROR two\n\tat three\n\tat four\n");
    let (_, grown) = send(vec![accepted(2)], &[&path]).await;
    let (first, grown) = (ids(&first), ids(&grown));
    assert!(first[0] == grown[0] && first[1] != grown[1]);
}

#[tokio::test]
async fn stack_traces_join_their_event_but_not_across_files() {
    let directory = TempDir::new().unwrap();
    let one = file(&directory, "a.log", "ERROR x\n\tat a.B.c(B.java:1)\nCaused by: b.C: d\n\tat a.B.d(B.java:2)\n");
    let other = file(&directory, "b.log", "\tat a.B.e(B.java:3)\n");
    let (summary, requests) = send(vec![accepted(2)], &[&one, &other]).await;
    assert_eq!((summary.events, summary.joined, summary.tally.accepted), (2, 3, 2));
    let trace = "\tat a.B.c(B.java:1)\nCaused by: b.C: d\n\tat a.B.d(B.java:2)";
    assert_eq!(events(&requests)[0]["stackTrace"], trace);
    assert!(summary.to_string().contains("lines:     5 (3 joined"), "{summary}");
    let (summary, _) = send(vec![accepted(5)], &["--no-join", &one, &other]).await;
    assert_eq!((summary.events, summary.joined), (5, 0));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_files_are_read_whatever_their_names() {
    let directory = TempDir::new().unwrap();
    let one = file(&directory, "a.log.gz", [gzip("one\ntw"), gzip("o\n")].concat());
    let other = file(&directory, "b", zstd::encode_all(&b"three\n"[..], 1).unwrap());
    let (summary, requests) = send(vec![accepted(3)], &[&one, &other]).await;
    assert!(summary.is_complete() && summary.repeatable, "{summary}");
    let events = events(&requests);
    let found: Vec<_> = events.iter().map(|event| (event["source"].as_str(), event["message"].as_str())).collect();
    assert_eq!(found, [("a", "one"), ("a", "two"), ("b", "three")].map(|(source, text)| (Some(source), Some(text))));
    let (_, again) = send(vec![accepted(3)], &[&one, &other]).await;
    assert_eq!(ids(&requests), ids(&again));
}

#[tokio::test]
async fn of_a_damaged_archive_the_lines_before_the_damage_are_sent() {
    let directory = TempDir::new().unwrap();
    // Of the second member only the header (10 bytes) is left.
    let damaged = [&gzip("one\ntwo\n")[..], &gzip("three\n")[..10]].concat();
    let damaged = file(&directory, "a.gz", damaged);
    let other = file(&directory, "b.log", "four\n");
    let (summary, requests) = send(vec![accepted(3)], &[&damaged, &other]).await;
    assert_eq!((summary.tally.accepted, summary.unreadable), (3, 1));
    assert!(!summary.is_complete() && requests[0].contains("two") && requests[0].contains("four"), "{requests:?}");
}

#[tokio::test]
async fn a_file_that_is_no_log_is_refused_as_a_whole() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", b"\xFF\xFEo\0n\0e\0\n\0");
    let (summary, requests) = send(vec![], &[&path]).await;
    assert_eq!((summary.events, summary.unreadable, requests.len()), (0, 1, 0));
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn an_archive_is_refused_also_if_it_is_compressed() {
    let directory = TempDir::new().unwrap();
    let tar = format!("{:\0<257}ustar\0{:\0<249}INFO one\n", "logs/a.log", "00");
    let plain = file(&directory, "a.tar", &tar);
    let packed = file(&directory, "a.tar.gz", gzip(&tar));
    let (summary, requests) = send(vec![], &[&plain, &packed]).await;
    assert_eq!((summary.events, summary.unreadable, requests.len()), (0, 2, 0));
}

#[tokio::test]
async fn holes_in_a_file_lose_no_line() {
    let directory = TempDir::new().unwrap();
    let hole = "\0".repeat(100_000);
    let path =
        file(&directory, "a.log", format!("{hole}2024-01-15T10:30:00Z ERROR a\n{hole}2024-01-15T10:30:01Z INFO b\n"));
    let (summary, requests) = send(vec![accepted(2)], &[&path]).await;
    assert_eq!((summary.events, summary.levels_found, summary.times_found), (2, 2, 2), "{summary}");
    assert_eq!(events(&requests)[1]["timestamp"], "2024-01-15T10:30:01Z");
}

#[tokio::test]
async fn json_beyond_the_limits_of_metadata_is_sent_as_text() {
    let directory = TempDir::new().unwrap();
    let deep =
        |depth: usize| format!(r#"{{"level":"error","body":{}1{}}}"#, "{\"a\":".repeat(depth), "}".repeat(depth));
    let large = format!(r#"{{"level":"error","x":"{}"}}"#, "b".repeat(70_000));
    let path = file(&directory, "a.log", [&*deep(20), &deep(200), &large, ""].join("\n"));
    let (summary, requests) = send(vec![accepted(3)], &[&path]).await;
    assert!(summary.is_complete(), "{summary}");
    for event in events(&requests) {
        let message = event["message"].as_str().unwrap();
        assert!(message.starts_with(r#"{"level":"error","#) && event["level"] == "ERROR", "{message:.200}");
    }
}

#[tokio::test]
async fn the_last_line_of_a_file_needs_no_line_feed() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo");
    let (summary, _) = send(vec![accepted(2)], &["--join-wait", "10ms", &path]).await;
    assert_eq!((summary.events, summary.tally.accepted), (2, 2));
}

#[tokio::test]
async fn lines_that_are_not_utf_8_are_counted() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", b"one\n\xFF\n\xFE\n");
    let (summary, requests) = send(vec![accepted(3)], &[&path]).await;
    assert_eq!((summary.not_utf8, &events(&requests)[1]["message"]), (2, &"\u{fffd}".into()));
}

#[tokio::test]
async fn lines_without_a_level_are_listed() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "ERROR a\nb\nINFO c\nd\ne\nf\n");
    let (summary, _) = send(vec![accepted(6)], &[&path]).await;
    let lines: Vec<u64> = summary.levels_missed.iter().map(|place| place.line).collect();
    assert_eq!(lines, [2, 4, 5]);
}

#[tokio::test]
async fn an_interruption_ends_the_run_with_a_summary() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\n");
    let signals = Scripted(vec![std::future::ready(())]);
    let summary = run(options(&[&path]).unwrap(), signals).await.unwrap();
    assert_eq!(summary.stopped.as_deref(), Some("interrupted; what was read before was sent"));
    assert!(!summary.is_complete() && summary.events == 0);
}

#[tokio::test]
async fn the_first_signal_waits_for_the_request_in_progress_and_reads_nothing_more() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\nthree\nfour\n");
    let server = ScriptedServer::start(vec![Reply::new(503, String::new()).retry_after(0), accepted(1)]).await;
    let options = options(&["--to", &server.url(), "--batch", "1", &path]).unwrap();
    let first = async { server.received().await };
    let summary = run(options, Scripted(vec![Box::pin(first) as Signal<'_>])).await.unwrap();
    // The event of the last line that was read is held: later lines may belong to it.
    assert_eq!((summary.tally.accepted, summary.tally.in_doubt(), summary.not_sent()), (1, 0, 1));
    assert_eq!(summary.stopped.as_deref(), Some("interrupted"));
    assert_eq!(server.requests().len(), 2, "the same event");
}

#[tokio::test(start_paused = true)]
async fn after_the_first_signal_there_is_little_time_left() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\n");
    let options = options(&["--to", "http://127.0.0.1:1", "--keep-trying", &path]).unwrap();
    let start = tokio::time::Instant::now();
    let later = Box::pin(tokio::time::sleep(Duration::from_secs(60)));
    let summary = run(options, Scripted(vec![later])).await.unwrap();
    assert_eq!((summary.events, summary.not_sent(), start.elapsed().as_secs()), (2, 2, 65));
    let stopped = summary.stopped.unwrap_or_default();
    assert_eq!(stopped, "interrupted; not all that was read could be sent within 5 s");
}
