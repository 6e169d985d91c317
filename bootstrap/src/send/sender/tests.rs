//! Tests of the sender's parts: batches and waiting.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::send::event_id::FileId;
use crate::send::scripted_server::ScriptedServer;
use crate::send::tests::{accepted, options};

/// A sender, and the input that its lines come from.
fn sender(server: &ScriptedServer, arguments: &[&str]) -> (Sender, Input) {
    let options = options(&[&["--to", &server.url()], arguments].concat()).unwrap();
    let (_, stop) = watch::channel(false);
    (Sender::new(&options, None, stop).unwrap(), Input::all(&[], None).remove(0))
}

fn reading(input: &Input) -> Reading<'_> {
    Reading { input, source: input.source.clone(), headers: TailHeaders::new(), ids: LineIds::New, lines: 0 }
}

fn line(text: &str) -> Line {
    Line { text: text.into(), number: 1, offset: 0, cut_bytes: 0 }
}

#[tokio::test]
async fn nothing_is_due_once_the_batch_is_sent() {
    let server = ScriptedServer::start(vec![accepted(1)]).await;
    let (mut sender, input) = sender(&server, &["--join-wait", "0"]);
    let mut reading = reading(&input);
    sender.take(&mut reading, line("ERROR one")).await.unwrap();
    assert!(sender.join_due.is_some() && sender.due.is_none(), "the event is held, the batch is empty");
    sender.send_due(&reading).await.unwrap();
    assert!(sender.join_due.is_none() && sender.batch.len() == 1, "it no longer waits for lines");
    assert!(sender.due.is_some_and(|due| due > Instant::now()), "but for other events");
    sender.due = Some(Instant::now());
    sender.send_due(&reading).await.unwrap();
    assert!(sender.due.is_none() && sender.batch.is_empty() && sender.summary.tally.accepted == 1);
}

#[tokio::test]
async fn an_event_that_was_held_for_as_long_as_a_batch_waits_is_sent_at_once() {
    let server = ScriptedServer::start(vec![accepted(1)]).await;
    let (mut sender, input) = sender(&server, &["--join-wait", "1s"]);
    let mut reading = reading(&input);
    sender.take(&mut reading, line("ERROR one")).await.unwrap();
    sender.join_due = Some(Instant::now());
    sender.send_due(&reading).await.unwrap();
    assert!(sender.due.is_none() && sender.join_due.is_none() && sender.summary.tally.accepted == 1);
}

#[tokio::test]
async fn the_batch_is_sent_without_the_held_event() {
    let server = ScriptedServer::start(vec![accepted(1)]).await;
    let (mut sender, input) = sender(&server, &["--join-wait", "1m"]);
    let mut reading = reading(&input);
    for text in ["ERROR one", "ERROR two"] {
        sender.take(&mut reading, line(text)).await.unwrap();
    }
    sender.due = Some(Instant::now());
    sender.send_due(&reading).await.unwrap();
    assert_eq!((sender.summary.tally.accepted, sender.batch.len()), (1, 0));
    assert!(sender.join_due.is_some() && sender.reader.holds_events());
    sender.take(&mut reading, line("\tat three")).await.unwrap();
    sender.release(&reading).await.unwrap();
    assert_eq!((sender.summary.events, sender.summary.joined), (2, 1));
}

#[tokio::test]
async fn events_of_a_file_are_held_to_its_end_and_those_of_a_pipe_are_new_each_time() {
    let server = ScriptedServer::start(vec![]).await;
    let (mut sender, input) = sender(&server, &[]);
    let metadata = tempfile::tempfile().unwrap().metadata().unwrap();
    let mut file = Reading { ids: LineIds::new(FileId::of(&metadata), &[]), ..reading(&input) };
    sender.take(&mut file, line("ERROR one")).await.unwrap();
    assert!(sender.reader.holds_events() && sender.join_due.is_none());
    let mut pipe = reading(&input);
    for _ in 0..3 {
        sender.take(&mut pipe, line("ERROR one")).await.unwrap();
    }
    assert_eq!((sender.join_due.is_some(), sender.batch.len()), (true, 3));
    assert_ne!(sender.batch[1].json, sender.batch[2].json);
}

#[tokio::test]
async fn events_that_are_held_at_the_end_count_as_not_sent() {
    let server = ScriptedServer::start(vec![]).await;
    let (mut sender, input) = sender(&server, &[]);
    sender.take(&mut reading(&input), line("ERROR one")).await.unwrap();
    let summary = sender.finish(&[input], Err(Stopped("interrupted".to_owned())));
    assert_eq!((summary.events, summary.not_sent()), (1, 1));
}

