//! Lines of text of common formats: level and time.

#![expect(clippy::unwrap_used, reason = "a failed setup is a failed test")]

use domain::level::Level;
use domain::timestamp::Timestamp;
use formats::{Options, draft};

/// 2026-11-29T07:00:00Z.
const NOW: i64 = 1_795_935_600_000_000;

/// The time that most lines have.
const T: &str = "2024-05-06T07:08:09Z";
const MS: &str = "2024-05-06T07:08:09.123Z";
/// In the latest year.
const Y: &str = "2026-05-06T07:08:09Z";

fn check(rows: &[(&str, Option<Level>, &str)]) {
    let mut wrong = Vec::new();
    for (line, level, time) in rows {
        let now = Timestamp::from_unix_micros(NOW).unwrap();
        let draft = draft(line, &Options::default(), now);
        let found = draft.time.map_or_else(String::new, |time| time.to_string());
        if (draft.level, found.as_str()) != (*level, *time) {
            wrong.push(format!("{line}\n    expected {level:?} {time}, got {:?} {found}", draft.level));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const TRACE: Option<Level> = Some(Level::Trace);
const DEBUG: Option<Level> = Some(Level::Debug);
const INFO: Option<Level> = Some(Level::Info);
const WARN: Option<Level> = Some(Level::Warn);
const ERROR: Option<Level> = Some(Level::Error);
const FATAL: Option<Level> = Some(Level::Fatal);

#[test]
fn jvm() {
    check(&[
        ("2024-05-06 07:08:09,123 INFO [main] org.acme.Depot: opened 3 gates", INFO, MS),
        ("2024-05-06 07:08:09,123 - WARN  [Depot[id=1]/0:0:0:0:FastElection@774] - late: 3200", WARN, MS),
        ("07:08:09,123 ERROR [org.jboss.as] (MSC service thread 1-1) WFLYSRV0026: failed", ERROR, ""),
        ("2024-05-06 07:08:09,123 ERROR [org.jboss.msc] (MSC service thread 1-1) MSC000001: failed", ERROR, MS),
        ("2024-05-06 07:08:09.123:WARN:oejs.Server:main: no gate", WARN, MS),
        ("24/05/06 07:08:09 INFO SparkContext: Running Spark version 3.5.0", INFO, T),
        ("[2024-05-06T07:08:09,123][DEBUG][o.a.Depot] [node-1] x", DEBUG, MS),
        ("2024-05-06 07:08:09.123 [http-nio-8080-exec-1] TRACE org.acme.Gate - x", TRACE, MS),
        ("2024-05-06 07:08:09.123 ERROR 1 --- [nio-8080-exec-1] o.a.Gate   : WARN is a word", ERROR, MS),
        ("06-May-2024 07:08:09.123 FINE [main] org.acme.Gate.open x", DEBUG, MS),
        ("2024-05-06 07:08:09,123 [quartz-1] INFO  org.acme.Gate  - x", INFO, MS),
        ("2024-05-06T07:08:09.123Z [main] FATAL org.acme.Gate: x", FATAL, MS),
        ("[2024-05-06 07:08:09,123] {gate.py:12} WARNING - x", WARN, MS),
        ("INFO  [2024-05-06 07:08:09,123] org.acme.Gate: dropwizard", INFO, MS),
        ("[INFO ] 2024-05-06 07:08:09.123 [main] Gate - log4j 2", INFO, MS),
        ("[INFO] Scanning for projects...", INFO, ""),
        ("[ERROR] Failed to execute goal org.apache.maven", ERROR, ""),
        ("[2024-05-06T07:08:09.123+0000][warning][gc,heap] GC(3) x", WARN, MS),
        ("2024-05-06 07:08:09,123 main ERROR Unable to locate appender", ERROR, MS),
        ("2024-05-06 07:08:09.123  INFO [gate,4bf92f3577b34da6,00f067aa] 1 --- [main] o.a.G : x", INFO, MS),
    ]);
}

#[test]
fn python_and_ruby() {
    check(&[
        ("2024-05-06 07:08:09,123 gate WARNING late", WARN, MS),
        ("2024-05-06 07:08:09,123 [ERROR] gate: x", ERROR, MS),
        ("2024-05-06 07:08:09,123 | CRITICAL | gate | x", FATAL, MS),
        ("ERROR    gate:gate.py:12 pytest x", ERROR, ""),
        ("CRITICAL:gate:x", FATAL, ""),
        ("[06/May/2024 07:08:09] ERROR [gate.views:12] x", ERROR, T),
        ("[06/May/2024 07:08:09] \"GET /error HTTP/1.1\" 500 145", None, T),
        ("2024-05-06 07:08:09.123 | WARNING  | __main__:<module>:3 - x", WARN, MS),
        ("[2024-05-06 07:08:09 +0000] [7] [DEBUG] x", DEBUG, T),
        ("2024-05-06 07:08:09 [error    ] gate closed      [gate] reason=late", ERROR, T),
        ("2024-05-06T07:08:09.123Z [info     ] structlog console        port=1", INFO, MS),
        ("[I 07:08:09.123 NotebookApp] Serving", INFO, ""),
        ("[E 2024-05-06 07:08:09.123 ServerApp] x", ERROR, MS),
        ("W, [2024-05-06T07:08:09.123456 #7]  WARN -- gate: x", WARN, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123Z 7 TID-abc INFO: start", INFO, MS),
        ("2024-05-06T07:08:09.123Z pid=7 tid=abc class=Gate INFO: done", INFO, MS),
        ("[7] ! Unable to load application: RuntimeError: x", None, ""),
        ("INFO:     Started server process [7]", INFO, ""),
        ("WARNING:  StatReload detected changes", WARN, ""),
    ]);
}

#[test]
fn go_rust_node_dotnet_php() {
    check(&[
        ("INFO[0000] listening                    port=8080", INFO, ""),
        ("ERRO[0012] gate closed", ERROR, ""),
        ("FATA[2024-05-06T07:08:09Z] gate closed", FATAL, T),
        ("2024/05/06 07:08:09 INFO slog default count=3", INFO, T),
        ("2024/05/06 07:08:09 error reading file", None, T),
        ("2024/05/06 07:08:09 main.go:12: error: no gate", ERROR, T),
        ("2024/05/06 07:08:09 [WARN] memberlist: x", WARN, T),
        ("2024-05-06T07:08:09.123Z [ERROR] agent.client: x: error=\"y\"", ERROR, MS),
        ("7:08AM INF zerolog console port=1", INFO, ""),
        ("2024-05-06T07:08:09Z DBG zerolog console port=1", DEBUG, T),
        ("2024-05-06T07:08:09.123Z\twarn\tzap/gate.go:1\tx\t{\"a\": 1}", WARN, MS),
        ("I0506 07:08:09.123456       7 gate.go:12] x", INFO, "2026-05-06T07:08:09.123456Z"),
        ("W0506 07:08:09.123456 7 gate.go:12] ERROR is a word", WARN, "2026-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123456Z  INFO gate::open: x port=1", INFO, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123456Z ERROR ThreadId(01) gate: x", ERROR, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123Z ERROR [gate] x", ERROR, MS),
        ("[2024-05-06][07:08:09][gate::open][WARN] fern", WARN, ""),
        ("07:08:09 [ERROR] simplelog x", ERROR, ""),
        ("May 06 07:08:09.123 ERRO slog-term x, port: 1", None, "2026-05-06T07:08:09.123Z"),
        ("2024-05-06T07:08:09.123Z - info: winston x", INFO, MS),
        ("2024-05-06T07:08:09.123Z [gate] warn: x", WARN, MS),
        ("error: winston simple {\"service\":\"gate\"}", ERROR, ""),
        ("[2024-05-06T07:08:09.123] [ERROR] default - log4js", ERROR, MS),
        ("[Nest] 7  - 05/26/2024, 7:08:09 AM     LOG [NestFactory] Starting", None, "2024-05-26T07:08:09Z"),
        ("[Nest] 7  - 05/26/2024, 7:08:09 AM   ERROR [Gate] x", ERROR, "2024-05-26T07:08:09Z"),
        ("npm ERR! code ENOENT", ERROR, ""),
        ("npm warn deprecated x", WARN, ""),
        ("2024-05-06 07:08:09.1230|ERROR|Gate.Program|NLog", ERROR, MS),
        ("2024-05-06 07:08:09,123 [1] WARN  Gate.Program [(null)] - log4net", WARN, MS),
        ("2024-05-06 07:08:09.123 +00:00 [FTL] Serilog", FATAL, MS),
        ("[07:08:09 DBG] Serilog", DEBUG, ""),
        ("fail: Gate.Program[0]", ERROR, ""),
        (
            "[2024-05-06T07:08:09.123456+00:00] request.INFO: Matched route \"error\". [] []",
            INFO,
            "2024-05-06T07:08:09.123456Z",
        ),
        ("[2024-05-06 07:08:09] local.ERROR: x {\"exception\":\"[object] (Error(code: 0)\"}", ERROR, T),
        ("[06-May-2024 07:08:09 UTC] PHP Parse error:  x in /a.php on line 1", ERROR, T),
        ("[06-May-2024 07:08:09] WARNING: [pool www] server reached max_children", WARN, T),
        ("PHP Deprecated:  x in /a.php on line 1", INFO, ""),
    ]);
}

#[test]
fn services() {
    check(&[
        ("2024-05-06T07:08:09.123+0000 I NETWORK  [conn1] end connection", INFO, MS),
        ("2024-05-06T07:08:09.123+0000 E -        [initandlisten] x", ERROR, MS),
        ("2024-05-06 07:08:09.123 [error] <0.1.0> RabbitMQ", ERROR, MS),
        ("[7] 2024/05/06 07:08:09.123456 [INF] Server is ready", INFO, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123Z [INFO]  core: vault is unsealed", INFO, MS),
        ("2024.05.06 07:08:09.123456 [ 7 ] {} <Error> Application: ClickHouse", ERROR, "2024-05-06T07:08:09.123456Z"),
        ("2024.05.06 07:08:09.123456 [ 7 ] {abc} <Debug> executeQuery: x", DEBUG, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06  7:08:09 0 [Warning] MariaDB x", WARN, T),
        ("240506  7:08:09 [ERROR] MySQL 5 x", ERROR, T),
        ("2024-05-06T07:08:09Z I! Telegraf", INFO, T),
        ("2024-05-06T07:08:09Z E! [outputs.x] failed", ERROR, T),
        ("2024-05-06T07:08:09.123456Z\tinfo\tistio x", INFO, "2024-05-06T07:08:09.123456Z"),
        ("time=\"2024-05-06T07:08:09Z\" level=error msg=\"traefik\"", ERROR, T),
        ("7:X 06 May 2024 07:08:09.123 # redis is starting", WARN, MS),
        ("2024-05-06 07:08:09.123 UTC [7] LOG:  checkpoint complete", INFO, MS),
        ("2024-05-06 07:08:09.123 UTC [7] gate@depot FATAL:  no database", FATAL, MS),
        ("2024-05-06 07:08:09.123 UTC [7] HINT:  ERROR: is a word", None, MS),
        ("[Mon May 06 07:08:09.123456 2024] [ssl:warn] [pid 7] AH01909: x", WARN, "2024-05-06T07:08:09.123456Z"),
        ("2024/05/06 07:08:09 [alert] 7#7: worker process exited", FATAL, T),
        ("06 May 2024 07:08:09.123 INFO Depot: x", INFO, MS),
        ("2024-05-06 07:08:09,123 [myid:1] - WARN  [main:QuorumCnx@584] - x", WARN, MS),
        ("2024-05-06 07:08:09.123 7 ERROR nova.compute [-] x", ERROR, MS),
        (
            "nova-api.log.1 2024-05-06 07:08:09.123 7 INFO nova.osapi [req-1 - - -] 10.0.0.1 \"GET /v2 \
             HTTP/1.1\" status: 200",
            INFO,
            MS,
        ),
        ("I240506 07:08:09.123456 7 server/node.go:1 [n1] cockroach", INFO, "2024-05-06T07:08:09.123456Z"),
        ("2024-05-06T07:08:09.123456Z 7 [Note] [MY-010] [Server] x", INFO, "2024-05-06T07:08:09.123456Z"),
        ("05-06 07:08:09.123  7  8 F libc    : Fatal signal 11", FATAL, "2026-05-06T07:08:09.123Z"),
        ("E/Gate( 1234): closed", ERROR, ""),
        ("[ERROR]\t2024-05-06T07:08:09.123Z\t5b1e7c0a-93d2-4f6e-8a1b-2c3d4e5f6071\tx", ERROR, MS),
        ("2024-05-06T07:08:09.123Z 5b1e7c0a-93d2-4f6e-8a1b-2c3d4e5f6071 WARN x", WARN, MS),
        ("2024-05-06 07:08:09 status installed libc6:amd64 2.36", None, T),
        ("Log started: 2024-05-06  07:08:09", None, T),
        ("Log started: 2024-05-06  07:08:09 by hand", None, ""),
        ("# Time: 240506  7:08:09", None, T),
        ("[Mon May 06 07:08:09.123456 2024] [core:trace4] [pid 7] x", TRACE, "2024-05-06T07:08:09.123456Z"),
    ]);
}

#[test]
fn syslog() {
    check(&[
        ("May  6 07:08:09 gate kernel: [12.3] usb 1-1: error -71", None, Y),
        ("May  6 07:08:09 gate postfix/smtpd[7]: warning: hostname x does not resolve", WARN, Y),
        ("May  6 07:08:09 gate app[7]: ERROR no port", ERROR, Y),
        ("May  6 07:08:09 gate app[7]: [warn] late", WARN, Y),
        ("<11>May  6 07:08:09 gate app: INFO is a word", ERROR, Y),
        ("<13>2024-05-06T07:08:09.123Z gate app[7]: x", INFO, MS),
        ("<165>1 2024-05-06T07:08:09.123Z gate app 7 ID1 - ERROR is a word", INFO, MS),
        ("<0>1 - - - - - - no time", FATAL, ""),
        ("<14>app: 2024-05-06T07:08:09.123Z ERROR is a word", INFO, MS),
        ("2024-05-06T07:08:09+00:00 gate CRON[7]: (root) CMD (error)", None, T),
        ("<6>[    1.234567] usb 1-1: new device", INFO, ""),
        ("kern  :err   : [    1.234567] usb 1-1: x", ERROR, ""),
        ("authpriv:notice: [Mon May  6 07:08:09 2024] x", INFO, T),
        ("kern  :err   : 2024-05-06T07:08:09,123+00:00 x", ERROR, MS),
        ("gate  :err   : x", None, ""),
        ("<134>May  6 07:08:09 haproxy[7]: ERROR is a word", INFO, Y),
        ("2024-05-06T07:08:09.123456+00:00 gate sudo: error: x", ERROR, "2024-05-06T07:08:09.123456Z"),
        ("<189>May  6 2024 07:08:09: %SYS-5-CONFIG_I: Configured", INFO, T),
        ("May 06 07:08:09 gate app[7]: {\"level\":\"error\",\"msg\":\"x\"}", ERROR, Y),
        ("May 06 07:08:09 gate app[7]: level=warn msg=x", WARN, Y),
    ]);
}

#[test]
fn words_that_are_no_levels() {
    check(&[
        ("2024-05-06T07:08:09Z Got ERROR from upstream", None, T),
        ("2024-05-06T07:08:09Z received ERROR from upstream", None, T),
        ("2024-05-06T07:08:09Z an INFO page", None, T),
        ("2024-05-06T07:08:09Z (see the ERROR log) x", None, T),
        ("2024-05-06T07:08:09Z path=/var/log/ERROR.log x", None, T),
        ("2024-05-06T07:08:09Z SELECT 'ERROR' FROM t", None, T),
        ("2024-05-06T07:08:09Z https://a/?level=ERROR was opened", None, T),
        ("2024-05-06T07:08:09Z error-handler registered", None, T),
        ("2024-05-06T07:08:09Z ERRORS: 3", None, T),
        ("2024-05-06T07:08:09Z errors found", None, T),
        ("2024-05-06T07:08:09Z Information about the gate", None, T),
        ("2024-05-06T07:08:09Z job 7 finished: ERROR", None, T),
        ("2024-05-06T07:08:09Z last error: FATAL", None, T),
        ("2024-05-06T07:08:09Z Status: ERROR", None, T),
        ("2024-05-06T07:08:09Z status=ERROR code=5", None, T),
        ("2024-05-06T07:08:09Z [ERROR-page] shown", None, T),
        ("2024-05-06T07:08:09Z 'ERROR' was typed", None, T),
        ("2024-05-06T07:08:09Z {\"level\":\"error\"} was typed", None, T),
        ("2024-05-06T07:08:09Z file ERROR.txt", None, T),
        ("2024-05-06T07:08:09Z 3 of 5 warnings", None, T),
        ("Result: FATAL", None, ""),
        ("warnings were found", None, ""),
        ("Errors and warnings", None, ""),
        ("the error: is here", None, ""),
        ("information is power", None, ""),
        ("debugging the gate", None, ""),
        ("WARNING_LEVEL=3", None, ""),
        ("\"ERROR: x\"", None, ""),
        ("<error>text</error>", None, ""),
        ("user@error.example logged in", None, ""),
        ("started at 2024-05-06 07:08:09", None, ""),
        ("the backup of 2024-05-06T07:08:09Z is done", None, ""),
    ]);
}

#[test]
fn words_that_are_levels() {
    check(&[
        ("ERROR: x", ERROR, ""),
        ("ERROR x", ERROR, ""),
        ("error: x", ERROR, ""),
        ("Error: x", ERROR, ""),
        ("[error] x", ERROR, ""),
        ("(WARN) x", WARN, ""),
        ("fatal error: x", FATAL, ""),
        ("src/a.c:12:5: warning: unused variable", WARN, ""),
        ("src/a.c:12:5: error: x", ERROR, ""),
        ("make: *** [all] Error 1", None, ""),
        ("FAILURE: Build failed with an exception.", ERROR, ""),
        ("level=warn x", WARN, ""),
        ("2024-05-06T07:08:09Z level=warn x", WARN, T),
        ("2024-05-06 07:08:09 info x", INFO, T),
        ("2024-05-06 07:08:09 error payment failed", ERROR, T),
        ("2024-05-06 07:08:09 HTTP WARN late", WARN, T),
        ("[07:08:09] [Server thread/INFO]: Done", INFO, ""),
        ("info  2024-05-06 07:08:09: zigbee", INFO, T),
        ("[2024-05-06 07:08:09] ERROR x", ERROR, T),
        ("2024-05-06T07:08:09.123Z|WARN|gate|x", WARN, MS),
        ("06.05.2024 07:08:09 *ERROR* [main] sling x", ERROR, T),
        ("2024-05-06 07:08:09;ERROR;x", ERROR, T),
        ("2024-05-06 07:08:09,ERROR,x", ERROR, T),
        ("\"2024-05-06 07:08:09\",\"ERROR\",\"x\"", ERROR, T),
        ("W 2024-05-06 07:08:09 x", WARN, T),
        ("[2024-05-06 07:08:09] [level=ERROR] x", ERROR, T),
        ("E: Unable to locate package x", ERROR, ""),
        ("240506 070809 7 INFO dfs.DataNode: x", INFO, T),
        ("20240506-07:08:09:123|Step|7|x", None, MS),
        ("2024-05-06 1030 boxes", None, ""),
        ("2024-05-06 07:08:09 GMT+0 WARN x", WARN, T),
        ("\"2024-05-06 07:08:09\";\"ERROR\";\"x\"", ERROR, T),
        ("\"2024-05-06 07:08:09\"\t\"ERROR\"\t\"x\"", ERROR, T),
        ("7;\"2024-05-06 07:08:09\";\"ERROR\";\"x\"", ERROR, T),
        ("2024-05-06 07:08:09 UTC [7] DEBUG1:  x", DEBUG, T),
        // A time that does not exist is none, and the level counts.
        ("05/26/2024 13:08:09 AM ERROR x", ERROR, ""),
        ("05/26/2024 25:08:09 error x", ERROR, ""),
        ("13:08:09 AM ERROR x", ERROR, ""),
        ("2024-05-06T07:61:09Z ERROR x", ERROR, ""),
        ("2024-05-06 19:08:09 PM ERROR x", ERROR, "2024-05-06T19:08:09Z"),
    ]);
}
