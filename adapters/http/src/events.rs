//! Events in JSON and NDJSON bodies, parsed in place.
//!
//! The fast path walks the body once and hands each event on as it borrows it. What it cannot take, the careful path
//! takes again, element by element ([`crate::diagnose`]), so that a bad event has its own error and its neighbours are
//! accepted.
//!
//! Invariant: beside the body and what an [`Intake`] keeps, parsing takes memory within a constant bound, whatever the
//! body says. Nothing is collected past the limit that refuses it, and [`fits_scratch`] tells which bodies the fast path
//! leaves to the careful one.

use std::fmt;
use std::marker::PhantomData;

use application::ingest::{Intake, RefusalReason, TooManyEvents};
use serde::de::{self, Deserialize, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, de::Read};

use crate::diagnose::examine;
use crate::event_visitor::Draft;
use crate::problem::Failure;

/// Most bytes that serde_json may set aside on the fast path. It copies a string that has escapes, and notes a byte for
/// each level of nesting in a value that it skips.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of a body; that of an event has a lower limit, with an error of its own.
pub const NESTING_MAX: usize = SCRATCH_BYTES_MAX;

/// Takes in the one event of a body.
///
/// # Errors
/// The body is not JSON.
pub fn take_event(body: &[u8], intake: &mut Intake<'_>) -> Result<(), Failure> {
    if let Some(Draft(draft)) = read(body) {
        return intake.add(draft).map_err(Failure::from);
    }
    let element = raw(body).map_err(|error| undecodable(&error))?;
    take_element(element, intake).map_err(Failure::from)
}

/// Takes in the events of a JSON array. `begin` gives a fresh intake: what the fast path took in before it
/// stumbled is discarded.
///
/// # Errors
/// The body is not a JSON array, or has too many events: nothing is taken in. What follows the first event too many is
/// not looked at, be it JSON or not.
pub fn take_events<'i>(body: &[u8], begin: impl Fn() -> Intake<'i>) -> Result<Intake<'i>, Failure> {
    // Before the parser looks: its error would repeat a string that stands here instead.
    if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'[') {
        let detail =
            "a batch is a JSON array, nothing was accepted: send a single event to /api/logs, and JSON lines as \
                      application/x-ndjson"
                .to_owned();
        return Err(Failure::Undecodable { detail });
    }
    if let Some(json) = plain_text(body) {
        let mut intake = begin();
        match take_elements(Deserializer::from_str(json), |Draft(draft)| intake.add(draft)) {
            Ok(()) => return Ok(intake),
            Err(Stopped::Full(error)) => return Err(error.into()),
            Err(Stopped::Broken(_)) => {}
        }
    }
    let mut intake = begin();
    check_nesting(body).map_err(|error| undecodable(&error))?;
    match take_elements(Deserializer::from_slice(body), |element| take_element(element, &mut intake)) {
        Ok(()) => Ok(intake),
        Err(Stopped::Full(error)) => Err(error.into()),
        Err(Stopped::Broken(error)) => Err(undecodable(&error)),
    }
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
        match raw(line) {
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

/// Reads an event that has nothing wrong and nothing unusual.
fn read(json: &[u8]) -> Option<Draft<'_>> {
    serde_json::from_str(plain_text(json)?).ok()
}

/// Reads the extent of a value.
fn raw(json: &[u8]) -> Result<&RawValue, serde_json::Error> {
    check_nesting(json)?;
    serde_json::from_slice(json)
}

fn take_element(element: &RawValue, intake: &mut Intake<'_>) -> Result<(), TooManyEvents> {
    match examine(element) {
        Ok(draft) => intake.add(draft),
        Err(reason) => intake.refuse(reason),
    }
}

fn undecodable(error: &serde_json::Error) -> Failure {
    if error.is_eof() && error.column() == 0 {
        return Failure::Undecodable { detail: "the body is empty, nothing was accepted".to_owned() };
    }
    Failure::Undecodable { detail: format!("the body cannot be read, nothing was accepted: {error}") }
}

