//! The settings.
//!
//! Built-in defaults, then a file, then the environment; later ones override earlier ones. Values keep the type of
//! their setting, whatever they look like. Unknown keys are rejected: a misspelt limit must not be ignored silently.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use adapter_http::UpstreamUrl;
use adapter_kafka::{GUARANTEED_PROPERTIES, KafkaOptions, Sasl, SaslMechanism, Tls};
use adapter_postgres::PostgresOptions;
use adapter_telemetry::LogFormat;
use adapter_webhook::WebhookUrl;
use bytesize::ByteSize;
use config::{Config, Environment, File, FileFormat};
use domain::delivery::{DeliveryPolicy, Guarantee};
use domain::level::Level;
use domain::partition::{Partitioner, PriorityLane};
use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::role::Role;

/// The file that is read if it exists and no other file is given.
pub const DEFAULT_FILE: &str = "spillway.toml";
const PREFIX: &str = "SPILLWAY_";
/// Each partition of the embedded bus costs a thread, a directory and its share of the disk.
const PARTITIONS_MAX: u32 = 256;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory for everything that is kept on disk.
    pub data_dir: PathBuf,
    /// Which bus carries the records: `embedded` or `kafka`.
    #[serde(deserialize_with = "one_of")]
    pub bus: BusKind,
    /// Which limiter to use: `embedded`, separate in each process, or `redis`, shared by all processes.
    #[serde(deserialize_with = "one_of")]
    pub limiter: LimiterKind,
    /// Maximum bytes of unacknowledged events in memory; beyond it events go to the journal or get 503.
    pub memory_bytes_max: Size,
    /// Maximum bytes of request bodies in progress; beyond it 503.
    pub body_bytes_max: Size,
    /// After this time without a report the bus counts as failing, and batches with a waiting client are journaled.
    pub ack_wait: DurationSetting,
    /// Maximum duration of a shutdown.
    pub drain_timeout: DurationSetting,
    /// Level of the process's own log: a level, or levels of modules, such as `info,adapter_http=debug`.
    pub log: String,
    /// Format of the process's own log: `text` for people, `json` for programs.
    #[serde(deserialize_with = "one_of")]
    pub log_format: LogFormatKind,
    /// The gateway.
    pub gateway: GatewaySettings,
    /// The producer.
    pub producer: ServiceSettings,
    /// The consumer.
    pub consumer: ServiceSettings,
    /// Rate limits of each client: an IPv4 address or an IPv6 /64.
    pub rate_limit: RateLimitSettings,
    /// Guarantee of each level: `at-most-once`, `at-least-once` or `exactly-once`.
    pub delivery: DeliverySettings,
    /// The journal: what a producer keeps on disk while Kafka is unavailable.
    pub journal: JournalSettings,
    /// The embedded bus.
    pub embedded: EmbeddedSettings,
    /// The store.
    pub store: StoreSettings,
    /// Kafka.
    pub kafka: KafkaSettings,
    /// PostgreSQL.
    pub postgres: PostgresSettings,
    /// Redis.
    pub redis: RedisSettings,
    /// Alerts.
    pub alert: AlertSettings,
}

/// Which bus carries the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// A log on disk, in this process.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// Which store keeps the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// SQLite, in this process.
    Embedded,
    /// PostgreSQL.
    Postgres,
}

/// Which limiter to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimiterKind {
    /// Separate in each process.
    Embedded,
    /// Shared by all processes, through Redis.
    Redis,
}

/// A value that is one of several words.
trait Word: Sized + Copy + 'static {
    /// The words and their values.
    const ALL: &'static [(&'static str, Self)];
}

/// Format of the process's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatKind {
    /// For people.
    Text,
    /// A JSON object, for programs.
    Json,
}

impl From<LogFormatKind> for LogFormat {
    fn from(kind: LogFormatKind) -> Self {
        match kind {
            LogFormatKind::Text => Self::Text,
            LogFormatKind::Json => Self::Json,
        }
    }
}

impl Word for LogFormatKind {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Word for BusKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("kafka", Self::Kafka)];
}

impl Word for StoreKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("postgres", Self::Postgres)];
}

impl Word for LimiterKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("redis", Self::Redis)];
}

impl Word for PriorityLane {
    const ALL: &'static [(&'static str, Self)] = &[("shared", Self::Shared), ("exclusive", Self::Exclusive)];
}

fn one_of<'de, D: Deserializer<'de>, T: Word>(deserializer: D) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = T::ALL.iter().find(|(name, _)| *name == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
        de::Error::custom(format!("{word:?} is none of {}", names.join(", ")))
    })
}

fn word<S: Serializer, T: Word + PartialEq>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let name = T::ALL.iter().find(|(_, known)| known == value).map_or("", |(name, _)| *name);
    serializer.serialize_str(name)
}

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Base URLs of producers; empty for the default producer on this machine.
    pub producers: List<UpstreamUrl>,
    /// Base URLs of consumers; empty for the default consumer on this machine.
    pub consumers: List<UpstreamUrl>,
    /// Networks of proxies that are trusted to name the client.
    pub trusted_proxies: List<IpNet>,
}

