//! The choices among implementations and formats.

use adapter_telemetry::LogFormat;
use serde::Serialize;

use super::values::{Word, word_of};

/// Which bus carries the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// A log on disk, in this process.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

impl BusKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(self)
    }
}

impl Word for BusKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("kafka", Self::Kafka)];
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

impl Word for LimiterKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("redis", Self::Redis)];
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

impl Word for LogFormatKind {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl From<LogFormatKind> for LogFormat {
    fn from(kind: LogFormatKind) -> Self {
        match kind {
            LogFormatKind::Text => Self::Text,
            LogFormatKind::Json => Self::Json,
        }
    }
}
