//! Tests of whole runs against a server with scripted replies.

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

fn file(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn send(replies: Vec<Reply>, arguments: &[&str]) -> (Summary, Vec<String>) {
    let server = ScriptedServer::start(replies).await;
    let options = options(&[&["--to", &server.url()], arguments].concat()).unwrap();
    let summary = run(options, std::future::pending()).await.unwrap();
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
    let other = file(&directory, "other", "2024-01-15 10:30:00 three");
    let (summary, requests) = send(vec![accepted(2), accepted(1)], &["--batch", "2", &one, &other]).await;
    assert!(summary.is_complete());
    assert_eq!((summary.events, summary.joined), (3, 0));
    assert_eq!((summary.levels_found, summary.times_found), (1, 1));
    let events = events(&requests);
    let sources: Vec<_> = events.iter().map(|event| (&event["source"], &event["message"])).collect();
    let expected = [("app.web", "ERROR one"), ("app.web", "two"), ("other", "2024-01-15 10:30:00 three")];
    assert!(sources.iter().zip(expected).all(|(found, (source, message))| *found.0 == source && *found.1 == message));
    assert_ne!(events[0]["eventId"], events[1]["eventId"]);
}

#[tokio::test]
async fn a_missing_file_fails_the_run_but_not_the_others() {
    let directory = TempDir::new().unwrap();
    let (missing, there) = (directory.path().join("missing"), file(&directory, "a.log", "x"));
    let arguments = [missing.to_str().unwrap(), directory.path().to_str().unwrap(), &there];
    let (summary, requests) = send(vec![accepted(1)], &arguments).await;
    assert_eq!((summary.tally.accepted, summary.unreadable, requests.len()), (1, 2, 1));
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn batches_are_bounded_in_bytes_and_endless_lines_are_refused() {
    let directory = TempDir::new().unwrap();
    let [half, longest, endless] = [600_000, LINE_BYTES_MAX, LINE_BYTES_MAX + 1].map(|length| "x".repeat(length));
    let path = file(&directory, "a.log", [&*half, &half, &longest, &endless, "y"].join("\n"));
    let (summary, requests) = send(vec![accepted(1), accepted(1), accepted(1), accepted(1)], &[&path]).await;
    assert_eq!(requests.iter().map(|body| body.lines().count()).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert_eq!((summary.events, summary.tally.accepted), (5, 4));
    assert!(summary.tally.first_refusals[0].contains("a.log:4 line_too_long"), "{summary}");
}

#[tokio::test]
async fn events_that_were_read_but_never_sent_count_as_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\nthree\n");
    let arguments = ["--give-up-after", "0", "--batch", "2", &path];
    let (summary, _) = send(vec![Reply::HangUp], &arguments).await;
    assert_eq!((summary.events, summary.tally.in_doubt(), summary.not_sent()), (2, 2, 0));
    assert!(summary.to_string().contains("no progress for 0 s: cannot reach http://127.0.0.1:"), "{summary}");
    assert!(summary.to_string().contains("2 in doubt, 0 not sent"), "{summary}");
    assert!(summary.to_string().contains("send the same file again"), "{summary}");
}

#[tokio::test]
async fn events_without_a_connection_count_as_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\n");
    let options = options(&["--to", "http://127.0.0.1:1", "--give-up-after", "0", &path]).unwrap();
    let summary = run(options, std::future::pending()).await.unwrap();
    assert_eq!((summary.tally.in_doubt(), summary.not_sent()), (0, 2));
}

#[tokio::test]
async fn an_interruption_leaves_the_request_in_progress_in_doubt_and_the_rest_not_sent() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", "one\ntwo\nthree\nfour\n");
    let server = ScriptedServer::start(vec![accepted(1), Reply::Silence]).await;
    let options = options(&["--to", &server.url(), "--batch", "1", &path]).unwrap();
    let twice = async {
        server.received().await;
        server.received().await;
    };
    let summary = run(options, twice).await.unwrap();
    assert_eq!((summary.tally.accepted, summary.tally.in_doubt(), summary.not_sent()), (1, 1, 0));
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
async fn stack_traces_join_their_event_but_not_across_files_or_after_json() {
    let directory = TempDir::new().unwrap();
    let one = file(&directory, "a.log", "ERROR x\n\tat a\n\nCaused by: b\n\tat c\n{\"msg\":\"j\"}\n\tat d\n");
    let other = file(&directory, "b.log", "\tat e\n");
    let (summary, requests) = send(vec![accepted(4)], &[&one, &other]).await;
    assert_eq!((summary.events, summary.joined, summary.tally.accepted), (4, 3, 4));
    assert_eq!(events(&requests)[0]["stackTrace"], "\tat a\nCaused by: b\n\tat c");
    assert!(summary.to_string().contains("lines:     7 (3 joined"), "{summary}");
    let (summary, _) = send(vec![accepted(7)], &["--no-join", &one, &other]).await;
    assert_eq!((summary.events, summary.joined), (7, 0));
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_event_before_it() {
    let directory = TempDir::new().unwrap();
    let endless = "x".repeat(LINE_BYTES_MAX + 1);
    let path = file(&directory, "a.log", ["ERROR x", &endless, "\tat a"].join("\n"));
    let (summary, _) = send(vec![accepted(2)], &[&path]).await;
    assert_eq!((summary.events, summary.joined, summary.tally.accepted), (3, 0, 2));
}

#[tokio::test]
async fn a_file_that_is_not_text_is_refused_as_a_whole() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.gz", b"one\ntwo\n\0");
    let (summary, requests) = send(vec![], &[&path]).await;
    assert_eq!((summary.events, summary.unreadable, requests.len()), (0, 1, 0));
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn lines_that_are_not_utf_8_are_counted() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "a.log", b"one\n\xFF\n \xFE\n");
    let (summary, requests) = send(vec![accepted(2)], &[&path]).await;
    assert_eq!((summary.not_utf8, &events(&requests)[1]["stackTrace"]), (2, &" \u{fffd}".into()));
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
    let summary = run(options(&[&path]).unwrap(), std::future::ready(())).await.unwrap();
    assert_eq!(summary.stopped.as_deref(), Some("interrupted"));
    assert!(!summary.is_complete());
}