/// Settings of a producer or consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Address to listen on.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Networks of proxies that are trusted to name the client.
    pub trusted_proxies: List<IpNet>,
}

/// Rate limits of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Single events per second; 0 means unlimited.
    pub single_per_second: u32,
    /// Batches per second; 0 means unlimited.
    pub batch_per_second: u32,
}

/// The journal: what a producer keeps on disk while Kafka is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSettings {
    /// Maximum bytes of events in `data_dir/journal`; at least 16MiB. Beyond it 503.
    pub bytes_max: Size,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { bytes_max: Size(1 << 30) }
    }
}

/// Guarantee of each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    trace: GuaranteeName,
    debug: GuaranteeName,
    info: GuaranteeName,
    warn: GuaranteeName,
    error: GuaranteeName,
    fatal: GuaranteeName,
}

/// Settings of the embedded bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Number of partitions; can grow, but never shrink.
    pub partitions: u32,
    /// Maximum bytes of the log on disk.
    pub retention_bytes: Size,
    /// How long the log keeps records after they are stored.
    pub retention_age: DurationSetting,
}

/// Settings of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Which store keeps the events: `embedded` or `postgres`. As a variable: `SPILLWAY_STORE`.
    #[serde(deserialize_with = "one_of")]
    pub kind: StoreKind,
    /// How long events are kept.
    pub retention: DurationSetting,
    /// Two events with the same id are different events if their times of receipt are further apart than this.
    pub dedup_window: DurationSetting,
}

/// Settings of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Bootstrap servers.
    pub brokers: List<String>,
    /// Topic of the records; dead letters go to the topic with the suffix `.dlq`.
    pub topic: String,
    /// Consumer group that fills the store.
    pub group: String,
    /// Number of partitions of a topic that is created.
    pub partitions: u32,
    /// Replication factor of a topic that is created.
    pub replication_factor: u16,
    /// Retention time of a topic that is created.
    pub retention: DurationSetting,
    /// Compression of batches: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// Which partitions events outside of the priority lane may use: `shared`, all; `exclusive`, all but 0, which is
    /// reserved for ERROR and FATAL.
    #[serde(deserialize_with = "one_of", serialize_with = "word")]
    pub priority_lane: PriorityLane,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM file of the trusted certificate authorities; empty for those of the system.
    pub tls_ca: PathBuf,
    /// PEM file of the client certificate, for brokers that require one.
    pub tls_certificate: PathBuf,
    /// PEM file of the client certificate's key.
    pub tls_key: PathBuf,
    /// SASL mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; empty for none.
    pub sasl_mechanism: String,
    /// SASL user name.
    pub sasl_username: String,
    /// SASL password.
    pub sasl_password: Secret,
    /// Other properties of librdkafka, with `_` for `.`.
    // The library drops a section without members.
    #[serde(default, serialize_with = "masked")]
    pub properties: BTreeMap<String, String>,
}

fn masked<S: Serializer>(properties: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(properties.iter().map(|(name, value)| (name, if is_secret(name) { MASK } else { value })))
}

/// Settings of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// URL of the database: `postgres://user:password@host/database?sslmode=verify-full&sslrootcert=/ca.pem`.
    pub url: Url,
    /// Schema of the tables; each consumer group needs its own.
    pub schema: String,
}

/// Settings of Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// URL of the server: `redis://:password@host:6379/0`.
    pub url: Url,
}

