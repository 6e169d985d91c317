//! Converts a line of a log to an event of the API.
//!
//! * Every line becomes an event, or part of one: what cannot be parsed stays in the text, or in the metadata under its
//!   original name. Nothing here fails, reads a clock or generates an identifier.
//! * Only the first [`BEGINNING_CHARS`] characters are searched for a level and a time: further on, these words are
//!   part of the message.
//! * The form of an event never breaks a rule of the API (an unknown level, a number as source); only size limits are
//!   left to the server, which can report them better.

use domain::Uuid;
use domain::level::Level;
use domain::timestamp::Timestamp;
use serde_json::{Map, Value};
use time::UtcOffset;

use super::levels::Levels;
use super::members::{self, take};
use super::times::{FoundTime, Times, time_of_epoch};

/// How much of a line is searched for a level and a time.
const BEGINNING_CHARS: usize = 160;

/// A parsed event.
#[derive(Debug)]
pub struct Event {
    /// Its members, as the API accepts them.
    members: Map<String, Value>,
    /// Its level.
    pub level: Level,
    /// Whether the line contains the level; otherwise it is the default.
    pub level_found: bool,
    /// Whether the line contains the time; otherwise the server uses the time of receipt.
    pub time_found: bool,
    /// Whether the line is plain text, not JSON.
    pub is_text: bool,
}

impl Event {
    /// The event as one line of JSON, with this identifier unless the line contains one, and with this stack trace
    /// unless that is empty.
    #[must_use]
    pub fn into_json(mut self, event_id: Uuid, stack_trace: String) -> String {
        self.members.entry("eventId").or_insert_with(|| event_id.to_string().into());
        if !stack_trace.is_empty() {
            self.members.insert("stackTrace".to_owned(), stack_trace.into());
        }
        Value::Object(self.members).to_string()
    }
}

/// Finds levels and times in lines.
#[derive(Debug)]
pub struct LineParser {
    default_level: Level,
    levels: Levels,
    times: Times,
}

impl LineParser {
    /// A parser that uses `default_level` for lines without a level and `offset` for times without one.
    ///
    /// # Errors
    /// Never in practice: the patterns are constants.
    pub fn new(default_level: Level, offset: UtcOffset) -> Result<Self, regex::Error> {
        Ok(Self { default_level, levels: Levels::new()?, times: Times::new(offset)? })
    }

    /// The event in `line`, which has no line end. Its source is `source` unless the line names one; times without a
    /// year are placed close to `now`.
    #[must_use]
    pub fn event(&self, line: &str, source: &str, now: Timestamp) -> Event {
        let object = object_in(line);
        let is_text = object.is_none();
        let fields = match object {
            Some(members) => self.fields_of_object(members, line, now),
            None => self.fields_of_text(line, now),
        };
        let level = fields.level.unwrap_or(self.default_level);
        let mut members = Map::new();
        members.insert("source".to_owned(), fields.source.unwrap_or_else(|| source.to_owned()).into());
        members.insert("level".to_owned(), level.name().into());
        members.insert("message".to_owned(), fields.message.into());
        if let Some(timestamp) = fields.timestamp {
            members.insert("timestamp".to_owned(), timestamp.to_string().into());
        }
        if let Some(event_id) = fields.event_id {
            members.insert("eventId".to_owned(), event_id.to_string().into());
        }
        members.extend(fields.others);
        let (level_found, time_found) = (fields.level.is_some(), fields.timestamp.is_some());
        Event { members, level, level_found, time_found, is_text }
    }

    /// The level and the time in `text`.
    #[must_use]
    pub fn level_and_time(&self, text: &str, now: Timestamp) -> (Option<Level>, Option<FoundTime>) {
        let text = beginning(text);
        let time = self.times.find(text, now);
        (self.levels.find(text, time.map(|time| time.end)), time)
    }

    fn fields_of_text(&self, text: &str, now: Timestamp) -> Fields {
        let (level, time) = self.level_and_time(text, now);
        let timestamp = time.map(|time| time.timestamp);
        Fields { message: text.to_owned(), level, timestamp, source: None, event_id: None, others: Map::new() }
    }

