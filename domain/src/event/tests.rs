use proptest::prelude::*;

use super::*;

const ID: Uuid = Uuid::from_u128(7);

fn received_at() -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_123_456).expect("in range")
}

#[test]
fn the_nil_uuid_is_refused_and_empty_trace_ids_are_absent() {
    let nil = "00000000-0000-0000-0000-000000000000";
    let refused = validate(EventDraft { event_id: Some(nil.into()), ..draft() });
    assert_eq!(refused, Err(EventError::EventIdInvalid));
    let empty = EventDraft { trace_id: Some("".into()), span_id: Some("".into()), ..draft() };
    assert_eq!(validate(empty), validate(draft()));
}

#[test]
fn typed_values_are_what_their_texts_are() {
    let text = EventDraft {
        level: Some("fatal".into()),
        timestamp: Some("2024-01-15T10:30:00.000001Z".into()),
        event_id: Some("00000000-0000-0000-0000-000000000009".into()),
        trace_id: Some("0102030405060708090a0b0c0d0e0f10".into()),
        span_id: Some("0102030405060708".into()),
        ..draft()
    };
    let typed = EventDraft {
        level: Some(LevelInput::Parsed(Level::Fatal)),
        timestamp: Some(TimestampInput::UnixNanos(1_705_314_600_000_001_999)),
        event_id: Some(IdInput::Bytes(Uuid::from_u128(9).into_bytes())),
        trace_id: Some(IdInput::Bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])),
        span_id: Some(IdInput::Bytes([1, 2, 3, 4, 5, 6, 7, 8])),
        ..draft()
    };
    assert_eq!(validate(typed), validate(text));
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
        metadata: Some(r#"{"userId": "12345"}"#.into()),
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
        (EventDraft { metadata: Some("[]".into()), ..draft() }, "metadata_not_object"),
        (
            EventDraft { metadata: Some(r#"{"a":1}"#.into()), unknown: vec![("\"a\"", "2")], ..draft() },
            "metadata_clash",
        ),
        (EventDraft { unknown: vec![("\"a\"", "1"), ("\"a\"", "2")], ..draft() }, "duplicate_field"),
        (EventDraft { metadata: Some(r#"{"a":1,"a":2}"#.into()), ..draft() }, "metadata_duplicate_name"),
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
    // The limit applies to the stored text: three bytes for each U+0000.
    let grown = EventDraft { message: Some("\0".repeat(TEXT_BYTES_MAX / 2).into()), ..draft() };
    assert_eq!(validate(grown).map(drop), Err(EventError::MessageLength));
}

#[test]
fn unknown_members_beyond_the_limit_change_nothing() {
    let fault = |members: &[(String, &'static str)], collected: usize| {
        let mut limited = draft();
        members.iter().for_each(|(key, value)| limited.add_unknown(key, value));
        assert_eq!(limited.unknown.len(), collected);
        let all = members.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let unlimited = validate(EventDraft { unknown: all, ..draft() });
        assert_eq!(validate(limited), unlimited);
        unlimited.map(drop).map_err(|error| error.code())
    };
    // The shortest members; members with unique names are longer.
    let one_name = |members: usize| vec![("\"\"".to_owned(), "1"); members];
    assert_eq!(fault(&one_name(UNKNOWN_MEMBERS_MAX), UNKNOWN_MEMBERS_MAX), Err("duplicate_field"));
    let names = |members: usize| (0..members).map(|n| (format!("\"{n:x}\""), "1")).collect::<Vec<_>>();
    assert_eq!(fault(&names(7_000), 7_000), Ok(()));
    for members in [UNKNOWN_MEMBERS_MAX - 1, UNKNOWN_MEMBERS_MAX, UNKNOWN_MEMBERS_MAX + 1, 3 * UNKNOWN_MEMBERS_MAX] {
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
    fn an_accepted_event_is_within_all_limits(source in ".{0,300}", level in "[A-Za-z]{0,9}", message in ".{0,20}") {
        let draft = EventDraft { source: Some(source.into()), level: Some(level.into()), message: Some(message.into()), ..EventDraft::default() };
        if let Ok(event) = validate(draft) {
            prop_assert!((1..=SOURCE_BYTES_MAX).contains(&event.source.len()));
            prop_assert!(!event.source.chars().any(char::is_control));
            prop_assert!(!event.message.is_empty() && !event.message.contains('\0'));
        }
    }

    #[test]
    fn hexadecimal_text_round_trips(bytes in any::<[u8; 16]>()) {
        prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        prop_assert_eq!(from_hex::<8>(&to_hex(&bytes)), None);
    }
}
