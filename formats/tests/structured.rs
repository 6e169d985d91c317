//! JSON, pairs, access logs and wrappers: which members become which fields.

#![expect(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use domain::metadata::UsualReader;
use domain::timestamp::Timestamp;
use formats::{Draft, Format, Options, Zone, draft, object};

fn now() -> Timestamp {
    Timestamp::from_unix_micros(1_795_935_600_000_000).unwrap()
}

/// Reads a line, and an object as such too.
fn read(line: &str) -> Draft {
    let draft = with(line, &Options::default());
    let object = object(line, None, now());
    let mut reader = UsualReader::default();
    if let Some((members, bytes)) = reader.members(line).filter(|(_, bytes)| *bytes == line.len()) {
        let of_members = formats::object(line, Some(members), now());
        assert_eq!(format!("{of_members:?}"), format!("{object:?}"), "{line} of {bytes} bytes");
    }
    let is_object = line.trim().starts_with('{') && serde_json::from_str::<&serde_json::value::RawValue>(line).is_ok();
    assert_eq!(object.is_some(), is_object, "{line}");
    if let Some(object) = object {
        assert_eq!(format!("{object:?}"), format!("{draft:?}"), "{line}");
    }
    draft
}

fn with(line: &str, options: &Options) -> Draft {
    draft(line, options, now())
}

/// `LEVEL TIME MESSAGE METADATA`, with `-` for what is absent.
fn shown(draft: &Draft) -> String {
    let level = draft.level.map_or("-", |level| level.name());
    let time = draft.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let metadata = draft.metadata.as_ref().map_or("-", |metadata| metadata.as_json());
    format!("{level} {time} {} {metadata}", draft.message)
}

fn check(rows: &[(&str, &str)]) {
    for (line, expected) in rows {
        assert_eq!(shown(&read(line)), *expected, "{line}");
    }
}

const T: &str = "2024-05-06T07:08:09Z";

