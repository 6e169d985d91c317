//! Rules across several settings, and between settings and the role of a process.

use std::time::Duration;

use adapter_postgres::PostgresOptions;
use domain::ports::CHUNK_BYTES_MAX;

use super::Settings;
use super::invalid::InvalidSettings;
use super::kinds::{BusKind, LimiterKind};
use super::secrets::Url;
use super::store::StoreKind;
use crate::role::Role;

/// Each partition of the embedded bus costs a thread, a directory and its share of the disk.
const PARTITIONS_MAX: u32 = 256;
/// A chunk that is read from the journal is sent as a whole: with less memory it would wait without end.
const MEMORY_BYTES_MIN: usize = 2 * CHUNK_BYTES_MAX;

impl Settings {
    /// Rules across several settings.
    pub(super) fn check(&self) -> Result<(), InvalidSettings> {
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
        if self.memory_bytes_max.in_memory() < MEMORY_BYTES_MIN {
            return refuse("memory_bytes_max must be at least 8MiB: two chunks of the journal must fit");
        }
        if self.journal.bytes_max.0 < 16 << 20 {
            return refuse("journal.bytes_max must be at least 16MiB");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(30)).contains(&self.ack_wait.0) {
            return refuse("ack_wait must be from 10ms to 30s: after 30s the outcome of a request is unknown");
        }
        if self.ingest.hold.0 > Duration::from_secs(10) {
            return refuse("ingest.hold must be at most 10s: agents do not wait longer for an answer");
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
        // The clients take any scheme, and one that is misspelt as a connection without TLS.
        check_scheme("postgres.url", &self.postgres.url, &["postgres", "postgresql"])?;
        check_scheme("redis.url", &self.redis.url, &["redis", "rediss", "valkey", "valkeys"])?;
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.alert.timeout.0) {
            return refuse("alert.timeout must be from 100ms to 60s");
        }
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir must not be empty");
        }
        let always = [
            ("gateway.listen", self.gateway.listen),
            ("producer.listen", self.producer.listen),
            ("consumer.listen", self.consumer.listen),
        ];
        let optional = [
            ("otlp.listen", self.otlp.listen),
            ("otlp.grpc_listen", self.otlp.grpc_listen),
            ("syslog.listen", self.syslog.listen),
            ("syslog.tls_listen", self.syslog.tls_listen),
        ];
        let optional = optional.into_iter().filter_map(|(key, address)| Some((key, address.0?)));
        let listens: Vec<_> = always.into_iter().chain(optional).collect();
        for (index, (key, listen)) in listens.iter().enumerate().filter(|(_, (_, listen))| listen.port() != 0) {
            if let Some((other, _)) = listens.iter().take(index).find(|(_, other)| other == listen) {
                return Err(InvalidSettings(format!("{other} and {key} are both {listen}")));
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
}

/// Refuses a URL with another scheme than these. Of the value, nothing is repeated: it may contain a password.
fn check_scheme(key: &str, url: &Url, schemes: &[&str]) -> Result<(), InvalidSettings> {
    let scheme = url.0.split_once("://").map(|(scheme, _)| scheme);
    // Suffixes such as -cluster and -sentinel are the client's.
    let is_known = |scheme: &str| schemes.contains(&scheme.split('-').next().unwrap_or(scheme));
    if url.0.is_empty() || scheme.is_some_and(is_known) {
        return Ok(());
    }
    let schemes: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    Err(InvalidSettings(format!("{key} must be a URL that begins with {}", schemes.join(" or "))))
}
