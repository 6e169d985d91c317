//! What holds for any input.

#![expect(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use std::time::{Duration, Instant};

use domain::Uuid;
use domain::event::{EventDraft, IdOrigin, TEXT_BYTES_MAX};
use domain::event_input::{LevelInput, TimestampInput};
use domain::level::Level;
use domain::timestamp::Timestamp;
use formats::{Draft, Event, Options, Origin, Reader, draft};
use proptest::prelude::*;

struct Lines(Vec<usize>);

impl Origin for Lines {
    fn extend(&mut self, next: Self) {
        self.0.extend(next.0);
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_micros(1_795_935_600_000_000).unwrap()
}

fn read(lines: &[Vec<u8>], join: bool) -> Vec<Event<Lines>> {
    let mut reader = Reader::new(Options { join, ..Options::default() });
    let mut events = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        reader.line(line, Lines(vec![index]), now(), &mut |event| events.push(event));
    }
    reader.flush(&mut |event| events.push(event));
    assert!(!reader.holds_events());
    events
}

/// The domain accepts the draft.
fn assert_valid(draft: &Draft) {
    let event = EventDraft {
        source: Some(draft.source.as_deref().unwrap_or("input").into()),
        level: Some(LevelInput::Parsed(draft.level.unwrap_or(Level::Info))),
        message: Some(draft.message.as_str().into()),
        timestamp: draft.time.map(|time| TimestampInput::Text(time.to_string().into())),
        event_id: draft.event_id.map(|id| id.to_string().into()),
        stack_trace: draft.stack_trace.as_deref().map(Into::into),
        trace_id: draft.trace_id.as_deref().map(Into::into),
        span_id: draft.span_id.as_deref().map(Into::into),
        metadata: draft.metadata.as_ref().map(|metadata| metadata.as_json().into()),
        unknown: Vec::new(),
    };
    let refused = event.validate(now(), || (Uuid::from_u128(1), IdOrigin::Generated)).err();
    assert_eq!(refused, None, "{draft:?}");
}

/// Pieces that formats are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"2024-05-06T07:08:09.123Z",
        b"2024-05-06T07:08:09.123456789Z {",
        b"May  6 07:08:09 ",
        b" stdout F ",
        b" stderr P ",
        b"web-1  | ",
        b"[pod/a/b] ",
        b"ERROR",
        b"info",
        b"[",
        b"]",
        b"{",
        b"}",
        b"{\n",
        b"(",
        b"<14>",
        b"<14>1 ",
        b":",
        b": ",
        b" ",
        b"\t",
        b"\"",
        b"\\",
        b",",
        b"=",
        b"level=",
        b"msg=\"",
        b"{\"log\":\"",
        b"\\n\",\"stream\":\"stdout\",\"time\":\"",
        b"\"}",
        b"{\"level\":\"error\",\"msg\":\"",
        b"\"a\":1,",
        b"\"a\":1e999",
        b"\\ud800",
        b"\x1b[31m",
        b"\x1b",
        b"\0",
        b"\xff",
        "\u{e9}".as_bytes(),
        "\u{feff}".as_bytes(),
        b"Traceback (most recent call last):",
        b"  File \"a\"",
        b"\tat a.B.c(B.java:1)",
        b"Caused by: ",
        b"java.lang.Error: x",
        b"panic: x",
        b"goroutine 1 [running]:",
        b"exit status 2",
        b"thread 'main' panicked at x",
        b"/a.js:5",
        b"Node.js v20",
        b"=ERROR REPORT==== 6-May-2024::07:08:09 ===",
        b"[[",
        b"]]",
        b"#Fields: date time sc-status",
        b"# Time: 2024-05-06T07:08:09Z",
        b"# User@Host: a[a] @ b []",
        b"{\"level\":\"error\",\"a\":[",
        b"\"b\",",
        b"type=A msg=audit(1714979289.000:1): ",
        b"'",
        b"kern  :err   : ",
        b"2024-05-06 07:08:09 500",
        b"1.2.3.4 - - [06/May/2024:07:08:09 +0000] \"GET / HTTP/1.1\" 200 5",
        b"E0506 07:08:09.1 7 a.go:1] x",
        b"4711:M 06 May 2024 07:08:09.123 * x",
        b"%A-3-B:",
        b"a",
        b"1714979289",
        b"==7==ERROR: x",
        b"\r",
    ];
    prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..7).prop_map(|pieces| pieces.concat())
}

