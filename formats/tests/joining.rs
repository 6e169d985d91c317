//! Which lines become one event.

#![expect(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use domain::level::Level;
use domain::timestamp::Timestamp;
use formats::{Event, Options, Origin, Reader};

/// The numbers of the lines of an event.
struct Lines(Vec<usize>);

impl Origin for Lines {
    fn extend(&mut self, next: Self) {
        self.0.extend(next.0);
    }
}

fn read(log: &str) -> Vec<Event<Lines>> {
    let now = Timestamp::from_unix_micros(1_795_935_600_000_000).unwrap();
    let mut reader = Reader::new(Options::default());
    let mut events = Vec::new();
    for (index, line) in log.split('\n').enumerate() {
        reader.line(line.as_bytes(), Lines(vec![index + 1]), now, &mut |event| events.push(event));
    }
    reader.flush(&mut |event| events.push(event));
    assert!(!reader.holds_events());
    events
}

/// Checks that each block, of one or more lines, is one event of this level.
fn check(blocks: &[(Option<Level>, &str)]) {
    let log: Vec<_> = blocks.iter().map(|(_, block)| *block).collect();
    let log = log.join("\n");
    let (mut expected, mut first) = (Vec::new(), 1);
    for (level, block) in blocks {
        let lines = block.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
        expected.push((*level, lines.map(|(index, _)| first + index).collect::<Vec<_>>()));
        first += block.split('\n').count();
    }
    let found: Vec<_> = read(&log).into_iter().map(|event| (event.draft.level, event.origin.0)).collect();
    assert_eq!(found, expected, "{log}");
}

const INFO: Option<Level> = Some(Level::Info);
const WARN: Option<Level> = Some(Level::Warn);
const ERROR: Option<Level> = Some(Level::Error);
const FATAL: Option<Level> = Some(Level::Fatal);
const NEXT: (Option<Level>, &str) = (INFO, "2024-05-06T07:08:10Z INFO next");

#[test]
fn java() {
    check(&[
        (
            ERROR,
            "2024-05-06 07:08:09,123 ERROR [main] org.acme.Gate - closed\n\
             org.acme.ClosedException: by night\n\tat org.acme.Gate.open(Gate.java:3)\n\
             \tat org.acme.Main.main(Main.java:9)\n\tSuppressed: java.io.IOException: x\n\t\tat a.B.c(B.java:1)\n\
             Caused by: java.lang.NullPointerException\n\tat a.B.d(B.java:2)\n\t... 2 more\n\t... 5 common \
              frames omitted",
        ),
        (INFO, "2024-05-06 07:08:09,124 INFO [main] org.acme.Gate - ClosedException was handled"),
        (
            ERROR,
            "2024-05-06 07:08:09,125 ERROR Gate - SQL\njava.sql.SQLException: Syntax error; SQL statement:\n\
             SELECT 1\n FROM gates [42001]\n\tat org.h2.A.b(A.java:1)",
        ),
        (WARN, "2024-05-06 07:08:09,126 WARN Gate - late\nGateException: no package\n\tat Main.main(Main.java:6)"),
        (ERROR, "2024-05-06 07:08:09,127 ERROR Gate - x\norg.acme.Gate$ByNight: closed\n\tat a.B.c(B.java:1)"),
        NEXT,
        (ERROR, "Exception in thread \"main\" java.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)"),
        NEXT,
        (None, "gate is open"),
        (ERROR, "java.lang.OutOfMemoryError: Java heap space\n\tat a.B.c(B.java:1)"),
        (INFO, "2024-05-06T07:08:10Z INFO ignored\njava.io.IOException: x\n\tat a.B.c(B.java:1)"),
        (ERROR, "May 06, 2024 7:08:09 AM org.acme.Gate open\nSEVERE: closed\njava.lang.Error: x\n\tat a.B.c(B.java:1)"),
        (INFO, "May 06, 2024 7:08:10 AM org.acme.Gate open\nINFO: open"),
    ]);
}

