//! Settings of the store.

use std::time::Duration;

/// Maximum name, in bytes, that PostgreSQL does not truncate.
const SCHEMA_BYTES_MAX: usize = 63;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// URL of the database: `postgres://user:password@host:port/database`.
    ///
    /// Of libpq's parameters, it supports among others `sslmode` (`prefer`; `require` encrypts, `verify-full` also
    /// verifies the server's identity), `sslrootcert`, `sslcert` and `sslkey`.
    pub url: String,
    /// The schema that contains all the tables, created if it is missing. Stores in different schemas are independent.
    /// See [`InvalidSchema`] for valid names.
    pub schema: String,
    /// Minimum distance between the receipt times of two events with the same id for both to be kept.
    pub dedup_window: Duration,
    /// The same for ids that Spillway derived from what agents sent.
    pub resend_window: Duration,
    /// Maximum duration of a query.
    pub query_timeout: Duration,
}

/// An invalid name for a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSchema;

impl std::fmt::Display for InvalidSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a schema's name has 1 to 63 of a-z, 0-9 and _, and begins neither with a digit nor with pg_, which PostgreSQL \
             reserves",
        )
    }
}

impl std::error::Error for InvalidSchema {}

impl PostgresOptions {
    /// Checks whether a schema may have this name.
    ///
    /// # Errors
    /// The name is invalid.
    pub fn check_schema(name: &str) -> Result<(), InvalidSchema> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let valid = (1..=SCHEMA_BYTES_MAX).contains(&name.len())
            && name.bytes().all(known)
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.starts_with("pg_");
        if valid { Ok(()) } else { Err(InvalidSchema) }
    }
}
