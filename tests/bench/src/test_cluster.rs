//! Environment of the measurements: real servers, the roles as processes, and the yardsticks.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::keys::KeysFile;
use e2e::servers::{OwnServers, Servers};
use e2e::{Http, Process, metric};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::processes::{cpu_time, with_command};

/// Partitions of a topic unless a scenario says otherwise.
pub const PARTITIONS: &str = "6";
/// Limits that are enabled but not reached.
const LIMIT: &str = "10000000";
/// Kafka's default for servers; for tests, `scripts/services` selects a compiler that starts faster but is slower in the
/// end.
const JAVA_OPTIONS: &str = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35";

/// Servers, programs and duration.
pub struct TestCluster {
    /// Once a scenario needs them.
    servers: Option<OwnServers>,
    spillway: PathBuf,
    yardstick: PathBuf,
    peers: PathBuf,
    /// How long a figure is measured.
    pub duration: Duration,
}

/// A separate topic, group and schema, and the roles that use them.
pub struct Installation<'g> {
    test_cluster: &'g TestCluster,
    names: Servers,
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// A yardstick that serves.
pub struct Constant {
    child: Child,
    /// Its address.
    pub url: String,
}

/// CPU time of processes since its creation.
pub struct Cpu {
    pids: Vec<u32>,
    before: Duration,
}

impl TestCluster {
    /// Without servers yet. The programs are in the same directory as this one.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        let directory = std::env::current_exe().expect("this program");
        let beside = |name: &str| directory.with_file_name(name);
        let peers = directory.ancestors().nth(2).expect("the directory of the build").join("peers");
        Self { servers: None, spillway: beside("spillway"), yardstick: beside("yardstick"), peers, duration }
    }

    /// Starts the servers, unless they run.
    pub async fn start_servers(&mut self) {
        if self.servers.is_none() {
            let variables = [("SERVICES_WITHOUT_DOCKER", "1"), ("SERVICES_JAVA_OPTIONS", JAVA_OPTIONS)];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            let servers = OwnServers::start_with(&["kafka", "postgres", "redis"], variables).await;
            self.servers = Some(servers.expect("scripts/services starts the servers"));
        }
    }

    fn servers(&self) -> &OwnServers {
        self.servers.as_ref().expect("the scenario needs servers")
    }

    /// A separate topic, group and schema; `variables` are the settings of all roles.
    #[must_use]
    pub fn installation(&self, variables: &[(&str, &str)]) -> Installation<'_> {
        let names = Servers::at(self.brokers(), self.postgres_url(), self.servers().address("TEST_REDIS_URL"));
        let settings = [
            ("SPILLWAY_KAFKA__PARTITIONS", PARTITIONS),
            ("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", LIMIT),
            ("SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND", LIMIT),
        ];
        let variables = settings.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let directory = tempfile::tempdir().expect("a directory");
        Installation { test_cluster: self, names, directory, variables: variables.collect() }
    }

    /// Kafka's address.
    #[must_use]
    pub fn brokers(&self) -> String {
        self.servers().address("TEST_KAFKA_BROKERS")
    }

    /// PostgreSQL's URL.
    #[must_use]
    pub fn postgres_url(&self) -> String {
        self.servers().address("TEST_POSTGRES_URL")
    }

    /// The program.
    #[must_use]
    pub fn spillway(&self) -> &str {
        self.spillway.to_str().expect("a path in UTF-8")
    }

    /// The directory in which `scripts/bench` puts the programs that Spillway is compared with.
    #[must_use]
    pub fn peers(&self) -> &Path {
        &self.peers
    }

    /// Names and versions of these programs, as `scripts/bench` found them.
    #[must_use]
    pub fn peer_versions(&self) -> Vec<(String, String)> {
        let versions = std::fs::read_to_string(self.peers.join("versions")).unwrap_or_default();
        let versions = versions.lines().filter_map(|line| line.split_once(": "));
        versions.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    /// Applies an action to a server: `stop`, `kill`, `start`, `pause` or `resume`.
    pub async fn apply(&self, action: &str, server: &str) {
        self.servers().apply(action, server).await;
    }

    /// The same HTTP server, which answers a constant.
    pub async fn constant(&self) -> Constant {
        let mut command = Command::new(&self.yardstick);
        let mut child =
            command.arg("constant").stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the yardstick starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).await.expect("it prints its address");
        Constant { child, url: format!("http://{}", line.trim()) }
    }

    /// Sends records through librdkafka at full speed; returns records, seconds, CPU seconds and peak memory in bytes.
    pub async fn produce(&self, topic: &str) -> [f64; 4] {
        let seconds = self.duration.as_secs().to_string();
        let mut command = Command::new(&self.yardstick);
        command.args(["produce", &self.brokers(), topic, &seconds]).kill_on_drop(true);
        let output = command.output().await.expect("the yardstick runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().expect("four numbers")
    }

    /// CPU time of Kafka from now on.
    #[must_use]
    pub fn cpu_of_kafka(&self) -> Cpu {
        Cpu::of(with_command("kafka.Kafka"))
    }
}

