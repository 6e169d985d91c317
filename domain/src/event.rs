//! A log event and the rules that make it acceptable.
//!
//! Every rule has one [`EventError`] with one stable code. A [`LogEvent`] that exists can be stored by every
//! store: no later step refuses it for its content.

use std::borrow::Cow;

use uuid::Uuid;

use crate::level::Level;
use crate::metadata::{Metadata, MetadataError, UNKNOWN_MEMBERS_MAX, UnknownMember};
use crate::timestamp::Timestamp;

/// Longest `source`, in bytes.
pub const SOURCE_BYTES_MAX: usize = 255;
/// Longest `message` and longest `stackTrace`, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// A log event that every store can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent<'a> {
    /// Identity; repeats within the dedup window count once.
    pub event_id: Uuid,
    /// Who chose `event_id`.
    pub id_origin: IdOrigin,
    /// Which application wrote it.
    pub source: Cow<'a, str>,
    /// Severity.
    pub level: Level,
    /// What happened.
    pub message: Cow<'a, str>,
    /// When it happened, by the client's clock if the client said.
    pub timestamp: Timestamp,
    /// When the producer received it.
    pub received_at: Timestamp,
    /// Stack trace of an exception.
    pub stack_trace: Option<Cow<'a, str>>,
    /// Trace that it belongs to (W3C Trace Context).
    pub trace_id: Option<[u8; 16]>,
    /// Span that it belongs to (W3C Trace Context).
    pub span_id: Option<[u8; 8]>,
    /// Anything else.
    pub metadata: Option<Metadata<'a>>,
}

/// Who chose the id of an event. Only an id that came from the client can come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdOrigin {
    /// The client gave it, or the key that it was derived from.
    Client,
    /// Spillway made it.
    Generated,
}

/// An event as the client sent it: texts unchecked, absent fields absent.
#[derive(Clone, Debug, Default)]
pub struct EventDraft<'a> {
    /// `source`.
    pub source: Option<Cow<'a, str>>,
    /// `level`.
    pub level: Option<Cow<'a, str>>,
    /// `message`.
    pub message: Option<Cow<'a, str>>,
    /// `timestamp`.
    pub timestamp: Option<Cow<'a, str>>,
    /// `eventId`.
    pub event_id: Option<Cow<'a, str>>,
    /// `stackTrace`.
    pub stack_trace: Option<Cow<'a, str>>,
    /// `traceId`.
    pub trace_id: Option<Cow<'a, str>>,
    /// `spanId`.
    pub span_id: Option<Cow<'a, str>>,
    /// `metadata`, as JSON text.
    pub metadata: Option<&'a str>,
    /// Members with other names, as [`EventDraft::add_unknown`] collects them.
    pub unknown: Vec<UnknownMember<'a>>,
}

/// Why an event cannot be accepted, one variant a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// `source` is missing.
    #[error("source is required")]
    SourceRequired,
    /// `source` is empty or longer than [`SOURCE_BYTES_MAX`].
    #[error("source must have 1 to {SOURCE_BYTES_MAX} bytes")]
    SourceLength,
    /// `source` has a control character.
    #[error("source must not contain control characters")]
    SourceControlCharacter,
    /// `level` is missing.
    #[error("level is required")]
    LevelRequired,
    /// `level` names no level.
    #[error("level must be TRACE, DEBUG, INFO, WARN (WARNING), ERROR or FATAL (CRITICAL, ALERT, EMERGENCY)")]
    LevelUnknown,
    /// `message` is missing.
    #[error("message is required")]
    MessageRequired,
    /// `message` is empty or longer than [`TEXT_BYTES_MAX`].
    #[error("message must have 1 to {TEXT_BYTES_MAX} bytes")]
    MessageLength,
    /// `stackTrace` is longer than [`TEXT_BYTES_MAX`].
    #[error("stackTrace must have at most {TEXT_BYTES_MAX} bytes")]
    StackTraceLength,
    /// `timestamp` is no RFC 3339 time.
    #[error("timestamp must be an RFC 3339 time between the years 0000 and 9999, such as 2024-01-15T10:30:00Z")]
    TimestampInvalid,
    /// `eventId` is no UUID.
    #[error("eventId must be a UUID")]
    EventIdInvalid,
    /// The guarantee of the event's level asks for an `eventId`.
    #[error("events of this level are delivered exactly once: send an eventId or an Idempotency-Key")]
    EventIdRequired,
    /// `traceId` is not 32 hexadecimal digits.
    #[error("traceId must have 32 hexadecimal digits")]
    TraceIdInvalid,
    /// `spanId` is not 16 hexadecimal digits.
    #[error("spanId must have 16 hexadecimal digits")]
    SpanIdInvalid,
    /// `metadata` or an unknown field cannot be kept.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Key and value together are too large for the bus.
    #[error("the event has more than {limit_bytes} bytes as a record, which is its source and its compact JSON")]
    RecordTooLarge {
        /// What the bus takes, in bytes.
        limit_bytes: usize,
    },
}

