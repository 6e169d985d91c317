//! `spillway send`: sends the lines of files or of standard input to the API of a Spillway.
//!
//! * Every non-blank line is one event, or part of the stack trace of the previous event. Every event is accounted for:
//!   accepted, refused with a reason, in doubt, or not sent.
//! * A file that is sent again is stored once: its lines have the same identifiers, and the store drops repeats within
//!   its dedup window, one day by default. A copy of a file is another file. Events from standard input or a pipe are
//!   always new; within one run they are stored once too.
//! * Memory is bounded by one batch, one held event and one line, however long the input is. Reading waits for sending.
//! * Slow input is sent soon: no event waits longer than [`BATCH_AGE_MAX`] for others.

mod client;
mod event_id;
mod input;
mod joining;
mod levels;
mod line;
mod lines;
mod members;
mod options;
mod progress;
#[cfg(test)]
mod scripted_server;
mod summary;
mod times;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Clock, IdSource};
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use self::client::{Client, Pending, Place, Stopped};
use self::event_id::{EventId, FileId};
use self::input::{Input, Opened};
use self::joining::Held;
use self::line::LineParser;
use self::lines::{LINE_BYTES_MAX, Line, Lines};
pub use self::options::Options;
use self::progress::Progress;
pub use self::summary::{Summary, grouped};
use crate::system::{SystemClock, UuidV7};

/// Maximum size of a request body, unless a single event is larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long an event waits for others to join its batch, or for continuation lines.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);

/// Sends everything and returns the outcome. Ends early when `stop` resolves, without waiting for an answer.
///
/// A read of standard input cannot be cancelled: the caller must not wait for the blocking threads of its runtime
/// (`Runtime::shutdown_background`).
///
/// # Errors
/// Never in practice: errors of files and servers are in the summary.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<Summary> {
    let inputs = Input::all(&options.files, options.source.as_ref());
    let mut sender = Sender::new(&options, input::bytes_total(&inputs).await)?;
    let ended = tokio::select! {
        biased;
        () = stop => Err(Stopped("interrupted".to_owned())),
        ended = sender.send_all(&inputs) => ended,
    };
    Ok(sender.finish(&inputs, ended))
}

/// Collects events into batches and sends them.
struct Sender {
    batch_events_max: usize,
    parser: LineParser,
    ids: UuidV7,
    client: Client,
    /// Whether lines can continue an event.
    joins: bool,
    /// The last event, not in a batch yet: the next line may continue it.
    held: Option<Held>,
    batch: Vec<Pending>,
    batch_bytes: usize,
    /// When batch and held event are sent even if the batch is not full; `None` if both are empty.
    due: Option<Instant>,
    bytes_read: u64,
    summary: Summary,
    progress: Progress,
}

impl Sender {
    fn new(options: &Options, bytes_total: Option<u64>) -> anyhow::Result<Self> {
        Ok(Self {
            batch_events_max: usize::from(options.batch),
            parser: LineParser::new(options.level, options.offset)?,
            ids: UuidV7::default(),
            client: Client::new(options.to.clone(), options.give_up_after()),
            joins: !options.no_join,
            held: None,
            batch: Vec::new(),
            batch_bytes: 0,
            due: None,
            bytes_read: 0,
            summary: Summary { repeatable: bytes_total.is_some(), ..Summary::default() },
            progress: Progress::new(bytes_total),
        })
    }

    async fn send_all(&mut self, inputs: &[Input]) -> Result<(), Stopped> {
        for input in inputs {
            self.summary.inputs_begun += 1;
            self.progress.begin(input.short_name());
            match input.open().await {
                Ok(Opened { lines, file }) => self.send_lines(input, file, lines).await?,
                Err(error) => self.unreadable(input, &error),
            }
        }
        self.flush().await
    }

    async fn send_lines<R: AsyncRead + Unpin>(
        &mut self,
        input: &Input,
        file: Option<FileId>,
        mut lines: Lines<R>,
    ) -> Result<(), Stopped> {
        loop {
            match next_line(&mut lines, self.due).await {
                Next::Line(line) => self.take(input, file, line).await?,
                Next::Due => self.send_due().await?,
                Next::End => return self.release().await,
                Next::Failed(error) => {
                    self.unreadable(input, &error);
                    return self.release().await;
                }
            }
        }
    }

    async fn take(&mut self, input: &Input, file: Option<FileId>, line: Line) -> Result<(), Stopped> {
        self.bytes_read += line.bytes;
        let place = Place { file: Arc::clone(&input.name), line: line.number };
        let Some(bytes) = line.text else {
            self.release().await?;
            self.summary.events += 1;
            let detail = format!("a line has at most {LINE_BYTES_MAX} bytes");
            self.summary.tally.refuse(&place, "line_too_long", &detail);
            return Ok(());
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&bytes);
        self.summary.not_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        if self.held.as_mut().is_some_and(|held| held.join(&text, &self.parser, SystemClock.now())) {
            self.summary.joined += 1;
            return Ok(());
        }
        self.release().await?;
        self.begin(&text, &input.source, file, place).await
    }

