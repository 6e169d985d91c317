//! A stream of Loki: labels that lines share.

use std::borrow::Cow;

use application::ingest::{AgentEntry, AgentIntake, AgentStop, Identity, Members, level_of, line, state};
use domain::resend_id::Stream;

use crate::ingest::agents::times::{AgentTime, TIME_INVALID};

/// Labels that name the application, the best one first.
const SOURCES: [&str; 9] =
    ["service_name", "service", "app", "application", "container", "job", "unit", "filename", "host"];
/// Labels that name the level.
const LEVELS: [&str; 4] = ["detected_level", "level", "severity", "lvl"];

/// Maximum bytes of such a label that are kept for that: no source and no word for a level is longer, and every line of a
/// stream looks at them.
const NAMED_BYTES_MAX: usize = 1_024;

/// The labels of a stream.
pub struct Labels {
    source: Ranked,
    level: Ranked,
    members: Members,
}

/// The value of the best name so far, and its rank.
#[derive(Clone, Debug, Default)]
struct Ranked(Option<(usize, String)>);

impl Ranked {
    fn consider(&mut self, names: &[&str], name: &str, value: &str) {
        let rank = names.iter().position(|known| *known == name).filter(|_| !value.is_empty());
        if let Some(rank) = rank
            && self.0.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            let kept = value.get(..value.floor_char_boundary(NAMED_BYTES_MAX)).unwrap_or_default();
            self.0 = Some((rank, kept.to_owned()));
        }
    }

    fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, value)| value.as_str())
    }
}

impl Labels {
    /// No labels yet.
    pub fn new() -> Self {
        Self { source: Ranked::default(), level: Ranked::default(), members: Members::default() }
    }

    /// Adds a label.
    pub fn add(&mut self, name: &str, value: &str) {
        self.source.consider(&SOURCES, name, value);
        self.level.consider(&LEVELS, name, value);
        self.members.text(name, value);
    }

    /// Keeps labels that cannot be read, as they are.
    pub fn add_unread(&mut self, labels: &str) {
        self.members.text("labels", labels);
    }

    /// The stream of these labels.
    pub fn into_stream(self) -> LabelledStream {
        let identity = Stream::new(&[b"loki", b"", self.members.as_str().as_bytes()]);
        LabelledStream { labels: self, identity }
    }
}

/// A stream whose labels are known.
pub struct LabelledStream {
    labels: Labels,
    identity: Stream,
}

/// Structured metadata of a line.
#[derive(Debug, Default)]
pub struct Structured {
    level: Ranked,
    members: Members,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

impl Structured {
    /// Adds a member. Ids of a trace become those of the event.
    pub fn add(&mut self, name: &str, value: &str) {
        use domain::event::from_hex;
        self.level.consider(&LEVELS, name, value);
        match name {
            "trace_id" | "traceID" | "traceId" if self.trace_id.is_none() && value.len() == 32 => {
                self.trace_id = from_hex(value);
            }
            "span_id" | "spanID" | "spanId" if self.span_id.is_none() && value.len() == 16 => {
                self.span_id = from_hex(value);
            }
            _ => {}
        }
        if !self.members.is_cut() {
            self.members.text(name, value);
        }
    }
}

/// The time that an entry states.
#[derive(Debug)]
pub enum Stated {
    /// None.
    Nothing,
    /// This one.
    Time(AgentTime),
    /// A text that cannot be read as a time, or a time that no event may have.
    Unreadable(String),
}

impl Stated {
    /// What was read of a time that is given as this text.
    pub fn read(time: Option<AgentTime>, given: impl FnOnce() -> String) -> Self {
        time.map_or_else(|| Self::Unreadable(given()), Self::Time)
    }
}

impl LabelledStream {
    /// Takes a line in. Without a time that can be read, its time is that of the line or of receipt.
    pub fn line(
        &self,
        text: &str,
        stated: Stated,
        structured: Structured,
        intake: &mut AgentIntake<'_>,
    ) -> Result<(), AgentStop> {
        let mut entry: AgentEntry<'_> = line(text, intake.received_at());
        let (time, unreadable) = match stated {
            Stated::Nothing => (None, None),
            Stated::Time(time) => (Some(time), None),
            Stated::Unreadable(given) => (None, Some(given)),
        };
        if let Some(source) = self.labels.source.text() {
            entry.source = Some(Cow::Borrowed(source));
        }
        // The word itself is kept with the labels.
        let level = structured.level.text().or(self.labels.level.text()).map(level_of);
        state(&mut entry, time.map(|time| time.timestamp), level);
        entry.trace_id = structured.trace_id.or(entry.trace_id);
        entry.span_id = structured.span_id.or(entry.span_id);
        let mut metadata = Members::default();
        metadata.all(&self.labels.members);
        metadata.all_or_within("structuredMetadata", structured.members);
        metadata.all_or_within("line", std::mem::take(&mut entry.metadata));
        if let Some(given) = unreadable {
            entry.fault = Some(TIME_INVALID);
            metadata.text_if_absent("timestamp", &given);
        }
        entry.metadata = metadata;
        let unix_nanos = time.and_then(|time| time.unix_nanos).unwrap_or_default();
        intake.add(entry, Some(Identity { stream: &self.identity, unix_nanos })).map(drop)
    }
}