    fn fields_of_object(&self, mut members: Map<String, Value>, line: &str, now: Timestamp) -> Fields {
        members.retain(|_, value| !value.is_null());
        let level = take(&mut members, members::LEVEL, members::level_of);
        let timestamp = take(&mut members, members::TIMESTAMP, |value| self.time_of(value, now));
        let source = take(&mut members, members::SOURCE, members::source_of);
        let message = take(&mut members, members::MESSAGE, members::message_of);
        let event_id = take(&mut members, &["eventId"], |value| Uuid::try_parse(value.as_str()?).ok());
        // A line wrapped by a container runtime is parsed like any other line.
        let (inner_level, inner_time) = self.level_and_time(message.as_deref().unwrap_or_default(), now);
        Fields {
            level: level.or(inner_level),
            timestamp: timestamp.or(inner_time.map(|time| time.timestamp)),
            source,
            event_id,
            message: message.unwrap_or_else(|| line.to_owned()),
            others: members::other_fields(members),
        }
    }

    /// The time in a member: a number counts from the Unix epoch, text may have any format that a line may have.
    fn time_of(&self, value: &Value, now: Timestamp) -> Option<Timestamp> {
        match value {
            Value::Number(number) => time_of_epoch(&number.to_string()),
            Value::String(text) => {
                let found = || self.times.find(beginning(text), now).map(|time| time.timestamp);
                time_of_epoch(text).or_else(found)
            }
            _ => None,
        }
    }
}

/// The content of a line.
struct Fields {
    level: Option<Level>,
    timestamp: Option<Timestamp>,
    source: Option<String>,
    event_id: Option<Uuid>,
    message: String,
    /// Optional fields of the contract, ready to be sent.
    others: Map<String, Value>,
}

