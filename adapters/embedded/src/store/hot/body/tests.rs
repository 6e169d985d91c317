use domain::metadata::METADATA_BYTES_MAX;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn times() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros())
        .prop_map(|micros| Timestamp::from_unix_micros(micros).expect("in range"))
}

fn origins() -> impl Strategy<Value = IdOrigin> {
    let tenant = || any::<[u8; 16]>().prop_map(TenantId::from_bytes);
    prop_oneof![
        Just(IdOrigin::Generated),
        Just(IdOrigin::Client),
        tenant().prop_map(IdOrigin::Tenant),
        option::of(tenant()).prop_map(IdOrigin::Derived),
    ]
}

fn events() -> impl Strategy<Value = LogEvent<'static>> {
    let ids = (any::<[u8; 16]>(), origins(), option::of(any::<[u8; 16]>()), option::of(any::<[u8; 8]>()));
    let texts = (".{0,60}", ".{0,80}", option::of(".{0,40}"), option::of(".{0,40}"));
    let level = (0_i64..6).prop_map(|number| Level::from_number(number).expect("a level"));
    (ids, texts, level, times(), times()).prop_map(|(ids, texts, level, timestamp, received_at)| {
        let (event_id, id_origin, trace_id, span_id) = ids;
        let (source, message, stack_trace, metadata) = texts;
        LogEvent {
            event_id: Uuid::from_bytes(event_id),
            id_origin,
            source: Cow::Owned(source),
            level,
            message: Cow::Owned(message),
            timestamp,
            received_at,
            stack_trace: stack_trace.map(Cow::Owned),
            trace_id,
            span_id,
            metadata: metadata.map(|json| Metadata::from_checked(Cow::Owned(json))),
        }
    })
}

/// The events of a body, with their ids and offsets.
fn all(body: &Body) -> Vec<(u64, u64, LogEvent<'_>)> {
    let whole = |event| Some((body.id(event)?, body.offset(event)?, body.event(event)?));
    (0..body.count()).map(|event| whole(event).expect("an event")).collect()
}

proptest! {
    #[test]
    fn any_events_are_read_as_they_were_written(
        events in vec((0_u64..3, any::<u64>(), events()), 0..20),
        first in 0_u64..1 << 40,
        range in (times(), times()),
    ) {
        let mut id = first;
        let numbered: Vec<Numbered<'_>> = events
            .iter()
            .map(|(gap, offset, event)| {
                id += 1 + gap;
                Numbered { id, offset: *offset, event }
            })
            .collect();
        let body = unpack(&pack(&encode(&numbered))).expect("a body");
        let written: Vec<_> = numbered.iter().map(|it| (it.id, it.offset, it.event.clone())).collect();
        prop_assert_eq!(all(&body), written);
        for (event, numbered) in numbered.iter().enumerate() {
            prop_assert_eq!(body.event_id(event), Some(numbered.event.event_id));
            prop_assert_eq!(body.id_origin(event), Some(numbered.event.id_origin));
        }
        let range = range.0..=range.1;
        let places = body.between(&range);
        let times: Vec<Timestamp> = (0..body.count()).filter_map(|place| body.timestamp(body.at(place))).collect();
        prop_assert_eq!(times.len(), body.count());
        prop_assert!(times.is_sorted());
        let within = times.iter().enumerate().filter(|(_, time)| range.contains(time)).map(|(place, _)| place);
        prop_assert_eq!(within.collect::<Vec<_>>(), places.collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_a_body_or_none(
        bytes in vec(any::<u8>(), 0..300),
        mut begin in prop_oneof![Just(vec![]), Just(vec![AS_IT_IS, VERSION, 0]), Just(vec![AS_IT_IS, VERSION, 1, 2, 0, 0, 0])],
    ) {
        begin.extend(bytes);
        if let Some(body) = unpack(&begin) {
            (0..body.count()).for_each(|event| drop(body.event(event)));
        }
    }

    #[test]
    fn a_body_that_was_changed_is_read_without_a_panic(
        events in vec(events(), 1..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kept in any::<prop::sample::Index>(),
    ) {
        let numbered: Vec<Numbered<'_>> =
            (1..).zip(&events).map(|(id, event)| Numbered { id, offset: 0, event }).collect();
        let mut bytes = encode(&numbered);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(kept.index(bytes.len() + 1).max(bytes.len() / 2));
        if let Some(body) = Body::decode(bytes) {
            (0..=body.count()).for_each(|event| drop((body.event(event), body.at(event))));
        }
    }
}

#[test]
fn a_body_that_repeats_itself_is_compressed_and_a_small_one_is_not() {
    let event = |message: &'static str| LogEvent {
        event_id: Uuid::nil(),
        id_origin: IdOrigin::Generated,
        source: "shop".into(),
        level: Level::Info,
        message: message.into(),
        timestamp: Timestamp::MIN,
        received_at: Timestamp::MAX,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: Some(Metadata::from_checked(format!("{{\"m\":\"{}\"}}", "m".repeat(METADATA_BYTES_MAX / 2)).into())),
    };
    let (one, other) = (event("a"), LogEvent { metadata: None, ..event("b") });
    let large = encode(&[Numbered { id: 1, offset: 1, event: &one }]);
    let small = encode(&[Numbered { id: 1, offset: 1, event: &other }]);
    assert!(pack(&large).len() < large.len() / 10);
    assert_eq!(pack(&small).len(), small.len() + 1);
    assert!(large.len() <= Numbered { id: 1, offset: 1, event: &one }.bytes() + HEADER_BYTES + 8);
}
