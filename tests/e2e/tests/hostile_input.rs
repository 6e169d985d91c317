//! Erroneous and malicious input, and the answers to it.
//!
//! Every input is sent byte for byte to the producer and to the gateway. `-- --nocapture` prints the table.

#![cfg(test)]

use std::io::Write;

use bytes::Bytes;
use e2e::{Http, Program, exchange, metric, wait_until};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const EVENT: &str = r#"{"source":"neighbour","level":"INFO","message":"m"}"#;
const MEBIBYTE: usize = 1 << 20;

/// The answers to an input: the status of each answer, and the code of the last; empty if the connection is closed
/// without an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    statuses: Vec<u16>,
    code: String,
    accepted: u64,
}

/// An input with the expected statuses and code.
struct Case {
    name: &'static str,
    parts: Vec<Bytes>,
    statuses: &'static [u16],
    code: &'static str,
}

fn case(name: &'static str, bytes: impl Into<Bytes>, statuses: &'static [u16], code: &'static str) -> Case {
    Case { name, parts: vec![bytes.into()], statuses, code }
}

/// A request with a body of known length.
fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

const JSON: &str = "Content-Type: application/json";
const LINES: &str = "Content-Type: application/x-ndjson";

fn single(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/api/logs", &[JSON], body.as_ref())
}

fn batch(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/api/logs/batch", &[JSON], body.as_ref())
}

fn lines(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/api/logs/batch", &[LINES], body.as_ref())
}

fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

/// A valid event except for these members.
fn with(members: &str) -> String {
    EVENT.replacen('{', &format!("{{{members},"), 1)
}

fn coded(coding: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/api/logs/batch", &[JSON, &format!("Content-Encoding: {coding}")], body.as_ref())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(content, 1).expect("in memory")
}

fn truncated(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 6);
    bytes
}

/// A body of the maximum length: `unit` as often as it fits between the ends.
fn full(begin: &str, unit: &str, end: &str) -> String {
    let units = (16 * MEBIBYTE - begin.len() - end.len()) / unit.len();
    [begin, &unit.repeat(units), end].concat()
}