    /// Creates an event from a line. It is held back if other lines can continue it.
    async fn begin(&mut self, text: &str, source: &str, file: Option<FileId>, place: Place) -> Result<(), Stopped> {
        let now = SystemClock.now();
        let event = self.parser.event(text, source, now);
        self.summary.count(&event, &place);
        let id = match file {
            Some(file) => EventId::of_line(file, place.line, text),
            None => EventId::Unique(self.ids.new_id(now)),
        };
        let may_continue = self.joins && event.is_text;
        self.held = Some(Held::new(event, id, place, text));
        self.start_waiting();
        if may_continue { Ok(()) } else { self.release().await }
    }

    /// Puts the held event into the batch.
    async fn release(&mut self) -> Result<(), Stopped> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let event = held.into_pending();
        // Each event includes a line end.
        let bytes = event.json.len() + 1;
        if self.batch_bytes + bytes > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.batch_bytes += bytes;
        self.batch.push(event);
        self.start_waiting();
        if self.batch.len() >= self.batch_events_max { self.flush().await } else { Ok(()) }
    }

    fn start_waiting(&mut self) {
        self.due = self.due.or_else(|| Some(Instant::now() + BATCH_AGE_MAX));
    }

    async fn send_due(&mut self) -> Result<(), Stopped> {
        self.release().await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        (self.batch_bytes, self.due) = (0, None);
        let batch = std::mem::take(&mut self.batch);
        self.client.deliver(batch, &mut self.summary.tally, &mut self.progress).await?;
        self.progress.advance(self.summary.tally.accepted + self.summary.tally.refused_total(), self.bytes_read);
        Ok(())
    }

    fn unreadable(&mut self, input: &Input, error: &io::Error) {
        self.summary.unreadable += 1;
        self.progress.report(&reason_unreadable(input, error));
    }

    fn finish(self, inputs: &[Input], ended: Result<(), Stopped>) -> Summary {
        self.progress.clear();
        let (elapsed, stopped) = (self.progress.elapsed(), ended.err().map(|stopped| stopped.0));
        let stdin_alone = matches!(inputs, [input] if input.is_stdin());
        Summary { inputs: inputs.len(), stdin_alone, elapsed, stopped, ..self.summary }
    }
}

/// Why an input cannot be read, and what to do about it.
fn reason_unreadable(input: &Input, error: &io::Error) -> String {
    let reason = format!("cannot read {}: {error}", input.name);
    if error.kind() != io::ErrorKind::InvalidData {
        return reason;
    }
    let file = if input.is_stdin() { "FILE" } else { &input.name };
    format!("{reason}; decompress or convert it first (zcat {file} | spillway send --source NAME)")
}

/// What comes next from an input.
enum Next {
    Line(Line),
    /// Nothing arrived in time.
    Due,
    End,
    Failed(io::Error),
}

async fn next_line<R: AsyncRead + Unpin>(lines: &mut Lines<R>, due: Option<Instant>) -> Next {
    let read = match due {
        Some(due) => timeout_at(due, lines.next()).await,
        None => Ok(lines.next().await),
    };
    match read {
        Ok(Ok(Some(line))) => Next::Line(line),
        Ok(Ok(None)) => Next::End,
        Ok(Err(error)) => Next::Failed(error),
        Err(_) => Next::Due,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tempfile::TempDir;

    use super::scripted_server::{Reply, ScriptedServer};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        Arguments::try_parse_from([&["send"], arguments].concat()).map(|arguments| arguments.options)
    }

    fn accepted(count: u64) -> Reply {
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

    /// A sender, and the input that its lines come from.
    fn sender(server: &ScriptedServer) -> (Sender, Input) {
        let sender = Sender::new(&options(&["--to", &server.url()]).unwrap(), None).unwrap();
        (sender, Input::all(&[], None).remove(0))
    }

    fn line(text: &str) -> Line {
        Line { text: Some(text.into()), number: 1, bytes: text.len() as u64 }
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
        assert!(
            sources.iter().zip(expected).all(|(found, (source, message))| *found.0 == source && *found.1 == message)
        );
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
        let error = Lines::new(&b"\0"[..]).next().await.unwrap_err();
        let reason = reason_unreadable(&Input::all(&["a.gz".into()], None)[0], &error);
        let expected = "cannot read a.gz: it is binary or UTF-16; decompress or convert it first \
                        (zcat a.gz | spillway send --source NAME)";
        assert_eq!(reason, expected);
        let reason = reason_unreadable(&Input::all(&[], None)[0], &error);
        assert!(reason.starts_with("cannot read standard input: ") && reason.contains("zcat FILE |"), "{reason}");
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
        assert_ne!(
            sender.batch[1].json, sender.batch[2].json,
            "an input other than a file has new identifiers each time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_a_second_for_others() {
        let (_writer, reader) = tokio::io::duplex(64);
        let start = Instant::now();
        let next = next_line(&mut Lines::new(reader), Some(start + BATCH_AGE_MAX)).await;
        assert!(matches!(next, Next::Due) && start.elapsed() == BATCH_AGE_MAX);
    }
}
