//! Malicious bodies and malicious connections at every listener for log agents.
//!
//! `-- --nocapture` prints the table, and the peak of memory while all of it happens at once.

#![cfg(test)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e::http2::{self, END_HEADERS, END_STREAM, PREFACE, call, field, frame, kind, message, settings};
use e2e::{DEADLINE, Http, Program, exchange, metric, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

const BINARY: &str = env!("CARGO_BIN_EXE_spillway-under-test");
const MEBIBYTE: usize = 1 << 20;
/// The largest body.
const FULL: usize = 16 * MEBIBYTE;
/// Clients that send the bodies at once.
const SENDERS: usize = 4;
/// Most memory of the process without what decoding takes.
const PEAK_BYTES_MAX: u64 = 300_000_000;
/// Most memory for a body that is decoded, with its records (`adapters/http/tests/parse_memory.rs`).
const DECODING_BYTES_MAX: u64 = 200_000_000;

const PROTOBUF: &str = "Content-Type: application/x-protobuf";
const JSON: &str = "Content-Type: application/json";
const OTLP: &str = "/v1/logs";
const LOKI: &str = "/loki/api/v1/push";
const BULK: &str = "/_bulk";
const HEC: &str = "/services/collector";
const OBJECTS: &str = "/api/logs/ingest";

/// A request and the status of its answer.
struct Case {
    name: &'static str,
    path: &'static str,
    bytes: Bytes,
    status: u16,
}

fn case(name: &'static str, path: &'static str, headers: &[&str], body: impl AsRef<[u8]>, status: u16) -> Case {
    Case { name, path, bytes: request(path, headers, body.as_ref()).into(), status }
}

fn request(path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The unit as often as it fits into a body, between the ends.
fn full(begin: &str, unit: &str, end: &str) -> String {
    [begin, &unit.repeat((FULL - begin.len() - end.len()) / unit.len()), end].concat()
}

/// A length-delimited field of protobuf.
fn protobuf(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut rest = bytes.len();
    while rest > 127 {
        field.push(u8::try_from(rest & 127).expect("seven bits") | 128);
        rest >>= 7;
    }
    field.push(u8::try_from(rest).expect("seven bits"));
    field.extend_from_slice(bytes);
    field
}

/// As many empty messages of a field as a body holds, inside of other fields.
fn empty_messages(number: u8, outer: &[u8]) -> Vec<u8> {
    let messages = [number << 3 | 2, 0].repeat((FULL - 64) / 2);
    outer.iter().rev().fold(messages, |inner, outer| protobuf(*outer, &inner))
}

/// A log record whose body is an array in an array, and so on.
fn nested_value(depth: usize) -> Vec<u8> {
    let value = (0..depth).fold(protobuf(1, b"x"), |value, _| protobuf(5, &protobuf(1, &value)));
    protobuf(1, &protobuf(2, &protobuf(2, &protobuf(5, &value))))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A block of snappy: one literal byte, and copies of 64 bytes of it up to this length.
fn snappy(byte: u8, copies: usize) -> Vec<u8> {
    let mut length = 1 + copies * 64;
    let mut block = Vec::new();
    while length > 127 {
        block.push(u8::try_from(length & 127).expect("seven bits") | 128);
        length >>= 7;
    }
    block.push(u8::try_from(length).expect("seven bits"));
    block.extend_from_slice(&[0, byte]);
    block.extend_from_slice(&[63 << 2 | 2, 1, 0].repeat(copies));
    block
}

/// What every protocol has to refuse.
fn bombs() -> Vec<Case> {
    let bomb = vec![b' '; 64 * MEBIBYTE];
    let (gzipped, zstandard) = (gzip(&bomb), zstd::bulk::compress(&bomb, 1).expect("in memory"));
    let claimed = [&b"\xff\xff\xff\xff\x0f"[..], &[0, b'x']].concat();
    let mut cases = Vec::new();
    for (path, media_type) in [(OTLP, PROTOBUF), (LOKI, JSON), (BULK, JSON), (HEC, JSON), (OBJECTS, JSON)] {
        let coded = |coding: &str| format!("Content-Encoding: {coding}");
        for (name, coding, body, status) in [
            ("64 MiB in 64 KB of gzip", "gzip", &gzipped, 413),
            ("64 MiB in a few KB of zstd", "zstd", &zstandard, 413),
            ("a block of snappy that claims 4 GiB", "snappy", &claimed, 413),
            ("17 MiB in a block of snappy", "snappy", &snappy(b' ', 17 * MEBIBYTE / 64), 413),
            ("text that is not gzip", "gzip", &b"text".to_vec(), 400),
            ("an unknown coding", "br", &b"text".to_vec(), 415),
        ] {
            cases.push(case(name, path, &[media_type, &coded(coding)], body, status));
        }
        cases.push(case("17 MiB", path, &[media_type], vec![b' '; 17 * MEBIBYTE], 413));
    }
    cases
}

fn bodies() -> Vec<Case> {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let line = |text: &str| full("", text, "");
    vec![
        case("no Content-Type", OTLP, &[], "{}", 415),
        case("a form", OTLP, &["Content-Type: application/x-www-form-urlencoded"], "{}", 415),
        case("bytes that are not protobuf", OTLP, &[PROTOBUF], b"\xff\xff\xff", 400),
        case("a length beyond the body", OTLP, &[PROTOBUF], b"\x0a\xff\xff\xff\xff\x0f", 400),
        case("8 million empty resources", OTLP, &[PROTOBUF], empty_messages(1, &[]), 413),
        case("8 million empty records", OTLP, &[PROTOBUF], empty_messages(2, &[1, 2]), 413),
        case("8 million empty attributes", OTLP, &[PROTOBUF], empty_messages(6, &[1, 2, 2]), 200),
        case("a value nested 3,000 deep", OTLP, &[PROTOBUF], nested_value(3_000), 200),
        case("JSON nested 100,000 deep", OTLP, &[JSON], nested(100_000), 400),
        case("JSON nested 300,000 deep", OTLP, &[JSON], nested(300_000), 400),
        case("half an object", OTLP, &[JSON], "{\"resourceLogs\":[", 400),
        case("bytes that are not snappy", LOKI, &[PROTOBUF], b"\xff\xff\xff\xff\xff\xff\xff", 400),
        case("a block that claims 4 GiB", LOKI, &[PROTOBUF], b"\xff\xff\xff\xff\x0f\x00x", 413),
        case("15 MiB of no protobuf in 750 KB", LOKI, &[PROTOBUF], snappy(7, 15 * MEBIBYTE / 64), 400),
        case("8 million streams", LOKI, &[JSON], full("{\"streams\":[", "1,", "1]}"), 413),
        case("8 million entries", LOKI, &[JSON], full("{\"streams\":[{\"values\":[", "1,", "1]}]}"), 413),
        case("labels of 16 MiB", LOKI, &[JSON], full("{\"streams\":[{\"labels\":\"", "x", "\"}]}"), 204),
        case("streams that are an object", LOKI, &[JSON], "{\"streams\":{}}", 400),
        case("an action that is not JSON", BULK, &[JSON], "index\n{}\n", 400),
        case("an action without a document", BULK, &[JSON], "{\"index\":{}}\n", 400),
        case("a million documents", BULK, &[JSON], line("{\"index\":{}}\n{}\n"), 413),
        case("a million deletions", BULK, &[JSON], line("{\"delete\":{}}\n"), 413),
        case("an action of 16 MiB", BULK, &[JSON], full("{\"index\":{\"_id\":\"", "x", "\"}}"), 400),
        case("16 MiB of line breaks", BULK, &[JSON], line("\n"), 400),
        case("8 million envelopes", HEC, &[], line("{}"), 413),
        case("an envelope nested 300,000 deep", HEC, &[], nested(300_000), 400),
        case("8 million lines", "/services/collector/raw", &[], line("x\n"), 413),
        case("16 MiB of line breaks", "/services/collector/raw", &[], line("\n"), 400),
        case("8 million acknowledgements", "/services/collector/ack", &[], full("{\"acks\":[", "1,", "1]}"), 413),
        case("8 million numbers", OBJECTS, &[JSON], full("[", "0,", "0]"), 413),
        case("16 MiB of brackets", OBJECTS, &[JSON], line("["), 202),
        case("16 MiB of text", OBJECTS, &["Content-Type: text/plain"], line("x"), 202),
        case("bytes that are not UTF-8", OBJECTS, &["Content-Type: text/plain"], vec![0xff; 1_000], 202),
        case("a form", OBJECTS, &["Content-Type: multipart/form-data; boundary=x"], "x", 415),
        case("an empty body", OBJECTS, &[], "", 400),
    ]
}

/// The status of the answer on a connection.
async fn status(http: &Http, bytes: Bytes) -> Option<u16> {
    let answer = exchange(http.address(), [bytes]).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A program with every listener for agents, and their addresses: OTLP over HTTP, gRPC, syslog.
async fn program(directory: &tempfile::TempDir) -> (Program, [SocketAddr; 3]) {
    let addresses = [(); 3].map(|()| free_address());
    let [otlp, grpc, syslog] = addresses.map(|address| address.to_string());
    let variables = [
        ("SPILLWAY_OTLP__LISTEN", otlp.as_str()),
        ("SPILLWAY_OTLP__GRPC_LISTEN", grpc.as_str()),
        ("SPILLWAY_SYSLOG__LISTEN", syslog.as_str()),
        // The limits would refuse most of what is sent here before anything reads it.
        ("SPILLWAY_RATE_LIMIT__AGENT_EVENTS_PER_SECOND", "0"),
        ("SPILLWAY_RATE_LIMIT__AGENT_BYTES_PER_SECOND", "0"),
        ("SPILLWAY_RATE_LIMIT__AGENT_CONNECTIONS_MAX", "0"),
    ];
    (Program::start(BINARY, directory.path(), &variables).await, addresses)
}

/// Most memory of the process while so many clients send bodies. The records of two of the largest are in memory at most.
fn peak_bytes_max(senders: usize) -> u64 {
    PEAK_BYTES_MAX + DECODING_BYTES_MAX * senders.min(2) as u64
}

async fn everything_is_free_again(program: &Program) {
    wait_until("all room for bodies is free again", || async {
        metric(&program.consumer, "spillway_http_body_bytes").await < 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_of_agents_get_a_clear_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let (program, [otlp, ..]) = program(&directory).await;
    let otlp = Http::to(otlp);
    let mut wrong = Vec::new();
    for case in bombs().into_iter().chain(bodies()) {
        let places = [
            ("producer", &program.producer, true),
            // It does not look into bodies: the small ones suffice.
            ("gateway", &program.gateway, case.bytes.len() < MEBIBYTE),
            ("OTLP", &otlp, case.path == OTLP),
        ];
        for (place, http, _) in places.into_iter().filter(|(.., is_sent)| *is_sent) {
            let found = status(http, case.bytes.clone()).await;
            println!("{:<24} {:<40} {place:<8} {found:?}", case.path, case.name);
            if found != Some(case.status) {
                wrong.push(format!("{} {} ({place}): {found:?} instead of {}", case.path, case.name, case.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    everything_is_free_again(&program).await;
    let peak = program.peak_memory_bytes();
    println!("peak_memory_mb={}", peak / 1_000_000);
    assert!(peak < peak_bytes_max(1), "{peak} bytes");
    assert_eq!(program.terminate().await, Some(0));
}

/// What a client of HTTP/2 sends once, and then again and again until the server closes.
struct Siege {
    name: &'static str,
    first: Vec<u8>,
    again: Vec<u8>,
}

/// Bytes that a client sends at most.
const SIEGE_BYTES_MAX: usize = 48 * MEBIBYTE;

fn sieges() -> Vec<Siege> {
    let begin = [PREFACE, &settings(&[])].concat();
    let begun = |rest: Vec<u8>| [begin.clone(), rest].concat();
    let head = |stream: u32| frame(kind::HEADERS, END_HEADERS, stream, &http2::export_headers());
    let data = |bytes: &[u8]| frame(kind::DATA, 0, 1, bytes);
    let reset = |stream: u32| frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let opened_and_reset = (0..5_000).flat_map(|n| [head(2 * n + 1), reset(2 * n + 1)].concat()).collect();
    // One field of 4,000 bytes, and references to it that would be 40 MB.
    let references = [http2::export_headers(), field("x", &"x".repeat(4_000), true), vec![0x80 | 62; 10_000]].concat();
    let no_window = [PREFACE, &settings(&[(4, 0)])].concat();
    let unread: Vec<u8> = (0..100).flat_map(|n| call(2 * n + 1, b"")).collect();
    let siege = |name, first, again| Siege { name, first, again };
    vec![
        siege("nothing", Vec::new(), Vec::new()),
        siege("half a preface", b"PRI * HTTP/2".to_vec(), Vec::new()),
        siege("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Vec::new()),
        siege("no calls", begun(Vec::new()), Vec::new()),
        siege("a flood of SETTINGS", begun(Vec::new()), settings(&[]).repeat(4_096)),
        siege("a flood of PINGs", begun(Vec::new()), frame(kind::PING, 0, 0, b"12345678").repeat(4_096)),
        siege("5,000 calls opened and reset", begun(opened_and_reset), Vec::new()),
        siege(
            "a header block without an end",
            begun(frame(kind::HEADERS, 0, 1, &http2::export_headers())),
            frame(kind::CONTINUATION, 0, 1, &field("x", &"x".repeat(16_000), false)),
        ),
        siege("40 MB of headers in 14 KB", begun(frame(kind::HEADERS, END_HEADERS, 1, &references)), Vec::new()),
        siege(
            "1,000 headers",
            begun(frame(kind::HEADERS, END_HEADERS, 1, &field("x", "", false).repeat(1_000))),
            Vec::new(),
        ),
        siege("100 answers that find no window", [no_window, unread].concat(), Vec::new()),
        siege("a message of 4 GiB", begun([head(1), data(&message(u32::MAX, b"x"))].concat()), Vec::new()),
        siege("half a message", begun([head(1), data(&message(1_000_000, &[b'x'; 16_000]))].concat()), Vec::new()),
        siege("a call without a message", begun([head(1), frame(kind::DATA, END_STREAM, 1, b"")].concat()), Vec::new()),
        siege("data behind the message", begun([head(1), data(&message(1, b"x"))].concat()), data(&[b'x'; 16_000])),
        siege("data of no stream", begun(Vec::new()), frame(kind::DATA, 0, 1, &[b'x'; 16_000])),
        siege("a frame of 16 MiB", begun(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec()), vec![b'x'; 65_536]),
    ]
}

/// Sends what a siege has, and waits for the server to close. Nothing that the server sends is read before that, and no ping
/// is answered.
async fn besiege(address: SocketAddr, siege: Siege) {
    let Siege { name, first, again } = siege;
    let all = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let mut written = first.len();
        let mut open = stream.write_all(&first).await.is_ok();
        while open && !again.is_empty() && written < SIEGE_BYTES_MAX {
            open = stream.write_all(&again).await.is_ok();
            written += again.len();
        }
        let mut rest = Vec::new();
        // A reset ends the connection as well.
        let _ = stream.read_to_end(&mut rest).await;
    };
    assert!(
        timeout(2 * DEADLINE, all).await.is_ok(),
        "the server does not close the connection of a client with {name}"
    );
}

/// Messages of syslog whose ends do not come.
async fn endless_syslog(address: SocketAddr, enough: Arc<AtomicBool>) {
    let mut streams = Vec::new();
    for n in 0..300 {
        let begin = match n % 3 {
            0 => b"9999999 <14>counted ".to_vec(),
            1 => b"<14>delimited ".to_vec(),
            _ => b"99999999999999999999 <14>".to_vec(),
        };
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(&[begin, vec![b'x'; 200_000]].concat()).await.expect("it is read");
        streams.push(stream);
    }
    let mut pace = interval(Duration::from_millis(50));
    while !enough.load(Ordering::Acquire) {
        pace.tick().await;
        for stream in &mut streams {
            stream.write_all(b"x").await.expect("it is read");
        }
    }
}

/// Datagrams of the largest size, of none, and of any bytes.
async fn datagrams(address: SocketAddr, enough: Arc<AtomicBool>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut pace = interval(Duration::from_millis(250));
    while !enough.load(Ordering::Acquire) {
        pace.tick().await;
        for datagram in [&vec![b'<'; 65_507][..], &[], &[0xff; 100], b"<14>"] {
            // The operating system may have no room.
            let _ = socket.send_to(datagram, address).await;
        }
    }
}

/// Sends every body again and again, whatever the answers.
async fn bodies_at_once(http: Http, cases: Arc<[Bytes]>, from: usize, enough: Arc<AtomicBool>) {
    for n in from.. {
        if enough.load(Ordering::Acquire) {
            return;
        }
        exchange(http.address(), [cases[n % cases.len()].clone()]).await;
    }
}

/// A well-behaved agent: sends an event every 100 ms until it was accepted. Returns how many were.
async fn good_agent(http: Http, refused: Arc<AtomicUsize>, enough: Arc<AtomicBool>) -> usize {
    let mut pace = interval(Duration::from_millis(100));
    let mut accepted = 0;
    while !enough.load(Ordering::Acquire) {
        pace.tick().await;
        let body = format!(r#"{{"source":"good","level":"INFO","message":"event {accepted}"}}"#);
        match http.post(OBJECTS, body).await.status {
            202 => accepted += 1,
            503 => _ = refused.fetch_add(1, Ordering::AcqRel),
            status => panic!("status {status}"),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_agents_at_every_listener_at_once_take_a_bounded_amount_of_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (program, [_, grpc, syslog]) = program(&directory).await;
    let (enough, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let good = tokio::spawn(good_agent(program.gateway.clone(), Arc::clone(&refused), Arc::clone(&enough)));
    let cases: Arc<[Bytes]> = bombs().into_iter().chain(bodies()).map(|case| case.bytes).collect();
    let mut hostile = JoinSet::new();
    for from in 0..SENDERS {
        let http = if from % 2 == 0 { &program.producer } else { &program.gateway };
        hostile.spawn(bodies_at_once(http.clone(), Arc::clone(&cases), from * 17, Arc::clone(&enough)));
    }
    hostile.spawn(endless_syslog(syslog, Arc::clone(&enough)));
    hostile.spawn(datagrams(syslog, Arc::clone(&enough)));

    // Several of each, and all kinds at once.
    let mut besieging = JoinSet::new();
    for siege in std::iter::repeat_with(sieges).take(4).flatten() {
        besieging.spawn(besiege(grpc, siege));
    }
    while let Some(ended) = besieging.join_next().await {
        ended.expect("the server closes the connection");
    }
    enough.store(true, Ordering::Release);
    while let Some(ended) = hostile.join_next().await {
        ended.expect("a hostile client ends");
    }
    let accepted = good.await.expect("a good agent");
    let peak = program.peak_memory_bytes();
    println!("accepted={accepted} refused={} peak_memory_mb={}", refused.load(Ordering::Acquire), peak / 1_000_000);
    assert!(accepted > 0, "a good agent gets through");
    assert!(peak < peak_bytes_max(SENDERS), "{peak} bytes");

    // Every listener still does what it is for.
    everything_is_free_again(&program).await;
    let recorded = include_bytes!("../../../adapters/http/tests/recorded/otlp-python.pb");
    let mut caller = TcpStream::connect(grpc).await.expect("a connection");
    let good_call = [PREFACE, &settings(&[]), &call(1, recorded)].concat();
    caller.write_all(&good_call).await.expect("it is read");
    timeout(DEADLINE, http2::read_to_end_of(&mut caller, 1)).await.expect("in time").expect("an answer");
    let mut daemon = TcpStream::connect(syslog).await.expect("a connection");
    daemon.write_all(b"<11>Nov 29 08:04:20 vm good-daemon: still here\n").await.expect("it is read");
    for (source, events) in [("good", accepted), ("good-daemon", 1), ("check-otlp-http-py", 3)] {
        wait_until("what good clients sent is stored", || async {
            let query = format!("source={source}");
            program.consumer.all_events(&query, 1_000).await.len() >= events
        })
        .await;
    }
    drop((caller, daemon));
    assert_eq!(program.terminate().await, Some(0));
}