/// Settings of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSettings {
    /// Webhook that receives alerts, in addition to the log; empty for none.
    pub webhook_url: Webhook,
    /// Timeout of one delivery attempt.
    pub timeout: DurationSetting,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { webhook_url: Webhook::default(), timeout: DurationSetting(Duration::from_secs(5)) }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: List::default(),
            topic: "logs".to_owned(),
            group: "log-processor".to_owned(),
            partitions: 3,
            replication_factor: 1,
            retention: DurationSetting(Duration::from_secs(7 * 24 * 3600)),
            compression: "snappy".to_owned(),
            priority_lane: PriorityLane::Shared,
            tls: false,
            tls_ca: PathBuf::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: Secret::default(),
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// The options of the Kafka adapter, for a producer with this much memory.
    ///
    /// # Errors
    /// An invalid setting, by the name of its key.
    pub fn options(&self, memory_bytes_max: usize) -> Result<KafkaOptions, InvalidSettings> {
        let refuse = |message: String| Err(InvalidSettings(message));
        if self.brokers.0.is_empty() {
            return refuse("kafka.brokers must name a broker, such as 127.0.0.1:9092, when bus is kafka".to_owned());
        }
        let Some(partitions) = NonZeroU32::new(self.partitions).filter(|partitions| partitions.get() <= 10_000) else {
            return refuse("kafka.partitions must be from 1 to 10000".to_owned());
        };
        if Partitioner::new(self.priority_lane, partitions).is_err() {
            return refuse("kafka.priority_lane exclusive needs kafka.partitions of at least 2".to_owned());
        }
        if self.replication_factor == 0 {
            return refuse("kafka.replication_factor must be at least 1".to_owned());
        }
        for (key, value) in [("topic", &self.topic), ("group", &self.group)] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            // The longest topic name is 249; the suffix of the dead letter topic has four characters.
            if value.is_empty() || value.len() > 245 || !value.chars().all(legal) {
                return refuse(format!("kafka.{key} has 1 to 245 characters of a-z, A-Z, 0-9, '.', '_' and '-'"));
            }
        }
        let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
        if !codecs.contains(&self.compression.as_str()) {
            return refuse(format!("kafka.compression: {:?} is none of {}", self.compression, codecs.join(", ")));
        }
        let path = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let identity = match (path(&self.tls_certificate), path(&self.tls_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return refuse("kafka.tls_certificate and kafka.tls_key belong together".to_owned()),
        };
        if !self.tls && (identity.is_some() || path(&self.tls_ca).is_some()) {
            return refuse("kafka.tls must be true when a kafka.tls_… file is given".to_owned());
        }
        let mut properties = BTreeMap::new();
        for (name, value) in &self.properties {
            let property = name.to_ascii_lowercase().replace('_', ".");
            if GUARANTEED_PROPERTIES.contains(&property.as_str()) {
                return refuse(format!(
                    "kafka.properties.{name}: {property} carries a guarantee or has a separate setting, and cannot be set"
                ));
            }
            properties.insert(property, value.clone());
        }
        Ok(KafkaOptions {
            brokers: self.brokers.to_string(),
            topic: self.topic.clone(),
            partitions,
            replication_factor: self.replication_factor,
            retention: self.retention.0,
            compression: self.compression.clone(),
            group: self.group.clone(),
            memory_bytes_max,
            tls: self.tls.then(|| Tls { ca: path(&self.tls_ca), identity }),
            sasl: self.sasl()?,
            properties,
        })
    }

    fn sasl(&self) -> Result<Option<Sasl>, InvalidSettings> {
        let (username, password) = (&self.sasl_username, &self.sasl_password.0);
        if self.sasl_mechanism.is_empty() {
            let given = !username.is_empty() || !password.is_empty();
            let message = "kafka.sasl_mechanism must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 to log in";
            return if given { Err(InvalidSettings(message.to_owned())) } else { Ok(None) };
        }
        let known = SaslMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == self.sasl_mechanism);
        let Some(mechanism) = known else {
            let message = "is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512";
            return Err(InvalidSettings(format!("kafka.sasl_mechanism: {:?} {message}", self.sasl_mechanism)));
        };
        if username.is_empty() || password.is_empty() {
            let message = "kafka.sasl_username and kafka.sasl_password are needed to log in";
            return Err(InvalidSettings(message.to_owned()));
        }
        Ok(Some(Sasl { mechanism, username: username.clone(), password: password.clone() }))
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { url: Url::default(), schema: "public".to_owned() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "./spillway-data".into(),
            bus: BusKind::Embedded,
            limiter: LimiterKind::Embedded,
            memory_bytes_max: Size::mb(64),
            body_bytes_max: Size::mb(32),
            ack_wait: DurationSetting(Duration::from_secs(1)),
            drain_timeout: DurationSetting(Duration::from_secs(25)),
            log: "info".to_owned(),
            log_format: LogFormatKind::Text,
            gateway: GatewaySettings::default(),
            producer: service(8081),
            consumer: service(8082),
            rate_limit: RateLimitSettings::default(),
            delivery: DeliverySettings::default(),
            journal: JournalSettings::default(),
            embedded: EmbeddedSettings::default(),
            store: StoreSettings::default(),
            kafka: KafkaSettings::default(),
            postgres: PostgresSettings::default(),
            redis: RedisSettings::default(),
            alert: AlertSettings::default(),
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| de::Error::custom(format!("{text:?} is not an address such as 127.0.0.1:8080 or [::1]:8080")))
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn service(port: u16) -> ServiceSettings {
    let loopback = ["127.0.0.0/8", "::1/128"];
    ServiceSettings {
        listen: local(port),
        trusted_proxies: List(loopback.iter().filter_map(|network| network.parse().ok()).collect()),
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: local(8080),
            producers: List::default(),
            consumers: List::default(),
            trusted_proxies: List::default(),
        }
    }
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { single_per_second: 100, batch_per_second: 10 }
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        let policy = DeliveryPolicy::default();
        let of = |level| GuaranteeName(policy.guarantee(level));
        Self {
            trace: of(Level::Trace),
            debug: of(Level::Debug),
            info: of(Level::Info),
            warn: of(Level::Warn),
            error: of(Level::Error),
            fatal: of(Level::Fatal),
        }
    }
}

