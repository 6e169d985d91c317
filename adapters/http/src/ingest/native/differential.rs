//! The fast path against `serde_json`: generated bodies, most of them damaged, are taken in by both.
//!
//! The other way is the one that the fast path replaced. `serde_json` finds the members of each event, and the careful
//! path takes what that does not. Both ways must accept the same events as the same records, and refuse the others, or
//! the whole body, with the same words.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use application::delivery::Delivery;
use application::ingest::{Ingest, Intake, Refusal, RefusalReason, TooManyEvents};
use application::json_reader::JsonReader;
use domain::Uuid;
use domain::admission::Usage;
use domain::delivery::{DeliveryPolicy, Durability};
use domain::event::EventDraft;
use domain::partition::{Partitioner, PriorityLane};
use domain::ports::{MockIdSource, MockRecordPublisher, MockTelemetry, Receipt};
use domain::record::RecordBatch;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde::de::{self, Deserialize, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;
use testkit::clock_at;

use super::event_reader::{Field, Seen};
use super::json::{check_nesting, raw, read, take_element};
use super::{take_event, take_events, take_lines};

/// Takes in a body. The words of the error if it cannot be read.
type Take = fn(&[u8], &mut Intake<'_>) -> Result<(), String>;

fn event_by_serde(body: &[u8], intake: &mut Intake<'_>) -> Result<(), String> {
    if let Ok(Draft(draft)) = serde_json::from_slice(body) {
        return intake.add(draft).map_err(|error| error.to_string());
    }
    let element = raw(body).map_err(|error| undecodable(&error))?;
    take_element(element, intake).map_err(|error| error.to_string())
}

fn events_by_serde(body: &[u8], intake: &mut Intake<'_>) -> Result<(), String> {
    if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'[') {
        return Err(
            "a batch is a JSON array, nothing was accepted: send a single event to /api/logs, and JSON lines as \
                    application/x-ndjson"
                .to_owned(),
        );
    }
    if elements_by_serde(body, |Draft(draft)| intake.add(draft)).is_ok() {
        return Ok(());
    }
    intake.restart();
    check_nesting(body).map_err(|error| undecodable(&error))?;
    elements_by_serde(body, |element| take_element(element, intake)).map_err(|error| undecodable(&error))
}

fn lines_by_serde(body: &[u8], intake: &mut Intake<'_>) -> Result<(), String> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    for line in lines {
        let taken = match (serde_json::from_slice(line), raw(line)) {
            (Ok(Draft(draft)), _) => intake.add(draft),
            (Err(_), Ok(element)) => take_element(element, intake),
            (Err(_), Err(error)) => {
                let error = error.to_string();
                let (what, _) = error.rsplit_once(" at line ").expect("a place");
                let detail = format!("the line is not JSON: {what}");
                intake.refuse(RefusalReason::Malformed { code: "line_invalid", detail })
            }
        };
        taken.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn undecodable(error: &serde_json::Error) -> String {
    if error.is_eof() && error.column() == 0 {
        return "the body is empty, nothing was accepted".to_owned();
    }
    format!("the body cannot be read, nothing was accepted: {error}")
}

fn elements_by_serde<'de, T: Deserialize<'de>>(
    body: &'de [u8],
    take: impl FnMut(T) -> Result<(), TooManyEvents>,
) -> Result<(), serde_json::Error> {
    struct Elements<T, F>(F, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), TooManyEvents>> Visitor<'de> for Elements<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON array of events")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                (self.0)(element).map_err(de::Error::custom)?;
            }
            Ok(())
        }
    }

    let mut json = Deserializer::from_slice(body);
    json.deserialize_seq(Elements(take, std::marker::PhantomData))?;
    json.end()
}

/// An event without faults, read by `serde_json`.
struct Draft<'a>(EventDraft<'a>);

impl<'de> Deserialize<'de> for Draft<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DraftVisitor;

        impl<'de> Visitor<'de> for DraftVisitor {
            type Value = Draft<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Draft<'de>, A::Error> {
                let mut draft = EventDraft::default();
                let mut seen = Seen::default();
                while let Some((key, value)) = members.next_entry::<&'de RawValue, &'de RawValue>()? {
                    let (key, value) = (key.get(), value.get());
                    let Some(field) = Field::of_key(key) else {
                        draft.add_unknown(key, value);
                        continue;
                    };
                    if seen.again(field) {
                        return Err(de::Error::duplicate_field(field.name()));
                    }
                    if field == Field::Metadata {
                        draft.metadata = Some(value).filter(|json| *json != "null").map(Into::into);
                    } else {
                        let text: Option<String> = serde_json::from_str(value).map_err(de::Error::custom)?;
                        field.set(&mut draft, text.map(Cow::Owned));
                    }
                }
                Ok(Draft(draft))
            }
        }

        deserializer.deserialize_map(DraftVisitor)
    }
}

