//! The store with a server that stops, a network that fails, a full disk, and TLS. Each test starts its own server, so it
//! needs the programs of PostgreSQL (`initdb`, `pg_ctl`).

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_postgres::{PostgresOptions, PostgresStore};
use domain::Uuid;
use domain::event::{IdOrigin, LogEvent};
use domain::filter::EventFilter;
use domain::level::Level;
use domain::ports::{Append, GroupPartition, LogStore, StoreError};
use domain::query::LogQuery;
use domain::timestamp::Timestamp;
use sqlx::{Connection, PgConnection, Row};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Events of one append.
const CHUNK: u64 = 50;

/// A server for one test only.
struct Server {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// A server with these settings, not started yet; `None` if its programs are missing.
    fn new(parent: &Path, settings: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var("CI").is_err(), "the programs of PostgreSQL are missing");
            eprintln!("skipped: the programs of PostgreSQL are missing");
            return None;
        };
        let directory = TempDir::with_prefix_in("spillway-postgres-", parent).expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self { programs, directory, port };
        server.give_to_server(server.directory.path());
        let data = server.data();
        server.run(
            "initdb",
            &["--username", "spillway", "--auth", "trust", "--locale", "C", "--encoding", "UTF8", &data],
        );
        let socket = server.directory.path().to_str().expect("UTF-8");
        server.append(
            "postgresql.conf",
            &format!(
                "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{socket}'\n{settings}\n"
            ),
        );
        Some(server)
    }

    /// A running server.
    fn started(settings: &str) -> Option<Self> {
        let server = Self::new(&std::env::temp_dir(), settings)?;
        server.start();
        Some(server)
    }

    fn data(&self) -> String {
        self.directory.path().join("data").to_str().expect("UTF-8").to_owned()
    }

    fn append(&self, file: &str, text: &str) {
        let path = Path::new(&self.data()).join(file);
        let before = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(path, before + text).expect("it is written");
    }

    /// PostgreSQL does not run as root.
    fn give_to_server(&self, path: &Path) {
        if is_root() {
            assert!(Command::new("chown").arg("-R").arg("postgres").arg(path).status().expect("chown").success());
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.args(arguments).current_dir(self.directory.path());
        let log = self.directory.path().join("programs.log");
        let file = std::fs::File::create(&log).expect("a log");
        // Output goes to a file, because the server keeps inherited descriptors open.
        command.stdout(file.try_clone().expect("a log")).stderr(file);
        let status = command.status().expect("it runs");
        assert!(status.success(), "{program:?} {arguments:?}: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    fn start(&self) {
        let log = self.directory.path().join("server.log");
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", log.to_str().expect("UTF-8"), "start"]);
    }

    /// Like a crash: nothing is finished or flushed.
    fn crash(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    fn url(&self, host: &str) -> String {
        format!("postgres://spillway@{host}:{}/postgres", self.port)
    }

    async fn beside(&self) -> PgConnection {
        PgConnection::connect(&self.url("127.0.0.1")).await.expect("the server answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let program = self.programs.join("pg_ctl");
        let mut command = Command::new(if is_root() { Path::new("runuser") } else { &program });
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(&program);
        }
        let _ = command.args(["-D", &self.data(), "-m", "immediate", "stop"]).current_dir("/").output();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id").stdout;
    id.trim_ascii() == b"0"
}

/// Directory of the programs of the newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    candidates.sort();
    candidates.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    candidates.into_iter().rev().find(|directory| directory.join("initdb").is_file())
}

async fn open(url: &str) -> Result<PostgresStore, StoreError> {
    let options = PostgresOptions {
        url: url.to_owned(),
        schema: "public".to_owned(),
        dedup_window: Duration::from_secs(3_600),
        resend_window: Duration::from_secs(900),
        query_timeout: QUERY_TIMEOUT,
    };
    let store = PostgresStore::new(&options).map_err(StoreError::Rejected)?;
    store.prepare().await.map(|()| store)
}

fn group_partition(partition: u32) -> GroupPartition {
    GroupPartition { group: "g".to_owned(), topic: "logs".to_owned(), partition }
}

fn events(partition: u32, from: u64, message: &str) -> Vec<(u64, LogEvent<'static>)> {
    let time = Timestamp::parse("2024-01-15T10:30:00Z").expect("a time");
    let event = |offset: u64| LogEvent {
        event_id: Uuid::from_u64_pair(partition.into(), offset),
        id_origin: if offset.is_multiple_of(2) { IdOrigin::Client } else { IdOrigin::Generated },
        source: "s".into(),
        level: Level::Info,
        message: message.to_owned().into(),
        timestamp: time,
        received_at: time,
        stack_trace: None,
        trace_id: None,
        span_id: None,
        metadata: None,
    };
    (from..from + CHUNK).map(|offset| (offset, event(offset))).collect()
}

/// Appends a chunk at a position.
async fn append(store: &dyn LogStore, partition: u32, expected: Option<u64>, message: &str) -> Result<u64, StoreError> {
    let from = expected.unwrap_or(0);
    let (group_partition, events) = (group_partition(partition), events(partition, from, message));
    let append =
        Append { group_partition: &group_partition, expected, next: from + CHUNK, events: &events, dead_letters: &[] };
    store.append(&append).await.map(|_| from + CHUNK)
}

/// Queries the position until the store answers, for up to a minute.
async fn position(store: &dyn LogStore, partition: u32) -> Option<u64> {
    let asking = async {
        loop {
            match store.position(&group_partition(partition)).await {
                Ok(position) => return position,
                Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    timeout(Duration::from_secs(60), asking).await.expect("the store is back")
}

/// Number of events of a partition, and whether each offset up to that number exists.
async fn kept(beside: &mut PgConnection, partition: u32) -> (u64, bool) {
    let row =
        sqlx::query("SELECT count(*), count(DISTINCT \"offset\"), max(\"offset\") FROM events WHERE partition = $1")
            .bind(partition.cast_signed())
            .fetch_one(beside)
            .await
            .expect("the server answers");
    let (rows, offsets, last): (i64, i64, Option<i64>) = (row.get(0), row.get(1), row.get(2));
    (rows.unsigned_abs(), rows == offsets && last.is_none_or(|last| last + 1 == rows))
}

/// A writer that appends to one partition as a consumer does.
struct Writer {
    stored: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

fn writer(store: Arc<PostgresStore>, partition: u32, further: Arc<Notify>, stop: Arc<AtomicBool>) -> Writer {
    let (stored, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (noted, failed) = (Arc::clone(&stored), Arc::clone(&failures));
    let task = tokio::spawn(async move {
        let mut expected = None;
        while !stop.load(Ordering::Relaxed) {
            let next = expected.unwrap_or(0) + CHUNK;
            match append(store.as_ref(), partition, expected, "m").await {
                Ok(next) => expected = Some(next),
                // An earlier attempt was stored after all, after the position was queried.
                Err(StoreError::Conflict { actual }) if actual == Some(next) => expected = actual,
                Err(StoreError::Unavailable(_)) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    further.notify_one();
                    let actual = position(store.as_ref(), partition).await;
                    assert!(
                        actual == expected || actual == Some(next),
                        "whole or not at all: {actual:?}, {expected:?}"
                    );
                    expected = actual;
                }
                Err(error) => panic!("{error:?}"),
            }
            noted.store(expected.unwrap_or(0), Ordering::Relaxed);
            // Kept for the next waiter.
            further.notify_one();
        }
    });
    Writer { stored, failures, task }
}

/// Waits until a condition holds, for at most a minute. Checks it whenever a writer has advanced.
async fn until(what: &str, further: &Notify, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            further.notified().await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_crash_leaves_each_append_complete_or_absent_and_writers_continue_once_it_is_back() {
    let Some(server) = Server::started("") else { return };
    let store = Arc::new(open(&server.url("127.0.0.1")).await.expect("the store opens"));
    let stop = Arc::new(AtomicBool::new(false));
    let further = Arc::new(Notify::new());
    let writer = |partition| writer(Arc::clone(&store), partition, Arc::clone(&further), Arc::clone(&stop));
    let writers: Vec<Writer> = (0..3).map(writer).collect();
    for _ in 0..3 {
        let before: Vec<u64> = writers.iter().map(|writer| writer.stored.load(Ordering::Relaxed)).collect();
        let failures: Vec<u64> = writers.iter().map(|writer| writer.failures.load(Ordering::Relaxed)).collect();
        let progress = |writer: &Writer, before: u64| writer.stored.load(Ordering::Relaxed) > before + 3 * CHUNK;
        until("all writers advance", &further, || {
            writers.iter().zip(&before).all(|(writer, before)| progress(writer, *before))
        })
        .await;
        server.crash();
        let failed = |writer: &Writer, before: u64| writer.failures.load(Ordering::Relaxed) > before;
        until("all writers fail", &further, || {
            writers.iter().zip(&failures).all(|(writer, before)| failed(writer, *before))
        })
        .await;
        server.start();
        let back = Instant::now();
        let before: Vec<u64> = writers.iter().map(|writer| writer.stored.load(Ordering::Relaxed)).collect();
        until("all writers continue", &further, || {
            writers.iter().zip(&before).all(|(writer, before)| progress(writer, *before))
        })
        .await;
        eprintln!("all writers continue {:?} after the server is back", back.elapsed());
        assert!(back.elapsed() < Duration::from_secs(20));
    }
    stop.store(true, Ordering::Relaxed);
    let mut beside = server.beside().await;
    for (partition, writer) in (0..).zip(writers) {
        writer.task.await.expect("the writer ends by itself");
        let position = position(store.as_ref(), partition).await.expect("something was stored");
        assert_eq!(kept(&mut beside, partition).await, (position, true), "the position matches the stored events");
    }
}

/// A failure once a client has sent some text.
#[derive(Clone, Copy, Debug)]
struct Fault {
    at: &'static str,
    /// Whether the server still receives the text.
    delivered: bool,
    /// Whether the connection breaks; otherwise it stays open without any further traffic, and neither side is notified.
    cut: bool,
}

/// A network between the store and its server that fails on request.
struct Network {
    address: SocketAddr,
    fault: Arc<Mutex<Option<Fault>>>,
    /// The failure has happened.
    happened: Arc<Notify>,
    /// Incremented to end the stalled connections.
    healed: watch::Sender<u32>,
}

impl Network {
    /// Runs on a dedicated thread, whatever a test does to its clock.
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (fault, happened) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
        let (healed, heals) = watch::channel(0);
        let (faults, happens, port) = (Arc::clone(&fault), Arc::clone(&happened), server.port);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                while let Ok((client, _)) = listener.accept().await {
                    let (faults, happens, heals) = (Arc::clone(&faults), Arc::clone(&happens), heals.clone());
                    tokio::spawn(async move {
                        if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                            let _ = carry(client, server, &faults, &happens, heals).await;
                        }
                    });
                }
            });
        });
        Self { address, fault, happened, healed }
    }

    fn url(&self) -> String {
        format!("postgres://spillway@{}/postgres?sslmode=disable", self.address)
    }

    fn break_down(&self, fault: Fault) {
        *self.fault.lock().expect("lock") = Some(fault);
    }

    fn heal(&self) {
        *self.fault.lock().expect("lock") = None;
        self.healed.send_modify(|count| *count += 1);
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    fault: &Mutex<Option<Fault>>,
    happened: &Notify,
    mut heals: watch::Receiver<u32>,
) -> std::io::Result<()> {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            biased;
            count = client.read(&mut from_client) => {
                let bytes = &from_client[..count?];
                if bytes.is_empty() {
                    return Ok(());
                }
                let now = *fault.lock().expect("lock");
                let hit = now.filter(|fault| bytes.windows(fault.at.len()).any(|part| part == fault.at.as_bytes()));
                if hit.is_none_or(|fault| fault.delivered) {
                    server.write_all(bytes).await?;
                }
                if let Some(fault) = hit {
                    if fault.delivered {
                        // So that the server has finished by the time the test continues.
                        let _ = server.read(&mut from_server).await?;
                    }
                    let before = *heals.borrow();
                    happened.notify_one();
                    if !fault.cut {
                        let _ = heals.wait_for(|count| *count > before).await;
                    }
                    return Ok(());
                }
            }
            count = server.read(&mut from_server) => {
                let bytes = &from_server[..count?];
                if bytes.is_empty() {
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}

#[tokio::test]
async fn when_the_answer_to_a_commit_is_lost_the_position_shows_the_outcome() {
    let Some(server) = Server::started("") else { return };
    let network = Network::before(&server);
    let store = Arc::new(open(&network.url()).await.expect("the store opens"));
    let mut expected = Some(append(store.as_ref(), 0, None, "m").await.expect("the first append"));
    for (delivered, cut) in [(true, true), (false, true), (true, false), (false, false)] {
        network.break_down(Fault { at: "COMMIT", delivered, cut });
        let began = Instant::now();
        let appending = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { append(store.as_ref(), 0, expected, "m").await })
        };
        network.happened.notified().await;
        if !cut {
            // What the store still waits for does not arrive.
            tokio::time::pause();
        }
        let outcome = timeout(Duration::from_secs(60), appending).await.expect("it ends by itself").expect("no panic");
        if !cut {
            tokio::time::resume();
        }
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        if !cut {
            assert!(
                began.elapsed() >= Duration::from_secs(29),
                "only the timeout can end the append, but: {outcome:?} after {:?}",
                began.elapsed()
            );
        }
        network.heal();
        let actual = position(store.as_ref(), 0).await;
        let next = expected.map(|from| from + CHUNK);
        assert_eq!(actual, if delivered { next } else { expected }, "delivered: {delivered}, cut: {cut}");
        expected = Some(append(store.as_ref(), 0, actual, "m").await.expect("the store continues"));
    }
    let mut beside = server.beside().await;
    assert_eq!(kept(&mut beside, 0).await, (expected.expect("something"), true));
}

fn everything() -> LogQuery {
    LogQuery::newest(EventFilter::default(), 10)
}

#[tokio::test]
async fn a_query_without_an_answer_ends_and_releases_its_connection_and_so_does_a_dropped_one() {
    let Some(server) = Server::started("") else { return };
    let network = Network::before(&server);
    let store = Arc::new(open(&network.url()).await.expect("the store opens"));
    append(store.as_ref(), 0, None, "m").await.expect("the first append");
    network.break_down(Fault { at: "FROM events WHERE", delivered: false, cut: false });
    // More than there are connections.
    for round in 0..14 {
        let asking = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.query(&everything()).await })
        };
        timeout(Duration::from_secs(20), network.happened.notified()).await.expect("there is a connection");
        tokio::time::pause();
        if round % 2 == 0 {
            let began = Instant::now();
            let outcome = timeout(Duration::from_secs(60), asking).await.expect("it ends by itself").expect("no panic");
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
            assert!(began.elapsed() < QUERY_TIMEOUT + Duration::from_secs(6), "{:?}", began.elapsed());
        } else {
            asking.abort();
        }
        tokio::time::resume();
    }
    network.heal();
    let page = timeout(Duration::from_secs(20), store.query(&everything())).await.expect("it answers");
    assert_eq!(page.expect("a page").items.len(), 10);
}