impl DeliverySettings {
    /// The policy of these settings.
    #[must_use]
    pub fn policy(&self) -> DeliveryPolicy {
        let of = [
            (Level::Trace, self.trace),
            (Level::Debug, self.debug),
            (Level::Info, self.info),
            (Level::Warn, self.warn),
            (Level::Error, self.error),
            (Level::Fatal, self.fatal),
        ];
        of.into_iter().fold(DeliveryPolicy::default(), |policy, (level, guarantee)| policy.with(level, guarantee.0))
    }
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            partitions: 3,
            retention_bytes: Size(1 << 30),
            retention_age: DurationSetting(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            retention: DurationSetting(Duration::from_secs(30 * 24 * 3600)),
            dedup_window: DurationSetting(Duration::from_secs(24 * 3600)),
        }
    }
}

/// Why the configuration is invalid: one message that names the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSettings(String);

impl Settings {
    /// Loads the configuration: `file`, or [`DEFAULT_FILE`] if it exists, and the given environment.
    ///
    /// # Errors
    /// A file cannot be read, a key is unknown, or a value is invalid for its key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidSettings> {
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.exists().then_some(default_file));
        let defaults = Config::try_from(&Self::default()).map_err(|error| InvalidSettings(error.to_string()))?;
        let mut sources = Config::builder().add_source(defaults);
        if let Some(file) = file {
            sources = sources.add_source(File::from(file).format(FileFormat::Toml));
        }
        let variables = variables(environment);
        let named_by: Vec<String> = variables.keys().cloned().collect();
        let sources = sources
            .add_source(
                Environment::with_prefix("SPILLWAY").prefix_separator("_").separator("__").source(Some(variables)),
            )
            .build()
            .map_err(|error| InvalidSettings(error.to_string()))?;
        refuse_unknown(&sources, file, &named_by)?;
        let settings: Self = sources.try_deserialize().map_err(|error| InvalidSettings(error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// Rules across several settings.
    fn check(&self) -> Result<(), InvalidSettings> {
        let refuse = |message: &str| Err(InvalidSettings(message.to_owned()));
        if self.store.retention.0 < self.store.dedup_window.0 {
            return refuse(
                "store.retention must not be shorter than store.dedup_window: a repeat is recognised by the stored event",
            );
        }
        if !(1..=PARTITIONS_MAX).contains(&self.embedded.partitions) {
            return Err(InvalidSettings(format!("embedded.partitions must be from 1 to {PARTITIONS_MAX}")));
        }
        if self.embedded.retention_bytes.0 / u64::from(self.embedded.partitions) < 8 << 20 {
            return refuse("embedded.retention_bytes must be at least 8MiB for each partition");
        }
        if self.memory_bytes_max.0 < 2 << 20 {
            return refuse("memory_bytes_max must be at least 2MiB: the largest event must fit");
        }
        if self.journal.bytes_max.0 < 16 << 20 {
            return refuse("journal.bytes_max must be at least 16MiB");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(30)).contains(&self.ack_wait.0) {
            return refuse("ack_wait must be from 10ms to 30s: after 30s the outcome of a request is unknown");
        }
        if self.body_bytes_max.0 < 16 << 20 {
            return refuse("body_bytes_max must be at least 16MiB: the largest body must fit");
        }
        if self.bus == BusKind::Kafka {
            let options = self.kafka.options(0)?;
            options.check().map_err(|error| InvalidSettings(format!("kafka.properties: {error}")))?;
        }
        if self.store.kind == StoreKind::Postgres && self.postgres.url.0.is_empty() {
            return refuse(
                "postgres.url must be set, such as postgres://user:password@host/database, when store is postgres",
            );
        }
        if let Err(error) = PostgresOptions::check_schema(&self.postgres.schema) {
            return Err(InvalidSettings(format!("postgres.schema: {error}")));
        }
        if self.limiter == LimiterKind::Redis && self.redis.url.0.is_empty() {
            return refuse("redis.url must be set, such as redis://127.0.0.1:6379, when limiter is redis");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.alert.timeout.0) {
            return refuse("alert.timeout must be from 100ms to 60s");
        }
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir must not be empty");
        }
        let listens =
            [("gateway", self.gateway.listen), ("producer", self.producer.listen), ("consumer", self.consumer.listen)];
        for (index, (role, listen)) in listens.iter().enumerate().filter(|(_, (_, listen))| listen.port() != 0) {
            if let Some((other, _)) = listens.iter().take(index).find(|(_, other)| other == listen) {
                return Err(InvalidSettings(format!("{other}.listen and {role}.listen are both {listen}")));
            }
        }
        Ok(())
    }

    /// Whether a process of this role can share its components with the others.
    ///
    /// # Errors
    /// It cannot; the message names the setting to change.
    pub fn check_role(&self, role: Role) -> Result<(), InvalidSettings> {
        let of_its_own = matches!(role, Role::Producer | Role::Consumer);
        let embedded = [
            ("bus", "kafka", of_its_own && self.bus == BusKind::Embedded),
            ("store", "postgres", role == Role::Consumer && self.store.kind == StoreKind::Embedded),
        ];
        let missing: Vec<_> = embedded.into_iter().filter(|(.., missing)| *missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = missing.iter().map(|(key, ..)| *key).collect();
        let variables =
            missing.iter().map(|(key, server, _)| format!("SPILLWAY_{}={server}", key.to_ascii_uppercase()));
        Err(InvalidSettings(format!(
            "{}: a separate {} cannot use components that are embedded in one process: set {}, or run `spillway all`",
            keys.join(" and "),
            role.name(),
            variables.collect::<Vec<_>>().join(" and "),
        )))
    }

    /// Every setting as an environment variable, with secrets masked.
    #[must_use]
    pub fn to_variables(&self) -> String {
        let mut lines = Vec::new();
        for (path, value) in flatten(&serde_json::to_value(self).unwrap_or_default()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // So that a shell can read it.
            let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "_./:,-".contains(c));
            let value = if plain { value } else { format!("'{}'", value.replace('\'', "'\\''")) };
            lines.push(format!("{}={value}\n", variable_of(&path)));
        }
        lines.concat()
    }
}

