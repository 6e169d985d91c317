//! Reads the inputs line by line, collects their events into batches, and sends these.
//!
//! * Memory is bounded by one batch, one held event and one line, however long the input is. Reading waits for sending.
//! * Slow input is sent soon: no event waits longer than [`BATCH_AGE_MAX`] for others.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Clock, IdSource};
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::event_id::{EventId, FileId};
use super::input::{Input, Opened};
use super::joining::Held;
use super::line::LineParser;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::options::Options;
use super::patience::Stopped;
use super::pending::{Pending, Place};
use super::progress::Progress;
use super::summary::Summary;
use crate::system::{SystemClock, UuidV7};

/// Maximum size of a request body, unless a single event is larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long an event waits for others to join its batch, or for continuation lines.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);

/// Collects events into batches and sends them.
pub(super) struct Sender {
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
    /// A sender that has read nothing yet; `bytes_total` is the size of all inputs, if it is known.
    pub(super) fn new(options: &Options, bytes_total: Option<u64>) -> anyhow::Result<Self> {
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

    /// Sends the lines of all inputs.
    pub(super) async fn send_all(&mut self, inputs: &[Input]) -> Result<(), Stopped> {
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

    /// Ends the display, and returns the summary.
    pub(super) fn finish(self, inputs: &[Input], ended: Result<(), Stopped>) -> Summary {
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
mod tests;
