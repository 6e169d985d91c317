//! Events in JSON and NDJSON bodies, parsed in place.
//!
//! The fast path walks the body once and hands each event on as it borrows it. Whatever it stumbles over, the
//! careful path takes the body again, element by element, so that a bad event has its own error and its
//! neighbours are accepted.

use std::borrow::Cow;
use std::fmt;

use application::ingest::{Intake, RefusalReason, TooManyEvents};
use domain::event::EventDraft;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Failure;

/// Takes in the one event of a body.
///
/// # Errors
/// The body is not JSON.
pub fn take_event(body: &[u8], intake: &mut Intake<'_>) -> Result<(), Failure> {
    if let Some(Draft(draft)) = read(body) {
        return intake.add(draft).map_err(Failure::from);
    }
    let element: &RawValue = serde_json::from_slice(body).map_err(|error| undecodable(&error))?;
    take_element(element, intake).map_err(Failure::from)
}

/// Takes in the events of a JSON array. `begin` gives a fresh intake: what the fast path took in before it
/// stumbled is discarded.
///
/// # Errors
/// The body is not a JSON array, or has too many events: nothing is taken in.
pub fn take_events<'i>(body: &[u8], begin: impl Fn() -> Intake<'i>) -> Result<Intake<'i>, Failure> {
    if let Ok(body) = std::str::from_utf8(body) {
        let mut intake = begin();
        let mut overflow = None;
        let mut deserializer = serde_json::Deserializer::from_str(body);
        let parsed = deserializer.deserialize_seq(Elements { intake: &mut intake, overflow: &mut overflow });
        if let Some(TooManyEvents) = overflow {
            return Err(TooManyEvents.into());
        }
        if parsed.and_then(|()| deserializer.end()).is_ok() {
            return Ok(intake);
        }
    }
    let mut intake = begin();
    if body.trim_ascii_start().starts_with(b"{") {
        let detail =
            "a batch is a JSON array, nothing was accepted: send a single event to /api/logs, and JSON lines as \
                      application/x-ndjson"
                .to_owned();
        return Err(Failure::Undecodable { detail });
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| undecodable(&error))?;
    for element in elements {
        take_element(element, &mut intake)?;
    }
    Ok(intake)
}

/// Takes in one event a line (github.com/ndjson/ndjson-spec). Empty lines are skipped and not counted; a line that
/// cannot be read fails alone.
///
/// # Errors
/// There are too many lines: nothing may be delivered.
pub fn take_lines(body: &[u8], intake: &mut Intake<'_>) -> Result<(), Failure> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(Draft(draft)) = read(line) {
            intake.add(draft)?;
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(element) => take_element(element, intake)?,
            Err(error) => {
                // Where it says "line 1", it means this one.
                let error = error.to_string();
                let what = error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what);
                let detail = format!("the line is not JSON: {what}");
                intake.refuse(RefusalReason::Malformed { code: "line_invalid", detail })?;
            }
        }
    }
    Ok(())
}

/// Reads an event that has nothing wrong. Its UTF-8 is checked first and at once, which is cheaper than string by string.
fn read(json: &[u8]) -> Option<Draft<'_>> {
    serde_json::from_str(std::str::from_utf8(json).ok()?).ok()
}

fn undecodable(error: &serde_json::Error) -> Failure {
    if error.is_eof() && error.column() == 0 {
        return Failure::Undecodable { detail: "the body is empty, nothing was accepted".to_owned() };
    }
    Failure::Undecodable { detail: format!("the body cannot be read, nothing was accepted: {error}") }
}

fn take_element(element: &RawValue, intake: &mut Intake<'_>) -> Result<(), TooManyEvents> {
    match serde_json::from_str(element.get()) {
        Ok(Draft(draft)) => intake.add(draft),
        Err(error) => intake.refuse(diagnose(element, &error)),
    }
}

