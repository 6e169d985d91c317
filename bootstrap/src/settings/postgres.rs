//! Settings of PostgreSQL.

use serde::{Deserialize, Serialize};

use super::secrets::Url;

/// Settings of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// URL of the database: `postgres://user:password@host/database?sslmode=verify-full&sslrootcert=/ca.pem`.
    pub url: Url,
    /// Schema of the tables; each consumer group needs its own.
    pub schema: String,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { url: Url::default(), schema: "public".to_owned() }
    }
}
