//! Reads the inputs line by line, collects their events into batches, and sends these.
//!
//! * Memory is bounded by one batch, the events that a reader holds and one line, however long the input is. Reading
//!   waits for sending.
//! * Slow input is sent soon: no event waits longer than [`BATCH_AGE_MAX`] for others. One that later lines may join is
//!   held until no line came for `--join-wait`. A file does not make its lines wait: its events are held to its end.
//! * When reading is to stop, what was read from a pipe is sent, because it cannot be read again. An event of a file to
//!   which later lines may belong is not: it is sent as a whole when the file is sent again.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::level::Level;
use domain::ports::{Clock, IdSource};
use formats::{Event, Reader};
use hyper::header::HeaderMap;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::document::document;
use super::event_id::LineIds;
use super::input::{Input, Opened, Unreadable};
use super::lines::{Line, Lines};
use super::options::Options;
use super::patience::Stopped;
use super::pending::{EventLines, Pending, Place};
use super::progress::Progress;
use super::source::Source;
use super::summary::Summary;
use super::tail_header::TailHeaders;
use crate::http_client::https_unusable;
use crate::system::{SystemClock, UuidV7};

/// Maximum size of a request body, unless a single event is larger.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long an event waits for others to join its batch.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);

/// Collects events into batches and sends them.
pub(super) struct Sender {
    /// Whether reading is to stop.
    stop: watch::Receiver<bool>,
    batch_events_max: usize,
    formats: formats::Options,
    default_level: Level,
    /// The options that are part of the identifiers of events.
    changed: Vec<(&'static str, String)>,
    join_wait: Duration,
    ids: UuidV7,
    client: Client,
    /// Reads the lines of the present input.
    reader: Reader<EventLines>,
    /// When the events that the reader holds are complete even if no line came; `None` if it holds none, or until the
    /// end of the input.
    join_due: Option<Instant>,
    batch: Vec<Pending>,
    batch_bytes: usize,
    /// When the batch is sent even if it is not full; `None` if it is empty.
    due: Option<Instant>,
    /// Bytes read from all inputs, compressed or not.
    bytes_read: Arc<AtomicU64>,
    summary: Summary,
    progress: Progress,
}

/// How far an input is read.
struct Reading<'a> {
    /// The input.
    input: &'a Input,
    /// Source of the events of the lines that are read.
    source: Source,
    /// Finds headers that name another source.
    headers: TailHeaders,
    /// The identifiers of its lines.
    ids: LineIds,
    /// Lines read so far.
    lines: u64,
}

impl Sender {
    /// A sender that has read nothing yet; `bytes_total` is the size of all inputs, if it is known. It stops reading
    /// when `stop` is set.
    pub(super) fn new(
        options: &Options,
        bytes_total: Option<u64>,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let target = options.target()?;
        let mut headers: HeaderMap = options.key(&target)?.into_iter().collect();
        headers.extend(options.headers()?);
        let client = Client::new(target, headers, options.give_up_after(), &options.https_files());
        let client = client.map_err(|error| anyhow::Error::msg(https_unusable(&error)))?;
        Ok(Self {
            stop,
            batch_events_max: usize::from(options.batch),
            formats: options.formats(),
            default_level: options.level,
            changed: options.changed(),
            join_wait: options.join_wait,
            ids: UuidV7::default(),
            client,
            reader: Reader::new(options.formats()),
            join_due: None,
            batch: Vec::new(),
            batch_bytes: 0,
            due: None,
            bytes_read: Arc::default(),
            summary: Summary { repeatable: bytes_total.is_some(), ..Summary::default() },
            progress: Progress::new(bytes_total),
        })
    }

    /// Sends the lines of all inputs.
    pub(super) async fn send_all(&mut self, inputs: &[Input]) -> Result<(), Stopped> {
        for input in inputs {
            if *self.stop.borrow() {
                return Err(self.stop_reading().await);
            }
            self.summary.inputs_begun += 1;
            self.progress.begin(input.short_name());
            match self.open(input).await? {
                Ok(Opened { lines, file }) => {
                    let source = input.other_source.iter().map(|source| ("source", source.clone()));
                    let options: Vec<_> = self.changed.iter().cloned().chain(source).collect();
                    let ids = LineIds::new(file, &options);
                    let (source, headers) = (input.source.clone(), TailHeaders::new());
                    let reading = Reading { input, source, headers, ids, lines: 0 };
                    self.send_lines(reading, lines).await?;
                }
                Err(reason) => self.unreadable(input, &reason, 0),
            }
        }
        self.flush().await
    }

