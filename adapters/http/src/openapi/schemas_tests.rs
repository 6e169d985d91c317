use application::ingest::{Accepted, Refusal, RefusalReason};
use domain::event::{EventError, IdOrigin, LogEvent as Event};
use domain::level::Level;
use domain::metadata::Metadata;
use poem_openapi::types::ParseFromJSON;

use std::collections::BTreeMap;

use application::ingest::Outcome;
use domain::query::StoredEvent;
use domain::timestamp::Timestamp;
use uuid::Uuid;

use super::*;
use crate::ingest::native::{batch_accepted, event_accepted};
use crate::query::logs::event_page;

#[test]
fn written_answers_are_what_the_document_says() {
    let outcome = Outcome {
        received_at: Timestamp::parse("2024-01-15T10:30:00.25Z").expect("a time"),
        accepted: Accepted { acknowledged: 1, journaled: 2, buffered: 3 },
        refusals: vec![
            Refusal { index: 4, reason: EventError::LevelUnknown.into() },
            Refusal { index: 7, reason: RefusalReason::NoCapacity },
        ],
        event_id: Some(Uuid::from_u128(9)),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let one = EventAccepted::parse_from_json_string(&text(event_accepted(&outcome))).expect("as documented");
    assert_eq!((one.event_id, one.durability.as_str()), (Uuid::from_u128(9), "acknowledged"));
    let batch = text(batch_accepted(&outcome));
    assert!(
        batch.starts_with(
            r#"{"accepted":6,"failed":2,"timestamp":"2024-01-15T10:30:00.25Z","durability":{"acknowledged":1,"#
        ),
        "{batch}"
    );
    let batch = BatchAccepted::parse_from_json_string(&batch).expect("as documented");
    assert_eq!((batch.accepted, batch.failed, batch.errors.len()), (6, 2, 2));
}

#[test]
fn written_pages_are_what_the_document_says() {
    let stored = |metadata: Option<&'static str>| StoredEvent {
        event: Event {
            event_id: Uuid::from_u128(9),
            id_origin: IdOrigin::Client,
            source: "s".into(),
            level: Level::Fatal,
            message: "\"m\"\u{1f680}".into(),
            timestamp: Timestamp::MIN,
            received_at: Timestamp::MAX,
            stack_trace: metadata.map(Into::into),
            trace_id: metadata.map(|_| [1; 16]),
            span_id: metadata.map(|_| [2; 8]),
            metadata: metadata.and_then(|json| Metadata::parse(json).ok()),
        },
        topic: "logs".to_owned(),
        partition: 2,
        offset: 1 << 40,
    };
    let hint = vec!["say \"level\"".to_owned()];
    for (events, cursor, hints) in
        [(vec![], None, hint), (vec![stored(None), stored(Some(r#"{"a":1}"#))], Some("next"), vec![])]
    {
        let text = String::from_utf8(event_page(&events, cursor, &hints)).expect("text");
        let page = EventPage::parse_from_json_string(&text).expect("as documented");
        assert_eq!((page.events.len(), page.next_cursor.as_deref()), (events.len(), cursor));
        assert_eq!(page.hints, Some(hints).filter(|hints| !hints.is_empty()), "{text}");
        if let Some(last) = page.events.last() {
            assert_eq!(
                (last.level.as_str(), last.offset, last.metadata.as_ref().map(BTreeMap::len)),
                ("FATAL", 1 << 40, Some(1))
            );
        }
    }
}