/// `SPILLWAY_STORE` names the store and `SPILLWAY_STORE__RETENTION` is a member of its section, so the former is mapped
/// to a member too.
fn variables(environment: impl IntoIterator<Item = (String, String)>) -> HashMap<String, String> {
    let named = |name: String| if name == "SPILLWAY_STORE" { "SPILLWAY_STORE__KIND".to_owned() } else { name };
    environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| (named(name), value))
        .collect()
}

fn variable_of(path: &[String]) -> String {
    let name = format!("{PREFIX}{}", path.join("__").to_ascii_uppercase());
    if name == "SPILLWAY_STORE__KIND" { "SPILLWAY_STORE".to_owned() } else { name }
}

/// `variables` are those of the environment; a key that is not among them is in the file.
fn refuse_unknown(sources: &Config, file: Option<&Path>, variables: &[String]) -> Result<(), InvalidSettings> {
    let given: Value = sources.clone().try_deserialize().map_err(|error| InvalidSettings(error.to_string()))?;
    let known = flatten(&serde_json::to_value(Settings::default()).unwrap_or_default());
    for (path, _) in flatten(&given) {
        let property = path.first().is_some_and(|of| of == "kafka") && path.get(1).is_some_and(|of| of == "properties");
        if property || known.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let (key, variable) = (path.join("."), variable_of(&path));
        let last = path.last().map_or("", String::as_str);
        let injected = ["port", "service_host", "service_port"]
            .iter()
            .any(|word| last == *word || last.starts_with(&format!("{word}_")));
        let hint = if injected {
            "; Kubernetes sets such variables for a Service named \"spillway\": set enableServiceLinks: false in the pod, or name the Service differently".to_owned()
        } else {
            let bare = |key: &str| key.to_ascii_lowercase().replace(['_', '.'], "");
            let similar = known.iter().map(|(known, _)| known.join(".")).filter(|known| {
                bare(known) == bare(&key)
                    || known.rsplit('.').next() == Some(last)
                    || known.starts_with(&format!("{key}."))
                    || known.starts_with(&format!("{key}_"))
                    || key.starts_with(known.as_str())
            });
            let similar: Vec<String> = similar.collect();
            if similar.is_empty() {
                "; `spillway config` lists all keys".to_owned()
            } else {
                format!("; did you mean {}?", similar.join(" or "))
            }
        };
        let place = match file {
            Some(file) if !variables.iter().any(|name| name.eq_ignore_ascii_case(&variable)) => {
                format!("in {}", file.display())
            }
            _ => format!("in the environment: {variable}"),
        };
        return Err(InvalidSettings(format!("unknown key {key} ({place}){hint}")));
    }
    Ok(())
}

/// The leaves of a tree of objects, with their paths.
fn flatten(value: &Value) -> Vec<(Vec<String>, Value)> {
    let Value::Object(members) = value else { return vec![(Vec::new(), value.clone())] };
    let inner = |(name, value): (&String, &Value)| {
        let name = name.clone();
        flatten(value).into_iter().map(move |(mut path, leaf)| {
            path.insert(0, name.clone());
            (path, leaf)
        })
    };
    members.iter().flat_map(inner).collect()
}

/// A number of bytes, such as `64MB`, `1GiB` or `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The size as a bound of memory.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    const fn mb(megabytes: u64) -> Self {
        Self(megabytes * 1_000_000)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text
                .parse::<ByteSize>()
                .map(|size| Self(size.as_u64()))
                .map_err(|_| de::Error::custom(format!("{text:?} is not a number of bytes such as 64MB or 1GiB"))),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact, so that it can be parsed again.
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1_000_000, "MB"), (1, "")];
        let (unit, name) = units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit)).unwrap_or((1, ""));
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

/// A duration such as `250ms`, `25s` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationSetting(pub Duration);

impl<'de> Deserialize<'de> for DurationSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            de::Error::custom(format!("{text:?} is not a duration such as 250ms, 25s or 30d: {error}"))
        })
    }
}

impl Serialize for DurationSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A value that must not be shown.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