/// The text of a body for the fast path. Its UTF-8 is checked first and at once, which is cheaper than string by string.
fn plain_text(json: &[u8]) -> Option<&str> {
    std::str::from_utf8(json).ok().filter(|_| fits_scratch(json))
}

/// Whether the parser takes every part of `json` within [`SCRATCH_BYTES_MAX`]. Costs little where that is so, and may
/// say no where a closer look would say yes.
fn fits_scratch(json: &[u8]) -> bool {
    if json.len() <= SCRATCH_BYTES_MAX {
        return true;
    }
    // A longer string fills a whole block, and each quotation mark in it is escaped.
    let ends_string = |pair: &[u8]| matches!(pair, [before, b'"'] if *before != b'\\');
    let mut blocks = json.chunks_exact(SCRATCH_BYTES_MAX / 2);
    blocks.all(|block| block.windows(2).any(ends_string)) && opening_brackets(json) <= SCRATCH_BYTES_MAX
}

/// How many brackets and braces open, in strings too: the nesting is at most this deep.
fn opening_brackets(json: &[u8]) -> usize {
    // In pieces whose count fits into a byte, so that many bytes are compared at once.
    let opening = |piece: &[u8]| piece.iter().fold(0, |opening: u8, byte| opening + u8::from(byte | 0x20 == b'{'));
    json.chunks(usize::from(u8::MAX)).map(|piece| usize::from(opening(piece))).sum()
}

/// Refuses JSON that is nested more than [`NESTING_MAX`] deep.
fn check_nesting(json: &[u8]) -> Result<(), serde_json::Error> {
    if json.len() <= NESTING_MAX || opening_brackets(json) <= NESTING_MAX {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(de::Error::custom(format_args!("it is nested more than {NESTING_MAX} deep")));
        }
    }
    Ok(())
}

/// Why not all elements of an array were taken.
enum Stopped {
    /// The body is not a JSON array, or an element is no `T`.
    Broken(serde_json::Error),
    /// There are more events than a request may have.
    Full(TooManyEvents),
}

/// Hands the elements of an array to `take`, one by one, until it takes no more.
fn take_elements<'de, T: Deserialize<'de>>(
    mut json: Deserializer<impl Read<'de>>,
    take: impl FnMut(T) -> Result<(), TooManyEvents>,
) -> Result<(), Stopped> {
    let mut full = None;
    let parsed = json.deserialize_seq(Elements { take, full: &mut full, element: PhantomData });
    match full {
        Some(error) => Err(Stopped::Full(error)),
        None => parsed.and_then(|()| json.end()).map_err(Stopped::Broken),
    }
}