/// What a request came to.
#[derive(Debug, PartialEq)]
struct Taken {
    error: Option<String>,
    refusals: Vec<Refusal>,
    batches: Vec<Arc<RecordBatch>>,
}

fn taken(take: Take, body: &[u8]) -> Taken {
    let batches = Arc::new(Mutex::new(Vec::new()));
    let published = Arc::clone(&batches);
    let mut publisher = MockRecordPublisher::new();
    publisher.expect_partition_count().return_const(NonZeroU32::new(3).expect("not zero"));
    publisher.expect_usage().return_const(Usage { used_bytes: 0, bytes_max: 1 << 30 });
    publisher.expect_publish().returning(move |batch| {
        published.lock().expect("no panic").push(batch);
        let promised = Box::pin(std::future::ready(Ok(Durability::Acknowledged)));
        Ok(Receipt { promised, settled: Box::pin(std::future::ready(Ok(()))) })
    });
    let mut ids = MockIdSource::new();
    ids.expect_new_id().returning(|_| Uuid::from_u128(7));
    let mut telemetry = MockTelemetry::new();
    telemetry.expect_refused().return_const(());
    telemetry.expect_sent().return_const(());
    let telemetry = Arc::new(telemetry);
    let partitions = NonZeroU32::new(3).expect("not zero");
    let ingest = Ingest::new(
        Arc::new(Delivery::new(Arc::new(publisher), Arc::<MockTelemetry>::clone(&telemetry))),
        Arc::new(clock_at("2024-01-15T12:00:00Z")),
        Arc::new(ids),
        telemetry,
        DeliveryPolicy::default(),
        Partitioner::new(PriorityLane::Shared, partitions).expect("valid"),
    );
    let mut intake = ingest.intake(None, None);
    let error = take(body, &mut intake).err();
    if error.is_some() {
        return Taken { error, refusals: Vec::new(), batches: Vec::new() };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let refusals = runtime.block_on(intake.deliver()).refusals;
    let batches = std::mem::take(&mut *batches.lock().expect("no panic"));
    Taken { error, refusals, batches }
}

/// The ways to take in a body, and the same by `serde_json`.
const WAYS: [(Take, Take); 3] = [
    (|body, intake| take_event(body, intake).map_err(|error| error.to_string()), event_by_serde),
    (|body, intake| take_events(body, intake).map_err(|error| error.to_string()), events_by_serde),
    (|body, intake| take_lines(body, intake).map_err(|error| error.to_string()), lines_by_serde),
];

/// JSON strings, some of which are not valid.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\"[a-z é€😀]{0,40}\"",
        2 => "\"([a-z]{0,9}(\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-f]{4}|\\\\u00[0-9a-f]{2}|\\\\ud83d\\\\ude00)){1,3}[a-z]{0,9}\"",
        1 => "\"[\\x00-\\x7f]{0,20}\"",
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?",
        1 => "[-+0-9.eE]{1,6}",
    ]
}

