//! Shared code of the end-to-end tests: a client, and the program as a process.
//!
//! Constraints:
//! * Every wait has a deadline and waits for a condition, never for a fixed time.
//! * Ports are free ones, directories temporary; tests share nothing.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_webhook::{Connector, HttpsFiles, connector_with_files};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Interval, MissedTickBehavior};

pub mod http2;
pub mod keys;
pub mod output;
pub mod servers;
mod tail;
pub mod webhook;

pub use tail::Tail;

/// Maximum wait for any condition.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Time between two looks at a condition. Without a pause, they would take the processor from what they wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// An HTTP client for one base URL, with pooled connections.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    address: SocketAddr,
    base: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: hyper::HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The connection failed: nothing was sent.
    NotSent,
    /// The connection broke, or the answer took too long: the request may have taken effect.
    Unknown,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// A header as text; empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text header"))
    }
}

impl Http {
    /// A client for `address`.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Self::with(address, "http", &HttpsFiles::default())
    }

    /// A client for `address` over TLS, with these files.
    #[must_use]
    pub fn over_tls(address: SocketAddr, files: &HttpsFiles) -> Self {
        Self::with(address, "https", files)
    }

    fn with(address: SocketAddr, scheme: &str, files: &HttpsFiles) -> Self {
        let connector = connector_with_files(HttpConnector::new(), scheme == "https", files).expect("usable files");
        // Shorter than the server's timeout: a request on a connection that the server is closing would have no answer.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self { client, address, base: format!("{scheme}://{address}") }
    }

    /// The address that it connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; `None` without a complete answer.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        self.attempt(method, path, headers, body).await.ok()
    }

    /// Sends a request; the error says whether it may have arrived. An answer without an end is not read.
    pub async fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = hyper::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answer = match tokio::time::timeout(DEADLINE, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => return Err(NoAnswer::NotSent),
            Ok(Err(_)) | Err(_) => return Err(NoAnswer::Unknown),
        };
        let (parts, body) = answer.into_parts();
        if parts.headers.get("content-type").is_some_and(|media_type| media_type == "text/event-stream") {
            return Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: Bytes::new() });
        }
        match tokio::time::timeout(DEADLINE, body.collect()).await {
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                output::keep(output::ANSWERS, &body);
                Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
            }
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Unknown),
        }
    }

    /// Sends a request.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, json: impl Into<Bytes>) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], json).await
    }

    /// Gets all pages of a query, each event once, in order; `query` is the query string without limit and cursor.
    pub async fn all_events(&self, query: &str, limit: u32) -> Vec<Value> {
        let mut events = Vec::new();
        self.each_event(query, limit, |event| events.push(event)).await;
        events
    }

    /// The same for more events than memory has room for: one after the other.
    pub async fn each_event(&self, query: &str, limit: u32, mut take: impl FnMut(Value)) {
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/api/logs?{query}&limit={limit}{cursor}")).await;
            assert_eq!(page.status, 200, "{:?}", page.body);
            let mut page = page.json();
            let found = page["events"].as_array_mut().map(std::mem::take).expect("events");
            assert!(found.len() <= limit as usize);
            found.into_iter().for_each(&mut take);
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return,
            }
        }
    }
}