#[test]
fn python() {
    let trace = "Traceback (most recent call last):\n  File \"/a.py\", line 3, in f\n    g()\nKeyError: 'x'\n\n\
                 The above exception was the direct cause of the following exception:\n\n\
                 Traceback (most recent call last):\n  File \"/a.py\", line 5, in f\n    raise E\na.b.Closed: INFO x";
    check(&[
        (ERROR, &format!("2024-05-06 07:08:09,123 gate ERROR failed\n{trace}")),
        NEXT,
        (ERROR, trace),
        NEXT,
        (ERROR, &format!("ERROR:gate:failed\n{trace}")),
        (WARN, "WARNING:gate:late\nTraceback (most recent call last):\n  File \"/a.py\", line 3, in f\nKeyError: 'x'"),
        NEXT,
        (ERROR, "Traceback (most recent call last):\n  File \"/a.py\", line 3, in f\nKeyboardInterrupt"),
        NEXT,
        (
            ERROR,
            "  + Exception Group Traceback (most recent call last):\n  |   File \"/a.py\", line 1, in <module>\n\
             \x20 | ExceptionGroup: x (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | \
              ValueError: 1\n\
             \x20   +------------------------------------",
        ),
    ]);
}

#[test]
fn node_and_browsers() {
    check(&[
        (None, "gate listens on 8080"),
        (
            FATAL,
            "/srv/gate.js:5\n    throw new TypeError(\"x\");\n    ^\n\nTypeError: x\n    at f (/srv/gate.js:5:9)\n    \
             at node:internal/main/run_main_module:23:47 {\n  code: 'E_X'\n}\n\nNode.js v20.11.1",
        ),
        NEXT,
        (
            ERROR,
            "2024-05-06T07:08:09.123Z error: payment failed\nTypeError: Cannot read 'x'\n    at f (/srv/a.js:3:9) {\n  \
             code: 'E',\n  [cause]: Error: y\n      at g (/b.js:1:1)\n}",
        ),
        (None, "gate listens on 8081"),
        (ERROR, "Error: x\n    at f (/srv/a.js:1:2)"),
        NEXT,
    ]);
}

#[test]
fn go() {
    let dump = "goroutine 18 [running]:\nmain.(*Gate).open(0xc000102000)\n\t/srv/gate.go:31 +0x1d\n\
                created by main.main in goroutine 1\n\t/srv/main.go:9 +0x5cb";
    check(&[
        (None, "2024/05/06 07:08:09 listening"),
        (FATAL, &format!("panic: runtime error: index out of range [3] with length 3\n\n{dump}\nexit status 2")),
        (None, "2024/05/06 07:08:09 started again"),
        (FATAL, &format!("fatal error: all goroutines are asleep - deadlock!\n\n{dump}\n\n{dump}")),
        NEXT,
        (ERROR, &format!("2024/05/06 07:08:09 http: panic serving 192.0.2.1:5: x\n{dump}")),
        (
            ERROR,
            "2024-05-06T07:08:09.123Z\tERROR\tgate\tgate.go:1\tx\t{\"a\": 1}\nmain.open\n\t/srv/gate.go:1\n\
             main.main\n\t/srv/main.go:2",
        ),
        NEXT,
        (FATAL, &format!("panic: a [recovered]\n\tpanic: a\n\n{dump}")),
    ]);
}