/// Each control character takes six bytes as JSON.
fn over_the_record_limit() -> String {
    let text = "\\u0001".repeat(100_000);
    format!(r#"{{"source":"s","level":"INFO","message":"{text}","stackTrace":"{text}"}}"#)
}

fn heads() -> Vec<Case> {
    let head = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let post = "POST /api/logs HTTP/1.1\nHost: localhost\nConnection: close\nContent-Type: application/json\n";
    let with_length = |lengths: &str| head(&format!("{post}{lengths}\n{EVENT}"));
    let chunked = |body: &str| head(&format!("{post}Transfer-Encoding: chunked\n\n{body}"));
    let length = EVENT.len();
    let chunk = format!("{length:x}\n{EVENT}\n0\n\n");
    let pipelined = |first: &str| {
        let first = format!(
            "POST /api/logs HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: {}\n\n{first}",
            first.len()
        );
        [head(&first), single(EVENT)].concat()
    };
    let many_headers: String = (0..65).map(|n| format!("X-{n}: 1\n")).collect();
    vec![
        case("bytes that are not HTTP", &b"\x00\x01\x02\xff\r\n\r\n"[..], &[400], ""),
        case("the beginning of TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], &[400], ""),
        case("the preface of HTTP/2", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[], ""),
        case("HTTP/0.9", &b"GET /api/logs\r\n\r\n"[..], &[400], ""),
        case("a header of 500 KB", head(&format!("{post}X-Long: {}\n\n", "x".repeat(500_000))), &[431], ""),
        case("65 headers", head(&format!("{post}{many_headers}\n")), &[431], ""),
        case(
            "a path of 70 KB",
            head(&format!("GET /{} HTTP/1.1\nHost: localhost\n\n", "x".repeat(70_000))),
            &[414],
            "",
        ),
        case("a header folded over two lines", head(&format!("{post}X-Folded: a\n b\n\n")), &[400], ""),
        case("a space before the colon", head(&format!("{post}X-Space : a\n\n")), &[400], ""),
        case("U+0000 in a header", head(&format!("{post}X-Nul: a\0b\n\n")), &[400], ""),
        case("a negative Content-Length", with_length("Content-Length: -1\n"), &[400], ""),
        case("a Content-Length that is not a number", with_length("Content-Length: 1e2\n"), &[400], ""),
        case("two different lengths", with_length("Content-Length: 5\nContent-Length: 6\n"), &[400], ""),
        case(
            "Content-Length beside Transfer-Encoding",
            head(&format!("{post}Content-Length: 5\nTransfer-Encoding: chunked\n\n{chunk}")),
            &[202],
            "",
        ),
        case("an unknown transfer coding", with_length("Transfer-Encoding: gzip\n"), &[400], ""),
        case("a chunked body", chunked(&chunk), &[202], ""),
        case(
            "a chunked body with a trailer",
            chunked(&format!("{length:x}\n{EVENT}\n0\nX-Trailer: 1\n\n")),
            &[202],
            "",
        ),
        case("a chunk size that is not a number", chunked("zz\n{}\n0\n\n"), &[400], "undecodable"),
        case("a chunk size beyond 64 bits", chunked("fffffffffffffffff\n{}\n0\n\n"), &[400], "undecodable"),
        case(
            "a chunk extension of 20 KB",
            chunked(&format!("1;x={}\n{{\n0\n\n", "x".repeat(20_000))),
            &[400],
            "undecodable",
        ),
        case("two requests at once", pipelined(EVENT), &[202, 202], ""),
        case("a bad request before a good one", pipelined("{"), &[400, 202], ""),
        case(
            "Expect: 100-continue",
            request("POST", "/api/logs", &[JSON, "Expect: 100-continue"], EVENT.as_bytes()),
            &[202],
            "",
        ),
        case("an Upgrade", request("POST", "/api/logs", &[JSON, "Upgrade: websocket"], EVENT.as_bytes()), &[202], ""),
        case(
            "a method in lower case",
            request("post", "/api/logs", &[JSON], EVENT.as_bytes()),
            &[405],
            "method_not_allowed",
        ),
        case("an unknown method", request("BREW", "/api/logs", &[], b""), &[405], "method_not_allowed"),
        case("DELETE", request("DELETE", "/api/logs", &[], b""), &[405], "method_not_allowed"),
        case("GET of a batch", get("/api/logs/batch"), &[405], "method_not_allowed"),
        case("a path with ..", get("/api/../../etc/passwd"), &[404], "not_found"),
        case(
            "another host in the request line",
            request("POST", "http://elsewhere/api/logs", &[JSON], EVENT.as_bytes()),
            &[403],
            "host_not_allowed",
        ),
        case("an unknown path", get("/api/log"), &[404], "not_found"),
    ]
}

fn media() -> Vec<Case> {
    let typed =
        |media_type: &str| request("POST", "/api/logs", &[&format!("Content-Type: {media_type}")], EVENT.as_bytes());
    let array = format!("[{EVENT}]").into_bytes();
    let bomb = vec![b' '; 64 * MEBIBYTE];
    let mut wide = ::zstd::Encoder::new(Vec::new(), 1).expect("in memory");
    wide.window_log(27).expect("a window");
    wide.write_all(&bomb).expect("in memory");
    let wide = wide.finish().expect("in memory");
    vec![
        case("no Content-Type", request("POST", "/api/logs", &[], EVENT.as_bytes()), &[415], "unsupported_media_type"),
        case("text/plain", typed("text/plain"), &[415], "unsupported_media_type"),
        case("a form", typed("multipart/form-data; boundary=x"), &[415], "unsupported_media_type"),
        case("JSON lines for a single event", typed("application/x-ndjson"), &[415], "unsupported_media_type"),
        case("a Content-Type with a charset", typed("application/json; charset=utf-8"), &[202], ""),
        case("a Content-Type in capitals", typed("APPLICATION/JSON"), &[202], ""),
        case("an unknown coding", coded("br", &array), &[415], "unsupported_media_type"),
        case("a coding twice", coded("gzip, gzip", gzip(&gzip(&array))), &[415], "unsupported_media_type"),
        case(
            "a coding in two headers",
            request("POST", "/api/logs/batch", &[JSON, "Content-Encoding: gzip", "Content-Encoding: zstd"], &array),
            &[415],
            "unsupported_media_type",
        ),
        case("gzip", coded("gzip", gzip(&array)), &[202], ""),
        case("zstd", coded("zstd", zstd(&array)), &[202], ""),
        case("deflate", coded("deflate", zlib(&array)), &[202], ""),
        case("invalid gzip", coded("gzip", &array), &[400], "undecodable"),
        case("invalid zstd", coded("zstd", &array), &[400], "undecodable"),
        case("invalid deflate", coded("deflate", &array), &[400], "undecodable"),
        case("truncated gzip", coded("gzip", truncated(gzip(&array))), &[400], "undecodable"),
        case("truncated zstd", coded("zstd", truncated(zstd(&array))), &[400], "undecodable"),
        case("truncated deflate", coded("deflate", truncated(zlib(&array))), &[400], "undecodable"),
        case(
            "gzip with trailing bytes",
            coded("gzip", [gzip(&array), b"more".to_vec()].concat()),
            &[400],
            "undecodable",
        ),
        case("an empty body as gzip", coded("gzip", b""), &[400], "undecodable"),
        case("64 MiB in 64 KB of gzip", coded("gzip", gzip(&bomb)), &[413], "too_large"),
        case("64 MiB in 64 KB of deflate", coded("deflate", zlib(&bomb)), &[413], "too_large"),
        case("64 MiB in a few KB of zstd", coded("zstd", zstd(&bomb)), &[413], "too_large"),
        case("zstd with a window of 128 MiB", coded("zstd", wide), &[400], "undecodable"),
    ]
}

fn single_events() -> Vec<Case> {
    let long = |length: usize| "x".repeat(length);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let text =
        |name: &str, value: &str| single(format!(r#"{{"source":"s","level":"INFO","message":"m","{name}":{value}}}"#));
    let instead = |name: &str, value: &str| {
        let mut event: serde_json::Value = serde_json::from_str(EVENT).expect("JSON");
        event.as_object_mut().expect("an object").shift_remove(name);
        single(event.to_string().replacen('{', &format!(r#"{{"{name}":{value},"#), 1))
    };
    vec![
        case("an empty body", single(""), &[400], "undecodable"),
        case("white space", single(" \n\t"), &[400], "undecodable"),
        case("half an event", single(&EVENT[..20]), &[400], "undecodable"),
        case("trailing bytes after the event", single(format!("{EVENT}}}")), &[400], "undecodable"),
        case("null", single("null"), &[400], "event_not_object"),
        case("a number", single("7"), &[400], "event_not_object"),
        case("an array for a single event", single(format!("[{EVENT}]")), &[400], "event_not_object"),
        case("an empty object", single("{}"), &[400], "source_required"),
        case("NaN", single(with(r#""n":NaN"#)), &[400], "undecodable"),
        case("-Infinity", single(with(r#""n":-Infinity"#)), &[400], "undecodable"),
        case("a trailing comma", single(EVENT.replace('}', ",}")), &[400], "undecodable"),
        case("a comment", single(format!("/* */{EVENT}")), &[400], "undecodable"),
        case("single quotation marks", single(EVENT.replace('"', "'")), &[400], "undecodable"),
        case("a byte order mark", single(format!("\u{feff}{EVENT}")), &[400], "undecodable"),
        case(
            "UTF-16",
            single(EVENT.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
            &[400],
            "undecodable",
        ),
        case(
            "invalid UTF-8",
            single(b"{\"source\":\"s\",\"level\":\"INFO\",\"message\":\"\xff\"}"),
            &[400],
            "undecodable",
        ),
        case(
            "overlong UTF-8",
            single(b"{\"source\":\"s\",\"level\":\"INFO\",\"message\":\"\xc0\xaf\"}"),
            &[400],
            "undecodable",
        ),
        case("U+0000 in a message", instead("message", r#""a\u0000b""#), &[202], ""),
        case("a lone surrogate in a message", instead("message", r#""\ud83d""#), &[400], "invalid_text"),
        case("a lone surrogate in metadata", text("metadata", r#"{"a":"\udc00"}"#), &[400], "lone_surrogate"),
        case("a lone surrogate in a name", text("\\ud800", "1"), &[400], "lone_surrogate"),
        case("a name twice", single(with(r#""source":"again""#)), &[400], "duplicate_field"),
        case("a name twice, once escaped", single(with(r#""sourc\u0065":"again""#)), &[400], "duplicate_field"),
        case("an unknown name twice", single(with(r#""x":1,"x":2"#)), &[400], "duplicate_field"),
        case("a name twice in metadata", text("metadata", r#"{"a":{"x":1,"x":2}}"#), &[400], "metadata_duplicate_name"),
        case("nested 100,000 deep", single(nested(100_000)), &[400], "event_not_object"),
        case(
            "metadata nested 17 deep",
            text("metadata", &format!("{{\"a\":{}}}", nested(16))),
            &[400],
            "metadata_depth",
        ),
        case("nested 300,000 deep", single(nested(300_000)), &[400], "undecodable"),
        case(
            "16 MiB of unknown members",
            single(full(&EVENT.replace('}', ","), "\"\":1,", "\"x\":1}")),
            &[400],
            "duplicate_field",
        ),
        case(
            "16 MiB of members after a bad one",
            single(full("{\"level\":1,", "\"a\":1,", "\"b\":1}")),
            &[400],
            "field_type",
        ),
        case("16 MiB of text", single(full("\"", "x", "\"")), &[400], "event_not_object"),
        case("an unknown member nested 100,000 deep", text("deep", &nested(100_000)), &[400], "metadata_depth"),
        case("a source that is a number", instead("source", "5"), &[400], "field_type"),
        case("a level that is a number", instead("level", "3"), &[400], "field_type"),
        case("a message that is an object", instead("message", "{}"), &[400], "field_type"),
        case("metadata that is an array", text("metadata", "[]"), &[400], "metadata_not_object"),
        case("an empty source", instead("source", "\"\""), &[400], "source_length"),
        case("a source of 256 bytes", instead("source", &format!("\"{}\"", long(256))), &[400], "source_length"),
        case("a line break in a source", instead("source", r#""a\nb""#), &[400], "source_control_character"),
        case("an unknown level", instead("level", "\"LOUD\""), &[400], "level_unknown"),
        case("an empty message", instead("message", "\"\""), &[400], "message_length"),
        case(
            "a message of 256 KiB and a byte",
            instead("message", &format!("\"{}\"", long(262_145))),
            &[400],
            "message_length",
        ),
        case(
            "a stack trace of 256 KiB and a byte",
            text("stackTrace", &format!("\"{}\"", long(262_145))),
            &[400],
            "stack_trace_length",
        ),
        case(
            "metadata of 65 KB",
            text("metadata", &format!("{{\"a\":\"{}\"}}", long(66_000))),
            &[400],
            "metadata_size",
        ),
        case("a record over 1,000,000 bytes", single(over_the_record_limit()), &[413], "record_too_large"),
        case("a time as a number", text("timestamp", "1705314600"), &[400], "field_type"),
        case("a time without an offset", text("timestamp", "\"2024-01-15T10:30:00\""), &[400], "timestamp_invalid"),
        case("a day that does not exist", text("timestamp", "\"2024-02-30T00:00:00Z\""), &[400], "timestamp_invalid"),
        case("a negative year", text("timestamp", "\"-0001-01-01T00:00:00Z\""), &[400], "timestamp_invalid"),
        case("the year 10000", text("timestamp", "\"10000-01-01T00:00:00Z\""), &[400], "timestamp_invalid"),
        case(
            "year 9999, and 10000 in UTC",
            text("timestamp", "\"9999-12-31T23:59:59-00:01\""),
            &[400],
            "timestamp_invalid",
        ),
        case("the end of year 9999", text("timestamp", "\"9999-12-31T23:59:59.999999999Z\""), &[202], ""),
        case("a leap second", text("timestamp", "\"2016-12-31T23:59:60Z\""), &[202], ""),
        case(
            "a leap second that did not exist",
            text("timestamp", "\"2024-01-15T12:00:60Z\""),
            &[400],
            "timestamp_invalid",
        ),
        case("a number beyond numeric", text("n", "1e200000"), &[400], "metadata_number"),
        case("an integer of 70,000 digits", text("n", &"9".repeat(70_000)), &[400], "metadata_size"),
        case("an id that is not a UUID", text("eventId", "\"42\""), &[400], "event_id_invalid"),
        case(
            "a trace id of 31 digits",
            text("traceId", "\"4bf92f3577b34da6a3ce929d0e0e473\""),
            &[400],
            "trace_id_invalid",
        ),
        case(
            "an empty Idempotency-Key",
            request("POST", "/api/logs", &[JSON, "Idempotency-Key: "], EVENT.as_bytes()),
            &[400],
            "invalid_parameter",
        ),
        case(
            "an Idempotency-Key of 256 bytes",
            request("POST", "/api/logs", &[JSON, &format!("Idempotency-Key: {}", long(256))], EVENT.as_bytes()),
            &[400],
            "invalid_parameter",
        ),
        case(
            "an Idempotency-Key twice",
            request("POST", "/api/logs", &[JSON, "Idempotency-Key: a", "Idempotency-Key: b"], EVENT.as_bytes()),
            &[400],
            "invalid_parameter",
        ),
        case(
            "an Idempotency-Key that is not ASCII",
            request("POST", "/api/logs", &[JSON, "Idempotency-Key: é"], EVENT.as_bytes()),
            &[400],
            "invalid_parameter",
        ),
    ]
}

fn batches() -> Vec<Case> {
    let array = |events: usize| format!("[{}]", vec![EVENT; events].join(","));
    let one_bad = {
        let mut events = vec![EVENT; 9_999];
        events[7_777] = r#"{"source":"neighbour","level":"LOUD","message":"m"}"#;
        format!("[{}]", events.join(","))
    };
    let too_large = over_the_record_limit();
    let promised = |framing: &str| {
        format!("POST /api/logs/batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}\r\n{framing}\r\n\r\n")
    };
    let gigabyte = |framing: &str, part: Vec<u8>| {
        let parts = std::iter::once(promised(framing).into_bytes().into()).chain(vec![Bytes::from(part); 1_024]);
        parts.collect::<Vec<Bytes>>()
    };
    let chunk = [b"100000\r\n".to_vec(), vec![b' '; MEBIBYTE], b"\r\n".to_vec()].concat();
    vec![
        case("an empty array", batch("[]"), &[400], "no_valid_event"),
        case("an object for a batch", batch(EVENT), &[400], "undecodable"),
        case("a truncated array", batch(format!("[{EVENT},{EVENT}")), &[400], "undecodable"),
        case(
            "an array that breaks after 1,000 good events",
            batch(format!("{},", array(1_000).trim_end_matches(']'))),
            &[400],
            "undecodable",
        ),
        case("10,001 events", batch(array(10_001)), &[413], "too_large"),
        case("10,001 events without the end of the array", batch(array(10_001).replace(']', ",")), &[413], "too_large"),
        case(
            "10,000 events without the end of the array",
            batch(array(10_000).replace(']', ",")),
            &[400],
            "undecodable",
        ),
        case("16 MiB of numbers", batch(full("[", "0,", "0]")), &[413], "too_large"),
        case("16 MiB of text for a batch", batch(full("\"", "x", "\"")), &[400], "undecodable"),
        case("16 MiB of brackets", batch(full("", "[", "")), &[400], "undecodable"),
        case("10,000 events", batch(array(10_000)), &[202], ""),
        case("a bad one among 9,999", batch(one_bad), &[202], ""),
        case("only bad ones", batch(r#"[1,null,"x",{},[]]"#), &[400], "no_valid_event"),
        case(
            "every event over the record limit",
            batch(format!("[{too_large},{too_large}]")),
            &[413],
            "record_too_large",
        ),
        case("one over the record limit", batch(format!("[{too_large},{EVENT}]")), &[202], ""),
        case("17 MiB", batch(vec![b' '; 17 * MEBIBYTE]), &[413], "too_large"),
        Case {
            name: "1 GiB",
            parts: gigabyte("Content-Length: 1073741824", vec![b' '; MEBIBYTE]),
            statuses: &[413],
            code: "too_large",
        },
        Case {
            name: "1 GiB in chunks",
            parts: gigabyte("Transfer-Encoding: chunked", chunk),
            statuses: &[413],
            code: "too_large",
        },
        case("bad lines among good ones", lines(format!("{EVENT}\n{{\n\n{EVENT}\n7\n\u{feff}\n{EVENT}")), &[202], ""),
        case("lines without an event", lines("\n\r\n \n"), &[400], "no_valid_event"),
        case("10,001 lines", lines(format!("{EVENT}\n").repeat(10_001)), &[413], "too_large"),
        case("16 MiB of numbers on lines", lines(full("", "0\n", "")), &[413], "too_large"),
        case("16 MiB of line breaks", lines(vec![b'\n'; 16 * MEBIBYTE]), &[400], "no_valid_event"),
        case("invalid UTF-8 in one line", lines([EVENT.as_bytes(), b"\n\"\xff\"\n"].concat()), &[202], ""),
    ]
}

/// Queries are sent to the consumer and to the gateway.
fn questions() -> Vec<Case> {
    let invalid = |name, path: &str| case(name, get(path), &[400], "invalid_parameter");
    let unclear = |name, query: &str| case(name, get(&format!("/api/logs?query={query}")), &[400], "query_invalid");
    let redrive = |body: &str| request("POST", "/api/dlq/redrive", &[JSON], body.as_bytes());
    vec![
        invalid("an unknown parameter", "/api/logs?sauce=x"),
        invalid("a parameter twice", "/api/logs?q=a&q=b"),
        invalid("101 sources", &format!("/api/logs?{}", "source=a&".repeat(101))),
        unclear("a query of 8 KiB and a byte", &"x".repeat(8_193)),
        unclear("a query of 65 conditions", &"x%20".repeat(65)),
        unclear("a query nested 2,000 deep", &"(".repeat(2_000)),
        unclear("a query of 2,000 negations", &"NOT%20".repeat(1_000)),
        unclear("a query with a name of 1,000 parts", &format!("{}a:1", "a.".repeat(1_000))),
        case("SQL in a query", get("/api/logs?query=%22%27%3BDROP%20TABLE%20events%3B--%22&limit=1"), &[200], ""),
        case("a query of wildcards", get(&format!("/api/logs?query={}&limit=1", "*a".repeat(2_000))), &[200], ""),
        invalid("statistics by a message", "/api/logs/stats?by=message"),
        invalid("values of no field", "/api/logs/values"),
        invalid("an export in another format", "/api/logs/export?format=xml"),
        invalid("501 events of context", "/api/logs/00000000-0000-0000-0000-000000000001/context?after=501"),
        invalid("limit 0", "/api/logs?limit=0"),
        invalid("limit 1001", "/api/logs?limit=1001"),
        invalid("a limit that is not a number", "/api/logs?limit=ten"),
        invalid("an invalid cursor", "/api/logs?cursor=AAAA"),
        invalid("an invalid time", "/api/logs?from=yesterday"),
        invalid("a range whose end is before its start", "/api/logs?from=2024-01-02T00:00:00Z&to=2024-01-01T00:00:00Z"),
        invalid("an empty search", "/api/logs?q="),
        invalid("a search of 1,025 bytes", &format!("/api/logs?q={}", "x".repeat(1_025))),
        invalid("an unknown level in a query", "/api/logs?level=INFO&level=LOUD"),
        invalid("a trace id that is too short", "/api/logs?traceId=abc"),
        invalid("an invalid event id", "/api/logs/42"),
        case("an unknown event id", get("/api/logs/00000000-0000-0000-0000-000000000000"), &[404], "not_found"),
        case("SQL in a search", get("/api/logs?q=%27%3BDROP%20TABLE%20events%3B--&limit=1"), &[200], ""),
        invalid("a search that is not UTF-8", "/api/logs?q=%FF%FE"),
        invalid("an interval of zero", "/api/logs/stats?interval=0s"),
        invalid("more than 1,000 buckets", "/api/logs/stats?interval=1s&from=2024-01-01T00:00:00Z"),
        invalid("a tail of an unknown level", "/api/logs/tail?level=LOUD"),
        case(
            "a tail after an invalid id",
            request("GET", "/api/logs/tail", &["Last-Event-ID: x"], b""),
            &[400],
            "invalid_parameter",
        ),
        invalid("dead letters of an invalid partition", "/api/dlq?partition=-1"),
        case("a redrive of 100 KB", redrive(&format!(r#"{{"topic":"{}"}}"#, "x".repeat(100_000))), &[413], "too_large"),
        case("a redrive without a body", redrive(""), &[400], "undecodable"),
        case("a redrive with an unknown member", redrive(r#"{"dryrun":true}"#), &[400], "undecodable"),
        case("a redrive with a member twice", redrive(r#"{"dryRun":true,"dryRun":false}"#), &[400], "undecodable"),
        case("a redrive of a topic that is not text", redrive(r#"{"topic":5}"#), &[400], "undecodable"),
        case("a redrive since an invalid time", redrive(r#"{"from":"now"}"#), &[400], "undecodable"),
        case("a redrive at a rate of zero", redrive(r#"{"ratePerSecond":0}"#), &[400], "invalid_parameter"),
        case("a redrive as text", request("POST", "/api/dlq/redrive", &[], b"{}"), &[415], "unsupported_media_type"),
    ]
}

/// Reads the answers on one connection.
fn read(bytes: &[u8]) -> Answers {
    let text = String::from_utf8_lossy(bytes);
    let mut statuses = Vec::new();
    for line in text.lines() {
        // An answer without a body is followed by the next one on the same line.
        for (at, _) in line.match_indices("HTTP/1.1 ") {
            let status: u16 = line[at + 9..].get(..3).and_then(|digits| digits.parse().ok()).expect("a status");
            if status >= 200 {
                statuses.push(status);
            }
        }
    }
    let body = text.rsplit_once("\r\n\r\n").map_or("", |(_, body)| body);
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let code = answer["code"].as_str().unwrap_or_default().to_owned();
    let singles = text.matches(r#""status":"Accepted""#).count() as u64;
    Answers { statuses, code, accepted: answer["accepted"].as_u64().unwrap_or(singles) }
}

async fn answers(http: &Http, case: &Case) -> Answers {
    let bytes = exchange(http.address(), case.parts.iter().cloned()).await;
    read(&bytes.unwrap_or_else(|| panic!("no end of the answer to {}", case.name)))
}

#[tokio::test]
async fn bad_input_gets_a_clear_answer_and_affects_no_other_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Program::start(BINARY, directory.path(), &[]).await;
    let ingestion = [heads(), media(), single_events(), batches()].into_iter().flatten().collect();
    let (mut wrong, mut accepted, mut inputs) = (Vec::new(), 0, 0);
    for (direct, cases) in [(&program.producer, ingestion), (&program.consumer, questions())] {
        for case in cases {
            inputs += 1;
            let at_role = answers(direct, &case).await;
            let at_gateway = answers(&program.gateway, &case).await;
            accepted += at_role.accepted + at_gateway.accepted;
            println!("{inputs:>3} {:<50} {:?} {}", case.name, at_role.statuses, at_role.code);
            for (place, seen) in [("role", at_role), ("gateway", at_gateway)] {
                if seen.statuses != case.statuses || seen.code != case.code {
                    wrong.push(format!(
                        "{} ({place}): {seen:?} instead of {:?} {}",
                        case.name, case.statuses, case.code
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let expected = accepted as f64;
    wait_until("all accepted events are stored", || async {
        metric(&program.consumer, "spillway_events_stored_total").await >= expected
    })
    .await;
    let stored = metric(&program.consumer, "spillway_events_stored_total").await;
    let bodies = metric(&program.consumer, "spillway_http_body_bytes").await;
    let peak = program.peak_memory_bytes();
    println!(
        "inputs={inputs} accepted={accepted} stored={stored} body_bytes={bodies} peak_memory_mb={}",
        peak / 1_000_000
    );
    assert!((stored - expected).abs() < 0.5, "{stored} stored of {accepted} accepted");
    assert!(bodies < 0.5, "bodies still occupy room");
    assert!(peak < 300_000_000, "{peak} bytes");
    assert_eq!(program.terminate().await, Some(0));
}