/// What of a line must be found in an event: its letters and digits.
fn words(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|char| char.is_ascii_alphanumeric()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Every line that has text is in exactly one event, events are in the order of their first lines, and the domain
    /// accepts all of them.
    #[test]
    fn lines_become_valid_events(lines in proptest::collection::vec(line(), 0..12), join in any::<bool>()) {
        let events = read(&lines, join);
        let mut all: Vec<_> = events.iter().flat_map(|event| event.origin.0.clone()).collect();
        let firsts: Vec<_> = events.iter().map(|event| event.origin.0[0]).collect();
        prop_assert!(firsts.is_sorted(), "{firsts:?}");
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        prop_assert_eq!(count, all.len(), "a line is in two events");
        for event in &events {
            assert_valid(&event.draft);
        }
        for (index, line) in lines.iter().enumerate() {
            // Escape sequences and wrappers do not count as text.
            let text = String::from_utf8_lossy(line);
            let has_others = ["\u{1b}", "|", "{", " stdout", " stderr", "[pod/", "123456789Z"];
            let has_others = has_others.iter().any(|part| text.contains(part));
            let is_kept = has_others || words(line).len() < 2 || all.contains(&index);
            prop_assert!(is_kept, "line {index} vanished: {text:?}");
        }
    }

    /// Plain words stay in the message, the stack trace or the metadata.
    #[test]
    fn text_stays(lines in proptest::collection::vec("[a-z]{3,8}( [a-zA-Z0-9:=\\[\\]().]{1,8}){0,5}", 1..8)) {
        let bytes: Vec<_> = lines.iter().map(|line| line.clone().into_bytes()).collect();
        for event in read(&bytes, true) {
            let draft = &event.draft;
            let text = format!("{}\n{}", draft.message, draft.stack_trace.as_deref().unwrap_or_default());
            for index in &event.origin.0 {
                let known = text.contains(lines[*index].trim_end()) || draft.metadata.is_some();
                prop_assert!(known, "{} in {text}", lines[*index]);
            }
        }
    }

    /// A line alone is what it is in an input of one line.
    #[test]
    fn a_line_alone_is_valid(line in line()) {
        assert_valid(&draft(&String::from_utf8_lossy(&line), &Options::default(), now()));
    }

    #[test]
    fn json_of_any_kind_is_kept(json in json()) {
        let draft = draft(&json, &Options::default(), now());
        assert_valid(&draft);
    }
}

/// Objects with the names that have a meaning, and any values.
fn json() -> impl Strategy<Value = String> {
    let names = vec![
        "level",
        "severity",
        "PRIORITY",
        "time",
        "t",
        "timestamp",
        "msg",
        "message",
        "log",
        "body",
        "error",
        "err",
        "stack",
        "metadata",
        "source",
        "service",
        "traceId",
        "span_id",
        "traceparent",
        "eventId",
        "a",
        "@t",
        "@mt",
        "resourceLogs",
        "attributes",
        "stream",
        "short_message",
        "s",
        "c",
        "record",
        "timeUnixNano",
    ];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("1.50".to_owned()),
        Just("1e400".to_owned()),
        Just("1e401".to_owned()),
        Just("-9223372036854775809".to_owned()),
        Just("1714979289123".to_owned()),
        Just("\"ERROR\"".to_owned()),
        Just("\"2024-05-06T07:08:09Z\"".to_owned()),
        Just("\"\\ud800\\u0000\"".to_owned()),
        Just("\"4bf92f3577b34da6a3ce929d0e0e4736\"".to_owned()),
        Just("\"\"".to_owned()),
        "\"[a-z {}]{0,12}\"",
    ];
    let value = scalar.prop_recursive(4, 24, 4, move |inner| {
        let names = names.clone();
        let member =
            (proptest::sample::select(names), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            3 => proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
            1 => proptest::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
        ]
    });
    value.prop_filter("an object", |value| value.starts_with('{'))
}