#[tokio::test]
async fn what_was_read_from_a_pipe_is_sent_when_reading_stops() {
    let server = ScriptedServer::start(vec![accepted(4)]).await;
    let (mut sender, input) = sender(&server, &["--join-wait", "1m"]);
    let (stop, stopped) = watch::channel(false);
    sender.stop = stopped;
    let (mut writer, reader) = tokio::io::duplex(1 << 20);
    writer.write_all(b"INFO one\nINFO two\nERROR three\n\tat four\nINFO fi").await.unwrap();
    stop.send_replace(true);
    // The pipe stays open.
    let stopped = sender.send_lines(reading(&input), Lines::new(reader, None)).await.unwrap_err();
    assert_eq!(stopped.0, "interrupted; what was read before was sent");
    let requests = server.requests();
    assert!(requests.len() == 1 && requests[0].contains("\\tat four") && requests[0].contains("fi\""), "{requests:?}");
    let summary = sender.finish(&[input], Err(stopped));
    assert_eq!((summary.events, summary.tally.accepted, summary.not_sent()), (4, 4, 0));
}

#[tokio::test]
async fn headers_of_tail_name_the_source_of_the_lines_behind_them() {
    let text =
        "==> /var/log/a.log <==\nERROR one\n\tat x\n\n==> b.log.1 <==\n\tat y\n\n==> /var/log/a.log <==\nINFO two\n";
    for (arguments, sources) in [(&[][..], ["a", "b", "a"]), (&["--source", "given"], ["given"; 3])] {
        let server = ScriptedServer::start(vec![accepted(3)]).await;
        let options = options(&[&["--to", &server.url()], arguments].concat()).unwrap();
        let (_, stop) = watch::channel(false);
        let mut sender = Sender::new(&options, None, stop).unwrap();
        let input = Input::all(&[], options.source.as_ref()).remove(0);
        sender.send_lines(reading(&input), Lines::new(text.as_bytes(), None)).await.unwrap();
        sender.flush().await.unwrap();
        let requests = server.requests();
        for (event, source) in requests[0].lines().zip(sources) {
            assert!(event.contains(&format!(r#""source":"{source}""#)), "{event}");
        }
        assert_eq!((sender.summary.events, sender.summary.headers, requests[0].lines().count()), (3, 3, 3));
    }
}

#[tokio::test]
async fn a_pipe_is_not_waited_for_when_reading_stops() {
    let server = ScriptedServer::start(vec![accepted(2)]).await;
    let (mut sender, input) = sender(&server, &[]);
    let (stop, stopped) = watch::channel(false);
    sender.stop = stopped;
    let (mut writer, reader) = tokio::io::duplex(64);
    writer.write_all(b"INFO one\nINFO tw").await.unwrap();
    let sending = sender.send_lines(reading(&input), Lines::new(reader, None));
    let (ended, _) = tokio::join!(sending, async { stop.send_replace(true) });
    assert!(ended.is_err() && server.requests().len() == 1, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_wins_over_what_is_due() {
    let start = Instant::now();
    assert_eq!(within(Some(start), std::future::ready(7)).await, Some(7));
    assert_eq!(within(Some(start + BATCH_AGE_MAX), std::future::pending::<u8>()).await, None);
    assert_eq!(start.elapsed(), BATCH_AGE_MAX);
    assert_eq!(within(None, std::future::ready(7)).await, Some(7));
}

/// Reads from a pipe into which each part is written so many milliseconds after the one before it. Nothing is sent.
async fn events_of(parts: &[(u64, &str)], join_wait: &str) -> (u64, u64) {
    let server = ScriptedServer::start(vec![]).await;
    let (mut sender, input) = sender(&server, &["--join-wait", join_wait]);
    let (mut writer, reader) = tokio::io::duplex(1 << 20);
    let write = async {
        for (millis, part) in parts {
            tokio::time::sleep(Duration::from_millis(*millis)).await;
            writer.write_all(part.as_bytes()).await.unwrap();
        }
        drop(writer);
    };
    let read = async { sender.send_lines(reading(&input), Lines::new(reader, None)).await.unwrap() };
    tokio::join!(write, read);
    (sender.summary.events, sender.summary.joined)
}

// Time is simulated: no socket is used, because no batch comes of age.
#[tokio::test(start_paused = true)]
async fn lines_that_arrive_late_join_their_event_within_the_wait() {
    for (parts, join_wait, expected) in [
        (&[(0, "ERROR x\n"), (300, "\tat a\n"), (300, "\tat b\n")][..], "500ms", (1, 2)),
        (&[(0, "ERROR x\n"), (700, "\tat a\n")], "500ms", (2, 0)),
        (&[(0, "ERROR x\n"), (1, "\tat a\n")], "0", (2, 0)),
        (&[(0, "ERROR x\n\tat a\n")], "0", (1, 1)),
        (&[(0, "ERROR x\n\ta"), (300, "t a\n")], "500ms", (1, 1)),
        (&[(0, "ERR"), (900, "OR x")], "500ms", (1, 0)),
    ] {
        assert_eq!(events_of(parts, join_wait).await, expected, "{parts:?}");
    }
}