impl EventError {
    /// The stable code of the rule, for clients to act on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SourceRequired => "source_required",
            Self::SourceLength => "source_length",
            Self::SourceControlCharacter => "source_control_character",
            Self::LevelRequired => "level_required",
            Self::LevelUnknown => "level_unknown",
            Self::MessageRequired => "message_required",
            Self::MessageLength => "message_length",
            Self::StackTraceLength => "stack_trace_length",
            Self::TimestampInvalid => "timestamp_invalid",
            Self::EventIdInvalid => "event_id_invalid",
            Self::EventIdRequired => "event_id_required",
            Self::TraceIdInvalid => "trace_id_invalid",
            Self::SpanIdInvalid => "span_id_invalid",
            Self::Metadata(MetadataError::NotObject) => "metadata_not_object",
            Self::Metadata(MetadataError::Syntax) => "metadata_invalid",
            Self::Metadata(MetadataError::Size) => "metadata_size",
            Self::Metadata(MetadataError::Depth) => "metadata_depth",
            Self::Metadata(MetadataError::LoneSurrogate) => "lone_surrogate",
            Self::Metadata(MetadataError::Number) => "metadata_number",
            Self::Metadata(MetadataError::Clash(_)) => "metadata_clash",
            Self::RecordTooLarge { .. } => "record_too_large",
        }
    }
}

impl<'a> EventDraft<'a> {
    /// Adds a member with another name, as JSON texts of key and value. Collects [`UNKNOWN_MEMBERS_MAX`]: with so many the
    /// event is refused, and further ones change neither that nor the reason.
    pub fn add_unknown(&mut self, key: &'a str, value: &'a str) {
        if self.unknown.len() < UNKNOWN_MEMBERS_MAX {
            self.unknown.push((key, value));
        }
    }

    /// Applies every rule of the contract's event table. `other_id` is asked for an id only if the event has none
    /// of its own.
    ///
    /// # Errors
    /// The first rule that the draft breaks.
    pub fn validate(
        self,
        received_at: Timestamp,
        other_id: impl FnOnce() -> (Uuid, IdOrigin),
    ) -> Result<LogEvent<'a>, EventError> {
        let source = self.source.ok_or(EventError::SourceRequired)?;
        if source.is_empty() || source.len() > SOURCE_BYTES_MAX {
            return Err(EventError::SourceLength);
        }
        if source.chars().any(char::is_control) {
            return Err(EventError::SourceControlCharacter);
        }

        let level = self.level.ok_or(EventError::LevelRequired)?;
        let level = Level::parse(&level).map_err(|_| EventError::LevelUnknown)?;

        let message = self.message.ok_or(EventError::MessageRequired)?;
        let message = storable(message).filter(|text| !text.is_empty()).ok_or(EventError::MessageLength)?;
        let stack_trace =
            self.stack_trace.map(|text| storable(text).ok_or(EventError::StackTraceLength)).transpose()?;

        let timestamp = match self.timestamp {
            Some(text) => Timestamp::parse(&text).map_err(|_| EventError::TimestampInvalid)?,
            None => received_at,
        };
        let trace_id = self.trace_id.map(|hex| from_hex(&hex).ok_or(EventError::TraceIdInvalid)).transpose()?;
        let span_id = self.span_id.map(|hex| from_hex(&hex).ok_or(EventError::SpanIdInvalid)).transpose()?;

        let metadata = self.metadata.map(Metadata::parse).transpose()?;
        let metadata = Metadata::with_unknown(metadata, &self.unknown)?;

        let (event_id, id_origin) = match self.event_id {
            Some(text) => (Uuid::try_parse(&text).map_err(|_| EventError::EventIdInvalid)?, IdOrigin::Client),
            None => other_id(),
        };
        Ok(LogEvent {
            event_id,
            id_origin,
            source,
            level,
            message,
            timestamp,
            received_at,
            stack_trace,
            trace_id,
            span_id,
            metadata,
        })
    }
}

