//! `spillway tail`: follows events as they are stored.
//!
//! * The stream is opened before the stored events are fetched, so that no event falls between both; an event that both
//!   contain is shown once.
//! * After a lost connection the stream continues behind the last event that was shown. Pauses between attempts grow from
//!   [`BACKOFF_MIN`] to [`BACKOFF_MAX`].
//! * A server that is restarted causes two notes, however many attempts fail: one when the connection is lost, and one when
//!   the new stream has sent something. A server that drains accepts streams and ends them at once, without an item.
//! * Each event is written at once.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::api::Api;
use super::connection::{Connection, parse_timeout};
use super::escape::printable;
use super::event::Event;
use super::event_writer::{EventWriter, Showing};
use super::failure::Failure;
use super::filters::Filters;
use super::numbers::number_of;
use super::output::Output;
use super::parameters::Parameters;
use super::query::{counted, newest};
use super::sse::{Block, BlockReader};
use super::times::now;

/// First pause before another attempt; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Maximum pause. An absence that lasts until the pauses are so long is reported once more, with its reason.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Maximum of `--max`: more events than anyone reads.
const EVENTS_MAX: u64 = 1_000_000_000_000;
/// Name of the blocks about events that the reader was too slow for.
const MISSED: &str = "missed";

/// Options of `spillway tail`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which events.
    #[command(flatten)]
    pub filters: Filters,
    /// Number of the newest stored events to show first: 0 to 1000
    #[arg(short = 'n', long = "lines", value_name = "EVENTS", default_value_t = 10, value_parser = number_of(0_u64..=1_000))]
    lines: u64,
    /// End after this time
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_timeout)]
    duration: Option<Duration>,
    /// End after this number of events
    #[arg(long, value_name = "EVENTS", value_parser = number_of(1..=EVENTS_MAX))]
    max: Option<u64>,
    #[command(flatten)]
    showing: Showing,
    /// The server and the terminal.
    #[command(flatten)]
    pub connection: Connection,
}

/// The data of a block named [`MISSED`].
#[derive(Deserialize)]
struct Missed {
    events: u64,
}

/// Why a stream is no longer read.
#[derive(Debug)]
enum Ended {
    /// As many events were shown as the options allow.
    Enough,
    /// The connection was lost for this reason.
    Lost(String),
}

/// One run of the command.
struct Tail<'o> {
    api: Api,
    parameters: Parameters,
    writer: EventWriter,
    output: &'o mut Output,
    /// How many more events may be shown.
    left: u64,
    /// A server that is silent for longer is away: it sends a block every few seconds.
    silence_max: Duration,
    last_event_id: Option<String>,
    /// Ids of the stored events that were shown before the stream.
    shown: HashSet<String>,
    backoff_min: Duration,
    backoff: Duration,
    absence: Absence,
}

