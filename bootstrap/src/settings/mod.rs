//! The settings.
//!
//! Built-in defaults, then a file, then the environment; later ones override earlier ones. Values keep the type of
//! their setting, whatever they look like. Unknown keys are rejected: a misspelt limit must not be ignored silently.
//!
//! Each section has a file with its struct and its defaults. The example file and `docs/configuration.md` show the doc
//! comments of their fields (`settings_source.rs`).

mod alert;
mod auth;
mod check;
mod cors;
mod delivery;
mod embedded;
mod gateway;
mod http;
mod ingest;
mod invalid;
mod journal;
mod kafka;
mod kinds;
mod load;
mod origin;
mod otlp;
mod postgres;
mod rate_limit;
mod redis;
mod secrets;
mod service;
mod store;
mod syslog;
#[cfg(test)]
mod tests;
mod unknown_keys;
mod values;
pub(crate) mod variables;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::alert::AlertSettings;
pub use self::auth::{AuthModeKind, AuthSettings, MetricsAccessKind};
pub use self::cors::CorsSettings;
pub use self::delivery::DeliverySettings;
pub use self::embedded::EmbeddedSettings;
pub use self::gateway::GatewaySettings;
pub use self::http::{ClientAuthKind, HttpSettings, TlsVersionKind};
pub use self::ingest::IngestSettings;
pub use self::invalid::InvalidSettings;
pub use self::journal::JournalSettings;
pub use self::kafka::KafkaSettings;
pub use self::kinds::{BusKind, LimiterKind, LogFormatKind};
pub use self::otlp::OtlpSettings;
pub use self::postgres::PostgresSettings;
pub use self::rate_limit::RateLimitSettings;
pub use self::redis::RedisSettings;
pub use self::secrets::{Secret, Url, Webhook};
pub use self::service::ServiceSettings;
use self::service::service;
pub use self::store::{StoreKind, StoreSettings};
pub use self::syslog::SyslogSettings;
use self::values::one_of;
pub use self::values::{DurationSetting, List, Size};
use self::variables::{flatten, variable_of};

/// The file that is read if it exists and no other file is given.
pub const DEFAULT_FILE: &str = "spillway.toml";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Maximum bytes of unacknowledged events in memory; beyond it events go to the journal or get 503. At least 8MiB.
    pub memory_bytes_max: Size,
    /// Maximum bytes of request bodies in progress; beyond it 503.
    pub body_bytes_max: Size,
    /// After this time without a report the bus counts as failing, and batches with a waiting client are journaled.
    pub ack_wait: DurationSetting,
    /// Maximum duration of a shutdown.
    pub drain_timeout: DurationSetting,
    /// Level of the process's own log: a level, or levels of modules, such as `info,adapter_http=debug`.
    /// The lines of the audit are always written.
    pub log: String,
    /// Format of the process's own log: `text` for people, `json` for programs.
    #[serde(deserialize_with = "one_of")]
    pub log_format: LogFormatKind,
    /// Whether the gateway serves the console at `/console/`.
    pub console: bool,
    /// The gateway.
    pub gateway: GatewaySettings,
    /// The producer.
    pub producer: ServiceSettings,
    /// The consumer.
    pub consumer: ServiceSettings,
    /// All HTTP listeners.
    pub http: HttpSettings,
    /// Access control: who is let in, and what for.
    pub auth: AuthSettings,
    /// Pages of other origins.
    pub cors: CorsSettings,
    /// Rate limits of each client: an IPv4 address or an IPv6 /64.
    pub rate_limit: RateLimitSettings,
    /// Ingestion by the protocols of log agents.
    pub ingest: IngestSettings,
    /// OpenTelemetry's protocol, at addresses of its own.
    pub otlp: OtlpSettings,
    /// Syslog.
    pub syslog: SyslogSettings,
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
            console: true,
            gateway: GatewaySettings::default(),
            producer: service(8081),
            consumer: service(8082),
            http: HttpSettings::default(),
            auth: AuthSettings::default(),
            cors: CorsSettings::default(),
            rate_limit: RateLimitSettings::default(),
            ingest: IngestSettings::default(),
            otlp: OtlpSettings::default(),
            syslog: SyslogSettings::default(),
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

impl Settings {
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