#[test]
fn long_lines_are_cut_and_say_so() {
    let event = draft(&"x".repeat(TEXT_BYTES_MAX + 1), &Options::default(), now());
    assert!(event.cut && event.message.ends_with("[cut]") && event.message.len() <= TEXT_BYTES_MAX);
    let mut lines = vec![b"ERROR x".to_vec()];
    lines.extend((0..20_000).map(|number| format!("\tat a.B.c(B.java:{number})").into_bytes()));
    lines.push(b"Caused by: y".to_vec());
    let events = read(&lines, true);
    assert_eq!((events.len(), events[0].origin.0.len()), (1, 20_002));
    let stack = events[0].draft.stack_trace.as_deref().unwrap();
    assert!(stack.starts_with("\tat a.B.c(B.java:0)\n") && stack.ends_with("\nCaused by: y"));
    assert!(events[0].draft.cut && stack.contains("[cut]") && stack.len() <= TEXT_BYTES_MAX);
    assert_valid(&events[0].draft);
    // So does a stack trace in a member, and what is short is not cut.
    let long = format!("a.B: x\n{}Caused by: y", "\tat a.B.c(B.java:1)\n".repeat(20_000));
    let line = serde_json::json!({"message": "x", "stackTrace": long}).to_string();
    let event = draft(&line, &Options::default(), now());
    let stack = event.stack_trace.as_deref().unwrap();
    assert!(event.cut && stack.starts_with("a.B: x\n") && stack.ends_with("\nCaused by: y"));
    assert!(!draft("ERROR x", &Options::default(), now()).cut);
}

#[test]
fn holes_of_files_are_no_text_and_other_nuls_are_visible() {
    let hole = [vec![0; 30_000], b"2024-05-06T07:08:09Z ERROR x".to_vec()].concat();
    let events = read(&[hole, vec![0; 10], b"a\0b\xffc".to_vec()], true);
    let messages: Vec<_> = events.iter().map(|event| event.draft.message.as_str()).collect();
    assert_eq!(messages, ["x", "a\u{fffd}b\u{fffd}c"]);
    assert_eq!(events[0].draft.level, Some(Level::Error));
}

/// Hundreds of kilobytes of whatever may be slow take as long as those of anything else. The bound is generous: a
/// quadratic step would take minutes.
#[test]
fn hostile_lines_are_read_in_linear_time() {
    let begun = Instant::now();
    for part in [
        "[",
        "{",
        "(",
        "<",
        "\"",
        "{\"a\":",
        "[[",
        "a=\"",
        "a=1 ",
        "\\\"",
        "- - ",
        "ERROR",
        "E ",
        "1",
        "1:",
        "2024-05-06 ",
        "2024-05-06T07:08:09Z ",
        "{\"a\":1,\"a\":2},",
        "\u{1b}[",
        "\u{1b}]",
        "a | ",
        "[pod/",
        "Jan ",
        "\t",
        "#Fields: a ",
        "<1>",
        "==ERROR: ",
        ":in `",
        "{\"log\":\"",
        "{\"a\":1,",
        "type=A msg=audit(1714979289.000:1): ",
        "msg='",
    ] {
        let text = part.repeat(300_000 / part.len());
        let with_ends = [text.clone(), format!("{{\"a\":\"{text}\"}}"), format!("2024-05-06T07:08:09Z {text}")];
        for text in with_ends {
            assert_valid(&draft(&text, &Options::default(), now()));
        }
    }
    for line in [
        "}",
        " {",
        "\tat a",
        "Caused by: x",
        "{",
        "a-1 | x",
        "2024-05-06T07:08:09Z stdout P x",
        "java.lang.Error: x",
        "Traceback (most recent call last)",
        "{\"a\": [",
        "\"a\",",
        "# Time: 2024-05-06T07:08:09Z",
        "2024-05-06T07:08:09.123456789Z {",
    ] {
        let lines = vec![line.as_bytes().to_vec(); 30_000];
        assert!(!read(&lines, true).is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
