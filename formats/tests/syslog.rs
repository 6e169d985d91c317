//! Messages of syslog: what a header is, what each part of it becomes, and that nothing else is lost.

#![expect(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use domain::timestamp::Timestamp;
use formats::Zone;
use formats::syslog::{Message, Strictness};
use proptest::prelude::*;

const BOTH: [Strictness; 2] = [Strictness::Strict, Strictness::Lenient];

fn parse(text: &str, strictness: Strictness) -> Option<Message<'_>> {
    let now = Timestamp::parse("2026-06-01T00:00:00Z").unwrap();
    Message::parse(text, strictness, &Zone::UTC, now)
}

/// Level, time, metadata and text of a message, `-` for what is absent.
fn shown(message: &Message<'_>) -> String {
    let level = message.level.map_or("-", |level| level.name());
    let time = message.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    format!("{level} {time} {} {}", message.metadata().unwrap_or_else(|| "-".to_owned()), message.text)
}

#[test]
fn behind_a_priority_every_part_of_a_header_may_be_absent() {
    for (text, expected) in [
        ("<14>", r#"INFO - {"facility":"user"} "#),
        ("<0>text", r#"FATAL - {"facility":"kern"} text"#),
        ("<191>app: text", r#"DEBUG - {"app":"app","facility":"local7"} text"#),
        ("<14>app[7]:text", r#"INFO - {"app":"app","pid":7,"facility":"user"} text"#),
        ("<14>app[]: text", r#"INFO - {"app":"app","facility":"user"} text"#),
        ("<30>(systemd)[1]: text", r#"INFO - {"app":"(systemd)","pid":1,"facility":"daemon"} text"#),
        ("<14>May  6 07:08:09 text", r#"INFO 2026-05-06T07:08:09Z {"facility":"user"} text"#),
        ("<14>May  6 07:08:09 app: x", r#"INFO 2026-05-06T07:08:09Z {"app":"app","facility":"user"} x"#),
        ("<14>May  6 07:08:09 - app: x", r#"INFO 2026-05-06T07:08:09Z {"app":"app","facility":"user"} x"#),
        ("<14>May  6 07:08:09  gate  a b", r#"INFO 2026-05-06T07:08:09Z {"hostname":"gate","facility":"user"} a b"#),
        (
            "<14>May  6 07:08:09 fe80::1 a b",
            r#"INFO 2026-05-06T07:08:09Z {"hostname":"fe80::1","facility":"user"} a b"#,
        ),
        (
            "<14>2024-05-06T07:08:09+02:00 gate x y",
            r#"INFO 2024-05-06T05:08:09Z {"hostname":"gate","facility":"user"} x y"#,
        ),
        // Names of levels, addresses, numbers of messages and objects are neither hosts nor tags.
        ("<14>ERROR: text", r#"INFO - {"facility":"user"} ERROR: text"#),
        ("<14>INFO:root:text", r#"INFO - {"facility":"user"} INFO:root:text"#),
        ("<14>May  6 07:08:09 WARN late", r#"INFO 2026-05-06T07:08:09Z {"facility":"user"} WARN late"#),
        ("<14>http://gate/", r#"INFO - {"facility":"user"} http://gate/"#),
        ("<189>29: *May  6: %SYS-5-X: y", r#"INFO - {"facility":"local7"} 29: *May  6: %SYS-5-X: y"#),
        ("<14>May  6 07:08:09 {\"a\": 1}", r#"INFO 2026-05-06T07:08:09Z {"facility":"user"} {"a": 1}"#),
        // A time that cannot be known stays in the text.
        ("<14>Feb 30 07:08:09 gate a: x", r#"INFO - {"facility":"user"} Feb 30 07:08:09 gate a: x"#),
    ] {
        for strictness in BOTH {
            assert_eq!(parse(text, strictness).as_ref().map(shown).as_deref(), Some(expected), "{text}");
        }
    }
}

#[test]
fn without_a_priority_a_line_of_a_file_needs_more_than_a_message() {
    let full = Some(r#"- 2026-05-06T07:08:09Z {"hostname":"gate","app":"app"} x"#);
    let with_pid = Some(r#"- 2024-05-06T07:08:09Z {"hostname":"gate","app":"app","pid":7} x"#);
    let without_pid = Some(r#"- 2024-05-06T07:08:09Z {"hostname":"gate","app":"app"} x"#);
    let without_host = Some(r#"- 2026-05-06T07:08:09Z {"app":"app","pid":7} x"#);
    let of_process = Some(r#"- 2024-05-06T07:08:09Z {"app":"app","pid":"web.1"} x"#);
    for (text, strict, lenient) in [
        ("May  6 07:08:09 gate app: x", full, full),
        ("2024-05-06T07:08:09Z gate app[7]: x", with_pid, with_pid),
        ("2024-05-06T07:08:09Z gate app[7]:x", None, with_pid),
        ("2024-05-06T07:08:09Z gate app: x", None, without_pid),
        ("2024-05-06T07:08:09Z  gate app[7]: x", None, with_pid),
        ("2024-05-06T09:08:09.000000+02:00 gate app: x", without_pid, without_pid),
        ("2024-05-06T09:08:09.000+02:00 gate app: x", None, without_pid),
        ("2024-05-06 09:08:09.000000+02:00 gate app: x", None, without_pid),
        ("2024-05-06T07:08:09.000000Z gate app: x", None, without_pid),
        ("May  6 07:08:09 app[7]: x", without_host, without_host),
        ("2024-05-06T07:08:09Z app[web.1]: x", of_process, of_process),
        ("2024-05-06T07:08:09Z app[7]: x", None, Some(r#"- 2024-05-06T07:08:09Z {"app":"app","pid":7} x"#)),
        ("May  6 07:08:09 app: x", None, Some(r#"- 2026-05-06T07:08:09Z {"app":"app"} x"#)),
        ("2024-05-06T07:08:09Z worker started", None, None),
        ("2024-05-06T07:08:09Z ERROR app: x", None, None),
        ("2024-05-06T07:08:09Z gate ERROR: x", None, None),
        ("app[7]: x", None, None),
        ("<192>app: x", None, None),
        ("<+14>app: x", None, None),
        ("", None, None),
    ] {
        for (strictness, expected) in BOTH.into_iter().zip([strict, lenient]) {
            assert_eq!(parse(text, strictness).as_ref().map(shown).as_deref(), expected, "{strictness:?} {text}");
        }
    }
}

#[test]
fn what_is_no_header_of_rfc_5424_is_text_behind_the_priority() {
    for (text, expected) in [
        ("<14>1 - - - - - -", r#"INFO - {"facility":"user"} "#),
        ("<14>1 - gate app - -", r#"INFO - {"hostname":"gate","app":"app","facility":"user"} "#),
        ("<14>1 - gate app - - x y", r#"INFO - {"hostname":"gate","app":"app","facility":"user"} x y"#),
        ("<14>1 - gate app - - -x", r#"INFO - {"hostname":"gate","app":"app","facility":"user"} -x"#),
        ("<14>1 - gate app - - [a b=\"c] x", r#"INFO - {"hostname":"gate","app":"app","facility":"user"} [a b="c] x"#),
        ("<14>1 - - - - - [a][a b=\"\"]x", r#"INFO - {"facility":"user","structuredData":{"a":{},"a_2":{"b":""}}} x"#),
        ("<14>1 item of a long list is left", r#"INFO - {"facility":"user"} 1 item of a long list is left"#),
        ("<14>1 - gate app", r#"INFO - {"facility":"user"} 1 - gate app"#),
    ] {
        assert_eq!(parse(text, Strictness::Strict).as_ref().map(shown).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn names_and_structured_data_are_bounded() {
    let read = |host: &str, data: &str| {
        let text = format!("<14>1 - {host} - - - {data} x");
        let message = parse(&text, Strictness::Lenient).unwrap();
        (message.host.map(str::len), message.structured_data.is_some(), message.text.len())
    };
    let element = |bytes: usize| format!("[a b=\"{}\"]", "c".repeat(bytes));
    let (host, too_long) = ("h".repeat(255), "h".repeat(256));
    assert_eq!(read(&host, &element(50_000)), (Some(255), true, 1));
    assert_eq!(read(&host, &element(60_000)), (Some(255), false, element(60_000).len() + 2));
    assert_eq!(read(&too_long, "-"), (None, false, "1 -  - - - - x".len() + 256));
    let tag = format!("<14>{}: x", "a".repeat(256));
    assert_eq!(parse(&tag, Strictness::Lenient).unwrap().app, None);
}

proptest! {
    #[test]
    fn values_of_structured_data_are_kept(
        elements in prop::collection::btree_map(
            "[a-z@0-9]{1,8}",
            prop::collection::btree_map("[a-z]{1,4}", r#"[a-c\\"\] =é\n]{0,8}"#, 0..3),
            1..4,
        ),
    ) {
        let mut data = String::new();
        for (id, parameters) in &elements {
            data.push_str(&format!("[{id}"));
            for (name, value) in parameters {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
                data.push_str(&format!(" {name}=\"{value}\""));
            }
            data.push(']');
        }
        let text = format!("<14>1 - - - - - {data} text");
        let message = parse(&text, Strictness::Strict).unwrap();
        prop_assert_eq!(message.text, "text");
        let read: serde_json::Value = serde_json::from_str(message.structured_data.as_deref().unwrap()).unwrap();
        prop_assert_eq!(read, serde_json::json!(elements));
    }

    #[test]
    fn the_text_ends_as_the_message_does(
        header in "(<[0-9]{1,3}>)?(1 )?(May  6 07:08:09 |2024-05-06T07:08:09Z )?[\\[\\]\"=\\\\a-c1 :-]{0,40}",
        text in "\\PC{0,40}",
    ) {
        let whole = format!("{header}{text}");
        let [strict, lenient] = BOTH.map(|strictness| parse(&whole, strictness));
        prop_assert!(strict.is_none() || strict == lenient);
        if let Some(message) = lenient {
            prop_assert!(whole.ends_with(message.text));
            if let Some(metadata) = message.metadata() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&metadata).is_ok_and(|read| read.is_object()));
            }
        }
    }
}