/// Creates a certificate authority and a certificate for `localhost` issued by it.
fn certificates(directory: &Path) {
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -keyout authority.key -out authority.pem -subj /CN=authority -days 2"),
        format!("req -x509 {key} -keyout other.key -out other.pem -subj /CN=other -days 2"),
        format!("req -new {key} -keyout server.key -out server.csr -subj /CN=localhost"),
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -out server.pem -days 2 \
         -extfile names"
            .to_owned(),
    ] {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

#[tokio::test]
async fn tls_is_used_if_required_and_a_server_with_the_wrong_identity_is_refused() {
    let Some(server) = Server::new(&std::env::temp_dir(), "") else { return };
    let directory = server.directory.path();
    certificates(directory);
    let file = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    server.append(
        "postgresql.conf",
        &format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n", file("server.pem"), file("server.key")),
    );
    std::fs::write(Path::new(&server.data()).join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n")
        .expect("a file");
    server.give_to_server(directory);
    server.start();

    let (right, wrong) = (file("authority.pem"), file("other.pem"));
    for (host, parameters, works) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={right}"), true),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={right}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={right}"), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={wrong}"), false),
        ("localhost", "sslmode=verify-full".to_owned(), false),
    ] {
        let opened = open(&format!("{}?{parameters}", server.url(host))).await;
        match opened {
            Ok(store) => {
                assert!(works, "{host} {parameters}");
                append(&store, 0, position(&store, 0).await, "m").await.expect("the store works");
                let mut beside =
                    PgConnection::connect(&format!("{}?sslmode=require", server.url(host))).await.expect("TLS");
                let encrypted: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'spillway' AND ssl",
                )
                .fetch_one(&mut beside)
                .await
                .expect("the server answers");
                assert!(encrypted >= 1, "{host} {parameters}");
                store.close().await;
            }
            Err(StoreError::Unavailable(cause)) => {
                assert!(!works, "{host} {parameters}: {cause}");
                eprintln!("{host} {parameters}: {cause}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Needs a small separate file system: `TEST_SMALL_DISK` is a world-writable directory on one, of 150 to 500 MB.
#[tokio::test]
async fn a_full_disk_is_waited_for_and_nothing_is_stored_partially() {
    let Ok(disk) = std::env::var("TEST_SMALL_DISK") else { return };
    let Some(server) = Server::new(Path::new(&disk), "max_wal_size = 32MB\nmin_wal_size = 32MB\n") else { return };
    server.start();
    let store = open(&server.url("127.0.0.1")).await.expect("the store opens");
    let ballast = Path::new(&disk).join("ballast");
    std::fs::write(&ballast, vec![0; 32 * 1024 * 1024]).expect("room for it");
    let text: String =
        (0..20_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    let mut expected = None;
    let cause = loop {
        match append(&store, 0, expected, &text).await {
            Ok(next) => expected = Some(next),
            Err(StoreError::Unavailable(cause)) => break cause,
            Err(error) => panic!("{error:?}"),
        }
    };
    eprintln!("after {expected:?} events: {cause}");
    let again = append(&store, 0, expected, &text).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    eprintln!("again: {again:?}");
    std::fs::remove_file(&ballast).expect("it was there");
    let freed = Instant::now();
    let going_on = async {
        loop {
            expected = position(&store, 0).await;
            match append(&store, 0, expected, &text).await {
                Ok(next) => return next,
                Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let next = timeout(Duration::from_secs(60), going_on).await.expect("the store continues");
    eprintln!("continues {:?} after space was freed", freed.elapsed());
    assert_eq!(kept(&mut server.beside().await, 0).await, (next, true));
}