const MASK: &str = "********";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// A URL whose password must not be shown.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value that is not a URL may contain anything.
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(if self.0.is_empty() { "" } else { MASK });
        };
        if rest.rfind('@') > rest.find('?') && rest.contains('?') {
            return f.write_str(MASK);
        }
        let (place, parameters) = rest.split_once('?').map_or((rest, None), |(place, all)| (place, Some(all)));
        // The last @, as a password that is not percent-encoded may contain others.
        match place.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
            Some((Some((name, _)), host)) => write!(f, "{scheme}://{name}:{MASK}@{host}")?,
            _ => write!(f, "{scheme}://{place}")?,
        }
        for (index, parameter) in parameters.iter().flat_map(|all| all.split('&')).enumerate() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = if is_secret(name) { MASK } else { value };
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// The URL of a webhook, if there is one; only its host is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhook(pub Option<WebhookUrl>);

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|url| Self(Some(url))).map_err(de::Error::custom)
    }
}

impl Serialize for Webhook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.as_ref().map(ToString::to_string).unwrap_or_default())
    }
}

/// Whether the value of a setting with this name must not be shown.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token", "pem"].iter().any(|word| name.contains(word))
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// A list: a TOML array, or text with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Array(Vec<String>),
            Text(String),
        }
        let elements = match Written::deserialize(deserializer)? {
            Written::Array(elements) => elements,
            Written::Text(text) => {
                text.split(',').map(|element| element.trim().to_owned()).filter(|element| !element.is_empty()).collect()
            }
        };
        let parse =
            |element: &String| element.parse().map_err(|error| de::Error::custom(format!("{element:?}: {error}")));
        elements.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

impl<T: fmt::Display> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GuaranteeName(Guarantee);

impl<'de> Deserialize<'de> for GuaranteeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Guarantee::from_name(&name)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{name:?} is none of at-most-once, at-least-once, exactly-once")))
    }
}