/// Says which rule an element breaks that could not be read as an event.
fn diagnose(element: &RawValue, error: &serde_json::Error) -> RefusalReason {
    let malformed = |code, detail: String| RefusalReason::Malformed { code, detail };
    if element.get().starts_with('[') {
        return malformed(
            "event_not_object",
            "an event must be a JSON object: send several to /api/logs/batch".to_owned(),
        );
    }
    if !element.get().starts_with('{') {
        return malformed("event_not_object", "an event must be a JSON object".to_owned());
    }
    let Ok(Members(members)) = serde_json::from_str(element.get()) else {
        return malformed("event_invalid", format!("the event cannot be read: {error}"));
    };
    for (index, (name, value)) in members.iter().enumerate() {
        let value = value.get();
        let Some(field) = Field::ALL.into_iter().find(|field| field.name() == name) else { continue };
        if members.iter().take(index).any(|(earlier, _)| earlier == name) {
            return malformed("duplicate_field", format!("{name} is given more than once"));
        }
        if field == Field::Metadata || value == "null" {
            continue;
        }
        if !value.starts_with('"') {
            return malformed("field_type", format!("{name} must be a string"));
        }
        if serde_json::from_str::<String>(value).is_err() {
            return malformed(
                "invalid_text",
                format!("{name} has a \\u escape that is half of a surrogate pair, which is no character"),
            );
        }
    }
    malformed("event_invalid", format!("the event cannot be read: {error}"))
}

/// The fields of an event that the contract names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Source,
    Level,
    Message,
    Timestamp,
    EventId,
    StackTrace,
    TraceId,
    SpanId,
    Metadata,
}

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

    fn name(self) -> &'static str {
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
    fn of_key(key: &str) -> Option<Self> {
        let bare = key.strip_prefix('"')?.strip_suffix('"')?;
        let named = |name: &str| Self::ALL.into_iter().find(|field| field.name() == name);
        if bare.contains('\\') {
            serde_json::from_str::<String>(key).ok().and_then(|name| named(&name))
        } else {
            named(bare)
        }
    }
}

/// An event as the body has it.
struct Draft<'a>(EventDraft<'a>);

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
        let mut seen = [false; Field::ALL.len()];
        while let Some(key) = members.next_key::<&'de RawValue>()? {
            let Some(field) = Field::of_key(key.get()) else {
                let value: &'de RawValue = members.next_value()?;
                draft.unknown.push((key.get(), value.get()));
                continue;
            };
            if seen.get_mut(field as usize).is_none_or(|seen| std::mem::replace(seen, true)) {
                return Err(de::Error::duplicate_field(field.name()));
            }
            if field == Field::Metadata {
                let value: &'de RawValue = members.next_value()?;
                draft.metadata = Some(value.get()).filter(|json| *json != "null");
                continue;
            }
            let Text(text) = members.next_value()?;
            match field {
                Field::Source => draft.source = text,
                Field::Level => draft.level = text,
                Field::Message => draft.message = text,
                Field::Timestamp => draft.timestamp = text,
                Field::EventId => draft.event_id = text,
                Field::StackTrace => draft.stack_trace = text,
                Field::TraceId => draft.trace_id = text,
                Field::SpanId | Field::Metadata => draft.span_id = text,
            }
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

/// Hands the elements of an array to an intake.
struct Elements<'e, 'i> {
    intake: &'e mut Intake<'i>,
    overflow: &'e mut Option<TooManyEvents>,
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(Draft(draft)) = elements.next_element()? {
            if let Err(error) = self.intake.add(draft) {
                *self.overflow = Some(error);
                return Err(de::Error::custom(error));
            }
        }
        Ok(())
    }
}