/// JSON values, most of them valid.
fn value() -> impl Strategy<Value = String> {
    let literal = select(vec!["null", "true", "false", "nul", "nullx", "True", ""]).prop_map(str::to_owned);
    let leaf = prop_oneof![4 => string(), 3 => number(), 1 => literal];
    leaf.prop_recursive(5, 30, 5, |inner| {
        let member = (string(), inner.clone()).prop_map(|(name, value)| format!("{name}: {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(" ,"))),
        ]
    })
}

/// Members that a valid event has, and others.
fn event() -> impl Strategy<Value = String> {
    let valid = [
        r#""source":"checkout""#,
        r#""level":"info""#,
        r#""message" : "paid \"twice\" \u00e9""#,
        r#""timestamp":"2024-01-15T10:30:00.5+02:00""#,
        r#""eventId":"0190163d-8694-739b-aea5-966c26f8ad91""#,
        r#""stackTrace":null"#,
        r#""traceId":"4bf92f3577b34da6a3ce929d0e0e4736""#,
        r#""spanId":"""#,
        r#""metadata":{"user": "u", "a":[1, 2.5e3 ,{ } ],"\u0000":"\u0000"}"#,
        r#""host":"web-1""#,
        r#""thread": [ 1 ]"#,
    ];
    let valid = subsequence(valid.to_vec(), 3..=valid.len());
    let names = ["source", "level", "message", "timestamp", "eventId", "spanId", "metadata", "host", "s\\u006furce"];
    let name = prop_oneof![4 => select(names.to_vec()).prop_map(|name| format!("\"{name}\"")), 1 => string()];
    let other = (name, value()).prop_map(|(name, value)| format!("{name}:{value}"));
    let other = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(other, 1..4)];
    let members =
        (valid, other).prop_map(|(valid, other)| valid.into_iter().map(str::to_owned).chain(other).collect::<Vec<_>>());
    (members.prop_shuffle(), select(vec!["", "", " ", "\n", "\r\n\t ", "\u{b}"]))
        .prop_map(|(members, space)| format!("{space}{{{space}{}{space}}}", members.join(&format!("{space},{space}"))))
}

/// An array of events, or lines.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let element = prop_oneof![6 => event(), 1 => value()];
    (prop::collection::vec(element, 0..5), any::<bool>()).prop_map(|(elements, in_lines)| {
        if in_lines { elements.join("\n") } else { format!("[{}]", elements.join(" , ")) }.into_bytes()
    })
}

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![4 => select(b"\"\\{}[],: \n\0\x1f0-e.untf\x7f\xc3\xa9".to_vec()), 1 => any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        4 => any::<Index>().prop_map(Damage::Remove),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(mut body: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for damage in damage {
        let place = |at: &Index| at.index(body.len() + 1);
        match damage {
            Damage::Replace(at, byte) => {
                let at = place(at);
                body.splice(at..(at + 1).min(body.len()), [*byte]);
            }
            Damage::Insert(at, byte) => {
                let at = place(at);
                body.insert(at, *byte);
            }
            Damage::Remove(at) => {
                let at = place(at);
                body.splice(at..(at + 1).min(body.len()), []);
            }
            Damage::Cut(at) => {
                let at = place(at);
                body.truncate(at);
            }
            Damage::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let part = body[from.min(to)..from.max(to)].to_vec();
                body.splice(from..from, part);
            }
        }
    }
    body
}

fn compare(body: &[u8]) -> Result<(), TestCaseError> {
    for (fast, by_serde) in WAYS {
        prop_assert_eq!(taken(fast, body), taken(by_serde, body), "{}", String::from_utf8_lossy(body));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_body_is_taken_as_by_serde_json(body in body()) {
        compare(&body)?;
    }

    #[test]
    fn a_damaged_body_is_taken_as_by_serde_json(
        body in body(),
        damage in prop::collection::vec(damage(), 1..4),
    ) {
        compare(&damaged(body, &damage))?;
    }

    #[test]
    fn a_single_event_is_taken_as_by_serde_json(
        event in event(),
        damage in prop::collection::vec(damage(), 0..3),
    ) {
        compare(&damaged(event.into_bytes(), &damage))?;
    }
}

#[test]
fn what_clients_usually_send_is_read_in_place() {
    for event in [
        r#"{"source":"s","level":"INFO","message":"m"}"#,
        r#" {
            "message" : "two\nlines \u00e9 \ud83d\ude00", "level" : "warn", "source" : "é", "stackTrace" : null,
            "metadata" : { "a" : [ 1 , { "b" : null } ] } , "host" : "web-1" , "pid" : 7 } "#,
        r#"{"eventId":"x","timestamp":"","traceId":"","spanId":null,"metadata":null,"level":""}"#,
        "{}",
    ] {
        let taken = read(&mut JsonReader::new(""), event.as_bytes()).map(|draft| format!("{draft:?}"));
        assert!(taken.is_some(), "{event}");
    }
    // What the careful path looks at.
    for event in
        [r#"{"sourc\u0065":"s"}"#, r#"{"x":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}"#, r#"{"a":1,"source":1}"#, "[]", "7"]
    {
        assert!(read(&mut JsonReader::new(""), event.as_bytes()).is_none(), "{event}");
    }
}