struct Elements<'f, T, F> {
    take: F,
    full: &'f mut Option<TooManyEvents>,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), TooManyEvents>> Visitor<'de> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            if let Err(error) = (self.take)(element) {
                *self.full = Some(error);
                return Err(de::Error::custom(error));
            }
        }
        Ok(())
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

    #[test]
    fn what_follows_the_first_event_too_many_is_not_looked_at() {
        let ingest = ingest();
        let take = |body: &str| take_events(body.as_bytes(), || ingest.intake(None, None)).map(drop);
        for event in [VALID, "7"] {
            let events = vec![event; 10_000].join(",");
            assert!(take(&format!("[{events}]")).is_ok());
            for rest in [",7]", ",7 8]", ",{},", ",[]] x"] {
                assert!(matches!(take(&format!("[{events}{rest}")), Err(Failure::TooLarge { .. })), "{event} {rest}");
            }
            for rest in ["", ",", ",]", ",7", ",[}", ",\"", " 7]", "] x"] {
                // The end of a number is what follows it.
                let expected = if rest == ",7" { "too large" } else { "undecodable" };
                let seen = match take(&format!("[{events}{rest}")) {
                    Err(Failure::TooLarge { .. }) => "too large",
                    Err(Failure::Undecodable { .. }) => "undecodable",
                    other => panic!("{event} {rest}: {other:?}"),
                };
                assert_eq!(seen, expected, "{event} {rest}");
            }
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let text = format!("\"{}\\\"[\"", "[".repeat(NESTING_MAX));
        for (value, readable) in [
            (nested(NESTING_MAX - 1), true),
            (nested(NESTING_MAX), false),
            (format!("{{\"a\":{}}}", nested(NESTING_MAX - 2)), true),
            (format!("{{\"a\":{}}}", nested(NESTING_MAX - 1)), false),
            (format!("[[],{}]", nested(NESTING_MAX - 2)), true),
            // In a text, and one after the other, brackets are no nesting.
            (format!("{{\"a\":{text},\"b\":{text}}}"), true),
            (format!("[{}0]", "[],".repeat(NESTING_MAX)), true),
        ] {
            let ingest = ingest();
            let taken = take_events(format!("[{value}]").as_bytes(), || ingest.intake(None, None));
            assert_eq!(taken.is_ok(), readable);
            let line = format!("{VALID}\n[{value}]\n{VALID}");
            let code = if readable { "event_not_object" } else { "line_invalid" };
            assert_eq!(codes_of_lines(line.as_bytes(), 3), ["", code, ""]);
        }
    }

    #[test]
    fn the_fast_path_takes_what_needs_little_memory() {
        let string = |unit: &str, bytes: usize| format!("\"{}\"", unit.repeat(bytes / unit.len()));
        let long = |value: &str| format!("[{}{value}]", format!("{VALID},").repeat(10_000));
        assert!(long("").len() > SCRATCH_BYTES_MAX);
        for (body, fits) in [
            ("[".repeat(SCRATCH_BYTES_MAX), true),
            ("[".repeat(SCRATCH_BYTES_MAX + 1), false),
            (long("7"), true),
            (long(&"[".repeat(SCRATCH_BYTES_MAX + 1)), false),
            (long(&"{\"\":".repeat(SCRATCH_BYTES_MAX + 1)), false),
            (long(&string("x", SCRATCH_BYTES_MAX / 4)), true),
            (long(&string("x", SCRATCH_BYTES_MAX)), false),
            (long(&string("\\\"", SCRATCH_BYTES_MAX)), false),
            (long(&string("\\u0022", SCRATCH_BYTES_MAX)), false),
        ] {
            assert_eq!(fits_scratch(body.as_bytes()), fits, "{}", &body[body.len() - 20..]);
        }
    }

    #[test]
    fn a_text_that_is_longer_than_any_field_breaks_the_rule_of_its_length() {
        for (bytes, fits) in [(262_144, true), (262_145, false), (400_000, false)] {
            for unit in ["x", "\\u0078", "\\/"] {
                let text = unit.repeat(bytes);
                for (name, code) in [("message", "message_length"), ("stackTrace", "stack_trace_length")] {
                    let event = VALID.replace("\"message\":\"m\"", "\"message\":\"m\",\"stackTrace\":\"t\"");
                    let from = event.find(&format!("\"{name}\":")).expect("a field") + name.len() + 4;
                    let event = format!("{}{text}{}", &event[..from], &event[from + 1..]);
                    assert_eq!(code_of_single(&event), if fits { "" } else { code }, "{name} {bytes} {unit}");
                }
            }
        }
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
            for element in &written {
                let careful = examine(raw(element.as_bytes()).expect("JSON")).map(|draft| format!("{draft:?}"));
                let fast = read(element.as_bytes()).map(|Draft(draft)| format!("{draft:?}"));
                prop_assert_eq!(careful.ok(), fast);
            }
            let alone: Vec<&str> = written.iter().map(|element| code_of_single(element)).collect();
            prop_assert_eq!(codes_of_lines(written.join("\n").as_bytes(), written.len()), alone.clone());
            prop_assert_eq!(codes_of_batch(&written), alone);
        }
    }
}
