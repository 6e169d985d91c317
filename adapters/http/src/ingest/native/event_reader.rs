//! The fast path of [`crate::ingest::native`]: an event that has nothing wrong, read in place.

use std::borrow::Cow;

use application::json_reader::JsonReader;
use domain::event::EventDraft;
use domain::event_input::{MetadataInput, TimestampInput};

/// The fields of an event that the contract names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `source`.
    Source,
    /// `level`.
    Level,
    /// `message`.
    Message,
    /// `timestamp`.
    Timestamp,
    /// `eventId`.
    EventId,
    /// `stackTrace`.
    StackTrace,
    /// `traceId`.
    TraceId,
    /// `spanId`.
    SpanId,
    /// `metadata`, the one that is not a string.
    Metadata,
}

/// Longest name of a field as JSON text without quotes: ten characters, each written as an escape.
const NAME_JSON_BYTES_MAX: usize = 60;

impl Field {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Level => "level",
            Self::Message => "message",
            Self::Timestamp => "timestamp",
            Self::EventId => "eventId",
            Self::StackTrace => "stackTrace",
            Self::TraceId => "traceId",
            Self::SpanId => "spanId",
            Self::Metadata => "metadata",
        }
    }

    /// The field of this name.
    #[inline]
    pub fn named(name: &[u8]) -> Option<Self> {
        // Guards instead of patterns, of which the compiler compares byte by byte.
        Some(match name.len() {
            5 if name == b"level" => Self::Level,
            6 if name == b"source" => Self::Source,
            6 if name == b"spanId" => Self::SpanId,
            7 if name == b"message" => Self::Message,
            7 if name == b"eventId" => Self::EventId,
            7 if name == b"traceId" => Self::TraceId,
            8 if name == b"metadata" => Self::Metadata,
            9 if name == b"timestamp" => Self::Timestamp,
            10 if name == b"stackTrace" => Self::StackTrace,
            _ => return None,
        })
    }

    /// Reads the name of a field, with the colon and white space before its value, if the name has no escapes and the colon
    /// follows at once.
    #[inline]
    fn read_usual_name(json: &mut JsonReader<'_>) -> Option<Self> {
        let mut is = |name: &str, field: Self| json.literal(name).map(|()| field);
        let field = is("\"source\":", Self::Source)
            .or_else(|| is("\"level\":", Self::Level))
            .or_else(|| is("\"message\":", Self::Message))
            .or_else(|| is("\"timestamp\":", Self::Timestamp))
            .or_else(|| is("\"metadata\":", Self::Metadata))
            .or_else(|| is("\"eventId\":", Self::EventId))
            .or_else(|| is("\"traceId\":", Self::TraceId))
            .or_else(|| is("\"spanId\":", Self::SpanId))
            .or_else(|| is("\"stackTrace\":", Self::StackTrace))?;
        json.skip_space();
        Some(field)
    }

    /// The field of a JSON text of a key, with its quotes.
    pub fn of_key(key: &str) -> Option<Self> {
        let bare = key.strip_prefix('"')?.strip_suffix('"')?;
        if bare.contains('\\') {
            // A longer one is not read: it may be as long as the body.
            let key = Some(key).filter(|_| bare.len() <= NAME_JSON_BYTES_MAX)?;
            serde_json::from_str::<String>(key).ok().and_then(|name| Self::named(name.as_bytes()))
        } else {
            Self::named(bare.as_bytes())
        }
    }

    /// Puts the text of this field into a draft.
    pub fn set<'a>(self, draft: &mut EventDraft<'a>, text: Option<Cow<'a, str>>) {
        match self {
            Self::Source => draft.source = text,
            Self::Level => draft.level = text.map(Into::into),
            Self::Message => draft.message = text,
            Self::Timestamp => draft.timestamp = text.map(Into::into),
            Self::EventId => draft.event_id = text.map(Into::into),
            Self::StackTrace => draft.stack_trace = text,
            Self::TraceId => draft.trace_id = text.map(Into::into),
            Self::SpanId | Self::Metadata => draft.span_id = text.map(Into::into),
        }
    }
}

/// Which fields an event had so far.
#[derive(Default)]
pub struct Seen {
    /// A bit for each.
    fields: u16,
}

impl Seen {
    /// Notes a field, and says whether it was there before.
    pub fn again(&mut self, field: Field) -> bool {
        let bit = 1 << field as u16;
        let again = self.fields & bit != 0;
        self.fields |= bit;
        again
    }
}

/// Reads an event. `None` if the careful path must look at it.
pub fn read_event<'a>(json: &mut JsonReader<'a>) -> Option<EventDraft<'a>> {
    let mut draft = EventDraft::default();
    let mut seen = Seen::default();
    json.object(|json| {
        let field = match Field::read_usual_name(json) {
            Some(field) => field,
            None => {
                let name = json.name()?;
                let Some(field) = Field::named(name.bytes()) else {
                    draft.add_unknown(name.json(), json.value()?);
                    return Some(());
                };
                field
            }
        };
        if seen.again(field) {
            return None;
        }
        if field == Field::Metadata {
            draft.metadata = json.metadata_or_null()?.map(MetadataInput::Checked);
        } else if field == Field::Timestamp
            && let Some(time) = json.time_in_quotes()
        {
            draft.timestamp = Some(TimestampInput::Parsed(time));
        } else {
            field.set(&mut draft, json.string_or_null()?);
        }
        Some(())
    })?;
    Some(draft)
}