impl LogEvent<'_> {
    /// The same event, detached from its input.
    #[must_use]
    pub fn into_owned(self) -> LogEvent<'static> {
        LogEvent {
            event_id: self.event_id,
            id_origin: self.id_origin,
            source: Cow::Owned(self.source.into_owned()),
            level: self.level,
            message: Cow::Owned(self.message.into_owned()),
            timestamp: self.timestamp,
            received_at: self.received_at,
            stack_trace: self.stack_trace.map(|text| Cow::Owned(text.into_owned())),
            trace_id: self.trace_id,
            span_id: self.span_id,
            metadata: self.metadata.map(Metadata::into_owned),
        }
    }
}

/// A text as stores hold it: PostgreSQL's text types cannot hold U+0000. `None` if it is longer than [`TEXT_BYTES_MAX`]
/// before or after that is replaced, which makes it longer.
fn storable(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let fits = |text: &Cow<'_, str>| text.len() <= TEXT_BYTES_MAX;
    let text = Some(text).filter(fits)?;
    if !text.contains('\0') {
        return Some(text);
    }
    Some(Cow::Owned(text.replace('\0', "\u{fffd}"))).filter(fits)
}

/// Reads exactly `2 * N` hexadecimal digits of any case.
#[must_use]
pub fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// Writes lower-case hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn received_at() -> Timestamp {
        Timestamp::from_unix_micros(1_700_000_000_123_456).expect("in range")
    }

    fn draft() -> EventDraft<'static> {
        EventDraft {
            source: Some("my-app".into()),
            level: Some("info".into()),
            message: Some("User login successful".into()),
            ..EventDraft::default()
        }
    }

    fn validate(draft: EventDraft<'_>) -> Result<LogEvent<'_>, EventError> {
        draft.validate(received_at(), || (ID, IdOrigin::Generated))
    }

    #[test]
    fn absent_fields_get_their_defaults() {
        let event = validate(draft()).expect("valid");
        assert_eq!((event.event_id, event.id_origin), (ID, IdOrigin::Generated));
        assert_eq!((event.timestamp, event.received_at), (received_at(), received_at()));
        assert_eq!(event.level, Level::Info);
        assert_eq!((event.metadata, event.stack_trace, event.trace_id, event.span_id), (None, None, None, None));
    }

    #[test]
    fn given_fields_are_kept() {
        let event = validate(EventDraft {
            timestamp: Some("2024-01-15T10:30:00Z".into()),
            event_id: Some("0190163D-8694-739B-AEA5-966C26F8AD91".into()),
            trace_id: Some("4BF92F3577B34DA6A3CE929D0E0E4736".into()),
            span_id: Some("00f067aa0ba902b7".into()),
            stack_trace: Some(String::new().into()),
            metadata: Some(r#"{"userId": "12345"}"#),
            unknown: vec![("\"host\"", "\"web-1\"")],
            ..draft()
        })
        .expect("valid");
        assert_eq!(event.id_origin, IdOrigin::Client);
        assert_eq!(event.event_id.to_string(), "0190163d-8694-739b-aea5-966c26f8ad91");
        assert_eq!(event.timestamp.to_string(), "2024-01-15T10:30:00Z");
        assert_eq!(event.trace_id.map(|id| to_hex(&id)).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(event.span_id.map(|id| to_hex(&id)).as_deref(), Some("00f067aa0ba902b7"));
        assert_eq!(event.metadata.as_ref().map(Metadata::as_json), Some(r#"{"userId":"12345","host":"web-1"}"#));
    }

    #[test]
    fn every_rule_has_its_own_code() {
        let long = |bytes: usize| Some(Cow::Owned("x".repeat(bytes)));
        let cases: Vec<(EventDraft<'_>, &str)> = vec![
            (EventDraft { source: None, ..draft() }, "source_required"),
            (EventDraft { source: Some("".into()), ..draft() }, "source_length"),
            (EventDraft { source: long(256), ..draft() }, "source_length"),
            (EventDraft { source: Some("a\tb".into()), ..draft() }, "source_control_character"),
            (EventDraft { source: Some("a\u{85}b".into()), ..draft() }, "source_control_character"),
            (EventDraft { source: Some("a\0b".into()), ..draft() }, "source_control_character"),
            (EventDraft { level: None, ..draft() }, "level_required"),
            (EventDraft { level: Some("LOUD".into()), ..draft() }, "level_unknown"),
            (EventDraft { message: None, ..draft() }, "message_required"),
            (EventDraft { message: Some("".into()), ..draft() }, "message_length"),
            (EventDraft { message: long(TEXT_BYTES_MAX + 1), ..draft() }, "message_length"),
            (EventDraft { stack_trace: long(TEXT_BYTES_MAX + 1), ..draft() }, "stack_trace_length"),
            (EventDraft { timestamp: Some("yesterday".into()), ..draft() }, "timestamp_invalid"),
            (EventDraft { event_id: Some("42".into()), ..draft() }, "event_id_invalid"),
            (EventDraft { trace_id: Some("4bf9".into()), ..draft() }, "trace_id_invalid"),
            (EventDraft { trace_id: Some("x".repeat(32).into()), ..draft() }, "trace_id_invalid"),
            (EventDraft { span_id: Some("00f067aa0ba902b7a".into()), ..draft() }, "span_id_invalid"),
            (EventDraft { metadata: Some("[]"), ..draft() }, "metadata_not_object"),
            (EventDraft { metadata: Some(r#"{"a":1}"#), unknown: vec![("\"a\"", "2")], ..draft() }, "metadata_clash"),
        ];
        for (draft, code) in cases {
            assert_eq!(validate(draft).map_err(|error| error.code()).map(drop), Err(code));
        }
    }

    #[test]
    fn the_largest_allowed_texts_pass_and_nul_becomes_the_replacement_character() {
        let event = EventDraft {
            source: Some("s".repeat(SOURCE_BYTES_MAX).into()),
            message: Some("m".repeat(TEXT_BYTES_MAX).into()),
            stack_trace: Some("a\0b".into()),
            ..draft()
        };
        assert_eq!(validate(event).expect("valid").stack_trace.as_deref(), Some("a\u{fffd}b"));
        // The bound holds for what is stored: three bytes for each U+0000.
        let grown = EventDraft { message: Some("\0".repeat(TEXT_BYTES_MAX / 2).into()), ..draft() };
        assert_eq!(validate(grown).map(drop), Err(EventError::MessageLength));
    }

    #[test]
    fn unknown_members_that_are_not_collected_change_nothing() {
        let fault = |members: &[(String, &'static str)], collected: usize| {
            let mut limited = draft();
            members.iter().for_each(|(key, value)| limited.add_unknown(key, value));
            assert_eq!(limited.unknown.len(), collected);
            let all = members.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            let unlimited = validate(EventDraft { unknown: all, ..draft() });
            assert_eq!(validate(limited), unlimited);
            unlimited.map(drop).map_err(|error| error.code())
        };
        // The shortest members; with names of their own they are longer.
        let one_name = |members: usize| vec![("\"\"".to_owned(), "1"); members];
        assert_eq!(fault(&one_name(UNKNOWN_MEMBERS_MAX), UNKNOWN_MEMBERS_MAX), Err("metadata_clash"));
        let names = |members: usize| (0..members).map(|n| (format!("\"{n:x}\""), "1")).collect::<Vec<_>>();
        assert_eq!(fault(&names(7_000), 7_000), Ok(()));
        for members in [UNKNOWN_MEMBERS_MAX - 1, UNKNOWN_MEMBERS_MAX, UNKNOWN_MEMBERS_MAX + 1, 3 * UNKNOWN_MEMBERS_MAX]
        {
            let mut members = names(members);
            let collected = members.len().min(UNKNOWN_MEMBERS_MAX);
            assert_eq!(fault(&members, collected), Err("metadata_size"));
            members.push(("\"0\"".to_owned(), "1"));
            fault(&members, (collected + 1).min(UNKNOWN_MEMBERS_MAX)).expect_err("too many");
            members[5].1 = "\"\\ud800\"";
            assert_eq!(fault(&members, (collected + 1).min(UNKNOWN_MEMBERS_MAX)), Err("lone_surrogate"));
        }
    }

    proptest! {
        #[test]
        fn an_accepted_event_keeps_within_all_bounds(source in ".{0,300}", level in "[A-Za-z]{0,9}", message in ".{0,20}") {
            let draft = EventDraft { source: Some(source.into()), level: Some(level.into()), message: Some(message.into()), ..EventDraft::default() };
            if let Ok(event) = validate(draft) {
                prop_assert!((1..=SOURCE_BYTES_MAX).contains(&event.source.len()));
                prop_assert!(!event.source.chars().any(char::is_control));
                prop_assert!(!event.message.is_empty() && !event.message.contains('\0'));
            }
        }

        #[test]
        fn hexadecimal_text_and_back(bytes in any::<[u8; 16]>()) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
            prop_assert_eq!(from_hex::<8>(&to_hex(&bytes)), None);
        }
    }
}
