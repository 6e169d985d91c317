//! A message of syslog as an entry.
//!
//! Invariant: the header is read by the crate `formats`, and the text behind it as any line of an agent. A message
//! without a header is a line.

use std::borrow::Cow;

use application::ingest::{AgentEntry, Members, line, state};
use domain::timestamp::Timestamp;
use formats::Zone;
use formats::syslog::{Message, Strictness};

/// Reads a message. `received_at` decides the year of a time without one; a time without a zone is UTC.
pub fn entry(text: &str, received_at: Timestamp) -> AgentEntry<'_> {
    let text = text.trim_matches(['\n', '\r', '\0', ' ']);
    let Some(message) = Message::parse(text, Strictness::Lenient, &Zone::UTC, received_at) else {
        return line(text, received_at);
    };
    let mut entry: AgentEntry<'_> = line(message.text, received_at);
    state(&mut entry, message.time, message.level);
    // An application that the line names is closer to its origin than a host.
    entry.source = message.app.map(Cow::Borrowed).or(entry.source).or(message.host.map(Cow::Borrowed));
    let mut metadata = message.metadata().map(Members::of_object).unwrap_or_default();
    metadata.all_or_within("line", std::mem::take(&mut entry.metadata));
    entry.metadata = metadata;
    entry
}

#[cfg(test)]
mod tests {
    use domain::level::Level;
    use proptest::prelude::*;

    use super::*;

    fn received_at() -> Timestamp {
        Timestamp::parse("2026-11-29T08:05:00Z").expect("a time")
    }

    /// Source, level, message, time and metadata.
    fn read(text: &str) -> (Option<String>, Option<Level>, String, Option<String>, String) {
        let entry = entry(text, received_at());
        let level = entry.level.and_then(|level| level.parse());
        let time = entry.timestamp.map(|time| time.to_string());
        let source = entry.source.map(Cow::into_owned);
        (source, level, entry.message.into_owned(), time, entry.metadata.into_json().unwrap_or_default())
    }

    #[test]
    fn messages_of_real_senders_are_understood() {
        let time = Some("2026-11-29T08:04:20Z");
        for (text, source, level, message, time, metadata) in [
            // logging.handlers.SysLogHandler of Python.
            (
                "<14>check: text\0",
                Some("check"),
                Some(Level::Info),
                "text",
                None,
                r#"{"app":"check","facility":"user"}"#,
            ),
            // rsyslog and syslog-ng.
            (
                "<11>Nov 29 08:04:20 vm app[42]:  text\n",
                Some("app"),
                Some(Level::Error),
                "text",
                time,
                r#"{"hostname":"vm","app":"app","pid":42,"facility":"user"}"#,
            ),
            // log/syslog of Go.
            (
                "<12>2026-11-29T08:04:20Z vm app[42]: text\n",
                Some("app"),
                Some(Level::Warn),
                "text",
                time,
                r#"{"hostname":"vm","app":"app","pid":42,"facility":"user"}"#,
            ),
            // rfc5424-logging-handler of Python, with a byte order mark.
            (
                "<14>1 2026-11-29T08:04:20Z vm app 42 - - \u{feff}text",
                Some("app"),
                Some(Level::Info),
                "text",
                time,
                r#"{"hostname":"vm","app":"app","pid":42,"facility":"user"}"#,
            ),
            // syslog-ng.
            (
                r#"<165>1 2026-11-29T08:04:20Z vm app - ID47 [meta sequenceId="1"][x@1 a="b\"\]" c=""] text"#,
                Some("app"),
                Some(Level::Info),
                "text",
                time,
                r#"{"hostname":"vm","app":"app","messageId":"ID47","facility":"local4","structuredData":{"meta":{"sequenceId":"1"},"x@1":{"a":"b\"]","c":""}}}"#,
            ),
            // Fluent Bit.
            (
                "<14>1 2026-11-29T08:04:20Z - - - - - text",
                None,
                Some(Level::Info),
                "text",
                time,
                r#"{"facility":"user"}"#,
            ),
            ("header: none", None, None, "header: none", None, ""),
            ("no header: at all", None, None, "no header: at all", None, ""),
            ("<999>x y", None, None, "<999>x y", None, ""),
            (
                "<14>1 2026-11-29T08:04:20Z short",
                None,
                Some(Level::Info),
                "1 2026-11-29T08:04:20Z short",
                time,
                r#"{"facility":"user"}"#,
            ),
        ] {
            let expected =
                (source.map(str::to_owned), level, message.to_owned(), time.map(str::to_owned), metadata.to_owned());
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_text_is_read_as_a_line_and_the_header_wins() {
        let time = "2026-11-29T08:04:20Z";
        for (text, source, level, message, metadata) in [
            (
                r#"<12>Nov 29 08:04:20 vm app: {"level":"error","msg":"slow","ms":1.50}"#,
                Some("app"),
                Level::Warn,
                "slow",
                r#"{"hostname":"vm","app":"app","facility":"user","lineLevel":"ERROR","ms":1.50}"#,
            ),
            (
                "<14>1 2026-11-29T08:04:20Z vm app - - - time=2026-11-29T08:04:19Z level=info msg=slow ms=2",
                Some("app"),
                Level::Info,
                "slow",
                r#"{"hostname":"vm","app":"app","facility":"user","lineTimestamp":"2026-11-29T08:04:19Z","ms":2}"#,
            ),
            // The same name in the header and in the line.
            (
                r#"<14>Nov 29 08:04:20 vm {"hostname":"web","service":"shop","msg":"slow"}"#,
                Some("shop"),
                Level::Info,
                "slow",
                r#"{"hostname":"vm","facility":"user","line":{"hostname":"web"}}"#,
            ),
            ("<14>Nov 29 08:04:20 vm a b", Some("vm"), Level::Info, "a b", r#"{"hostname":"vm","facility":"user"}"#),
        ] {
            let (found_source, found_level, found_message, found_time, found_metadata) = read(text);
            let found = (found_source.as_deref(), found_level, found_message.as_str(), found_time.as_deref());
            assert_eq!(found, (source, Some(level), message, Some(time)), "{text}");
            let [found, expected] = [found_metadata.as_str(), metadata].map(serde_json::from_str::<serde_json::Value>);
            assert_eq!(found.expect("JSON"), expected.expect("JSON"), "{text}");
        }
        let (_, level, message, time, _) = read("2026-11-29 08:04:20 ERROR no header");
        assert_eq!((level, message.as_str()), (Some(Level::Error), "2026-11-29 08:04:20 ERROR no header"));
        assert_eq!(time.as_deref(), Some("2026-11-29T08:04:20Z"));
    }

    #[test]
    fn a_time_without_a_year_is_the_latest_that_is_not_ahead() {
        for (text, expected) in [
            ("<14>Nov  9 01:02:03 h a: x", Some("2026-11-09T01:02:03Z")),
            ("<14>Nov 30 01:02:03 h a: x", Some("2026-11-30T01:02:03Z")),
            ("<14>Dec 31 23:59:59 h a: x", Some("2025-12-31T23:59:59Z")),
            ("<14>Foo 31 23:59:59 h a: x", None),
            ("<14>Feb 30 23:59:59 h a: x", None),
        ] {
            assert_eq!(read(text).3.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_entry(text in "\\PC{0,60}", header in "<[0-9]{1,3}>(1 )?[\\[\\]\"=\\\\a-c :-]{0,40}") {
            entry(&text, received_at());
            entry(&header, received_at());
        }
    }
}
