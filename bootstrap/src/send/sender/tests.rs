//! Tests of the sender's parts: batches, waiting and advice.

use super::*;
use crate::send::scripted_server::ScriptedServer;
use crate::send::tests::{accepted, options};

/// A sender, and the input that its lines come from.
fn sender(server: &ScriptedServer) -> (Sender, Input) {
    let sender = Sender::new(&options(&["--to", &server.url()]).unwrap(), None).unwrap();
    (sender, Input::all(&[], None).remove(0))
}

fn line(text: &str) -> Line {
    Line { text: Some(text.into()), number: 1, bytes: text.len() as u64 }
}

#[tokio::test]
async fn nothing_is_due_once_the_batch_is_sent() {
    let server = ScriptedServer::start(vec![accepted(1)]).await;
    let (mut sender, input) = sender(&server);
    sender.take(&input, None, line("one")).await.unwrap();
    assert!(sender.due.is_some() && sender.held.is_some());
    sender.send_due().await.unwrap();
    assert!(sender.due.is_none() && sender.held.is_none() && sender.summary.tally.accepted == 1);
}

#[tokio::test]
async fn only_what_can_be_continued_is_held_back() {
    let server = ScriptedServer::start(vec![]).await;
    let (mut sender, input) = sender(&server);
    sender.take(&input, None, line("{}")).await.unwrap();
    assert_eq!((sender.held.is_some(), sender.batch.len()), (false, 1));
    for batch in 1..4 {
        sender.take(&input, None, line("text")).await.unwrap();
        assert_eq!((sender.held.is_some(), sender.batch.len()), (true, batch));
    }
    assert_ne!(sender.batch[1].json, sender.batch[2].json, "an input other than a file has new identifiers each time");
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_a_second_for_others() {
    let (_writer, reader) = tokio::io::duplex(64);
    let start = Instant::now();
    let next = next_line(&mut Lines::new(reader), Some(start + BATCH_AGE_MAX)).await;
    assert!(matches!(next, Next::Due) && start.elapsed() == BATCH_AGE_MAX);
}

#[tokio::test]
async fn a_file_that_is_not_text_gets_advice() {
    let error = Lines::new(&b"\0"[..]).next().await.unwrap_err();
    let reason = reason_unreadable(&Input::all(&["a.gz".into()], None)[0], &error);
    let expected = "cannot read a.gz: it is binary or UTF-16; decompress or convert it first \
                    (zcat a.gz | spillway send --source NAME)";
    assert_eq!(reason, expected);
    let reason = reason_unreadable(&Input::all(&[], None)[0], &error);
    assert!(reason.starts_with("cannot read standard input: ") && reason.contains("zcat FILE |"), "{reason}");
}
