//! Settings of the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{DurationSetting, Size, Word, one_of, word_of};

/// Settings of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Which store keeps the events: `embedded` or `postgres`. As a variable: `SPILLWAY_STORE`.
    #[serde(deserialize_with = "one_of")]
    pub kind: StoreKind,
    /// How long events are kept.
    pub retention: DurationSetting,
    /// Two events with the same id are different events if their times of receipt are further apart than this.
    pub dedup_window: DurationSetting,
    /// Whether the embedded store moves old events into sealed segments.
    pub seal: bool,
    /// Maximum bytes of all sealed segments; beyond it the oldest events are removed before `retention`. 0 for no limit.
    pub bytes_max: Size,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            retention: DurationSetting(Duration::from_secs(30 * 24 * 3600)),
            dedup_window: DurationSetting(Duration::from_secs(24 * 3600)),
            seal: true,
            bytes_max: Size(0),
        }
    }
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

impl StoreKind {
    /// Its name in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(self)
    }
}

impl Word for StoreKind {
    const ALL: &'static [(&'static str, Self)] = &[("embedded", Self::Embedded), ("postgres", Self::Postgres)];
}
