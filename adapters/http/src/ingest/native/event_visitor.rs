//! The fast path of [`crate::ingest::native`]: an event that has nothing wrong, read as the parser walks over it.

use std::borrow::Cow;
use std::fmt;

use domain::event::EventDraft;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

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
    const ALL: [Self; 9] = [
        Self::Source,
        Self::Level,
        Self::Message,
        Self::Timestamp,
        Self::EventId,
        Self::StackTrace,
        Self::TraceId,
        Self::SpanId,
        Self::Metadata,
    ];

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

    /// The field of a JSON text of a key, with its quotes.
    pub fn of_key(key: &str) -> Option<Self> {
        let bare = key.strip_prefix('"')?.strip_suffix('"')?;
        let named = |name: &str| Self::ALL.into_iter().find(|field| field.name() == name);
        if bare.contains('\\') {
            // A longer one is not read: it may be as long as the body.
            let key = Some(key).filter(|_| bare.len() <= NAME_JSON_BYTES_MAX)?;
            serde_json::from_str::<String>(key).ok().and_then(|name| named(&name))
        } else {
            named(bare)
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
pub struct Seen([bool; Field::ALL.len()]);

impl Seen {
    /// Notes a field, and says whether it was there before.
    pub fn again(&mut self, field: Field) -> bool {
        self.0.get_mut(field as usize).is_none_or(|seen| std::mem::replace(seen, true))
    }
}

/// An event as the body has it.
pub struct Draft<'a>(pub EventDraft<'a>);

impl<'de> Deserialize<'de> for Draft<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DraftVisitor)
    }
}

struct DraftVisitor;

impl<'de> Visitor<'de> for DraftVisitor {
    type Value = Draft<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Draft<'de>, A::Error> {
        let mut draft = EventDraft::default();
        let mut seen = Seen::default();
        while let Some(key) = members.next_key::<&'de RawValue>()? {
            let Some(field) = Field::of_key(key.get()) else {
                let value: &'de RawValue = members.next_value()?;
                draft.add_unknown(key.get(), value.get());
                continue;
            };
            if seen.again(field) {
                return Err(de::Error::duplicate_field(field.name()));
            }
            if field == Field::Metadata {
                let value: &'de RawValue = members.next_value()?;
                draft.metadata = Some(value.get()).filter(|json| *json != "null");
                continue;
            }
            let Text(text) = members.next_value()?;
            field.set(&mut draft, text);
        }
        Ok(Draft(draft))
    }
}

/// A string, borrowed where the body has it without escapes; `null` is as good as absent.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}
