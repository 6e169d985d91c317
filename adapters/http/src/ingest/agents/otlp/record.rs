//! A log record of OTLP as an entry, whichever format it came in.

use std::borrow::Cow;

use application::ingest::{AgentEntry, AgentIntake, AgentStop, Identity, Members, line, state};
use domain::event_input::LevelInput;
use domain::level::Level;
use domain::resend_id::Stream;

use crate::ingest::agents::times::{AgentTime, TIME_INVALID};

/// The attribute that names the application (OpenTelemetry semantic conventions, "Service").
pub const SERVICE_NAME: &str = "service.name";
/// The attribute with the stack trace of an exception ("Exceptions").
pub const STACK_TRACE: &str = "exception.stacktrace";

/// What all records of a scope share. A scope without records needs none: it must cost no more than its bytes.
pub struct Origin<'a> {
    /// The application.
    pub source: Option<&'a str>,
    /// Resource and scope, as members of the metadata.
    pub members: Members,
    /// Tells records of other resources and scopes apart.
    pub stream: Stream,
}

impl<'a> Origin<'a> {
    /// The origin of the records of a scope with these members, which are copied and hashed: they count in the request.
    ///
    /// # Errors
    /// As of [`AgentIntake::note`].
    pub fn new(
        source: Option<&'a str>,
        resource: &Members,
        scope: Members,
        intake: &mut AgentIntake<'_>,
    ) -> Result<Self, AgentStop> {
        let mut members = Members::default();
        members.within("resource", resource.clone());
        members.within("scope", scope);
        intake.note(members.as_str().len())?;
        let stream = Stream::new(&[b"otlp", b"", members.as_str().as_bytes()]);
        Ok(Self { source, members, stream })
    }
}

/// A record as its format has it.
#[derive(Debug, Default)]
pub struct Record<'a> {
    /// When it happened; 0 if it is not known.
    pub time: u64,
    /// When it was seen; 0 if it is not known.
    pub observed_time: u64,
    /// 1 (TRACE) to 24 (FATAL4); 0 if it is not known.
    pub severity: u64,
    /// The level as the application names it.
    pub severity_text: Cow<'a, str>,
    /// The text; of any other body, its JSON.
    pub body: Cow<'a, str>,
    /// What names the kind of event.
    pub event_name: Cow<'a, str>,
    /// Attributes, as members of the metadata.
    pub attributes: Members,
    /// The stack trace among the attributes.
    pub stack_trace: Option<Cow<'a, str>>,
    /// Its trace.
    pub trace_id: Option<[u8; 16]>,
    /// Its span.
    pub span_id: Option<[u8; 8]>,
    /// What it has instead of a time, if that cannot be read.
    pub unread_time: Option<String>,
    /// Why part of the record could not be read, if so: the code of the rule.
    pub fault: Option<&'static str>,
}

impl Record<'_> {
    /// Takes the record in.
    pub fn add(self, origin: &Origin<'_>, intake: &mut AgentIntake<'_>) -> Result<(), AgentStop> {
        let nanos = if self.time == 0 { self.observed_time } else { self.time };
        let time = AgentTime::from_nanos(nanos.into()).filter(|_| nanos != 0);
        let mut metadata = self.attributes;
        if !self.event_name.is_empty() {
            metadata.text("eventName", &self.event_name);
        }
        let level = level(self.severity);
        // A name that says no more than the number is not kept.
        let says_more = level.is_some_and(|level| Level::parse(&self.severity_text) != Ok(level));
        if says_more && !self.severity_text.is_empty() {
            metadata.text("severityText", &self.severity_text);
        }
        metadata.all(&origin.members);
        let message = if self.body.is_empty() { self.event_name } else { self.body };
        let time = time.map(|time| time.timestamp);
        let mut entry = if level.is_none() && self.severity_text.is_empty() {
            // A line of a file that an agent follows, which alone knows its level.
            let mut entry = line(&message, intake.received_at());
            state(&mut entry, time.filter(|_| self.time != 0), None);
            entry
        } else {
            let level = level.map(LevelInput::Parsed).unwrap_or_else(|| LevelInput::Text(self.severity_text));
            AgentEntry { message, level: Some(level), ..AgentEntry::default() }
        };
        metadata.all_or_within("line", std::mem::take(&mut entry.metadata));
        entry.fault = self.fault.or(entry.fault);
        if let Some(given) = self.unread_time {
            entry.fault = entry.fault.or(Some(TIME_INVALID));
            metadata.text_if_absent("timestamp", &given);
        }
        entry.metadata = metadata;
        entry.timestamp = entry.timestamp.or(time);
        entry.source = origin.source.map(Cow::Borrowed).or(entry.source);
        entry.stack_trace = self.stack_trace.or(entry.stack_trace);
        entry.trace_id = self.trace_id.filter(|id| *id != [0; 16]).or(entry.trace_id);
        entry.span_id = self.span_id.filter(|id| *id != [0; 8]).or(entry.span_id);
        let identity = Identity { stream: &origin.stream, unix_nanos: nanos };
        intake.add(entry, Some(identity)).map(drop)
    }
}

/// The level of a severity number.
fn level(severity: u64) -> Option<Level> {
    match severity {
        1..=4 => Some(Level::Trace),
        5..=8 => Some(Level::Debug),
        9..=12 => Some(Level::Info),
        13..=16 => Some(Level::Warn),
        17..=20 => Some(Level::Error),
        21..=24 => Some(Level::Fatal),
        _ => None,
    }
}
