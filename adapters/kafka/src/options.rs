//! How to connect to Kafka, and the options of clients and topic.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Properties of librdkafka that may be set: those of connections, credentials, buffers and time. All others are refused,
/// those of later versions too, because some of them decide about reports, order, positions or guarantees, or load code.
pub const ALLOWED_PROPERTIES: [&str; 114] = [
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "coordinator.query.interval.ms",
    "debug",
    "enable.metrics.push",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "heartbeat.interval.ms",
    "https.ca.location",
    "https.ca.pem",
    "linger.ms",
    "log.connection.close",
    "log.thread.name",
    "log_level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.copy.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.ms",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.jitter.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.providers",
    "ssl.sigalgs.list",
    "statistics.interval.ms",
    "sticky.partitioning.linger.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

/// Maximum request and batch, in bytes: a record of the maximum size fits with its headers (contract, "A log event").
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// How to connect to Kafka, and the options of clients and topic.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Addresses of some brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Partitions of a topic that Spillway creates.
    pub partitions: NonZeroU32,
    /// Replicas of each partition of a topic that Spillway creates.
    pub replication_factor: u16,
    /// How long a topic that Spillway creates keeps its records.
    pub retention: Duration,
    /// Codec of the batches: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// Whether a producer packs several events into one record.
    pub records: RecordForm,
    /// Consumer group.
    pub group: String,
    /// Maximum bytes of unacknowledged batches.
    pub memory_bytes_max: usize,
    /// Encryption of connections; `None` for none.
    pub tls: Option<Tls>,
    /// Credentials; `None` to connect without authentication.
    pub sasl: Option<Sasl>,
    /// Other properties of librdkafka, of [`ALLOWED_PROPERTIES`].
    pub properties: BTreeMap<String, String>,
}

/// The form of the records that a producer sends. Consumers read both forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordForm {
    /// One event in each record.
    #[default]
    Single,
    /// Consecutive events of one batch, of one source and with the same origin of ids, in one record
    /// ([`domain::pack`]).
    Packed,
}

/// Certificates; all files are PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Trusted certificate authorities; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate and key, for brokers that require them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How the password is presented to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// In plain text.
    Plain,
    /// By RFC 7677.
    ScramSha256,
    /// By RFC 5802 with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Credentials.
#[derive(Clone)]
pub struct Sasl {
    /// How the password is presented.
    pub mechanism: SaslMechanism,
    /// Name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Options from which no client can be created.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOptions(pub String);

impl KafkaOptions {
    /// Checks whether librdkafka knows all properties and accepts their values. Opens no file.
    ///
    /// # Errors
    /// It does not; the message names the property.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        for config in [self.producer(), self.consumer()] {
            config.create_native_config().map_err(|error| match error {
                KafkaError::ClientConfig(_, reason, name, value) => InvalidOptions(format!("{name}={value}: {reason}")),
                error => InvalidOptions(error.to_string()),
            })?;
        }
        Ok(())
    }

    /// Options common to all clients.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "spillway")
            // Reconnect as soon as an outage ends, not up to ten seconds later.
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", "10000")
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("log.connection.close", "false");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set(
            "security.protocol",
            match (&self.tls, &self.sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some(tls) = &self.tls {
            // `probe`: the usual locations of system authorities. By default OpenSSL uses the location compiled into it.
            let ca = tls.ca.as_ref().map_or("probe".into(), |ca| ca.to_string_lossy());
            config.set("ssl.ca.location", ca);
            if let Some((certificate, key)) = &tls.identity {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(Sasl { mechanism, username, password }) = &self.sasl {
            config.set("sasl.mechanism", mechanism.name());
            config.set("sasl.username", username).set("sasl.password", password);
        }
        config
    }

    /// Options of a producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        // Every record takes more of the memory budget than of the queue, so the queue is never full.
        let kbytes = self.memory_bytes_max / 1_024 + 1;
        config
            .set("enable.idempotence", "true")
            // A failed record fails all records after it, which preserves order.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("compression.type", &self.compression)
            .set("queue.buffering.max.kbytes", kbytes.clamp(1, 2_147_483_647).to_string())
            .set("queue.buffering.max.messages", "0");
        config
    }

    /// Options of a group's consumer.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        for (name, value) in [
            // Time until the group notices a killed consumer.
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "2000"),
            ("fetch.queue.backoff.ms", "20"),
        ] {
            if !self.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        config
            .set("group.id", &self.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // The operator has to decide what to do about a position that no longer exists.
            .set("auto.offset.reset", "error")
            // Per partition.
            .set("queued.max.messages.kbytes", "8192");
        config
    }
}
