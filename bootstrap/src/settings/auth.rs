//! Settings of access control.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Word, one_of};

/// When requests need a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthModeKind {
    /// Once there is a keys file.
    Auto,
    /// Always.
    Required,
    /// Never.
    Off,
}

impl Word for AuthModeKind {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("required", Self::Required), ("off", Self::Off)];
}

/// Who may scrape the metrics where keys are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccessKind {
    /// Keys with the role `operate` that are not restricted to some sources.
    Operate,
    /// Anyone.
    Anonymous,
}

impl Word for MetricsAccessKind {
    const ALL: &'static [(&'static str, Self)] = &[("operate", Self::Operate), ("anonymous", Self::Anonymous)];
}

/// Settings of access control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// When requests need a key: `auto` (once there is a keys file), `required`, or `off`. A listener that other machines
    /// reach needs keys, unless this is `off`.
    #[serde(deserialize_with = "one_of")]
    pub mode: AuthModeKind,
    /// File of the access keys, which all roles share; empty for `keys.toml` in the data directory, with `spillway all`.
    /// A file that is named must exist, unless `mode` is `required`.
    pub keys_file: PathBuf,
    /// Who may scrape `/actuator/prometheus` where keys are required: `operate` (keys with that role and without `sources`) or
    /// `anonymous`.
    #[serde(deserialize_with = "one_of")]
    pub metrics: MetricsAccessKind,
    /// File of the secrets that seal the sessions of browsers, which all roles share: one in each line, as
    /// `openssl rand -base64 32` prints it; the first one seals. Empty for a new secret in each process, with `spillway all`,
    /// and otherwise for no sessions.
    pub session_key_file: PathBuf,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            mode: AuthModeKind::Auto,
            keys_file: PathBuf::new(),
            metrics: MetricsAccessKind::Operate,
            session_key_file: PathBuf::new(),
        }
    }
}