impl Serialize for GuaranteeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(None, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("some.toml");
        std::fs::write(
            &file,
            "data_dir = \"/file\"\nmemory_bytes_max = \"10 MB\"\n[producer]\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[store]\nretention = \"40d\"\n",
        )
        .expect("written");
        let environment = [("SPILLWAY_DATA_DIR".to_owned(), "/env".to_owned()), ("OTHER".to_owned(), "x".to_owned())];
        let settings = Settings::load(Some(&file), environment).expect("valid");
        assert_eq!(settings.data_dir, Path::new("/env"));
        assert_eq!(settings.memory_bytes_max, Size::mb(10));
        assert_eq!(settings.producer.listen, local(1));
        assert_eq!(settings.producer.trusted_proxies.0.len(), 1);
        assert_eq!(settings.store.retention.0, Duration::from_secs(40 * 24 * 3600));
        assert_eq!(settings.consumer, service(8082));
    }

    #[test]
    fn values_keep_the_type_of_their_setting() {
        let settings = load(&[
            ("SPILLWAY_DATA_DIR", "007"),
            ("SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND", "0"),
            ("SPILLWAY_STORE", "embedded"),
            ("SPILLWAY_STORE__RETENTION", "60d"),
            ("SPILLWAY_GATEWAY__PRODUCERS", "http://a:1, http://b:2"),
            ("SPILLWAY_DELIVERY__INFO", "exactly-once"),
            ("SPILLWAY_PRODUCER__LISTEN", "127.0.0.1:9"),
            ("SPILLWAY_EMBEDDED__PARTITIONS", "6"),
        ])
        .expect("valid");
        assert_eq!(settings.data_dir, Path::new("007"));
        assert_eq!(settings.rate_limit.single_per_second, 0);
        assert_eq!(settings.gateway.producers.0.len(), 2);
        assert_eq!(settings.delivery.policy().guarantee(Level::Info), Guarantee::ExactlyOnce);
        assert_eq!(settings.delivery.policy().guarantee(Level::Error), Guarantee::AtLeastOnce);
        assert_eq!(settings.embedded.partitions, 6);
        assert_eq!(settings.producer.trusted_proxies.0.len(), 2, "the rest of a section keeps its defaults");
    }

    #[test]
    fn invalid_settings_are_rejected_by_name_with_a_hint() {
        for (name, value, parts) in [
            ("SPILLWAY_MEMORY_BYTES", "1", &["memory_bytes", "did you mean memory_bytes_max?"][..]),
            ("SPILLWAY_LISTEN", "1", &["unknown key listen", "gateway.listen"]),
            ("SPILLWAY_PORT", "tcp://10.0.0.1:8080", &["Kubernetes", "enableServiceLinks"]),
            ("SPILLWAY_PORT_8080_TCP_ADDR", "10.0.0.1", &["Kubernetes"]),
            ("SPILLWAY_SERVICE_HOST", "10.0.0.1", &["Kubernetes"]),
            ("SPILLWAY_GATEWAY__LISTEN", "8080", &["gateway.listen", "not an address such as"]),
            ("SPILLWAY_GATEWAY__LISTEN", "127.0.0.1:8081", &["gateway.listen and producer.listen"]),
            ("SPILLWAY_PRODUCER_LISTEN", "127.0.0.1:1", &["did you mean producer.listen?"]),
            ("SPILLWAY_BODY_BYTES_MAX", "1", &["body_bytes_max", "16MiB"]),
            ("SPILLWAY_MEMORY_BYTES_MAX", "lots", &["memory_bytes_max", "not a number of bytes"]),
            ("SPILLWAY_DATA_DIR", "", &["data_dir"]),
            ("SPILLWAY_EMBEDDED__PARTITIONS", "257", &["embedded.partitions", "256"]),
            ("SPILLWAY_DRAIN_TIMEOUT", "soon", &["drain_timeout", "not a duration"]),
            ("SPILLWAY_DELIVERY__INFO", "maybe", &["at-most-once"]),
            ("SPILLWAY_JOURNAL__BYTES_MAX", "1MB", &["journal.bytes_max", "16MiB"]),
            ("SPILLWAY_ACK_WAIT", "1m", &["ack_wait", "30s"]),
            ("SPILLWAY_STORE__RETENTION", "1h", &["store.retention", "store.dedup_window"]),
            ("SPILLWAY_EMBEDDED__PARTITIONS", "0", &["embedded.partitions"]),
            ("SPILLWAY_GATEWAY__PRODUCERS", "producer:1", &["base URL"]),
            ("SPILLWAY_BUS", "kafka", &["kafka.brokers", "must name a broker"]),
            ("SPILLWAY_BUS", "nats", &["bus", "\"nats\" is none of embedded, kafka"]),
            ("SPILLWAY_STORE", "postgres", &["postgres.url must be set"]),
            ("SPILLWAY_LIMITER", "redis", &["redis.url must be set"]),
            ("SPILLWAY_POSTGRES__SCHEMA", "Logs", &["postgres.schema", "a-z"]),
            ("SPILLWAY_ALERT__WEBHOOK_URL", "host:9000/hook", &["alert.webhook_url", "not the URL of a webhook"]),
            ("SPILLWAY_ALERT__WEBHOOK_URL", "ftp://host/hook", &["alert.webhook_url", "not the URL of a webhook"]),
            ("SPILLWAY_ALERT__TIMEOUT", "0s", &["alert.timeout", "100ms"]),
            ("SPILLWAY_ALERT__TIMEOUT", "2m", &["alert.timeout", "60s"]),
            ("SPILLWAY_ALERT_WEBHOOK_URL", "http://host", &["did you mean alert.webhook_url?"]),
        ] {
            let message = load(&[(name, value)]).expect_err(name);
            for part in parts {
                assert!(message.contains(part), "{name}: {message:?} does not contain {part:?}");
            }
        }
    }

    const KAFKA: [(&str, &str); 2] = [("SPILLWAY_BUS", "kafka"), ("SPILLWAY_KAFKA__BROKERS", "a:9092, b:9092")];

    fn load_kafka(others: &[(&str, &str)]) -> Result<Settings, String> {
        load(&[&KAFKA, others].concat())
    }

    #[test]
    fn kafka_settings_become_client_options() {
        let settings = load_kafka(&[
            ("SPILLWAY_KAFKA__TLS", "true"),
            ("SPILLWAY_KAFKA__TLS_CA", "/ca.pem"),
            ("SPILLWAY_KAFKA__SASL_MECHANISM", "SCRAM-SHA-256"),
            ("SPILLWAY_KAFKA__SASL_USERNAME", "me"),
            ("SPILLWAY_KAFKA__SASL_PASSWORD", "sec:ret"),
            ("SPILLWAY_KAFKA__PROPERTIES__LINGER_MS", "20"),
            ("SPILLWAY_KAFKA__PRIORITY_LANE", "exclusive"),
        ]);
        let settings = settings.expect("valid");
        let options = settings.kafka.options(7).expect("valid");
        assert_eq!(
            (options.brokers.as_str(), options.topic.as_str(), options.memory_bytes_max),
            ("a:9092,b:9092", "logs", 7)
        );
        assert_eq!(options.tls.expect("TLS").ca.as_deref(), Some(Path::new("/ca.pem")));
        let sasl = options.sasl.expect("SASL");
        assert_eq!((sasl.mechanism, sasl.password.as_str()), (SaslMechanism::ScramSha256, "sec:ret"));
        assert_eq!(options.properties, [("linger.ms".to_owned(), "20".to_owned())].into());
        assert_eq!(settings.kafka.priority_lane, PriorityLane::Exclusive);
    }

    #[test]
    fn invalid_kafka_settings_are_rejected_by_name() {
        for (name, value, parts) in [
            ("PROPERTIES__ACKS", "1", &["kafka.properties.acks", "carries a guarantee"][..]),
            ("PROPERTIES__ENABLE_IDEMPOTENCE", "false", &["enable.idempotence"]),
            ("PROPERTIES__QUEUE_BUFFERING_MAX_MESSAGES", "1", &["queue.buffering.max.messages"]),
            ("TLS_CA", "/ca.pem", &["kafka.tls must be true"]),
            ("TLS_KEY", "/key.pem", &["kafka.tls_certificate and kafka.tls_key"]),
            ("SASL_USERNAME", "me", &["kafka.sasl_mechanism must be"]),
            ("SASL_MECHANISM", "GSSAPI", &["kafka.sasl_mechanism", "none of PLAIN"]),
            ("SASL_MECHANISM", "PLAIN", &["kafka.sasl_username and kafka.sasl_password"]),
            ("PARTITIONS", "0", &["kafka.partitions"]),
            ("REPLICATION_FACTOR", "0", &["kafka.replication_factor"]),
            ("COMPRESSION", "brotli", &["kafka.compression", "snappy"]),
            ("TOPIC", "a b", &["kafka.topic"]),
            ("PRIORITY_LANE", "fast", &["none of shared, exclusive"]),
            ("LINGER", "1", &["unknown key kafka.linger"]),
            ("PROPERTIES__LINGER", "1", &["kafka.properties: linger=1"]),
            ("PROPERTIES__LINGER_MS", "soon", &["kafka.properties: linger.ms=soon"]),
        ] {
            let name = format!("SPILLWAY_KAFKA__{name}");
            let message = load_kafka(&[(&name, value)]).expect_err(&name);
            for part in parts {
                assert!(message.contains(part), "{name}: {message:?} does not contain {part:?}");
            }
        }
        let one = [("SPILLWAY_KAFKA__PARTITIONS", "1"), ("SPILLWAY_KAFKA__PRIORITY_LANE", "exclusive")];
        assert!(load_kafka(&one).expect_err("one partition").contains("at least 2"));
    }

    #[test]
    fn a_separate_role_needs_components_that_processes_can_share() {
        let alone = Settings::default();
        for (role, parts) in
            [(Role::Producer, ["bus", "SPILLWAY_BUS=kafka"]), (Role::Consumer, ["bus", "spillway all"])]
        {
            let message = alone.check_role(role).expect_err("embedded").to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert!(alone.check_role(Role::All).is_ok() && alone.check_role(Role::Gateway).is_ok());
        let kafka = load_kafka(&[]).expect("valid");
        assert!(kafka.check_role(Role::Producer).is_ok());
        assert!(
            kafka.check_role(Role::Consumer).expect_err("embedded").to_string().contains("SPILLWAY_STORE=postgres")
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = load_kafka(&[
            ("SPILLWAY_KAFKA__SASL_MECHANISM", "PLAIN"),
            ("SPILLWAY_KAFKA__SASL_USERNAME", "me"),
            ("SPILLWAY_KAFKA__SASL_PASSWORD", "hidden"),
            ("SPILLWAY_POSTGRES__URL", "postgres://me:hid@den@host/database?sslmode=require"),
            ("SPILLWAY_REDIS__URL", "redis://:hidden@host:6379/1"),
            ("SPILLWAY_KAFKA__PROPERTIES__SSL_KEY_PASSWORD", "hidden"),
            ("SPILLWAY_ALERT__WEBHOOK_URL", "https://me:hidden@alerts.example.com/hidden?key=hidden"),
        ]);
        let shown = settings.expect("valid").to_variables();
        assert!(!shown.contains("hid") && shown.contains("host/database?sslmode=require"), "{shown}");
        assert!(
            shown.contains("SPILLWAY_ALERT__WEBHOOK_URL='https://********@alerts.example.com/********'\n"),
            "{shown}"
        );
        let refused = load(&[("SPILLWAY_ALERT__WEBHOOK_URL", "https//me:hidden@host")]).expect_err("no URL");
        assert!(!refused.contains("hid"), "{refused}");
        for url in [
            "postgres://me:hi/d#de:n@host/d",
            "postgres://me@host/d?password=hidden&x=1",
            "host=h password=hidden",
            "redis://:hid?den@h",
        ] {
            let shown = format!("{:?}", Url(url.to_owned()));
            assert!(!shown.contains("hid") && !shown.contains("hi/d") && shown.contains(MASK), "{shown}");
        }
        let plain = load(&[("SPILLWAY_REDIS__URL", "redis://host:6379")]).expect("valid").to_variables();
        assert!(plain.contains("SPILLWAY_REDIS__URL=redis://host:6379\n"), "{plain}");
    }

    #[test]
    fn errors_in_a_file_name_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("some.toml");
        for (text, parts) in [
            ("foo = 1", &["unknown key foo (in ", "some.toml)"][..]),
            ("store = \"embedded\"", &["unknown key store (in ", "did you mean store.kind or"]),
        ] {
            std::fs::write(&file, text).expect("written");
            let message = Settings::load(Some(&file), []).expect_err(text).to_string();
            for part in parts {
                assert!(message.contains(part), "{message:?} does not contain {part:?}");
            }
        }
    }

    #[test]
    fn the_effective_configuration_can_be_loaded_again() {
        let settings = Settings { data_dir: "/somewhere".into(), ..Settings::default() };
        let text = settings.to_variables();
        assert!(
            text.contains("SPILLWAY_STORE=embedded\n") && text.contains("SPILLWAY_STORE__RETENTION=30days\n"),
            "{text}"
        );
        let variables = text.lines().filter_map(|line| line.split_once('='));
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Settings::load(None, environment).expect("valid"), settings);
    }
}