/// What the user was told about a lost connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// There is a connection.
    None,
    /// It was lost; the user knows.
    Noted,
    /// It has been away for long; the user knows the reason.
    LongNoted,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`]. The end of the time that the options allow is a success.
pub async fn run(options: Options, output: &mut Output) -> Result<(), Failure> {
    let now = now(options.showing.utc);
    let mut tail = Tail {
        api: Api::new(&options.connection)?,
        parameters: options.filters.parameters(&now)?,
        writer: EventWriter::new(&options.showing, options.connection.has_color(), now)?,
        output,
        left: options.max.unwrap_or(u64::MAX),
        silence_max: options.connection.timeout,
        last_event_id: None,
        shown: HashSet::new(),
        backoff_min: BACKOFF_MIN,
        backoff: BACKOFF_MIN,
        absence: Absence::None,
    };
    match options.duration {
        // A time beyond the range of the clock has no end.
        Some(duration) => match Instant::now().checked_add(duration) {
            Some(end) => timeout_at(end, tail.follow(options.lines)).await.unwrap_or(Ok(())),
            None => tail.follow(options.lines).await,
        },
        None => tail.follow(options.lines).await,
    }
}

impl Tail<'_> {
    async fn follow(&mut self, stored: u64) -> Result<(), Failure> {
        let mut stream = self.open().await?;
        self.writer.begin(self.output)?;
        if self.show_stored(stored.min(self.left)).await? {
            return Ok(());
        }
        if self.output.is_terminal() {
            self.output.note("-- waiting for events; Ctrl-C ends".to_owned());
        }
        loop {
            let reason = match self.read(stream).await? {
                Ended::Enough => return Ok(()),
                Ended::Lost(reason) => reason,
            };
            stream = self.open_again(reason).await?;
        }
    }

    /// Shows the newest stored events; whether these are enough.
    async fn show_stored(&mut self, stored: u64) -> Result<bool, Failure> {
        if stored > 0 {
            let events = match newest(&self.api, &self.parameters, stored).await {
                Ok(newest) => newest.events,
                // A search through all stored events may take longer than the server allows. New ones are shown anyway.
                Err(failure) if failure.is_temporary() => {
                    self.output.note(format!("-- stored events are not shown: {failure}"));
                    Vec::new()
                }
                Err(failure) => return Err(failure),
            };
            for event in &events {
                self.shown.extend(Event::of(event).field("eventId"));
                self.writer.write(event, self.output)?;
            }
            self.left = self.left.saturating_sub(events.len() as u64);
        }
        self.output.flush()?;
        Ok(self.left == 0)
    }

    async fn open(&mut self) -> Result<Incoming, Failure> {
        self.api.open_stream("/api/logs/tail", &self.parameters, self.last_event_id.as_deref()).await
    }

    /// Opens the stream again, as often as necessary. Only a failure that will not pass by itself is an error.
    async fn open_again(&mut self, mut reason: String) -> Result<Incoming, Failure> {
        loop {
            if let Some(note) = self.absence.note(&reason, self.backoff) {
                self.output.note(note);
            }
            sleep(self.backoff).await;
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
            match self.open().await {
                Ok(stream) => return Ok(stream),
                Err(failure) if failure.is_temporary() => reason = failure.to_string(),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Shows the events of a stream until it ends.
    async fn read(&mut self, mut stream: Incoming) -> Result<Ended, Failure> {
        let mut reader = BlockReader::default();
        loop {
            let frame = match timeout(self.silence_max, stream.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Ok(Ended::Lost(format!("connection lost: {}", printable(&error.to_string()))));
                }
                Ok(None) => return Ok(Ended::Lost("the server closed the connection".to_owned())),
                Err(_) => return Ok(Ended::Lost("the server is silent".to_owned())),
            };
            let Ok(data) = frame.into_data() else { continue };
            let blocks = reader.read(&data).map_err(|error| Failure::Other(format!("{error}: check --url")))?;
            for block in blocks {
                self.backoff = self.backoff_min;
                if std::mem::replace(&mut self.absence, Absence::None) != Absence::None {
                    self.output.note("-- connected again".to_owned());
                }
                self.show(&block)?;
                if self.left == 0 {
                    return Ok(Ended::Enough);
                }
            }
        }
    }

    fn show(&mut self, block: &Block) -> Result<(), Failure> {
        if !block.id.is_empty() {
            self.last_event_id = Some(block.id.clone());
        }
        if block.data.is_empty() {
            return Ok(());
        }
        if block.name == MISSED {
            let missed = serde_json::from_str::<Missed>(&block.data)
                .map_or_else(|_| "stored events".to_owned(), |missed| format!("{} stored", counted(missed.events)));
            self.output.note(format!(
                "-- {missed} meanwhile, matching or not, were skipped: too many to catch up with; spillway query finds them"
            ));
            return Ok(());
        }
        if !block.name.is_empty() {
            // For later versions.
            return Ok(());
        }
        let Ok(json) = serde_json::from_str::<&RawValue>(&block.data) else {
            return Err(Failure::Other("the stream is not that of a Spillway: check --url".to_owned()));
        };
        // Each id is removed when it is seen: an event comes once.
        if !self.shown.is_empty() && Event::of(json).field("eventId").is_some_and(|id| self.shown.remove(&id)) {
            return Ok(());
        }
        self.writer.write(json, self.output)?;
        self.output.flush()?;
        self.left -= 1;
        Ok(())
    }
}

impl Absence {
    /// Records why the connection failed, and returns what to tell the user, if that is new.
    fn note(&mut self, reason: &str, pause: Duration) -> Option<String> {
        match self {
            Self::None => {
                *self = Self::Noted;
                Some(format!("-- {reason}; connecting again"))
            }
            Self::Noted if pause >= BACKOFF_MAX => {
                *self = Self::LongNoted;
                Some(format!("-- still no connection: {reason}; trying every {} s", BACKOFF_MAX.as_secs()))
            }
            Self::Noted | Self::LongNoted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_server::{TestServer, reply, stream};
    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn event(name: &str) -> String {
        format!(r#"{{"eventId":"{name}","message":"{name}"}}"#)
    }

    struct Followed {
        ended: Result<(), Failure>,
        text: String,
        requests: Vec<String>,
        notes: Vec<String>,
    }

    /// Follows without pauses until `max` events were shown.
    async fn follow(replies: Vec<String>, stored: u64, max: u64) -> Followed {
        let server = TestServer::start(replies).await;
        let options = Arguments::try_parse_from(["tail", "--raw", "--url", &server.url]).unwrap().options;
        let (mut output, written) = Output::in_memory();
        let mut tail = Tail {
            api: Api::new(&options.connection).unwrap(),
            parameters: Parameters::default(),
            writer: EventWriter::new(&options.showing, false, now(true)).unwrap(),
            output: &mut output,
            left: max,
            silence_max: Duration::from_secs(60),
            last_event_id: None,
            shown: HashSet::new(),
            backoff_min: Duration::ZERO,
            backoff: Duration::ZERO,
            absence: Absence::None,
        };
        let ended = tail.follow(stored).await;
        drop(tail);
        Followed { ended, text: written.text(), requests: server.requests(), notes: output.notes() }
    }

    #[tokio::test]
    async fn a_lost_connection_continues_behind_the_last_event() {
        let replies = vec![
            stream(&format!("id: 5\n\nid: 6\ndata: {}\n\n", event("a"))),
            reply(503, r#"{"detail":"too many tails"}"#),
            stream(&format!("id: 8\nevent: missed\ndata: {{\"events\":2}}\n\nid: 9\ndata: {}\n\n", event("b"))),
        ];
        let Followed { ended, text, requests, .. } = follow(replies, 0, 2).await;
        assert_eq!((ended, text.as_str()), (Ok(()), "a\nb\n"));
        let ids: Vec<bool> = requests.iter().map(|head| head.contains("last-event-id: 6\r\n")).collect();
        assert_eq!(ids, [false, true, true], "{requests:?}");
    }

    #[tokio::test]
    async fn an_event_that_is_stored_and_in_the_stream_is_shown_once() {
        let data = |name: &str| format!("id: 1\ndata: {}\n\n", event(name));
        let page = format!(r#"{{"events":[{},{}],"nextCursor":null}}"#, event("b"), event("a"));
        let replies = vec![stream(&[data("b"), data("c"), data("b")].concat()), reply(200, &page)];
        let Followed { ended, text, .. } = follow(replies, 2, 4).await;
        assert_eq!((ended, text.as_str()), (Ok(()), "a\nb\nc\nb\n"));
    }

    #[tokio::test]
    async fn stored_events_that_take_too_long_to_find_do_not_keep_new_ones_away() {
        let replies =
            vec![stream(&format!("id: 1\ndata: {}\n\n", event("a"))), reply(503, r#"{"detail":"too broad"}"#)];
        let Followed { ended, text, notes, .. } = follow(replies, 2, 1).await;
        assert_eq!((ended, text.as_str()), (Ok(()), "a\n"));
        assert_eq!(notes, ["-- stored events are not shown: too broad (503 Service Unavailable)"]);
    }

    #[tokio::test]
    async fn a_failure_that_will_not_pass_ends_the_tail() {
        let replies = vec![stream("id: 5\n\n"), reply(401, "")];
        let Followed { ended, text, .. } = follow(replies, 0, 2).await;
        assert_eq!((ended.map_err(|failure| failure.exit_code()), text.as_str()), (Err(77), ""));
    }

    #[tokio::test]
    async fn a_restart_of_the_server_is_noted_twice_however_many_attempts_fail() {
        let replies = vec![
            stream(&format!("id: 5\n\nid: 6\ndata: {}\n\n", event("a"))),
            // It drains: streams end at once. Then it is away, and then it starts.
            stream(""),
            stream(""),
            String::new(),
            reply(503, r#"{"detail":"starting"}"#),
            stream(&format!(
                "id: 6\n\nid: 9\nevent: missed\ndata: {{\"events\":2}}\n\nid: 10\ndata: {}\n\n",
                event("b")
            )),
        ];
        let Followed { ended, text, requests, notes } = follow(replies, 0, 2).await;
        assert_eq!((ended, text.as_str(), requests.len()), (Ok(()), "a\nb\n", 6));
        assert_eq!(
            notes,
            [
                "-- the server closed the connection; connecting again",
                "-- connected again",
                "-- 2 events stored meanwhile, matching or not, were skipped: too many to catch up with; spillway query finds them",
            ]
        );
    }

    #[test]
    fn a_long_absence_is_noted_once_more_with_its_reason() {
        let mut absence = Absence::None;
        let mut note = |reason, seconds| absence.note(reason, Duration::from_secs(seconds));
        assert_eq!(note("closed", 1).as_deref(), Some("-- closed; connecting again"));
        assert_eq!(note("refused", 2), None);
        assert_eq!(note("refused", 30).as_deref(), Some("-- still no connection: refused; trying every 30 s"));
        assert_eq!(note("refused", 30), None);
    }

    #[test]
    fn options_are_bounded() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from([&["tail"], arguments].concat());
        let options = parse(&["--for", "60s", "--max", "3", "-n", "0", "-l", "WARN+"]).unwrap().options;
        assert_eq!((options.duration, options.max, options.lines), (Some(Duration::from_secs(60)), Some(3), 0));
        assert_eq!(parse(&["--for", "60"]).unwrap().options.duration, Some(Duration::from_secs(60)));
        for wrong in [["--for", "0"], ["--max", "0"], ["-n", "1001"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