/// The JSON object in `line`.
pub fn object_in(line: &str) -> Option<Map<String, Value>> {
    line.trim_start().starts_with('{').then(|| serde_json::from_str(line).ok()).flatten()
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(BEGINNING_CHARS).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Level = Level::Debug;

    /// Lines with their expected level and time (`-` for none), as of 2024-06-01 and UTC+1.
    const LINES: &[(&str, &str, &str)] = &[
        // log4j, logback, slf4j, java.util.logging
        ("2015-10-18 18:01:47,978 INFO [main] a.b.Master: Created", "INFO", "2015-10-18T17:01:47.978Z"),
        ("2024-01-15 10:30:00.123  WARN 4711 --- [nio-1] c.e.App : slow", "WARN", "2024-01-15T09:30:00.123Z"),
        ("2015-07-29 17:41:44,747 - ERROR [Peer[id=1]/0:0:0:0:2181:F@774] - x", "ERROR", "2015-07-29T16:41:44.747Z"),
        ("[2024-01-15T10:30:00,123+0200][TRACE][o.e.n.Node] started", "TRACE", "2024-01-15T08:30:00.123Z"),
        ("15-Jan-2024 10:30:00.123 SEVERE [main] o.a.c.Server failed", "ERROR", "2024-01-15T09:30:00.123Z"),
        ("[INFO ] no time here", "INFO", "-"),
        // Python, OpenStack, Celery
        ("WARNING:root:disk is nearly full", "WARN", "-"),
        ("2024-01-15 10:30:00,123 - app - CRITICAL - gone", "FATAL", "2024-01-15T09:30:00.123Z"),
        ("api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25 INFO x", "INFO", "2017-05-15T23:00:00.008Z"),
        ("[2024-01-15 10:30:00,123: WARNING/MainProcess] late", "WARN", "2024-01-15T09:30:00.123Z"),
        // Rust, Go, with and without colours
        ("2024-01-15T10:30:00.123456Z  INFO app: listening", "INFO", "2024-01-15T10:30:00.123456Z"),
        ("\x1b[2m2024-01-15T10:30:00Z\x1b[0m \x1b[31mERROR\x1b[0m app: x", "ERROR", "2024-01-15T10:30:00Z"),
        ("2024/01/15 10:30:00 http: server closed", "-", "2024-01-15T09:30:00Z"),
        ("WARN[0042] retrying", "WARN", "-"),
        ("time=\"2024-01-15T10:30:00-05:00\" level=warning msg=\"x\"", "WARN", "2024-01-15T15:30:00Z"),
        ("ts=1705314600.5 lvl=err msg=x", "ERROR", "2024-01-15T10:30:00.5Z"),
        ("E0115 10:30:00.123456    4711 pod.go:12] failed", "ERROR", "2024-01-15T09:30:00.123456Z"),
        ("F20231231 23:59:59.999999 7 main.cc:1] Check failed", "FATAL", "2023-12-31T22:59:59.999999Z"),
        // Web servers and databases
        ("2024/01/15 10:30:00 [error] 7#7: *1 open() failed", "ERROR", "2024-01-15T09:30:00Z"),
        ("10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /ERROR HTTP/1.0\" 200 1", "-", "2000-10-10T20:55:36Z"),
        ("[Wed Oct 11 14:32:52.123456 2000] [core:crit] [pid 7] x", "FATAL", "2000-10-11T13:32:52.123456Z"),
        ("1705314600.123     45 10.0.0.1 TCP_MISS/200", "-", "2024-01-15T10:30:00.123Z"),
        ("2024-01-15 10:30:00.123 UTC [7] FATAL:  too many clients", "FATAL", "2024-01-15T10:30:00.123Z"),
        ("2024-01-15T10:30:00.123456Z 0 [Note] mysqld: ready", "-", "2024-01-15T10:30:00.123456Z"),
        ("=ERROR REPORT==== 15-Jan-2024::10:30:00 ===", "ERROR", "-"),
        // Levels in lower case, or of one letter
        ("error: x", "ERROR", "-"),
        ("Error: lower case", "ERROR", "-"),
        ("warning: p", "WARN", "-"),
        ("debug: c", "DEBUG", "-"),
        ("panic: runtime error", "FATAL", "-"),
        ("2024-01-15T10:00:00Z err x", "ERROR", "2024-01-15T10:00:00Z"),
        ("2024-01-15T10:00:00Z dpanic", "FATAL", "2024-01-15T10:00:00Z"),
        ("[2024-01-15T10:00:03Z] debug: hello", "DEBUG", "2024-01-15T10:00:03Z"),
        ("2024-01-15 10:30:00,123 - app | error", "-", "2024-01-15T09:30:00.123Z"),
        ("2024-01-15 10:30:00,123 - verbose - x", "TRACE", "2024-01-15T09:30:00.123Z"),
        ("2024-01-15 10:30:00.123|Information|x", "INFO", "2024-01-15T09:30:00.123Z"),
        ("2024-01-15 10:30:00 (crit) the ERROR is gone", "FATAL", "2024-01-15T09:30:00Z"),
        ("\x1b[2m2024-01-15T10:30:00Z\x1b[0m \x1b[31mnotice\x1b[0m x", "INFO", "2024-01-15T10:30:00Z"),
        ("[E] x", "ERROR", "-"),
        ("2024-01-15 10:30:00 [main][W] the ERROR is gone", "WARN", "2024-01-15T09:30:00Z"),
        ("[I]", "INFO", "-"),
        ("x: [D] x", "DEBUG", "-"),
        ("[F] x", "FATAL", "-"),
        ("W/Tag: x", "WARN", "-"),
        ("V/Activity.Manager( 123): x", "TRACE", "-"),
        // Mail, HTTP, Redis, German, seconds since the epoch
        ("Tue, 24 Nov 2026 10:00:00 GMT x", "-", "2026-11-24T10:00:00Z"),
        ("Date: Tue, 2 Jan 2024 10:00:00 +0100", "-", "2024-01-02T09:00:00Z"),
        ("7:M 24 Nov 2023 10:00:00.123 * Ready", "-", "2023-11-24T09:00:00.123Z"),
        ("24.11.2023 10:00:00 Fehler", "-", "2023-11-24T09:00:00Z"),
        ("1.24.11.2023 10:00:00", "-", "-"),
        ("1705314600 warning: x", "WARN", "2024-01-15T10:30:00Z"),
        ("1705314600: no blank, 1705314600 not at the start", "-", "-"),
        ("17053146001 too many digits", "-", "-"),
        // syslog
        ("Jan  2 15:04:05 host sshd[7]: accepted", "-", "2024-01-02T14:04:05Z"),
        ("Jan  2 15:04:05 host app: NOTICE: no longer 2024-03-01 10:00:00", "INFO", "2024-01-02T14:04:05Z"),
        ("<34>Oct 11 22:14:15 host su: failed", "FATAL", "2023-10-11T21:14:15Z"),
        ("<165>1 2003-10-11T22:14:15.003Z host app - ID47 - x", "INFO", "2003-10-11T22:14:15.003Z"),
        ("<3>the unit failed", "ERROR", "-"),
        ("Jun  2 00:30:00 host app: NOTICE a day ahead", "INFO", "2024-06-01T23:30:00Z"),
        ("Jun  2 01:30:00 host app: more than a day ahead", "-", "2023-06-02T00:30:00Z"),
        ("Feb 29 10:30:00 host app: in a leap year", "-", "2024-02-29T09:30:00Z"),
        ("web_1  | 2024-01-15 10:30:00 +0200 EMERG x", "FATAL", "2024-01-15T08:30:00Z"),
        // Neither level nor time
        ("an error differs from a warning, and info is only a word", "-", "-"),
        ("An Error: lower case, and ERRORS, WARN_MAX=3, /INFO, INFO.txt", "-", "-"),
        ("Errors: none, Option[E] is a type, and I/O: is not a tag", "-", "-"),
        ("I/O: nor here", "-", "-"),
        ("2024-01-15 10:30:00 errors are not an error, nor is error.txt", "-", "2024-01-15T09:30:00Z"),
        ("2024-01-15 10:30:00 error.txt", "-", "2024-01-15T09:30:00Z"),
        ("2024-01-15 10:30:00 host error: x", "-", "2024-01-15T09:30:00Z"),
        ("2024-02-30 10:30:00 invalid day", "-", "-"),
        ("2024-01-15 24:00:00 invalid hour", "-", "-"),
        ("Feb 30 10:30:00 invalid day", "-", "-"),
        ("version 12024-01-15 10:30:00 or 2024-01-15 10:30:001", "-", "-"),
        ("<192>invalid priority", "-", "-"),
        ("X0115 10:30:00.123456 no glog", "-", "-"),
        ("took 1705314600.123 somewhere in the line", "-", "-"),
        ("{not JSON [warn]", "WARN", "-"),
        ("", "-", "-"),
        // JSON
        (r#"{"@t":"2024-01-15T10:30:00Z","@mt":"x","@l":"Verbose"}"#, "TRACE", "2024-01-15T10:30:00Z"),
        (r#"{"asctime":"2024-01-15 10:30:00,5","message":"error: x"}"#, "ERROR", "2024-01-15T09:30:00.5Z"),
        (r#"{"eventTime":1705314600,"log":{"level":"crit"}}"#, "FATAL", "2024-01-15T10:30:00Z"),
        (r#"{"level":"warn","ts":1705314600.123,"msg":"x"}"#, "WARN", "2024-01-15T10:30:00.123Z"),
        (r#"{"level":50,"time":1705314600123,"pid":1,"msg":"x"}"#, "ERROR", "2024-01-15T10:30:00.123Z"),
        (r#"{"Severity":"NOTICE","@timestamp":"2024-01-15 10:30:00,5"}"#, "INFO", "2024-01-15T09:30:00.5Z"),
        (r#"{"log":"E0115 10:30:00.5 1 a.go:1] x\n","stream":"stderr"}"#, "ERROR", "2024-01-15T09:30:00.5Z"),
        (r#"{"level":70,"ts":"1705314600123456789"}"#, "-", "2024-01-15T10:30:00.123456Z"),
        (r#"{"levelname":"INFO","time":1705314600123456,"took":3}"#, "INFO", "2024-01-15T10:30:00.123456Z"),
        (r#"{"time":12.5,"event":"a duration, not a time"}"#, "-", "-"),
        (r#"{"message":"half a pair \ud800","level":"ERROR"}"#, "ERROR", "-"),
    ];

    fn parser() -> LineParser {
        LineParser::new(DEFAULT, UtcOffset::from_hms(1, 0, 0).unwrap()).unwrap()
    }

    fn event(line: &str) -> (Event, Value) {
        event_of(&parser(), line)
    }

    fn event_of(parser: &LineParser, line: &str) -> (Event, Value) {
        let now = Timestamp::parse("2024-06-01T00:00:00Z").unwrap();
        let of = || parser.event(line, "here", now);
        let json = serde_json::from_str(&of().into_json(Uuid::nil(), String::new())).unwrap();
        (of(), json)
    }

    /// Everything but the identifier.
    fn parsed(line: &str) -> Value {
        let (_, mut json) = event(line);
        json.as_object_mut().unwrap().shift_remove("eventId");
        json
    }

    #[test]
    fn levels_and_times_are_found_where_they_are_and_nowhere_else() {
        for (line, level, time) in LINES {
            let (event, json) = event(line);
            let found = if event.level_found { event.level.name() } else { "-" };
            assert_eq!((found, json["timestamp"].as_str().unwrap_or("-")), (*level, *time), "{line}");
            assert_eq!(json["level"], if event.level_found { found } else { DEFAULT.name() }, "{line}");
            assert_eq!(event.time_found, *time != "-", "{line}");
        }
    }

    #[test]
    fn only_the_beginning_is_searched() {
        let (found, _) = event(&format!("{} ERROR 2024-01-15 10:30:00 x", "ä".repeat(120)));
        assert!(found.level_found && found.time_found);
        let (found, _) = event(&format!("{} ERROR 2024-01-15 10:30:00", "ä".repeat(160)));
        assert!(!found.level_found && !found.time_found);
    }

    #[test]
    fn the_message_of_a_plain_line_is_the_line() {
        for (line, ..) in LINES.iter().filter(|(line, ..)| !line.starts_with('{')) {
            assert_eq!(event(line).1["message"], *line);
        }
        assert_eq!(event("a\u{fffd}\0b").1["message"], "a\u{fffd}\0b");
    }

    #[test]
    fn a_damaged_line_still_becomes_an_event() {
        let parser = parser();
        for (line, ..) in LINES {
            for position in 0..line.len() {
                let replace = |byte| [&line.as_bytes()[..position], byte, &line.as_bytes()[position + 1..]].concat();
                let cut = line.as_bytes()[..position].to_vec();
                for damaged in [cut, replace(b"\""), replace(b"}"), replace(b"9"), replace(b"\0"), replace(b"\xFF")] {
                    let (_, json) = event_of(&parser, &String::from_utf8_lossy(&damaged));
                    assert!(json["source"].is_string() && json["message"].is_string(), "{line} at {position}");
                    Level::parse(json["level"].as_str().unwrap()).unwrap();
                    Uuid::try_parse(json["eventId"].as_str().unwrap()).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_object_is_an_event_with_the_names_of_the_contract() {
        let line = r#"{"service":"shop","severity":"error","msg":"boom","time":"2024-01-15T10:30:00Z","user":7,"a":null,
            "traceId":"0123456789abcdef0123456789ABCDEF","spanId":"0123456789abcdef","stackTrace":"at x","metadata":{"k":[1.50]}}"#;
        let expected = serde_json::json!({
            "source": "shop", "level": "ERROR", "message": "boom", "timestamp": "2024-01-15T10:30:00Z",
            "stackTrace": "at x", "traceId": "0123456789abcdef0123456789ABCDEF", "spanId": "0123456789abcdef",
            "metadata": { "k": [1.5], "user": 7 },
        });
        assert_eq!(parsed(line), expected);
    }

    #[test]
    fn the_names_of_other_loggers_mean_the_same_and_are_not_repeated() {
        let (trace, span) = ("0123456789abcdef0123456789abcdef", "0123456789abcdef");
        for (line, name, value) in [
            (r#"{"@m":"a"}"#.to_owned(), "message", "a"),
            (r#"{"@mt":"a"}"#.to_owned(), "message", "a"),
            (r#"{"body":"a"}"#.to_owned(), "message", "a"),
            (r#"{"jsonPayload":{"message":"a"}}"#.to_owned(), "message", "a"),
            (r#"{"textPayload":"a"}"#.to_owned(), "message", "a"),
            (r#"{"msg":"a","service.name":"b"}"#.to_owned(), "source", "b"),
            (r#"{"msg":"a","service":{"name":"b"}}"#.to_owned(), "source", "b"),
            (r#"{"msg":"a","stack_trace":"b"}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","exc_info":"b"}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","exception":"b"}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","@x":"b"}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","error.stack_trace":"b"}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","error":{"stack_trace":"b"}}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","err":{"stack":"b"}}"#.to_owned(), "stackTrace", "b"),
            (r#"{"msg":"a","stack":"b"}"#.to_owned(), "stackTrace", "b"),
            (format!(r#"{{"msg":"a","trace_id":"{trace}"}}"#), "traceId", trace),
            (format!(r#"{{"msg":"a","trace":{{"id":"{trace}"}}}}"#), "traceId", trace),
            (format!(r#"{{"msg":"a","span_id":"{span}"}}"#), "spanId", span),
            (format!(r#"{{"msg":"a","span.id":"{span}"}}"#), "spanId", span),
        ] {
            let json = parsed(&line);
            assert_eq!((&json[name], &json["message"]), (&value.into(), &"a".into()), "{line}");
            assert!(json.get("metadata").is_none(), "{line}");
        }
    }

    #[test]
    fn the_rest_of_a_member_and_unsuitable_values_stay_in_the_metadata() {
        let json =
            parsed(r#"{"msg":"a","service":{"name":"b","version":1},"stack":7,"trace_id":"12","exc_info":true}"#);
        let left = serde_json::json!({ "service": { "version": 1 }, "stack": 7, "trace_id": "12", "exc_info": true });
        assert_eq!((&json["source"], &json["metadata"]), (&"b".into(), &left));
    }

    #[test]
    fn a_stack_trace_that_joined_is_sent() {
        let event = parser().event("x", "here", Timestamp::MIN).into_json(Uuid::nil(), "at y".to_owned());
        assert_eq!(serde_json::from_str::<Value>(&event).unwrap()["stackTrace"], "at y");
    }

    #[test]
    fn the_names_of_the_contract_come_first_and_the_others_stay() {
        let json = parsed(r#"{"msg":"a","message":"b","severity":"WARN","level":"INFO","app":"c","source":"d"}"#);
        assert_eq!((&json["message"], &json["level"], &json["source"]), (&"b".into(), &"INFO".into(), &"d".into()));
        assert_eq!(json["metadata"], serde_json::json!({ "msg": "a", "severity": "WARN", "app": "c" }));
    }

    #[test]
    fn unknown_members_stay_in_the_metadata_under_their_name() {
        let line = r#"{"level":"loud","message":7,"timestamp":"soon","source":"","eventId":1,"traceId":"x","spanId":[],"stackTrace":{},"metadata":"m"}"#;
        let expected = serde_json::json!({
            "source": "here", "level": "DEBUG", "message": line,
            "metadata": serde_json::from_str::<Value>(line).unwrap(),
        });
        assert_eq!(parsed(line), expected);
        let json = parsed(r#"{"msg":"x","user":1,"metadata":{"user":2}}"#);
        assert_eq!(json["metadata"], serde_json::json!({ "user": 2, "user_": 1 }));
    }

    #[test]
    fn an_identifier_in_the_line_is_the_identifier_of_the_event() {
        let id = "01a20f37-31cf-76dd-a6da-0300122616c3";
        assert_eq!(event(&format!(r#"{{"eventId":"{id}","msg":"x"}}"#)).1["eventId"], id);
        assert_eq!(event("x").1["eventId"], Uuid::nil().to_string());
    }
}