#[test]
fn rust_cpp_swift() {
    check(&[
        (
            ERROR,
            "thread 'main' panicked at src/gate.rs:3:5:\ngate is closed\nstack backtrace:\n   0: rust_begin_unwind\n\
             \x20            at /rustc/x/std/src/panicking.rs:1:1\n\
             note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
        ),
        NEXT,
        (
            ERROR,
            "thread 'tokio-runtime-worker' (7) panicked at src/gate.rs:3:5:\n\
             assertion `left == right` failed\n  left: 1\n \
             right: 2\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ),
        NEXT,
        (ERROR, "Error: cannot open\n\nCaused by:\n    0: gate\n    1: No such file"),
        NEXT,
        (
            FATAL,
            "terminate called after throwing an instance of 'std::out_of_range'\n  what():  x\nAborted (core dumped)",
        ),
        NEXT,
    ]);
}

#[test]
fn dotnet_ruby_php_erlang() {
    check(&[
        (FATAL, "Unhandled exception. System.InvalidOperationException: x\n   at A.B() in /a.cs:line 1"),
        NEXT,
        (
            ERROR,
            "2024-05-06 07:08:09.123 +01:00 [ERR] failed\nSystem.AggregateException: One or more (x)\n \
             ---> System.IO.IOException: y\n   at A.B()\n   --- End of inner exception stack trace ---\n   at A.C()",
        ),
        (ERROR, "fail: Gate.Program[0]\n      closed\n      System.Exception: x\n         at A.B()"),
        (INFO, "info: Gate.Program[0]\n      open"),
        (ERROR, "/srv/gate.rb:1:in `open': closed (RuntimeError)\n\tfrom /srv/gate.rb:9:in `each'"),
        NEXT,
        (
            FATAL,
            "[06-May-2024 07:08:09 UTC] PHP Fatal error:  Uncaught Exception: x in /a.php:1\nStack trace:\n\
             #0 /b.php(4): A->b()\n#1 {main}\n  thrown in /a.php on line 1",
        ),
        (WARN, "[06-May-2024 07:08:10 UTC] PHP Warning:  x in /a.php on line 3"),
        (
            ERROR,
            "07:08:09.123 [error] GenServer Gate terminating\n\
             ** (RuntimeError) closed\n    (gate 0.1.0) lib/gate.ex:12: Gate.open/1\nLast message: :open\nState: %{}",
        ),
        (INFO, "07:08:10.000 [info] next"),
        (
            ERROR,
            "=ERROR REPORT==== 6-May-2024::07:08:09.123456 ===\nError in process <0.1.0> with exit value:\n\
             {badarith,[]}\n",
        ),
        (WARN, "=WARNING REPORT==== 6-May-2024::07:08:10.000001 ===\n    gate: 7\n"),
        NEXT,
    ]);
}

#[test]
fn messages_of_several_lines() {
    check(&[
        (ERROR, "2024-05-06 07:08:09.123 UTC [7] ERROR:  x at character 15"),
        (None, "2024-05-06 07:08:09.123 UTC [7] STATEMENT:  SELECT *\n\tFROM gates\n\tWHERE state = 'FATAL'"),
        (INFO, "{\n  \"level\": \"info\",\n  \"msg\": \"a\",\n  \"b\": {\n    \"c\": 1\n  }\n}"),
        (INFO, "{\n    \"level\": \"info\",\n    \"msg\": \"}\"\n}"),
        NEXT,
        (None, "{\n  code: 'x'\n}"),
        (
            INFO,
            "[2024-05-06T07:08:09.123+0100] [Payara] [INFO] [] [a.B] [tid: _ThreadID=1] [[\n  open\nERROR is text]]",
        ),
        NEXT,
    ]);
}

#[test]
fn json_over_several_lines() {
    check(&[
        (
            ERROR,
            "{\"type\": \"server\", \"timestamp\": \"2024-05-06T07:08:09,123Z\", \"level\": \"ERROR\", \"a\": 1, \n\
             \"stacktrace\": [\"org.acme.Closed: x\",\n\"at org.acme.Gate.open(Gate.java:3)\",\n\"... 6 more\"] }",
        ),
        NEXT,
        (ERROR, "{\n\"level\": \"error\",\n\"a\": [\n{\"b\": 1},\n[2,\n3\n],\ntrue\n]\n, \"c\":\n4\n}"),
        (INFO, "{\"level\":\"info\",\"a\":{\"b\":1}\n}"),
        // What does not go on as JSON is another event; level and time count.
        (ERROR, "{\"level\":\"error\",\"a\":["),
        NEXT,
        (ERROR, "{\"level\":\"error\",\"a\":1,"),
        (INFO, "{\"level\":\"info\",\"a\":1}"),
        (ERROR, "{\"level\":\"error\",\"msg\":\"cut he"),
        (INFO, "{\"level\":\"info\",\"a\":1}"),
        (None, "{"),
        NEXT,
        (None, "{1, 2"),
        (None, "\"a\""),
    ]);
}

#[test]
fn slow_queries() {
    let log = "# Time: 2024-05-06T07:08:09.123456Z\n# User@Host: shop[shop] @ gate [192.0.2.1]  Id:     8\n\
               # Query_time: 2.000123  Lock_time: 0.000000 Rows_sent: 1  Rows_examined: 0\nuse shop;\n\
               SET timestamp=1714979289;\nSELECT 'ERROR'\n  from gates;\n\
               # User@Host: shop[shop] @ gate []\n# Query_time: 3.5\nSET timestamp=1714979290;\nSELECT 2;\n\
               # Time: 240506  7:08:11\n# User@Host: shop[shop] @ gate []\nSELECT 3;\n\
               2024-05-06T07:08:12Z INFO next";
    let shown = |event: Event<Lines>| {
        let time = event.draft.time.map(|time| time.to_string()).unwrap_or_default();
        let metadata = event.draft.metadata.map(|metadata| metadata.as_json().to_owned()).unwrap_or_default();
        format!("{} {time} {} {metadata}", event.origin.0.len(), event.draft.message)
    };
    let found: Vec<_> = read(log).into_iter().map(shown).collect();
    let expected = [
        "7 2024-05-06T07:08:09.123456Z use shop;\nSET timestamp=1714979289;\nSELECT 'ERROR'\n  from gates; \
         {\"User@Host\":\"shop[shop] @ gate [192.0.2.1]\",\"Id\":8,\
         \"Query_time\":2.000123,\"Lock_time\":0.000000,\"Rows_sent\":1,\"Rows_examined\":0}",
        "4 2024-05-06T07:08:10Z SET timestamp=1714979290;\nSELECT 2; \
         {\"User@Host\":\"shop[shop] @ gate []\",\"Query_time\":3.5}",
        "3 2024-05-06T07:08:11Z SELECT 3; {\"User@Host\":\"shop[shop] @ gate []\"}",
        "1 2024-05-06T07:08:12Z next ",
    ];
    assert_eq!(found, expected);
}

#[test]
fn traces_without_their_beginning() {
    check(&[
        (ERROR, "\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)\nCaused by: java.io.IOException: x\n\tat a.B.e(B.java:3)"),
        NEXT,
        (ERROR, "Caused by: java.io.IOException: x\n\tat a.B.e(B.java:3)\n\t... 6 more"),
        (INFO, "{\"level\":\"info\",\"msg\":\"x\"}"),
        (ERROR, "    at f (/srv/a.js:1:2)\n    at g (/srv/a.js:3:4)"),
        (INFO, "{\"level\":\"info\",\"msg\":\"x\"}"),
        (ERROR, "java.lang.X: y\n\tat a.B.c(B.java:1)\nCaused by: z\n\tat a.B.d(B.java:2)"),
        NEXT,
        (None, "java.lang.X: y"),
        (None, "at noon (12:00) the gate closes"),
        (INFO, "{\"level\":\"info\",\"msg\":\"x\"}"),
        (None, "  at noon (12:00) the gate closes"),
        (INFO, "{\"level\":\"info\",\"msg\":\"x\"}"),
        (ERROR, "   at A.B(String c) in /a.cs:line 1\n   at async f (C:\\a.js:1:2)"),
    ]);
    // The event was passed on, because no line came for a while.
    let now = Timestamp::from_unix_micros(1_795_935_600_000_000).unwrap();
    let (mut reader, mut levels) = (Reader::new(Options::default()), Vec::new());
    for line in ["2024-05-06T07:08:09Z INFO x", "\tat a.B.c(B.java:1)"] {
        reader.line(line.as_bytes(), (), now, &mut |event| levels.push(event.draft.level));
        reader.flush(&mut |event| levels.push(event.draft.level));
    }
    assert_eq!(levels, [INFO, ERROR]);
}

#[test]
fn the_message_is_the_text_that_says_something() {
    for (log, message) in [
        (
            "/gate.js:5\n  throw new TypeError(\"x\");\n  ^\n\nTypeError: x\n    at f (/a.js:5:9)\n\nNode.js v20",
            "TypeError: x",
        ),
        ("/srv/gate.js:5\nthrow \"by night\";\n^\nby night\n(Use `node ...`)\n\nNode.js v20", "by night"),
        ("\tat a.B.c(B.java:1)\nCaused by: x\n\tat a.B.d(B.java:2)\nCaused by: y", "Caused by: x"),
        ("Traceback (most recent call last):\n  File \"/a.py\", line 3, in f\nKeyError: 'x'", "KeyError: 'x'"),
        (
            "=ERROR REPORT==== 6-May-2024::07:08:09 ===\n** Generic server gate terminating\n    at night",
            "=ERROR REPORT==== 6-May-2024::07:08:09 ===\n** Generic server gate terminating\n    at night",
        ),
    ] {
        let events = read(log);
        assert_eq!(events.len(), 1, "{log}");
        let draft = &events[0].draft;
        assert_eq!(draft.message, message);
        let text = format!("{}\n{}", draft.message, draft.stack_trace.as_deref().unwrap_or_default());
        assert!(log.lines().all(|line| text.contains(line)), "{log}\n{text}");
    }
}

#[test]
fn times_of_kubectl_are_taken_off_every_line() {
    let stamp = "2024-05-06T07:08:09.123456789Z";
    let own = "2024-05-06T07:08:10.123456789Z its own time";
    let dump = ["panic: x", "", "goroutine 1 [running]:", "main.main()", "\t/srv/gate.go:3 +0x1d", "exit status 2"];
    let lines = dump.into_iter().chain(["plain text", "INFO x", "", own]);
    let log: Vec<_> = lines.map(|line| format!("{stamp} {line}")).collect();
    let events = read(&log.join("\n"));
    let found: Vec<_> = events.iter().map(|event| (event.origin.0.len(), event.draft.message.as_str())).collect();
    assert_eq!(found, [(5, "panic: x"), (1, "plain text"), (1, "INFO x"), (1, own)]);
    assert!(events.iter().all(|event| event.draft.time.is_some()));
    // A program may write such times itself: a line without one shows it.
    let text = format!("{stamp} plain text");
    let events = read(&format!("{stamp} panic: x\nno time\n{text}"));
    assert_eq!(events.last().unwrap().draft.message, text);
}

#[test]
fn lines_that_begin_events() {
    check(&[
        (None, "a"),
        (None, "b"),
        (None, "Aborted by the user"),
        (INFO, "2024-05-06T07:08:09Z INFO x"),
        (None, "State: open"),
        (None, "at noon the gate closes"),
        (ERROR, "ERROR x"),
        (ERROR, "ValueError: no time before it"),
        (INFO, "{\"level\":\"info\",\"msg\":\"x\"}"),
        (None, "  indented behind JSON\n  and again"),
        (INFO, "{\"level\":\"info\",\"msg\":\"y\"}"),
        (None, "  2024-05-06 07:08:09 a"),
        (None, "  [2024-05-06 07:08:10] b"),
        (None, "x"),
        (INFO, " {\"level\":\"info\",\"msg\":\"y\"}"),
    ]);
}

#[test]
fn streams_are_told_apart() {
    let log = "a-1  | 2024-05-06T07:08:09Z ERROR x\nb-1  | 2024-05-06T07:08:09Z ERROR y\na-1  | java.lang.Error: x\n\
               b-1  | java.lang.Error: y\na-1  | \tat a.A.a(A.java:1)\nb-1  | \tat b.B.b(B.java:1)\n\
               a-1  | 2024-05-06T07:08:10Z INFO z";
    let events = read(log);
    let found: Vec<_> = events.iter().map(|event| event.origin.0.clone()).collect();
    assert_eq!(found, [vec![1, 3, 5], vec![2, 4, 6], vec![7]]);
    let stack = events[1].draft.stack_trace.as_deref().unwrap();
    assert_eq!(stack, "java.lang.Error: y\n\tat b.B.b(B.java:1)");
    assert_eq!(events[0].draft.metadata.as_ref().unwrap().as_json(), "{\"container\":\"a-1\"}");
}

#[test]
fn parts_of_lines_are_joined() {
    let log = "2024-05-06T07:08:09.1Z stdout P one, \n2024-05-06T07:08:09.2Z stderr F INFO between\n\
               2024-05-06T07:08:09.3Z stdout P two, \n2024-05-06T07:08:09.4Z stdout F three\n\
               {\"log\":\"four, \",\"stream\":\"stdout\",\"time\":\"2024-05-06T07:08:10Z\"}\n\
               {\"log\":\"five\\n\",\"stream\":\"stdout\",\"time\":\"2024-05-06T07:08:11Z\"}\n\
               2024-05-06T07:08:12Z stdout P the end never comes";
    let found: Vec<_> = read(log).into_iter().map(|event| (event.origin.0, event.draft.message)).collect();
    let expected = [
        (vec![1, 3, 4], "one, two, three"),
        (vec![2], "INFO between"),
        (vec![5, 6], "four, five"),
        (vec![7], "the end never comes"),
    ];
    assert_eq!(found, expected.map(|(lines, text)| (lines, text.to_owned())));
}
