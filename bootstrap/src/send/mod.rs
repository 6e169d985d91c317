//! `spillway send`: ships the lines of files or of standard input to the API of a Spillway.
//!
//! * Every line that is not empty is one event, and is accounted for: accepted, refused with a reason, or not
//!   sent. A line that is accepted was promised something; a line that was sent twice counts once.
//! * Memory is bounded by one batch and one line, however long the input is. Reading waits for sending.
//! * What comes slowly is sent soon: no event waits longer than [`BATCH_AGE_MAX`] for others.

mod client;
mod line;
mod lines;
mod progress;
#[cfg(test)]
mod scripted_server;
mod summary;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use domain::level::Level;
use domain::ports::{Clock, IdSource};
use time::UtcOffset;
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use self::client::{Client, Pending, Place, Stopped, Target};
use self::line::{LineParser, Origin};
use self::lines::{LINE_BYTES_MAX, Line, Lines};
use self::progress::Progress;
pub use self::summary::Summary;
use crate::system::{SystemClock, UuidV7};

/// Largest body of a request, unless a single event is larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long an event waits for others to join its batch.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);
/// The name of the file that is standard input.
const STDIN: &str = "-";

/// Options of `spillway send`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Files to send; `-` is standard input, which is also the default
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Base URL of the Spillway that takes them
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    to: Target,
    /// Source of events that name none [default: name of the file without its last extension, or `stdin`]
    #[arg(long, value_name = "NAME", value_parser = parse_source)]
    source: Option<String>,
    /// Level of lines in which none is found
    #[arg(long, default_value = "INFO", value_parser = Level::parse)]
    level: Level,
    /// Offset from UTC of times that do not say one
    #[arg(long, default_value = "UTC", value_parser = line::parse_offset, allow_hyphen_values = true)]
    offset: UtcOffset,
    /// Most events in one request: 1 to 10000
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// How long to try without any progress
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up_after: u32,
}

fn parse_source(text: &str) -> Result<String, &'static str> {
    if line::is_source(text) {
        Ok(text.to_owned())
    } else {
        Err("a source has 1 to 255 bytes and no control characters")
    }
}

/// Sends everything and says what became of it. Ends early when `stop` is done, without waiting for an answer.
///
/// A read of standard input cannot be called off: the caller must not wait for the blocking threads of its
/// runtime (`Runtime::shutdown_background`).
///
/// # Errors
/// Never in practice: what goes wrong with files and servers is in the summary.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<Summary> {
    let inputs = Input::all(&options);
    let mut sender = Sender::new(&options, bytes_total(&inputs).await)?;
    let ended = tokio::select! {
        biased;
        () = stop => Err(Stopped("interrupted".to_owned())),
        ended = sender.send_all(&inputs) => ended,
    };
    Ok(sender.finish(&inputs, ended))
}

/// A file, or standard input.
struct Input {
    /// For people.
    name: Arc<str>,
    /// Source of its events.
    source: String,
    /// None is standard input.
    path: Option<PathBuf>,
}

impl Input {
    fn all(options: &Options) -> Vec<Self> {
        let stdin = [PathBuf::from(STDIN)];
        let paths = if options.files.is_empty() { &stdin[..] } else { &options.files };
        paths.iter().map(|path| Self::new(path.clone(), options.source.clone())).collect()
    }

    fn new(path: PathBuf, source: Option<String>) -> Self {
        if path.as_os_str() == STDIN {
            let source = source.unwrap_or_else(|| "stdin".to_owned());
            return Self { name: "standard input".into(), source, path: None };
        }
        let name = path.display().to_string().into();
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, source: source.unwrap_or_else(stem), path: Some(path) }
    }

    async fn open(&self) -> io::Result<Box<dyn AsyncRead + Unpin>> {
        Ok(match &self.path {
            Some(path) => Box::new(File::open(path).await?),
            None => Box::new(tokio::io::stdin()),
        })
    }
}

/// The bytes of all inputs, if that can be known: pipes have no size.
async fn bytes_total(inputs: &[Input]) -> Option<u64> {
    let mut total = 0;
    for input in inputs {
        match tokio::fs::metadata(input.path.as_ref()?).await {
            Ok(metadata) if metadata.is_file() => total += metadata.len(),
            Ok(_) => return None,
            // It will be reported when its turn has come.
            Err(_) => {}
        }
    }
    Some(total)
}