/// Sends raw bytes, part by part, over a separate connection, and returns everything received until the server closes it.
/// `None` if it does not.
pub async fn exchange(address: SocketAddr, parts: impl IntoIterator<Item = Bytes>) -> Option<Vec<u8>> {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let (mut incoming, mut outgoing) = connection.split();
    let send = async {
        for part in parts {
            // A server that has answered may close the connection.
            if outgoing.write_all(&part).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = send => None,
        // A reset after the answer counts as its end.
        read = tokio::time::timeout(DEADLINE, incoming.read_to_end(&mut answer)) => read.is_ok().then_some(answer),
    }
}

/// Ticks for looks at a condition; the first one comes at once.
#[must_use]
pub fn looks() -> Interval {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Waits until `condition` holds.
pub async fn wait_until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let (began, mut looks) = (Instant::now(), looks());
    while !condition().await {
        assert!(began.elapsed() < DEADLINE, "waited too long until {what}");
        looks.tick().await;
    }
}

/// The values of all series of a metric.
pub async fn series(http: &Http, name: &str) -> Vec<f64> {
    let text = String::from_utf8(http.get("/actuator/prometheus").await.body.to_vec()).expect("text");
    let series = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// Sum of all series of a metric.
pub async fn metric(http: &Http, name: &str) -> f64 {
    series(http, name).await.into_iter().sum()
}

/// Waits, after a start, until everything on the bus is in the store. No events may be sent meanwhile.
pub async fn wait_until_stored(consumer: &Http) {
    let stored = || async {
        let lags = series(consumer, "kafka_consumer_lag_records").await;
        lags.len() == 3 && lags.iter().all(|lag| *lag < 0.5)
    };
    wait_until("everything is stored", stored).await;
}

/// An address without a listener.
#[must_use]
pub fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// The program as a process, killed on drop.
pub struct Process {
    child: Child,
    listeners: HashMap<&'static str, Http>,
    log: Arc<Mutex<Vec<String>>>,
    log_reader: tokio::task::JoinHandle<()>,
}

impl Process {
    /// Starts `spillway COMMAND` and waits until it is ready. Its log is also printed to standard error.
    pub async fn start(binary: &str, command: &str, data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_with(binary, command, data_dir, variables, Http::to).await
    }

    /// The same for listeners that these clients can talk to.
    pub async fn start_with(
        binary: &str,
        command: &str,
        data_dir: &Path,
        variables: &[(&str, &str)],
        client: impl Fn(SocketAddr) -> Http,
    ) -> Self {
        let mut process = Self::listening_with(binary, command, data_dir, variables, client).await;
        let (began, mut looks) = (Instant::now(), looks());
        while !process.is_ready().await {
            assert!(process.is_running(), "the program ended instead of becoming ready");
            assert!(began.elapsed() < DEADLINE, "the program does not become ready");
            looks.tick().await;
        }
        process
    }

    /// Starts `spillway COMMAND` and waits until it listens.
    pub async fn listening(binary: &str, command: &str, data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::listening_with(binary, command, data_dir, variables, Http::to).await
    }

    async fn listening_with(
        binary: &str,
        command: &str,
        data_dir: &Path,
        variables: &[(&str, &str)],
        client: impl Fn(SocketAddr) -> Http,
    ) -> Self {
        let mut process = Self::spawn(binary, command, data_dir, variables);
        let roles: &[&str] = match command {
            "all" => &["gateway", "producer", "consumer"],
            "gateway" => &["gateway"],
            "producer" => &["producer"],
            _ => &["consumer"],
        };
        for role in roles {
            let said = format!("{role} listens address=");
            wait_until("it listens", async || process.has_said(&said)).await;
            let log = process.log();
            let address = log.iter().find_map(|line| line.split_once(&said)).expect("it was said").1;
            process.listeners.insert(role, client(address.trim().parse().expect("an address")));
        }
        process
    }

    /// Starts `spillway COMMAND` without waiting.
    #[must_use]
    pub fn spawn(binary: &str, command: &str, data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
        let mut child = Command::new(binary)
            .arg(command)
            .current_dir(data_dir)
            .env("SPILLWAY_DATA_DIR", data_dir)
            .env("SPILLWAY_GATEWAY__LISTEN", &any_port)
            .env("SPILLWAY_PRODUCER__LISTEN", &any_port)
            .env("SPILLWAY_CONSUMER__LISTEN", &any_port)
            // Its log contains the address.
            .env("SPILLWAY_LOG", "warn,bootstrap=info,application::delivery=info")
            .env("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "0")
            .env("SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND", "0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let name = format!("{command} {}", child.id().expect("it runs"));
        let log_reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{name}: {line}");
                output::keep(output::LOGS, line.as_bytes());
                written.lock().expect("lock").push(line);
            }
        });
        Self { child, listeners: HashMap::new(), log, log_reader }
    }

    /// A client of one of its roles.
    #[must_use]
    pub fn http(&self, role: &str) -> Http {
        self.listeners[role].clone()
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("lock").clone()
    }

    /// Whether it has logged this text.
    #[must_use]
    pub fn has_said(&self, text: &str) -> bool {
        self.log.lock().expect("lock").iter().any(|line| line.contains(text))
    }

    async fn is_ready(&self) -> bool {
        for listener in self.listeners.values() {
            let answer = listener.try_send("GET", "/actuator/health/readiness", &[], "").await;
            if answer.is_none_or(|answer| answer.status != 200) {
                return false;
            }
        }
        true
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Peak memory so far, in bytes (`VmHWM` of proc(5)).
    #[must_use]
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Kills it like `kill -9`, and returns its whole log.
    pub async fn kill(mut self) -> Vec<String> {
        self.child.kill().await.expect("it can be killed");
        self.log_reader.await.expect("its log is read");
        std::mem::take(&mut self.log.lock().expect("lock"))
    }

    /// Sends it a signal, such as `STOP` or `CONT`.
    pub async fn signal(&self, signal: &str) {
        let arguments = [format!("-{signal}"), self.pid().to_string()];
        let sent = Command::new("kill").args(&arguments).status().await.expect("kill runs");
        assert!(sent.success(), "kill {arguments:?}");
    }

    /// Asks it to stop, like `kill`, and returns its exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM").await;
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it stops in time").expect("its exit").code()
    }
}

/// `spillway all` as a process.
pub struct Program {
    process: Process,
    /// Client of its gateway.
    pub gateway: Http,
    /// Client of its producer.
    pub producer: Http,
    /// Client of its consumer.
    pub consumer: Http,
}

impl Program {
    /// Starts it and waits until it is ready.
    pub async fn start(binary: &str, data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let process = Process::start(binary, "all", data_dir, variables).await;
        let (gateway, producer, consumer) =
            (process.http("gateway"), process.http("producer"), process.http("consumer"));
        Self { process, gateway, producer, consumer }
    }

    /// See [`Process::peak_memory_bytes`].
    #[must_use]
    pub fn peak_memory_bytes(&self) -> u64 {
        self.process.peak_memory_bytes()
    }

    /// See [`Process::has_said`].
    #[must_use]
    pub fn has_said(&self, text: &str) -> bool {
        self.process.has_said(text)
    }

    /// See [`Process::log`].
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// See [`Process::kill`].
    pub async fn kill(self) -> Vec<String> {
        self.process.kill().await
    }

    /// See [`Process::terminate`].
    pub async fn terminate(self) -> Option<i32> {
        self.process.terminate().await
    }
}
