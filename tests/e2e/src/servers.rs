//! Kafka, PostgreSQL and Redis for the tests that need them: those of the environment (`scripts/services`) or, for tests
//! that stop them, separate ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::process::Command;

/// Servers for a test, and its own topic, group and schema.
pub struct Servers {
    /// Environment variables for the program.
    variables: Vec<(String, String)>,
    /// Addresses of Kafka's brokers.
    pub brokers: String,
    /// URL of PostgreSQL's database.
    pub postgres: String,
    /// The topic; the group and the schema have the same name, with `_` for `-` in the latter.
    pub name: String,
}

impl Servers {
    /// The servers of the environment; prints a message and returns `None` if they are missing and that is allowed.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok();
            assert!(value.is_some() || std::env::var("CI").is_err(), "{name} is missing: scripts/services");
            if value.is_none() {
                eprintln!("skipped: {name} is missing; scripts/services starts the servers");
            }
            value
        };
        let (brokers, postgres, redis) =
            (variable("TEST_KAFKA_BROKERS")?, variable("TEST_POSTGRES_URL")?, variable("TEST_REDIS_URL")?);
        Some(Self::at(brokers, postgres, redis))
    }

    /// Servers at these addresses, with unique names.
    #[must_use]
    pub fn at(brokers: String, postgres: String, redis: String) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("e2e-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let variables: [(&str, &str); 9] = [
            ("BUS", "kafka"),
            ("STORE", "postgres"),
            ("LIMITER", "redis"),
            ("KAFKA__BROKERS", &brokers),
            ("KAFKA__TOPIC", &name),
            ("KAFKA__GROUP", &name),
            ("POSTGRES__URL", &postgres),
            ("POSTGRES__SCHEMA", &name.replace('-', "_")),
            ("REDIS__URL", &redis),
        ];
        // `packed` for packed records; the program refuses anything else that it does not know.
        let records = std::env::var("TEST_KAFKA_RECORDS").ok();
        let variables = variables.into_iter().chain(records.as_deref().map(|form| ("KAFKA__RECORDS", form)));
        let variables = variables.map(|(key, value)| (format!("SPILLWAY_{key}"), value.to_owned())).collect();
        Self { variables, brokers, postgres, name }
    }

    /// Variables for the program, overridden by `others`.
    #[must_use]
    pub fn variables<'a>(&'a self, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(others.iter().copied()).collect()
    }

    /// The schema of the store.
    #[must_use]
    pub fn schema(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Servers that a test may stop and start. They end on drop.
pub struct OwnServers {
    directory: TempDir,
    /// For `scripts/services`.
    variables: Vec<(String, String)>,
    addresses: HashMap<String, String>,
}

impl OwnServers {
    /// Starts these servers; prints a message and returns `None` if they are unavailable and that is allowed.
    pub async fn start(names: &[&str]) -> Option<Self> {
        Self::start_with(names, Vec::new()).await
    }

    /// Like [`OwnServers::start`], with variables for `scripts/services`.
    pub async fn start_with(names: &[&str], variables: Vec<(String, String)>) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut servers = Self { directory, variables, addresses: HashMap::new() };
        let mut arguments = vec!["up", "--own"];
        arguments.extend(names);
        if !servers.run(&arguments).await.0 {
            assert!(std::env::var("CI").is_err(), "scripts/services cannot start {names:?}");
            eprintln!("skipped: scripts/services cannot start {names:?}");
            return None;
        }
        let (_, output) = servers.run(&["env"]).await;
        let lines = output.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        servers.addresses = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(servers)
    }

    /// The address that `scripts/services env` prints under this name.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        self.addresses[name].clone()
    }

    /// Applies an action to a server: `stop`, `kill`, `start`, `pause` or `resume`.
    pub async fn apply(&self, action: &str, server: &str) {
        assert!(self.run(&[action, server]).await.0, "cannot {action} {server}");
    }

    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().await.expect("scripts/services runs");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        // Downloads for the servers of the environment are reused here.
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
        let mut command = Command::new(root.join("scripts/services"));
        command.args(arguments).env("SERVICES_DIR", self.directory.path().join("services"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if std::env::var_os("SERVICES_CACHE").is_none() {
            command.env("SERVICES_CACHE", target.join("services-cache"));
        }
        command
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        let ended = self.command(&["down"]).as_std_mut().status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("scripts/services could not stop the servers of a test");
        }
    }
}