impl Installation<'_> {
    /// Starts a role and waits until it is ready.
    pub async fn start(&self, role: &str, others: &[(&str, &str)]) -> Process {
        self.start_with(role, others, Http::to).await
    }

    /// The same for a role that these clients can talk to.
    pub async fn start_with(
        &self,
        role: &str,
        others: &[(&str, &str)],
        client: impl Fn(SocketAddr) -> Http,
    ) -> Process {
        let own = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let variables: Vec<_> = own.chain(others.iter().copied()).collect();
        let directory = self.directory.path().join(role);
        std::fs::create_dir_all(&directory).expect("a directory");
        let variables = self.names.variables(&variables);
        Process::start_with(self.test_cluster.spillway(), role, &directory, &variables, client).await
    }

    /// The file of the keys of its roles.
    #[must_use]
    pub fn keys(&self) -> KeysFile {
        KeysFile::of(self.test_cluster.spillway(), self.directory.path())
    }

    /// Creates the topic with these settings, before a producer does.
    pub async fn make_topic(&self, settings: &[(&str, &str)]) {
        let partitions = PARTITIONS.parse().expect("a number");
        let topic = NewTopic::new(self.topic(), partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let made = self.admin().create_topics(&[topic], &AdminOptions::new()).await.expect("Kafka answers");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.names.brokers).create().expect("a client")
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.names.name
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> String {
        self.names.schema()
    }

    /// Removes topic and schema to free their disk space.
    pub async fn remove(self) {
        let letters = format!("{}.dlq", self.names.name);
        let _ = self.admin().delete_topics(&[self.topic(), &letters], &AdminOptions::new()).await;
        let mut store = connect(&self.names.postgres).await;
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema());
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut store).await.expect("the schema is dropped");
    }
}

impl Constant {
    /// CPU time from now on.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        Cpu::of(vec![self.child.id().expect("it runs")])
    }
}

impl Cpu {
    /// Of these processes.
    #[must_use]
    pub fn of(pids: Vec<u32>) -> Self {
        let before = pids.iter().map(|pid| cpu_time(*pid)).sum();
        Self { pids, before }
    }

    /// Of a role.
    #[must_use]
    pub fn of_role(process: &Process) -> Self {
        Self::of(vec![process.pid()])
    }

    /// Time used since its creation.
    #[must_use]
    pub fn used(&self) -> Duration {
        let now: Duration = self.pids.iter().map(|pid| cpu_time(*pid)).sum();
        now - self.before
    }

    /// Microseconds per event since its creation.
    #[must_use]
    pub fn micros_each(&self, events: f64) -> f64 {
        self.used().as_secs_f64() * 1e6 / events
    }
}

/// A connection to PostgreSQL.
pub async fn connect(url: &str) -> sqlx::PgConnection {
    <sqlx::PgConnection as sqlx::Connection>::connect(url).await.expect("PostgreSQL answers")
}

/// Acknowledged events of a producer.
pub async fn acknowledged(producer: &Http) -> f64 {
    metric(producer, "spillway_events_acknowledged_total").await
}