/// Collects events into batches and sends them.
struct Sender {
    batch_events_max: usize,
    parser: LineParser,
    ids: UuidV7,
    client: Client,
    batch: Vec<Pending>,
    batch_bytes: usize,
    /// When the batch is sent even if it is not full; none while it is empty.
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
            client: Client::new(options.to.clone(), Duration::from_secs(options.give_up_after.into())),
            batch: Vec::new(),
            batch_bytes: 0,
            due: None,
            bytes_read: 0,
            summary: Summary::default(),
            progress: Progress::new(bytes_total),
        })
    }

    async fn send_all(&mut self, inputs: &[Input]) -> Result<(), Stopped> {
        for input in inputs {
            self.summary.inputs_begun += 1;
            let file_name = input.path.as_ref().and_then(|path| path.file_name()?.to_str());
            self.progress.begin(file_name.unwrap_or(&input.name));
            match input.open().await {
                Ok(reader) => self.send_lines(input, Lines::new(reader)).await?,
                Err(error) => self.unreadable(input, &error),
            }
        }
        self.flush().await
    }

    async fn send_lines<R: AsyncRead + Unpin>(&mut self, input: &Input, mut lines: Lines<R>) -> Result<(), Stopped> {
        loop {
            match next_line(&mut lines, self.due).await {
                Next::Line(line) => self.take(input, line).await?,
                Next::Due => self.flush().await?,
                Next::End => return Ok(()),
                Next::Failed(error) => {
                    self.unreadable(input, &error);
                    return Ok(());
                }
            }
        }
    }

    async fn take(&mut self, input: &Input, line: Line) -> Result<(), Stopped> {
        self.bytes_read += line.bytes;
        let place = Place { file: Arc::clone(&input.name), line: line.number };
        let Some(text) = line.text else {
            self.summary.events += 1;
            let detail = format!("a line has at most {LINE_BYTES_MAX} bytes");
            self.summary.tally.refuse(&place, "line_too_long", &detail);
            return Ok(());
        };
        if text.is_empty() { Ok(()) } else { self.add(&text, &input.source, place).await }
    }

    async fn add(&mut self, text: &[u8], source: &str, place: Place) -> Result<(), Stopped> {
        let now = SystemClock.now();
        let event = self.parser.event(text, Origin { source, event_id: self.ids.new_id(now), now });
        self.summary.events += 1;
        *self.summary.levels.entry(event.level).or_default() += 1;
        self.summary.levels_found += u64::from(event.level_found);
        self.summary.times_found += u64::from(event.time_found);
        // A line end belongs to each event.
        let bytes = event.json.len() + 1;
        if self.batch_bytes + bytes > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.batch_bytes += bytes;
        self.batch.push(Pending { json: event.json, place });
        self.due = self.due.or_else(|| Some(Instant::now() + BATCH_AGE_MAX));
        if self.batch.len() >= self.batch_events_max { self.flush().await } else { Ok(()) }
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
        self.progress.report(&format!("cannot read {}: {error}", input.name));
    }

    fn finish(self, inputs: &[Input], ended: Result<(), Stopped>) -> Summary {
        self.progress.clear();
        let (elapsed, stopped) = (self.progress.elapsed(), ended.err().map(|stopped| stopped.0));
        let stdin_alone = matches!(inputs, [Input { path: None, .. }]);
        Summary { inputs: inputs.len(), stdin_alone, elapsed, stopped, ..self.summary }
    }
}

/// What comes next from an input.
enum Next {
    Line(Line),
    /// Nothing came in time.
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

    #[tokio::test]
    async fn lines_of_several_files_share_batches_and_keep_their_sources() {
        let directory = TempDir::new().unwrap();
        let one = file(&directory, "app.web.log", "ERROR one\n\ntwo\r\n");
        let other = file(&directory, "other", "2024-01-15 10:30:00 three");
        let (summary, requests) = send(vec![accepted(2), accepted(1)], &["--batch", "2", &one, &other]).await;
        assert!(summary.is_complete());
        assert_eq!((summary.events, summary.levels_found, summary.times_found), (3, 1, 1));
        let events: Vec<serde_json::Value> =
            requests.join("\n").lines().map(|event| serde_json::from_str(event).unwrap()).collect();
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
    async fn what_was_read_and_not_answered_is_not_sent() {
        let directory = TempDir::new().unwrap();
        let path = file(&directory, "a.log", "one\ntwo\nthree\n");
        let arguments = ["--give-up-after", "0", "--batch", "2", &path];
        let (summary, _) = send(vec![Reply::HangUp], &arguments).await;
        assert_eq!((summary.events, summary.not_sent()), (2, 2));
        assert!(summary.to_string().contains("no progress for 0 s: cannot reach http://127.0.0.1:"), "{summary}");
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
        let mut sender = Sender::new(&options(&["--to", &server.url()]).unwrap(), None).unwrap();
        sender.add(b"one", "here", Place { file: "a.log".into(), line: 1 }).await.unwrap();
        assert!(sender.due.is_some());
        sender.flush().await.unwrap();
        assert!(sender.due.is_none() && sender.summary.tally.accepted == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_a_second_for_others() {
        let (_writer, reader) = tokio::io::duplex(64);
        let start = Instant::now();
        let next = next_line(&mut Lines::new(reader), Some(start + BATCH_AGE_MAX)).await;
        assert!(matches!(next, Next::Due) && start.elapsed() == BATCH_AGE_MAX);
    }

    #[test]
    fn options_are_checked_before_anything_is_read() {
        let options_read = options(&["--offset", "-05:00", "--level", "warning", "--source", "a", "-"]).unwrap();
        assert_eq!(
            (options_read.offset.whole_hours(), options_read.level, options_read.batch),
            (-5, Level::Warn, 1_000)
        );
        for wrong in
            [["--batch", "0"], ["--batch", "10001"], ["--to", "localhost"], ["--level", "loud"], ["--source", ""]]
        {
            assert!(options(&wrong).is_err(), "{wrong:?}");
        }
    }
}