#[test]
fn levels_of_libraries() {
    for (members, level) in [
        (r#""level":30"#, "INFO"),
        (r#""level":"35""#, "INFO"),
        (r#""severity":"NOTICE""#, "INFO"),
        (r#""severity":"DEFAULT""#, "-"),
        (r#""LogLevel":"Critical""#, "FATAL"),
        (r#""log.level":"warn""#, "WARN"),
        (r#""log":{"level":"error"}"#, "ERROR"),
        (r#""level_name":"ALERT","level":550"#, "FATAL"),
        (r#""levelno":40"#, "ERROR"),
        (r#""PRIORITY":"3""#, "ERROR"),
        (r#""short_message":"x","level":4"#, "WARN"),
        (r#""severityNumber":17"#, "ERROR"),
        (r#""t":{"$date":"2024-05-06T07:08:09Z"},"s":"D2","c":"QUERY""#, "DEBUG"),
        (r#""@t":"2024-05-06T07:08:09Z","@m":"x""#, "INFO"),
        (r#""kind":"Event","type":"Warning""#, "WARN"),
        (r#""type":"Warning""#, "-"),
        (r#""level":"ERROR+2""#, "ERROR"),
        (r#""record":{"level":{"name":"CRITICAL","no":50}}"#, "FATAL"),
        (r#""level":3"#, "-"),
        (r#""s":"E""#, "-"),
        (r#""level":"\u001b[31merror\u001b[39m""#, "ERROR"),
        (r#""severityNumber":"SEVERITY_NUMBER_WARN2""#, "WARN"),
        (r#""a":{"level":"error"}"#, "-"),
        (r#""error_severity":"LOG""#, "INFO"),
        (r#""error_severity":"DEBUG1""#, "DEBUG"),
        (r#""Level":"Warning","Message":"m""#, "WARN"),
    ] {
        let draft = read(&format!("{{{members},\"x\":1}}"));
        assert_eq!(draft.level.map_or("-", |level| level.name()), level, "{members}");
    }
}

#[test]
fn times_of_libraries() {
    for member in [
        r#""time":1714979289"#,
        r#""ts":1714979289.0"#,
        r#""ts":1.714979289e9"#,
        r#""timestamp":"1714979289000""#,
        r#""@timestamp":"2024-05-06T09:08:09+02:00""#,
        r#""asctime":"2024-05-06 07:08:09,000""#,
        r#""t":{"$date":"2024-05-06T07:08:09Z"}"#,
        r#""time":{"$date":{"$numberLong":"1714979289000"}}"#,
        r#""instant":{"epochSecond":1714979289,"nanoOfSecond":0}"#,
        r#""timestamp":{"seconds":"1714979289","nanos":0}"#,
        r#""datetime":{"date":"2024-05-06 09:08:09.000000","timezone_type":3,"timezone":"Europe/Berlin"}"#,
        r#""timeUnixNano":"1714979289000000000""#,
        r#""__REALTIME_TIMESTAMP":"1714979289000000""#,
        r#""date":"2024-05-06","time":"07:08:09""#,
        r#""timestampSeconds":1714979289,"timestampNanos":0"#,
        r#""time_local":"06/May/2024:09:08:09 +0200""#,
        r#""TimeCreated":"/Date(1714979289000)/""#,
    ] {
        let time = read(&format!("{{\"msg\":\"x\",{member}}}")).time;
        assert_eq!(time.map(|time| time.to_string()).as_deref(), Some(T), "{member}");
    }
}

#[test]
fn members_become_fields_and_the_others_stay_digit_for_digit() {
    check(&[
        (
            r#"{"msg":"m","id":123456789012345678901234567890,"price":1.10,"p":1e400}"#,
            r#"- - m {"id":123456789012345678901234567890,"price":1.10,"p":1e400}"#,
        ),
        (
            r#"{"level":"notice","time":"2024-05-06T07:08:09.1234567Z","msg":"says more than the event keeps"}"#,
            concat!(
                r#"INFO 2024-05-06T07:08:09.123456Z says more than the event keeps {"level":"notice","#,
                r#""time":"2024-05-06T07:08:09.1234567Z"}"#,
            ),
        ),
        (r#"{"msg":"twice","a":1,"a":2,"b":{"c":1,"c":2}}"#, r#"- - twice {"a":1,"a_2":2,"b":{"c":1,"c_2":2}}"#),
        (r#"{"msg":"m","n":1e999,"s":"\ud800"}"#, "- - m {\"n\":\"1e999\",\"s\":\"\u{fffd}\"}"),
        (
            r#"{"level":"error","error":{"message":"no message but this"}}"#,
            r#"ERROR - no message but this {"error":{"message":"no message but this"}}"#,
        ),
        (r#"{"eventName":"PutObject"}"#, r#"- - {"eventName":"PutObject"} {"eventName":"PutObject"}"#),
        (
            r#"{"@t":"2024-05-06T07:08:09Z","@mt":"Hello {Name}","Name":"Ada"}"#,
            r#"INFO 2024-05-06T07:08:09Z Hello Ada {"@mt":"Hello {Name}","Name":"Ada"}"#,
        ),
        // The level and the time of an object whose end is missing.
        (r#"{"level":"info","msg":"x""#, r#"INFO - {"level":"info","msg":"x" -"#),
        (
            r#"{"time":"2024-05-06T07:08:09Z","level":"error","a":{"b":["c\"#,
            r#"ERROR 2024-05-06T07:08:09Z {"time":"2024-05-06T07:08:09Z","level":"error","a":{"b":["c\ -"#,
        ),
        (r#"{"level":"error","a":[1,tr"#, r#"ERROR - {"level":"error","a":[1,tr -"#),
        (r#"{"level":"error","ms"#, r#"ERROR - {"level":"error","ms -"#),
        ("{level: error", "- - {level: error -"),
        (r#"{"MESSAGE":[104,105]}"#, "- - hi -"),
    ]);
}

#[test]
fn what_does_not_fit_is_text() {
    let deep = format!(r#"{{"level":"error","msg":"m","body":{}1{}}}"#, r#"{"a":"#.repeat(20), "}".repeat(20));
    let large = format!(r#"{{"level":"error","msg":"m","body":"{}"}}"#, "b".repeat(70_000));
    for line in [deep, large] {
        assert_eq!(shown(&read(&line)), format!("ERROR - {line} -"));
    }
    // A large message does not count as metadata.
    let message = "m".repeat(70_000);
    assert_eq!(shown(&read(&format!(r#"{{"msg":"{message}","a":1}}"#))), format!("- - {message} {{\"a\":1}}"));
}

#[test]
fn an_event_of_the_api_keeps_its_fields() {
    let draft = read(
        r#"{"source":"depot","level":"ERROR","message":"m","timestamp":"2024-05-06T07:08:09Z","stackTrace":"s",
            "eventId":"0190163d-8694-739b-aea5-966c26f8ad91","traceId":"4BF92F3577B34DA6A3CE929D0E0E4736",
            "spanId":"00f067aa0ba902b7","metadata":{"a":1},"b":2}"#,
    );
    assert_eq!(shown(&draft), r#"ERROR 2024-05-06T07:08:09Z m {"a":1,"b":2}"#);
    assert_eq!((draft.source.as_deref(), draft.stack_trace.as_deref()), (Some("depot"), Some("s")));
    assert_eq!(draft.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(draft.span_id.as_deref(), Some("00f067aa0ba902b7"));
    assert_eq!(draft.event_id.unwrap().to_string(), "0190163d-8694-739b-aea5-966c26f8ad91");
}

#[test]
fn traces_and_sources_of_libraries() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for member in [
        r#""trace_id":"4BF92F3577B34DA6A3CE929D0E0E4736""#,
        r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#,
        r#""mdc":{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
        r#""trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
        r#""logging.googleapis.com/trace":"projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736""#,
        r#""@tr":"4bf92f3577b34da6a3ce929d0e0e4736""#,
    ] {
        assert_eq!(read(&format!("{{\"msg\":\"x\",{member}}}")).trace_id.as_deref(), Some(trace), "{member}");
    }
    for (member, source) in [
        (r#""service":"depot""#, Some("depot")),
        (r#""service":{"name":"depot"}"#, Some("depot")),
        (r#""service.name":"depot""#, Some("depot")),
        (r#""Resource":{"service.name":"depot"}"#, Some("depot")),
        (r#""SYSLOG_IDENTIFIER":"sshd","_SYSTEMD_UNIT":"ssh.service""#, Some("sshd")),
        (r#""_SYSTEMD_UNIT":"ssh.service","host":{"name":"gate"}"#, Some("ssh.service")),
        (r#""kubernetes":{"container_name":"app","pod_name":"app-0"}"#, Some("app")),
        (r#""kubernetes":{"container":{"name":"app"},"pod":{"name":"app-0"}}"#, Some("app")),
        (r#""resource":{"attributes":{"k8s.container.name":"app"}}"#, Some("app")),
        (r#""log":{"file":{"path":"/var/log/app.log"}},"host.name":"gate""#, Some("gate")),
        (r#""log":{"file":{"path":"/var/log/app.log"}}"#, Some("app.log")),
        (r#""Service":"depot","host.name":"gate""#, Some("depot")),
        (r#""host":"gate""#, None),
        (r#""source":"main.go:9""#, None),
        (r#""source":{"file":"main.go"}"#, None),
        (r#""source":"a\u0001b""#, None),
        (r#""traceId":"00000000000000000000000000000000""#, None),
    ] {
        let draft = read(&format!("{{\"msg\":\"x\",{member}}}"));
        assert_eq!((draft.source.as_deref(), draft.trace_id), (source, None), "{member}");
    }
}

#[test]
fn stack_traces_are_texts_or_arrays_of_lines() {
    for member in [
        r#""exception.backtrace":["a.rb:1","b.rb:2"]"#,
        r#""exception":{"class":"A","backtrace":["a.rb:1","b.rb:2"]}"#,
        r#""stacktrace":["a.rb:1","b.rb:2"]"#,
        r#""error":{"stack_trace":"a.rb:1\nb.rb:2"}"#,
    ] {
        let stack_trace = read(&format!("{{\"msg\":\"x\",{member}}}")).stack_trace;
        assert_eq!(stack_trace.as_deref(), Some("a.rb:1\nb.rb:2"), "{member}");
    }
}

#[test]
fn what_a_wrapper_knows_of_the_container_names_the_source() {
    let draft = read(r#"{"log":"INFO x","kubernetes":{"container_name":"app"}}"#);
    assert_eq!((draft.source.as_deref(), draft.message.as_str()), (Some("app"), "INFO x"));
}

#[test]
fn records_of_opentelemetry() {
    let record = concat!(
        r#"{"timeUnixNano":"1714979289000000000","severityNumber":13,"#,
        r#""body":{"stringValue":"late"},"attributes":[{"key":"gate","value":{"intValue":"3"}},"#,
        r#"{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"a"}]}}}]}"#,
    );
    let expected = r#"WARN 2024-05-06T07:08:09Z late {"severityNumber":13,"attributes":{"gate":3,"tags":["a"]}"#;
    assert_eq!(shown(&read(record)), format!("{expected}}}"));
    let file = concat!(
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"depot"}}]},"#,
        r#""scopeLogs":[{"scope":{},"logRecords":[RECORD]}]}]}"#,
    );
    let file = file.replace("RECORD", record);
    let draft = read(&file);
    assert_eq!(shown(&draft), format!("{expected}}}"));
    assert_eq!(draft.source.as_deref(), Some("depot"));
}

#[test]
fn pairs() {
    check(&[
        (
            "time=2024-05-06T07:08:09Z level=warn msg=\"gate \\\"3\\\" is late\" wait=1.50 id=007 open",
            "WARN 2024-05-06T07:08:09Z gate \"3\" is late {\"wait\":1.50,\"id\":\"007\",\"open\":true}",
        ),
        ("ts=1714979289.5 lvl=eror msg=x a= b=\"\"", "ERROR 2024-05-06T07:08:09.5Z x {\"a\":\"\",\"b\":\"\"}"),
        ("level=info msg=x user=\"level=fatal\"", "INFO - x {\"user\":\"level=fatal\"}"),
        ("a=1 b=2 begins a sentence", "- - a=1 b=2 begins a sentence -"),
        ("Level=error Msg=x a='b c' d='e", "ERROR - x {\"a\":\"b c\",\"d\":\"'e\"}"),
        ("2024-05-06T07:08:09Z level=error msg=x a=1", "ERROR 2024-05-06T07:08:09Z x {\"a\":1}"),
        (
            "type=SYSCALL msg=audit(1714979289.000:456): arch=c000003e success=no",
            "- 2024-05-06T07:08:09Z type=SYSCALL msg=audit(1714979289.000:456): arch=c000003e success=no \
             {\"type\":\"SYSCALL\",\"msg\":\"audit(1714979289.000:456):\",\"arch\":\"c000003e\",\"success\":\"no\"}",
        ),
        (
            "type=LOGIN msg=audit(1714979289.000:7): pid=1 msg='op=login acct=\"root\" res=failed'\u{1d}UID=\"root\"",
            "- 2024-05-06T07:08:09Z type=LOGIN msg=audit(1714979289.000:7): pid=1 msg='op=login acct=\"root\" \
             res=failed'\u{1d}UID=\"root\" {\"type\":\"LOGIN\",\"msg\":\"audit(1714979289.000:7):\",\"pid\":1,\
             \"msg_2\":\"op=login acct=\\\"root\\\" res=failed\",\"UID\":\"root\"}",
        ),
        (
            "node=web-1 type=AVC msg=audit(1714979289.000:7): avc:  denied  { read } for  pid=7 comm=\"a b\"",
            "- 2024-05-06T07:08:09Z node=web-1 type=AVC msg=audit(1714979289.000:7): avc:  denied  { read } for  pid=7 \
             comm=\"a b\" {\"node\":\"web-1\",\"type\":\"AVC\",\"msg\":\"audit(1714979289.000:7):\",\"pid\":7,\
             \"comm\":\"a b\"}",
        ),
        ("type=a is not a record", "- - type=a is not a record -"),
    ]);
}

#[test]
fn requests() {
    for (line, level, fields) in [
        (
            "192.0.2.1 - ada [06/May/2024:07:08:09 +0000] \"GET /a?level=error HTTP/1.1\" 500 12 \"-\" \"curl/8\"",
            "-",
            concat!(
                r#"{"client":"192.0.2.1","user":"ada","status":500,"bytes":12,"agent":"curl/8","#,
                r#""method":"GET","path":"/a","query":"level=error","protocol":"HTTP/1.1"}"#,
            ),
        ),
        (
            "[2024-05-06T07:08:09Z] \"POST /a HTTP/2\" 503 UF 0 91 12 \
             - \"-\" \"curl/8\" \"id\" \"depot\" \"192.0.2.1:80\"",
            "-",
            concat!(
                r#"{"method":"POST","path":"/a","protocol":"HTTP/2","status":503,"response_flags":"UF","#,
                r#""bytes_received":0,"bytes":91,"duration_ms":12,"agent":"curl/8","request_id":"id","#,
                r#""authority":"depot","upstream_host":"192.0.2.1:80"}"#,
            ),
        ),
        (
            "[06/May/2024 07:08:09] \"GET / HTTP/1.1\" 500 5",
            "-",
            r#"{"method":"GET","path":"/","protocol":"HTTP/1.1","status":500,"bytes":5}"#,
        ),
        (
            "192.0.2.1 - - [06/May/2024:07:08:09 +0000] \"GET / HTTP/1.1\" 401 12 0.023 \"req-1\"",
            "-",
            concat!(
                r#"{"client":"192.0.2.1","status":401,"bytes":12,"#,
                r#""method":"GET","path":"/","protocol":"HTTP/1.1"}"#,
            ),
        ),
        (
            "2024-05-06 07:08:09 INFO 192.0.2.1:5 - \"GET /error HTTP/1.1\" 404 Not Found",
            "INFO",
            r#"{"method":"GET","path":"/error","protocol":"HTTP/1.1","status":404}"#,
        ),
    ] {
        assert_eq!(shown(&read(line)), format!("{level} {T} {line} {fields}"));
    }
}

#[test]
fn wrappers_are_taken_off() {
    check(&[
        ("2024-05-06T07:08:09.5Z stderr F ERROR x", "ERROR 2024-05-06T07:08:09.5Z ERROR x {\"stream\":\"stderr\"}"),
        (
            "2024-05-06T07:08:09.5Z stdout F {\"level\":\"warn\",\"msg\":\"x\",\"time\":\"2024-05-06T07:08:09Z\"}",
            "WARN 2024-05-06T07:08:09Z x {\"stream\":\"stdout\"}",
        ),
        (
            r#"{"log":"plain\n","stream":"stdout","time":"2024-05-06T07:08:09Z","attrs":{"a":"b"}}"#,
            "- 2024-05-06T07:08:09Z plain {\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"}}",
        ),
        (
            r#"{"date":1714979289,"log":"INFO x","kubernetes":{"pod_name":"a"}}"#,
            "INFO 2024-05-06T07:08:09Z INFO x {\"kubernetes\":{\"pod_name\":\"a\"}}",
        ),
        ("2024-05-06T07:08:09.123456789Z ", "- 2024-05-06T07:08:09.123456Z   -"),
        ("web-1    | WARN x", "WARN - WARN x {\"container\":\"web-1\"}"),
        ("[pod/web-0/app] WARN x", "WARN - WARN x {\"pod\":\"web-0\",\"container\":\"app\"}"),
        (
            "db-1  | 2024-05-06T07:08:09.123456789Z level=info msg=x",
            "INFO 2024-05-06T07:08:09.123456Z x {\"container\":\"db-1\"}",
        ),
        ("ERROR | x", "ERROR - ERROR | x -"),
        // The wrapper knows the year.
        (
            "2023-05-06T07:08:10Z stderr F E0506 07:08:09.5 7 a.go:1] x",
            "ERROR 2023-05-06T07:08:09.5Z E0506 07:08:09.5 7 a.go:1] x {\"stream\":\"stderr\"}",
        ),
        ("\u{1b}[31merror\u{1b}[39m: x\r", "ERROR - error: x -"),
    ]);
}

#[test]
fn headers_of_syslog_become_fields() {
    check(&[
        (
            "<165>1 2024-05-06T07:08:09Z gate shop 7 ID1 [a@1 b=\"c \\\"d\\\"\"] \u{feff}text",
            "INFO 2024-05-06T07:08:09Z text {\"hostname\":\"gate\",\"app\":\"shop\",\"pid\":7,\"messageId\":\"ID1\",\
             \"facility\":\"local4\",\"structuredData\":{\"a@1\":{\"b\":\"c \\\"d\\\"\"}}}",
        ),
        (
            "May  6 07:08:09 gate sshd[7]: error: x",
            "ERROR 2026-05-06T07:08:09Z error: x {\"hostname\":\"gate\",\"app\":\"sshd\",\"pid\":7}",
        ),
    ]);
}

#[test]
fn the_message_loses_only_what_the_event_says_as_well() {
    for (line, message) in [
        ("2024-05-06T07:08:09Z ERROR x", "x"),
        ("2024-05-06T07:08:09.500Z ERROR x", "x"),
        ("2024-05-06T07:08:09+00:00 ERROR x", "2024-05-06T07:08:09+00:00 ERROR x"),
        ("2024-05-06 07:08:09 ERROR x", "2024-05-06 07:08:09 ERROR x"),
        ("2024-05-06T07:08:09.1234567Z ERROR x", "2024-05-06T07:08:09.1234567Z ERROR x"),
        ("2024-05-06T07:08:09Z WARNING x", "2024-05-06T07:08:09Z WARNING x"),
        ("2024-05-06T07:08:09Z  ERROR x", "2024-05-06T07:08:09Z  ERROR x"),
        ("2024-05-06T07:08:09Z ERROR  x", "2024-05-06T07:08:09Z ERROR  x"),
        ("2024-05-06T07:08:09Z ERROR: x", "2024-05-06T07:08:09Z ERROR: x"),
        ("2024-05-06T07:08:09Z [main] ERROR x", "2024-05-06T07:08:09Z [main] ERROR x"),
        ("ERROR x", "ERROR x"),
    ] {
        assert_eq!(read(line).message, message, "{line}");
    }
}

#[test]
fn patterns_and_names_of_formats() {
    let pattern = r"^(?P<time>\S+) <(?P<level>\w+)> (?P<source>\w+)/(?P<unit>\w+) (?P<message>.*)$";
    let options = Options { format: pattern.parse().unwrap(), ..Options::default() };
    let draft = with("2024-05-06T07:08:09Z <warn> depot/3 late", &options);
    assert_eq!(shown(&draft), "WARN 2024-05-06T07:08:09Z late {\"unit\":3}");
    assert_eq!(draft.source.as_deref(), Some("depot"));
    assert_eq!(shown(&with("ERROR x", &options)), "ERROR - ERROR x -");
    let partial = Options { format: "(?P<message>late)".parse().unwrap(), ..Options::default() };
    assert_eq!(shown(&with("gate 3 is late", &partial)), "- - late {\"raw\":\"gate 3 is late\"}");
    for name in Format::NAMES {
        assert!(name.parse::<Format>().is_ok(), "{name}");
    }
    let text = Options { format: "text".parse().unwrap(), ..Options::default() };
    assert_eq!(shown(&with("{\"level\":\"error\"}", &text)), "- - {\"level\":\"error\"} -");
    for wrong in ["nonsense", "(?P<a>", "(?P<a>(x{1000}){1000})"] {
        assert!(wrong.parse::<Format>().is_err(), "{wrong}");
    }
}

#[test]
fn zones_of_times_without_one() {
    for (zone, expected) in [
        ("UTC", "2024-07-06T07:08:09Z"),
        ("Z", "2024-07-06T07:08:09Z"),
        ("+02:00", "2024-07-06T05:08:09Z"),
        ("-0530", "2024-07-06T12:38:09Z"),
        ("Europe/Berlin", "2024-07-06T05:08:09Z"),
        ("America/New_York", "2024-07-06T11:08:09Z"),
    ] {
        let options = Options { zone: zone.parse().unwrap(), ..Options::default() };
        assert_eq!(with("2024-07-06 07:08:09 x", &options).time.unwrap().to_string(), expected, "{zone}");
        assert_eq!(with("2024-07-06T07:08:09Z x", &options).time.unwrap().to_string(), "2024-07-06T07:08:09Z");
    }
    assert!("local".parse::<Zone>().is_ok());
    for wrong in ["", "+25:00", "+2", "Nowhere/City", "02:00", "ä"] {
        assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
    }
}