    /// Opens an input. The first bytes of a pipe may be long in coming: the batch is sent meanwhile.
    async fn open(&mut self, input: &Input) -> Result<Result<Opened, Unreadable>, Stopped> {
        let bytes_read = Arc::clone(&self.bytes_read);
        let mut opening = pin!(input.open(&bytes_read, self.join_wait, SystemClock.now()));
        loop {
            let opened = tokio::select! {
                biased;
                opened = within(self.due, opening.as_mut()) => opened,
                () = requested(&mut self.stop) => return Err(self.stop_reading().await),
            };
            match opened {
                Some(opened) => return Ok(opened),
                None => self.flush().await?,
            }
        }
    }

    async fn send_lines<R: AsyncRead + Unpin>(
        &mut self,
        mut reading: Reading<'_>,
        mut lines: Lines<R>,
    ) -> Result<(), Stopped> {
        self.reader = Reader::new(self.formats.clone());
        loop {
            let due = [self.due, self.join_due].into_iter().flatten().min();
            let read = tokio::select! {
                biased;
                read = within(due, lines.next()) => read,
                () = requested(&mut self.stop) => return Err(self.stop_within(reading, lines).await?),
            };
            match read {
                Some(Ok(Some(line))) => {
                    self.take(&mut reading, line).await?;
                    if *self.stop.borrow() {
                        return Err(self.stop_within(reading, lines).await?);
                    }
                }
                Some(Ok(None)) => return self.release(&reading).await,
                Some(Err(error)) => {
                    self.unreadable(reading.input, &Unreadable::Failed(error), reading.lines);
                    return self.release(&reading).await;
                }
                None => self.send_due(&reading).await?,
            }
        }
    }

    /// Sends what was read of an input, and reads nothing more. Returns why the run ends.
    async fn stop_within<R: AsyncRead + Unpin>(
        &mut self,
        mut reading: Reading<'_>,
        mut lines: Lines<R>,
    ) -> Result<Stopped, Stopped> {
        if matches!(reading.ids, LineIds::New) {
            while let Some(line) = lines.next_read() {
                self.take(&mut reading, line).await?;
            }
            self.release(&reading).await?;
        }
        Ok(self.stop_reading().await)
    }

    /// Sends the batch. Returns why the run ends.
    async fn stop_reading(&mut self) -> Stopped {
        let sent = if self.reader.holds_events() { "" } else { "; what was read before was sent" };
        self.flush().await.err().unwrap_or_else(|| Stopped(format!("interrupted{sent}")))
    }

    async fn take(&mut self, reading: &mut Reading<'_>, line: Line) -> Result<(), Stopped> {
        reading.lines += 1;
        if matches!(reading.ids, LineIds::New)
            && let Some(path) = reading.headers.file(&line.text)
        {
            return self.begin_file(reading, path).await;
        }
        let place = Place { file: Arc::clone(&reading.input.name), line: line.number };
        self.summary.not_utf8 += u64::from(std::str::from_utf8(&line.text).is_err());
        if line.cut_bytes > 0 {
            self.summary.count_cut(&place);
        }
        let lines = EventLines { id: reading.ids.next(line.offset, &line.text), place, number: 1 };
        let mut complete = Vec::new();
        self.reader.line(&line.text, lines, SystemClock.now(), &mut |event| complete.push(event));
        self.push_all(reading, complete).await?;
        self.start_holding(reading);
        Ok(())
    }

    /// The lines of another file follow in a pipe. The events before are complete.
    async fn begin_file(&mut self, reading: &mut Reading<'_>, path: &Path) -> Result<(), Stopped> {
        self.summary.headers += 1;
        self.release(reading).await?;
        self.reader = Reader::new(self.formats.clone());
        let source = Source::of_file(path);
        reading.source = if reading.input.source_is_given {
            Source { name: reading.input.source.name.clone(), ..source }
        } else {
            source
        };
        Ok(())
    }

