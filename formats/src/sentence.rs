//! Lines that begin with words of a sentence, read in one look at each byte.
//!
//! Invariant: a draft from here is the one that [`crate::reader::any_draft`] makes. What may be more than a sentence is refused,
//! and read there.

use domain::metadata::is_plain;

use crate::draft::Draft;
use crate::joining::shape::Shape;
use crate::text;
use crate::times::{self, Clock};

/// Longest line that is looked at: it is within the limits of messages, whatever it consists of.
const BYTES_MAX: usize = 16 * 1024;

/// The draft of such a line: it has a message, and states nothing else.
pub fn draft(line: &str, clock: Clock<'_>) -> Option<Draft> {
    let is_sentence = line.len() <= BYTES_MAX
        && begins_with_two_words(line.as_bytes())
        // Colours begin with a control character, columns are told apart by one, and a request of an access log stands in quotes.
        && is_plain(line.as_bytes())
        && !line.ends_with(char::is_whitespace)
        && !text::has_form(line, clock)
        && Shape::of(line) == Shape::Other;
    is_sentence.then(|| Draft::of_message(line))
}

/// The level of a line, or its time, stands in front of them.
fn begins_with_two_words(line: &[u8]) -> bool {
    let Some(second) = behind_word(line, 0).filter(|end| line.get(*end) == Some(&b' ')).map(|end| end + 1) else {
        return false;
    };
    behind_word(line, second).is_some_and(|end| line.get(end).is_none_or(|next| *next == b' '))
}

/// Where the word of letters that begins here ends, if not all of them are capitals and it does not begin as a day or a month does.
fn behind_word(line: &[u8], from: usize) -> Option<usize> {
    let rest = line.get(from..).unwrap_or_default();
    let length = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
    let has_lower = rest.iter().take(length).any(u8::is_ascii_lowercase);
    (has_lower && !times::begins_name(line, from)).then_some(from + length)
}

#[cfg(test)]
mod tests {
    use domain::timestamp::Timestamp;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::format::Options;
    use crate::reader::any_draft;
    use crate::zone::Zone;

    fn both(line: &str) -> (Option<String>, String) {
        let now = Timestamp::parse("2026-11-29T08:00:00Z").expect("a time");
        let read = draft(line, Clock { zone: &Zone::UTC, now }).map(|draft| format!("{draft:?}"));
        (read, format!("{:?}", any_draft(line.as_bytes(), &Options::default(), now)))
    }

    #[test]
    fn sentences_are_read_here() {
        for line in [
            "payment accepted after retry on upstream for order 00001 of a session in",
            "Connection refused",
            "failed to connect to db-1:5432 (timeout: 5s), will retry [attempt 3] é",
            "level of the water is high: don't panic",
        ] {
            let (read, any) = both(line);
            assert_eq!(read, Some(any));
        }
        for other in ["ERROR x y", "one", "a 1", "Jan 15 x", "web  | x", "a=1 b=2", "Unhandled exception in x", "x y "]
        {
            assert_eq!(both(other).0, None, "{other}");
        }
    }

    /// Words that mean something at some place of a line, and others.
    fn word() -> impl Strategy<Value = String> {
        let known = vec![
            "error",
            "Error",
            "ERROR",
            "WARN",
            "warning:",
            "info",
            "fatal",
            "error:",
            "fatal error:",
            "E",
            "I",
            "a",
            "an",
            "the",
            "payment",
            "Payment",
            "accepted",
            "myApp",
            "HTTP",
            "GET",
            "Jan",
            "Mon",
            "Mon Jan 15 10:30:00 2024",
            "Jan 15 10:30:00 host app[7]: x",
            "Mon, 15 Jan 2024 10:30:00 GMT",
            "may",
            "15",
            "2024",
            "10:30:00",
            "Z",
            "UTC",
            "2024-01-15T10:30:00Z",
            "2024-01-15",
            "1705314600",
            "kern",
            "kern  :err   :",
            "npm",
            "npm warn",
            "PHP",
            "PHP Warning:",
            "Log started:",
            "Log ended:",
            "at",
            "at x.Y(z.java:1)",
            "Caused by:",
            "panic:",
            "goroutine 1 [running]:",
            "Aborted",
            "Segmentation fault",
            "exit status 2",
            "created by",
            "thread 'main' panicked at",
            "Unhandled",
            "exception",
            "Exception",
            "terminate called",
            "Client",
            "Last message",
            "During handling of the above exception",
            "ValueError:",
            "x.y.Timeout",
            "main.main()",
            "rax 0x0",
            "Node.js v20",
            "failed.",
            ": Assertion `x'",
            "app.rb:1:in `x':",
            "host",
            "app[7]:",
            "kernel:",
            "(x)",
            "[x]",
            "[error]",
            "<error>",
            "core:error",
            "-",
            "- ",
            ",",
            "'x'",
            "%LINK-3-UPDOWN:",
            "type=LOGIN",
            "level=info",
            "msg=x",
            "web-1  |",
            "{\"a\":1}",
            "\"x\"",
            "\"GET / HTTP/1.1\" 200 5",
            "x 2024-01-15T10:30:00Z",
            "| x",
            "level=info msg=x time=2024-01-15T10:30:00Z",
            "\u{1b}[31m",
            "é",
            "\u{a0}",
            "\u{85}",
            "\t",
            "\\",
            "...",
            "more",
            "from",
            "x:in y",
            "Traceback",
            "Process terminated.",
            "Uncaught exception",
            "Stacktrace:",
            "Thread 0xff",
            "State: x",
            "Status: ERROR",
            "INFO",
            "D/Tag( 12):",
            "system",
            "notice",
            "Note",
            "SUCCESS",
            "fail",
            "dbug:",
            "sat",
            "sun",
            "decode",
            "march",
        ];
        prop_oneof![6 => select(known).prop_map(str::to_owned), 1 => "[a-zA-Z]{1,9}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_sentence_is_read_as_any_line(
            words in prop::collection::vec(word(), 1..7),
            space in select(vec![" ", " ", " ", "  ", "\t"]),
        ) {
            let line = words.join(space);
            let (read, any) = both(&line);
            prop_assert!(read.as_ref().is_none_or(|read| *read == any), "{}\n{:?}\n{}", line, read, any);
        }
    }
}