/// The members of an object, names read and values not.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use application::deliver::Delivery;
    use application::ingest::{Ingest, Outcome};
    use domain::Uuid;
    use domain::admission::Fill;
    use domain::delivery::{DeliveryPolicy, Durability};
    use domain::partition::{Partitioner, PriorityLane};
    use domain::ports::{Clock, MockIdSource, MockRecordPublisher, MockTelemetry, Receipt};
    use domain::timestamp::Timestamp;
    use poem_openapi::types::ParseFromJSON;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::LogEvent;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::parse("2024-01-15T12:00:00Z").expect("a time")
        }
    }

    fn ingest() -> Ingest {
        let mut publisher = MockRecordPublisher::new();
        publisher.expect_partition_count().return_const(NonZeroU32::MIN);
        publisher.expect_fill().return_const(Fill { used_bytes: 0, bytes_max: 1 << 30 });
        publisher.expect_publish().returning(|_| {
            let promised = Box::pin(std::future::ready(Ok(Durability::Acknowledged)));
            Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
        });
        let mut ids = MockIdSource::new();
        ids.expect_new_id().returning(|_| Uuid::nil());
        let mut telemetry = MockTelemetry::new();
        telemetry.expect_refused().return_const(());
        telemetry.expect_sent().return_const(());
        let partitioner = Partitioner::new(PriorityLane::Shared, NonZeroU32::MIN).expect("valid");
        let policy = DeliveryPolicy::default();
        let telemetry = Arc::new(telemetry);
        let delivery = Arc::new(Delivery::new(Arc::new(publisher), Arc::<MockTelemetry>::clone(&telemetry)));
        Ingest::new(delivery, Arc::new(Noon), Arc::new(ids), telemetry, policy, partitioner)
    }

    fn deliver(intake: Intake<'_>) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(intake.deliver())
    }

    /// The codes of a batch; an empty one for an accepted event.
    fn codes_of_batch(elements: &[String]) -> Vec<&'static str> {
        let ingest = ingest();
        let body = format!("[{}]", elements.join(" ,\n"));
        let outcome = deliver(take_events(body.as_bytes(), || ingest.intake(None, None)).expect("an array"));
        let mut codes = vec![""; elements.len()];
        outcome.refusals.iter().for_each(|refusal| codes[refusal.index] = refusal.reason.code());
        assert_eq!(codes.iter().filter(|code| code.is_empty()).count(), outcome.accepted.total());
        codes
    }

    fn code_of_single(element: &str) -> &'static str {
        let ingest = ingest();
        let mut intake = ingest.intake(None, None);
        take_event(element.as_bytes(), &mut intake).expect("JSON");
        deliver(intake).refusals.first().map_or("", |refusal| refusal.reason.code())
    }

    const VALID: &str = r#"{"source":"s","level":"INFO","message":"m"}"#;

    #[test]
    fn what_is_wrong_with_an_event_is_said_by_code() {
        let with = |member: &str| VALID.replacen('{', &format!("{{{member},"), 1);
        for (element, code) in [
            (VALID.to_owned(), ""),
            (r#" { "source" : "s" , "l\u0065vel" : "warning" , "message" : "\u0000\ud83d\ude00" } "#.to_owned(), ""),
            (with(r#""metadata":null,"stackTrace":null,"eventId":null,"timestamp":null,"traceId":null"#), ""),
            (with(r#""unknown":{"deep":[1,2]}"#), ""),
            (r#"{"source":null,"level":"INFO","message":"m"}"#.to_owned(), "source_required"),
            ("null".to_owned(), "event_not_object"),
            ("[]".to_owned(), "event_not_object"),
            ("\"text\"".to_owned(), "event_not_object"),
            (with(r#""timestamp":1705314600"#), "field_type"),
            (with(r#""eventId":{}"#), "field_type"),
            (with(r#""source":"again""#), "duplicate_field"),
            (with(r#""sourc\u0065":"again""#), "duplicate_field"),
            (with(r#""metadata":{},"metadata":{}"#), "duplicate_field"),
            (with(r#""stackTrace":"\ud83d""#), "invalid_text"),
            (with(r#""metadata":"text""#), "metadata_not_object"),
            (with(r#""metadata":{"a":"\udc00"}"#), "lone_surrogate"),
            (with(r#""x":1,"x":2"#), "metadata_clash"),
            (with(&format!("\"x\":{}{}", "[".repeat(50_000), "]".repeat(50_000))), "metadata_depth"),
        ] {
            assert_eq!(code_of_single(&element), code, "{element}");
            // Beside a neighbour that sends the whole body down the careful path, and beside none.
            assert_eq!(codes_of_batch(&[element.clone(), "7".to_owned()]), [code, "event_not_object"], "{element}");
            assert_eq!(codes_of_batch(&[VALID.to_owned(), element.clone()]), ["", code], "{element}");
        }
    }

    #[test]
    fn a_broken_array_takes_in_nothing() {
        let ingest = ingest();
        for body in [
            "",
            "{}",
            "[",
            "[{]",
            &format!("[{VALID}"),
            &format!("[{VALID},]"),
            &format!("[{VALID}] x"),
            "[1 2]",
            "\u{feff}[]",
        ] {
            assert!(
                matches!(take_events(body.as_bytes(), || ingest.intake(None, None)), Err(Failure::Undecodable { .. })),
                "{body}"
            );
        }
        assert!(matches!(take_events(b"[\"\xff\"]", || ingest.intake(None, None)), Err(Failure::Undecodable { .. })));
        let too_many = format!("[{}]", vec![VALID; 10_001].join(","));
        assert!(matches!(
            take_events(too_many.as_bytes(), || ingest.intake(None, None)),
            Err(Failure::TooLarge { .. })
        ));
        let too_many = format!("[7,{}]", vec![VALID; 10_000].join(","));
        assert!(matches!(
            take_events(too_many.as_bytes(), || ingest.intake(None, None)),
            Err(Failure::TooLarge { .. })
        ));
    }

    /// The codes of a body of lines; an empty one for an accepted event.
    fn codes_of_lines(body: &[u8], events: usize) -> Vec<&'static str> {
        let ingest = ingest();
        let mut intake = ingest.intake(None, None);
        take_lines(body, &mut intake).expect("few lines");
        let outcome = deliver(intake);
        assert_eq!(outcome.accepted.total() + outcome.refusals.len(), events);
        let mut codes = vec![""; events];
        outcome.refusals.iter().for_each(|refusal| codes[refusal.index] = refusal.reason.code());
        codes
    }

    #[test]
    fn a_bad_line_fails_alone_and_an_empty_one_is_no_event() {
        let body = format!("{VALID}\r\n\n  \n {VALID} \n{{\n{VALID},\n7\n[{VALID}]\n{VALID} {VALID}\n{VALID}");
        let expected =
            ["", "", "line_invalid", "line_invalid", "event_not_object", "event_not_object", "line_invalid", ""];
        assert_eq!(codes_of_lines(body.as_bytes(), 8), expected);
        assert_eq!(codes_of_lines(&[b"\"\xff\"\n", VALID.as_bytes(), b"\n"].concat(), 2), ["line_invalid", ""]);
        assert_eq!(codes_of_lines("\u{feff}{}".as_bytes(), 1), ["line_invalid"]);
        assert_eq!(codes_of_lines(b"", 0), [""; 0]);
        let ingest = ingest();
        let too_many = format!("{VALID}\n").repeat(10_001);
        let refused = take_lines(too_many.as_bytes(), &mut ingest.intake(None, None));
        assert!(matches!(refused, Err(Failure::TooLarge { .. })));
    }

    #[test]
    fn the_documented_schema_accepts_what_the_parser_accepts() {
        for (element, valid) in [
            (VALID.to_owned(), true),
            (
                r#"{"source":"s","level":"ERROR","message":"m","timestamp":"2024-01-15T10:30:00Z","eventId":"0190163d-8694-739b-aea5-966c26f8ad91",
                    "stackTrace":"at x","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","metadata":{"a":[1]}}"#
                    .to_owned(),
                true,
            ),
            (r#"{"source":"s","level":"INFO"}"#.to_owned(), false),
            (r#"{"source":"","level":"INFO","message":"m"}"#.to_owned(), false),
            (VALID.replacen('{', r#"{"timestamp":"yesterday","#, 1), false),
            (VALID.replacen('{', r#"{"eventId":"42","#, 1), false),
            (VALID.replacen('{', r#"{"traceId":"42","#, 1), false),
            (VALID.replacen('{', r#"{"metadata":[],"#, 1), false),
        ] {
            assert_eq!(code_of_single(&element).is_empty(), valid, "{element}");
            assert_eq!(LogEvent::parse_from_json_string(&element).is_ok(), valid, "{element}");
        }
    }

    proptest! {
        #[test]
        fn all_ways_agree_on_every_element(
            elements in prop::collection::vec(
                (prop::collection::vec((0_usize..12, 0_usize..9), 0..7), any::<bool>()),
                1..6,
            ),
        ) {
            let names = ["source", "level", "message", "timestamp", "eventId", "stackTrace", "traceId", "spanId", "metadata", "host", "x", "s\\u006furce"];
            let values = ["\"INFO\"", "\"text\"", "1", "null", "{}", "{\"a\":[true]}", "\"2024-01-15T10:30:00Z\"", "\"\\ud800\"", "\"\\u0000\""];
            let written: Vec<String> = elements
                .iter()
                .map(|(members, complete)| {
                    let mut all: Vec<String> = members.iter().map(|(name, value)| format!("\"{}\":{}", names[*name], values[*value])).collect();
                    if *complete {
                        all.push("\"source\":\"s\",\"level\":\"INFO\",\"message\":\"m\"".to_owned());
                    }
                    format!("{{{}}}", all.join(","))
                })
                .collect();
            let alone: Vec<&str> = written.iter().map(|element| code_of_single(element)).collect();
            prop_assert_eq!(codes_of_lines(written.join("\n").as_bytes(), written.len()), alone.clone());
            prop_assert_eq!(codes_of_batch(&written), alone);
        }
    }
}