    /// Begins to wait for lines that may join. The time that sending took does not count: lines may have come
    /// meanwhile.
    fn start_holding(&mut self, reading: &Reading<'_>) {
        // The rest of a file is there already.
        let waits = self.reader.holds_events() && matches!(reading.ids, LineIds::New);
        self.join_due = waits.then(|| Instant::now() + self.join_wait);
    }

    /// Sends what is due: the batch, or the events that were held long enough.
    async fn send_due(&mut self, reading: &Reading<'_>) -> Result<(), Stopped> {
        let now = Instant::now();
        if self.join_due.is_some_and(|due| due <= now) {
            // They have waited already, and need not wait as long for others.
            let due = now + BATCH_AGE_MAX.saturating_sub(self.join_wait);
            self.release(reading).await?;
            self.due = self.due.map(|batch| batch.min(due));
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.flush().await?;
            self.start_holding(reading);
        }
        Ok(())
    }

    /// Puts the events that the reader holds into the batch.
    async fn release(&mut self, reading: &Reading<'_>) -> Result<(), Stopped> {
        self.join_due = None;
        let mut complete = Vec::new();
        self.reader.flush(&mut |event| complete.push(event));
        self.push_all(reading, complete).await
    }

    /// Counts events, so that each is accounted for whatever happens next, and puts them into the batch.
    async fn push_all(&mut self, reading: &Reading<'_>, events: Vec<Event<EventLines>>) -> Result<(), Stopped> {
        events.iter().for_each(|event| self.summary.count(event, self.default_level));
        for event in events {
            self.push(&reading.source, event).await?;
        }
        Ok(())
    }

    /// Puts an event into the batch, and sends the batch when it is full.
    async fn push(&mut self, source: &Source, event: Event<EventLines>) -> Result<(), Stopped> {
        let Event { draft, origin: EventLines { id, place, .. } } = event;
        let id = id.uuid(|| self.ids.new_id(SystemClock.now()));
        let json = match document(&draft, source, self.default_level, id) {
            Ok(json) => json,
            Err(error) => {
                self.summary.tally.refuse(&place, "not_json", &error.to_string());
                return Ok(());
            }
        };
        // Each event includes a line end.
        let bytes = json.len() + 1;
        if self.batch_bytes + bytes > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.batch_bytes += bytes;
        self.batch.push(Pending { json, place, in_doubt: false });
        self.due = self.due.or_else(|| Some(Instant::now() + BATCH_AGE_MAX));
        if self.batch.len() >= self.batch_events_max { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        (self.batch_bytes, self.due) = (0, None);
        let batch = std::mem::take(&mut self.batch);
        self.client.deliver(batch, &mut self.summary.tally, &mut self.progress).await?;
        let settled = self.summary.tally.accepted + self.summary.tally.refused_total();
        self.progress.advance(settled, self.bytes_read.load(Ordering::Relaxed));
        Ok(())
    }

    /// Reports an input that cannot be read, or not further than these `lines`.
    fn unreadable(&mut self, input: &Input, reason: &Unreadable, lines: u64) {
        self.summary.unreadable += 1;
        self.progress.report(&input.report(reason, lines));
    }

    /// Ends the display, and returns the summary. Events that are still held count as not sent.
    pub(super) fn finish(mut self, inputs: &[Input], ended: Result<(), Stopped>) -> Summary {
        self.progress.clear();
        let (summary, level) = (&mut self.summary, self.default_level);
        self.reader.flush(&mut |event| summary.count(&event, level));
        let (elapsed, stopped) = (self.progress.elapsed(), ended.err().map(|stopped| stopped.0));
        let stdin_alone = matches!(inputs, [input] if input.is_stdin());
        Summary { inputs: inputs.len(), stdin_alone, elapsed, stopped, ..self.summary }
    }
}

/// Waits until reading is to stop.
async fn requested(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could request it.
        std::future::pending().await
    }
}

/// The output of `future`, or nothing if it is not ready by then. A future that is ready wins.
async fn within<T>(due: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match due {
        Some(due) => timeout_at(due, future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests;
