use std::num::NonZeroU32;
use std::sync::Arc;

use application::delivery::Delivery;
use application::ingest::{Ingest, Intake, Outcome};
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{DeliveryPolicy, Durability};
use domain::partition::{Partitioner, PriorityLane};
use domain::ports::{MockIdSource, MockRecordPublisher, MockTelemetry, Receipt};
use poem_openapi::types::ParseFromJSON;
use proptest::prelude::*;
use testkit::clock_at;

use super::diagnose::examine;
use super::event_visitor::Draft;
use super::json::{SCRATCH_BYTES_MAX, fits_scratch, raw, read};
use super::{NESTING_MAX, take_event, take_events, take_lines};
use crate::ingest::protocol::DecodeError;
use crate::openapi::schemas::LogEvent;

fn ingest() -> Ingest {
    let mut publisher = MockRecordPublisher::new();
    publisher.expect_partition_count().return_const(NonZeroU32::MIN);
    publisher.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
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
    Ingest::new(delivery, Arc::new(clock_at("2024-01-15T12:00:00Z")), Arc::new(ids), telemetry, policy, partitioner)
}

fn deliver(intake: Intake<'_>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(intake.deliver())
}

/// Takes in a JSON array.
fn taken<'i>(ingest: &'i Ingest, body: &[u8]) -> Result<Intake<'i>, DecodeError> {
    let mut intake = ingest.intake(None, None);
    take_events(body, &mut intake).map(|()| intake)
}

/// The codes of a batch; an empty one for an accepted event.
fn codes_of_batch(elements: &[String]) -> Vec<&'static str> {
    let ingest = ingest();
    let body = format!("[{}]", elements.join(" ,\n"));
    let outcome = deliver(taken(&ingest, body.as_bytes()).expect("an array"));
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
        (with(r#""x":1,"x":2"#), "duplicate_field"),
        (with(r#""x":{"y":1,"y":2}"#), "metadata_duplicate_name"),
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
        assert!(matches!(taken(&ingest, body.as_bytes()), Err(DecodeError::Malformed(_))), "{body}");
    }
    assert!(matches!(taken(&ingest, b"[\"\xff\"]"), Err(DecodeError::Malformed(_))));
    let too_many = format!("[{}]", vec![VALID; 10_001].join(","));
    assert!(matches!(taken(&ingest, too_many.as_bytes()), Err(DecodeError::TooManyEvents(_))));
    let too_many = format!("[7,{}]", vec![VALID; 10_000].join(","));
    assert!(matches!(taken(&ingest, too_many.as_bytes()), Err(DecodeError::TooManyEvents(_))));
}

#[test]
fn what_follows_the_first_event_too_many_is_not_looked_at() {
    let ingest = ingest();
    let take = |body: &str| taken(&ingest, body.as_bytes()).map(drop);
    for event in [VALID, "7"] {
        let events = vec![event; 10_000].join(",");
        assert!(take(&format!("[{events}]")).is_ok());
        for rest in [",7]", ",7 8]", ",{},", ",[]] x"] {
            assert!(matches!(take(&format!("[{events}{rest}")), Err(DecodeError::TooManyEvents(_))), "{event} {rest}");
        }
        for rest in ["", ",", ",]", ",7", ",[}", ",\"", " 7]", "] x"] {
            // The end of a number is what follows it.
            let expected = if rest == ",7" { "too large" } else { "undecodable" };
            let seen = match take(&format!("[{events}{rest}")) {
                Err(DecodeError::TooManyEvents(_)) => "too large",
                Err(DecodeError::Malformed(_)) => "undecodable",
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
        // Brackets in a text, or one after the other, do not nest.
        (format!("{{\"a\":{text},\"b\":{text}}}"), true),
        (format!("[{}0]", "[],".repeat(NESTING_MAX)), true),
    ] {
        let ingest = ingest();
        let taken = taken(&ingest, format!("[{value}]").as_bytes());
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
    let expected = ["", "", "line_invalid", "line_invalid", "event_not_object", "event_not_object", "line_invalid", ""];
    assert_eq!(codes_of_lines(body.as_bytes(), 8), expected);
    assert_eq!(codes_of_lines(&[b"\"\xff\"\n", VALID.as_bytes(), b"\n"].concat(), 2), ["line_invalid", ""]);
    assert_eq!(codes_of_lines("\u{feff}{}".as_bytes(), 1), ["line_invalid"]);
    assert_eq!(codes_of_lines(b"", 0), [""; 0]);
    let ingest = ingest();
    let too_many = format!("{VALID}\n").repeat(10_001);
    let refused = take_lines(too_many.as_bytes(), &mut ingest.intake(None, None));
    assert!(matches!(refused, Err(DecodeError::TooManyEvents(_))));
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
